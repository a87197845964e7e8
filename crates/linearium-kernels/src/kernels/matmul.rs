//! Linear layer: `y[t, n] = sum_k x[t, k] w[n, k] (+ bias[n]) (+ residual[t, n])`.

use bytemuck::{Pod, Zeroable};
use fearless_simd::{Level, Simd, SimdBase, SimdFloat, dispatch};

use super::simd_math::load;
use crate::random::Random;
use crate::recording::{Call, Kernel, Params, Stage};

/// Parameters.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct Matmul {
    /// Rows T.
    pub t: u32,
    /// Inner width.
    pub k: u32,
    /// Outer width.
    pub n: u32,
    /// Row stride of x.
    pub x_stride: u32,
    /// First column of x.
    pub x_offset: u32,
    /// 1 if there is a bias.
    pub has_bias: u32,
    /// 1 if there is a residual.
    pub has_residual: u32,
}

/// Rows from which on the shader works in tiles of 64.
const TILED: u32 = 16;

fn canary(seed: u64) -> Call {
    let mut random = Random::new(seed);
    // More than one tile of the shader in each direction, none of them full.
    let (t, k, n, x_stride, x_offset) = ([70, 1][(seed % 2) as usize], 37, 75, 50, 6);
    let params = Matmul {
        t,
        k,
        n,
        x_stride,
        x_offset,
        has_bias: 1,
        has_residual: 1,
    };
    Call {
        params: Params::pack(&params),
        reads: vec![
            random.normals((x_offset + t * x_stride) as usize, 1.0),
            random.normals((n * k) as usize, 0.2),
            random.normals(n as usize, 0.2),
            random.normals((t * n) as usize, 1.0),
        ],
        writes: vec![vec![f32::NAN; (t * n) as usize]],
    }
}

/// Reads `x [T, K]` (strided), `w [N, K]`, `bias [N]`, `residual [T, N]`; writes `y [T, N]`.
pub static KERNEL: Kernel = Kernel {
    name: "matmul",
    reads: 4,
    writes: 1,
    wgsl: include_str!(concat!(env!("OUT_DIR"), "/matmul.wgsl")),
    canary,
    stages: &[
        Stage {
            entry: "tiles",
            workgroups: |p| {
                let p: Matmul = p.unpack();
                if p.t < TILED {
                    [0, 1, 1]
                } else {
                    [p.n.div_ceil(64), p.t.div_ceil(64), 1]
                }
            },
        },
        Stage {
            entry: "few_rows",
            workgroups: |p| {
                let p: Matmul = p.unpack();
                if p.t < TILED {
                    [p.n.div_ceil(16), p.t, 1]
                } else {
                    [0, 1, 1]
                }
            },
        },
    ],
    cpu,
}
.of_this_build();

fn cpu(level: Level, params: &Params, reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    dispatch!(level, simd => matmul(simd, &params.unpack(), reads, writes));
}

/// Rows of x that are multiplied at once with [`TILE_N`] rows of w: twelve sums, which with one
/// operand of each product fit the 16 vector registers of SSE and AVX2.
const TILE_T: usize = 4;
const TILE_N: usize = 3;

/// Values of w that stay in the first-level cache while all rows of x pass (16 KiB).
const BLOCK: usize = 4096;

#[inline(always)]
fn matmul<S: Simd>(simd: S, p: &Matmul, reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let [x, w, bias, residual] = reads else {
        unreachable!()
    };
    let [y] = writes else { unreachable!() };
    let (t_len, k, n) = (p.t as usize, p.k as usize, p.n as usize);
    let x_row = |t: usize| &x[p.x_offset as usize + t * p.x_stride as usize..][..k];
    let w_row = |j: usize| &w[j * k..][..k];
    let mut write = |t: usize, j: usize, dot: f32| {
        let b = if p.has_bias == 1 { bias[j] } else { 0.0 };
        let r = if p.has_residual == 1 {
            residual[t * n + j]
        } else {
            0.0
        };
        y[t * n + j] = dot + b + r;
    };
    let block = (BLOCK / k.max(1)).next_multiple_of(TILE_N).max(TILE_N);
    for first in (0..n).step_by(block) {
        let end = n.min(first + block);
        for t in (0..t_len).step_by(TILE_T) {
            let rows = TILE_T.min(t_len - t);
            for j in (first..end).step_by(TILE_N) {
                let columns = TILE_N.min(end - j);
                // A tile over the edge repeats its last row; the sums are not used.
                let w: [&[f32]; TILE_N] = std::array::from_fn(|i| w_row(j + i.min(columns - 1)));
                if rows == 1 {
                    let sums = dots_1(simd, x_row(t), w);
                    for (i, sum) in sums.into_iter().enumerate().take(columns) {
                        write(t, j + i, sum);
                    }
                } else {
                    let x: [&[f32]; TILE_T] = std::array::from_fn(|i| x_row(t + i.min(rows - 1)));
                    let sums = dots(simd, x, w);
                    for (i, sums) in sums.into_iter().enumerate().take(rows) {
                        for (l, sum) in sums.into_iter().enumerate().take(columns) {
                            write(t + i, j + l, sum);
                        }
                    }
                }
            }
        }
    }
}

/// Every dot product of a row of `x` with a row of `w`, all of one length. Each is summed in the
/// same order as in [`dots_1`]: a row's result does not depend on the rows beside it.
#[inline(always)]
fn dots<S: Simd>(simd: S, x: [&[f32]; TILE_T], w: [&[f32]; TILE_N]) -> [[f32; TILE_N]; TILE_T] {
    let zero = S::f32s::splat(simd, 0.0);
    let mut sums = [[zero; TILE_N]; TILE_T];
    let [x0, x1, x2, x3] = x.map(|row| row.chunks_exact(S::f32s::LEN));
    let [w0, w1, w2] = w.map(|row| row.chunks_exact(S::f32s::LEN));
    let steps = x0.zip(x1).zip(x2.zip(x3)).zip(w0.zip(w1).zip(w2));
    for (((x0, x1), (x2, x3)), ((w0, w1), w2)) in steps {
        let w = [w0, w1, w2].map(|w| S::f32s::from_slice(simd, w));
        for (sums, x) in sums.iter_mut().zip([x0, x1, x2, x3]) {
            let x = S::f32s::from_slice(simd, x);
            for i in 0..TILE_N {
                sums[i] = x.mul_add(w[i], sums[i]);
            }
        }
    }
    let whole = x[0].len() / S::f32s::LEN * S::f32s::LEN;
    if whole < x[0].len() {
        let w = w.map(|w| load(simd, w, whole));
        for (sums, x) in sums.iter_mut().zip(x) {
            let x = load(simd, x, whole);
            for i in 0..TILE_N {
                sums[i] = x.mul_add(w[i], sums[i]);
            }
        }
    }
    sums.map(|sums| sums.map(|sum| sum.reduce_sum()))
}

/// [`dots`] for one row of x.
#[inline(always)]
fn dots_1<S: Simd>(simd: S, x: &[f32], w: [&[f32]; TILE_N]) -> [f32; TILE_N] {
    let mut sums = [S::f32s::splat(simd, 0.0); TILE_N];
    let [w0, w1, w2] = w.map(|row| row.chunks_exact(S::f32s::LEN));
    for (((w0, w1), w2), x) in w0.zip(w1).zip(w2).zip(x.chunks_exact(S::f32s::LEN)) {
        let x = S::f32s::from_slice(simd, x);
        for (sum, w) in sums.iter_mut().zip([w0, w1, w2]) {
            *sum = x.mul_add(S::f32s::from_slice(simd, w), *sum);
        }
    }
    let whole = x.len() / S::f32s::LEN * S::f32s::LEN;
    if whole < x.len() {
        let x = load(simd, x, whole);
        for (sum, w) in sums.iter_mut().zip(w) {
            *sum = x.mul_add(load(simd, w, whole), *sum);
        }
    }
    sums.map(|sum| sum.reduce_sum())
}
