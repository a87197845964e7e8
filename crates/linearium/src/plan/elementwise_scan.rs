//! The elementwise scan of a layer, with or without a sliding window (see `outer_scan.rs`).

use super::{Columns, Planner};
use crate::kernels::scan_elementwise::{self, ScanElementwise};
use crate::kernels::window_sum::{self, WindowSum};
use crate::recording::{BufferId, NONE};

#[cfg(feature = "zoo")]
use super::pruned::{ConstantGap, Gap};
/// Inputs of the scan `h_t = exp(dt_t A) h_{t-1} + u_t B_t`, `y_t = C_t . h_t`.
#[derive(Clone, Copy, Debug)]
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
        #[cfg(feature = "zoo")]
        {
            let planned = self.over_gaps(p).plan_rows(p, states);
            p.leave_all_rows();
            planned
        }
        #[cfg(not(feature = "zoo"))]
        self.plan_rows(p, states)
    }

    /// The scan of kept tokens that knows what happens to the state over the gaps between them: step
    /// sizes add up as log-decays do. Copies of the last kept token are walked over one by one, since
    /// the weight of a held input is another one for every state of a channel.
    #[cfg(feature = "zoo")]
    fn over_gaps(&self, p: &mut Planner) -> ElementwiseScan {
        let mut scan = *self;
        if !p.copies_tokens() {
            if let Gap::Decays(gaps) = p.enter_scan(self.dt) {
                if p.change.log_decay_shift != 0.0 {
                    p.refuse_pruning(
                        "a decay factor acts on each step of this scan, and steps over gaps are summed: set the decay factor to 1, or choose hold",
                    );
                }
                scan.dt = p.add("steps with gaps", gaps, self.dt, None, 1.0);
            }
            return scan;
        }
        let ConstantGap::Copies = p.enter_constant_scan() else {
            return scan;
        };
        scan.dt = p.over_all("steps of all tokens", self.dt, true, 0.0);
        scan.u = p.over_all("writes of all tokens", self.u, true, 0.0);
        let both = Columns::all(self.b.buffer, self.b.stride);
        let buffer = p.over_all("b and c of all tokens", both, true, 0.0).buffer;
        scan.b.buffer = buffer;
        scan.c.buffer = buffer;
        scan
    }

    fn plan_rows(&self, p: &mut Planner, states: usize) -> (Columns, BufferId, Option<BufferId>) {
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
        let scratch = p.workspace(scratch_len);
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
