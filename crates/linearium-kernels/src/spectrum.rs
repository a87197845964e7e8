//! How the entries of a matrix spread over directions and sizes, in f64: its singular values from
//! the smaller Gram matrix, and its moments. It is here and not beside its probe because it is
//! the slowest part of one: loops over whole rows, which the compiler turns into SIMD.
//!
//! Eigenvalues of a symmetric matrix: Householder reduction to tridiagonal form, then implicit QL
//! steps (Golub and Van Loan, Matrix Computations, 4th ed., algorithms 8.3.1 and 8.3.3). Values
//! only.

/// Rows of a Gram matrix's factor that are taken at once.
const ROWS: usize = 4;
/// Sums that are kept side by side, since the order of a sum of floats is the compiler's law.
const LANES: usize = 4;

/// Sum, sum of squares, and largest absolute value of `values`.
pub fn moments(values: &[f32]) -> (f64, f64, f32) {
    let (mut sums, mut squares, mut most) = ([0.0; LANES], [0.0; LANES], [0f32; LANES]);
    let groups = values.chunks_exact(LANES);
    let rest = groups.remainder().chunks(1);
    for group in groups.chain(rest) {
        for (i, &x) in group.iter().enumerate() {
            let wide = f64::from(x);
            sums[i] += wide;
            squares[i] += wide * wide;
            most[i] = most[i].max(x.abs());
        }
    }
    (
        sums.iter().sum(),
        squares.iter().sum(),
        most.into_iter().fold(0.0, f32::max),
    )
}

/// Singular values of `matrix [rows, columns]` over their sum, in no order; all 0 where the sum is
/// 0 or not finite. There are as many as the smaller of the two sizes.
pub fn singular_shares(matrix: &[f32], rows: usize, columns: usize) -> Vec<f64> {
    let n = rows.min(columns);
    let mut gram = if columns <= rows {
        gram(matrix.iter().map(|&x| x.into()).collect(), n)
    } else {
        let across = |i| f64::from(matrix[i % rows * columns + i / rows]);
        gram((0..matrix.len()).map(across).collect(), n)
    };
    let trace: f64 = gram.iter().step_by(n + 1).sum();
    if trace == 0.0 || !trace.is_finite() {
        return vec![0.0; n];
    }
    // With a trace of 1 no square of an entry that matters is too large or too small.
    gram.iter_mut().for_each(|g| *g /= trace);
    let mut values = symmetric_eigenvalues(&mut gram, n);
    values.iter_mut().for_each(|l| *l = l.max(0.0).sqrt());
    let sum: f64 = values.iter().sum();
    values.iter_mut().for_each(|s| *s /= sum);
    values
}

/// The lower triangle of `factorᵀ factor`, of `factor [_, n]`; above it are zeros.
fn gram(mut factor: Vec<f64>, n: usize) -> Vec<f64> {
    // Rows of zeros add nothing.
    factor.resize(factor.len().next_multiple_of(ROWS * n), 0.0);
    let mut out = vec![0.0; n * n];
    for rows in factor.chunks_exact(ROWS * n) {
        let (a, rest) = rows.split_at(n);
        let (b, rest) = rest.split_at(n);
        let (c, d) = rest.split_at(n);
        for (i, out) in out.chunks_exact_mut(n).enumerate() {
            let (ai, bi, ci, di) = (a[i], b[i], c[i], d[i]);
            let others = a.iter().zip(b).zip(c).zip(d);
            for (out, (((a, b), c), d)) in out[..=i].iter_mut().zip(others) {
                *out += ai * a + bi * b + ci * c + di * d;
            }
        }
    }
    out
}

/// Eigenvalues of the symmetric `a [n, n]` (row-major, overwritten; only the lower triangle is
/// looked at), in no order. Entries far from 1
/// in size, by more than a hundred decades, lose their digits.
fn symmetric_eigenvalues(a: &mut [f64], n: usize) -> Vec<f64> {
    let (mut diagonal, mut beside) = tridiagonal(a, n);
    ql(&mut diagonal, &mut beside);
    diagonal
}

/// Diagonal and what is beside it. Rows are reduced from the last one up; the two-sided reflection
/// of a row is taken from the rows above when the next one passes over them.
fn tridiagonal(a: &mut [f64], n: usize) -> (Vec<f64>, Vec<f64>) {
    let (mut diagonal, mut beside) = (vec![0.0; n], vec![0.0; n.saturating_sub(1)]);
    // What is still to be taken away: v wᵀ + w vᵀ.
    let (mut v, mut w) = (vec![0.0; n], vec![0.0; n]);
    let (mut next, mut product) = (vec![0.0; n], vec![0.0; n]);
    for i in (0..n).rev() {
        let (above, row) = a.split_at_mut(i * n);
        for ((x, v_j), w_j) in row[..=i].iter_mut().zip(&v).zip(&w) {
            *x -= v[i] * w_j + w[i] * v_j;
        }
        diagonal[i] = row[i];
        if i == 0 {
            break;
        }
        beside[i - 1] = row[i - 1];
        if i == 1 {
            continue;
        }
        let x = &row[..i];
        let norm = x.iter().map(|x| x * x).sum::<f64>().sqrt();
        let alpha = if x[i - 1] > 0.0 { -norm } else { norm };
        next[..i].copy_from_slice(x);
        next[i - 1] -= alpha;
        beside[i - 1] = alpha;
        product[..i].fill(0.0);
        for (j, row) in above.chunks_exact_mut(n).enumerate() {
            let factors = [v[j], w[j], next[j]];
            let dot = pass(&mut row[..j], factors, [&v, &w, &next], &mut product);
            row[j] -= 2.0 * v[j] * w[j];
            product[j] += dot + row[j] * next[j];
        }
        let square = next[..i].iter().map(|x| x * x).sum::<f64>();
        // A row of zeros needs no reflection.
        let beta = if square > 0.0 { 2.0 / square } else { 0.0 };
        let along: f64 = product[..i].iter().zip(&next).map(|(p, v)| p * v).sum();
        std::mem::swap(&mut v, &mut next);
        for ((w, p), v) in w[..i].iter_mut().zip(&product).zip(&v) {
            *w = beta * (p - beta / 2.0 * along * v);
        }
    }
    (diagonal, beside)
}

/// Takes `v_j w + w_j v` from `row`, adds `next_j` times the row to `product`, and gives its dot
/// product with `next`.
fn pass(
    row: &mut [f64],
    [v_j, w_j, next_j]: [f64; 3],
    [v, w, next]: [&[f64]; 3],
    product: &mut [f64],
) -> f64 {
    let mut dots = [0.0; LANES];
    let len = row.len();
    let whole = len / LANES * LANES;
    let lanes = |x: &[f64]| -> [f64; LANES] { std::array::from_fn(|l| x[l]) };
    let groups = row[..whole]
        .chunks_exact_mut(LANES)
        .zip(v[..whole].chunks_exact(LANES))
        .zip(w[..whole].chunks_exact(LANES))
        .zip(next[..whole].chunks_exact(LANES))
        .zip(product[..whole].chunks_exact_mut(LANES));
    for ((((row, v), w), next), product) in groups {
        let (v, w, next) = (lanes(v), lanes(w), lanes(next));
        for l in 0..LANES {
            let x = row[l] - (v_j * w[l] + w_j * v[l]);
            row[l] = x;
            product[l] += next_j * x;
            dots[l] += x * next[l];
        }
    }
    for j in whole..len {
        row[j] -= v_j * w[j] + w_j * v[j];
        product[j] += next_j * row[j];
        dots[0] += row[j] * next[j];
    }
    dots.iter().sum()
}

fn ql(d: &mut [f64], e: &mut Vec<f64>) {
    let n = d.len();
    e.push(0.0);
    for l in 0..n {
        // 50 steps are far beyond what convergence takes (2 or 3); what is left then is rounding.
        for _ in 0..50 {
            let m = (l..n.saturating_sub(1))
                .find(|&m| e[m].abs() <= f64::EPSILON * (d[m].abs() + d[m + 1].abs()))
                .unwrap_or(n.saturating_sub(1));
            if m == l {
                break;
            }
            let mut g = (d[l + 1] - d[l]) / (2.0 * e[l]);
            let r = (g * g + 1.0).sqrt();
            g = d[m] - d[l] + e[l] / (g + r.copysign(g));
            let (mut s, mut c, mut p) = (1.0, 1.0, 0.0);
            let mut early = false;
            for i in (l..m).rev() {
                let f = s * e[i];
                let b = c * e[i];
                let r = (f * f + g * g).sqrt();
                e[i + 1] = r;
                if r == 0.0 {
                    d[i + 1] -= p;
                    e[m] = 0.0;
                    early = true;
                    break;
                }
                s = f / r;
                c = g / r;
                g = d[i + 1] - p;
                let r = (d[i] - g) * s + 2.0 * c * b;
                p = s * r;
                d[i + 1] = g + p;
                g = c * r - b;
            }
            if !early {
                d[l] -= p;
                e[l] = g;
                e[m] = 0.0;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    #[test]
    fn known_spectrum_comes_back() {
        // A = sum_i lambda_i h_i h_i^T with h_i the columns of a product of Householder
        // reflections, so that the eigenvalues are known exactly.
        let mut random = Random::new(3);
        for n in [1usize, 2, 3, 8, 33, 64] {
            let wanted: Vec<f64> = (0..n).map(|i| 10f64.powi(-(i as i32 % 9)) * 3.0).collect();
            let mut a = vec![0.0; n * n];
            for i in 0..n {
                a[i * n + i] = wanted[i];
            }
            for _ in 0..3 {
                let v: Vec<f64> = (0..n).map(|_| random.normal()).collect();
                let vv: f64 = v.iter().map(|x| x * x).sum();
                let h = |i: usize, j: usize| f64::from(i == j) - 2.0 * v[i] * v[j] / vv;
                let mut ha = vec![0.0; n * n];
                for i in 0..n {
                    for j in 0..n {
                        ha[i * n + j] = (0..n).map(|k| h(i, k) * a[k * n + j]).sum();
                    }
                }
                for i in 0..n {
                    for j in 0..n {
                        a[i * n + j] = (0..n).map(|k| ha[i * n + k] * h(k, j)).sum();
                    }
                }
            }
            let mut got = symmetric_eigenvalues(&mut a, n);
            let mut wanted = wanted;
            got.sort_by(f64::total_cmp);
            wanted.sort_by(f64::total_cmp);
            for (g, w) in got.iter().zip(&wanted) {
                assert!((g - w).abs() < 1e-13 * n as f64 * 3.0, "n {n}: {g} {w}");
            }
        }
    }

    #[test]
    fn zero_and_rank_one() {
        assert_eq!(symmetric_eigenvalues(&mut [0.0; 9], 3), [0.0; 3]);
        let mut a: Vec<f64> = (0..16)
            .map(|i| ((i / 4 + 1) * (i % 4 + 1)) as f64)
            .collect();
        let mut got = symmetric_eigenvalues(&mut a, 4);
        got.sort_by(f64::total_cmp);
        assert!((got[3] - 30.0).abs() < 1e-12 && got[2].abs() < 1e-12);
    }
}
