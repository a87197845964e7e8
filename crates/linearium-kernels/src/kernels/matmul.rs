//! Linear layer: `y[t, n] = sum_k x[t, k] w[n, k] (+ bias[n]) (+ residual[t, n])`.

use bytemuck::{Pod, Zeroable};
use fearless_simd::{Level, Simd, SimdBase, dispatch};

use super::simd_math::{load, store};
use super::tile::{Columns, multiply_add, transpose};
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
pub(super) const TILED: u32 = 16;

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
    dispatch!(level, simd => {
        let (p, [x, w, bias, residual]) = (params.unpack::<Matmul>(), reads) else {
            unreachable!()
        };
        let rows = Plain { w, k: p.k as usize };
        matmul(simd, &p, rows, [x, bias, residual], writes);
    });
}

/// Where the rows of W, of K values each, come from.
pub(super) trait Rows {
    /// Some four of them.
    fn four(&mut self, rows: [usize; 4]) -> [&[f32]; 4];
}

/// W as it lies in memory.
struct Plain<'a> {
    w: &'a [f32],
    k: usize,
}

impl Rows for Plain<'_> {
    #[inline(always)]
    fn four(&mut self, rows: [usize; 4]) -> [&[f32]; 4] {
        rows.map(|row| &self.w[row * self.k..][..self.k])
    }
}

/// Reads x, bias, residual. Every result is a sum over k in order, so that a row's does not depend
/// on the rows beside it.
#[inline(always)]
pub(super) fn matmul<S: Simd>(
    simd: S,
    p: &Matmul,
    w: impl Rows,
    reads: [&[f32]; 3],
    writes: &mut [&mut [f32]],
) {
    // Rows of x by vectors of columns: as many sums as the registers hold (16; 32 with AVX-512)
    // beside a row of the panel, a value of x and, without fused multiply-add, a product.
    match (p.t, S::f32s::LEN) {
        (0..4, _) => tiles::<S, 1, 4>(simd, p, w, reads, writes),
        (_, 4) => tiles::<S, 4, 2>(simd, p, w, reads, writes),
        (_, 8) => tiles::<S, 4, 3>(simd, p, w, reads, writes),
        _ => tiles::<S, 8, 3>(simd, p, w, reads, writes),
    }
}

/// All rows, ROWS by VECTORS of columns at a time.
#[inline(always)]
fn tiles<S: Simd, const ROWS: usize, const VECTORS: usize>(
    simd: S,
    p: &Matmul,
    mut w: impl Rows,
    [x, bias, residual]: [&[f32]; 3],
    writes: &mut [&mut [f32]],
) {
    let [y] = writes else { unreachable!() };
    let (t_len, k, n, lanes) = (p.t as usize, p.k as usize, p.n as usize, S::f32s::LEN);
    // ROWS rows of x side by side, so that one pointer serves a tile.
    let x_row = |t: usize| &x[p.x_offset as usize + t * p.x_stride as usize..][..k];
    let mut x_tiles = vec![0.0; t_len.div_ceil(ROWS) * ROWS * k];
    for (tile, x_tile) in x_tiles.chunks_exact_mut((ROWS * k).max(1)).enumerate() {
        if ROWS == 1 {
            x_tile.copy_from_slice(x_row(tile));
            continue;
        }
        // A tile over the edge repeats the last row; its sums are not used.
        for r in (0..ROWS).step_by(4) {
            let rows = std::array::from_fn(|i| x_row((tile * ROWS + r + i).min(t_len - 1)));
            transpose(simd, rows, &mut x_tile[r..], ROWS);
        }
    }
    let width = VECTORS * lanes;
    let mut panel = vec![0.0; k * width];
    for first in (0..n).step_by(width) {
        let columns = first..n.min(first + width);
        for c in (0..width * k.min(1)).step_by(4) {
            let rows = w.four(std::array::from_fn(|i| (first + c + i).min(n - 1)));
            transpose(simd, rows, &mut panel[c..], width);
        }
        let mut biases = [S::f32s::splat(simd, 0.0); VECTORS];
        if p.has_bias == 1 {
            for (v, c) in columns.clone().step_by(lanes).enumerate() {
                biases[v] = load(simd, &bias[..n], c);
            }
        }
        for t in (0..t_len).step_by(ROWS) {
            let x = Columns {
                values: &x_tiles[t * k..][..ROWS * k],
                width: ROWS,
                first: 0,
            };
            let w = Columns {
                values: &panel,
                width,
                first: 0,
            };
            let mut sums = [[S::f32s::splat(simd, 0.0); VECTORS]; ROWS];
            multiply_add(simd, &mut sums, x, w);
            for (t, sums) in (t..t_len).zip(sums) {
                let at = t * n + columns.start..t * n + columns.end;
                let residual = if p.has_residual == 1 {
                    &residual[at.clone()]
                } else {
                    &[]
                };
                write_row(simd, sums, biases, residual, &mut y[at]);
            }
        }
    }
}

/// Writes a row of a tile, with what is added to it. Columns behind the end of `y` are dropped.
#[inline(always)]
fn write_row<S: Simd, const VECTORS: usize>(
    simd: S,
    sums: [S::f32s; VECTORS],
    biases: [S::f32s; VECTORS],
    residual: &[f32],
    y: &mut [f32],
) {
    let lanes = S::f32s::LEN;
    if y.len() == VECTORS * lanes && residual.is_empty() {
        for v in 0..VECTORS {
            (sums[v] + biases[v]).store_slice(&mut y[v * lanes..][..lanes]);
        }
        return;
    }
    for v in 0..VECTORS {
        let at = y.len().min(v * lanes);
        let sum = sums[v] + biases[v] + load(simd, residual, residual.len().min(at));
        store::<S>(sum, y, at);
    }
}
