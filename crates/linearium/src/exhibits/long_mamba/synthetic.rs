//! Steps of a head without a model: softplus of normal numbers.

use super::rules::{Calibration, filtered};
use crate::exhibit::axis;
use crate::exhibit::declared::{at_x, at_y, curve};
use crate::random::Random;
use crate::views::{Lines, Scale};

/// The training length of the paper's Mamba models.
pub const TRAINED: usize = 2000;
/// Windows of the calibration.
const WINDOWS: u64 = 5;
/// Points of the curve.
const POINTS: usize = 200;

/// What the published rule does to drawn steps.
pub struct Steps {
    /// Those of the long text, in falling order.
    sorted: Vec<f32>,
    threshold: f32,
    /// Their sum over the budget.
    pub unfiltered: f64,
    /// Sum of the kept ones over the budget.
    pub spent: f64,
    /// Share of the tokens that is kept.
    pub kept_share: f64,
}

fn drawn(n: usize, mean: f64, spread: f64, seed: u64) -> Vec<f32> {
    let mut random = Random::new(seed);
    (0..n)
        .map(|_| (mean + spread * random.normal()).exp().ln_1p() as f32)
        .collect()
}

impl Steps {
    /// A text `times` as long as those of training, at least as long.
    pub fn new(mean: f64, spread: f64, clamped: f64, times: f64) -> Steps {
        let windows: Vec<_> = (0..WINDOWS)
            .map(|i| drawn(TRAINED, mean, spread, i))
            .collect();
        let calibration = Calibration::new(&windows, clamped);
        let length = (TRAINED as f64 * times.max(1.0)) as usize;
        let mut long = drawn(length, mean, spread, 77);
        let threshold = calibration.threshold(length) as f32;
        let sum = |steps: &[f32]| steps.iter().map(|&s| f64::from(s)).sum::<f64>();
        let count = |steps: &[f32]| steps.iter().filter(|&&s| s > 0.0).count() as f64;
        let kept = filtered(&long, threshold);
        let budget = calibration.budget();
        let (unfiltered, spent) = (sum(&long) / budget, sum(&kept) / budget);
        long.sort_unstable_by(|a, b| b.total_cmp(a));
        Steps {
            threshold,
            unfiltered,
            spent,
            kept_share: count(&kept) / length as f64,
            sorted: long,
        }
    }

    /// The falling curve with the threshold.
    pub fn lines(&self) -> Lines {
        let n = self.sorted.len();
        let at = |i: usize| {
            // Equal ratios of the rank: the few largest matter most.
            let rank = (n as f64).powf(i as f64 / (POINTS - 1) as f64);
            let index = (rank as usize).clamp(1, n) - 1;
            (rank / n as f64, f64::from(self.sorted[index]))
        };
        Lines {
            x: axis("share of the tokens", "", Scale::Log),
            y: axis("step Δ", "", Scale::Log),
            series: vec![curve("steps", (0..POINTS).map(at), true)],
            marks: vec![
                at_y(self.threshold.into(), "g"),
                at_x(self.kept_share, "kept"),
                at_x(1.0 / (n as f64 / TRAINED as f64), "L₀ / S"),
            ],
            x_is_position: false,
        }
    }
}
