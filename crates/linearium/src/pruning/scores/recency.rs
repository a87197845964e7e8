//! The last tokens: what a finite receptive field is.

use crate::pruning::{Score, Seen, When};

/// A later token is more important.
pub struct Recency;

impl Score for Recency {
    fn id(&self) -> &'static str {
        "recency"
    }

    fn name(&self) -> &'static str {
        "recency window"
    }

    fn formula(&self) -> &'static str {
        r"s_t = t"
    }

    fn source(&self) -> &'static str {
        "a baseline without a source"
    }

    fn when(&self) -> When {
        When::Arriving
    }

    fn needs(&self) -> &'static [&'static str] {
        &["tokens"]
    }

    fn score(&self, seen: &Seen<'_>) -> Result<Vec<f32>, String> {
        Ok((0..seen.tokens).map(|t| t as f32).collect())
    }
}
