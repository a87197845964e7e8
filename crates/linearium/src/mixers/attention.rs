//! Causal softmax attention with rotary positions and grouped heads, the yardstick.
//!
//! `o_t = sum_{j <= t} softmax_j(K^-1/2 q_t . k_j) v_j`, `out = W_o o`. As `transformers`
//! `LlamaAttention`. Its "state" is a cache that grows with every token. The interventions that
//! speak of a decay do not apply; `write-factor` scales values, `window` is sliding-window
//! attention.

use super::{Change, Decay, Definition, Mixer, NO_STEPS, Planner, Shape, Size, Taps, Weights};
#[cfg(feature = "zoo")]
use super::{Context, StepState, Write};
use crate::random::Random;
#[cfg(feature = "zoo")]
use crate::step::{linear, rotate};

/// The registry's entry.
pub static DEFINITION: Definition = Definition {
    id: "attention",
    name: "Softmax attention",
    glossary: &[
        ("u", "[T, D] normalised input of the layer"),
        ("q", "[T, H, K] query, rotated by position"),
        ("k", "[T, G, K] key, rotated by position"),
        ("v", "[T, G, K] value"),
    ],
    ignores: &[
        NO_STEPS,
        (
            "decay-factor",
            "it looks up every token anew and forgets none",
        ),
    ],
    size: Size::heads_of_64,
    random,
};

/// Weights of one layer.
#[derive(Clone)]
pub struct Softmax {
    /// Model width D.
    pub width: usize,
    /// Query heads H.
    pub heads: usize,
    /// Key-value heads G; divides H.
    pub groups: usize,
    /// Width K of a head.
    pub key: usize,
    /// Base of the rotary angles.
    pub theta: f64,
    /// How many channels of a head are rotated, the first ones; even, 0 for no positions.
    pub rotated: usize,
    /// Tokens that are seen, the present one among them; 0 for all.
    pub window: usize,
    /// `[HK + 2GK, D]`, rows q, k, v.
    pub in_proj: Weights,
    /// `[HK + 2GK]`.
    pub in_bias: Option<Weights>,
    /// `[D, HK]`.
    pub out_proj: Weights,
    /// `[D]`.
    pub out_bias: Option<Weights>,
}

fn random(size: &Size, random: &mut Random) -> Box<dyn Mixer> {
    let inner = size.heads * size.key;
    Box::new(Softmax {
        width: size.width,
        heads: size.heads,
        groups: size.heads,
        key: size.key,
        theta: 10_000.0,
        rotated: size.key,
        window: 0,
        in_proj: random
            .normals(3 * inner * size.width, (size.width as f64).sqrt().recip())
            .into(),
        in_bias: None,
        out_proj: random
            .normals(size.width * inner, (inner as f64).sqrt().recip())
            .into(),
        out_bias: None,
    })
}

impl Softmax {
    /// The smaller of its own window and that of the settings.
    fn window(&self, change: &Change) -> usize {
        match (self.window, change.window) {
            (0, w) | (w, 0) => w,
            (a, b) => a.min(b),
        }
    }
}

impl Mixer for Softmax {
    fn definition(&self) -> &'static Definition {
        &DEFINITION
    }

    fn shape(&self) -> Shape {
        Shape {
            heads: self.heads,
            key: self.key,
            value: self.key,
            state: 0,
            tail: 0,
            cache_per_token: 2 * self.groups * self.key,
        }
    }

    fn weights(&self) -> Vec<&Weights> {
        let mut all = vec![&self.in_proj, &self.out_proj];
        all.extend(&self.in_bias);
        all.extend(&self.out_bias);
        all
    }

    #[cfg(feature = "zoo")]
    fn step(&self, state: &mut StepState, u: &[f64], context: &Context<'_>) -> Vec<f64> {
        let change = context.change;
        let (queries, keys) = (self.heads * self.key, self.groups * self.key);
        let mut projected = linear(u, &self.in_proj, self.in_bias.as_deref());
        rotate(
            &mut projected[..queries + keys],
            (self.key, self.rotated),
            self.theta,
            state.position,
        );
        state.position += 1;
        let (q, rest) = projected.split_at(queries);
        let (k, v) = rest.split_at(keys);
        let value: Vec<f64> = v
            .iter()
            .map(|v| v * f64::from(change.write_factor))
            .collect();
        state.writes.push(Write {
            log_decay: Vec::new(),
            key: k.to_vec(),
            value: value.clone(),
        });
        let window = self.window(change);
        if window > 0 && state.writes.len() > window {
            state.writes.remove(0);
        }
        let mut o = Vec::with_capacity(queries);
        for (h, q) in q.chunks_exact(self.key).enumerate() {
            let column = h / (self.heads / self.groups) * self.key;
            let scores: Vec<f64> = state
                .writes
                .iter()
                .map(|w| {
                    let k = &w.key[column..column + self.key];
                    let dot: f64 = q.iter().zip(k).map(|(a, b)| a * b).sum();
                    (dot * (self.key as f64).sqrt().recip()).exp()
                })
                .collect();
            let sum: f64 = scores.iter().sum();
            for c in 0..self.key {
                let weighted: f64 = scores
                    .iter()
                    .zip(&state.writes)
                    .map(|(s, w)| s * w.value[column + c])
                    .sum();
                o.push(weighted / sum);
            }
        }
        let per_group = self.heads / self.groups;
        let of_head = |h| &value[h / per_group * self.key..][..self.key];
        state.last_value = (0..self.heads).flat_map(of_head).copied().collect();
        state.last_read.clone_from(&o);
        linear(&o, &self.out_proj, self.out_bias.as_deref())
    }

    fn plan(&self, p: &mut Planner) -> Taps {
        let (queries, keys) = (self.heads * self.key, self.groups * self.key);
        let projected = p.project("projected", &self.in_proj, self.in_bias.as_ref(), p.io.u);
        let [qk, v] = projected.split([queries + keys, keys]);
        let qk = if self.rotated > 0 {
            p.rotate("rotated", qk, (self.key, self.rotated), self.theta)
        } else {
            qk
        };
        let [q, k] = qk.split([queries, keys]);
        let (window, scale) = (self.window(&p.change), (self.key as f32).sqrt().recip());
        let o = p.attend([q, k, v], self.heads, self.groups, window, scale);
        p.project_out(&self.out_proj, self.out_bias.as_ref(), o);
        Taps {
            heads_per_group: self.heads / self.groups,
            scale,
            window,
            ..Taps::new(q, k, Decay::Softmax)
        }
    }
}
