//! LongMamba (arXiv 2504.16053): filters of global channels (heads of Mamba-2), each of which drops
//! the tokens that it hardly writes, so that its decay over a long text is what it was over the
//! training length.
//!
//! Official code: `GATECH-EIC/LongMamba`, `mamba_ssm/ops/selective_scan_interface.py`; the threshold
//! by calibration is [`crate::probes::filter`]. A filter drops pairs of token and channel, which
//! [`Rule::filter`] gives; as a score of whole tokens it is the share of global channels that keep
//! the token, and among equal shares the larger step sizes.

use super::step_size::steps;
use crate::probes::filter::{GLOBAL_DECAY, WINDOWS, threshold};
use crate::pruning::influence::numbers;
use crate::pruning::{LogDecay, Score, Seen, When, ranking};

/// The share of the global channels that keep a token, calibrated on windows of the kept length.
pub struct LongMamba;

impl Score for LongMamba {
    fn id(&self) -> &'static str {
        "long_mamba"
    }

    fn name(&self) -> &'static str {
        "LongMamba's filter"
    }

    fn formula(&self) -> &'static str {
        r"s_t = \frac{1}{|G|} \sum_{h \in G} \Bigl( [\Delta_{t,h} > g_h(T)] + \tfrac12 \frac{\Delta_{t,h}}{\max_l \Delta_{l,h}} \Bigr),\quad G = \bigl\{ h : e^{A_h \sum_{l \le L} \Delta_{l,h}} > \theta \bigr\}"
    }

    fn source(&self) -> &'static str {
        "GATECH-EIC/LongMamba, mamba_ssm/ops/selective_scan_interface.py, get_channelwise_dt_threshold; load_align_target.py"
    }

    fn when(&self) -> When {
        When::Read
    }

    fn needs(&self) -> &'static [&'static str] {
        &["keep", "tokens", "heads", "key", "log_decay", "steps"]
    }

    fn score(&self, seen: &Seen<'_>) -> Result<Vec<f32>, String> {
        let steps = steps(seen, self.id())?;
        let rate_of: &dyn Fn(usize) -> f64 = match seen.log_decay {
            LogDecay::Rates { rates, .. } => &move |h| mean(&rates[h * seen.key..][..seen.key]),
            // Mamba-2: the step size times the rate of the head.
            LogDecay::PerHead(g) => &move |h| {
                let of_head = |x: &[f32]| -> f64 {
                    x.iter()
                        .skip(h)
                        .step_by(seen.heads)
                        .map(|&x| f64::from(x))
                        .sum()
                };
                of_head(g) / of_head(steps).max(f64::MIN_POSITIVE)
            },
            _ => {
                return Err(format!(
                    "the score '{}' needs the decay rates of Mamba, which this mixer does not \
                     have: choose retained_mass",
                    self.id()
                ));
            }
        };
        let (t, heads) = (seen.tokens, seen.heads);
        // The text was to be as long as what is kept of it.
        let length = seen.keep.clamp(1, t.max(1));
        let mut scores = vec![0.0; t];
        let mut filtered = 0;
        for h in 0..heads {
            let rate = rate_of(h);
            let of_head: Vec<f32> = (0..t).map(|i| steps[i * heads + h]).collect();
            let windows = of_head.chunks_exact(length).take(WINDOWS);
            let windows: Vec<Vec<f32>> = windows.map(<[f32]>::to_vec).collect();
            if !is_global(&windows, rate) {
                continue;
            }
            filtered += 1;
            let limit = threshold(&windows, rate, t);
            let most = of_head.iter().fold(f32::MIN_POSITIVE, |m, &s| m.max(s));
            for (score, &step) in scores.iter_mut().zip(&of_head) {
                *score += f64::from(u8::from(step > limit)) + 0.5 * f64::from(step / most);
            }
        }
        if filtered == 0 && t > 0 {
            return Err(format!(
                "the score '{}' filters no channel of this layer: over {length} tokens all decay \
                 below {GLOBAL_DECAY}; choose step_size or another layer",
                self.id()
            ));
        }
        numbers(
            scores
                .into_iter()
                .map(|s| s / f64::from(filtered.max(1)))
                .collect(),
        )
    }
}

fn mean(x: &[f32]) -> f64 {
    x.iter().map(|&x| f64::from(x)).sum::<f64>() / x.len().max(1) as f64
}

/// Whether a channel of decay rate A < 0 sees the whole training length, by windows of it: compared
/// as logarithms, since the products are too small for f32.
pub fn is_global(windows: &[Vec<f32>], rate: f64) -> bool {
    let sums = windows
        .iter()
        .map(|w| w.iter().map(|&s| f64::from(s)).sum::<f64>());
    let budget = sums.sum::<f64>() / windows.len().max(1) as f64;
    !windows.is_empty() && rate * budget > GLOBAL_DECAY.ln()
}

/// How a channel chooses what it keeps of its step sizes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rule {
    /// Those above the calibrated threshold (`get_channelwise_dt_threshold`).
    Threshold(f32),
    /// The largest whose running sum, from the largest on, does not exceed the budget
    /// (`get_channelwise_topBound`).
    Budget(f64),
    /// The largest so many; above the quantile of `1 - k / T` (`get_topk_mask_channelwise`).
    TopK(usize),
    /// The largest share of them, `i < alpha T` of the sorted (`get_channelwise_topAlpha`).
    Share(f64),
    /// All, but scaled so that they sum to the budget (`get_channelwise_normalize`).
    Norm(f64),
}

impl Rule {
    /// The step sizes of a channel behind its filter: 0 for a token that it drops, whose state is
    /// copied through.
    pub fn filter(&self, steps: &[f32]) -> Vec<f32> {
        let keep = |kept: &[usize]| {
            let mut out = vec![0.0; steps.len()];
            kept.iter().for_each(|&t| out[t] = steps[t]);
            out
        };
        let above = |limit: f32| {
            let of = |&s: &f32| if s > limit { s } else { 0.0 };
            steps.iter().map(of).collect()
        };
        match *self {
            Rule::Threshold(limit) => above(limit),
            Rule::Budget(budget) => {
                let order = ranking::order(steps);
                let mut sum = 0.0;
                let within = |t: &&usize| {
                    sum += f64::from(steps[**t]);
                    sum <= budget
                };
                let kept: Vec<usize> = order.iter().take_while(within).copied().collect();
                keep(&kept)
            }
            Rule::TopK(k) if k >= steps.len() => steps.to_vec(),
            Rule::TopK(k) => above(quantile(steps, 1.0 - k as f64 / steps.len() as f64)),
            Rule::Share(alpha) => {
                let end = alpha.clamp(0.0, 1.0) * steps.len() as f64;
                let mut order = ranking::order(steps);
                order.truncate(end.ceil() as usize);
                keep(&order)
            }
            Rule::Norm(budget) => {
                let sum: f64 = steps.iter().map(|&s| f64::from(s)).sum();
                let scale = if sum > 0.0 { budget / sum } else { 0.0 };
                steps
                    .iter()
                    .map(|&s| (f64::from(s) * scale) as f32)
                    .collect()
            }
        }
    }
}

/// The value below which a share of all values lie, between two of them by linear interpolation.
fn quantile(values: &[f32], share: f64) -> f32 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f32::total_cmp);
    let place = share * (sorted.len().saturating_sub(1)) as f64;
    let below = (place as usize).min(sorted.len().saturating_sub(1));
    let above = (below + 1).min(sorted.len().saturating_sub(1));
    match sorted.get(below) {
        Some(&low) => {
            (f64::from(low) + (place - below as f64) * f64::from(sorted[above] - low)) as f32
        }
        None => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_keep_what_they_say() {
        let steps = [0.5, 0.1, 0.4, 0.2, 0.3];
        let filter = |rule: Rule| rule.filter(&steps);
        assert_eq!(filter(Rule::Threshold(0.2)), [0.5, 0.0, 0.4, 0.0, 0.3]);
        assert_eq!(filter(Rule::Budget(1.0)), [0.5, 0.0, 0.4, 0.0, 0.0]);
        assert_eq!(filter(Rule::Budget(0.1)), [0.0; 5]);
        assert_eq!(filter(Rule::Budget(9.0)), steps);
        assert_eq!(filter(Rule::TopK(2)), [0.5, 0.0, 0.4, 0.0, 0.0]);
        assert_eq!(filter(Rule::TopK(5)), steps);
        assert_eq!(filter(Rule::Share(0.5)), [0.5, 0.0, 0.4, 0.0, 0.3]);
        assert_eq!(filter(Rule::Norm(3.0)), [1.0, 0.2, 0.8, 0.4, 0.6]);
        assert!(Rule::TopK(0).filter(&[]).is_empty());
        assert_eq!(Rule::Norm(1.0).filter(&[0.0; 2]), [0.0; 2]);
    }

    /// One global and one local channel: the global one alone decides.
    #[test]
    fn global_channels_decide() {
        let t = 64;
        // The global channel takes large steps at every fourth token; the local one elsewhere.
        let steps: Vec<f32> = (0..t)
            .flat_map(|i| if i % 4 == 0 { [0.1, 0.1] } else { [1e-4, 9.0] })
            .collect();
        let seen = Seen {
            tokens: t,
            keep: t / 4,
            heads: 2,
            key: 1,
            log_decay: LogDecay::Rates {
                steps: &steps,
                rates: &[-0.1, -10.0],
                shift: 0.0,
            },
            steps: Some(&steps),
            ..Seen::default()
        };
        let scores = LongMamba.score(&seen).unwrap();
        let kept = ranking::highest(&scores, t / 4);
        assert_eq!(kept, (0..t).step_by(4).collect::<Vec<_>>());
        let logs: Vec<f32> = steps
            .chunks_exact(2)
            .flat_map(|s| [-0.1 * s[0], -10.0 * s[1]])
            .collect();
        let of_mamba_2 = Seen {
            log_decay: LogDecay::PerHead(&logs),
            ..seen
        };
        let again = LongMamba.score(&of_mamba_2).unwrap();
        assert_eq!(ranking::highest(&again, t / 4), kept);
        let local = Seen {
            log_decay: LogDecay::Rates {
                steps: &steps,
                rates: &[-1e4, -1e4],
                shift: 0.0,
            },
            ..seen
        };
        assert!(
            LongMamba
                .score(&local)
                .unwrap_err()
                .contains("filters no channel")
        );
        let other = Seen {
            log_decay: LogDecay::None,
            ..seen
        };
        assert!(LongMamba.score(&other).unwrap_err().contains("decay rates"));
    }
}
