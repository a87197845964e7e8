//! LongMamba (arXiv 2504.16053): on global heads, tokens whose step size is small are skipped, so
//! that the decay over a long context is what it was over the training length.
//!
//! Calibration as in the released code (`load_align_target.py::debug`): record the step sizes
//! over windows of the training length L0; clamp the top share C of them; the budget of a head is
//! their sum; for a length S, stretch the sorted step sizes to S values by linear interpolation,
//! and take as threshold the value at which their running sum passes the budget; average over
//! windows. A head is global if `exp(A * budget) > theta`.
//!
//! What differs: the windows are taken from the input itself, not from the Pile; the threshold is
//! computed for S itself, not for the nearest of 25 grid lengths; and where the running sum never
//! passes the budget nothing is filtered (the released `argmax` then prunes everything).

/// Share of the largest step sizes that is clamped (Mamba-2: 5 %).
pub const CLAMPED_SHARE: f64 = 0.05;
/// A head is global if its decay over the training length is above this (Mamba-2: 5e-2).
pub const GLOBAL_DECAY: f64 = 5e-2;
/// The most windows that are read for the calibration.
pub const WINDOWS: usize = 8;

/// The threshold of one head for length `length`, from the step sizes of windows of training
/// length and the head's decay rate A < 0; -1 if the head is local or nothing is to be filtered.
pub fn threshold(windows: &[Vec<f32>], rate: f64, length: usize) -> f32 {
    let mut budgets = 0.0;
    let mut thresholds = 0.0;
    for steps in windows {
        let clamped = clamp_top(steps);
        let budget: f64 = clamped.iter().sum();
        budgets += budget;
        thresholds += length_threshold(&clamped, budget, length);
    }
    let n = windows.len() as f64;
    let global = rate * budgets / n > GLOBAL_DECAY.ln();
    if windows.is_empty() || !global || length <= windows[0].len() {
        return -1.0;
    }
    (thresholds / n) as f32
}

/// Step sizes in falling order, those in the top share lowered to the smallest among them.
fn clamp_top(steps: &[f32]) -> Vec<f64> {
    let mut sorted: Vec<f64> = steps.iter().map(|&s| f64::from(s)).collect();
    sorted.sort_unstable_by(|a, b| b.total_cmp(a));
    let top = (CLAMPED_SHARE * sorted.len() as f64) as usize;
    if top > 0 {
        let limit = sorted[top - 1];
        sorted[..top].fill(limit);
    }
    sorted
}

/// The step size at which the running sum of the sorted curve, stretched to `length`, passes the
/// budget; 0 if it never does.
fn length_threshold(sorted: &[f64], budget: f64, length: usize) -> f64 {
    let last = (sorted.len() - 1) as f64;
    let mut sum = 0.0;
    for i in 0..length {
        let x = i as f64 * last / (length - 1).max(1) as f64;
        let below = x as usize;
        let above = (below + 1).min(sorted.len() - 1);
        let value = sorted[below] + (x - below as f64) * (sorted[above] - sorted[below]);
        sum += value;
        if sum > budget {
            return value;
        }
    }
    0.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    fn steps(n: usize, seed: u64) -> Vec<f32> {
        let mut random = Random::new(seed);
        (0..n)
            .map(|_| ((random.normal() - 4.0).exp().ln_1p()) as f32)
            .collect()
    }

    /// Softplus of normal step sizes, L0 = 2000, S = 16000. The clamped top 5 % make a plateau of
    /// 800 of the 16,000 stretched values, which alone exceed the budget: the threshold is the
    /// plateau's height, so about 5 % of the tokens are kept, and unfiltered the steps would
    /// spend the budget almost eight times.
    #[test]
    fn heavy_tails_put_the_threshold_on_the_clamped_plateau() {
        let windows: Vec<_> = (0..4).map(|i| steps(2000, i)).collect();
        let g = threshold(&windows, -1e-3, 16_000);
        let heights: f64 = windows.iter().map(|w| clamp_top(w)[0]).sum();
        assert!((f64::from(g) - heights / 4.0).abs() < 1e-7, "{g}");
        let long = steps(16_000, 99);
        let share = long.iter().filter(|&&s| s > g).count() as f64 / 16_000.0;
        assert!((0.043..0.057).contains(&share), "{share}");
    }

    /// Step sizes without a tail: the kept ones spend the budget to within one step.
    #[test]
    fn kept_step_sizes_spend_the_budget() {
        let uniform: Vec<f32> = (0..2000)
            .map(|i| 0.01 + 1e-5 * (i * 7 % 2000) as f32)
            .collect();
        let g = threshold(std::slice::from_ref(&uniform), -1e-3, 16_000);
        let long: Vec<f32> = (0..16_000)
            .map(|i| 0.01 + 1.25e-6 * (i * 7 % 16_000) as f32)
            .collect();
        let clamped = clamp_top(&uniform);
        let kept = long
            .iter()
            .filter(|&&s| s > g)
            .map(|&s| f64::from(s).min(clamped[0]));
        let ratio = kept.sum::<f64>() / clamped.iter().sum::<f64>();
        assert!((ratio - 1.0).abs() < 0.01, "{ratio}");
    }

    #[test]
    fn local_heads_and_short_texts_are_left_alone() {
        let windows = vec![steps(128, 5)];
        assert_eq!(threshold(&windows, -1e3, 4096), -1.0);
        assert_eq!(threshold(&windows, -1e-3, 128), -1.0);
        assert_eq!(threshold(&[], -1e-3, 4096), -1.0);
        assert!(threshold(&windows, -1e-3, 4096) > 0.0);
    }

    #[test]
    fn constant_steps_have_an_exact_threshold() {
        // All steps are 0.5: the sum of S of them passes 64 * 0.5 at the 65th.
        let windows = vec![vec![0.5f32; 64]];
        assert_eq!(threshold(&windows, -0.01, 1000), 0.5);
    }
}
