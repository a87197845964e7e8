//! Causal depthwise convolution along routed tokens: each memory has a convolution of its own, that
//! only the tokens routed to it enter, so that its last inputs are those tokens' (MoM,
//! arXiv 2502.13685; `OpenSparseLLMs/MoM`, `mom/layers/mom.py`). The result goes through SiLU; it is
//! 0 for the tokens of other memories.
//!
//! All memories have the same taps. A memory without a column in `chosen` gets every token.

use bytemuck::{Pod, Zeroable};
use fearless_simd::Level;

use super::linear_workgroups;
use crate::random::Random;
use crate::recording::{Call, Kernel, Params, Stage};

/// Parameters.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct RoutedConv {
    /// Rows T.
    pub t: u32,
    /// Memories.
    pub memories: u32,
    /// Channels C of a memory.
    pub channels: u32,
    /// Width W of the convolution, [`MAX_WIDTH`] at most.
    pub width: u32,
    /// Row stride of x.
    pub x_stride: u32,
    /// First column of x.
    pub x_offset: u32,
    /// 1 if all memories read the same C columns of x.
    pub shared: u32,
    /// Columns of `chosen`.
    pub routed: u32,
}

/// Largest width of the convolution.
pub const MAX_WIDTH: usize = 16;

fn canary(seed: u64) -> Call {
    let mut random = Random::new(seed);
    let (memories, channels, width, routed) = (4, 9, 4, 3);
    let (x_stride, x_offset) = (40, 3);
    let t = [19, 2][(seed % 2) as usize];
    let params = RoutedConv {
        t,
        memories,
        channels,
        width,
        x_stride,
        x_offset,
        shared: (seed / 2 % 2) as u32,
        routed,
    };
    let chosen = (0..t * routed).map(|_| f32::from(u8::from(random.uniform() < 0.5)));
    let chosen = chosen.collect();
    let all = memories * channels;
    Call {
        params: Params::pack(&params),
        reads: vec![
            random.normals((x_offset + t * x_stride) as usize, 1.0),
            random.normals((channels * width) as usize, 0.5),
            chosen,
        ],
        writes: vec![
            vec![f32::NAN; (t * all) as usize],
            random.normals(((width - 1) * all) as usize, 1.0),
        ],
    }
}

/// Reads `x [T, memories, C]` or `[T, C]` (strided), `weight [C, W]`, `chosen [T, routed]` (1 or 0);
/// writes `y [T, memories, C]`, `tail [W - 1, memories, C]` (the last inputs, oldest first).
pub static KERNEL: Kernel = Kernel {
    name: "routed_conv",
    reads: 3,
    writes: 2,
    wgsl: include_str!(concat!(env!("OUT_DIR"), "/routed_conv.wgsl")),
    canary,
    // One thread a channel of a memory walks over the tokens: which are its last inputs depends on
    // all of them.
    stages: &[Stage {
        entry: "routed_conv",
        workgroups: |p| {
            let p: RoutedConv = p.unpack();
            linear_workgroups((p.memories * p.channels) as usize)
        },
    }],
    cpu,
};

fn cpu(_: Level, params: &Params, reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let p: RoutedConv = params.unpack();
    let [x, weight, chosen] = reads else {
        unreachable!()
    };
    let [y, tail] = writes else { unreachable!() };
    let (channels, width, routed) = (p.channels as usize, p.width as usize, p.routed as usize);
    let all = p.memories as usize * channels;
    for t in 0..p.t as usize {
        let x = &x[p.x_offset as usize + t * p.x_stride as usize..];
        for m in 0..p.memories as usize {
            let columns = m * channels..(m + 1) * channels;
            let y = &mut y[t * all..][columns.clone()];
            if m < routed && chosen[t * routed + m] == 0.0 {
                y.fill(0.0);
                continue;
            }
            let first = if p.shared == 1 { 0 } else { columns.start };
            let x = &x[first..first + channels];
            for c in 0..channels {
                let mut sum = weight[c * width + width - 1] * x[c];
                for w in 0..width - 1 {
                    sum += weight[c * width + w] * tail[w * all + columns.start + c];
                }
                y[c] = sum / (1.0 + (-sum).exp());
            }
            for w in 1..width - 1 {
                let (older, newer) = tail.split_at_mut(w * all);
                older[(w - 1) * all..][columns.clone()].copy_from_slice(&newer[columns.clone()]);
            }
            if width > 1 {
                tail[(width - 2) * all..][columns].copy_from_slice(x);
            }
        }
    }
}
