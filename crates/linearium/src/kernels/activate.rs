//! Gates: `out[t, c] = scale[c] * m * f(x[t, c] + bias[c]) + shift`, where f is an activation,
//! clamped, and zero at or below a threshold.
//!
//! The step size of Mamba is softplus with `clamp` and LongMamba's filter as `threshold`; its
//! log-decay is the identity with `scale = A`; the gate of GLA is logsigmoid with `m = 1/16`.

use bytemuck::{Pod, Zeroable};
use fearless_simd::Level;

use super::{linear_workgroups, sigmoid, softplus};
use crate::recording::{Kernel, Params, Stage};

/// f(x) = x.
pub const IDENTITY: u32 = 0;
/// f(x) = ln(1 + e^x).
pub const SOFTPLUS: u32 = 1;
/// f(x) = ln(1 / (1 + e^-x)).
pub const LOG_SIGMOID: u32 = 2;
/// f(x) = x / (1 + e^-x).
pub const SILU: u32 = 3;

/// Parameters.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct Activate {
    /// Rows T.
    pub t: u32,
    /// Columns.
    pub width: u32,
    /// Row stride of x; 0 repeats one row.
    pub x_stride: u32,
    /// First column of x.
    pub x_offset: u32,
    /// The activation.
    pub function: u32,
    /// 1 if there is a bias.
    pub has_bias: u32,
    /// 1 if there is a scale.
    pub has_scale: u32,
    /// 1 if there is a threshold.
    pub has_threshold: u32,
    /// Lowest value of f.
    pub min: f32,
    /// Highest value of f.
    pub max: f32,
    /// m.
    pub multiplier: f32,
    /// Added at the end.
    pub shift: f32,
}

/// Reads `x [T, width]` (strided), `bias`, `scale`, `threshold` (`[width]` each); writes
/// `out [T, width]`.
pub static KERNEL: Kernel = Kernel {
    name: "activate",
    reads: 4,
    writes: 1,
    wgsl: include_str!("activate.wgsl"),
    stages: &[Stage {
        entry: "activate",
        workgroups: |p| {
            let p: Activate = p.unpack();
            linear_workgroups((p.t * p.width) as usize)
        },
    }],
    cpu,
};

fn cpu(_: Level, params: &Params, reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let p: Activate = params.unpack();
    let [x, bias, scale, threshold] = reads else {
        unreachable!()
    };
    let [out] = writes else { unreachable!() };
    let width = p.width as usize;
    for t in 0..p.t as usize {
        for c in 0..width {
            let b = if p.has_bias == 1 { bias[c] } else { 0.0 };
            let u = x[p.x_offset as usize + t * p.x_stride as usize + c] + b;
            let f = match p.function {
                SOFTPLUS => softplus(u),
                LOG_SIGMOID => -softplus(-u),
                SILU => u * sigmoid(u),
                _ => u,
            };
            let mut f = f.max(p.min).min(p.max);
            if p.has_threshold == 1 && f <= threshold[c] {
                f = 0.0;
            }
            let s = if p.has_scale == 1 { scale[c] } else { 1.0 };
            out[t * width + c] = s * p.multiplier * f + p.shift;
        }
    }
}
