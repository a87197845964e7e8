//! Sparse modular activation (SeqBoat, arXiv 2306.11197): a router, fed by the recurrence, says which
//! tokens wake the attention.
//!
//! `pi = softmax(s / tau)`; a token is active if its second probability is the larger one, and what
//! the attention gives it is weighted by that probability. Active tokens are compressed into a list
//! without gaps, and what comes of it is put back in their places. Official code: `renll/SeqBoat`,
//! `standalone_seqboat.py`, `LatentConfigurator`, `compress_seq`, `extract`. Two equal probabilities
//! leave a token asleep here; there it depends on the machine.

use crate::pruning::influence::numbers;
use crate::pruning::{Score, Seen, When};

/// The probability of being active.
pub struct Router;

impl Score for Router {
    fn id(&self) -> &'static str {
        "router"
    }

    fn name(&self) -> &'static str {
        "sparse modular activation (SeqBoat)"
    }

    fn formula(&self) -> &'static str {
        r"s_t = \operatorname{softmax}(\text{logits}_t)_{\text{active}}"
    }

    fn source(&self) -> &'static str {
        "renll/SeqBoat, standalone_seqboat.py, SeqBoatLayer (arXiv 2306.11197)"
    }

    fn when(&self) -> When {
        When::Arriving
    }

    fn needs(&self) -> &'static [&'static str] {
        &["router", "tokens"]
    }

    fn score(&self, seen: &Seen<'_>) -> Result<Vec<f32>, String> {
        let Some(logits) = seen.router else {
            return Err(format!(
                "the score '{}' needs a router, which this mixer does not have: choose the mixer \
                 seq_boat",
                self.id()
            ));
        };
        if logits.len() != 2 * seen.tokens {
            return Err(format!(
                "a router gives two logits a token: {} tokens and {} logits do not fit",
                seen.tokens,
                logits.len()
            ));
        }
        let of = |pair: &[f32]| probability([pair[0].into(), pair[1].into()], 1.0);
        numbers(logits.chunks_exact(2).map(of).collect())
    }
}

/// The probability of being active, by the logits of asleep and active and a temperature.
pub fn probability(logits: [f64; 2], temperature: f64) -> f64 {
    (1.0 + ((logits[0] - logits[1]) / temperature).exp()).recip()
}

/// Which tokens are active, by logits `[T, 2]`, and the weight `[T]` of what attention gives them.
pub fn active(logits: &[f64], temperature: f64) -> (Vec<bool>, Vec<f64>) {
    let of = |pair: &[f64]| {
        let p = probability([pair[0], pair[1]], temperature);
        if p > 0.5 { (true, p) } else { (false, 0.0) }
    };
    logits.chunks_exact(2).map(of).unzip()
}

/// For each token its place among the active ones, from 1, and 0 for one that sleeps.
pub fn places(active: &[bool]) -> Vec<usize> {
    let mut count = 0;
    let of = |&active: &bool| {
        count += usize::from(active);
        if active { count } else { 0 }
    };
    active.iter().map(of).collect()
}

/// The rows `[T, width]` of the active tokens. If all sleep the official code gives one row of zeros,
/// this none.
pub fn compress<X: Copy>(rows: &[X], width: usize, active: &[bool]) -> Vec<X> {
    let rows = rows.chunks_exact(width.max(1)).zip(active);
    rows.filter(|(_, active)| **active)
        .flat_map(|(row, _)| row.iter().copied())
        .collect()
}

/// Rows of the active tokens back in their places, `[T, width]`, with zeros where tokens sleep.
pub fn extract<X: Copy + Default>(rows: &[X], width: usize, active: &[bool]) -> Vec<X> {
    let mut out = vec![X::default(); active.len() * width];
    let to = out.chunks_exact_mut(width.max(1)).zip(active);
    let places = to.filter(|(_, active)| **active);
    for ((to, _), from) in places.zip(rows.chunks_exact(width.max(1))) {
        to.copy_from_slice(from);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_compressed_comes_back_to_its_place() {
        let logits = [0.0, 1.0, 1.0, 0.0, 0.5, 0.5, -3.0, 2.0];
        let (active, weights) = active(&logits, 2.0);
        assert_eq!(active, [true, false, false, true]);
        assert_eq!(places(&active), [1, 0, 0, 2]);
        let exact = |x: f64| x.exp() / (x.exp() + 1.0);
        assert!((weights[0] - exact(0.5)).abs() < 1e-15 && (weights[3] - exact(2.5)).abs() < 1e-15);
        assert_eq!(weights[1..3], [0.0, 0.0]);
        let rows = [1, 2, 3, 4, 5, 6, 7, 8];
        let dense = compress(&rows, 2, &active);
        assert_eq!(dense, [1, 2, 7, 8]);
        assert_eq!(extract(&dense, 2, &active), [1, 2, 0, 0, 0, 0, 7, 8]);
        assert!(compress(&rows, 2, &[false; 4]).is_empty());
        assert_eq!(extract::<i32>(&[], 2, &[false; 2]), [0; 4]);
        assert!(places(&[]).is_empty());
    }

    #[test]
    fn without_a_router_it_is_refused() {
        let seen = Seen {
            tokens: 2,
            router: Some(&[0.0, 0.0, 0.0, 1e4]),
            ..Seen::default()
        };
        assert_eq!(Router.score(&seen).unwrap(), [0.5, 1.0]);
        let none = Seen {
            router: None,
            ..seen
        };
        assert!(Router.score(&none).unwrap_err().contains("seq_boat"));
        let short = Seen { tokens: 3, ..seen };
        assert!(Router.score(&short).unwrap_err().contains("4 logits"));
    }
}
