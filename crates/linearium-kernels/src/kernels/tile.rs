//! Products of matrices by tiles of sums that stay in registers.

use fearless_simd::{Simd, SimdBase, SimdFloat, f32x4};

/// Some columns of a row-major matrix.
#[derive(Clone, Copy)]
pub(crate) struct Columns<'a> {
    /// All of its rows.
    pub values: &'a [f32],
    /// Values a row; above 0.
    pub width: usize,
    /// The first of the columns.
    pub first: usize,
}

/// `sums[r][v] += sum_i x[i, r] w[i, v]`, where v counts vectors of columns and i runs over the
/// rows of the shorter matrix, in order.
#[inline(always)]
pub(crate) fn multiply_add<S: Simd, const ROWS: usize, const VECTORS: usize>(
    simd: S,
    sums: &mut [[S::f32s; VECTORS]; ROWS],
    x: Columns,
    w: Columns,
) {
    let lanes = S::f32s::LEN;
    let mut x_rows = x.values.chunks_exact(x.width);
    let mut w_rows = w.values.chunks_exact(w.width);
    // Not zipped: the length of a zip costs two divisions, and these loops are short.
    while let (Some(x_row), Some(w_row)) = (x_rows.next(), w_rows.next()) {
        let x_row = &x_row[x.first..x.first + ROWS];
        let w_row = &w_row[w.first..w.first + VECTORS * lanes];
        let w_row: [S::f32s; VECTORS] =
            std::array::from_fn(|v| S::f32s::from_slice(simd, &w_row[v * lanes..][..lanes]));
        for r in 0..ROWS {
            let x = S::f32s::splat(simd, x_row[r]);
            for v in 0..VECTORS {
                sums[r][v] = x.mul_add(w_row[v], sums[r][v]);
            }
        }
    }
}

/// Four rows of one length as four columns, the first ones of a matrix of this width.
#[inline(always)]
pub(crate) fn transpose<S: Simd>(simd: S, rows: [&[f32]; 4], out: &mut [f32], width: usize) {
    let fours: [&[[f32; 4]]; 4] = std::array::from_fn(|r| rows[r].as_chunks().0);
    let whole = fours[0].len();
    for (i, out) in (0..whole).zip(out.chunks_mut(4 * width)) {
        let a = f32x4::from_slice(simd, &fours[0][i]);
        let b = f32x4::from_slice(simd, &fours[1][i]);
        let c = f32x4::from_slice(simd, &fours[2][i]);
        let d = f32x4::from_slice(simd, &fours[3][i]);
        let (even, odd) = (a.zip_low(c), b.zip_low(d));
        let (even_high, odd_high) = (a.zip_high(c), b.zip_high(d));
        let columns = [
            even.zip_low(odd),
            even.zip_high(odd),
            even_high.zip_low(odd_high),
            even_high.zip_high(odd_high),
        ];
        for (to, column) in out.chunks_mut(width).zip(columns) {
            column.store_slice(&mut to[..4]);
        }
    }
    for (i, out) in out.chunks_mut(width).enumerate().skip(4 * whole) {
        for r in 0..4 {
            out[r] = rows[r][i];
        }
    }
}
