//! Heavy hitters (H2O, arXiv 2306.14048): of what has been read, the tokens stay that were given the
//! most attention so far, beside the most recent ones; what is dropped is gone for good.
//!
//! Official code: `FMInference/H2O`, `h2o_hf/utils_hh/modify_llama.py`,
//! `LlamaAttention_heavy_hitter`: the prompt is read whole, its columns are summed, and from then on
//! every step adds its probabilities over what is left; both budgets are set once. What looks odd is
//! kept: the token that the recent ones have just left is neither recent nor a candidate for one
//! step. Without a recent budget that code hides a token from itself and forgets no sum; here a
//! token sees itself, and what is gone stays gone.

use crate::pruning::influence::{Shares, heads_read, numbers};
use crate::pruning::{Score, Seen, When, ranking};

/// Mean over heads of the step of a token's eviction, or T plus what it was given if it is
/// still in the cache. Recurrences have shares of hidden attention in the place of probabilities.
pub struct HeavyHitters;

impl Score for HeavyHitters {
    fn id(&self) -> &'static str {
        "heavy_hitters"
    }

    fn name(&self) -> &'static str {
        "heavy hitters (H2O)"
    }

    fn formula(&self) -> &'static str {
        r"s_j = \begin{cases} T + \sum_i p_{ij} & j \text{ in the cache of } \tfrac K2 \text{ heavy and } \tfrac K2 \text{ recent} \\ \text{step of its eviction} & \text{else} \end{cases}"
    }

    fn source(&self) -> &'static str {
        "FMInference/H2O, h2o_hf/utils_hh/modify_llama.py (arXiv 2306.14048, algorithm 1)"
    }

    fn when(&self) -> When {
        When::Reading
    }

    fn needs(&self) -> &'static [&'static str] {
        needs_hidden_attention!("keep")
    }

    fn score(&self, seen: &Seen<'_>) -> Result<Vec<f32>, String> {
        seen.check_heads(self.id())?;
        let heads = heads_read(seen);
        let mut scores = vec![0.0; seen.tokens];
        for &head in &heads {
            let f = seen.factors(head);
            let shares = Shares::new(&f);
            let of_head = evictions(seen.tokens, seen.keep, |i| shares.of(i));
            for (score, s) in scores.iter_mut().zip(of_head) {
                *score += s / heads.len() as f64;
            }
        }
        numbers(scores)
    }
}

/// When each token leaves a cache of `keep` tokens, half of them heavy, and T plus the attention it
/// was given for those that are there at the end, `[T]`; `row(i)` are the probabilities that token
/// i gives to `0..=i` when none is gone.
pub fn evictions(tokens: usize, keep: usize, row: impl Fn(usize) -> Vec<f64>) -> Vec<f64> {
    let keep = keep.min(tokens);
    let mut cache = Cache::new(keep / 2, keep - keep / 2);
    let mut last = vec![0; tokens];
    for i in 0..tokens {
        cache.read(&[restrict(&row(i), &cache.kept)]);
        for (last, _) in last.iter_mut().zip(&cache.kept).filter(|(_, kept)| **kept) {
            *last = i;
        }
    }
    let of = |(last, (&given, &kept)): (usize, (&f64, &bool))| {
        if kept {
            tokens as f64 + given
        } else {
            last as f64
        }
    };
    let cached = cache.given.iter().zip(&cache.kept);
    last.into_iter().zip(cached).map(of).collect()
}

/// One head's cache with budgets.
#[derive(Clone, Debug)]
pub struct Cache {
    /// Tokens kept by the attention they were given.
    pub heavy: usize,
    /// Tokens kept because they are the last.
    pub recent: usize,
    /// Attention given so far to each token, 0 for one that is gone.
    pub given: Vec<f64>,
    /// Whether the next token sees it.
    pub kept: Vec<bool>,
}

impl Cache {
    /// Nothing read yet.
    pub fn new(heavy: usize, recent: usize) -> Cache {
        Cache {
            heavy,
            recent,
            given: Vec::new(),
            kept: Vec::new(),
        }
    }

    /// Reads tokens whose queries gave these probabilities, one row `[tokens so far]` each (a prompt
    /// at once, then one row at a time), and drops what exceeds the budgets. The step after that has
    /// a place for its own token.
    pub fn read(&mut self, rows: &[Vec<f64>]) {
        let tokens = rows.last().map_or(self.given.len(), Vec::len);
        self.given.resize(tokens, 0.0);
        self.kept.resize(tokens, true);
        for row in rows {
            for (given, p) in self.given.iter_mut().zip(row) {
                *given += p;
            }
        }
        if tokens <= self.heavy + self.recent {
            return;
        }
        // The next token's own place counts as one of the recent.
        let past = match self.recent {
            0 => tokens,
            recent => tokens + 1 - recent,
        };
        let candidates: Vec<f32> = match self.recent {
            0 => self.given.iter().map(|&g| g as f32).collect(),
            recent => {
                let of = |&g: &f64| g as f32;
                self.given[..tokens - recent].iter().map(of).collect()
            }
        };
        self.kept[..past].fill(false);
        for t in ranking::highest(&candidates, self.heavy) {
            self.kept[t] = true;
        }
        // The token that the recent ones have just left keeps its sum: the next step can choose it.
        let counted = tokens - self.recent.min(tokens);
        for t in 0..counted {
            if !self.kept[t] {
                self.given[t] = 0.0;
            }
        }
    }
}

/// Probabilities over the kept ones of `row`, which are those of all with the others left out: a
/// softmax over fewer scores. The last entry, the token itself, always counts.
pub fn restrict(row: &[f64], kept: &[bool]) -> Vec<f64> {
    let seen = |j: usize| kept.get(j).copied().unwrap_or(true);
    let sum: f64 = (0..row.len()).filter(|&j| seen(j)).map(|j| row[j]).sum();
    let share = |(j, p): (usize, &f64)| {
        if seen(j) && sum > 0.0 { p / sum } else { 0.0 }
    };
    row.iter().enumerate().map(share).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pruning::example::Example;
    use crate::pruning::influence::shares;
    use crate::random::Random;

    /// A cache by its definition: sets of positions, sums over the steps that each was there for.
    #[test]
    fn the_cache_holds_the_heaviest_and_the_last() {
        let mut random = Random::new(3);
        let rows: Vec<Vec<f64>> = (0..40)
            .map(|i| {
                let weights: Vec<f64> = (0..=i).map(|_| random.uniform().powi(4)).collect();
                let sum: f64 = weights.iter().sum();
                weights.into_iter().map(|w| w / sum).collect()
            })
            .collect();
        let (heavy, recent) = (3, 4);
        let mut cache = Cache::new(heavy, recent);
        let mut given = vec![0.0; 40];
        let mut visible: Vec<usize> = Vec::new();
        for (i, row) in rows.iter().enumerate() {
            cache.read(&[restrict(row, &cache.kept)]);
            visible.push(i);
            let sum: f64 = visible.iter().map(|&j| row[j]).sum();
            visible.iter().for_each(|&j| given[j] += row[j] / sum);
            if i + 1 > heavy + recent {
                let border = i + 1 - recent;
                let mut candidates: Vec<usize> = (0..border).collect();
                candidates.sort_by(|&a, &b| given[b].total_cmp(&given[a]).then(a.cmp(&b)));
                candidates[heavy..].iter().for_each(|&j| given[j] = 0.0);
                candidates.truncate(heavy);
                candidates.extend(border + 1..=i);
                candidates.sort_unstable();
                visible = candidates;
            }
            let kept: Vec<usize> = (0..=i).filter(|&j| cache.kept[j]).collect();
            assert_eq!(kept, visible, "step {i}");
            assert!(
                given
                    .iter()
                    .zip(&cache.given)
                    .all(|(a, b)| (a - b).abs() < 1e-12)
            );
        }
    }

    #[test]
    fn what_is_in_the_cache_at_the_end_is_kept() {
        let example = Example::attention(30);
        let f = example.seen().factors(1);
        let scores = evictions(30, 10, |i| shares(&f, i));
        let cached: Vec<usize> = (0..30).filter(|&t| scores[t] >= 30.0).collect();
        // The place of the next token counts as one of the recent.
        assert_eq!(cached.len(), 9);
        assert!((26..30).all(|t| cached.contains(&t)), "{cached:?}");
        let all = evictions(5, 9, |i| vec![1.0 / (i + 1) as f64; i + 1]);
        assert!(all.iter().all(|&s| s >= 5.0), "{all:?}");
        assert!(evictions(0, 3, |_| vec![]).is_empty());
        assert_eq!(evictions(3, 0, |i| vec![1.0; i + 1]), [0.0; 3]);
    }
}
