//! Gradient saliency of the layer: input times gradient, with frozen gates.
//!
//! The loss is half the squared size of what all heads read, `L = 1/2 sum_i |y_i|^2`, and the input
//! is v, so that `dL/dv_j = sum_{i >= j} M_ij y_i` comes from an adjoint scan of the state's size. Left
//! out is what a token does by its gates: the paths through step size, decay, key, query, output
//! gate and convolution, and everything behind the layer. A saliency of the whole model has them.

use crate::probes::receptive_field::row;
use crate::probes::run::Factors;
use crate::pruning::influence::{Adjoint, numbers, only_rows, readouts};
use crate::pruning::{Score, Seen, When};

/// `|v * dL/dv|_1` with L half the squared readout.
pub struct Saliency;

impl Score for Saliency {
    fn id(&self) -> &'static str {
        "gradient"
    }

    fn name(&self) -> &'static str {
        "gradient saliency"
    }

    fn formula(&self) -> &'static str {
        r"s_j = \sum_h \Bigl\lVert v^{(h)}_j \odot \sum_{i \ge j} M^{(h)}_{ij}\, y^{(h)}_i \Bigr\rVert_1"
    }

    fn source(&self) -> &'static str {
        "input times gradient (Shrikumar et al., arXiv 1605.01713), of half the squared readout, gates frozen"
    }

    fn when(&self) -> When {
        When::Read
    }

    fn needs(&self) -> &'static [&'static str] {
        super::hidden_attention::NEEDS
    }

    fn score(&self, seen: &Seen<'_>) -> Result<Vec<f32>, String> {
        seen.check_heads(self.id())?;
        let mut sums = vec![0.0; seen.tokens];
        for head in 0..seen.heads {
            let f = seen.factors(head);
            let gradients = gradients(&f, seen, head);
            for (j, sum) in sums.iter_mut().enumerate() {
                let gradient = &gradients[j * seen.value..][..seen.value];
                let pairs = seen.value_of(j, head).iter().zip(gradient);
                *sum += pairs.map(|(&v, g)| (f64::from(v) * g).abs()).sum::<f64>();
            }
        }
        numbers(sums)
    }
}

/// `sum_{i >= j} M_ij y_i` of one head, `[T, V]`.
fn gradients(f: &Factors, seen: &Seen<'_>, head: usize) -> Vec<f64> {
    let (t, value) = (seen.tokens, seen.value);
    let mut gradients = vec![0.0; t * value];
    if only_rows(f) {
        for i in 0..t {
            let weights = row(f, i);
            let y = readout(&weights, seen, head);
            for (j, weight) in weights.into_iter().enumerate() {
                let gradient = &mut gradients[j * value..][..value];
                for (gradient, y) in gradient.iter_mut().zip(&y) {
                    *gradient += f64::from(weight) * y;
                }
            }
        }
        return gradients;
    }
    let readouts = readouts(f, &seen.values_of(head), value);
    let mut adjoint = Adjoint::new(f, value);
    for j in (0..t).rev() {
        let gradient = adjoint.reach(j, &readouts[j * value..][..value]);
        gradients[j * value..][..value].copy_from_slice(&gradient);
    }
    gradients
}

/// `sum_j M_ij v_j`, `[V]`, from a row.
fn readout(weights: &[f32], seen: &Seen<'_>, head: usize) -> Vec<f64> {
    let mut y = vec![0.0; seen.value];
    for (j, &weight) in weights.iter().enumerate() {
        for (y, &v) in y.iter_mut().zip(seen.value_of(j, head)) {
            *y += f64::from(weight) * f64::from(v);
        }
    }
    y
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pruning::example::Example;

    /// Against the matrix: `v * (M^T M v)`.
    #[test]
    fn the_gradient_of_half_the_squared_readout() {
        for example in Example::all(24) {
            let seen = example.seen();
            let got = Saliency.score(&seen).unwrap();
            let mut want = vec![0.0; seen.tokens];
            for h in 0..seen.heads {
                let m = example.matrix(h);
                for c in 0..seen.value {
                    let v = |j: usize| f64::from(seen.value_of(j, h)[c]);
                    let y: Vec<f64> = m
                        .iter()
                        .map(|row| row.iter().enumerate().map(|(j, w)| w * v(j)).sum())
                        .collect();
                    for (j, want) in want.iter_mut().enumerate() {
                        let gradient: f64 = m.iter().zip(&y).map(|(row, y)| row[j] * y).sum();
                        *want += (v(j) * gradient).abs();
                    }
                }
            }
            for (got, want) in got.into_iter().zip(want) {
                let off = (f64::from(got) - want).abs();
                assert!(off <= 3e-6 * want + 1e-7, "{}: {got} {want}", example.name);
            }
        }
    }
}
