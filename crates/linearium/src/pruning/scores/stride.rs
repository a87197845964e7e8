//! Tokens at equal distances: the gap is the same everywhere, so that a default decay is nothing but
//! another scale of time.

use crate::pruning::{Score, Seen, When};

/// 1 for the tokens `floor(i T / K)`, i from 0 to K - 1, and 0 for the others.
pub struct Stride;

impl Score for Stride {
    fn id(&self) -> &'static str {
        "stride"
    }

    fn name(&self) -> &'static str {
        "uniform stride"
    }

    fn formula(&self) -> &'static str {
        r"s_t = [\exists\, i < K : t = \lfloor i\, T / K \rfloor]"
    }

    fn source(&self) -> &'static str {
        "a baseline without a source"
    }

    fn when(&self) -> When {
        When::Arriving
    }

    fn needs(&self) -> &'static [&'static str] {
        &["keep"]
    }

    fn score(&self, seen: &Seen<'_>) -> Result<Vec<f32>, String> {
        let mut scores = vec![0.0; seen.tokens];
        for i in 0..seen.keep.min(seen.tokens) {
            scores[i * seen.tokens / seen.keep] = 1.0;
        }
        Ok(scores)
    }
}
