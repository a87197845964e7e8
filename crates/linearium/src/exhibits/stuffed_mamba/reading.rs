//! A model reading far beyond its training length, unchanged or with a mitigation.

use std::rc::Rc;

use crate::exhibit::declared::{at_x, curve};
use crate::exhibit::{Bench, BoxedPlayer, Pick, Reading, axis};
use crate::mixers::{Change, Decay};
use crate::model::session::{Options, Session};
use crate::model::stack::Stack;
use crate::probes::passkey::DEPTHS;
use crate::probes::{cost, state};
use crate::views::{Counts, Heatmap, Histogram, Lines, Scale};

/// Tokens between two looks at the state.
const EVERY: usize = 64;
/// Lengths of the grid of passkeys.
pub const GRID: [usize; 5] = [64, 128, 256, 512, 1024];
/// Points of a curve over positions.
const POINTS: usize = 256;
/// Seed of the passkeys.
const PASSKEYS: u64 = 20;
/// What is read again and again.
const SENTENCE: &[u8] = b"The quick brown fox jumps over the lazy dog. ";

/// What is changed in the model, without training.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Mitigation {
    None,
    /// Factors on every decay and on every write.
    Forget {
        decay: f64,
        write: f64,
    },
    /// Each head's norm is capped at what it is after so many tokens.
    Normalise(usize),
    /// The state of the last tokens only.
    Window(usize),
}

/// The tokens that are read.
pub fn tokens(stack: &Stack, input: &str, text: &[u8], length: usize) -> Vec<u32> {
    let source: &[u8] = match input {
        "newlines" => b"\n",
        "repeat" => SENTENCE,
        _ => text,
    };
    let bytes: Vec<u8> = source.iter().copied().cycle().take(length).collect();
    stack.encode(&bytes)
}

/// A model, what it reads, and the layer that is looked at.
pub struct Study {
    stack: Rc<Stack>,
    tokens: Vec<u32>,
    layer: usize,
    pub trained: usize,
}

const LOG_DECAY: Pick = |taps| match &taps.decay {
    Decay::Scalar(c) => Some(*c),
    _ => None,
};

impl Study {
    /// Nothing is read yet.
    pub fn new(stack: Rc<Stack>, tokens: Vec<u32>, layer: usize) -> Result<Study, String> {
        let trained = stack
            .train_context
            .ok_or("config.json has no train_context_length")?;
        Ok(Study {
            stack,
            tokens,
            layer,
            trained,
        })
    }

    fn heads(&self) -> usize {
        self.stack.blocks[self.layer].mixer.shape().heads
    }

    /// Elements of the state of the whole model, the tails of the convolutions too.
    pub fn elements(&self) -> usize {
        self.stack.state_bytes(self.tokens.len()) / size_of::<f32>()
    }

    async fn session(
        &self,
        bench: &Bench<'_>,
        mitigation: Mitigation,
        tapped_layer: Option<usize>,
    ) -> Result<Session<BoxedPlayer>, String> {
        let mut change = Change::default();
        let mut normalise_at = 0;
        match mitigation {
            Mitigation::None => {}
            Mitigation::Forget { decay, write } => {
                change.log_decay_shift = decay.ln() as f32;
                change.write_factor = write as f32;
            }
            Mitigation::Normalise(at) => normalise_at = at,
            Mitigation::Window(r) => change.window = r,
        }
        let options = Options {
            capacity: usize::MAX,
            change,
            tapped_layer,
            normalise_at,
            ..Options::default()
        };
        bench.session(&self.stack, &options).await
    }

    /// Reads the text.
    pub async fn read(&self, bench: &Bench<'_>, mitigation: Mitigation) -> Result<Reading, String> {
        let mut session = self.session(bench, mitigation, Some(self.layer)).await?;
        let wanted = [(self.layer, LOG_DECAY)];
        bench
            .read(&mut session, &self.tokens, EVERY, &wanted, Some(self.layer))
            .await
    }

    /// Share of passkey digits found, `[length][depth]`, for the lengths of the grid up to that of
    /// the text.
    pub async fn grid(
        &self,
        bench: &Bench<'_>,
        filler: &[u8],
        samples: usize,
        mitigation: Mitigation,
    ) -> Result<Vec<Vec<f64>>, String> {
        let mut session = self.session(bench, mitigation, None).await?;
        let mut out = Vec::new();
        for length in GRID.into_iter().filter(|&l| l <= self.tokens.len()) {
            let row = bench.recall(&mut session, filler, length, &DEPTHS, samples, PASSKEYS);
            out.push(row.await?);
        }
        Ok(out)
    }

    /// Sum of the log-decays of a head after each token.
    fn cumulated(&self, reading: &Reading, head: usize) -> Vec<f64> {
        let mut sum = 0.0;
        let of_head = reading.rows[0].iter().skip(head).step_by(self.heads());
        of_head
            .map(|&g| {
                sum += f64::from(g);
                sum
            })
            .collect()
    }

    /// The heads, that which leaves most of the first write first.
    pub fn by_memory(&self, reading: &Reading) -> Vec<usize> {
        let left: Vec<f64> = (0..self.heads())
            .map(|h| self.cumulated(reading, h).last().copied().unwrap_or(0.0))
            .collect();
        let mut order: Vec<usize> = (0..left.len()).collect();
        order.sort_by(|&a, &b| left[b].total_cmp(&left[a]));
        order
    }

    /// What a head leaves of the first write at the end.
    pub fn left(&self, reading: &Reading, head: usize) -> f64 {
        self.cumulated(reading, head)
            .last()
            .map_or(1.0, |l| l.exp())
    }

    fn state_of<'a>(&self, state: &'a [f32], head: usize) -> &'a [f32] {
        let size = state.len() / self.heads();
        &state[head * size..][..size]
    }

    /// Variance of the entries of a head's state at the end over that at the training length.
    pub fn growth(&self, reading: &Reading, head: usize) -> f64 {
        let variance = |state: &[f32]| {
            let (sum, square, _) = crate::spectrum::moments(state);
            let n = state.len() as f64;
            square / n - (sum / n).powi(2)
        };
        let at = |(position, _): &&(usize, Vec<f32>)| *position >= self.trained;
        let first = reading.states.iter().find(at).or(reading.states.last());
        let Some((first, last)) = first.zip(reading.states.last()) else {
            return f64::NAN;
        };
        variance(self.state_of(&last.1, head)) / variance(self.state_of(&first.1, head))
    }

    fn mark(&self) -> Vec<crate::views::Mark> {
        vec![at_x(self.trained as f64, "training length")]
    }

    /// Frobenius norm of a head's state over the text.
    pub fn norms(&self, readings: &[Option<&Reading>; 2], head: usize) -> Lines {
        let names = ["unchanged", "with the mitigation"];
        let series = readings.iter().zip(names).filter_map(|(reading, name)| {
            let points = reading.as_ref()?.states.iter().map(|(position, state)| {
                let (_, square, _) = crate::spectrum::moments(self.state_of(state, head));
                (*position as f64, square.sqrt())
            });
            Some(curve(name, points, name != "unchanged"))
        });
        Lines {
            x: axis("position", "tokens", Scale::Linear),
            y: axis("Frobenius norm of the state", "", Scale::Log),
            series: series.collect(),
            marks: self.mark(),
            x_is_position: true,
        }
    }

    /// Shares of the entries in each bin of size, over time.
    pub fn entries(&self, reading: &Reading, head: usize) -> Heatmap {
        let columns = reading.states.len();
        let mut values = vec![0.0; state::BINS * columns];
        for (c, (_, all)) in reading.states.iter().enumerate() {
            let entries = self.state_of(all, head);
            for &x in entries {
                // The largest entries on top.
                let row = state::BINS - 1 - state::bin(x);
                values[row * columns + c] += 1.0 / entries.len() as f32;
            }
        }
        let edges = state::edges();
        let name = |row: usize| {
            let bin = state::BINS - 1 - row;
            format!("{:.1e} to {:.1e}", edges[bin], edges[bin + 1])
        };
        let end = reading.states.last().map_or(0, |s| s.0);
        Heatmap {
            x: crate::exhibit::axis_over("position", "tokens", Scale::Linear, [0.0, end as f64]),
            y: axis("entry", "", Scale::Linear),
            columns,
            rows: state::BINS,
            values,
            row_labels: (0..state::BINS).map(name).collect(),
            value: axis("share of the entries", "", Scale::Linear),
            rule: format!("the state every {EVERY} tokens"),
            run: "a".to_owned(),
            x_is_position: true,
            ..Heatmap::default()
        }
    }

    /// Entries at the training length and at the end.
    pub fn histogram(&self, reading: &Reading, head: usize) -> Histogram {
        let at = |(position, _): &&(usize, Vec<f32>)| *position >= self.trained;
        let first = reading.states.iter().find(at).or(reading.states.last());
        let both = first.into_iter().chain(reading.states.last());
        let series = both
            .zip(["at the training length", "at the end"])
            .map(|(s, name)| {
                let mut counts = vec![0.0; state::BINS];
                for &x in self.state_of(&s.1, head) {
                    counts[state::bin(x)] += 1.0;
                }
                Counts {
                    label: format!("{name} ({} tokens)", s.0),
                    run: "a".to_owned(),
                    counts,
                }
            });
        Histogram {
            x: axis("entry", "", Scale::Symlog),
            y: axis("entries", "", Scale::Log),
            edges: state::edges(),
            series: series.collect(),
        }
    }

    /// What each head of the layer leaves of the first write.
    pub fn decays(&self, reading: &Reading, chosen: usize) -> Lines {
        let of = |head: usize| {
            let left = self.cumulated(reading, head);
            let every = left.len().div_ceil(POINTS);
            // Below this a logarithmic axis shows nothing of interest.
            let points = left.iter().enumerate().step_by(every);
            let points = points.map(|(t, l)| ((t + 1) as f64, l.max(-80.0).exp()));
            curve(&format!("head {head}"), points, head == chosen)
        };
        Lines {
            x: axis("position", "tokens", Scale::Linear),
            y: axis("left of the first write", "", Scale::Log),
            series: (0..self.heads()).map(of).collect(),
            marks: self.mark(),
            x_is_position: true,
        }
    }

    /// Loss by octave of position.
    pub fn losses(&self, readings: &[Option<&Reading>; 2]) -> Lines {
        let names = ["unchanged", "with the mitigation"];
        let series = readings.iter().zip(names).filter_map(|(reading, name)| {
            let octaves = cost::octaves(&reading.as_ref()?.losses);
            let middle = |b: &cost::Bucket| ((b.from.max(1) * b.to) as f64).sqrt();
            let points = octaves.iter().map(|b| (middle(b), b.loss));
            Some(curve(name, points, name != "unchanged"))
        });
        Lines {
            x: axis("position (middle of the octave)", "tokens", Scale::Log),
            y: axis("loss", "nats per token", Scale::Linear),
            series: series.collect(),
            marks: self.mark(),
            x_is_position: false,
        }
    }

    /// What the model loses on average from `first` on against reading the same bytes from an empty
    /// state, T/2 to T bytes before.
    pub async fn excess(&self, bench: &Bench<'_>, first: usize) -> Result<f64, String> {
        let mut session = self.session(bench, Mitigation::None, None).await?;
        let whole = bench
            .read(&mut session, &self.tokens, usize::MAX, &[], None)
            .await?
            .losses;
        let (mut sum, mut count) = (0.0, 0usize);
        for start in (0..self.tokens.len()).step_by(self.trained) {
            let end = (start + self.trained).min(self.tokens.len());
            if end <= first {
                continue;
            }
            let part = &self.tokens[start..end];
            let cut = bench
                .read(&mut session, part, usize::MAX, &[], None)
                .await?
                .losses;
            for (i, loss) in cut.iter().enumerate().skip(self.trained / 2 - 1) {
                if start + i + 1 >= first {
                    sum += f64::from(whole[start + i]) - f64::from(*loss);
                    count += 1;
                }
            }
        }
        Ok(sum / count.max(1) as f64)
    }
}
