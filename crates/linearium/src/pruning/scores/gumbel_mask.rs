//! The mask of Selective S4 (arXiv 2303.14526): logits of keeping and dropping each token, drawn hard
//! with Gumbel noise, with a gradient through the soft draw; and the momentum copy that the mask is
//! made from.
//!
//! No code of the paper is public. The draw is that of `torch.nn.functional.gumbel_softmax`; the
//! mask generator that of DynamicViT (`raoyongming/DynamicViT`, `models/dyvit.py`, `PredictorLG`), as
//! which the paper's own, whose widths it does not give, is read here.

use crate::model::tensors::Tensors;
use crate::pruning::influence::numbers;
use crate::pruning::{Score, Seen, When, learned_mask};
use crate::step::{gelu, layer_norm, linear};
use crate::weights::Weights;

/// The lead of keeping over dropping, in the logits of the model's mask generator (`router`), or where
/// it has none in those of one that [`learned_mask`] trains. Noise is for training only: a fixed
/// number of tokens is kept.
pub struct GumbelMask;

impl Score for GumbelMask {
    fn id(&self) -> &'static str {
        "gumbel_mask"
    }

    fn name(&self) -> &'static str {
        "Gumbel mask (Selective S4)"
    }

    fn formula(&self) -> &'static str {
        r"s_t = \ell^{\text{keep}}_t - \ell^{\text{drop}}_t \text{ of the momentum copy } \theta_m \leftarrow m\, \theta_m + (1 - m)\, \theta"
    }

    fn source(&self) -> &'static str {
        "arXiv 2303.14526; torch.nn.functional.gumbel_softmax"
    }

    fn when(&self) -> When {
        When::Read
    }

    fn needs(&self) -> &'static [&'static str] {
        needs_hidden_attention!("router", "keep", "width", "u", "seed", "value", "v")
    }

    fn score(&self, seen: &Seen<'_>) -> Result<Vec<f32>, String> {
        let Some(logits) = seen.router else {
            return learned_mask::logits(self.id(), seen);
        };
        if logits.len() != 2 * seen.tokens {
            return Err(format!(
                "a mask generator gives two logits a token: {} tokens and {} logits do not fit",
                seen.tokens,
                logits.len()
            ));
        }
        let of = |pair: &[f32]| f64::from(pair[1]) - f64::from(pair[0]);
        numbers(logits.chunks_exact(2).map(of).collect())
    }
}

/// A mask drawn for T tokens.
#[derive(Clone, Debug, PartialEq)]
pub struct Mask {
    /// The probability of keeping in the draw, `[T]`.
    pub soft: Vec<f64>,
    /// Whether the draw keeps.
    pub kept: Vec<bool>,
    temperature: f64,
}

impl Mask {
    /// Draws from logits of dropping and of keeping `[T, 2]` with as many uniform numbers, clamped
    /// away from 0 and 1. Of two equal draws the token is dropped; if all are dropped, the token
    /// nearest to being kept is kept.
    pub fn draw(logits: &[f64], uniforms: &[f64], temperature: f64) -> Mask {
        let noise = |u: f64| -(-u.clamp(f64::MIN_POSITIVE, 1.0 - f64::EPSILON / 2.0).ln()).ln();
        let of = |(l, u): (&[f64], &[f64])| {
            let lead = (l[1] + noise(u[1])) - (l[0] + noise(u[0]));
            // The difference alone, so that a temperature near 0 does not overflow to a NaN.
            if lead == 0.0 {
                0.5
            } else {
                (1.0 + (-lead / temperature).exp()).recip()
            }
        };
        let pairs = logits.chunks_exact(2).zip(uniforms.chunks_exact(2));
        let soft: Vec<f64> = pairs.map(of).collect();
        let mut kept: Vec<bool> = soft.iter().map(|&p| p > 0.5).collect();
        if !kept.contains(&true) {
            let most = (0..soft.len()).reduce(|a, b| if soft[b] > soft[a] { b } else { a });
            if let Some(most) = most {
                kept[most] = true;
            }
        }
        Mask {
            soft,
            kept,
            temperature,
        }
    }

    /// Gradient for the logits `[T, 2]` from that for the mask `[T]`, straight through: as if the
    /// mask had been the soft draw.
    pub fn backward(&self, gradient: &[f64]) -> Vec<f64> {
        let of = |(p, g): (&f64, &f64)| {
            let slope = g * p * (1.0 - p) / self.temperature;
            [-slope, slope]
        };
        self.soft.iter().zip(gradient).flat_map(of).collect()
    }
}

/// The momentum copy follows the weights: `copy <- m copy + (1 - m) weights`.
pub fn follow(copy: &mut [f64], weights: &[f64], momentum: f64) {
    for (copy, w) in copy.iter_mut().zip(weights) {
        *copy = momentum * *copy + (1.0 - momentum) * w;
    }
}

/// DynamicViT's mask generator: layer norm and a linear layer; the first half of the channels beside
/// the mean of the second half over the tokens kept so far; three linear layers to two logits.
#[derive(Clone)]
pub struct Generator {
    /// Width C; divisible by 4.
    pub width: usize,
    /// Weight and bias of the norm, `[C]` each.
    pub norm: [Weights; 2],
    /// Weight and bias of the linear layers: C to C, C to C / 2, C / 2 to C / 4, C / 4 to 2.
    pub layers: [[Weights; 2]; 4],
}

impl Generator {
    /// From the tensors of the official `PredictorLG`.
    ///
    /// # Errors
    /// A sentence if the width is not divisible by 4 or a tensor is missing.
    pub fn load(t: &mut Tensors<'_>, width: usize) -> Result<Generator, String> {
        if width == 0 || !width.is_multiple_of(4) {
            return Err(format!(
                "a mask generator of width {width} cannot be quartered"
            ));
        }
        let mut layer = |name: &str, shape: &[usize]| -> Result<[Weights; 2], String> {
            Ok([
                t.take(&format!("{name}.weight"), shape)?,
                t.take(&format!("{name}.bias"), &shape[..1])?,
            ])
        };
        Ok(Generator {
            width,
            norm: layer("in_conv.0", &[width])?,
            layers: [
                layer("in_conv.1", &[width, width])?,
                layer("out_conv.0", &[width / 2, width])?,
                layer("out_conv.2", &[width / 4, width / 2])?,
                layer("out_conv.4", &[2, width / 4])?,
            ],
        })
    }

    /// Log-probabilities of dropping and of keeping, `[T, 2]` (the official code gives keeping first),
    /// by features `[T, C]` and which tokens are kept so far.
    pub fn logits(&self, features: &[f64], kept: &[bool]) -> Vec<f64> {
        let width = self.width;
        let through = |layer: usize, x: &[f64]| -> Vec<f64> {
            let [weight, bias] = &self.layers[layer];
            linear(x, weight, Some(bias))
        };
        let gelu_all = |x: Vec<f64>| -> Vec<f64> { x.into_iter().map(gelu).collect() };
        let rows: Vec<Vec<f64>> = features
            .chunks_exact(width)
            .map(|row| {
                let [weight, bias] = &self.norm;
                gelu_all(through(0, &layer_norm(row, weight, bias, width, 1e-5)))
            })
            .collect();
        let count = kept.iter().filter(|k| **k).count().max(1) as f64;
        let mut whole = vec![0.0; width - width / 2];
        for (row, _) in rows.iter().zip(kept).filter(|(_, kept)| **kept) {
            for (whole, x) in whole.iter_mut().zip(&row[width / 2..]) {
                *whole += x / count;
            }
        }
        let of = |row: &Vec<f64>| {
            let joined = [&row[..width / 2], &whole].concat();
            let last = through(3, &gelu_all(through(2, &gelu_all(through(1, &joined)))));
            let most = last[0].max(last[1]);
            let log_sum = most + last.iter().map(|l| (l - most).exp()).sum::<f64>().ln();
            [last[1] - log_sum, last[0] - log_sum]
        };
        rows.iter().flat_map(of).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_are_softmaxes_of_logits_with_noise() {
        let logits = [0.3, -0.4, 1.0, 2.0, 0.0, 0.0];
        let uniforms = [0.2, 0.9, 0.5, 0.5, 0.1, 0.1];
        let mask = Mask::draw(&logits, &uniforms, 0.5);
        for t in 0..3 {
            let of = |i: usize| {
                let g = -(-f64::ln(uniforms[i])).ln();
                ((logits[i] + g) / 0.5).exp()
            };
            let want = of(2 * t + 1) / (of(2 * t) + of(2 * t + 1));
            assert!((mask.soft[t] - want).abs() < 1e-14);
        }
        assert_eq!(mask.kept, [true, true, false]);
        let gradient = mask.backward(&[1.0, 2.0, 0.0]);
        let slope = 2.0 * mask.soft[1] * (1.0 - mask.soft[1]) / 0.5;
        assert_eq!(gradient[2..4], [-slope, slope]);
        assert_eq!(gradient[4..], [0.0, 0.0]);
    }

    #[test]
    fn the_ends_are_finite_and_something_is_kept() {
        let mask = Mask::draw(&[0.0, -9.0, 0.0, -8.0], &[0.0, 1.0, 1.0, 0.0], 1e-300);
        assert!(mask.soft.iter().all(|p| p.is_finite()));
        let dropped = Mask::draw(&[9.0, 0.0, 8.0, 0.0], &[0.5; 4], 1.0);
        assert_eq!(dropped.kept, [false, true]);
        assert!(Mask::draw(&[], &[], 1.0).kept.is_empty());
    }

    #[test]
    fn the_copy_follows() {
        let mut copy = [1.0, 0.0];
        follow(&mut copy, &[0.0, 4.0], 0.75);
        assert_eq!(copy, [0.75, 1.0]);
    }

    #[test]
    fn logits_of_a_trained_generator_are_the_score() {
        let seen = Seen {
            tokens: 2,
            router: Some(&[0.5, 0.25, -1.0, 2.0]),
            ..Seen::default()
        };
        assert_eq!(GumbelMask.score(&seen).unwrap(), [-0.25, 3.0]);
        let short = Seen { tokens: 3, ..seen };
        assert!(GumbelMask.score(&short).unwrap_err().contains("4 logits"));
    }
}
