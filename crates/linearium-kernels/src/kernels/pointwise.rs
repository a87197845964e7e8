//! `out[t, c] = m * d[c] * (f(a * x[t, c'] + b[c]) op y[t, c'']) + s`: the gates, feature maps and
//! products that [`super::activate`] and [`super::scaled_add`] have not, with columns that are
//! shared and results that may go into some columns of wider rows.
//!
//! Columns are shared in blocks: with a block of B columns, each taken R times, column c reads
//! column `c / (B R) * B + c % B`. So `B = 1, R = K` spreads a value a head over its K channels, and
//! `B = K` gives R heads the keys of one group; `R = 1` leaves columns where they are.

use bytemuck::{Pod, Zeroable};
use fearless_simd::{Level, Simd, SimdBase, SimdFloat, dispatch, prelude::*};

use super::linear_workgroups;
use super::simd_math::{exp, load, sigmoid, silu, store};
use crate::random::Random;
use crate::recording::{Call, Kernel, Params, Stage};

/// f(u) = u.
pub const IDENTITY: u32 = 0;
/// f(u) = 1 / (1 + e^-u).
pub const SIGMOID: u32 = 1;
/// f(u) = tanh u.
pub const TANH: u32 = 2;
/// f(u) = e^u, where u is cut off at 80 to keep the result finite.
pub const EXP: u32 = 3;
/// f(u) = max(u, 0).
pub const RELU: u32 = 4;
/// f(u) = elu(u) + 1: u + 1 above 0, else e^u.
pub const ELU_PLUS_ONE: u32 = 5;
/// f(u) = max(u, 0)^2.
pub const SQUARED_RELU: u32 = 6;
/// f(u) = u / (1 + e^-u).
pub const SILU: u32 = 7;
/// f(u) = u Phi(u) with the normal distribution Phi; off by at most 2e-7 |u|.
pub const GELU: u32 = 8;
/// f(u) = u / (1 + e^(-2 g)) with g = sqrt(2 / pi) (u + 0.044715 u^3), the GELU of JAX and GPT-2.
pub const GELU_TANH: u32 = 9;
/// f(u) = u + 1/2 from 0 on, 1 / (1 + e^-u) below: positive and continuous (minGRU, minLSTM).
pub const POSITIVE: u32 = 10;

/// There is no y.
pub const ALONE: u32 = 0;
/// f times y.
pub const MULTIPLY: u32 = 16;
/// f over y.
pub const DIVIDE: u32 = 32;
/// There is a b.
pub const HAS_BIAS: u32 = 64;
/// There is a d.
pub const HAS_SCALE: u32 = 128;

/// Largest argument of [`EXP`].
const EXP_MAX: f32 = 80.0;

/// Parameters.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct Pointwise {
    /// Rows T.
    pub t: u32,
    /// Columns of the result.
    pub width: u32,
    /// Row stride of x; 0 repeats one row.
    pub x_stride: u32,
    /// First column of x.
    pub x_offset: u32,
    /// Columns of x that are shared together, B.
    pub x_block: u32,
    /// How often each is taken, R.
    pub x_repeat: u32,
    /// Row stride of y; 0 repeats one row.
    pub y_stride: u32,
    /// First column of y.
    pub y_offset: u32,
    /// Columns of y that are shared together.
    pub y_block: u32,
    /// How often each is taken.
    pub y_repeat: u32,
    /// Width of a row of `out`.
    pub out_stride: u32,
    /// First column of `out`.
    pub out_offset: u32,
    /// A function, plus an operation, plus [`HAS_BIAS`] and [`HAS_SCALE`].
    pub form: u32,
    /// a.
    pub inner: f32,
    /// m.
    pub multiplier: f32,
    /// s.
    pub shift: f32,
}

fn canary(seed: u64) -> Call {
    let mut random = Random::new(seed);
    let (t, width, out_stride, out_offset) = (7, 36, 50, 5);
    let (x_stride, x_offset, y_stride, y_offset) = (40, 3, 41, 2);
    let flags = [HAS_BIAS | HAS_SCALE, HAS_SCALE, HAS_BIAS][(seed % 3) as usize];
    let operation = [MULTIPLY, DIVIDE, ALONE][(seed / 3 % 3) as usize];
    // x: groups of keys for several heads, or as it is; y: a value a head, or as it is.
    let [(x_block, x_repeat), (y_block, y_repeat)] = [
        [(6, 3), (1, 12)],
        [(width, 1), (1, 4)],
        [(1, 9), (width, 1)],
    ][(seed % 3) as usize];
    let params = Pointwise {
        t,
        width,
        x_stride,
        x_offset,
        x_block,
        x_repeat,
        y_stride,
        y_offset,
        y_block,
        y_repeat,
        out_stride,
        out_offset,
        form: (seed % 11) as u32 | operation | flags,
        inner: if seed.is_multiple_of(2) { 1.0 } else { -1.5 },
        multiplier: -0.6,
        shift: 0.3,
    };
    Call {
        params: Params::pack(&params),
        reads: vec![
            random.normals((x_offset + t * x_stride) as usize, 1.5),
            random.uniforms((y_offset + t * y_stride) as usize, 0.5, 2.0),
            random.normals(width as usize, 1.0),
            random.normals(width as usize, 1.0),
        ],
        writes: vec![random.normals((out_offset + t * out_stride) as usize, 1.0)],
    }
}

/// Reads `x [T, ..]`, `y [T, ..]` (strided), `b [width]`, `d [width]`; writes `out [T, width]`
/// (strided).
pub static KERNEL: Kernel = Kernel {
    name: "pointwise",
    reads: 4,
    writes: 1,
    wgsl: include_str!(concat!(env!("OUT_DIR"), "/pointwise.wgsl")),
    canary,
    stages: &[Stage {
        entry: "pointwise",
        workgroups: |p| {
            let p: Pointwise = p.unpack();
            linear_workgroups((p.t * p.width) as usize)
        },
    }],
    cpu,
};

fn cpu(level: Level, params: &Params, reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    dispatch!(level, simd => pointwise(simd, &params.unpack(), reads, writes));
}

/// Rows of an operand, brought into the columns of the result.
struct Operand<'a> {
    values: &'a [f32],
    stride: usize,
    offset: usize,
    /// The column that each column of the result reads; none if it is its own.
    columns: Option<Vec<usize>>,
    row: Vec<f32>,
}

impl<'a> Operand<'a> {
    fn new(values: &'a [f32], [stride, offset, block, repeat]: [u32; 4], width: usize) -> Self {
        let [stride, offset, block, repeat] = [stride, offset, block, repeat].map(|x| x as usize);
        let columns = (repeat > 1).then(|| {
            (0..width)
                .map(|c| c / (block * repeat) * block + c % block)
                .collect()
        });
        Operand {
            values,
            stride,
            offset,
            columns,
            row: vec![0.0; width],
        }
    }

    fn row(&mut self, t: usize) -> &[f32] {
        let values = &self.values[self.offset + t * self.stride..];
        match &self.columns {
            None => &values[..self.row.len()],
            Some(columns) => {
                for (to, &c) in self.row.iter_mut().zip(columns) {
                    *to = values[c];
                }
                &self.row
            }
        }
    }
}

/// tanh: a quotient of polynomials near 0, where the exponential's form loses digits (the
/// continued fraction of tanh; 3e-9 at 0.625), else 1 - 2 / (1 + e^2|x|).
#[inline(always)]
fn tanh<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    let z = x * x;
    let above = (z + 105.0).mul_add(z, 945.0);
    let below = z.mul_add(15.0, 420.0).mul_add(z, 945.0);
    let near = x * above / below;
    let size = x.abs();
    let e = exp(simd, size * -2.0);
    let far = (S::f32s::splat(simd, 1.0) - e) / (e + 1.0);
    let far = x.simd_lt(0.0).select(-far, far);
    size.simd_lt(0.625).select(near, far)
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
fn pointwise<S: Simd>(simd: S, p: &Pointwise, reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let [x, y, bias, scale] = reads else {
        unreachable!()
    };
    let [out] = writes else { unreachable!() };
    let width = p.width as usize;
    let alone = p.form & (MULTIPLY | DIVIDE) == ALONE;
    let mut x = Operand::new(x, [p.x_stride, p.x_offset, p.x_block, p.x_repeat], width);
    let mut y = Operand::new(y, [p.y_stride, p.y_offset, p.y_block, p.y_repeat], width);
    for t in 0..p.t as usize {
        let x = x.row(t);
        let y = if alone { x } else { y.row(t) };
        let out = &mut out[p.out_offset as usize + t * p.out_stride as usize..][..width];
        for c in (0..width).step_by(S::f32s::LEN) {
            let mut u = load(simd, x, c) * p.inner;
            if p.form & HAS_BIAS != 0 {
                u += load(simd, &bias[..width], c);
            }
            let zero = S::f32s::splat(simd, 0.0);
            // Comparisons, so that NaN stays NaN.
            let positive = u.simd_lt(0.0).select(zero, u);
            let mut f = match p.form & 15 {
                SIGMOID => sigmoid(simd, u),
                TANH => tanh(simd, u),
                EXP => {
                    let most = S::f32s::splat(simd, EXP_MAX);
                    exp(simd, u.simd_gt(EXP_MAX).select(most, u))
                }
                RELU => positive,
                ELU_PLUS_ONE => {
                    let negative = u.simd_gt(0.0).select(zero, u);
                    u.simd_gt(0.0).select(u + 1.0, exp(simd, negative))
                }
                SQUARED_RELU => positive * positive,
                SILU => silu(simd, u),
                GELU => u * normal_distribution(simd, u),
                GELU_TANH => {
                    let cube = u * u * u;
                    u * sigmoid(simd, cube.mul_add(0.071_354_814, u * 1.595_769))
                }
                POSITIVE => u.simd_ge(0.0).select(u + 0.5, sigmoid(simd, u)),
                _ => u,
            };
            if p.form & MULTIPLY != 0 {
                f *= load(simd, y, c);
            } else if p.form & DIVIDE != 0 {
                f /= load(simd, y, c);
            }
            let mut s = S::f32s::splat(simd, p.multiplier);
            if p.form & HAS_SCALE != 0 {
                s *= load(simd, &scale[..width], c);
            }
            store::<S>(s * f + p.shift, out, c);
        }
    }
}
