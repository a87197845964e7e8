//! How far an output reaches back: the exact influence of every earlier position on one output
//! through one head, as a backward walk that needs O(K) memory beside the factors and never forms
//! a T x T matrix.
//!
//! `M[i, j] = scale * sum_n q_i[n] exp(sum_{l=j+1..i} g_l[n]) w_j k_j[n]` (Ali et al., The Hidden
//! Attention of Mamba Models, arXiv 2403.01590, for S6; the same for every outer-product scan; in
//! full, with the factor of a delta rule, see [`crate::mixers::Taps`]). The convolution, the skip D, the output gate and the projection are outside of M.

use super::run::Factors;
#[cfg(feature = "zoo")]
use crate::mixers::{ScoreFunction, Scores};

/// One row of the hidden attention: the weight of each position `0..=i` in the output at `i`.
///
/// Walks from `i` back with `a = q_i`: weight of j is `w_j k_j . a`, then `a <- F_j^T a`; in f64, since a product of many decays near 1 loses digits in f32. For attention the weights are
/// softmax scores.
pub fn row(f: &Factors, i: usize) -> Vec<f32> {
    let key = f.key;
    let mut out = vec![0.0; i + 1];
    let first = if f.window == 0 {
        0
    } else {
        (i + 1).saturating_sub(f.window)
    };
    let mut a: Vec<f64> = f.q[i * key..][..key].iter().map(|&q| q.into()).collect();
    #[cfg(feature = "zoo")]
    if let Some(scores) = &f.scores {
        score_row(f, scores, &a, i, &mut out[first..]);
        return out;
    }
    if f.softmax {
        let scores: Vec<f64> = (first..=i)
            .map(|j| {
                let k = &f.k[j * key..][..key];
                k.iter()
                    .zip(&a)
                    .map(|(&k, a)| f64::from(k) * a)
                    .sum::<f64>()
                    * f64::from(f.scale)
            })
            .collect();
        let max = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = scores.iter().map(|s| (s - max).exp()).sum();
        for (out, score) in out[first..].iter_mut().zip(scores) {
            *out = ((score - max).exp() / sum) as f32;
        }
        return out;
    }
    let z = f.normaliser.get(i).map_or(1.0, |&z| f64::from(z));
    for j in (first..=i).rev() {
        let k = &f.k[j * key..][..key];
        let write = f.write_scale.get(j).map_or(1.0, |&w| f64::from(w));
        let write = f64::from(f.scale)
            * if cfg!(feature = "zoo") && f.in_logs {
                (write - z).exp()
            } else {
                write / z
            };
        if j == i && !f.bonus.is_empty() {
            // Read before it is written: the present token has its own weight and decays nothing.
            let products = k.iter().zip(&a).zip(&f.bonus);
            let dot: f64 = products
                .map(|((&k, a), &u)| f64::from(k) * a * f64::from(u))
                .sum();
            out[j] = (write * dot) as f32;
            continue;
        }
        out[j] = (write * dot(k, &a)) as f32;
        step_back(f, j, &mut a);
        // Below this nothing reaches f32 any more.
        if a.iter().all(|a| a.abs() < 1e-60) {
            break;
        }
    }
    out
}

/// The weights of the last tokens up to i, by their scores with the query `a`.
#[cfg(feature = "zoo")]
fn score_row(f: &Factors, s: &Scores, a: &[f64], i: usize, out: &mut [f32]) {
    let scores: Vec<(usize, f64)> = (0..out.len())
        .step_by(s.dilation)
        .map(|back| {
            let bias = s.bias.get(back).or(s.bias.last()).copied().unwrap_or(0.0);
            let product = dot(&f.k[(i - back) * f.key..][..f.key], a);
            (back, f64::from(f.scale) * product + f64::from(bias))
        })
        .collect();
    let largest = scores.iter().fold(f64::NEG_INFINITY, |m, s| m.max(s.1));
    let sum: f64 = scores.iter().map(|s| (s.1 - largest).exp()).sum();
    let last = out.len() - 1;
    for (back, score) in scores {
        let weight = match s.function {
            ScoreFunction::Softmax => (score - largest).exp() / sum,
            ScoreFunction::SquaredRelu => score.max(0.0).powi(2),
            ScoreFunction::Identity => score,
        };
        out[last - back] = weight as f32;
    }
}

fn dot(k: &[f32], a: &[f64]) -> f64 {
    k.iter().zip(a).map(|(&k, a)| f64::from(k) * a).sum()
}

/// `a <- F_j^T a`.
pub(crate) fn step_back(f: &Factors, j: usize, a: &mut [f64]) {
    let key = f.key;
    let [b, erased] = &f.erase;
    let width = b.len() / (f.q.len() / key);
    let erase: Vec<f64> = b[j * width..(j + 1) * width]
        .chunks_exact(key)
        .map(|b| dot(b, a))
        .collect();
    let gates = f.log_decay.len() / (f.q.len() / key);
    let gate = |n: usize| {
        let g = match gates {
            0 => return 1.0,
            1 => f.log_decay[j],
            _ => f.log_decay[j * key + n],
        };
        f64::from(g).exp()
    };
    for (n, a) in a.iter_mut().enumerate() {
        *a *= gate(n);
    }
    for (pair, &angle) in a.chunks_exact_mut(2).zip(&f.turn) {
        let (sin, cos) = f64::from(angle).sin_cos();
        let (re, im) = (pair[0], pair[1]);
        pair[0] = re * cos + im * sin;
        pair[1] = im * cos - re * sin;
    }
    for (erase, erased) in erase.iter().zip(erased[j * width..].chunks_exact(key)) {
        for (a, &e) in a.iter_mut().zip(erased) {
            *a += f64::from(e) * erase;
        }
    }
}

/// How far a row reaches, in three definitions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reach {
    /// Mean distance `sum_j (i - j) |M_ij| / sum_j |M_ij|` (DeciMamba, arXiv 2406.14528, Mamba
    /// mean distance).
    pub mean_distance: f64,
    /// `i - min j + 1` over positions whose weight is above 1e-3 of the largest.
    pub threshold_length: usize,
    /// The same with the absolute threshold 1e-3 (LongMamba, arXiv 2504.16053).
    pub absolute_length: usize,
    /// `ln(1/2) / mean log-decay`: tokens until a write has decayed to one half; infinite without
    /// decay.
    pub decay_horizon: f64,
}

/// The threshold of the threshold lengths.
pub const THRESHOLD: f32 = 1e-3;

/// Measures a row.
pub fn reach(f: &Factors, row: &[f32]) -> Reach {
    let i = row.len() - 1;
    let largest = row.iter().fold(0f32, |m, w| m.max(w.abs()));
    let sum: f64 = row.iter().map(|w| f64::from(w.abs())).sum();
    let moment: f64 = row
        .iter()
        .enumerate()
        .map(|(j, w)| (i - j) as f64 * f64::from(w.abs()))
        .sum();
    let length = |threshold: f32| {
        row.iter()
            .position(|w| w.abs() > threshold)
            .map_or(0, |j| i - j + 1)
    };
    let per_token = if f.q.is_empty() {
        1
    } else {
        f.log_decay.len() / (f.q.len() / f.key)
    };
    let gates = &f.log_decay[..(row.len() * per_token).min(f.log_decay.len())];
    let mean = gates.iter().map(|&g| f64::from(g)).sum::<f64>() / gates.len().max(1) as f64;
    Reach {
        mean_distance: if sum > 0.0 { moment / sum } else { 0.0 },
        threshold_length: if largest > 0.0 {
            length(THRESHOLD * largest)
        } else {
            0
        },
        absolute_length: length(THRESHOLD),
        decay_horizon: if mean < 0.0 {
            0.5f64.ln() / mean
        } else {
            f64::INFINITY
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn constant(t: usize, decay: f64) -> Factors {
        Factors {
            key: 1,
            q: vec![1.0; t],
            k: vec![1.0; t],
            log_decay: vec![decay.ln() as f32; t],
            scale: 1.0,
            ..Factors::default()
        }
    }

    /// Closed form for a constant decay a over T tokens:
    /// sum d a^d / sum a^d, d = 0..T-1.
    #[test]
    fn mean_distance_of_a_constant_decay() {
        for (a, rounded) in [(0.9, 9.0), (0.99, 96.0), (0.999, 233.7), (1.0, 255.5)] {
            let f = constant(512, a);
            let row = row(&f, 511);
            let got = reach(&f, &row).mean_distance;
            let sums = (0..512).fold((0.0, 0.0), |(n, d), i| {
                let w = f64::from(a as f32).powi(i);
                (n + f64::from(i) * w, d + w)
            });
            assert!((got - sums.0 / sums.1).abs() < 2e-3, "{a}: {got}");
            assert!((got - rounded).abs() < 0.06, "{a}: {got}");
        }
    }

    #[test]
    fn lengths_of_a_constant_decay() {
        let f = constant(4096, 0.99);
        let r = reach(&f, &row(&f, 4095));
        // 0.99^d > 1e-3 for d <= 687.
        assert_eq!((r.threshold_length, r.absolute_length), (688, 688));
        assert!(
            (r.decay_horizon - 68.97).abs() < 0.01,
            "{}",
            r.decay_horizon
        );
        assert_eq!(reach(&constant(8, 1.0), &[0.0; 8]).threshold_length, 0);
        assert_eq!(
            reach(&constant(8, 1.0), &[1.0; 8]).decay_horizon,
            f64::INFINITY
        );
    }

    #[test]
    fn a_window_ends_the_row() {
        let f = Factors {
            window: 3,
            ..constant(10, 1.0)
        };
        assert_eq!(
            row(&f, 9),
            [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0]
        );
        assert_eq!(row(&f, 0), [1.0]);
    }
}
