//! Leave one out: the exact effect of a token on the readout, with the gates that the run had. What
//! a token does by the gates of others is not in it; [`recomputed`] has that too, for one run of the
//! model a token.

use crate::mixers::ScoreFunction;
use crate::probes::receptive_field::row;
use crate::probes::run::Factors;
use crate::pruning::influence::{column_squares, numbers};
use crate::pruning::{Score, Seen, When};

/// The effect on what the readout (the last token, if none is named) reads.
pub struct Last;

impl Score for Last {
    fn id(&self) -> &'static str {
        "oracle"
    }

    fn name(&self) -> &'static str {
        "oracle, one readout"
    }

    fn formula(&self) -> &'static str {
        r"s_j = \Bigl( \sum_h \lVert y^{(h)}_T - y^{(h)}_T(\text{without } j) \rVert^2 \Bigr)^{1/2} = \Bigl( \sum_h \lVert M^{(h)}_{Tj} v^{(h)}_j \rVert^2 \Bigr)^{1/2}"
    }

    fn source(&self) -> &'static str {
        "closed form; for a softmax p_j / (1 - p_j) |y_T - v_j|, since the others share what is left"
    }

    fn when(&self) -> When {
        When::Read
    }

    fn needs(&self) -> &'static [&'static str] {
        needs_hidden_attention!("readout", "value", "v")
    }

    fn score(&self, seen: &Seen<'_>) -> Result<Vec<f32>, String> {
        score(self, seen, |f, head| {
            effects_at(f, seen, head, seen.reader())
        })
    }
}

/// The effect on what all tokens read, its own readout included.
pub struct All;

impl Score for All {
    fn id(&self) -> &'static str {
        "oracle_all"
    }

    fn name(&self) -> &'static str {
        "oracle, all readouts"
    }

    fn formula(&self) -> &'static str {
        r"s_j = \Bigl( \sum_{i \ge j} \sum_h \lVert y^{(h)}_i - y^{(h)}_i(\text{without } j) \rVert^2 \Bigr)^{1/2}"
    }

    fn source(&self) -> &'static str {
        "closed form; of a recurrence |v_j| (w_j^2 k_j^T G_j k_j)^(1/2) by an adjoint scan of Gram matrices"
    }

    fn when(&self) -> When {
        When::Read
    }

    fn needs(&self) -> &'static [&'static str] {
        needs_hidden_attention!("value", "v")
    }

    fn score(&self, seen: &Seen<'_>) -> Result<Vec<f32>, String> {
        score(self, seen, |f, head| {
            if f.softmax || f.scores.is_some() {
                let mut sums = vec![0.0; seen.tokens];
                for i in 0..seen.tokens {
                    for (sum, effect) in sums.iter_mut().zip(effects_at(f, seen, head, i)) {
                        *sum += effect;
                    }
                }
                return sums;
            }
            let squares = column_squares(f, seen.tokens);
            let of = |(j, square): (usize, f64)| square * size(seen.value_of(j, head));
            squares.into_iter().enumerate().map(of).collect()
        })
    }
}

/// The exact effect of every token by a run of the model without it: `|run(all) - run(all but j)|`,
/// `[T]`. `run` gives the readout when the tokens at these rising positions are kept.
///
/// # Errors
/// The sentence of `run`, or one if readouts differ in length.
pub fn recomputed(
    tokens: usize,
    mut run: impl FnMut(&[usize]) -> Result<Vec<f32>, String>,
) -> Result<Vec<f32>, String> {
    let all: Vec<usize> = (0..tokens).collect();
    let whole = run(&all)?;
    let mut scores = Vec::with_capacity(tokens);
    for j in 0..tokens {
        let kept: Vec<usize> = all.iter().copied().filter(|&t| t != j).collect();
        let readout = run(&kept)?;
        if readout.len() != whole.len() {
            return Err(format!(
                "the readout without token {j} has {} values and the whole one {}: both must be \
                 of the same tokens",
                readout.len(),
                whole.len()
            ));
        }
        let pairs = whole.iter().zip(&readout);
        scores.push(
            pairs
                .map(|(&a, &b)| (f64::from(a) - f64::from(b)).powi(2))
                .sum::<f64>()
                .sqrt(),
        );
    }
    numbers(scores)
}

/// Squared effects of the tokens on the readout at i of one head, `[i + 1]`.
fn effects_at(f: &Factors, seen: &Seen<'_>, head: usize, i: usize) -> Vec<f64> {
    let weights = row(f, i);
    if !f.softmax
        && f.scores
            .as_ref()
            .is_none_or(|s| s.function != ScoreFunction::Softmax)
    {
        let of =
            |(j, weight): (usize, f32)| f64::from(weight).powi(2) * size(seen.value_of(j, head));
        return weights.into_iter().enumerate().map(of).collect();
    }
    let mut read = vec![0.0; seen.value];
    for (j, &p) in weights.iter().enumerate() {
        for (read, &v) in read.iter_mut().zip(seen.value_of(j, head)) {
            *read += f64::from(p) * f64::from(v);
        }
    }
    let total: f64 = weights.iter().map(|&p| f64::from(p)).sum();
    let of = |(j, &p): (usize, &f32)| {
        let others = total - f64::from(p);
        let p = f64::from(p);
        if p == 0.0 {
            return 0.0;
        }
        // With no other token to read, nothing is left of the readout.
        let (share, own) = if others > 1e-7 * total {
            (p / others, 1.0)
        } else {
            (1.0, 0.0)
        };
        let pairs = read.iter().zip(seen.value_of(j, head));
        share
            * share
            * pairs
                .map(|(y, &v)| (y - own * f64::from(v)).powi(2))
                .sum::<f64>()
    };
    weights.iter().enumerate().map(of).collect()
}

fn size(v: &[f32]) -> f64 {
    v.iter().map(|&v| f64::from(v).powi(2)).sum()
}

/// The root of the sum over heads.
fn score(
    score: &dyn Score,
    seen: &Seen<'_>,
    of_head: impl Fn(&Factors, usize) -> Vec<f64>,
) -> Result<Vec<f32>, String> {
    seen.check_values(score.id())?;
    let mut sums = vec![0.0; seen.tokens];
    if seen.tokens == 0 {
        return Ok(Vec::new());
    }
    for head in 0..seen.heads {
        for (sum, effect) in sums.iter_mut().zip(of_head(&seen.factors(head), head)) {
            *sum += effect;
        }
    }
    numbers(sums.into_iter().map(f64::sqrt).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pruning::example::Example;

    /// The readouts at all tokens with one token's value and key taken away, written out.
    fn readouts(example: &Example, head: usize, without: Option<usize>) -> Vec<Vec<f64>> {
        let seen = example.seen();
        let matrix = example.matrix(head);
        let read = |row: &Vec<f64>| {
            let kept = |j: &usize| Some(*j) != without;
            let total: f64 = (0..seen.tokens).filter(kept).map(|j| row[j]).sum();
            let divisor = if seen.softmax && total > 0.0 {
                total
            } else {
                1.0
            };
            let of = |c: usize| {
                let value = |j: usize| row[j] * f64::from(seen.value_of(j, head)[c]);
                (0..seen.tokens).filter(kept).map(value).sum::<f64>() / divisor
            };
            (0..seen.value).map(of).collect()
        };
        matrix.iter().map(read).collect()
    }

    /// Against the readouts recomputed without each token: `|alpha_rj x_j|` for fixed gates.
    #[test]
    fn the_effect_of_leaving_a_token_out() {
        for example in Example::all(20) {
            let seen = example.seen();
            let [last, all] = [Last.score(&seen).unwrap(), All.score(&seen).unwrap()];
            for j in 0..seen.tokens {
                let (mut at_last, mut at_all) = (0.0, 0.0);
                for h in 0..seen.heads {
                    let [with, without] = [None, Some(j)].map(|w| readouts(&example, h, w));
                    for (i, (a, b)) in with.iter().zip(&without).enumerate() {
                        let pairs = a.iter().zip(b);
                        let square: f64 = pairs.map(|(a, b)| (a - b).powi(2)).sum();
                        at_all += square;
                        if i + 1 == seen.tokens {
                            at_last += square;
                        }
                    }
                }
                for (got, want) in [(last[j], at_last.sqrt()), (all[j], at_all.sqrt())] {
                    let off = (f64::from(got) - want).abs();
                    assert!(
                        off <= 5e-6 * want + 1e-6,
                        "{} {j}: {got} {want}",
                        example.name
                    );
                }
            }
        }
    }

    #[test]
    fn runs_without_each_token() {
        let values = [1.0, -2.0, 4.0];
        let sum = |kept: &[usize]| Ok(vec![kept.iter().map(|&t| values[t]).sum::<f32>(), 7.0]);
        assert_eq!(recomputed(3, sum).unwrap(), [1.0, 2.0, 4.0]);
        assert!(recomputed(0, sum).unwrap().is_empty());
        let uneven = |kept: &[usize]| Ok(vec![0.0; kept.len()]);
        assert!(recomputed(2, uneven).unwrap_err().contains("token 0"));
    }
}
