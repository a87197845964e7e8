//! Causal depthwise convolution with its tail carried over:
//! `y[t, c] = act(bias[c] + sum_w weight[c, w] x[t - (W-1) + w, c])`, rows before the first from
//! the tail.

use bytemuck::{Pod, Zeroable};
use fearless_simd::Level;

use super::{linear_workgroups, sigmoid};
use crate::recording::{Kernel, Params, Stage};

/// Parameters.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct CausalConv {
    /// Rows T.
    pub t: u32,
    /// Channels C.
    pub channels: u32,
    /// Width W of the convolution, 16 at most.
    pub width: u32,
    /// Row stride of x.
    pub x_stride: u32,
    /// First column of x.
    pub x_offset: u32,
    /// 1 if there is a bias.
    pub has_bias: u32,
    /// 1 if the result goes through silu.
    pub silu: u32,
}

/// Reads `x [T, C]` (strided), `weight [C, W]`, `bias [C]`; writes `y [T, C]`, `tail [W-1, C]`
/// (the last inputs, oldest first).
pub static KERNEL: Kernel = Kernel {
    name: "causal_conv",
    reads: 3,
    writes: 2,
    wgsl: include_str!("causal_conv.wgsl"),
    stages: &[
        Stage {
            entry: "convolve",
            workgroups: |p| {
                let p: CausalConv = p.unpack();
                linear_workgroups((p.t * p.channels) as usize)
            },
        },
        // One thread a channel: it reads the old tail before it writes the new one.
        Stage {
            entry: "keep_tail",
            workgroups: |p| {
                let p: CausalConv = p.unpack();
                if p.t == 0 {
                    [0, 1, 1]
                } else {
                    linear_workgroups(p.channels as usize)
                }
            },
        },
    ],
    cpu,
};

fn cpu(_: Level, params: &Params, reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let p: CausalConv = params.unpack();
    let [x, weight, bias] = reads else {
        unreachable!()
    };
    let [y, tail] = writes else { unreachable!() };
    let (channels, width, t_len) = (p.channels as usize, p.width as usize, p.t as usize);
    let input = |tail: &[f32], t: usize, c: usize| {
        // t counts from the oldest row of the tail.
        if t < width - 1 {
            tail[t * channels + c]
        } else {
            x[p.x_offset as usize + (t + 1 - width) * p.x_stride as usize + c]
        }
    };
    for t in 0..t_len {
        for c in 0..channels {
            let mut sum = if p.has_bias == 1 { bias[c] } else { 0.0 };
            for w in 0..width {
                sum += weight[c * width + w] * input(tail, t + w, c);
            }
            y[t * channels + c] = if p.silu == 1 { sum * sigmoid(sum) } else { sum };
        }
    }
    for row in 0..width - 1 {
        for c in 0..channels {
            tail[row * channels + c] = input(tail, row + t_len, c);
        }
    }
}
