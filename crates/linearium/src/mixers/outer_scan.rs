//! The outer-product scan of a layer, with or without a sliding window.
//!
//! The window is exact, by state difference (Stuffed Mamba, arXiv 2410.07145, mitigation 3):
//! `S_t - a_{t-r+1:t} S_{t-r}` holds the last r tokens. The second term obeys a recurrence of its
//! own, `D_t = a_t D_{t-1} + a_{t-r+1:t} k_{t-r} v_{t-r}^T`: the same scan over delayed tokens
//! whose writes are decayed by the window. So a window is one more scan, on both players, and no
//! ring of states is kept. The paper gives no code for it.

use std::sync::Arc;

use super::{Columns, Planner, Shape};
use crate::kernels::delay::{self, Delay};
use crate::kernels::exp_multiply::{self, ExpMultiply};
use crate::kernels::scaled_add::{self, ScaledAdd};
use crate::kernels::scan_outer::{self, ScanOuter};
use crate::kernels::window_sum::{self, WindowSum};
use crate::recording::{BufferId, NONE, Recording};

/// Inputs of the scan.
#[derive(Clone, Copy, Debug)]
pub struct Inputs {
    /// `[T, G, K]`.
    pub q: Columns,
    /// `[T, G, K]`.
    pub k: Columns,
    /// `[T, H, V]`.
    pub v: Columns,
    /// Log-decay `[T, H]` or `[T, H, K]`.
    pub log_decay: BufferId,
    /// True for `[T, H, K]`.
    pub per_key: bool,
    /// Write scale `[T, H]`.
    pub write_scale: Option<BufferId>,
    /// Multiplies the output.
    pub scale: f32,
}

/// A planned scan.
#[derive(Clone, Debug)]
pub struct OuterScan {
    inputs: Inputs,
    shape: Shape,
    groups: usize,
    write_factor: f32,
    /// `[H, K, V]`.
    pub state: BufferId,
    scratch: BufferId,
    scanned: BufferId,
    /// `[T, H, V]`.
    pub out: BufferId,
    /// The second scan, of what has left the window.
    pub window: Option<Window>,
}

/// Buffers of the second scan.
#[derive(Clone, Debug)]
pub struct Window {
    tokens: usize,
    k: Late,
    v: Late,
    log_decay: Late,
    write_scale: Option<Late>,
    ones: BufferId,
    sum: BufferId,
    sum_state: BufferId,
    write: BufferId,
    out: BufferId,
    /// `[H, K, V]`, to be subtracted from the state.
    pub state: BufferId,
}

/// A delayed input: its rows and its ring.
#[derive(Clone, Copy, Debug)]
struct Late {
    rows: Columns,
    ring: BufferId,
}

impl Late {
    fn new(planner: &mut Planner, name: &str, width: usize, window: usize) -> Late {
        Late {
            rows: Columns::all(
                planner.shared(&format!("late {name}"), planner.segment * width),
                width,
            ),
            ring: planner.state(&format!("ring {name}"), window * width),
        }
    }

    fn record(&self, recording: &mut Recording, x: Columns, t: usize, p: usize, window: usize) {
        recording.push(
            &delay::KERNEL,
            &Delay {
                t: t as u32,
                width: x.width as u32,
                x_stride: x.stride as u32,
                x_offset: x.offset as u32,
                delay: window as u32,
                phase: (p % window) as u32,
                out_stride: x.width as u32,
                out_offset: 0,
            },
            &[x.buffer],
            &[self.rows.buffer, self.ring],
        );
    }
}

impl OuterScan {
    /// Declares the buffers. With per-key decays every head has keys of its own (G = H).
    pub fn plan(planner: &mut Planner, inputs: Inputs, shape: Shape, groups: usize) -> OuterScan {
        assert!(!inputs.per_key || (groups == shape.heads && inputs.write_scale.is_none()));
        let Shape {
            heads, key, value, ..
        } = shape;
        let rows = planner.segment;
        let scratch_len = ScanOuter::scratch_len(rows, heads, key, value);
        let scanned = planner.shared("scanned", rows * heads * value);
        let tokens = planner.change.window;
        let decays = if inputs.per_key { heads * key } else { heads };
        let window = (tokens > 0).then(|| Window {
            tokens,
            k: Late::new(planner, "k", inputs.k.width, tokens),
            v: Late::new(planner, "v", inputs.v.width, tokens),
            log_decay: Late::new(planner, "g", decays, tokens),
            write_scale: inputs
                .write_scale
                .map(|_| Late::new(planner, "w", heads, tokens)),
            ones: planner.weight("ones", &Arc::from(vec![1.0; heads])),
            sum: planner.shared("window sum", rows * decays),
            sum_state: planner.state("window sum", 2 * decays),
            write: planner.shared("window write", rows * decays),
            out: planner.shared("left window", rows * heads * value),
            state: planner.state("left window", heads * key * value),
        });
        OuterScan {
            inputs,
            shape,
            groups,
            write_factor: planner.change.write_factor,
            state: planner.state("state", heads * key * value),
            scratch: planner.shared("scan scratch", scratch_len),
            scanned,
            out: match window {
                Some(_) => planner.shared("windowed", rows * heads * value),
                None => scanned,
            },
            window,
        }
    }

    /// Appends the passes.
    pub fn record(&self, recording: &mut Recording, t: usize, position: usize) {
        let i = &self.inputs;
        self.scan(
            recording,
            t,
            i.k,
            i.v,
            i.write_scale,
            self.scanned,
            self.state,
        );
        let Some(w) = &self.window else { return };
        let Shape {
            heads, key, value, ..
        } = self.shape;
        let decays = if i.per_key { heads * key } else { heads };
        let gates = Columns::all(i.log_decay, decays);
        w.k.record(recording, i.k, t, position, w.tokens);
        w.v.record(recording, i.v, t, position, w.tokens);
        w.log_decay.record(recording, gates, t, position, w.tokens);
        recording.push(
            &window_sum::KERNEL,
            &WindowSum {
                t: t as u32,
                width: decays as u32,
            },
            &[i.log_decay, w.log_decay.rows.buffer],
            &[w.sum, w.sum_state],
        );
        // What decays: the key itself if its channels decay apart, else the write scale.
        let decayed = match (i.per_key, i.write_scale, w.write_scale) {
            (true, ..) => w.k.rows,
            (false, Some(scale), Some(late)) => {
                late.record(recording, Columns::all(scale, heads), t, position, w.tokens);
                late.rows
            }
            _ => Columns {
                buffer: w.ones,
                stride: 0,
                offset: 0,
                width: heads,
            },
        };
        recording.push(
            &exp_multiply::KERNEL,
            &ExpMultiply {
                t: t as u32,
                width: decays as u32,
                x_stride: decayed.stride as u32,
                x_offset: decayed.offset as u32,
            },
            &[decayed.buffer, w.sum],
            &[w.write],
        );
        if i.per_key {
            let k = Columns::all(w.write, decays);
            self.scan(recording, t, k, w.v.rows, None, w.out, w.state);
        } else {
            self.scan(
                recording,
                t,
                w.k.rows,
                w.v.rows,
                Some(w.write),
                w.out,
                w.state,
            );
        }
        recording.push(
            &scaled_add::KERNEL,
            &ScaledAdd {
                t: t as u32,
                width: (heads * value) as u32,
                y_stride: (heads * value) as u32,
                y_offset: 0,
                per: 1,
                has_d: 0,
                multiply: 0,
                multiplier: -1.0,
            },
            &[self.scanned, w.out, NONE],
            &[self.out],
        );
    }

    fn scan(
        &self,
        recording: &mut Recording,
        t: usize,
        k: Columns,
        v: Columns,
        write_scale: Option<BufferId>,
        out: BufferId,
        state: BufferId,
    ) {
        let i = &self.inputs;
        recording.push(
            &scan_outer::KERNEL,
            &ScanOuter {
                t: t as u32,
                heads: self.shape.heads as u32,
                key: self.shape.key as u32,
                value: self.shape.value as u32,
                groups: self.groups as u32,
                q_stride: i.q.stride as u32,
                q_offset: i.q.offset as u32,
                k_stride: k.stride as u32,
                k_offset: k.offset as u32,
                v_stride: v.stride as u32,
                v_offset: v.offset as u32,
                per_key: i.per_key.into(),
                has_write_scale: write_scale.is_some().into(),
                scale: i.scale,
                write_factor: self.write_factor,
                read_before: 0,
            },
            &[
                i.q.buffer,
                k.buffer,
                v.buffer,
                i.log_decay,
                write_scale.unwrap_or(NONE),
            ],
            &[out, state, self.scratch],
        );
    }
}
