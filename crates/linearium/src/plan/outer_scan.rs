//! The outer-product scan of a layer, with or without a sliding window.
//!
//! The window is exact, by state difference (Stuffed Mamba, arXiv 2410.07145, mitigation 3):
//! `S_t - a_{t-r+1:t} S_{t-r}` holds the last r tokens. The second term obeys a recurrence of its
//! own, `D_t = a_t D_{t-1} + a_{t-r+1:t} k_{t-r} v_{t-r}^T`: the same scan over delayed tokens
//! whose writes are decayed by the window. So a window is one more scan, on both players, and no
//! ring of states is kept. The paper gives no code for it.

#[cfg(feature = "zoo")]
use super::pointwise::Gate;
#[cfg(feature = "zoo")]
use super::pruned::Gap;
use super::{Columns, Planner};
#[cfg(feature = "zoo")]
use crate::kernels::hold_input::{self, HoldInput};
use crate::kernels::scan_outer::{self, ScanOuter};
use crate::kernels::window_sum::{self, WindowSum};
use crate::mixers::{Decay, Shape, Taps};
use crate::recording::{BufferId, NONE};

/// Inputs of the scan.
#[derive(Clone, Copy, Debug)]
pub struct OuterScan {
    /// `[T, G, K]`.
    pub q: Columns,
    /// `[T, G, K]`.
    pub k: Columns,
    /// `[T, H, V]`.
    pub v: Columns,
    /// Log-decay, whole rows `[T, H]`, or `[T, H, K]` if every key channel decays apart; then
    /// every head has keys of its own (G = H).
    pub log_decay: Columns,
    /// Write scale `[T, H]`, whole rows; not with a decay for each key channel.
    pub write_scale: Option<Columns>,
    /// Multiplies the output.
    pub scale: f32,
    /// True if a token reads the state as it was before its own decay and write (RWKV).
    pub read_before: bool,
}

/// One scan of tokens: what is written, and where the result goes.
struct Writes {
    k: Columns,
    v: Columns,
    scale: Option<Columns>,
    out: BufferId,
    state: BufferId,
}

impl OuterScan {
    fn per_key(&self, shape: &Shape) -> bool {
        self.log_decay.width > shape.heads
    }

    /// Notes the passes; gives what is read from the state, `[T, H, V]`, and where probes find
    /// the factors.
    pub fn plan(&self, p: &mut Planner, shape: &Shape) -> (Columns, Taps) {
        #[cfg(feature = "zoo")]
        {
            p.show_value(self.v);
            p.shown.read_before |= p.is_tapped() && self.read_before;
            let scan = self.over_gaps(p, shape);
            let planned = scan.plan_rows(p, shape);
            p.leave_all_rows();
            planned
        }
        #[cfg(not(feature = "zoo"))]
        self.plan_rows(p, shape)
    }

    /// The scan of kept tokens that knows what happens to the state over the gaps between them.
    ///
    /// With the sums G of log-decays over the gaps, `S_k = exp(g_k + G_k) S_{k-1} + ...`; a query
    /// that reads before its own decay reads `exp(G_k) S_{k-1}`, so G goes to it too. A held input
    /// has a row of its own for each gap.
    #[cfg(feature = "zoo")]
    fn over_gaps(&self, p: &mut Planner, shape: &Shape) -> OuterScan {
        let gaps = match p.enter_scan(self.log_decay) {
            Gap::Closed => return *self,
            Gap::Held(repeats) => return self.hold_inputs(p, shape, repeats),
            Gap::Decays(gaps) => gaps,
        };
        let log_decay = p.add("log-decay with gaps", gaps, self.log_decay, None, 1.0);
        let mut scan = OuterScan { log_decay, ..*self };
        if self.read_before {
            scan.q = p.rows("query over gaps", self.q.width);
            let repeat = self.q.width / gaps.width;
            let gaps = match repeat {
                1 => gaps,
                _ => p.gate("gaps of keys", gaps.spread(1, repeat), &Gate::default()),
            };
            p.decay(self.q, gaps, scan.q);
        }
        scan
    }

    #[cfg(feature = "zoo")]
    fn hold_inputs(&self, p: &mut Planner, shape: &Shape, repeats: BufferId) -> OuterScan {
        let per_key = self.per_key(shape);
        let written = match self.write_scale {
            _ if per_key => self.k,
            Some(scale) => scale,
            None => {
                let ones = p.weight("ones", &vec![1.0; shape.heads].into());
                Columns::same(ones, shape.heads)
            }
        };
        let width = self.log_decay.width;
        let log_decay = p.rows("log-decay of held inputs", width);
        let held = p.rows("held inputs", width);
        p.push(
            &hold_input::KERNEL,
            &HoldInput {
                t: 0,
                width: width as u32,
                x_stride: written.stride as u32,
                x_offset: written.offset as u32,
            },
            &[self.log_decay.buffer, repeats, written.buffer],
            &[log_decay.buffer, held.buffer],
        );
        let (k, write_scale) = if per_key {
            (held, self.write_scale)
        } else {
            (self.k, Some(held))
        };
        OuterScan {
            k,
            log_decay,
            write_scale,
            ..*self
        }
    }

    fn plan_rows(&self, p: &mut Planner, shape: &Shape) -> (Columns, Taps) {
        let values = shape.heads * shape.value;
        let per_key = self.per_key(shape);
        let mut out = p.rows("scanned", values);
        let state = p.state("state", shape.state);
        let writes = Writes {
            k: self.k,
            v: self.v,
            scale: self.write_scale,
            out: out.buffer,
            state,
        };
        self.push(p, shape, &writes);
        let mut taps = Taps {
            heads_per_group: shape.heads * shape.key / self.k.width,
            write_scale: self.write_scale,
            scale: self.scale * p.change.write_factor,
            state: Some(state),
            window: p.change.window,
            ..Taps::new(
                self.q,
                self.k,
                if per_key {
                    Decay::PerKey(self.log_decay)
                } else {
                    Decay::Scalar(self.log_decay)
                },
            )
        };
        if p.change.window > 0 {
            let (left, left_state) = self.plan_left(p, shape);
            out = p.add("windowed", out, left, None, -1.0);
            taps.left_window = Some(left_state);
        }
        (out, taps)
    }

    /// The second scan, of what has left the window.
    fn plan_left(&self, p: &mut Planner, shape: &Shape) -> (Columns, BufferId) {
        // A token that reads before it writes is itself the last of the window.
        let window = p.change.window - usize::from(self.read_before);
        let late = |p: &mut Planner, name: &str, x: Columns| {
            let name = format!("late {name}");
            let out = p.rows(&name, x.width);
            p.delay_into(&name, x, window, out);
            out
        };
        let k = late(p, "k", self.k);
        let v = late(p, "v", self.v);
        let gate = late(p, "g", self.log_decay);
        let width = self.log_decay.width;
        let sum = p.rows("window sum", width);
        let sums = p.state("window sum", 2 * width);
        p.push(
            &window_sum::KERNEL,
            &WindowSum {
                t: 0,
                width: width as u32,
            },
            &[self.log_decay.buffer, gate.buffer],
            &[sum.buffer, sums],
        );
        // What decays: the key itself if its channels decay apart, else the write scale.
        let per_key = self.per_key(shape);
        let decayed = match self.write_scale {
            _ if per_key => k,
            Some(scale) => late(p, "w", scale),
            None => {
                let ones = p.weight("ones", &vec![1.0; shape.heads].into());
                Columns::same(ones, shape.heads)
            }
        };
        let write = p.rows("window write", width);
        p.decay(decayed, sum, write);
        let out = p.rows("left window", shape.heads * shape.value);
        let state = p.state("left window", shape.state);
        let (k, scale) = if per_key {
            (write, None)
        } else {
            (k, Some(write))
        };
        let writes = Writes {
            k,
            v,
            scale,
            out: out.buffer,
            state,
        };
        self.push(p, shape, &writes);
        (out, state)
    }

    fn push(&self, p: &mut Planner, shape: &Shape, w: &Writes) {
        let Shape {
            heads, key, value, ..
        } = *shape;
        let scratch_len = ScanOuter::scratch_len(p.most_rows(), heads, key, value);
        let scratch = p.workspace(scratch_len);
        p.push(
            &scan_outer::KERNEL,
            &ScanOuter {
                t: 0,
                heads: heads as u32,
                key: key as u32,
                value: value as u32,
                groups: (self.q.width / key) as u32,
                q_stride: self.q.stride as u32,
                q_offset: self.q.offset as u32,
                k_stride: w.k.stride as u32,
                k_offset: w.k.offset as u32,
                v_stride: w.v.stride as u32,
                v_offset: w.v.offset as u32,
                per_key: self.per_key(shape).into(),
                has_write_scale: w.scale.is_some().into(),
                scale: self.scale,
                write_factor: p.change.write_factor,
                read_before: self.read_before.into(),
            },
            &[
                self.q.buffer,
                w.k.buffer,
                w.v.buffer,
                self.log_decay.buffer,
                w.scale.map_or(NONE, |c| c.buffer),
            ],
            &[w.out, w.state, scratch],
        );
    }
}
