//! A run and what is kept of it.

use std::ops::Range;

use super::state::{self, Snapshot};
#[cfg(feature = "zoo")]
use crate::mixers::Scores;
use crate::mixers::{Columns, Decay, Weights};
use crate::model::session::Session;
use crate::player::Player;
use crate::recording::BufferId;

/// Tokens in one bucket of kept decays.
pub const BUCKET: usize = 16;

/// Where to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// Layer.
    pub layer: usize,
    /// Head (channel for S6).
    pub head: usize,
}

/// What is kept of a run; every list covers the tokens fed so far.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    /// Loss in nats of predicting token t + 1, `[T]` (the last token of the text has none: 0).
    pub losses: Vec<f32>,
    /// The most likely next token, `[T]`.
    pub guesses: Vec<u32>,
    /// For each layer the mean log-decay of each head (mean over key channels) in buckets of
    /// [`BUCKET`] tokens, `[T / BUCKET, H]`; the last bucket may be partial.
    pub log_decays: Vec<Vec<f32>>,
    /// The factors of the hidden attention at the place looked at.
    pub factors: Factors,
    /// The state at growing positions.
    pub snapshots: Vec<Snapshot>,
}

/// Factors of the hidden attention of one head, as the receptive field walks them.
#[derive(Clone, Debug, Default)]
pub struct Factors {
    /// K.
    pub key: usize,
    /// `[T, K]`.
    pub q: Vec<f32>,
    /// `[T, K]`.
    pub k: Vec<f32>,
    /// `[T, K]` or `[T, 1]`; empty for attention.
    pub log_decay: Vec<f32>,
    /// `[T]`, or empty for 1.
    pub write_scale: Vec<f32>,
    /// b and a of a delta rule, `[T, R, K]` each, or empty.
    pub erase: [Vec<f32>; 2],
    /// `[K]`, what the present token is read with in place of the state after it, or empty.
    pub bonus: Vec<f32>,
    /// z, `[T]`, or empty for 1.
    pub normaliser: Vec<f32>,
    /// True if write scale and z are logarithms.
    pub in_logs: bool,
    /// Angles `[K / 2]` by which complex states turn with every token, or empty.
    pub turn: Vec<f32>,
    /// Multiplies every weight.
    pub scale: f32,
    /// Tokens seen; 0 for all.
    pub window: usize,
    /// True if the weights are a softmax over scores.
    pub softmax: bool,
    /// How weights come from scores, with the bias of this head, if they do in another way.
    #[cfg(feature = "zoo")]
    pub scores: Option<Scores>,
}

/// A model reading a text.
pub struct Run<P> {
    /// The session.
    pub session: Session<P>,
    /// The text, which may go on behind what is to be read.
    pub tokens: Vec<u32>,
    /// How many tokens are to be read; may grow.
    pub limit: usize,
    /// Where to look.
    pub look: Look,
    /// What is kept.
    pub evidence: Evidence,
}

/// The next position at which the state is kept: 16 an octave, and never nearer than 64 tokens,
/// with two more at the very beginning.
pub fn next_snapshot(position: usize) -> usize {
    match position {
        // Short segments cost more than their tokens.
        0..4 => 4,
        4..16 => 16,
        16..64 => 64,
        _ => {
            let step = (1 << position.ilog2()).max(1024) / 16;
            (position / step + 1) * step
        }
    }
}

impl<P: Player> Run<P> {
    /// Nothing read yet. The session must have been made with `look.layer` tapped.
    pub fn new(session: Session<P>, tokens: Vec<u32>, look: Look) -> Run<P> {
        let layers = session.plan.layers();
        let evidence = Evidence {
            log_decays: vec![Vec::new(); layers],
            ..Evidence::default()
        };
        let limit = tokens.len();
        Run {
            session,
            tokens,
            limit,
            look,
            evidence,
        }
    }

    /// Tokens read.
    pub fn position(&self) -> usize {
        self.session.position()
    }

    /// True if everything that is to be read has been read.
    pub fn done(&self) -> bool {
        self.position() >= self.limit.min(self.tokens.len())
    }

    /// Reads the next segment. Gives false when there was nothing left.
    ///
    /// # Errors
    /// The sentence of the session or the player.
    pub async fn advance(&mut self) -> Result<bool, String> {
        let from = self.position();
        if self.done() {
            return Ok(false);
        }
        let end = self.limit.min(self.tokens.len());
        let stop = next_snapshot(from).min(end);
        let t = self.session.next_segment(stop - from);
        let next = self.tokens.get(from + t).copied();
        self.session
            .feed(&self.tokens[from..from + t], next)
            .await?;
        let mut wanted = Wanted::default();
        let plan = &self.session.plan;
        let losses = wanted.rows(Columns::all(plan.losses, 2), t);
        let look = self.look.layer;
        let layers: Vec<LayerParts> = (0..plan.layers())
            .map(|layer| {
                let taps = plan.taps(layer);
                LayerParts {
                    decay: match &taps.decay {
                        Decay::Scalar(c) | Decay::PerKey(c) | Decay::Rates(c, ..) => {
                            Some(wanted.rows(*c, t))
                        }
                        Decay::Turning(..) | Decay::Softmax => None,
                        #[cfg(feature = "zoo")]
                        Decay::Scores(_) => None,
                    },
                    state: taps
                        .state
                        .filter(|_| layer == look)
                        .map(|b| wanted.state(plan.layout.info(b).len, b)),
                    left: taps
                        .left_window
                        .filter(|_| layer == look)
                        .map(|b| wanted.state(plan.layout.info(b).len, b)),
                }
            })
            .collect();
        let taps = plan.taps(self.look.layer).clone();
        let q = wanted.rows(taps.q, t);
        let k = wanted.rows(taps.k, t);
        let rest = Rest {
            write_scale: taps.write_scale.map(|c| wanted.rows(c, t)),
            erase: taps.erase.map(|parts| parts.map(|c| wanted.rows(c, t))),
            normaliser: taps.normaliser.map(|c| wanted.rows(c, t)),
        };
        let at_snapshot = from + t == stop;
        if !at_snapshot {
            // States are wanted at snapshots only; their parts stand where the lists end.
            wanted.drop_states();
        }
        let read = self.session.player.read(&wanted.parts).await?;
        for pair in read[losses].chunks_exact(2) {
            self.evidence.losses.push(pair[0]);
            self.evidence.guesses.push(pair[1] as u32);
        }
        let shapes: Vec<_> = self
            .session
            .stack
            .blocks
            .iter()
            .map(|b| b.mixer.shape())
            .collect();
        for (layer, parts) in layers.iter().enumerate() {
            let decay = &self.session.plan.taps(layer).decay;
            let means = match (decay, parts.decay) {
                (Decay::Turning(rates, _), _) => mean_rates(rates, shapes[layer].heads).repeat(t),
                (_, Some(rows)) => head_means(decay, &read[rows], shapes[layer].heads),
                _ => continue,
            };
            add_to_buckets(
                &mut self.evidence.log_decays[layer],
                &means,
                shapes[layer].heads,
                from,
            );
        }
        self.keep_factors(&taps, &read, q, k, rest, layers[self.look.layer].decay, t);
        if at_snapshot {
            let layers = layers
                .iter()
                .enumerate()
                .map(|(layer, parts)| {
                    let Some(s) = parts.state else {
                        return Vec::new();
                    };
                    let mut s = read[s].clone();
                    if let Some(left) = parts.left {
                        s.iter_mut().zip(&read[left]).for_each(|(s, l)| *s -= l);
                    }
                    state::measure(&s, &shapes[layer])
                })
                .collect();
            self.evidence.snapshots.push(Snapshot {
                position: from + t,
                layers,
            });
        }
        Ok(true)
    }

    fn keep_factors(
        &mut self,
        taps: &crate::mixers::Taps,
        read: &[Vec<f32>],
        q: usize,
        k: usize,
        rest: Rest,
        decay: Option<usize>,
        t: usize,
    ) {
        let shape = self.session.stack.blocks[self.look.layer].mixer.shape();
        let head = self.look.head;
        let key = shape.key;
        let f = &mut self.evidence.factors;
        f.key = key;
        f.scale = taps.scale;
        f.window = taps.window;
        f.in_logs = taps.in_logs;
        f.softmax = matches!(taps.decay, Decay::Softmax);
        // The query of an S6 channel is shared by all channels, so its group is the whole layer.
        let q_groups = taps.q.width / key;
        let q_group = head * q_groups / shape.heads;
        let k_group = head / taps.heads_per_group;
        pick(&mut f.q, &read[q], &taps.q, q_group * key, key, t);
        pick(&mut f.k, &read[k], &taps.k, k_group * key, key, t);
        if let (Some(part), Some(c)) = (rest.write_scale, &taps.write_scale) {
            pick(&mut f.write_scale, &read[part], c, head, 1, t);
        }
        if let (Some(parts), Some(columns)) = (rest.erase, &taps.erase) {
            for ((out, part), c) in f.erase.iter_mut().zip(parts).zip(columns) {
                let width = c.width / shape.heads;
                pick(out, &read[part], c, head * width, width, t);
            }
        }
        if let (Some(part), Some(c)) = (rest.normaliser, &taps.normaliser) {
            pick(&mut f.normaliser, &read[part], c, head, 1, t);
        }
        if let Some(bonus) = &taps.bonus {
            f.bonus = bonus[head * key..][..key].to_vec();
        }
        if let Decay::Turning(rates, angles) = &taps.decay {
            f.turn = angles[head * key / 2..][..key / 2].to_vec();
            f.log_decay
                .extend(rates[head * key..][..key].iter().cycle().take(key * t));
        }
        #[cfg(feature = "zoo")]
        if let Decay::Scores(s) = &taps.decay {
            let first = if s.bias.len() > s.distances {
                head * s.distances
            } else {
                0
            };
            f.scores = Some(Scores {
                bias: s.bias[first..first + s.distances].into(),
                ..s.clone()
            });
        }
        let Some(decay) = decay else { return };
        match &taps.decay {
            Decay::Scalar(c) => pick(&mut f.log_decay, &read[decay], c, head, 1, t),
            Decay::PerKey(c) => pick(&mut f.log_decay, &read[decay], c, head * key, key, t),
            Decay::Rates(c, rates, shift) => {
                let mut dt = Vec::new();
                pick(&mut dt, &read[decay], c, head, 1, t);
                let rates = &rates[head * key..][..key];
                for dt in dt {
                    f.log_decay.extend(rates.iter().map(|a| dt * a + shift));
                }
            }
            Decay::Turning(..) | Decay::Softmax => {}
            #[cfg(feature = "zoo")]
            Decay::Scores(_) => {}
        }
    }
}

/// Where those factors stand in what was read that not every mixer has.
struct Rest {
    write_scale: Option<usize>,
    erase: Option<[usize; 2]>,
    normaliser: Option<usize>,
}

/// Where the parts of one layer stand in what was read.
struct LayerParts {
    decay: Option<usize>,
    state: Option<usize>,
    left: Option<usize>,
}

/// What is to be read in one crossing: rows first, states behind them.
#[derive(Default)]
struct Wanted {
    parts: Vec<(BufferId, Range<usize>)>,
    states: Vec<usize>,
}

impl Wanted {
    fn rows(&mut self, c: Columns, t: usize) -> usize {
        // Columns that all tokens share have one row.
        let range = 0..(c.stride * t).max(c.offset + c.width);
        if let Some(i) = self
            .parts
            .iter()
            .position(|p| p.0 == c.buffer && p.1 == range)
        {
            return i;
        }
        self.parts.push((c.buffer, range));
        self.parts.len() - 1
    }

    fn state(&mut self, len: usize, buffer: BufferId) -> usize {
        self.parts.push((buffer, 0..len));
        self.states.push(self.parts.len() - 1);
        self.parts.len() - 1
    }

    fn drop_states(&mut self) {
        for &i in &self.states {
            self.parts[i].1 = 0..0;
        }
    }
}

/// Appends columns `first..first + width` (counted within `c`) of `t` rows.
fn pick(out: &mut Vec<f32>, rows: &[f32], c: &Columns, first: usize, width: usize, t: usize) {
    for row in 0..t {
        out.extend_from_slice(&rows[row * c.stride + c.offset + first..][..width]);
    }
}

/// Mean log-decay of each head, `[T, H]`.
fn head_means(decay: &Decay, rows: &[f32], heads: usize) -> Vec<f32> {
    let mean = |x: &[f32]| x.iter().sum::<f32>() / x.len() as f32;
    match decay {
        Decay::Scalar(_) | Decay::Turning(..) | Decay::Softmax => rows.to_vec(),
        #[cfg(feature = "zoo")]
        Decay::Scores(_) => rows.to_vec(),
        Decay::PerKey(c) => rows.chunks_exact(c.stride / heads).map(mean).collect(),
        Decay::Rates(_, rates, shift) => {
            let rates: Vec<f32> = mean_rates(rates, heads);
            rows.iter()
                .zip(rates.iter().cycle())
                .map(|(dt, a)| dt * a + shift)
                .collect()
        }
    }
}

/// Mean over states of the rates of each channel.
fn mean_rates(rates: &Weights, heads: usize) -> Vec<f32> {
    let states = rates.len() / heads;
    rates
        .chunks_exact(states)
        .map(|a| a.iter().sum::<f32>() / states as f32)
        .collect()
}

fn add_to_buckets(buckets: &mut Vec<f32>, rows: &[f32], heads: usize, from: usize) {
    for (i, row) in rows.chunks_exact(heads).enumerate() {
        let position = from + i;
        let bucket = position / BUCKET;
        buckets.resize(buckets.len().max((bucket + 1) * heads), 0.0);
        let n = (position % BUCKET) as f32;
        for (mean, x) in buckets[bucket * heads..].iter_mut().zip(row) {
            *mean += (x - *mean) / (n + 1.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn snapshots_thin_out_with_the_octave() {
        let mut positions = vec![];
        let mut p = 0;
        while p < 65_536 {
            p = next_snapshot(p);
            positions.push(p);
        }
        assert_eq!(positions[..5], [4, 16, 64, 128, 192]);
        assert!(positions.contains(&1024) && positions.contains(&2048));
        assert_eq!(positions.last(), Some(&65_536));
        assert!(positions.len() < 130, "{}", positions.len());
        // The powers of two from 64 are there, so that a training length usually is.
        assert!((6..=16).all(|e| positions.contains(&(1 << e))));
    }

    #[test]
    fn buckets_hold_means() {
        let mut b = Vec::new();
        let rows: Vec<f32> = (0..40).flat_map(|i| [i as f32, -(i as f32)]).collect();
        add_to_buckets(&mut b, &rows[..10], 2, 0);
        add_to_buckets(&mut b, &rows[10..], 2, 5);
        assert_eq!(b.len(), 6);
        assert!(
            (b[0] - 7.5).abs() < 1e-5 && (b[3] + 23.5).abs() < 1e-5 && (b[4] - 35.5).abs() < 1e-4
        );
    }
}
