//! The step size of Mamba: how much a token writes, and how much it makes the state forget.

use crate::pruning::influence::{no_number, numbers};
use crate::pruning::{Score, Seen, When};

/// Norm of the step sizes over heads (channels for S6).
pub struct StepSize;

impl Score for StepSize {
    fn id(&self) -> &'static str {
        "step_size"
    }

    fn name(&self) -> &'static str {
        "step size"
    }

    fn formula(&self) -> &'static str {
        r"s_t = \lVert \Delta_t \rVert_2"
    }

    fn source(&self) -> &'static str {
        "GATECH-EIC/LongMamba, mamba_ssm/ops/selective_scan_interface.py, get_top_k_token_indices; DeciMamba (arXiv 2406.14528)"
    }

    fn when(&self) -> When {
        When::Arriving
    }

    fn needs(&self) -> &'static [&'static str] {
        &["tokens", "heads", "steps"]
    }

    fn score(&self, seen: &Seen<'_>) -> Result<Vec<f32>, String> {
        let steps = steps(seen, self.id())?;
        let square = |&s: &f32| f64::from(s) * f64::from(s);
        let norm = |row: &[f32]| row.iter().map(square).sum::<f64>().sqrt();
        numbers(steps.chunks_exact(seen.heads.max(1)).map(norm).collect())
    }
}

/// The step sizes `[T, H]` of the layer.
///
/// # Errors
/// A sentence if it has none, or one that is not a number.
pub fn steps<'a>(seen: &Seen<'a>, score: &str) -> Result<&'a [f32], String> {
    match seen.steps {
        Some(steps) if steps.len() == seen.tokens * seen.heads => {
            match steps.iter().position(|s| s.is_nan()) {
                Some(at) => Err(no_number(at / seen.heads)),
                None => Ok(steps),
            }
        }
        Some(steps) => Err(format!(
            "the score '{score}' needs step sizes [{}, {}], but there are {}",
            seen.tokens,
            seen.heads,
            steps.len()
        )),
        None => Err(format!(
            "the score '{score}' needs the step sizes of Mamba, which this mixer does not have: \
             choose retained_mass or write_norm"
        )),
    }
}
