//! SpecPC (arXiv 2506.08373): a draft model reads the prompt, and only what its attention marks is
//! given to the model.
//!
//! Official code: `furiosa-ai/draft-based-approx-llm`, `draft_approx_llm/specpc/specpc.py` and
//! `specpc_utils.py`: the last 64 queries weighted from 0 to 1 and those of guessed tokens, the
//! largest over heads, queries, layers from the ninth on and steps; pooled over 64; the best tokens
//! bring their 64 neighbours, the nearest first; the last 64 come before all others.

use super::window_vote::{Reduce, pool};
use crate::pruning::influence::{heads_read, numbers, shares};
use crate::pruning::{Score, Seen, When, ranking};

/// Tokens by their place in the official order: the window, then the best with their neighbours.
pub struct SpecPc;

impl Score for SpecPc {
    fn id(&self) -> &'static str {
        "spec_pc"
    }

    fn name(&self) -> &'static str {
        "draft importance (SpecPC)"
    }

    fn formula(&self) -> &'static str {
        r"s_j = T - \operatorname{rank}\bigl(\text{window} \succ \text{neighbours}(\arg\operatorname{sort} \operatorname{pool}\, d)\bigr)"
    }

    fn source(&self) -> &'static str {
        "furiosa-ai/draft-based-approx-llm, draft_approx_llm/specpc/specpc.py, specpc_select_input_token_indices"
    }

    fn when(&self) -> When {
        When::Read
    }

    fn needs(&self) -> &'static [&'static str] {
        &["draft", "tokens"]
    }

    fn score(&self, seen: &Seen<'_>) -> Result<Vec<f32>, String> {
        let Some(draft) = seen.draft else {
            return Err(format!(
                "the score '{}' needs the importance that a draft model gives the tokens: choose a \
                 draft model",
                self.id()
            ));
        };
        if draft.len() != seen.tokens {
            return Err(format!(
                "the draft model has weighed {} tokens of a text of {}: both models must read the \
                 same tokens",
                draft.len(),
                seen.tokens
            ));
        }
        let draft: Vec<f64> = draft.iter().map(|&d| d.into()).collect();
        numbers(draft.clone())?;
        let mut scores = vec![0.0; seen.tokens];
        // With room for all the official code does not look at the importance at all.
        let capacity = seen.tokens.saturating_sub(1);
        let order = priorities(&draft, capacity, &Options::for_text(seen.tokens))?;
        for (rank, t) in order.into_iter().enumerate() {
            scores[t] = (seen.tokens - rank) as f32;
        }
        Ok(scores)
    }
}

/// What is kept around what is important.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Tokens at the end that are always kept.
    pub window: usize,
    /// Pooling and its kernel; none for the importance itself.
    pub pool: Option<(Reduce, usize)>,
    /// A token and its neighbours, together; 0 for the token alone.
    pub neighbours: usize,
}

impl Options {
    /// The official 64 for texts of 1,024 tokens or more, a sixteenth of shorter ones.
    pub fn for_text(tokens: usize) -> Options {
        let size = (tokens / 16).clamp(1, 64).min(tokens);
        Options {
            window: size,
            pool: Some((Reduce::Max, size)),
            neighbours: size,
        }
    }
}

/// Tokens in the order in which they are kept, each once, of a prompt with this importance, when at
/// most `capacity` are to be kept.
///
/// # Errors
/// A sentence if the window is longer than the prompt.
pub fn priorities(
    importance: &[f64],
    capacity: usize,
    options: &Options,
) -> Result<Vec<usize>, String> {
    let tokens = importance.len();
    if options.window > tokens {
        return Err(format!(
            "a window of {} tokens is longer than the prompt of {tokens}: take a shorter one",
            options.window
        ));
    }
    let best: Vec<usize> = if capacity < tokens {
        let pooled = match options.pool {
            Some((reduce, kernel)) => pool(importance, reduce, kernel),
            None => importance.to_vec(),
        };
        // In f32, as in the official code, where equal importances are equal.
        let pooled: Vec<f32> = pooled.into_iter().map(|p| p as f32).collect();
        let mut best = ranking::order(&pooled);
        best.truncate(capacity);
        best
    } else {
        (0..tokens).collect()
    };
    let around = around(options.neighbours);
    let mut taken = vec![false; tokens];
    let mut order = Vec::with_capacity(tokens);
    let neighbours = best.iter().flat_map(|&t| {
        let clamped = move |&d: &isize| t.saturating_add_signed(d).min(tokens - 1);
        around.iter().map(clamped)
    });
    for t in (tokens - options.window..tokens).chain(neighbours) {
        if !std::mem::replace(&mut taken[t], true) {
            order.push(t);
        }
    }
    Ok(order)
}

/// The tokens that are kept of a prompt, rising (`specpc_select_input_token_indices`).
///
/// # Errors
/// A sentence if the window is longer than the prompt.
pub fn kept(importance: &[f64], capacity: usize, options: &Options) -> Result<Vec<usize>, String> {
    let mut kept = priorities(importance, capacity, options)?;
    kept.truncate(capacity);
    kept.sort_unstable();
    Ok(kept)
}

/// Distances to the neighbours, the nearest first, the one before sooner than the one behind.
fn around(neighbours: usize) -> Vec<isize> {
    let Some(others) = neighbours.checked_sub(1) else {
        return vec![0];
    };
    let before = (others / 2) as isize;
    let mut distances: Vec<isize> = (-before..=others as isize - before).collect();
    distances.sort_by_key(|d| d.abs());
    distances
}

/// Weights of the last queries of a prompt, from 0 for the first to 1 for the last.
pub fn query_weights(queries: usize) -> Vec<f64> {
    match queries {
        1 => vec![1.0],
        _ => (0..queries)
            .map(|i| i as f64 / (queries - 1) as f64)
            .collect(),
    }
}

/// Importance of the tokens of a prompt: the largest weighted probability over all rows. Each row is
/// a query's weight and its probabilities, of which those for guessed tokens are left out.
pub fn importance<'a>(tokens: usize, rows: impl Iterator<Item = (f64, &'a [f64])>) -> Vec<f64> {
    let mut importance = vec![0.0; tokens];
    for (weight, row) in rows {
        for (importance, p) in importance.iter_mut().zip(row) {
            *importance = f64::max(*importance, weight * p);
        }
    }
    importance
}

/// Importance of the tokens of a prompt by layers of a draft model, from its last queries. Guessed
/// tokens (`lookahead`) have weight 1. The official code reads attention from the ninth layer on;
/// that a recurrence gives shares of hidden attention is said here.
///
/// # Errors
/// A sentence if a layer has no queries and keys, or other tokens than the first.
pub fn importance_by(layers: &[Seen<'_>], window: usize) -> Result<Vec<f64>, String> {
    let Some(first) = layers.first() else {
        return Err("a draft model needs at least one layer".to_owned());
    };
    let prompt = first.tokens.saturating_sub(first.lookahead);
    let window = window.min(prompt);
    let mut result = vec![0.0; prompt];
    for seen in layers {
        if seen.tokens != first.tokens {
            return Err(format!(
                "layers of a draft model have read {} and {} tokens: give layers of one run",
                first.tokens, seen.tokens
            ));
        }
        seen.check_heads("spec_pc")?;
        let weights = query_weights(window);
        let guessed = std::iter::repeat_n(1.0, seen.tokens - prompt);
        for head in heads_read(seen) {
            let f = seen.factors(head);
            let queries =
                (prompt - window..seen.tokens).zip(weights.iter().copied().chain(guessed.clone()));
            for (i, weight) in queries {
                let row = shares(&f, i);
                for (result, p) in result.iter_mut().zip(row) {
                    *result = f64::max(*result, weight * p);
                }
            }
        }
    }
    Ok(result)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pruning::example::Example;

    #[test]
    fn the_window_first_then_the_best_with_its_neighbours() {
        let options = Options {
            window: 2,
            pool: None,
            neighbours: 3,
        };
        let importance = [0.0, 0.0, 0.0, 9.0, 0.0, 0.0, 5.0, 0.0, 0.0, 0.0];
        let order = priorities(&importance, 6, &options).unwrap();
        assert_eq!(order[..8], [8, 9, 3, 2, 4, 6, 5, 7]);
        assert_eq!(kept(&importance, 6, &options).unwrap(), [2, 3, 4, 6, 8, 9]);
        assert_eq!(kept(&importance, 99, &options).unwrap().len(), 10);
        assert!(
            kept(&importance[..1], 1, &options)
                .unwrap_err()
                .contains("window")
        );
        assert_eq!(around(0), [0]);
        assert_eq!(around(1), [0]);
        assert_eq!(around(4), [0, -1, 1, 2]);
    }

    #[test]
    fn scores_are_places_in_that_order() {
        let draft: Vec<f32> = (0..32).map(|i| (i * 7 % 32) as f32).collect();
        let seen = Seen {
            tokens: 32,
            draft: Some(&draft),
            ..Seen::default()
        };
        let scores = SpecPc.score(&seen).unwrap();
        let exact: Vec<f64> = draft.iter().map(|&d| d.into()).collect();
        let options = Options::for_text(32);
        for keep in 1..32 {
            let want = kept(&exact, keep, &options).unwrap();
            assert_eq!(ranking::highest(&scores, keep), want, "{keep}");
        }
        let none = Seen {
            draft: None,
            ..seen
        };
        assert!(SpecPc.score(&none).unwrap_err().contains("draft"));
        let short = Seen {
            draft: Some(&draft[1..]),
            ..seen
        };
        assert!(SpecPc.score(&short).unwrap_err().contains("31"));
    }

    /// Against the matrices of the draft's heads.
    #[test]
    fn importance_is_the_largest_weighted_probability() {
        let example = Example::attention(20);
        let seen = example.seen();
        let got = importance_by(&[seen, seen], 6).unwrap();
        assert_eq!(got.len(), 18);
        let matrices: Vec<_> = (0..4).map(|h| example.matrix(h)).collect();
        for (j, got) in got.iter().enumerate() {
            let mut want = 0f64;
            for m in &matrices {
                for (i, row) in m.iter().enumerate().skip(12) {
                    let weight = ((i - 12) as f64 / 5.0).min(1.0);
                    want = want.max(weight * row[j]);
                }
            }
            assert!((got - want).abs() < 1e-7);
        }
        assert!(importance_by(&[], 6).is_err());
    }
}
