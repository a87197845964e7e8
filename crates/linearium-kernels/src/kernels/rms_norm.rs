//! Root-mean-square norm over groups of columns, with an optional gate.
//!
//! `n(u) = u / sqrt(mean(u^2) + eps) * weight`; without a gate `out = n(x)`, with the gate before
//! the norm (Mamba-2, `mamba_ssm/ops/triton/layernorm_gated.py::rms_norm_ref`,
//! `norm_before_gate=False`) `out = n(x * silu(z))`, with the gate after it (GLA, RetNet;
//! `fla/modules/fused_norm_gate.py`) `out = n(x) * silu(z)`.

use bytemuck::{Pod, Zeroable};
use fearless_simd::{Level, Simd, SimdBase, SimdFloat, dispatch};

use super::simd_math::{load, silu, store};
use crate::random::Random;
use crate::recording::{Call, Kernel, Params, Stage};

/// No gate.
pub const NO_GATE: u32 = 0;
/// Gate, then norm.
pub const GATE_THEN_NORM: u32 = 1;
/// Norm, then gate.
pub const NORM_THEN_GATE: u32 = 2;

/// Parameters.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct RmsNorm {
    /// Rows T.
    pub t: u32,
    /// Columns.
    pub width: u32,
    /// Columns that are normalised together; divides `width`.
    pub group: u32,
    /// Length of the weight; column c uses `weight[c % weight_len]`.
    pub weight_len: u32,
    /// Added to the mean square.
    pub eps: f32,
    /// [`NO_GATE`], [`GATE_THEN_NORM`] or [`NORM_THEN_GATE`].
    pub gate: u32,
    /// Row stride of the gate z.
    pub z_stride: u32,
    /// First column of the gate z.
    pub z_offset: u32,
}

fn canary(seed: u64) -> Call {
    let mut random = Random::new(seed);
    let (t, width, group, z_stride, z_offset) = (7, 150, 75, 170, 6);
    let weight_len = [width, group][(seed % 2) as usize];
    let params = RmsNorm {
        t,
        width,
        group,
        weight_len,
        eps: 1e-5,
        gate: [GATE_THEN_NORM, NORM_THEN_GATE, NO_GATE][(seed % 3) as usize],
        z_stride,
        z_offset,
    };
    Call {
        params: Params::pack(&params),
        reads: vec![
            random.normals((t * width) as usize, 2.0),
            random.normals(weight_len as usize, 1.0),
            random.normals((z_offset + t * z_stride) as usize, 2.0),
        ],
        writes: vec![vec![f32::NAN; (t * width) as usize]],
    }
}

/// Reads `x [T, width]`, `weight [weight_len]`, `z [T, width]` (strided); writes `out [T, width]`.
pub static KERNEL: Kernel = Kernel {
    name: "rms_norm",
    reads: 3,
    writes: 1,
    wgsl: include_str!(concat!(env!("OUT_DIR"), "/rms_norm.wgsl")),
    canary,
    // One workgroup a row and group, folded over two dimensions.
    stages: &[Stage {
        entry: "rms_norm",
        workgroups: |p| {
            let p: RmsNorm = p.unpack();
            let groups = p.t * (p.width / p.group);
            match groups {
                0 => [0, 1, 1],
                1..=65_535 => [groups, 1, 1],
                _ => [65_535, groups.div_ceil(65_535), 1],
            }
        },
    }],
    cpu,
}
.of_this_build();

fn cpu(level: Level, params: &Params, reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    dispatch!(level, simd => rms_norm(simd, &params.unpack(), reads, writes));
}

#[inline(always)]
fn rms_norm<S: Simd>(simd: S, p: &RmsNorm, reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let [x, weight, z] = reads else {
        unreachable!()
    };
    let [out] = writes else { unreachable!() };
    let (width, group) = (p.width as usize, p.group as usize);
    // The weight of all columns; `weight_len` divides neither a group nor a vector in general.
    let weights: Vec<f32> = (0..width)
        .map(|c| weight[c % p.weight_len as usize])
        .collect();
    for t in 0..p.t as usize {
        let z: &[f32] = if p.gate == NO_GATE {
            &[]
        } else {
            &z[p.z_offset as usize + t * p.z_stride as usize..][..width]
        };
        for first in (0..width).step_by(group) {
            let columns = first..first + group;
            let row = &x[t * width..][columns.clone()];
            let out = &mut out[t * width..][columns.clone()];
            let weights = &weights[columns.clone()];
            let z = if p.gate == NO_GATE { z } else { &z[columns] };
            let mut squares = S::f32s::splat(simd, 0.0);
            let lanes = S::f32s::LEN;
            // Whole vectors without the checks of the last one, which may be a part.
            let whole = group / lanes * lanes;
            for c in (0..whole).step_by(lanes) {
                let mut u = S::f32s::from_slice(simd, &row[c..c + lanes]);
                if p.gate == GATE_THEN_NORM {
                    u *= silu(simd, S::f32s::from_slice(simd, &z[c..c + lanes]));
                }
                squares = u.mul_add(u, squares);
                u.store_slice(&mut out[c..c + lanes]);
            }
            if whole < group {
                let mut u = load(simd, row, whole);
                if p.gate == GATE_THEN_NORM {
                    u *= silu(simd, load(simd, z, whole));
                }
                squares = u.mul_add(u, squares);
                store::<S>(u, out, whole);
            }
            let scale = 1.0 / (squares.reduce_sum() / group as f32 + p.eps).sqrt();
            for (u, weight) in out.iter_mut().zip(weights) {
                *u = *u * scale * weight;
            }
            if p.gate == NORM_THEN_GATE {
                for c in (0..group).step_by(lanes) {
                    store::<S>(load(simd, out, c) * silu(simd, load(simd, z, c)), out, c);
                }
            }
        }
    }
}
