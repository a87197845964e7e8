//! Gradient saliency of the layer: input times gradient, with frozen gates.
//!
//! The loss is half the squared size of what all heads read, `L = 1/2 sum_i |y_i|^2`, and the input
//! is v, so that `dL/dv_j = sum_{i >= j} M_ij y_i` comes from an adjoint scan of the state's size. Left
//! out is what a token does by its gates: the paths through step size, decay, key, query, output
//! gate and convolution, and everything behind the layer. A saliency of the whole model has them.

use crate::pruning::influence::{numbers, pull, push};
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
        needs_hidden_attention!("value", "v")
    }

    fn score(&self, seen: &Seen<'_>) -> Result<Vec<f32>, String> {
        seen.check_values(self.id())?;
        let mut sums = vec![0.0; seen.tokens];
        for head in 0..seen.heads {
            let f = seen.factors(head);
            let v = seen.values_of(head);
            let gradients = pull(&f, &push(&f, &v, seen.value), seen.value);
            let products: Vec<f64> = v
                .iter()
                .zip(gradients)
                .map(|(v, g)| (v * g).abs())
                .collect();
            for (sum, products) in sums
                .iter_mut()
                .zip(products.chunks_exact(seen.value.max(1)))
            {
                *sum += products.iter().sum::<f64>();
            }
        }
        numbers(sums)
    }
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
