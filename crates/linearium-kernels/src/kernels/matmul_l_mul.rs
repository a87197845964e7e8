//! Matrix product with L-Mul in the place of multiplication: `out[t, n] = sum_k x[t, k] * w[n, k]`
//! with `*` one addition of integers (arXiv 2410.00907), sums in f32 in the order of k.
//!
//! Operands are reduced to their bits of mantissa before. With signs apart, `a` and `b` the words of
//! the sizes: `a + b + offset - bias`, clamped to 0 and to the largest finite number; or the paper's
//! equation, whose mantissas do not carry. Zero and subnormal operands give 0. Infinity and NaN are
//! not expected.

use bytemuck::{Pod, Zeroable};
use fearless_simd::Level;

use super::linear_workgroups;
use crate::random::Random;
use crate::recording::{Call, Kernel, Params, Stage};

/// Parameters.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct MatmulLMul {
    /// Rows T.
    pub t: u32,
    /// Columns of the result N.
    pub n: u32,
    /// Length of a sum K.
    pub k: u32,
    /// Row stride of x.
    pub x_stride: u32,
    /// First column of x.
    pub x_offset: u32,
    /// 0 if all rows share `w [N, K]`; else row t has its own at `t * w_stride`.
    pub w_stride: u32,
    /// `2^{-l}` in the last place of an f32.
    pub offset: u32,
    /// 1 for the equation of the paper, 0 for the adder.
    pub formula: u32,
}

/// The word of 1.0.
const BIAS: u32 = 0x3F80_0000;
/// The smallest normal number; the bit above a mantissa.
const SMALLEST: u32 = 0x0080_0000;
/// The largest finite number.
const LARGEST: u32 = 0x7F7F_FFFF;

fn canary(seed: u64) -> Call {
    let mut random = Random::new(seed);
    let (t, n, k, x_stride, x_offset) = (7, 5, 11, 14, 3);
    let own = seed % 2 == 1;
    let params = MatmulLMul {
        t,
        n,
        k,
        x_stride,
        x_offset,
        w_stride: if own { n * k } else { 0 },
        offset: 1 << (23 - (1 + seed % 4)),
        formula: (seed / 2 % 2) as u32,
    };
    let mut x = random.normals((x_offset + t * x_stride) as usize, 1.0);
    let mut w = random.normals((n * k * if own { t } else { 1 }) as usize, 1.0);
    // Zeros, and products that are too small or whose mantissas carry.
    for (i, x) in x.iter_mut().enumerate() {
        match i % 9 {
            0 => *x = 0.0,
            1 => *x *= 1e-25,
            _ => {}
        }
    }
    for (i, w) in w.iter_mut().enumerate() {
        if i % 7 == 3 {
            *w *= 1e-25;
        }
    }
    Call {
        params: Params::pack(&params),
        reads: vec![x, w],
        writes: vec![vec![f32::NAN; (t * n) as usize]],
    }
}

/// Reads `x [T, K]` (strided), `w [N, K]` or `[T, N, K]`; writes `out [T, N]`.
pub static KERNEL: Kernel = Kernel {
    name: "matmul_l_mul",
    reads: 2,
    writes: 1,
    wgsl: include_str!(concat!(env!("OUT_DIR"), "/matmul_l_mul.wgsl")),
    canary,
    stages: &[Stage {
        entry: "matmul_l_mul",
        workgroups: |p| {
            let p: MatmulLMul = p.unpack();
            linear_workgroups((p.t * p.n) as usize)
        },
    }],
    cpu,
}
.of_this_build();

fn product(x: f32, y: f32, offset: u32, formula: bool) -> f32 {
    let [a, b] = [x, y].map(|v| v.to_bits() & 0x7FFF_FFFF);
    if a < SMALLEST || b < SMALLEST {
        return 0.0;
    }
    let sum = if formula {
        let mantissas = (a & 0x7F_FFFF) + (b & 0x7F_FFFF) + offset;
        let carried = if mantissas < SMALLEST {
            mantissas
        } else {
            SMALLEST + (mantissas - SMALLEST) / 2
        };
        (((a >> 23) + (b >> 23)) << 23) + carried
    } else {
        a + b + offset
    };
    if sum < BIAS + SMALLEST {
        return 0.0;
    }
    let sign = (x.to_bits() ^ y.to_bits()) & 0x8000_0000;
    f32::from_bits((sum - BIAS).min(LARGEST) | sign)
}

fn cpu(_level: Level, params: &Params, reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let p: MatmulLMul = params.unpack();
    let [x, w] = reads else { unreachable!() };
    let [out] = writes else { unreachable!() };
    let (n, k) = (p.n as usize, p.k as usize);
    for t in 0..p.t as usize {
        let x = &x[p.x_offset as usize + t * p.x_stride as usize..][..k];
        for c in 0..n {
            let w = &w[t * p.w_stride as usize + c * k..][..k];
            let mut sum = 0.0;
            for i in 0..k {
                sum += product(x[i], w[i], p.offset, p.formula == 1);
            }
            out[t * n + c] = sum;
        }
    }
}
