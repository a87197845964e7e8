//! Retained mass: what of a write is left at the end, whatever reads it.

use crate::pruning::influence::numbers;
use crate::pruning::{LogDecay, Score, Seen, When};

/// Size of the write times what the decay leaves of it at the last token, mean over heads and states.
pub struct RetainedMass;

impl Score for RetainedMass {
    fn id(&self) -> &'static str {
        "retained_mass"
    }

    fn name(&self) -> &'static str {
        "retained mass"
    }

    fn formula(&self) -> &'static str {
        r"s_t = \frac{1}{H K} \sum_{h,n} w_{t,h} \exp \sum_{l > t} g_{l,h,n}"
    }

    fn source(&self) -> &'static str {
        "hidden attention of Mamba (arXiv 2403.01590, equation 14) without B and C"
    }

    fn when(&self) -> When {
        When::Read
    }

    fn needs(&self) -> &'static [&'static str] {
        &[
            "tokens",
            "heads",
            "key",
            "log_decay",
            "write_scale",
            "in_logs",
        ]
    }

    fn score(&self, seen: &Seen<'_>) -> Result<Vec<f32>, String> {
        let (t, heads, key) = (seen.tokens, seen.heads, seen.key);
        if seen.log_decay == LogDecay::None {
            return Err(format!(
                "the score '{}' needs a state that decays, which this mixer does not have: choose \
                 received or recency",
                self.id()
            ));
        }
        let mut sums = vec![0.0; t];
        // A scalar decay is that of every key channel.
        let channels = match seen.log_decay {
            LogDecay::PerHead(_) => 1,
            _ => key,
        };
        let mut left = vec![0.0; heads * channels];
        for j in (0..t).rev() {
            for h in 0..heads {
                let write = seen.write_scale.map(|w| f64::from(w[j * heads + h]));
                let (log, write) = match (seen.in_logs, write) {
                    (true, log) => (log.unwrap_or(0.0), 1.0),
                    (false, write) => (0.0, write.unwrap_or(1.0)),
                };
                for n in 0..channels {
                    let left = &mut left[h * channels + n];
                    sums[j] += write * (*left + log).exp() / (heads * channels) as f64;
                    *left += match seen.log_decay {
                        LogDecay::None => 0.0,
                        LogDecay::PerHead(g) => f64::from(g[j * heads + h]),
                        LogDecay::PerKey(g) => f64::from(g[(j * heads + h) * key + n]),
                        LogDecay::Rates {
                            steps,
                            rates,
                            shift,
                        } => {
                            f64::from(steps[j * heads + h]) * f64::from(rates[h * key + n])
                                + f64::from(shift)
                        }
                        LogDecay::Constant(g) => f64::from(g[h * key + n]),
                    };
                }
            }
        }
        numbers(sums)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pruning::example::Example;

    /// Against products of decays, one by one.
    #[test]
    fn retained_mass_is_the_product_of_the_decays_behind() {
        for example in [
            Example::shared_keys(9),
            Example::per_key(9),
            Example::turning(9),
        ] {
            let seen = example.seen();
            let got = RetainedMass.score(&seen).unwrap();
            for (t, got) in got.into_iter().enumerate() {
                let mut want = 0.0;
                for h in 0..seen.heads {
                    let f = seen.factors(h);
                    let gates = f.log_decay.len() / seen.tokens;
                    for n in 0..seen.key {
                        let decay = |l: usize| f64::from(f.log_decay[l * gates + n % gates]).exp();
                        let left: f64 = (t + 1..seen.tokens).map(decay).product();
                        want += left * f64::from(f.write_scale.get(t).copied().unwrap_or(1.0));
                    }
                }
                want /= (seen.heads * seen.key) as f64;
                assert!((f64::from(got) - want).abs() < 1e-6 * want, "{got} {want}");
            }
        }
    }

    #[test]
    fn without_a_decay_it_is_refused() {
        let seen = Seen::default();
        assert!(RetainedMass.score(&seen).unwrap_err().contains("decays"));
    }
}
