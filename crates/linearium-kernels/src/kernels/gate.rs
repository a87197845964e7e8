//! Gates of the zoo: `out[t, c] = f(x[t, c]) * y[t, c]`, or f alone where there is no y. A gated
//! linear unit is the logistic function of one half times the other half.

use bytemuck::{Pod, Zeroable};
use fearless_simd::{Level, Simd, SimdBase, SimdFloat, dispatch, prelude::*};

use super::linear_workgroups;
use super::simd_math::{exp, load, sigmoid, store};
use crate::random::Random;
use crate::recording::{Call, Kernel, Params, Stage};

/// f(x) = 1 / (1 + e^-x).
pub const SIGMOID: u32 = 0;
/// f(x) = x Phi(x) with the normal distribution Phi; off by at most 2e-7 |x|.
pub const GELU: u32 = 1;
/// f(x) = x / (1 + e^(-2 g)) with g = sqrt(2 / pi) (x + 0.044715 x^3), the GELU of JAX and GPT-2.
pub const GELU_TANH: u32 = 2;
/// f(x) = x + 1/2 from 0 on, 1 / (1 + e^-x) below: positive and continuous (minGRU, minLSTM).
pub const POSITIVE: u32 = 3;

/// Parameters.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct Gate {
    /// Rows T.
    pub t: u32,
    /// Columns.
    pub width: u32,
    /// Row stride of x.
    pub x_stride: u32,
    /// First column of x.
    pub x_offset: u32,
    /// f.
    pub function: u32,
    /// 1 if there is a y.
    pub has_y: u32,
    /// Row stride of y.
    pub y_stride: u32,
    /// First column of y.
    pub y_offset: u32,
}

fn canary(seed: u64) -> Call {
    let mut random = Random::new(seed);
    let (t, width, x_stride, x_offset, y_stride, y_offset) = (9, 37, 50, 6, 41, 2);
    let params = Gate {
        t,
        width,
        x_stride,
        x_offset,
        function: (seed % 4) as u32,
        has_y: (seed / 2 % 2) as u32,
        y_stride,
        y_offset,
    };
    Call {
        params: Params::pack(&params),
        reads: vec![
            random.normals((x_offset + t * x_stride) as usize, 3.0),
            random.normals((y_offset + t * y_stride) as usize, 1.0),
        ],
        writes: vec![vec![f32::NAN; (t * width) as usize]],
    }
}

/// Reads `x [T, width]`, `y [T, width]` (strided); writes `out [T, width]`.
pub static KERNEL: Kernel = Kernel {
    name: "gate",
    reads: 2,
    writes: 1,
    wgsl: include_str!(concat!(env!("OUT_DIR"), "/gate.wgsl")),
    canary,
    stages: &[Stage {
        entry: "gate",
        workgroups: |p| {
            let p: Gate = p.unpack();
            linear_workgroups((p.t * p.width) as usize)
        },
    }],
    cpu,
};

fn cpu(level: Level, params: &Params, reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    dispatch!(level, simd => gate(simd, &params.unpack(), reads, writes));
}

/// Phi(x). With z = |x| / sqrt 2 it is 1 - erfc(z) / 2 or erfc(z) / 2; erfc by formula 7.1.26 of
/// Abramowitz and Stegun, which is off by at most 1.5e-7.
#[inline(always)]
fn normal_distribution<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    let z = x.abs() * std::f32::consts::FRAC_1_SQRT_2;
    let one = S::f32s::splat(simd, 1.0);
    let t = one / z.mul_add(0.327_591_1, 1.0);
    let s = t.mul_add(1.061_405_4, -1.453_152);
    let s = s.mul_add(t, 1.421_413_7);
    let s = s.mul_add(t, -0.284_496_74);
    let s = s.mul_add(t, 0.254_829_6);
    let tail = s * t * exp(simd, -(z * z)) * 0.5;
    x.simd_ge(0.0).select(one - tail, tail)
}

#[inline(always)]
fn gate<S: Simd>(simd: S, p: &Gate, reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let [x, y] = reads else { unreachable!() };
    let [out] = writes else { unreachable!() };
    let width = p.width as usize;
    if width == 0 {
        return;
    }
    for (t, out) in out.chunks_exact_mut(width).take(p.t as usize).enumerate() {
        let x = &x[p.x_offset as usize + t * p.x_stride as usize..][..width];
        for c in (0..width).step_by(S::f32s::LEN) {
            let u = load(simd, x, c);
            let f = match p.function {
                SIGMOID => sigmoid(simd, u),
                GELU => u * normal_distribution(simd, u),
                GELU_TANH => {
                    let cube = u * u * u;
                    u * sigmoid(simd, cube.mul_add(0.071_354_814, u * 1.595_769))
                }
                _ => u.simd_ge(0.0).select(u + 0.5, sigmoid(simd, u)),
            };
            let y = if p.has_y == 1 {
                let y = &y[p.y_offset as usize + t * p.y_stride as usize..][..width];
                load(simd, y, c)
            } else {
                S::f32s::splat(simd, 1.0)
            };
            store::<S>(f * y, out, c);
        }
    }
}
