//! Causal softmax attention with rotary positions and grouped heads, the yardstick.
//!
//! `o_t = sum_{j <= t} softmax_j(K^-1/2 q_t . k_j) v_j`, `out = W_o o`. As `transformers`
//! `LlamaAttention`. Its "state" is a cache that grows with every token. The interventions that
//! speak of a decay do not apply; `write-factor` scales values, `window` is sliding-window
//! attention.

use super::{
    Change, Columns, Decay, Definition, Io, Linear, Mixer, Plan, Planner, Shape, Size, StepState,
    Taps, Weights, Write, linear, rotate,
};
use crate::kernels::rotary::{self, Rotary};
use crate::kernels::softmax_attention::{self, SoftmaxAttention};
use crate::random::Random;
use crate::recording::{BufferId, Recording};

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
    /// Width K of a head, even.
    pub key: usize,
    /// Base of the rotary angles.
    pub theta: f64,
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

    fn parameters(&self) -> usize {
        let optional = |w: &Option<Weights>| w.as_ref().map_or(0, |w| w.len());
        self.in_proj.len()
            + self.out_proj.len()
            + optional(&self.in_bias)
            + optional(&self.out_bias)
    }

    fn step(&self, state: &mut StepState, u: &[f64], change: &Change, _: usize) -> Vec<f64> {
        let (queries, keys) = (self.heads * self.key, self.groups * self.key);
        let mut projected = linear(u, &self.in_proj, self.in_bias.as_deref());
        rotate(
            &mut projected[..queries + keys],
            self.key,
            self.theta,
            state.position,
        );
        state.position += 1;
        let (q, rest) = projected.split_at(queries);
        let (k, v) = rest.split_at(keys);
        let value = v
            .iter()
            .map(|v| v * f64::from(change.write_factor))
            .collect();
        state.writes.push(Write {
            log_decay: Vec::new(),
            key: k.to_vec(),
            value,
        });
        if change.window > 0 && state.writes.len() > change.window {
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
        linear(&o, &self.out_proj, self.out_bias.as_deref())
    }

    fn plan(&self, planner: &mut Planner) -> Box<dyn Plan> {
        let (rows, capacity) = (planner.segment, planner.capacity);
        let (queries, keys) = (self.heads * self.key, self.groups * self.key);
        let projected = planner.shared("projected", rows * (queries + 2 * keys));
        let rotated = planner.tapped("rotated", rows * (queries + keys));
        let qk = Columns::all(rotated, queries + keys);
        let scale = (self.key as f32).sqrt().recip();
        Box::new(SoftmaxPlan {
            width: self.width,
            heads: self.heads,
            groups: self.groups,
            key: self.key,
            window: planner.change.window,
            write_factor: planner.change.write_factor,
            in_proj: Linear {
                weight: planner.weight("in_proj", &self.in_proj),
                bias: planner.optional("in_bias", &self.in_bias),
                outputs: queries + 2 * keys,
            },
            projected: Columns::all(projected, queries + 2 * keys),
            angles: planner.rotary(self.theta, self.key),
            k_cache: planner.state("k_cache", capacity * keys),
            v_cache: planner.state("v_cache", capacity * keys),
            attended: planner.shared("scanned", rows * queries),
            out_proj: Linear {
                weight: planner.weight("out_proj", &self.out_proj),
                bias: planner.optional("out_bias", &self.out_bias),
                outputs: self.width,
            },
            taps: Taps {
                q: qk.part(0, queries),
                k: qk.part(queries, keys),
                heads_per_group: self.heads / self.groups,
                decay: Decay::Softmax,
                write_scale: None,
                scale,
                state: None,
                left_window: None,
                window: planner.change.window,
                steps: None,
            },
        })
    }
}

struct SoftmaxPlan {
    width: usize,
    heads: usize,
    groups: usize,
    key: usize,
    window: usize,
    write_factor: f32,
    in_proj: Linear,
    projected: Columns,
    angles: BufferId,
    k_cache: BufferId,
    v_cache: BufferId,
    attended: BufferId,
    out_proj: Linear,
    taps: Taps,
}

impl Plan for SoftmaxPlan {
    fn record(&self, recording: &mut Recording, t: usize, position: usize, io: Io) {
        let (queries, keys) = (self.heads * self.key, self.groups * self.key);
        let u = Columns::all(io.u, self.width);
        self.in_proj
            .record(recording, t, u, None, self.projected.buffer);
        recording.push(
            &rotary::KERNEL,
            &Rotary {
                t: t as u32,
                heads: (self.heads + self.groups) as u32,
                key: self.key as u32,
                x_stride: self.projected.stride as u32,
                x_offset: 0,
            },
            &[self.projected.buffer, self.angles],
            &[self.taps.q.buffer],
        );
        recording.push(
            &softmax_attention::KERNEL,
            &SoftmaxAttention {
                t: t as u32,
                heads: self.heads as u32,
                kv_heads: self.groups as u32,
                key: self.key as u32,
                position: position as u32,
                q_stride: self.taps.q.stride as u32,
                q_offset: 0,
                k_stride: self.taps.k.stride as u32,
                k_offset: self.taps.k.offset as u32,
                v_stride: self.projected.stride as u32,
                v_offset: (queries + keys) as u32,
                window: self.window as u32,
                scale: self.taps.scale,
                write_factor: self.write_factor,
            },
            &[
                self.taps.q.buffer,
                self.taps.k.buffer,
                self.projected.buffer,
            ],
            &[self.attended, self.k_cache, self.v_cache],
        );
        let x = Columns::all(self.attended, queries);
        self.out_proj
            .record(recording, t, x, Some(io.residual), io.out);
    }

    fn taps(&self) -> &Taps {
        &self.taps
    }
}
