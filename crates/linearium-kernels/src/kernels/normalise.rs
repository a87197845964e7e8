//! Normalises groups of columns: [`LAYER`] `(x - mean) / sqrt(var + eps)` (layer norm; group norm
//! where a group is a head), [`SUM`] `x / (sum x + eps)`, [`SOFTMAX`] `e^(x - max) / sum`; then
//! times a weight and plus a bias for each column, where there are some. [`super::rms_norm`] divides
//! by the length.

use bytemuck::{Pod, Zeroable};
use fearless_simd::{Level, Simd, SimdBase, dispatch};

use super::simd_math::{exp, load, store};
use crate::random::Random;
use crate::recording::{Call, Kernel, Params, Stage};

/// Less the mean, over the deviation.
pub const LAYER: u32 = 0;
/// Over the sum.
pub const SUM: u32 = 1;
/// Exponentials over their sum; `eps` is not used.
pub const SOFTMAX: u32 = 2;

/// Parameters.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct Normalise {
    /// Rows T.
    pub t: u32,
    /// Columns.
    pub width: u32,
    /// Columns that are normalised together; divides `width`.
    pub group: u32,
    /// Row stride of x.
    pub x_stride: u32,
    /// First column of x.
    pub x_offset: u32,
    /// [`LAYER`], [`SUM`] or [`SOFTMAX`].
    pub kind: u32,
    /// Added to the variance or the sum.
    pub eps: f32,
    /// 1 if there is a weight.
    pub has_weight: u32,
    /// 1 if there is a bias.
    pub has_bias: u32,
}

fn canary(seed: u64) -> Call {
    let mut random = Random::new(seed);
    let (t, width, group, x_stride, x_offset) = (7, 150, 75, 161, 6);
    let params = Normalise {
        t,
        width,
        group,
        x_stride,
        x_offset,
        kind: (seed % 3) as u32,
        eps: 1e-3,
        has_weight: (seed % 2) as u32,
        has_bias: (seed / 2 % 2) as u32,
    };
    let x = (x_offset + t * x_stride) as usize;
    Call {
        params: Params::pack(&params),
        reads: vec![
            // Sums far from 0.
            random.uniforms(x, -0.5, 2.0),
            random.normals(width as usize, 1.0),
            random.normals(width as usize, 1.0),
        ],
        writes: vec![vec![f32::NAN; (t * width) as usize]],
    }
}

/// Reads `x [T, width]` (strided), `weight [width]`, `bias [width]`; writes `out [T, width]`.
pub static KERNEL: Kernel = Kernel {
    name: "normalise",
    reads: 3,
    writes: 1,
    wgsl: include_str!(concat!(env!("OUT_DIR"), "/normalise.wgsl")),
    canary,
    // One workgroup a row and group, folded over two dimensions.
    stages: &[Stage {
        entry: "normalise",
        workgroups: |p| {
            let p: Normalise = p.unpack();
            let groups = p.t * (p.width / p.group);
            match groups {
                0 => [0, 1, 1],
                1..=65_535 => [groups, 1, 1],
                _ => [65_535, groups.div_ceil(65_535), 1],
            }
        },
    }],
    cpu,
};

fn cpu(level: Level, params: &Params, reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    dispatch!(level, simd => normalise(simd, &params.unpack(), reads, writes));
}

#[inline(always)]
fn normalise<S: Simd>(simd: S, p: &Normalise, reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let [x, weight, bias] = reads else {
        unreachable!()
    };
    let [out] = writes else { unreachable!() };
    let (width, group) = (p.width as usize, p.group as usize);
    for t in 0..p.t as usize {
        let row = &x[p.x_offset as usize + t * p.x_stride as usize..][..width];
        for first in (0..width).step_by(group) {
            let x = &row[first..first + group];
            let out = &mut out[t * width + first..][..group];
            out.copy_from_slice(x);
            let (from, factor) = match p.kind {
                LAYER => {
                    let mean = x.iter().sum::<f32>() / group as f32;
                    let squares: f32 = x.iter().map(|x| (x - mean) * (x - mean)).sum();
                    (mean, 1.0 / (squares / group as f32 + p.eps).sqrt())
                }
                SUM => (0.0, 1.0 / (x.iter().sum::<f32>() + p.eps)),
                _ => {
                    let max = x.iter().fold(f32::NEG_INFINITY, |m, &x| m.max(x));
                    for c in (0..group).step_by(S::f32s::LEN) {
                        let e = exp(simd, load(simd, out, c) - max);
                        store::<S>(e, out, c);
                    }
                    (0.0, 1.0 / out.iter().sum::<f32>())
                }
            };
            for c in (0..group).step_by(S::f32s::LEN) {
                let mut u = (load(simd, out, c) - from) * factor;
                if p.has_weight == 1 {
                    u *= load(simd, &weight[first..first + group], c);
                }
                if p.has_bias == 1 {
                    u += load(simd, &bias[first..first + group], c);
                }
                store::<S>(u, out, c);
            }
        }
    }
}
