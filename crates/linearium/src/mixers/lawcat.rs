//! LAWCAT: gated linear attention that stands in for a transformer's softmax attention
//! (arXiv 2509.18467).
//!
//! Queries and keys go through a causal convolution across tokens and a feature map,
//! `phi(x) = [softmax(W x), softmax(-W x)]` with a W for each head, so that no feature is negative;
//! `S_t = diag(e^g) S_{t-1} + phi(k_t) [v_t, 1]^T` with `g = logsigmoid(W_2 W_1 u + b) / 16`, and
//! `o_t = S_v^T phi(q_t) / (S_1^T phi(q_t) + 1e-10)`: a convex mean of values. `out = W_o o`. Keys,
//! values and gates of a group are repeated for its heads before the convolution.
//!
//! The feature map is that of `HazyResearch/lolcats`, `src/model/feature_map.py`; the rest follows
//! the module `GLASlidingWindowAttention` without its sliding window.

use super::{
    Context, Definition, Mixer, NO_STEPS, Planner, Shape, Size, StepState, Taps, Weights, Write,
};
use crate::kernels::{activate, normalise};
use crate::model::tensors::Tensors;
use crate::plan::Activation;
use crate::plan::outer_scan::OuterScan;
use crate::plan::pointwise::Gate;
use crate::random::Random;
use crate::step::{linear, silu, softplus, spread};

/// The registry's entry.
pub static DEFINITION: Definition = Definition {
    id: "lawcat",
    name: "LAWCAT",
    glossary: &[
        ("u", "[T, D] normalised input of the layer"),
        (
            "q, k",
            "[T, H, 2F] features of query and key, between 0 and 1",
        ),
        ("v", "[T, H, V + 1] value and behind it a one"),
        ("g", "[T, H, 2F] log-decay of each feature, below 0"),
        (
            "S",
            "[H, 2F, V + 1] state: values and, in the last column, their weight",
        ),
    ],
    ignores: &[NO_STEPS],
    size: Size::heads_of_64,
    random,
};

/// Added to the weight that values are divided by.
const WEIGHT_EPS: f32 = 1e-10;

/// Least feature.
const LEAST: f32 = 1e-12;

/// Weights of one layer.
#[derive(Clone)]
pub struct Lawcat {
    /// Model width D.
    pub width: usize,
    /// Heads H.
    pub heads: usize,
    /// Heads of keys, values and gates G; divides H.
    pub kv_heads: usize,
    /// Width V of a head's query, key and value.
    pub value: usize,
    /// Rows F of a feature map.
    pub feature: usize,
    /// Rank of the gate.
    pub rank: usize,
    /// `[HV + GV + rank, D]`, rows q, k, W_1.
    pub in_proj: Weights,
    /// `[GV, D]`.
    pub v_proj: Weights,
    /// W_2, `[2GF, rank]`.
    pub gate_proj: Weights,
    /// `[2GF]`.
    pub gate_bias: Weights,
    /// `[HV, conv]`.
    pub q_conv: Weights,
    /// `[HV, conv]`.
    pub k_conv: Weights,
    /// Whether the convolutions go through SiLU.
    pub silu: bool,
    /// `[H, V, F]`.
    pub q_map: Weights,
    /// `[H, V, F]`.
    pub k_map: Weights,
    /// `[D, HV]`.
    pub out_proj: Weights,
}

fn random(size: &Size, random: &mut Random) -> Box<dyn Mixer> {
    let Size {
        width,
        heads,
        value,
        ..
    } = *size;
    let kv_heads = if heads.is_multiple_of(2) {
        heads / 2
    } else {
        heads
    };
    let (feature, rank, conv) = ((size.key / 2).max(1), 16, 4);
    let deviation = |n: usize| (n as f64).sqrt().recip();
    // Nearly the identity, as the official code begins.
    let taps = |random: &mut Random| -> Weights {
        let mut taps = random.normals(heads * value * conv, 0.1);
        taps.iter_mut()
            .skip(conv - 1)
            .step_by(conv)
            .for_each(|w| *w += 1.0);
        taps.into()
    };
    Box::new(Lawcat {
        width,
        heads,
        kv_heads,
        value,
        feature,
        rank,
        in_proj: random
            .normals(
                ((heads + kv_heads) * value + rank) * width,
                deviation(width),
            )
            .into(),
        v_proj: random
            .normals(kv_heads * value * width, deviation(width))
            .into(),
        gate_proj: random
            .normals(2 * kv_heads * feature * rank, deviation(rank))
            .into(),
        gate_bias: vec![0.0; 2 * kv_heads * feature].into(),
        q_conv: taps(random),
        k_conv: taps(random),
        silu: false,
        q_map: random
            .normals(heads * value * feature, deviation(value))
            .into(),
        k_map: random
            .normals(heads * value * feature, deviation(value))
            .into(),
        out_proj: random
            .normals(width * heads * value, deviation(heads * value))
            .into(),
    })
}

/// What a layer of the official code is made with.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Heads H.
    pub heads: usize,
    /// Heads of keys, values and gates.
    pub kv_heads: usize,
    /// Width of a head.
    pub value: usize,
    /// Rows of a feature map.
    pub feature: usize,
    /// Rank of the gate.
    pub rank: usize,
    /// Width of the convolutions.
    pub conv: usize,
    /// Whether they go through SiLU.
    pub silu: bool,
}

impl Lawcat {
    /// A layer of the official module.
    ///
    /// # Errors
    /// A sentence if a tensor is missing or has another shape.
    pub fn load(t: &mut Tensors<'_>, width: usize, options: Options) -> Result<Lawcat, String> {
        let Options {
            heads,
            kv_heads,
            value,
            feature,
            rank,
            conv,
            silu,
        } = options;
        let (queries, keys, gates) = (heads * value, kv_heads * value, 2 * kv_heads * feature);
        let map = [heads, value, feature];
        Ok(Lawcat {
            width,
            heads,
            kv_heads,
            value,
            feature,
            rank,
            in_proj: t.stacked(
                &[("q_proj", queries), ("k_proj", keys), ("gk_proj.0", rank)],
                width,
            )?,
            v_proj: t.take("v_proj.weight", &[keys, width])?,
            gate_proj: t.take("gk_proj.1.weight", &[gates, rank])?,
            gate_bias: t.take("gk_proj.1.bias", &[gates])?,
            q_conv: t.take("q_conv1d.weight", &[queries, 1, conv])?,
            k_conv: t.take("k_conv1d.weight", &[queries, 1, conv])?,
            silu,
            q_map: t.take("feature_map_q.mlp.layer", &map)?,
            k_map: t.take("feature_map_k.mlp.layer", &map)?,
            out_proj: t.take("o_proj.weight", &[width, queries])?,
        })
    }

    fn per_group(&self) -> usize {
        self.heads / self.kv_heads
    }

    fn key(&self) -> usize {
        2 * self.feature
    }

    fn scale(&self) -> f64 {
        (self.key() as f64).sqrt().recip()
    }

    /// The maps of all heads as one matrix `[H 2F, H V]`, `W x` and `-W x` of each head: blocks on a
    /// diagonal of zeros.
    fn map_matrix(&self, map: &[f32]) -> Weights {
        let (value, feature, columns) = (self.value, self.feature, self.heads * self.value);
        let mut matrix = vec![0.0; self.heads * self.key() * columns];
        for h in 0..self.heads {
            for c in 0..value {
                for f in 0..feature {
                    let w = map[(h * value + c) * feature + f];
                    let column = h * value + c;
                    let row = h * 2 * feature + f;
                    matrix[row * columns + column] = w;
                    matrix[(row + feature) * columns + column] = -w;
                }
            }
        }
        matrix.into()
    }

    /// phi of all heads.
    fn features(&self, x: &[f64], map: &[f32]) -> Vec<f64> {
        let mut out = Vec::with_capacity(self.heads * self.key());
        for u in linear(x, &self.map_matrix(map), None).chunks_exact(self.feature) {
            let largest = u.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let sum: f64 = u.iter().map(|u| (u - largest).exp()).sum();
            out.extend(
                u.iter()
                    .map(|u| ((u - largest).exp() / sum).max(f64::from(LEAST))),
            );
        }
        out
    }
}

impl Mixer for Lawcat {
    fn definition(&self) -> &'static Definition {
        &DEFINITION
    }

    fn shape(&self) -> Shape {
        Shape {
            tail: self.q_conv.len() + self.k_conv.len() - 2 * self.heads * self.value,
            ..Shape::recurrent(self.heads, self.key(), self.value + 1)
        }
    }

    fn weights(&self) -> Vec<&Weights> {
        vec![
            &self.in_proj,
            &self.v_proj,
            &self.gate_proj,
            &self.gate_bias,
            &self.q_conv,
            &self.k_conv,
            &self.q_map,
            &self.k_map,
            &self.out_proj,
        ]
    }

    fn step(&self, state: &mut StepState, u: &[f64], context: &Context<'_>) -> Vec<f64> {
        let (value, change, per_group) = (self.value, context.change, self.per_group());
        let projected = linear(u, &self.in_proj, None);
        let (q, rest) = projected.split_at(self.heads * value);
        let (k, low) = rest.split_at(self.kv_heads * value);
        let k = spread(k, value, per_group);
        let mut convolved = |name, x: &[f64], weight: &[f32]| -> Vec<f64> {
            let x = state.convolve(name, x, weight, None);
            if self.silu {
                x.into_iter().map(silu).collect()
            } else {
                x
            }
        };
        let q = self.features(&convolved("q", q, &self.q_conv), &self.q_map);
        let key = self.features(&convolved("k", &k, &self.k_conv), &self.k_map);
        let gate = linear(low, &self.gate_proj, Some(&self.gate_bias));
        let log_decay = spread(&gate, self.key(), per_group)
            .into_iter()
            .map(|g| -softplus(-g) / 16.0 + f64::from(change.log_decay_shift))
            .collect();
        let v = spread(&linear(u, &self.v_proj, None), value, per_group);
        let factor = f64::from(change.write_factor);
        let value: Vec<f64> = v
            .chunks_exact(value)
            .flat_map(|v| v.iter().map(|v| factor * v).chain([1.0]))
            .collect();
        let shape = self.shape();
        state.update(
            Write {
                log_decay,
                key,
                value,
            },
            &shape,
            change.window,
        );
        let mut o = state.read(&q, self.scale(), &shape);
        for o in o.chunks_exact_mut(self.value + 1) {
            let z = o[self.value] + f64::from(WEIGHT_EPS);
            o.iter_mut().for_each(|o| *o /= z);
        }
        state.last_read.clone_from(&o);
        let values = o.chunks_exact(self.value + 1);
        let o: Vec<f64> = values.flat_map(|o| &o[..self.value]).copied().collect();
        linear(&o, &self.out_proj, None)
    }

    fn plan(&self, p: &mut Planner) -> Taps {
        let (heads, value, per_group) = (self.heads, self.value, self.per_group());
        let projected = p.project("projected", &self.in_proj, None, p.io.u);
        let widths = [heads * value, self.kv_heads * value, self.rank];
        let [q, k, low] = projected.split(widths);
        let k = p.gate("repeated k", k.spread(value, per_group), &Gate::default());
        let q = p.convolve("convolved q", q, &self.q_conv, None, self.silu);
        let k = p.convolve("convolved k", k, &self.k_conv, None, self.silu);
        let [q, k] = [("q", q, &self.q_map), ("k", k, &self.k_map)].map(|(name, x, map)| {
            let x = p.project(&format!("map {name}"), &self.map_matrix(map), None, x);
            let softmax = (normalise::SOFTMAX, self.feature, 0.0);
            let x = p.normalise(&format!("softmax {name}"), x, softmax, [None; 2]);
            let at_least = Activation {
                min: LEAST,
                ..Activation::default()
            };
            let out = p.rows(name, x.width);
            p.activate(x, &at_least, out)
        });
        let gate = p.project("gate", &self.gate_proj, Some(&self.gate_bias), low);
        let gate = p.gate(
            "repeated gate",
            gate.spread(self.key(), per_group),
            &Gate::default(),
        );
        let log_sigmoid = Activation {
            function: activate::LOG_SIGMOID,
            max: 0.0,
            multiplier: 1.0 / 16.0,
            shift: p.change.log_decay_shift,
            ..Activation::default()
        };
        let log_decay = p.gates("log_decay", gate.width);
        p.activate(gate, &log_sigmoid, log_decay);
        // Rows of the values, repeated, and behind each head's a row that gives ones.
        let (mut v_proj, mut ones) = (Vec::new(), Vec::new());
        for h in 0..heads {
            let rows = &self.v_proj[h / per_group * value * self.width..][..value * self.width];
            v_proj.extend(rows.iter().map(|w| w * p.change.write_factor));
            v_proj.resize(v_proj.len() + self.width, 0.0);
            ones.resize(ones.len() + value, 0.0);
            ones.push(1.0);
        }
        let v = p.project("v", &v_proj.into(), Some(&ones.into()), p.io.u);
        let scan = OuterScan {
            q,
            k,
            v,
            log_decay,
            write_scale: None,
            scale: self.scale() as f32,
            read_before: false,
        };
        // Values have their factor already, and their weight shall have none.
        let factor = std::mem::replace(&mut p.change.write_factor, 1.0);
        let (o, taps) = scan.plan(p, &self.shape());
        p.change.write_factor = factor;
        // The last column of each head.
        let mut last = vec![0.0; heads * o.width];
        for h in 0..heads {
            last[h * o.width + h * (value + 1) + value] = 1.0;
        }
        let eps = vec![WEIGHT_EPS; heads].into();
        let z = p.project("normaliser", &last.into(), Some(&eps), o);
        let o = p.quotient("normalised", o, z.spread(1, value + 1));
        let columns = heads * value;
        let mut out_proj = Vec::with_capacity(self.width * o.width);
        for row in self.out_proj.chunks_exact(columns) {
            for head in row.chunks_exact(value) {
                out_proj.extend_from_slice(head);
                out_proj.push(0.0);
            }
        }
        p.project_out(&out_proj.into(), None, o);
        Taps {
            normaliser: Some(z),
            ..taps
        }
    }
}
