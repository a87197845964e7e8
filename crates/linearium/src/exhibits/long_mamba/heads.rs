//! The heads of a model, what the filter does to each, and what they see.

use std::rc::Rc;

use super::rules::{
    Calibration, Rule, budget_threshold, decimated, filtered, nearest, rounded_down, top_threshold,
};
use crate::exhibit::declared::{at_x, curve};
use crate::exhibit::{Bench, BoxedPlayer, Pick, Reading, axis};
use crate::mixers::{Change, Weights};
use crate::model::session::{Options, Session};
use crate::model::stack::Stack;
use crate::probes::passkey::DEPTHS;
use crate::probes::receptive_field::{reach, row};
use crate::probes::run::Factors;
use crate::views::{Lines, Scale};

/// Windows of the calibration: the paper speaks of five texts, the released code reads 100.
const WINDOWS: usize = 5;
/// Tokens between two looks at the state.
const EVERY: usize = 64;
/// Points of a curve over positions.
const POINTS: usize = 400;
/// Tokens whose fields are averaged, spread over the last eighth.
const QUERIES: usize = 8;
/// Seed of the passkeys.
const PASSKEYS: u64 = 20;

/// What the controls ask for.
#[derive(Clone, Copy)]
pub struct Filter {
    pub rule: Rule,
    pub log_theta: f64,
    pub clamped: f64,
    /// The length of the table for a length and a training length.
    pub lookup: fn(usize, usize) -> usize,
}

/// A head of the model.
pub struct Head {
    /// Its number in its layer.
    pub head: usize,
    /// A < 0.
    pub rate: f64,
    pub budget: f64,
    /// ln of what it leaves of a write after the training length.
    pub log_left: f64,
    pub global: bool,
    /// Steps at or below this are skipped; negative where nothing is.
    pub threshold: f32,
    /// Relative difference of the thresholds as released and as described.
    pub lookup_difference: f64,
}

/// What a head makes of its steps.
pub struct HeadSteps {
    pub before: Vec<f32>,
    pub after: Vec<f32>,
    /// Share of the tokens whose step is not 0.
    pub kept_share: f64,
    /// Sum of the steps over the budget.
    pub spent: f64,
}

/// A model, a text and a filter.
pub struct Study {
    stack: Rc<Stack>,
    tokens: Vec<u32>,
    filter: Filter,
    pub trained: usize,
    pub length: usize,
    /// `[layer][head]`.
    pub heads: Vec<Vec<Head>>,
}

const STEPS: Pick = |taps| taps.steps.as_ref().map(|(c, _)| *c);

impl Study {
    /// Calibrates on windows behind the text that is to be read.
    pub async fn new(
        bench: &Bench<'_>,
        stack: Rc<Stack>,
        text: &[u8],
        place: usize,
        length: usize,
        filter: Filter,
    ) -> Result<Study, String> {
        let trained = stack
            .train_context
            .ok_or("config.json has no train_context_length")?;
        let (ids, layers) = (stack.encode(text), stack.blocks.len());
        let around = |from: usize, n: usize| -> Vec<u32> {
            ids.iter().cycle().skip(from).take(n).copied().collect()
        };
        let mut session = bench
            .session(&stack, &options(None, Change::default()))
            .await?;
        let wanted: Vec<_> = (0..layers).map(|l| (l, STEPS)).collect();
        let mut windows = vec![Vec::new(); layers];
        for w in 0..WINDOWS {
            let window = around(place + length + w * trained, trained);
            let read = bench
                .read(&mut session, &window, trained, &wanted, None)
                .await?;
            for (windows, rows) in windows.iter_mut().zip(read.rows) {
                windows.push(rows);
            }
        }
        let heads = (0..layers).map(|layer| {
            let rates = session
                .plan
                .taps(layer)
                .steps
                .as_ref()
                .map(|(_, a)| a.clone());
            let rates = rates.unwrap_or_else(|| Vec::new().into());
            let head = |(head, &rate): (usize, &f32)| {
                let own = windows[layer]
                    .iter()
                    .map(|rows| column(rows, rates.len(), head));
                let calibration = Calibration::new(&own.collect::<Vec<_>>(), filter.clamped);
                let log_left = calibration.log_decay(rate.into());
                let global = log_left > filter.log_theta;
                let of = |at: fn(usize, usize) -> usize| calibration.threshold(at(length, trained));
                let [released, described] = [of(nearest), of(rounded_down)];
                let largest = released.max(described);
                Head {
                    head,
                    rate: rate.into(),
                    budget: calibration.budget(),
                    log_left,
                    global,
                    threshold: if global && length > trained {
                        of(filter.lookup) as f32
                    } else {
                        -1.0
                    },
                    lookup_difference: if largest > 0.0 {
                        (released - described) / largest
                    } else {
                        0.0
                    },
                }
            };
            rates.iter().enumerate().map(head).collect()
        });
        Ok(Study {
            heads: heads.collect(),
            tokens: around(place, length),
            stack,
            filter,
            trained,
            length,
        })
    }

    /// Finds the thresholds that look at the whole text, from its unfiltered reading.
    pub fn choose(&mut self, before: &Reading) {
        for (layer, heads) in self.heads.iter_mut().enumerate() {
            let width = heads.len();
            for h in heads.iter_mut().filter(|h| h.threshold >= 0.0) {
                let steps = column(&before.rows[layer], width, h.head);
                match self.filter.rule {
                    Rule::Budget => h.threshold = budget_threshold(&steps, h.budget),
                    Rule::TopK => h.threshold = top_threshold(&steps, self.trained),
                    Rule::Threshold | Rule::Norm | Rule::Decimate => {}
                }
            }
        }
    }

    /// True if the rule is a threshold for each head, which the model can run with.
    fn in_model(&self) -> bool {
        !matches!(self.filter.rule, Rule::Norm | Rule::Decimate)
    }

    fn change(&self, filtered: bool) -> Change {
        let thresholds = self
            .heads
            .iter()
            .map(|heads| -> Weights { heads.iter().map(|h| h.threshold).collect() });
        Change {
            thresholds: filtered.then(|| thresholds.collect()),
            ..Change::default()
        }
    }

    async fn session(
        &self,
        bench: &Bench<'_>,
        layer: Option<usize>,
        filtered: bool,
    ) -> Result<Session<BoxedPlayer>, String> {
        bench
            .session(&self.stack, &options(layer, self.change(filtered)))
            .await
    }

    /// Reads the text.
    pub async fn read(
        &self,
        bench: &Bench<'_>,
        layer: usize,
        filtered: bool,
    ) -> Result<Reading, String> {
        let mut session = self.session(bench, Some(layer), filtered).await?;
        let mut wanted: Vec<(usize, Pick)> = (0..self.heads.len()).map(|l| (l, STEPS)).collect();
        wanted.push((layer, |taps| Some(taps.q)));
        wanted.push((layer, |taps| Some(taps.k)));
        bench
            .read(&mut session, &self.tokens, EVERY, &wanted, Some(layer))
            .await
    }

    /// The same with the filter; none if the model cannot run with this rule.
    pub async fn read_filtered(
        &self,
        bench: &Bench<'_>,
        layer: usize,
    ) -> Result<Option<Reading>, String> {
        if !self.in_model() {
            return Ok(None);
        }
        self.read(bench, layer, true).await.map(Some)
    }

    /// Share of passkey digits found in texts of this length.
    pub async fn recall(
        &self,
        bench: &Bench<'_>,
        filler: &[u8],
        samples: usize,
        filtered: bool,
    ) -> Result<f64, String> {
        let mut session = self.session(bench, None, filtered).await?;
        let found = bench
            .recall(
                &mut session,
                filler,
                self.length,
                &DEPTHS,
                samples,
                PASSKEYS,
            )
            .await?;
        Ok(found.iter().sum::<f64>() / found.len() as f64)
    }

    /// The heads of a layer, the most global first: layer and head.
    pub fn sorted(&self, layer: usize) -> Vec<(usize, usize)> {
        let heads = &self.heads[layer];
        let mut order: Vec<usize> = (0..heads.len()).collect();
        order.sort_by(|&a, &b| heads[b].log_left.total_cmp(&heads[a].log_left));
        order.into_iter().map(|h| (layer, h)).collect()
    }

    /// A head.
    pub fn look(&self, (layer, head): (usize, usize)) -> &Head {
        &self.heads[layer][head]
    }

    /// What the rule makes of the steps of a head, within its layer.
    pub fn steps(&self, before: &Reading, (layer, head): (usize, usize)) -> HeadSteps {
        let (width, h) = (self.heads[layer].len(), &self.heads[layer][head]);
        let rows = &before.rows[layer];
        let steps = column(rows, width, head);
        let sum = |steps: &[f32]| steps.iter().map(|&s| f64::from(s)).sum::<f64>();
        let after = if h.threshold < 0.0 {
            steps.clone()
        } else {
            match self.filter.rule {
                Rule::Norm => {
                    let factor = (h.budget / sum(&steps)) as f32;
                    steps.iter().map(|s| factor * s).collect()
                }
                Rule::Decimate => {
                    let kept = decimated(rows, width, self.trained);
                    let keep = |(&s, kept): (&f32, &bool)| if *kept { s } else { 0.0 };
                    steps.iter().zip(&kept).map(keep).collect()
                }
                _ => filtered(&steps, h.threshold),
            }
        };
        HeadSteps {
            kept_share: after.iter().filter(|&&s| s > 0.0).count() as f64 / after.len() as f64,
            spent: sum(&after) / h.budget,
            before: steps,
            after,
        }
    }

    /// Factors of the hidden attention of a head with these steps.
    fn factors(&self, before: &Reading, (layer, head): (usize, usize), steps: &[f32]) -> Factors {
        let shape = self.stack.blocks[layer].mixer.shape();
        let parts = &before.rows[self.heads.len()..];
        let group = |rows: &Vec<f32>| {
            let width = rows.len() / steps.len();
            let first = head * (width / shape.key) / shape.heads * shape.key;
            let rows = rows.chunks_exact(width);
            rows.flat_map(|row| row[first..first + shape.key].to_vec())
                .collect()
        };
        let rate = self.heads[layer][head].rate as f32;
        Factors {
            key: shape.key,
            q: group(&parts[0]),
            k: group(&parts[1]),
            log_decay: steps.iter().map(|s| rate * s).collect(),
            write_scale: steps.to_vec(),
            scale: 1.0,
            ..Factors::default()
        }
    }

    /// The rows of the last token of a head of the layer that was read.
    pub fn rows(&self, before: &Reading, at: (usize, usize)) -> Rows {
        let steps = self.steps(before, at);
        let of = |steps: &[f32], i| row(&self.factors(before, at, steps), i);
        Rows {
            trained: self.trained,
            short: of(&steps.before, self.trained.min(self.length) - 1),
            long: of(&steps.before, self.length - 1),
            filtered: of(&steps.after, self.length - 1),
        }
    }

    /// Mean distance of each head of the layer that was read: at the training length, at the whole
    /// length, and there with the filter. What one token looks for depends on what it is, so each is
    /// the mean over [`QUERIES`] tokens up to that place.
    pub fn reaches(&self, before: &Reading, layer: usize) -> Vec<[f64; 3]> {
        let heads = 0..self.heads[layer].len();
        let of_head = |head| {
            let at = (layer, head);
            let steps = self.steps(before, at);
            let plain = self.factors(before, at, &steps.before);
            let filtered = self.factors(before, at, &steps.after);
            let mean = |f: &Factors, length: usize| {
                let back = (0..QUERIES).map(|i| i * length / (8 * QUERIES));
                let reaches = back.map(|b| reach(f, &row(f, length - 1 - b)).mean_distance);
                reaches.sum::<f64>() / QUERIES as f64
            };
            [
                mean(&plain, self.trained.min(self.length)),
                mean(&plain, self.length),
                mean(&filtered, self.length),
            ]
        };
        heads.map(of_head).collect()
    }

    /// What is left of the first write after each token, in the training length and with and without
    /// the filter.
    pub fn decays(&self, before: &Reading, at: (usize, usize)) -> Lines {
        let steps = self.steps(before, at);
        let rate = self.look(at).rate;
        let every = self.length.div_ceil(POINTS);
        let left = |steps: &[f32]| -> Vec<(f64, f64)> {
            let mut sum = 0.0;
            let points = steps.iter().enumerate().map(|(t, &s)| {
                sum += f64::from(s);
                // Below this a logarithmic axis shows nothing of interest.
                ((t + 1) as f64, (rate * sum).max(-80.0).exp())
            });
            points
                .collect::<Vec<_>>()
                .into_iter()
                .step_by(every)
                .collect()
        };
        Lines {
            x: axis("position", "tokens", Scale::Linear),
            y: axis("left of the first write", "", Scale::Log),
            series: vec![
                curve("unchanged", left(&steps.before), false),
                curve("filtered", left(&steps.after), true),
            ],
            marks: vec![at_x(self.trained as f64, "training length")],
            x_is_position: true,
        }
    }

    /// Frobenius norm of the state of a head over the text.
    pub fn norms(&self, readings: &[Option<&Reading>; 2], (_, head): (usize, usize)) -> Lines {
        let names = ["unchanged", "filtered"];
        let series = readings.iter().zip(names).filter_map(|(reading, name)| {
            let points = reading.as_ref()?.states.iter().map(|(position, state)| {
                let heads = self.heads.iter().map(Vec::len).max().unwrap_or(1);
                let size = state.len() / heads;
                let square: f64 = state[head * size..][..size]
                    .iter()
                    .map(|&x| f64::from(x).powi(2))
                    .sum();
                (*position as f64, square.sqrt())
            });
            Some(curve(name, points, name == "filtered"))
        });
        Lines {
            x: axis("position", "tokens", Scale::Linear),
            y: axis("Frobenius norm of the state", "", Scale::Log),
            series: series.collect(),
            marks: vec![at_x(self.trained as f64, "training length")],
            x_is_position: true,
        }
    }
}

/// Hidden attention of the last token.
pub struct Rows {
    trained: usize,
    pub short: Vec<f32>,
    pub long: Vec<f32>,
    pub filtered: Vec<f32>,
}

impl Rows {
    /// The largest weight in each stretch of distances, so that few lines show all.
    pub fn lines(&self) -> Lines {
        let points = |row: &[f32]| -> Vec<(f64, f64)> {
            let every = row.len().div_ceil(POINTS);
            let chunks = row.rchunks(every).enumerate();
            chunks
                .map(|(i, part)| {
                    let largest = part.iter().fold(0f32, |m, w| m.max(w.abs()));
                    ((i * every + 1) as f64, largest.into())
                })
                .collect()
        };
        Lines {
            x: axis("tokens back", "tokens", Scale::Log),
            y: axis("weight", "", Scale::Log),
            series: vec![
                curve("at the training length", points(&self.short), false),
                curve("at S", points(&self.long), false),
                curve("at S, filtered", points(&self.filtered), true),
            ],
            marks: vec![at_x(self.trained as f64, "training length")],
            x_is_position: false,
        }
    }
}

fn options(tapped_layer: Option<usize>, change: Change) -> Options {
    Options {
        capacity: usize::MAX,
        change,
        tapped_layer,
        ..Options::default()
    }
}

/// One column of rows `[T, width]`.
fn column(rows: &[f32], width: usize, at: usize) -> Vec<f32> {
    rows.iter()
        .skip(at)
        .step_by(width.max(1))
        .copied()
        .collect()
}
