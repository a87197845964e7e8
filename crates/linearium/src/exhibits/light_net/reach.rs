//! What a pixel sees: the weight of every other pixel's value in its output with queries of 1,
//! averaged over channels, so that the content of one picture does not hide the reach.

use super::layers::{HEADS, KEY, Options};

/// Below this share of the largest weight a pixel counts as not seen, as in LongMamba.
const THRESHOLD: f64 = 1e-3;

/// Weights of all pixels in one channel for the output at pixel i.
pub fn additive_weights(options: &Options, logits: &[f32], i: usize, channel: usize) -> Vec<f64> {
    let tokens = options.tokens();
    let keys = HEADS * KEY;
    let logit = |t: usize| f64::from(logits[t * keys + channel]);
    let phantom = if options.phantom {
        0.0
    } else {
        f64::NEG_INFINITY
    };
    let largest = (0..tokens).map(logit).fold(phantom, f64::max);
    let all: Vec<f64> = (0..tokens).map(|t| (logit(t) - largest).exp()).collect();
    let sum: f64 = all.iter().sum::<f64>() + (phantom - largest).exp();
    let theta = options.theta();
    let steps = theta.len() / HEADS;
    let (head, c) = (channel / KEY, channel % KEY);
    let angle = |t: usize| {
        let place = if c / steps == 0 {
            t / options.side
        } else {
            t % options.side
        };
        place as f64 * f64::from(theta[head * steps + c % steps])
    };
    let turned = |t: usize| {
        if options.lrpe {
            (angle(i) - angle(t)).cos()
        } else {
            1.0
        }
    };
    all.iter()
        .enumerate()
        .map(|(t, e)| e / sum * turned(t))
        .collect()
}

/// The mean over all channels.
pub fn additive(options: &Options, logits: &[f32], i: usize) -> Vec<f64> {
    let channels = HEADS * KEY;
    let mut mean = vec![0.0; options.tokens()];
    for c in 0..channels {
        let weights = additive_weights(options, logits, i, c);
        for (m, w) in mean.iter_mut().zip(weights) {
            *m += w / channels as f64;
        }
    }
    mean
}

/// Sum over the first so many routes of the decay from each pixel to pixel i, 0 for those that come
/// after it.
pub fn multiplicative(options: &Options, scans: usize, i: usize) -> Vec<f64> {
    let mut out = vec![0.0; options.tokens()];
    for route in &options.routes()[..scans] {
        let at = route.iter().position(|&pixel| pixel == i).unwrap_or(0);
        for (step, &pixel) in route[..=at].iter().enumerate() {
            out[pixel] += options.decay.powi((at - step) as i32);
        }
    }
    out
}

fn largest(weights: &[f64]) -> f64 {
    weights
        .iter()
        .fold(f64::MIN_POSITIVE, |m, w| m.max(w.abs()))
}

/// Weights over the largest of them.
pub fn normalised(weights: &[f64]) -> Vec<f64> {
    let most = largest(weights);
    weights.iter().map(|w| w / most).collect()
}

/// Share of the pixels that are seen.
pub fn coverage(weights: &[f64]) -> f64 {
    let most = largest(weights);
    let seen = weights.iter().filter(|w| w.abs() > THRESHOLD * most);
    seen.count() as f64 / weights.len() as f64
}

/// Mean size of the normalised weights at every distance in whole pixels from pixel i.
pub fn by_distance(side: usize, weights: &[f64], i: usize) -> Vec<(f64, f64)> {
    let mut sums: Vec<(f64, usize)> = Vec::new();
    for (t, w) in normalised(weights).iter().enumerate() {
        let apart = |a: usize, b: usize| a.abs_diff(b) as f64;
        let distance = apart(t / side, i / side).hypot(apart(t % side, i % side));
        let bin = distance.round() as usize;
        if sums.len() <= bin {
            sums.resize(bin + 1, (0.0, 0));
        }
        sums[bin].0 += w.abs();
        sums[bin].1 += 1;
    }
    let filled = sums.into_iter().enumerate().filter(|(_, (_, n))| *n > 0);
    filled
        .map(|(d, (sum, n))| (d as f64, sum / n as f64))
        .collect()
}
