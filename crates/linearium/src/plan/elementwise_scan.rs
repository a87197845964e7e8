//! The elementwise scan of a layer, with or without a sliding window (see `outer_scan.rs`).

use super::{Columns, Planner};
use crate::kernels::scan_elementwise::{self, ScanElementwise};
use crate::kernels::window_sum::{self, WindowSum};
use crate::recording::{BufferId, NONE};

/// Inputs of the scan `h_t = exp(dt_t A) h_{t-1} + u_t B_t`, `y_t = C_t . h_t`.
pub struct ElementwiseScan {
    /// Step sizes, whole rows `[T, E]`.
    pub dt: Columns,
    /// A, `[E, N]`, below 0.
    pub a: BufferId,
    /// What is written, whole rows `[T, E]`.
    pub u: Columns,
    /// B `[T, N]`, in one buffer with C.
    pub b: Columns,
    /// C `[T, N]`.
    pub c: Columns,
}

impl ElementwiseScan {
    /// Notes the passes for `states` states a channel; gives what is read, `[T, E]`, the state, and
    /// the part of it that has left the window.
    pub fn plan(&self, p: &mut Planner, states: usize) -> (Columns, BufferId, Option<BufferId>) {
        let (y, state) = self.push(p, states, "", None);
        if p.change.window == 0 {
            return (y, state, None);
        }
        let (left, left_state) = self.push_left(p, states);
        (
            p.add("windowed", y, left, None, -1.0),
            state,
            Some(left_state),
        )
    }

    /// Notes the scan, with the sum of the step sizes over the window if each write is to be
    /// decayed by it; gives what is read and the state.
    fn push(
        &self,
        p: &mut Planner,
        states: usize,
        name: &str,
        window_sum: Option<Columns>,
    ) -> (Columns, BufferId) {
        let channels = self.dt.width;
        let out = p.rows(&format!("{name}scanned"), channels);
        let state = p.state(&format!("{name}state"), channels * states);
        let scratch_len = ScanElementwise::scratch_len(p.segment, channels, states);
        let scratch = p.scratch("scan scratch", scratch_len);
        p.push(
            &scan_elementwise::KERNEL,
            &ScanElementwise {
                t: 0,
                channels: channels as u32,
                states: states as u32,
                bc_stride: self.b.stride as u32,
                b_offset: self.b.offset as u32,
                c_offset: self.c.offset as u32,
                has_write_decay: window_sum.is_some().into(),
                log_shift: p.change.log_decay_shift,
                write_factor: p.change.write_factor,
                write_shift: p.change.window as f32 * p.change.log_decay_shift,
            },
            &[
                self.dt.buffer,
                self.a,
                self.u.buffer,
                self.b.buffer,
                window_sum.map_or(NONE, |w| w.buffer),
            ],
            &[out.buffer, state, scratch],
        );
        (out, state)
    }

    /// Notes the scan of what has left the window; see `plan/outer_scan.rs`. Its result is to be
    /// subtracted.
    fn push_left(&self, p: &mut Planner, states: usize) -> (Columns, BufferId) {
        let (channels, window) = (self.dt.width, p.change.window);
        let u = p.rows("late u", channels);
        p.delay_into("late u", self.u, window, u);
        let dt = p.rows("late dt", channels);
        p.delay_into("late dt", self.dt, window, dt);
        let [b, c] = p.rows("late b and c", 2 * states).split([states, states]);
        p.delay_into("late b", self.b, window, b);
        // What has left is still read by the present query.
        p.delay_into("present c", self.c, 0, c);
        let sum = p.rows("window sum", channels);
        let sums = p.state("window sum", 2 * channels);
        p.push(
            &window_sum::KERNEL,
            &WindowSum {
                t: 0,
                width: channels as u32,
            },
            &[self.dt.buffer, dt.buffer],
            &[sum.buffer, sums],
        );
        let late = ElementwiseScan {
            dt: self.dt,
            a: self.a,
            u,
            b,
            c,
        };
        late.push(p, states, "left window ", Some(sum))
    }
}
