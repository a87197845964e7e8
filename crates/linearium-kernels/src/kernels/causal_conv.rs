//! Causal depthwise convolution with its tail carried over:
//! `y[t, c] = act(bias[c] + sum_w weight[c, w] x[t - (W-1) + w, c])`, rows before the first from
//! the tail.

use bytemuck::{Pod, Zeroable};
use fearless_simd::{Level, Simd, SimdBase, SimdFloat, dispatch};

use super::linear_workgroups;
use super::simd_math::{load, silu, store};
use crate::random::Random;
use crate::recording::{Call, Kernel, Params, Stage};

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

fn canary(seed: u64) -> Call {
    let mut random = Random::new(seed);
    let (channels, width, x_stride, x_offset) = (37, 4, 50, 6);
    // Two tokens are fewer than the tail keeps.
    let t = [19, 2][(seed % 2) as usize];
    let params = CausalConv {
        t,
        channels,
        width,
        x_stride,
        x_offset,
        has_bias: 1,
        silu: 1,
    };
    Call {
        params: Params::pack(&params),
        reads: vec![
            random.normals((x_offset + t * x_stride) as usize, 1.0),
            random.normals((channels * width) as usize, 0.5),
            random.normals(channels as usize, 0.5),
        ],
        writes: vec![
            vec![f32::NAN; (t * channels) as usize],
            random.normals(((width - 1) * channels) as usize, 1.0),
        ],
    }
}

/// Reads `x [T, C]` (strided), `weight [C, W]`, `bias [C]`; writes `y [T, C]`, `tail [W-1, C]`
/// (the last inputs, oldest first).
pub static KERNEL: Kernel = Kernel {
    name: "causal_conv",
    reads: 3,
    writes: 2,
    wgsl: include_str!(concat!(env!("OUT_DIR"), "/causal_conv.wgsl")),
    canary,
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
}
.of_this_build();

fn cpu(level: Level, params: &Params, reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    dispatch!(level, simd => causal_conv(simd, &params.unpack(), reads, writes));
}

/// Taps that are added in one pass over a row.
const TAPS: usize = 4;

#[inline(always)]
fn causal_conv<S: Simd>(simd: S, p: &CausalConv, reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let [x, weight, bias] = reads else {
        unreachable!()
    };
    let [y, tail] = writes else { unreachable!() };
    let (channels, width, t_len) = (p.channels as usize, p.width as usize, p.t as usize);
    let lanes = S::f32s::LEN;
    // Channels side by side, as the rows are; taps that fill up a pass are zero.
    let mut taps = vec![0.0; width.next_multiple_of(TAPS) * channels];
    for (c, weight) in weight.chunks_exact(width).take(channels).enumerate() {
        for w in 0..width {
            taps[w * channels + c] = weight[w];
        }
    }
    let zeros = vec![0.0; channels];
    let first = if p.has_bias == 1 {
        &bias[..channels]
    } else {
        &zeros
    };
    for t in 0..t_len {
        let y = &mut y[t * channels..][..channels];
        for pass in (0..width).step_by(TAPS) {
            let taps: [&[f32]; TAPS] =
                std::array::from_fn(|i| &taps[(pass + i) * channels..][..channels]);
            let rows: [&[f32]; TAPS] = std::array::from_fn(|i| {
                // Rows count from the oldest of the tail.
                let w = pass + i;
                if w >= width {
                    &zeros
                } else if t + w < width - 1 {
                    &tail[(t + w) * channels..][..channels]
                } else {
                    let row = t + w + 1 - width;
                    &x[p.x_offset as usize + row * p.x_stride as usize..][..channels]
                }
            });
            let act = p.silu == 1 && pass + TAPS >= width;
            let mut c = 0;
            while c + lanes <= channels {
                let at = c..c + lanes;
                let before = if pass == 0 {
                    &first[at.clone()]
                } else {
                    &y[at.clone()]
                };
                let mut sum = S::f32s::from_slice(simd, before);
                for i in 0..TAPS {
                    let x = S::f32s::from_slice(simd, &rows[i][at.clone()]);
                    sum = S::f32s::from_slice(simd, &taps[i][at.clone()]).mul_add(x, sum);
                }
                activate(simd, sum, act).store_slice(&mut y[at]);
                c += lanes;
            }
            if c < channels {
                let mut sum = load(simd, if pass == 0 { first } else { y }, c);
                for i in 0..TAPS {
                    sum = load(simd, taps[i], c).mul_add(load(simd, rows[i], c), sum);
                }
                store::<S>(activate(simd, sum, act), y, c);
            }
        }
    }
    // The last inputs become the tail; what of the old tail is among them moves up.
    let kept = (width - 1).saturating_sub(t_len);
    tail.copy_within(t_len.min(width - 1) * channels..(width - 1) * channels, 0);
    for row in kept..width - 1 {
        let from = p.x_offset as usize + (row + t_len + 1 - width) * p.x_stride as usize;
        tail[row * channels..][..channels].copy_from_slice(&x[from..from + channels]);
    }
}

#[inline(always)]
fn activate<S: Simd>(simd: S, sum: S::f32s, silu_follows: bool) -> S::f32s {
    if silu_follows { silu(simd, sum) } else { sum }
}
