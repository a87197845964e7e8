//! Chance: the baseline that is strong where tokens say the same.

use crate::pruning::{Score, Seen, When};
use crate::random::Random;

/// One draw a token.
pub struct Uniform;

impl Score for Uniform {
    fn id(&self) -> &'static str {
        "random"
    }

    fn name(&self) -> &'static str {
        "random"
    }

    fn formula(&self) -> &'static str {
        r"s_t \sim U(0, 1)"
    }

    fn source(&self) -> &'static str {
        "a baseline without a source"
    }

    fn when(&self) -> When {
        When::Arriving
    }

    fn needs(&self) -> &'static [&'static str] {
        &["seed"]
    }

    fn score(&self, seen: &Seen<'_>) -> Result<Vec<f32>, String> {
        let mut random = Random::new(seen.seed);
        Ok((0..seen.tokens).map(|_| random.uniform() as f32).collect())
    }
}
