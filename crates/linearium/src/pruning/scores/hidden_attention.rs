//! Hidden attention (Ali et al., arXiv 2403.01590): how much of what is read comes from a token,
//! with the gates that the unpruned run had.

use crate::probes::receptive_field::row;
use crate::pruning::influence::{column_sums, numbers};
use crate::pruning::{Score, Seen, When};

/// What all later outputs together read from a token: the column sum of each head, whose sign
/// is dropped behind the sum.
pub struct Received;

impl Score for Received {
    fn id(&self) -> &'static str {
        "received"
    }

    fn name(&self) -> &'static str {
        "hidden attention received"
    }

    fn formula(&self) -> &'static str {
        r"s_j = \frac{1}{H} \sum_h \Bigl| \sum_{i \ge j} M^{(h)}_{ij} \Bigr|"
    }

    fn source(&self) -> &'static str {
        "column sums of the hidden attention (arXiv 2403.01590), by the adjoint scan; of attention, the column sums of its probabilities"
    }

    fn when(&self) -> When {
        When::Read
    }

    fn needs(&self) -> &'static [&'static str] {
        needs_hidden_attention!()
    }

    fn score(&self, seen: &Seen<'_>) -> Result<Vec<f32>, String> {
        over_heads(self, seen, |f| column_sums(f, seen.tokens))
    }
}

/// What the readout (the last token, if none is named) reads from each: its row. Tokens behind it
/// have 0.
pub struct Given;

impl Score for Given {
    fn id(&self) -> &'static str {
        "given"
    }

    fn name(&self) -> &'static str {
        "hidden attention of the last token"
    }

    fn formula(&self) -> &'static str {
        r"s_j = \frac{1}{H} \sum_h \bigl| M^{(h)}_{Tj} \bigr|"
    }

    fn source(&self) -> &'static str {
        "rows of the hidden attention (arXiv 2403.01590, section 3); of attention, EViT (arXiv 2202.07800) with the last token as reader"
    }

    fn when(&self) -> When {
        When::Read
    }

    fn needs(&self) -> &'static [&'static str] {
        needs_hidden_attention!("readout")
    }

    fn score(&self, seen: &Seen<'_>) -> Result<Vec<f32>, String> {
        over_heads(self, seen, |f| {
            row(f, seen.reader()).into_iter().map(f64::from).collect()
        })
    }
}

/// Mean over heads of the sizes of what `of_head` gives.
fn over_heads(
    score: &dyn Score,
    seen: &Seen<'_>,
    of_head: impl Fn(&crate::probes::run::Factors) -> Vec<f64>,
) -> Result<Vec<f32>, String> {
    seen.check_heads(score.id())?;
    let mut sums = vec![0.0; seen.tokens];
    if seen.tokens == 0 {
        return Ok(Vec::new());
    }
    for head in 0..seen.heads {
        let weights = of_head(&seen.factors(head));
        for (sum, weight) in sums.iter_mut().zip(weights) {
            *sum += weight.abs() / seen.heads as f64;
        }
    }
    numbers(sums)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pruning::example::Example;

    /// Against matrices made of products of dense factors.
    #[test]
    fn sums_and_rows_of_the_matrix() {
        for example in Example::all(33) {
            let seen = example.seen();
            let matrices: Vec<_> = (0..seen.heads).map(|h| example.matrix(h)).collect();
            let [received, given] = [Received.score(&seen).unwrap(), Given.score(&seen).unwrap()];
            let at_20 = Seen {
                readout: Some(20),
                ..seen
            };
            let given_at_20 = Given.score(&at_20).unwrap();
            let of = |f: &dyn Fn(&Vec<Vec<f64>>) -> f64| -> f64 {
                matrices.iter().map(|m| f(m).abs()).sum::<f64>() / seen.heads as f64
            };
            for j in 0..seen.tokens {
                let column = of(&|m| m.iter().map(|row| row[j]).sum());
                let last = of(&|m| m[seen.tokens - 1][j]);
                let early = of(&|m| m[20][j]);
                let near =
                    |got: f32, want: f64| (f64::from(got) - want).abs() <= 2e-6 * want + 1e-7;
                assert!(
                    near(received[j], column),
                    "{}: {} {column}",
                    example.name,
                    received[j]
                );
                assert!(near(given_at_20[j], early), "{} {j}", example.name);
                assert!(
                    near(given[j], last),
                    "{}: {} {last}",
                    example.name,
                    given[j]
                );
            }
        }
    }
}
