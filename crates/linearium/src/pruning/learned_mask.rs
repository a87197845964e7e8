//! A mask generator trained on the layer that is looked at, for models that were trained without
//! one: what Selective S4 (arXiv 2303.14526) learns, in the smallest form that learns it.
//!
//! The logit of keeping a token is linear in its normalised input, `l_t = w . x_t + b`. Each step
//! draws a hard mask with Gumbel noise, reads the layer with frozen gates and masked values, and
//! goes down the straight-through gradient of
//! `|y(mask) - y|^2 / |y|^2 + (mean sigmoid(l) - K / T)^2` (Adam, arXiv 1412.6980). A copy of the
//! weights follows with momentum, and the score is the copy's.
//!
//! What differs from the paper: there the S4 model learns too and the copy is of that model; here
//! the mixer stays as it is, so that a copy of it would be the mixer, and the generator is copied.
//! The loss is the layer's readout, not the task's.

use super::Seen;
use super::influence::{no_number, numbers, pull, push};
use super::scores::gumbel_mask::{Mask, follow};
use crate::probes::run::Factors;
use crate::random::Random;

/// Tokens at the end of the text that the generator learns from.
pub const WINDOW: usize = 256;
/// Heads that it learns from, at equal distances.
pub const HEADS: usize = 4;
/// Steps of training.
pub const STEPS: usize = 80;
/// How much of the copy stays in a step.
pub const MOMENTUM: f64 = 0.9;
const RATE: f64 = 0.1;
const TEMPERATURE: f64 = 1.0;

/// What a generator is trained on: readouts of some heads over some tokens.
pub struct Task {
    heads: Vec<(Factors, Vec<f64>)>,
    value: usize,
    tokens: usize,
    /// `|y|^2`.
    size: f64,
    share: f64,
}

impl Task {
    /// The last [`WINDOW`] tokens of up to [`HEADS`] heads, of which a share is to be kept.
    fn new(seen: &Seen<'_>, first: usize, share: f64) -> Task {
        let tokens = seen.tokens - first;
        let count = HEADS.min(seen.heads);
        let of = |i: usize| {
            let head = i * seen.heads / count;
            let f = seen.factors(head).behind(first);
            (f, seen.values_of(head).split_off(first * seen.value))
        };
        let heads: Vec<_> = (0..count).map(of).collect();
        let square = |(f, v): &(Factors, Vec<f64>)| -> f64 {
            push(f, v, seen.value).iter().map(|y| y * y).sum()
        };
        Task {
            size: heads.iter().map(square).sum::<f64>().max(f64::MIN_POSITIVE),
            heads,
            value: seen.value,
            tokens,
            share,
        }
    }

    /// The loss of a mask `[T]` of any values, and its gradient for the mask.
    fn loss(&self, mask: &[f64]) -> (f64, Vec<f64>) {
        let (mut loss, mut gradient) = (0.0, vec![0.0; self.tokens]);
        for (f, v) in &self.heads {
            let missing = v.iter().enumerate();
            let missing: Vec<f64> = missing
                .map(|(i, v)| v * (mask[i / self.value] - 1.0))
                .collect();
            let errors = push(f, &missing, self.value);
            loss += errors.iter().map(|e| e * e).sum::<f64>() / self.size;
            let pulled = pull(f, &errors, self.value);
            for (i, (v, pulled)) in v.iter().zip(pulled).enumerate() {
                gradient[i / self.value] += 2.0 * v * pulled / self.size;
            }
        }
        (loss, gradient)
    }

    /// The loss of the share that logits keep, and its gradient for them.
    fn share_loss(&self, logits: &[f64]) -> (f64, Vec<f64>) {
        let kept: Vec<f64> = logits.iter().map(|l| (1.0 + (-l).exp()).recip()).collect();
        let n = kept.len().max(1) as f64;
        let off = kept.iter().sum::<f64>() / n - self.share;
        let slope = |p: f64| 2.0 * off * p * (1.0 - p) / n;
        (off * off, kept.into_iter().map(slope).collect())
    }
}

/// The logits of keeping each token, `[T]`, of a generator trained on the layer.
///
/// # Errors
/// A sentence if the layer lacks heads or input.
pub fn logits(score: &str, seen: &Seen<'_>) -> Result<Vec<f32>, String> {
    seen.check_values(score)?;
    let (t, width) = (seen.tokens, seen.width);
    if t == 0 {
        return Ok(Vec::new());
    }
    if width == 0 || seen.u.len() != t * width {
        return Err(format!(
            "the score '{score}' needs the layer's input [{t}, {width}], but it has {} values",
            seen.u.len()
        ));
    }
    if let Some(at) = seen.u.iter().position(|x| x.is_nan()) {
        return Err(no_number(at / width));
    }
    let first = t.saturating_sub(WINDOW);
    let features = features(seen.u, width, first);
    let share = (seen.keep as f64 / t as f64).clamp(0.05, 0.95);
    let task = Task::new(seen, first, share);
    let copy = train(&task, &features[first * width..], width, seen.seed);
    numbers(apply(&copy, &features, width))
}

/// Each channel with mean 0 and variance 1 / D over the tokens from `first` on; a channel that is
/// the same for all is 0.
fn features(u: &[f32], width: usize, first: usize) -> Vec<f64> {
    let mut out: Vec<f64> = u.iter().map(|&u| u.into()).collect();
    let n = (u.len() / width - first) as f64;
    for c in 0..width {
        let of_window = || out[first * width..].iter().skip(c).step_by(width);
        let mean = of_window().sum::<f64>() / n;
        let variance = of_window().map(|x| (x - mean).powi(2)).sum::<f64>() / n;
        let scale = if variance > 1e-12 {
            (variance * width as f64).sqrt().recip()
        } else {
            0.0
        };
        for x in out.iter_mut().skip(c).step_by(width) {
            *x = (*x - mean) * scale;
        }
    }
    out
}

/// `w . x + b` of every row; b stands last.
fn apply(weights: &[f64], features: &[f64], width: usize) -> Vec<f64> {
    let of = |row: &[f64]| {
        let dot: f64 = row.iter().zip(weights).map(|(x, w)| x * w).sum();
        dot + weights[width]
    };
    features.chunks_exact(width).map(of).collect()
}

/// The momentum copy after training.
fn train(task: &Task, features: &[f64], width: usize, seed: u64) -> Vec<f64> {
    let mut random = Random::new(seed);
    let mut weights = vec![0.0; width + 1];
    weights[width] = (task.share / (1.0 - task.share)).ln();
    let mut copy = weights.clone();
    let (mut means, mut squares) = (vec![0.0; width + 1], vec![0.0; width + 1]);
    for step in 1..=STEPS {
        let logits = apply(&weights, features, width);
        let both: Vec<f64> = logits.iter().flat_map(|&l| [0.0, l]).collect();
        let uniforms: Vec<f64> = both.iter().map(|_| random.uniform()).collect();
        let mask = Mask::draw(&both, &uniforms, TEMPERATURE);
        let hard: Vec<f64> = mask.kept.iter().map(|&k| f64::from(u8::from(k))).collect();
        let through = mask.backward(&task.loss(&hard).1);
        let (_, shares) = task.share_loss(&logits);
        let mut gradient = vec![0.0; width + 1];
        let slopes = through
            .chunks_exact(2)
            .map(|pair| pair[1])
            .zip(shares)
            .map(|(a, b)| a + b);
        for (row, slope) in features.chunks_exact(width).zip(slopes) {
            for (gradient, x) in gradient.iter_mut().zip(row.iter().chain([&1.0])) {
                *gradient += slope * x;
            }
        }
        for (i, g) in gradient.into_iter().enumerate() {
            means[i] = 0.9 * means[i] + 0.1 * g;
            squares[i] = 0.999 * squares[i] + 0.001 * g * g;
            let mean = means[i] / (1.0 - 0.9f64.powi(step as i32));
            let square = squares[i] / (1.0 - 0.999f64.powi(step as i32));
            weights[i] -= RATE * mean / (square.sqrt() + 1e-12);
        }
        follow(&mut copy, &weights, MOMENTUM);
    }
    copy
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pruning::Score;
    use crate::pruning::agreement::jaccard_of_kept;
    use crate::pruning::example::Example;
    use crate::pruning::scores::gumbel_mask::GumbelMask;
    use crate::pruning::scores::oracle::All;

    /// Against differences of the loss.
    #[test]
    fn gradients_are_those_of_the_loss() {
        for example in Example::all(20) {
            let seen = example.seen();
            let task = Task::new(&seen, 7, 0.4);
            let mut random = Random::new(1);
            let mask: Vec<f64> = (0..13).map(|_| random.uniform()).collect();
            let (_, gradient) = task.loss(&mask);
            let (_, of_share) = task.share_loss(&mask);
            let difference = |j: usize, loss: &dyn Fn(&[f64]) -> f64| {
                let at = |d: f64| {
                    let mut moved = mask.clone();
                    moved[j] += d;
                    loss(&moved)
                };
                (at(1e-4) - at(-1e-4)) / 2e-4
            };
            for j in 0..13 {
                let want = difference(j, &|m| task.loss(m).0);
                let off = (gradient[j] - want).abs();
                assert!(off < 1e-6, "{}: {} {want}", example.name, gradient[j]);
                let want = difference(j, &|m| task.share_loss(m).0);
                assert!((of_share[j] - want).abs() < 1e-7);
            }
            assert!(task.loss(&[1.0; 13]).0 == 0.0);
        }
    }

    /// The window is a text of its own: its matrix is the corner of the whole one.
    #[test]
    fn what_the_window_reads() {
        for example in Example::all(20) {
            let seen = example.seen();
            if seen.softmax {
                // A softmax over fewer tokens has other weights.
                continue;
            }
            for head in 0..seen.heads {
                let f = seen.factors(head).behind(7);
                let mut unit = vec![0.0; 13];
                unit[3] = 1.0;
                let got = push(&f, &unit, 1);
                let matrix = example.matrix(head);
                for (i, got) in got.iter().enumerate() {
                    let want = matrix[i + 7][10];
                    assert!(
                        (got - want).abs() < 1e-6 * (1.0 + want.abs()),
                        "{}",
                        example.name
                    );
                }
            }
        }
    }

    /// Where one channel of the input says how much a token writes, the mask learns it: it agrees
    /// with the oracle, and other seeds learn the same.
    #[test]
    fn the_mask_follows_what_matters() {
        let mut example = Example::per_key(96);
        let loud: Vec<bool> = (0..96).map(|t| t * 7 % 3 == 0).collect();
        let values = example.array_mut("v").unwrap();
        for (v, loud) in values.chunks_exact_mut(6).zip(&loud) {
            v.iter_mut()
                .for_each(|v| *v *= if *loud { 3.0 } else { 0.02 });
        }
        let inputs = example.array_mut("u").unwrap();
        for (u, loud) in inputs.chunks_exact_mut(5).zip(&loud) {
            u[2] = if *loud { 1.0 } else { -1.0 };
        }
        let mut seen = example.seen();
        seen.router = None;
        seen.keep = 32;
        let oracle = All.score(&seen).unwrap();
        for seed in 0..3 {
            seen.seed = seed;
            let learned = GumbelMask.score(&seen).unwrap();
            let agreement = jaccard_of_kept(&learned, &oracle, 32);
            assert!(agreement > 0.9, "{agreement}");
        }
    }
}
