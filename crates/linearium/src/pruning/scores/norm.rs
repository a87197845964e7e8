//! The size of what comes in: of the residual token, and of what it writes into the state.

use crate::pruning::influence::numbers;
use crate::pruning::{Score, Seen, When};

/// `sum_d |x_d|` of the residual stream.
pub struct L1;

impl Score for L1 {
    fn id(&self) -> &'static str {
        "norm_l1"
    }

    fn name(&self) -> &'static str {
        "input norm, l1"
    }

    fn formula(&self) -> &'static str {
        r"s_t = \sum_d |x_{t,d}|"
    }

    fn source(&self) -> &'static str {
        "a baseline without a source; x is the residual stream"
    }

    fn when(&self) -> When {
        When::Arriving
    }

    fn needs(&self) -> &'static [&'static str] {
        &["tokens", "width", "stream"]
    }

    fn score(&self, seen: &Seen<'_>) -> Result<Vec<f32>, String> {
        numbers(rows(seen)?.map(|x| x.map(f64::abs).sum()).collect())
    }
}

/// `sqrt(sum_d x_d^2)` of the residual stream.
pub struct L2;

impl Score for L2 {
    fn id(&self) -> &'static str {
        "norm_l2"
    }

    fn name(&self) -> &'static str {
        "input norm, l2"
    }

    fn formula(&self) -> &'static str {
        r"s_t = \lVert x_t \rVert_2"
    }

    fn source(&self) -> &'static str {
        "a baseline without a source; x is the residual stream"
    }

    fn when(&self) -> When {
        When::Arriving
    }

    fn needs(&self) -> &'static [&'static str] {
        &["tokens", "width", "stream"]
    }

    fn score(&self, seen: &Seen<'_>) -> Result<Vec<f32>, String> {
        numbers(
            rows(seen)?
                .map(|x| x.map(|x| x * x).sum::<f64>().sqrt())
                .collect(),
        )
    }
}

/// The size of the write into the states of all heads, exact for one step.
pub struct Write;

impl Score for Write {
    fn id(&self) -> &'static str {
        "write_norm"
    }

    fn name(&self) -> &'static str {
        "write norm"
    }

    fn formula(&self) -> &'static str {
        r"s_t = \Bigl(\sum_h \lVert w_{t,h}\, k_{t,h} v_{t,h}^\top \rVert_F^2\Bigr)^{1/2} = \Bigl(\sum_h w_{t,h}^2 \lVert k_{t,h} \rVert^2 \lVert v_{t,h} \rVert^2\Bigr)^{1/2}"
    }

    fn source(&self) -> &'static str {
        "Frobenius norm of Delta_t B_t x_t^T in Mamba (arXiv 2312.00752, Algorithm 2)"
    }

    fn when(&self) -> When {
        When::Arriving
    }

    fn needs(&self) -> &'static [&'static str] {
        &[
            "tokens",
            "heads",
            "key",
            "value",
            "k",
            "q",
            "v",
            "write_scale",
            "in_logs",
        ]
    }

    fn score(&self, seen: &Seen<'_>) -> Result<Vec<f32>, String> {
        seen.check_values(self.id())?;
        let squares = |x: &[f32]| -> f64 { x.iter().map(|&x| f64::from(x).powi(2)).sum() };
        let groups = seen.k.len() / (seen.tokens * seen.key).max(1);
        let of = |t: usize| {
            let of_head = |h: usize| {
                let group = t * groups + h * groups / seen.heads;
                let write = seen
                    .write_scale
                    .map_or(f64::from(u8::from(!seen.in_logs)), |w| {
                        w[t * seen.heads + h].into()
                    });
                let write = if seen.in_logs { write.exp() } else { write };
                let key = squares(&seen.k[group * seen.key..][..seen.key]);
                write * write * key * squares(seen.value_of(t, h))
            };
            (0..seen.heads).map(of_head).sum::<f64>().sqrt()
        };
        numbers((0..seen.tokens).map(of).collect())
    }
}

/// The rows of the residual stream.
fn rows<'a>(
    seen: &Seen<'a>,
) -> Result<impl Iterator<Item = impl Iterator<Item = f64> + 'a> + 'a, String> {
    if seen.stream.len() != seen.tokens * seen.width {
        return Err(format!(
            "the norm of the input needs a residual stream [{}, {}], but it has {} values",
            seen.tokens,
            seen.width,
            seen.stream.len()
        ));
    }
    let rows = seen.stream.chunks_exact(seen.width.max(1));
    Ok(rows.map(|row| row.iter().map(|&x| f64::from(x))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pruning::example::Example;

    #[test]
    fn norms_are_the_sums_that_they_say() {
        let seen = Seen {
            tokens: 2,
            width: 2,
            stream: &[3.0, -4.0, 0.0, 2.0],
            ..Seen::default()
        };
        assert_eq!(L1.score(&seen).unwrap(), [7.0, 2.0]);
        assert_eq!(L2.score(&seen).unwrap(), [5.0, 2.0]);
        let short = Seen {
            stream: &[1.0],
            ..seen
        };
        assert!(L2.score(&short).unwrap_err().contains("[2, 2]"));
    }

    /// Against the outer products written out.
    #[test]
    fn the_write_norm_is_the_norm_of_the_matrices_written() {
        let example = Example::shared_keys(7);
        let seen = example.seen();
        let got = Write.score(&seen).unwrap();
        for (t, got) in got.into_iter().enumerate() {
            let mut sum = 0.0;
            for h in 0..seen.heads {
                let f = seen.factors(h);
                for k in &f.k[t * seen.key..][..seen.key] {
                    for v in seen.value_of(t, h) {
                        sum += f64::from(f.write_scale[t] * k * v).powi(2);
                    }
                }
            }
            assert!((f64::from(got) / sum.sqrt() - 1.0).abs() < 1e-5);
        }
    }
}
