//! The laws of forgetting and of recall, fitted to a family of small models of our own.

use crate::exhibit::axis;
use crate::exhibit::declared::{at_y, curve, table, word};
use crate::number::short;
use crate::views::{Cell, Lines, Scale, Series, Table};

/// State sizes of the family.
pub const STATES: [usize; 5] = [4, 8, 16, 32, 64];
/// Training lengths of the family.
pub const LENGTHS: [usize; 5] = [64, 128, 256, 512, 1024];
/// Lengths at which recall was measured.
const RECALL_AT: [usize; 8] = [64, 128, 256, 512, 1024, 2048, 4096, 8192];
/// A model has learnt to forget if it loses less than this, in nats.
pub const FORGETS: f64 = 0.02;
/// The share of digits that counts as recalled.
pub const RECALLED: f64 = 0.95;

/// A trained model of the family.
#[derive(Clone, Debug)]
pub struct Member {
    pub state: usize,
    pub length: usize,
    pub seed: u64,
    /// Elements of the recurrent state, the tail of the convolution too.
    pub elements: f64,
    /// What it loses at 4,096 to 8,192 tokens against reading from an empty state, at six points of
    /// its training.
    pub excess: Vec<f64>,
    /// Recall at [`RECALL_AT`].
    pub recall: Vec<f64>,
}

/// Reads the table that the training wrote.
pub fn members(text: &[u8]) -> Result<Vec<Member>, String> {
    let text = String::from_utf8_lossy(text);
    let lines = text.lines().filter(|l| !l.starts_with('#'));
    lines
        .map(|line| {
            let numbers: Result<Vec<f64>, _> = line.split_whitespace().map(str::parse).collect();
            let all = numbers.map_err(|_| format!("the family's table has a bad line: {line}"))?;
            if all.len() != 11 + RECALL_AT.len() {
                return Err(format!(
                    "the family's table has {} columns: {line}",
                    all.len()
                ));
            }
            Ok(Member {
                state: all[0] as usize,
                length: all[1] as usize,
                seed: all[2] as u64,
                elements: all[3],
                excess: all[4..10].to_vec(),
                recall: all[11..].to_vec(),
            })
        })
        .collect()
}

/// The first length, by interpolation in its logarithm, at which `values` falls below `level`; none
/// if it is below from the start, the last length if it never falls.
pub fn crossing(lengths: &[usize], values: &[f64], level: f64) -> Option<f64> {
    if values[0] < level {
        return None;
    }
    for (l, v) in lengths.windows(2).zip(values.windows(2)) {
        if v[1] < level {
            let share = (v[0] - level) / (v[0] - v[1]);
            let [a, b] = [l[0], l[1]].map(|l| (l as f64).ln());
            return Some((a + share * (b - a)).exp());
        }
    }
    lengths.last().map(|&l| l as f64)
}

/// Largest length with enough recall, if the model recalls at all.
pub fn recall_length(recall: &[f64]) -> Option<f64> {
    crossing(&RECALL_AT[..recall.len()], recall, RECALLED)
}

/// A straight line through points, with the standard error of its slope.
#[derive(Clone, Copy, Debug)]
pub struct Fit {
    pub slope: f64,
    pub error: f64,
    pub at_zero: f64,
    /// Share of the variance that it explains.
    pub r2: f64,
}

/// Least squares; needs three points that differ in x.
pub fn line(points: &[(f64, f64)]) -> Option<Fit> {
    let n = points.len() as f64;
    if points.len() < 3 {
        return None;
    }
    let mean = |f: fn(&(f64, f64)) -> f64| points.iter().map(f).sum::<f64>() / n;
    let (mx, my) = (mean(|p| p.0), mean(|p| p.1));
    let sxx: f64 = points.iter().map(|p| (p.0 - mx).powi(2)).sum();
    let sxy: f64 = points.iter().map(|p| (p.0 - mx) * (p.1 - my)).sum();
    let syy: f64 = points.iter().map(|p| (p.1 - my).powi(2)).sum();
    if sxx == 0.0 {
        return None;
    }
    let slope = sxy / sxx;
    let rest = (syy - slope * sxy).max(0.0);
    Some(Fit {
        slope,
        error: (rest / (n - 2.0) / sxx).sqrt(),
        at_zero: my - slope * mx,
        r2: if syy > 0.0 { 1.0 - rest / syy } else { 1.0 },
    })
}

/// The laws of a family.
pub struct Laws {
    members: Vec<Member>,
    /// State elements in thousands and the training length from which on a model forgets, for each
    /// seed.
    pub forget: Vec<(f64, f64)>,
    /// State elements in thousands and the longest recall of any training length, for each seed.
    pub recall: Vec<(f64, f64)>,
}

impl Laws {
    /// Of a family's table.
    pub fn new(members: Vec<Member>) -> Laws {
        let (mut forget, mut recall) = (Vec::new(), Vec::new());
        for state in STATES {
            for seed in [0, 1] {
                let own: Vec<&Member> = LENGTHS
                    .iter()
                    .filter_map(|&l| {
                        let this = |m: &&Member| (m.state, m.length, m.seed) == (state, l, seed);
                        members.iter().find(this)
                    })
                    .collect();
                let Some(first) = own.first() else { continue };
                let size = first.elements / 1e3;
                let last: Vec<f64> = own.iter().map(|m| m.excess[m.excess.len() - 1]).collect();
                if let Some(length) = crossing(&LENGTHS[..last.len()], &last, FORGETS) {
                    forget.push((size, length));
                }
                let longest = own.iter().filter_map(|m| recall_length(&m.recall));
                let longest = longest.fold(0.0, f64::max);
                if longest > 0.0 {
                    recall.push((size, longest));
                }
            }
        }
        Laws {
            members,
            forget,
            recall,
        }
    }

    /// T_forget over the state size.
    pub fn forget_fit(&self) -> Option<Fit> {
        line(&self.forget)
    }

    /// ln T_recall over the state size: an exponential law.
    pub fn recall_exponential(&self) -> Option<Fit> {
        let logs: Vec<_> = self.recall.iter().map(|(n, t)| (*n, t.ln())).collect();
        line(&logs)
    }

    /// ln T_recall over ln state size: a power law.
    pub fn recall_power(&self) -> Option<Fit> {
        let logs: Vec<_> = self.recall.iter().map(|(n, t)| (n.ln(), t.ln())).collect();
        line(&logs)
    }

    /// Mean over seeds of the excess at the end, by training length, a curve for each state size.
    pub fn excess(&self) -> Lines {
        let of = |state: usize| {
            let points = LENGTHS.iter().filter_map(|&length| {
                let own = self
                    .members
                    .iter()
                    .filter(|m| (m.state, m.length) == (state, length));
                let values: Vec<f64> = own.map(|m| m.excess[m.excess.len() - 1]).collect();
                let mean = values.iter().sum::<f64>() / values.len() as f64;
                (!values.is_empty()).then_some((length as f64, mean))
            });
            curve(&format!("state {state}"), points, state == 64)
        };
        Lines {
            x: axis("training length", "tokens", Scale::Log),
            y: axis(
                "excess loss at 4,096 to 8,192",
                "nats per token",
                Scale::Linear,
            ),
            series: STATES.map(of).to_vec(),
            marks: vec![at_y(FORGETS, "forgets below this")],
            x_is_position: false,
        }
    }

    /// The excess in the course of training, mean over the models of one training length.
    pub fn course(&self) -> Lines {
        let of = |length: usize| {
            let own: Vec<&Member> = self.members.iter().filter(|m| m.length == length).collect();
            let shares = [1.0 / 16.0, 0.125, 0.25, 0.5, 0.75, 1.0];
            let points = shares.iter().enumerate().map(|(i, share)| {
                let sum: f64 = own.iter().map(|m| m.excess[i]).sum();
                (*share, sum / own.len().max(1) as f64)
            });
            curve(&format!("trained at {length}"), points, length == 64)
        };
        Lines {
            x: axis("share of the training", "", Scale::Linear),
            y: axis(
                "excess loss at 4,096 to 8,192",
                "nats per token",
                Scale::Linear,
            ),
            series: LENGTHS.map(of).to_vec(),
            ..Lines::default()
        }
    }

    /// Points and law of forgetting.
    pub fn forget_lines(&self) -> Lines {
        let mut series = vec![points("models", &self.forget)];
        if let Some(f) = self.forget_fit() {
            let law = sizes().map(|n| (n, f.at_zero + f.slope * n));
            series.push(curve("fitted line", law, false));
        }
        Lines {
            x: axis("elements of the state", "thousands", Scale::Linear),
            y: axis(
                "training length from which on it forgets",
                "tokens",
                Scale::Linear,
            ),
            series,
            ..Lines::default()
        }
    }

    /// Points and laws of recall.
    pub fn recall_lines(&self) -> Lines {
        let mut series = vec![points("models", &self.recall)];
        if let Some(f) = self.recall_exponential() {
            let law = sizes().map(|n| (n, (f.at_zero + f.slope * n).exp()));
            series.push(curve("exponential", law, false));
        }
        if let Some(f) = self.recall_power() {
            let law = sizes().map(|n| (n, (f.at_zero + f.slope * n.ln()).exp()));
            series.push(curve("power", law, false));
        }
        Lines {
            x: axis("elements of the state", "thousands", Scale::Linear),
            y: axis("longest text with 95 % recall", "tokens", Scale::Log),
            series,
            ..Lines::default()
        }
    }

    /// The fits beside the published laws.
    pub fn table(&self) -> Table {
        let with = |f: Option<Fit>, unit: &str| match f {
            Some(f) => (
                format!("{} ± {} {unit}", short(f.slope), short(f.error)),
                Cell::Number(f.r2),
            ),
            None => ("too few models".to_owned(), Cell::Number(f64::NAN)),
        };
        let published = [
            "T = 5.172 N − 4.469, in thousands of tokens and millions of elements: 5.2 tokens for a thousand elements; below 0 at our sizes",
            "T = 4.756 (1.365^N − 1) − 0.742, in thousands of tokens and millions of elements",
            "none",
        ];
        let ours = [
            (
                "T_forget, line",
                with(self.forget_fit(), "tokens for a thousand elements"),
            ),
            (
                "T_recall, exponential",
                with(
                    self.recall_exponential(),
                    "for a thousand elements, of ln T",
                ),
            ),
            ("T_recall, power", with(self.recall_power(), "(exponent)")),
        ];
        let rows = ours
            .into_iter()
            .zip(published)
            .map(|((law, (slope, r2)), published)| {
                vec![word(law), word(slope), r2, word(published)]
            });
        table(
            &[
                "law",
                "slope here, with its standard error",
                "R²",
                "published",
            ],
            rows.collect(),
        )
    }
}

fn sizes() -> impl Iterator<Item = f64> {
    (0..=40).map(|i| 2.0 + 17.0 * f64::from(i) / 40.0)
}

/// Points in the order of x; lines between them would say too much, so that each is a short one.
fn points(label: &str, points: &[(f64, f64)]) -> Series {
    let each = points
        .iter()
        .flat_map(|&(x, y)| [(x - 0.12, y), (x + 0.12, y), (x, f64::NAN)]);
    curve(label, each, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_found_with_the_error_of_its_slope() {
        // y = 2 x + 1 with residuals 1, -1, -1, 1 at x = 0, 1, 2, 3: the slope stays 2, its error is
        // sqrt(4 / 2 / 5).
        let f = line(&[(0.0, 2.0), (1.0, 2.0), (2.0, 4.0), (3.0, 8.0)]).unwrap();
        assert!((f.slope - 2.0).abs() < 1e-12 && (f.at_zero - 1.0).abs() < 1e-12);
        assert!((f.error - 0.4f64.sqrt()).abs() < 1e-12, "{}", f.error);
        assert!((f.r2 - 20.0 / 24.0).abs() < 1e-12);
        assert!(line(&[(1.0, 1.0), (1.0, 2.0), (1.0, 3.0)]).is_none());
        assert!(line(&[(1.0, 1.0), (2.0, 2.0)]).is_none());
    }

    #[test]
    fn crossings_are_interpolated_in_the_logarithm() {
        let at = crossing(&[64, 256], &[1.0, 0.0], 0.5).unwrap();
        assert!((at - 128.0).abs() < 1e-9);
        assert_eq!(crossing(&[64, 128], &[0.1, 0.0], 0.5), None);
        assert_eq!(crossing(&[64, 128], &[0.9, 0.8], 0.5), Some(128.0));
    }

    #[test]
    fn bad_tables_are_named() {
        assert!(members(b"4 64 0 x").unwrap_err().contains("bad line"));
        assert!(members(b"4 64 0 2816").unwrap_err().contains("4 columns"));
    }
}
