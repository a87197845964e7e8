//! Gates: `out[t, c] = scale[c] * m * f(x[t, c] + bias[c]) + shift`, where f is an activation,
//! clamped, and zero at or below a threshold.
//!
//! The step size of Mamba is softplus with `clamp` and LongMamba's filter as `threshold`; its
//! log-decay is the identity with `scale = A`; the gate of GLA is logsigmoid with `m = 1/16`.

use bytemuck::{Pod, Zeroable};
use fearless_simd::{Level, Simd, SimdBase, dispatch, prelude::*};

use super::linear_workgroups;
use super::simd_math::{load, silu, softplus, store};
use crate::random::Random;
use crate::recording::{Call, Kernel, Params, Stage};

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

fn canary(seed: u64) -> Call {
    let mut random = Random::new(seed);
    let (t, width, x_stride, x_offset) = (9, 37, 50, 6);
    let function = [SOFTPLUS, LOG_SIGMOID, SILU, IDENTITY][(seed % 4) as usize];
    let params = Activate {
        t,
        width,
        x_stride,
        x_offset,
        function,
        has_bias: 1,
        has_scale: (seed % 2) as u32,
        has_threshold: seed.is_multiple_of(3) as u32,
        min: -5.0,
        max: f32::INFINITY,
        multiplier: 0.7,
        shift: 0.01,
    };
    Call {
        params: Params::pack(&params),
        reads: vec![
            random.normals((x_offset + t * x_stride) as usize, 4.0),
            random.normals(width as usize, 1.0),
            random.uniforms(width as usize, -8.0, -1.0),
            random.uniforms(width as usize, 0.0, 0.5),
        ],
        writes: vec![vec![f32::NAN; (t * width) as usize]],
    }
}

/// Reads `x [T, width]` (strided), `bias`, `scale`, `threshold` (`[width]` each); writes
/// `out [T, width]`.
pub static KERNEL: Kernel = Kernel {
    name: "activate",
    reads: 4,
    writes: 1,
    wgsl: include_str!(concat!(env!("OUT_DIR"), "/activate.wgsl")),
    canary,
    stages: &[Stage {
        entry: "activate",
        workgroups: |p| {
            let p: Activate = p.unpack();
            linear_workgroups((p.t * p.width) as usize)
        },
    }],
    cpu,
}
.of_this_build();

fn cpu(level: Level, params: &Params, reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    dispatch!(level, simd => activate(simd, &params.unpack(), reads, writes));
}

#[inline(always)]
fn activate<S: Simd>(simd: S, p: &Activate, reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let [x, bias, scale, threshold] = reads else {
        unreachable!()
    };
    let [out] = writes else { unreachable!() };
    let width = p.width as usize;
    if width == 0 {
        return;
    }
    // What is absent is one vector, taken at every column.
    let column = |given: u32, values: &[f32], c: usize, absent: f32| {
        if given == 1 {
            load(simd, &values[..width], c)
        } else {
            S::f32s::splat(simd, absent)
        }
    };
    for (t, out) in out.chunks_exact_mut(width).take(p.t as usize).enumerate() {
        let x = &x[p.x_offset as usize + t * p.x_stride as usize..][..width];
        for c in (0..width).step_by(S::f32s::LEN) {
            let u = load(simd, x, c) + column(p.has_bias, bias, c, 0.0);
            let f = match p.function {
                SOFTPLUS => softplus(simd, u),
                LOG_SIGMOID => -softplus(simd, -u),
                SILU => silu(simd, u),
                _ => u,
            };
            // Comparisons, so that NaN stays NaN.
            let f = f.simd_lt(p.min).select(S::f32s::splat(simd, p.min), f);
            let mut f = f.simd_gt(p.max).select(S::f32s::splat(simd, p.max), f);
            if p.has_threshold == 1 {
                let zero = S::f32s::splat(simd, 0.0);
                f = f
                    .simd_le(load(simd, &threshold[..width], c))
                    .select(zero, f);
            }
            let s = column(p.has_scale, scale, c, 1.0) * p.multiplier;
            store::<S>(s * f + p.shift, out, c);
        }
    }
}
