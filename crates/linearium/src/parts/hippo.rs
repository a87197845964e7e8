//! HiPPO-LegS, the matrix that state-space models start from, in the basis in which all but a term
//! of rank one is diagonal (Gu et al., arXiv 2008.07669 and 2111.00396; state-spaces/s4,
//! `models/s4/s4.py`, `transition` and `nplr`).

use rustfft::num_complex::Complex64;

/// `A = V (diag(lambda) - P P^*) V^*` and `V^* B`, of each conjugate pair the eigenvalue below the
/// real axis.
pub struct LegS {
    /// `[N / 2]`, the fastest first.
    pub lambda: Vec<Complex64>,
    /// V^* P, `[N / 2]`.
    pub p: Vec<Complex64>,
    /// V^* B, `[N / 2]`.
    pub b: Vec<Complex64>,
    /// Columns of V, `[N / 2, N]`.
    pub v: Vec<Vec<Complex64>>,
}

/// HiPPO-LegS with `2 * states` states.
pub fn legs(states: usize) -> LegS {
    let n = 2 * states;
    let root = |i: usize| (2.0 * i as f64 + 1.0).sqrt();
    // A + P P^T, with P_i = sqrt(i + 1/2), is -1/2 on the diagonal and skew beside it; -i times the
    // skew part is Hermitian.
    let skew = |i: usize, j: usize| {
        let half = root(i) * root(j) / 2.0;
        match i.cmp(&j) {
            std::cmp::Ordering::Less => half,
            std::cmp::Ordering::Equal => 0.0,
            std::cmp::Ordering::Greater => -half,
        }
    };
    let hermitian = (0..n)
        .map(|i| (0..n).map(|j| Complex64::new(0.0, -skew(i, j))).collect())
        .collect();
    let mut pairs = eigen(hermitian);
    pairs.sort_by(|a, b| a.0.total_cmp(&b.0));
    pairs.truncate(states);
    let product = |v: &[Complex64], x: &dyn Fn(usize) -> f64| -> Complex64 {
        v.iter().enumerate().map(|(i, v)| v.conj() * x(i)).sum()
    };
    LegS {
        lambda: pairs.iter().map(|p| Complex64::new(-0.5, p.0)).collect(),
        p: pairs
            .iter()
            .map(|(_, v)| product(v, &|i| (i as f64 + 0.5).sqrt()))
            .collect(),
        b: pairs.iter().map(|(_, v)| product(v, &root)).collect(),
        v: pairs.into_iter().map(|(_, v)| v).collect(),
    }
}

/// Eigenvalues and eigenvectors of a Hermitian matrix, by Jacobi's rotations.
fn eigen(mut h: Vec<Vec<Complex64>>) -> Vec<(f64, Vec<Complex64>)> {
    let n = h.len();
    let mut vectors: Vec<Vec<Complex64>> = (0..n)
        .map(|i| {
            let unit = |j| f64::from(u8::from(i == j));
            (0..n).map(|j| unit(j).into()).collect()
        })
        .collect();
    let size: f64 = h.iter().flatten().map(|x| x.norm_sqr()).sum();
    // It converges quadratically: a matrix of 64 rows needs some eight sweeps.
    for _ in 0..40 {
        let mut off = 0.0;
        for p in 0..n {
            for q in p + 1..n {
                let x = h[p][q];
                off += x.norm_sqr();
                if x.norm_sqr() <= f64::MIN_POSITIVE {
                    continue;
                }
                // The phase that makes the entry real, then a real rotation that makes it zero.
                let phase = x.conj() / x.norm();
                let tau = (h[q][q].re - h[p][p].re) / (2.0 * x.norm());
                let t = tau.signum() / (tau.abs() + tau.hypot(1.0));
                let c = t.hypot(1.0).recip();
                let s = t * c;
                let rotate = |a: &mut Complex64, b: &mut Complex64, phase: Complex64| {
                    let turned = *b * phase;
                    (*a, *b) = (*a * c - turned * s, *a * s + turned * c);
                };
                for row in &mut h {
                    let (left, right) = row.split_at_mut(q);
                    rotate(&mut left[p], &mut right[0], phase);
                }
                let (above, below) = h.split_at_mut(q);
                for (a, b) in above[p].iter_mut().zip(&mut below[0]) {
                    rotate(a, b, phase.conj());
                }
                let (left, right) = vectors.split_at_mut(q);
                for (a, b) in left[p].iter_mut().zip(&mut right[0]) {
                    rotate(a, b, phase);
                }
            }
        }
        if off <= 1e-30 * size {
            break;
        }
    }
    (0..n).map(|i| h[i][i].re).zip(vectors).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A itself, entry by entry, from its parts: for sizes up to the usual one.
    #[test]
    fn parts_make_up_the_matrix() {
        for states in [1, 2, 5, 32] {
            let legs = legs(states);
            let n = 2 * states;
            for i in 0..n {
                for j in 0..n {
                    // Of a conjugate pair both count, twice the real part.
                    let mut got = 0.0;
                    for k in 0..states {
                        got += 2.0 * (legs.v[k][i] * legs.lambda[k] * legs.v[k][j].conj()).re;
                    }
                    let p = |i: usize| -> f64 {
                        (0..states)
                            .map(|k| 2.0 * (legs.v[k][i] * legs.p[k]).re)
                            .sum()
                    };
                    got -= p(i) * p(j);
                    let both = ((2 * i + 1) as f64 * (2 * j + 1) as f64).sqrt();
                    let want = match i.cmp(&j) {
                        std::cmp::Ordering::Less => 0.0,
                        std::cmp::Ordering::Equal => -(i as f64 + 1.0),
                        std::cmp::Ordering::Greater => -both,
                    };
                    assert!(
                        (got - want).abs() < 1e-11 * n as f64,
                        "{states}: {i} {j} {got} {want}"
                    );
                }
            }
        }
    }
}
