//! The output of the mixer as importance (ToP-ViM, arXiv 2409.18962): clipped at 0, and the three
//! sums that its ablation compares with that.
//!
//! y is what the output projection is given; where the layer has none, what the mixer gives. The
//! released code (`ZLKong/ToP-ViM`, `vim/models_mamba.py`) sums without clipping, over the output of
//! the backward scan in its own order, so that index i scores token T - 1 - i; here every token has
//! its own sum.

use crate::pruning::influence::numbers;
use crate::pruning::{Score, Seen, When};

/// `sum_d max(0, y_d)`.
pub struct Clip;

impl Score for Clip {
    fn id(&self) -> &'static str {
        "activation_clip"
    }

    fn name(&self) -> &'static str {
        "output activation, clipped"
    }

    fn formula(&self) -> &'static str {
        r"s_t = \sum_d \max(0, y_{t,d})"
    }

    fn source(&self) -> &'static str {
        "ToP-ViM (arXiv 2409.18962), section 4"
    }

    fn when(&self) -> When {
        When::Arriving
    }

    fn needs(&self) -> &'static [&'static str] {
        &["tokens", "y", "out"]
    }

    fn score(&self, seen: &Seen<'_>) -> Result<Vec<f32>, String> {
        // Not max, which drops what is not a number.
        sums(seen, |y| if y < 0.0 { 0.0 } else { y })
    }
}

/// `sum_d |y_d|`.
pub struct L1;

impl Score for L1 {
    fn id(&self) -> &'static str {
        "activation_l1"
    }

    fn name(&self) -> &'static str {
        "output activation, l1"
    }

    fn formula(&self) -> &'static str {
        r"s_t = \sum_d |y_{t,d}|"
    }

    fn source(&self) -> &'static str {
        "ToP-ViM (arXiv 2409.18962), section 4, ablation"
    }

    fn when(&self) -> When {
        When::Arriving
    }

    fn needs(&self) -> &'static [&'static str] {
        &["tokens", "y", "out"]
    }

    fn score(&self, seen: &Seen<'_>) -> Result<Vec<f32>, String> {
        sums(seen, f64::abs)
    }
}

/// `sqrt(sum_d y_d^2)`.
pub struct L2;

impl Score for L2 {
    fn id(&self) -> &'static str {
        "activation_l2"
    }

    fn name(&self) -> &'static str {
        "output activation, l2"
    }

    fn formula(&self) -> &'static str {
        r"s_t = \lVert y_t \rVert_2"
    }

    fn source(&self) -> &'static str {
        "ToP-ViM (arXiv 2409.18962), section 4, ablation"
    }

    fn when(&self) -> When {
        When::Arriving
    }

    fn needs(&self) -> &'static [&'static str] {
        &["tokens", "y", "out"]
    }

    fn score(&self, seen: &Seen<'_>) -> Result<Vec<f32>, String> {
        let squares = sums(seen, |y| y * y)?;
        Ok(squares.into_iter().map(f32::sqrt).collect())
    }
}

/// `sum_d y_d`.
pub struct Sum;

impl Score for Sum {
    fn id(&self) -> &'static str {
        "activation_sum"
    }

    fn name(&self) -> &'static str {
        "output activation, unclipped"
    }

    fn formula(&self) -> &'static str {
        r"s_t = \sum_d y_{t,d}"
    }

    fn source(&self) -> &'static str {
        "ToP-ViM (arXiv 2409.18962), section 4, ablation; the sum of the released code"
    }

    fn when(&self) -> When {
        When::Arriving
    }

    fn needs(&self) -> &'static [&'static str] {
        &["tokens", "y", "out"]
    }

    fn score(&self, seen: &Seen<'_>) -> Result<Vec<f32>, String> {
        sums(seen, |y| y)
    }
}

/// `sum_d f(y_d)` of each token.
fn sums(seen: &Seen<'_>, f: fn(f64) -> f64) -> Result<Vec<f32>, String> {
    let y = seen.y.unwrap_or(seen.out);
    let width = y.len() / seen.tokens.max(1);
    if width * seen.tokens != y.len() || (width == 0 && seen.tokens > 0) {
        return Err(format!(
            "the score of the output activation needs an output for each of {} tokens, but there \
             are {} values",
            seen.tokens,
            y.len()
        ));
    }
    let sum = |row: &[f32]| row.iter().map(|&y| f(y.into())).sum();
    numbers(y.chunks_exact(width.max(1)).map(sum).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_sums_as_it_says() {
        let seen = Seen {
            tokens: 2,
            y: Some(&[3.0, -4.0, -1.0, 1.0]),
            out: &[9.0; 4],
            ..Seen::default()
        };
        let of = |score: &dyn Score| score.score(&seen).unwrap();
        assert_eq!(of(&Clip), [3.0, 1.0]);
        assert_eq!(of(&L1), [7.0, 2.0]);
        assert_eq!(of(&L2), [5.0, 2f32.sqrt()]);
        assert_eq!(of(&Sum), [-1.0, 0.0]);
        let bare = Seen { y: None, ..seen };
        assert_eq!(Sum.score(&bare).unwrap(), [18.0, 18.0]);
        let uneven = Seen {
            y: Some(&[1.0; 3]),
            ..seen
        };
        assert!(Sum.score(&uneven).unwrap_err().contains("3 values"));
    }
}
