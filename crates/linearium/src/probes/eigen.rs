//! Eigenvalues of a symmetric matrix in f64: Householder reduction to tridiagonal form, then
//! implicit QL steps (Golub and Van Loan, Matrix Computations, 4th ed., algorithms 8.3.1 and
//! 8.3.3). Values only.

/// Eigenvalues of `a [n, n]` (row-major, symmetric; overwritten), in no order.
pub fn symmetric_eigenvalues(a: &mut [f64], n: usize) -> Vec<f64> {
    let (mut diagonal, mut beside) = tridiagonal(a, n);
    ql(&mut diagonal, &mut beside);
    diagonal
}

fn tridiagonal(a: &mut [f64], n: usize) -> (Vec<f64>, Vec<f64>) {
    let mut beside = vec![0.0; n.saturating_sub(1)];
    let mut v = vec![0.0; n];
    let mut p = vec![0.0; n];
    for k in 0..n.saturating_sub(2) {
        let norm = (k + 1..n)
            .map(|i| a[i * n + k] * a[i * n + k])
            .sum::<f64>()
            .sqrt();
        if norm == 0.0 {
            continue;
        }
        let first = a[(k + 1) * n + k];
        let alpha = if first > 0.0 { -norm } else { norm };
        for i in k + 1..n {
            v[i] = a[i * n + k];
        }
        v[k + 1] -= alpha;
        let vv: f64 = v[k + 1..n].iter().map(|x| x * x).sum();
        let beta = 2.0 / vv;
        for i in k + 1..n {
            let dot: f64 = (k + 1..n).map(|j| a[i * n + j] * v[j]).sum();
            p[i] = beta * dot;
        }
        let half = beta / 2.0 * (k + 1..n).map(|i| p[i] * v[i]).sum::<f64>();
        for i in k + 1..n {
            p[i] -= half * v[i];
        }
        for i in k + 1..n {
            for j in k + 1..n {
                a[i * n + j] -= v[i] * p[j] + p[i] * v[j];
            }
        }
        beside[k] = alpha;
    }
    if n >= 2 {
        beside[n - 2] = a[(n - 1) * n + n - 2];
    }
    ((0..n).map(|i| a[i * n + i]).collect(), beside)
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
            let r = g.hypot(1.0);
            g = d[m] - d[l] + e[l] / (g + r.copysign(g));
            let (mut s, mut c, mut p) = (1.0, 1.0, 0.0);
            let mut early = false;
            for i in (l..m).rev() {
                let f = s * e[i];
                let b = c * e[i];
                let r = f.hypot(g);
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
