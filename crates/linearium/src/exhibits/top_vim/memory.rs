//! What one scan over a path with dropped tokens remembers: its states and what its reader weighs.
//!
//! A token p of the path lets time pass: `h_p = exp(A t_p) h_{p-1}`, and a kept one writes
//! `dt_p B_p x_p` besides. What a dropped token lets pass is all in which the meanings of dropping
//! differ. `alpha_rj = C_r . (exp(A (L_r - L_j)) dt_j B_j)`, with the time L since the beginning, is
//! the hidden attention of a channel (arXiv 2403.01590).

use crate::mixers::s6::S6;
use crate::model::image::session::Scanned;
use crate::pruning::DropMode;

/// One scan of a block over a path in which some tokens may be missing.
pub struct Memory<'a> {
    /// Its weights.
    pub route: &'a S6,
    /// What it computes with all tokens.
    pub dense: &'a Scanned,
    /// Where the factors of kept tokens come from: those of `dense`, or of a run without the dropped.
    pub factors: &'a Scanned,
    /// For each place of the path the row of `factors`, none for a dropped token.
    rows: Vec<Option<usize>>,
}

impl<'a> Memory<'a> {
    /// The path of `dense`, of which only the tokens of `kept` are left.
    pub fn new(
        route: &'a S6,
        dense: &'a Scanned,
        factors: &'a Scanned,
        kept: &[usize],
    ) -> Memory<'a> {
        let row = |token: &usize| {
            let kept = kept.contains(token);
            let row = || factors.tokens.iter().position(|t| t == token);
            kept.then(row).flatten()
        };
        Memory {
            route,
            dense,
            factors,
            rows: dense.tokens.iter().map(row).collect(),
        }
    }

    /// The time that passes at a place in a channel.
    fn passes(&self, mode: DropMode, place: usize, channel: usize, default: &[f32]) -> f64 {
        let e = self.route.channels;
        f64::from(match (self.rows[place], mode) {
            (Some(row), _) => self.factors.steps[row * e + channel],
            (None, DropMode::DecayTrue) => self.dense.steps[place * e + channel],
            (None, DropMode::DecayDefault) => default[channel],
            (None, _) => 0.0,
        })
    }

    /// Weights of the written values in what `reader` reads, `[T, E]`: 0 behind the reader and for
    /// dropped tokens. Nothing if the reader has been dropped.
    pub fn weights(&self, mode: DropMode, reader: usize) -> Vec<f64> {
        let (e, n) = (self.route.channels, self.route.states);
        let mut out = vec![0.0; self.rows.len() * e];
        let last = self.dense.tokens.iter().position(|&t| t == reader);
        let Some((last, read)) = last.and_then(|at| Some((at, self.rows[at]?))) else {
            return out;
        };
        let default = self.route.default_steps();
        for channel in 0..e {
            let rates = &self.route.a[channel * n..][..n];
            let mut passed = 0.0;
            for place in (0..=last).rev() {
                if let Some(row) = self.rows[place] {
                    let sum = (0..n).map(|i| {
                        let [b, c] = [self.factors.b[row * n + i], self.factors.c[read * n + i]]
                            .map(f64::from);
                        (f64::from(rates[i]) * passed).exp() * b * c
                    });
                    let step = f64::from(self.factors.steps[row * e + channel]);
                    out[place * e + channel] = step * sum.sum::<f64>();
                }
                passed += self.passes(mode, place, channel, &default);
            }
        }
        out
    }

    /// Size of the state after each place, and what each place reads, `[T, E]`. A dropped token has
    /// neither; but where time passes at it, its state has a size.
    pub fn states(&self, mode: DropMode) -> (Vec<f64>, Vec<f64>) {
        let (e, n) = (self.route.channels, self.route.states);
        let default = self.route.default_steps();
        let mut state = vec![0.0; e * n];
        let (mut sizes, mut read) = (Vec::new(), vec![0.0; self.rows.len() * e]);
        for (place, row) in self.rows.iter().enumerate() {
            for channel in 0..e {
                let passed = self.passes(mode, place, channel, &default);
                for i in 0..n {
                    let h = &mut state[channel * n + i];
                    *h *= (f64::from(self.route.a[channel * n + i]) * passed).exp();
                    if let Some(row) = *row {
                        let at =
                            |part: &[f32], width: usize, i: usize| f64::from(part[row * width + i]);
                        let f = self.factors;
                        *h += at(&f.steps, e, channel) * at(&f.b, n, i) * at(&f.x, e, channel);
                        read[place * e + channel] += at(&f.c, n, i) * *h;
                    }
                }
            }
            let seen = row.is_some() || mode.fills_gaps();
            let size = state.iter().map(|h| h * h).sum::<f64>().sqrt();
            sizes.push(if seen { size } else { f64::NAN });
        }
        (sizes, read)
    }

    /// True for each place that is kept.
    pub fn is_kept(&self, place: usize) -> bool {
        self.rows[place].is_some()
    }
}

/// Square of the difference at the kept places, and of the reference there, of `[T, E]` arrays.
pub fn squares(memory: &Memory<'_>, got: &[f64], want: &[f64]) -> [f64; 2] {
    let e = memory.route.channels;
    let kept = |i: &usize| memory.is_kept(i / e);
    let pairs = (0..got.len()).filter(kept).map(|i| (got[i], want[i]));
    pairs.fold([0.0; 2], |[apart, size], (a, b)| {
        [apart + (a - b) * (a - b), size + b * b]
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mixers::Mixer as _;
    use crate::random::Random;

    const T: usize = 12;

    /// A scan with random factors.
    fn example() -> (S6, Scanned) {
        let mut random = Random::new(5);
        let (e, n) = (3, 2);
        let part = |random: &mut Random, len| random.normals(len, 1.0);
        let scanned = Scanned {
            tokens: (0..T).rev().collect(),
            b: part(&mut random, T * n),
            c: part(&mut random, T * n),
            x: part(&mut random, T * e),
            steps: random.uniforms(T * e, 0.05, 0.8),
        };
        let route = S6 {
            width: 2,
            channels: e,
            states: n,
            rank: 1,
            in_proj: vec![0.0; 2 * e * 2].into(),
            in_bias: None,
            conv_weight: vec![0.0; e].into(),
            conv_bias: None,
            x_proj: vec![0.0; (1 + 2 * n) * e].into(),
            norms: None,
            dt_proj: vec![0.0; e].into(),
            dt_bias: vec![-1.0, -2.0, 0.5].into(),
            a: vec![-0.5, -1.0, -0.2, -2.0, -1.5, -0.1].into(),
            skip: vec![0.0; e].into(),
            out_proj: vec![0.0; 2 * e].into(),
            out_bias: None,
        };
        assert_eq!(route.shape().heads, e);
        (route, scanned)
    }

    const KEPT: [usize; 6] = [0, 2, 3, 7, 9, 10];

    /// What is read is the sum of the weighed values, in every mode: two ways to the same numbers.
    #[test]
    fn weights_are_what_the_recurrence_reads() {
        let (route, scanned) = example();
        for mode in [DropMode::Hold, DropMode::DecayTrue, DropMode::DecayDefault] {
            let memory = Memory::new(&route, &scanned, &scanned, &KEPT);
            let (_, read) = memory.states(mode);
            for (place, &token) in scanned.tokens.iter().enumerate() {
                let weights = memory.weights(mode, token);
                for channel in 0..3 {
                    let terms = (0..T)
                        .map(|j| weights[j * 3 + channel] * f64::from(scanned.x[j * 3 + channel]));
                    let want = if memory.is_kept(place) {
                        read[place * 3 + channel]
                    } else {
                        0.0
                    };
                    assert!(
                        (terms.sum::<f64>() - want).abs() < 1e-12,
                        "{mode:?} {place}"
                    );
                }
            }
        }
    }

    /// With the dense factors decay-true leaves every weight of kept tokens as it was, and its error
    /// is what the dropped tokens would have given; hold makes each at least as large.
    #[test]
    fn the_true_decay_moves_no_weight() {
        let (route, scanned) = example();
        let all: Vec<usize> = (0..T).collect();
        let dense = Memory::new(&route, &scanned, &scanned, &all);
        let pruned = Memory::new(&route, &scanned, &scanned, &KEPT);
        let (_, whole) = dense.states(DropMode::Hold);
        let (_, left) = pruned.states(DropMode::DecayTrue);
        for &reader in &KEPT {
            let was = dense.weights(DropMode::Hold, reader);
            let is = pruned.weights(DropMode::DecayTrue, reader);
            assert!(squares(&pruned, &is, &was)[0] < 1e-24);
            let at = scanned.tokens.iter().position(|&t| t == reader).unwrap();
            for channel in 0..3 {
                let lost = (0..T)
                    .filter(|&j| !pruned.is_kept(j))
                    .map(|j| was[j * 3 + channel] * f64::from(scanned.x[j * 3 + channel]));
                let error = whole[at * 3 + channel] - left[at * 3 + channel];
                assert!((error - lost.sum::<f64>()).abs() < 1e-12);
            }
            let held = pruned.weights(DropMode::Hold, reader);
            // The first gap between kept tokens is before the fourth place.
            assert_eq!(squares(&pruned, &held, &was)[0] > 1e-6, at > 3, "{at}");
        }
    }

    /// The scan of a run without the dropped tokens, over the whole path, is the scan of its own rows.
    #[test]
    fn factors_of_another_run_stand_at_their_places() {
        let (route, scanned) = example();
        let take = |part: &[f32]| -> Vec<f32> {
            let width = part.len() / T;
            let kept = (0..T).filter(|&p| KEPT.contains(&scanned.tokens[p]));
            kept.flat_map(|p| part[p * width..][..width].to_vec())
                .collect()
        };
        let alone = Scanned {
            tokens: scanned
                .tokens
                .iter()
                .copied()
                .filter(|t| KEPT.contains(t))
                .collect(),
            b: take(&scanned.b),
            c: take(&scanned.c),
            x: take(&scanned.x),
            steps: take(&scanned.steps),
        };
        let on_path = Memory::new(&route, &scanned, &alone, &KEPT);
        let by_itself = Memory::new(&route, &alone, &alone, &KEPT);
        let [a, b] = [&on_path, &by_itself].map(|m| {
            let (_, read) = m.states(DropMode::Gather);
            let kept = (0..read.len()).filter(|&i| m.is_kept(i / 3));
            kept.map(|i| read[i]).collect::<Vec<f64>>()
        });
        assert_eq!(a, b);
        // Nobody reads at a place that was dropped.
        let gone = on_path.weights(DropMode::Hold, 1);
        assert!(gone.iter().all(|&w| w == 0.0));
        assert!(on_path.states(DropMode::Hold).0[T - 2].is_nan());
    }
}
