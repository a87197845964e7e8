//! Root-mean-square norm over groups of columns, with an optional gate.
//!
//! `n(u) = u / sqrt(mean(u^2) + eps) * weight`; without a gate `out = n(x)`, with the gate before
//! the norm (Mamba-2, `mamba_ssm/ops/triton/layernorm_gated.py::rms_norm_ref`,
//! `norm_before_gate=False`) `out = n(x * silu(z))`, with the gate after it (GLA, RetNet;
//! `fla/modules/fused_norm_gate.py`) `out = n(x) * silu(z)`.

use bytemuck::{Pod, Zeroable};
use fearless_simd::Level;

use super::sigmoid;
use crate::recording::{Kernel, Params, Stage};

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

/// Reads `x [T, width]`, `weight [weight_len]`, `z [T, width]` (strided); writes `out [T, width]`.
pub static KERNEL: Kernel = Kernel {
    name: "rms_norm",
    reads: 3,
    writes: 1,
    wgsl: include_str!("rms_norm.wgsl"),
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
};

fn cpu(_: Level, params: &Params, reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let p: RmsNorm = params.unpack();
    let [x, weight, z] = reads else {
        unreachable!()
    };
    let [out] = writes else { unreachable!() };
    let (width, group) = (p.width as usize, p.group as usize);
    for t in 0..p.t as usize {
        for first in (0..width).step_by(group) {
            let gate = |c: usize| {
                let z = z[p.z_offset as usize + t * p.z_stride as usize + first + c];
                z * sigmoid(z)
            };
            let row = &x[t * width + first..][..group];
            let out = &mut out[t * width + first..][..group];
            let mut sum = 0.0;
            for c in 0..group {
                out[c] = if p.gate == GATE_THEN_NORM {
                    row[c] * gate(c)
                } else {
                    row[c]
                };
                sum += out[c] * out[c];
            }
            let scale = 1.0 / (sum / group as f32 + p.eps).sqrt();
            for c in 0..group {
                let w = weight[(first + c) % p.weight_len as usize];
                let g = if p.gate == NORM_THEN_GATE {
                    gate(c)
                } else {
                    1.0
                };
                out[c] = out[c] * scale * w * g;
            }
        }
    }
}
