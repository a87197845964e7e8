//! The last queries vote (SnapKV, arXiv 2404.14469; SpecKV, arXiv 2506.08373): what they look at is
//! kept, with its neighbours, and they are kept themselves. SpecKV lets tokens vote too that a draft
//! model guessed.
//!
//! Official code: `furiosa-ai/draft-based-approx-llm`, `draft_approx_llm/speckv/util.py`,
//! `compress_kv`. It keeps other tokens for each head of keys; where a token is kept or dropped as a
//! whole, the votes of the heads are averaged.

use crate::pruning::influence::{heads_read, numbers, shares};
use crate::pruning::{Score, Seen, When, ranking};

/// The votes of the last 32 tokens, which stand above all others.
pub struct WindowVote;

impl Score for WindowVote {
    fn id(&self) -> &'static str {
        "window_vote"
    }

    fn name(&self) -> &'static str {
        "window vote (SnapKV)"
    }

    fn formula(&self) -> &'static str {
        r"s_j = \frac1G \sum_g \operatorname{pool}_7 \max_{h \in g,\, i > T - w} p^{(h)}_{ij}"
    }

    fn source(&self) -> &'static str {
        "furiosa-ai/draft-based-approx-llm, draft_approx_llm/speckv/util.py, compress_kv without guessed tokens (SnapKV, arXiv 2404.14469)"
    }

    fn when(&self) -> When {
        When::Read
    }

    fn needs(&self) -> &'static [&'static str] {
        needs_hidden_attention!()
    }

    fn score(&self, seen: &Seen<'_>) -> Result<Vec<f32>, String> {
        numbers(votes(self.id(), seen, WINDOW)?)
    }
}

/// The votes of the last 32 tokens and of those that a draft model guessed behind them.
pub struct SpecKv;

impl Score for SpecKv {
    fn id(&self) -> &'static str {
        "spec_kv"
    }

    fn name(&self) -> &'static str {
        "draft votes (SpecKV)"
    }

    fn formula(&self) -> &'static str {
        r"s_j = \frac1G \sum_g \operatorname{pool}_7 \max_{h \in g,\, i > T - w - L} p^{(h)}_{ij}"
    }

    fn source(&self) -> &'static str {
        "furiosa-ai/draft-based-approx-llm, draft_approx_llm/speckv/util.py, compress_kv (arXiv 2506.08373)"
    }

    fn when(&self) -> When {
        When::Read
    }

    fn needs(&self) -> &'static [&'static str] {
        needs_hidden_attention!("lookahead")
    }

    fn score(&self, seen: &Seen<'_>) -> Result<Vec<f32>, String> {
        if seen.lookahead == 0 && seen.tokens > 0 {
            return Err(format!(
                "the score '{}' needs tokens that a draft model has guessed behind the text: choose \
                 a draft model, or window_vote, which needs none",
                self.id()
            ));
        }
        numbers(votes(self.id(), seen, WINDOW + seen.lookahead)?)
    }
}

/// Tokens that vote, of a text that is at least four times as long.
pub const WINDOW: usize = 32;
/// Neighbours that a vote counts for, itself included.
pub const KERNEL: usize = 7;

/// How votes become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reduce {
    /// The mean.
    Mean,
    /// The largest.
    Max,
}

/// Votes of heads, and 2 for the voters.
fn votes(id: &str, seen: &Seen<'_>, window: usize) -> Result<Vec<f64>, String> {
    seen.check_heads(id)?;
    let t = seen.tokens;
    let window = window.min(t.div_ceil(4).max(seen.lookahead)).min(t);
    let groups = (seen.k.len() / (t * seen.key).max(1)).max(1);
    let mut of_groups = vec![Vec::new(); groups];
    for head in heads_read(seen) {
        let f = seen.factors(head);
        let group: &mut Vec<Vec<f64>> = &mut of_groups[head * groups / seen.heads];
        group.extend((t - window..t).map(|i| shares(&f, i)));
    }
    of_groups.retain(|rows| !rows.is_empty());
    let mut scores = vec![0.0; t - window];
    for rows in &of_groups {
        let pooled = pool(&vote(rows, t - window, Reduce::Max), Reduce::Max, KERNEL);
        for (score, p) in scores.iter_mut().zip(pooled) {
            *score += p / of_groups.len() as f64;
        }
    }
    scores.resize(t, 2.0);
    Ok(scores)
}

/// What rows of probabilities together say of the first `tokens` tokens.
pub fn vote(rows: &[Vec<f64>], tokens: usize, reduce: Reduce) -> Vec<f64> {
    let of = |j: usize| {
        let votes = rows.iter().map(|row| row.get(j).copied().unwrap_or(0.0));
        match reduce {
            Reduce::Max => votes.fold(0.0, f64::max),
            Reduce::Mean => votes.sum::<f64>() / rows.len().max(1) as f64,
        }
    };
    (0..tokens).map(of).collect()
}

/// Each score with those around it: `kernel` places, one more behind than before if their number is
/// even, with zeros beyond the ends. Scores must not be negative.
pub fn pool(scores: &[f64], reduce: Reduce, kernel: usize) -> Vec<f64> {
    let kernel = kernel.max(1);
    let before = (kernel - 1) / 2;
    let of = |j: usize| {
        let first = j.saturating_sub(before);
        let around = &scores[first..(j + kernel - before).min(scores.len())];
        match reduce {
            Reduce::Max => around.iter().copied().fold(0.0, f64::max),
            Reduce::Mean => around.iter().sum::<f64>() / kernel as f64,
        }
    };
    (0..scores.len()).map(of).collect()
}

/// What a head of keys keeps of a text (`compress_kv`): of the tokens before the `window` voters the
/// `capacity - window` with the highest pooled votes, the highest first; all in order if the text is
/// not longer than `capacity`. `rows` are the probabilities that every query head of this head of
/// keys gives at every voter; a last token that votes and is read again is not counted here.
pub fn kept_by_head(
    rows: &[Vec<f64>],
    tokens: usize,
    window: usize,
    capacity: usize,
    [reduce, pooling]: [Reduce; 2],
    kernel: usize,
) -> Vec<usize> {
    let before = tokens.saturating_sub(window);
    if tokens <= capacity {
        return (0..before).collect();
    }
    let pooled = pool(&vote(rows, before, reduce), pooling, kernel);
    // In f32, as in the official code, where equal votes are equal.
    let pooled: Vec<f32> = pooled.into_iter().map(|p| p as f32).collect();
    let mut kept = ranking::order(&pooled);
    kept.truncate(capacity.saturating_sub(window));
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pruning::example::Example;

    #[test]
    fn pools_reach_further_back_than_forward_by_at_most_one() {
        let scores = [1.0, 0.0, 0.0, 4.0, 0.0];
        assert_eq!(pool(&scores, Reduce::Max, 3), [1.0, 1.0, 4.0, 4.0, 4.0]);
        assert_eq!(pool(&scores, Reduce::Max, 2), [1.0, 0.0, 4.0, 4.0, 0.0]);
        let third = 1.0 / 3.0;
        assert_eq!(
            pool(&scores, Reduce::Mean, 3),
            [third, third, 4.0 / 3.0, 4.0 / 3.0, 4.0 / 3.0]
        );
        assert_eq!(pool(&scores, Reduce::Mean, 1), scores);
        assert!(pool(&[], Reduce::Max, 7).is_empty());
    }

    /// Against the matrices of the heads.
    #[test]
    fn the_last_tokens_vote_and_stay() {
        let example = Example::attention(40);
        let seen = example.seen();
        let got = WindowVote.score(&seen).unwrap();
        assert_eq!(got[30..], [2.0; 10]);
        let matrices: Vec<_> = (0..4).map(|h| example.matrix(h)).collect();
        for j in 0..30usize {
            let of_group = |g: usize| {
                let mut most = 0f64;
                for row in matrices[2 * g..2 * g + 2].iter().flat_map(|m| &m[30..]) {
                    for j in j.saturating_sub(3)..(j + 4).min(30) {
                        most = most.max(row[j]);
                    }
                }
                most
            };
            let want = (of_group(0) + of_group(1)) / 2.0;
            assert!(
                (f64::from(got[j]) - want).abs() < 1e-6,
                "{j}: {} {want}",
                got[j]
            );
        }
        let alone = Seen {
            lookahead: 0,
            ..seen
        };
        assert!(SpecKv.score(&alone).unwrap_err().contains("draft"));
        assert_eq!(SpecKv.score(&seen).unwrap().len(), 40);
    }
}
