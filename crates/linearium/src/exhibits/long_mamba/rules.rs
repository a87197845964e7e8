//! Which tokens a head skips: the rules of LongMamba and those that it is compared with.

/// Which tokens are skipped, or how steps are scaled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Steps at or below a threshold that windows of training length and the length S give.
    Threshold,
    /// The largest steps of this very text are kept until their sum exceeds the budget.
    Budget,
    /// As many steps are kept as the training length has tokens.
    TopK,
    /// All steps are scaled to the budget; nothing is skipped.
    Norm,
    /// DeciMamba: the same tokens for all heads, those with the longest vectors of steps.
    Decimate,
}

/// What a head may spend, from windows of training length.
#[derive(Clone, Debug)]
pub struct Calibration {
    /// Steps of each window in falling order, the largest share of them lowered to the smallest
    /// among them.
    sorted: Vec<Vec<f64>>,
}

impl Calibration {
    /// From the steps of each window; the share `clamped` of the largest is lowered.
    pub fn new(windows: &[Vec<f32>], clamped: f64) -> Calibration {
        let sorted = windows.iter().map(|steps| {
            let mut sorted: Vec<f64> = steps.iter().map(|&s| s.into()).collect();
            sorted.sort_unstable_by(|a, b| b.total_cmp(a));
            let top = (clamped * sorted.len() as f64) as usize;
            if top > 0 {
                let limit = sorted[top - 1];
                sorted[..top].fill(limit);
            }
            sorted
        });
        Calibration {
            sorted: sorted.collect(),
        }
    }

    /// Tokens of a window.
    pub fn length(&self) -> usize {
        self.sorted.first().map_or(0, Vec::len)
    }

    /// Mean sum of the steps of a window.
    pub fn budget(&self) -> f64 {
        let sum: f64 = self.sorted.iter().flatten().sum();
        sum / self.sorted.len().max(1) as f64
    }

    /// What a head of this rate A leaves of the first write of a window, as a logarithm: a head is
    /// global if it is above ln theta.
    pub fn log_decay(&self, rate: f64) -> f64 {
        rate * self.budget()
    }

    /// The threshold for a text of `length` tokens: each window's curve of falling steps is
    /// stretched to that length and summed until the budget is exceeded; the mean over windows.
    pub fn threshold(&self, length: usize) -> f64 {
        if length <= self.length() {
            return 0.0;
        }
        let each = self.sorted.iter().map(|sorted| {
            let budget: f64 = sorted.iter().sum();
            let last = (sorted.len() - 1) as f64;
            let mut sum = 0.0;
            for i in 0..length {
                let x = i as f64 * last / (length - 1) as f64;
                let below = x as usize;
                let above = (below + 1).min(sorted.len() - 1);
                let value = sorted[below] + (x - below as f64) * (sorted[above] - sorted[below]);
                sum += value;
                if sum > budget {
                    return value;
                }
            }
            0.0
        });
        each.sum::<f64>() / self.sorted.len().max(1) as f64
    }
}

/// The lengths of the released table in training lengths: thousands of tokens for a training length
/// of two thousand.
const GRID: [f64; 25] = [
    1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 10.0, 12.0, 14.0, 16.0, 20.0, 24.0, 30.0, 36.0, 44.0,
    54.0, 64.0, 80.0, 96.0, 120.0, 144.0, 168.0, 192.0,
];

/// The length of the table that is nearest (released code) to `length`, for this training length.
pub fn nearest(length: usize, trained: usize) -> usize {
    let thousand = trained as f64 / 2.0;
    let distance = |g: &f64| (g * thousand - length as f64).abs();
    let best = GRID
        .iter()
        .copied()
        .min_by(|a, b| distance(a).total_cmp(&distance(b)));
    (best.unwrap_or(1.0) * thousand).round() as usize
}

/// `length` rounded down to whole thousands (the paper's text), in the same units.
pub fn rounded_down(length: usize, trained: usize) -> usize {
    let thousand = (trained / 2).max(1);
    (length / thousand).max(1) * thousand
}

/// The largest step that is skipped so that the largest ones up to a sum above `budget` are kept;
/// 0 if all of them together do not exceed it.
pub fn budget_threshold(steps: &[f32], budget: f64) -> f32 {
    let mut sorted = steps.to_vec();
    sorted.sort_unstable_by(|a, b| b.total_cmp(a));
    let mut sum = 0.0;
    for (i, &step) in sorted.iter().enumerate() {
        sum += f64::from(step);
        if sum > budget {
            return sorted.get(i + 1).copied().unwrap_or(0.0);
        }
    }
    0.0
}

/// The largest step that is skipped so that `count` are kept, fewer where steps are equal; 0 if
/// there are no more.
pub fn top_threshold(steps: &[f32], count: usize) -> f32 {
    let mut sorted = steps.to_vec();
    sorted.sort_unstable_by(|a, b| b.total_cmp(a));
    sorted.get(count).copied().unwrap_or(0.0)
}

/// Tokens kept by DeciMamba's rule for all heads: the `count` longest rows of `steps` `[T, H]`, of
/// equal ones the first.
pub fn decimated(steps: &[f32], heads: usize, count: usize) -> Vec<bool> {
    let lengths: Vec<f64> = steps
        .chunks_exact(heads)
        .map(|row| row.iter().map(|&s| f64::from(s).powi(2)).sum())
        .collect();
    let mut order: Vec<usize> = (0..lengths.len()).collect();
    order.sort_by(|&a, &b| lengths[b].total_cmp(&lengths[a]));
    let mut kept = vec![false; lengths.len()];
    order.iter().take(count).for_each(|&t| kept[t] = true);
    kept
}

/// Steps with those at or below `threshold` set to 0, which is to skip their tokens.
pub fn filtered(steps: &[f32], threshold: f32) -> Vec<f32> {
    let keep = |&s: &f32| if s > threshold { s } else { 0.0 };
    steps.iter().map(keep).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probes::filter;
    use crate::random::Random;

    fn steps(n: usize, seed: u64) -> Vec<f32> {
        let mut random = Random::new(seed);
        (0..n)
            .map(|_| (random.normal() - 4.0).exp().ln_1p() as f32)
            .collect()
    }

    /// With the published settings it is the lab's filter.
    #[test]
    fn the_published_rule_is_that_of_the_lab() {
        let windows: Vec<_> = (0..3).map(|i| steps(500, i)).collect();
        let c = Calibration::new(&windows, filter::CLAMPED_SHARE);
        for length in [501, 1000, 4000] {
            assert_eq!(
                c.threshold(length) as f32,
                filter::threshold(&windows, -1e-3, length)
            );
        }
        assert_eq!(c.threshold(500), 0.0);
    }

    #[test]
    fn kept_sums_and_counts_are_what_the_rules_say() {
        let s = steps(3000, 9);
        let total: f64 = s.iter().map(|&s| f64::from(s)).sum();
        for share in [0.1, 0.5, 0.9] {
            let g = budget_threshold(&s, share * total);
            let kept: Vec<f32> = filtered(&s, g).into_iter().filter(|&s| s > 0.0).collect();
            let sum: f64 = kept.iter().map(|&s| f64::from(s)).sum();
            let smallest = kept.iter().copied().fold(f32::INFINITY, f32::min);
            assert!(sum > share * total && sum - f64::from(smallest) <= share * total);
        }
        assert_eq!(budget_threshold(&s, 2.0 * total), 0.0, "everything is kept");
        let g = top_threshold(&s, 100);
        assert_eq!(filtered(&s, g).iter().filter(|&&s| s > 0.0).count(), 100);
        assert_eq!(top_threshold(&s, 3000), 0.0);
    }

    #[test]
    fn one_token_of_two_heads_is_long() {
        let rows = [0.1, 0.1, 0.9, 0.0, 0.5, 0.8, 0.5, 0.8];
        assert_eq!(decimated(&rows, 2, 2), [false, false, true, true]);
        assert_eq!(decimated(&rows, 2, 1), [false, false, true, false]);
    }

    #[test]
    fn lengths_of_the_table() {
        // Trained at 2000: thousands of tokens.
        assert_eq!(nearest(8_800, 2000), 8_000);
        assert_eq!(nearest(9_100, 2000), 10_000);
        assert_eq!(rounded_down(9_100, 2000), 9_000);
        assert_eq!(nearest(1024, 128), 1024);
    }
}
