//! How the entries of a matrix spread over directions and sizes, in f64: its singular values from
//! the smaller Gram matrix, and its moments. It is here and not beside its probe because it is
//! the slowest part of one: loops over whole rows, which the compiler turns into SIMD.
//!
//! Eigenvalues of a symmetric matrix: Householder reduction to tridiagonal form, then implicit QL
//! steps (Golub and Van Loan, Matrix Computations, 4th ed., algorithms 8.3.1 and 8.3.3). Values
//! only.

/// Rows of a Gram matrix's factor that are taken at once.
const ROWS: usize = 4;

/// Sum, sum of squares, and largest absolute value of `values`.
pub fn moments(values: &[f32]) -> (f64, f64, f32) {
    values
        .iter()
        .fold((0.0, 0.0, 0.0), |(sum, square, most), &x| {
            let wide = f64::from(x);
            (sum + wide, square + wide * wide, x.abs().max(most))
        })
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

/// `factorᵀ factor` of `factor [_, n]`.
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
            for ((((out, a), b), c), d) in out.iter_mut().zip(a).zip(b).zip(c).zip(d) {
                *out += ai * a + bi * b + ci * c + di * d;
            }
        }
    }
    out
}

/// Eigenvalues of `a [n, n]` (row-major, symmetric; overwritten), in no order. Entries far from 1
/// in size, by more than a hundred decades, lose their digits.
fn symmetric_eigenvalues(a: &mut [f64], n: usize) -> Vec<f64> {
    let (mut diagonal, mut beside) = tridiagonal(a, n);
    ql(&mut diagonal, &mut beside);
    diagonal
}

fn tridiagonal(a: &mut [f64], n: usize) -> (Vec<f64>, Vec<f64>) {
    let mut beside = vec![0.0; n.saturating_sub(1)];
    for k in 0..n.saturating_sub(2) {
        // The rows below k, from column k + 1 on; the matrix stays symmetric there.
        let (upper, below) = a.split_at_mut((k + 1) * n);
        let mut v = upper[k * n + k + 1..].to_vec();
        let norm = v.iter().map(|x| x * x).sum::<f64>().sqrt();
        if norm == 0.0 {
            continue;
        }
        let alpha = if v[0] > 0.0 { -norm } else { norm };
        v[0] -= alpha;
        let beta = 2.0 / v.iter().map(|x| x * x).sum::<f64>();
        let mut p = vec![0.0; v.len()];
        for (row, v) in below.chunks_exact(n).zip(&v) {
            for (p, a) in p.iter_mut().zip(&row[k + 1..]) {
                *p += v * a;
            }
        }
        let half = beta / 2.0 * p.iter().zip(&v).map(|(p, v)| p * v).sum::<f64>();
        for (p, v) in p.iter_mut().zip(&v) {
            *p = beta * (*p - half * v);
        }
        for ((row, vi), pi) in below.chunks_exact_mut(n).zip(&v).zip(&p) {
            for ((a, p), v) in row[k + 1..].iter_mut().zip(&p).zip(&v) {
                *a -= vi * p + pi * v;
            }
        }
        beside[k] = alpha;
    }
    if n >= 2 {
        beside[n - 2] = a[(n - 1) * n + n - 2];
    }
    (a.iter().step_by(n + 1).copied().collect(), beside)
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
