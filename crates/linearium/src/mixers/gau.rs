//! GAU, the gated attention unit (arXiv 2202.10447), under a causal mask.
//!
//! `[r, v, z] = silu(W u + b)`, `q = gamma_0 z + beta_0`, `k = gamma_1 z + beta_1`,
//! `o_i = sum_{j <= i} relu(q_i . k_j / n + bias[i - j])^2 v_j`, `out = W_o (o * r) + b_o`: one head
//! with one small query, gated. Official code of the layer with this bias:
//! `facebookresearch/mega`, `fairseq/modules/gated_attention_unit.py`.
//!
//! There n is the length of the whole text, so that an output depends on how much comes after it.
//! Here n is fixed: that of the texts of the training. A distance beyond the bias has its last one.

use super::{
    Context, Decay, Definition, Mixer, NO_STEPS, Planner, ScoreFunction, Scores, Shape, Size,
    StepState, Taps, Weights, Write,
};
use crate::kernels::pointwise;
use crate::model::tensors::Tensors;
use crate::plan::pointwise::Gate;
use crate::plan::{Attention, Columns};
use crate::random::Random;
use crate::step::{linear, multiply, silu};

/// The registry's entry.
pub static DEFINITION: Definition = Definition {
    id: "gau",
    name: "GAU (gated attention unit)",
    glossary: &[
        ("u", "[T, D] normalised input of the layer"),
        ("z", "[T, K] what query and key are made of"),
        ("q, k", "[T, K] query and key"),
        ("v", "[T, V] value"),
        ("r", "[T, V] gate of the output"),
        ("n", "length that scores are divided by"),
        ("bias", "[R] added to the score, by distance"),
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
pub struct Gau {
    /// Model width D.
    pub width: usize,
    /// Key width K.
    pub key: usize,
    /// Value width V.
    pub value: usize,
    /// n.
    pub length: usize,
    /// `[2V + K, D]`, rows r, v, z.
    pub in_proj: Weights,
    /// `[2V + K]`.
    pub in_bias: Weights,
    /// Of q and of k, `[2, K]`.
    pub gamma: Weights,
    /// `[2, K]`.
    pub beta: Weights,
    /// By distance, `[R]`.
    pub bias: Weights,
    /// `[D, V]`.
    pub out_proj: Weights,
    /// `[D]`.
    pub out_bias: Weights,
}

fn random(size: &Size, random: &mut Random) -> Box<dyn Mixer> {
    let (width, key, value) = (size.width, size.key, size.heads * size.value);
    let deviation = |n: usize| (n as f64).sqrt().recip();
    Box::new(Gau {
        width,
        key,
        value,
        length: 64,
        in_proj: random
            .normals((2 * value + key) * width, deviation(width))
            .into(),
        in_bias: vec![0.0; 2 * value + key].into(),
        // Fifty times what the official code begins with, for weights above 0.
        gamma: random.normals(2 * key, 1.0).into(),
        beta: vec![0.0; 2 * key].into(),
        bias: random.normals(256, 0.02).into(),
        out_proj: random.normals(width * value, deviation(value)).into(),
        out_bias: vec![0.0; width].into(),
    })
}

impl Gau {
    /// A layer of the official `GatedAttentionUnit` for this many positions, whose scores are
    /// divided by `length`.
    ///
    /// # Errors
    /// A sentence if a tensor is missing or has another shape.
    pub fn load(
        t: &mut Tensors<'_>,
        [width, key, value]: [usize; 3],
        positions: usize,
        length: usize,
    ) -> Result<Gau, String> {
        let bias = t.take("rel_pos_bias.rel_pos_bias", &[2 * positions - 1])?;
        Ok(Gau {
            width,
            key,
            value,
            length,
            in_proj: t.take("proj.weight", &[2 * value + key, width])?,
            in_bias: t.take("proj.bias", &[2 * value + key])?,
            gamma: t.take("gamma", &[2, key])?,
            beta: t.take("beta", &[2, key])?,
            // That of distance d stands d before the middle.
            bias: bias[..positions].iter().rev().copied().collect(),
            out_proj: t.take("out_proj.weight", &[width, value])?,
            out_bias: t.take("out_proj.bias", &[width])?,
        })
    }
}

/// Query and key of `z [K]`: `gamma z + beta` for both rows of `[2, K]`.
pub(super) fn query_and_key(z: &[f64], gamma: &[f32], beta: &[f32]) -> [Vec<f64>; 2] {
    [0, 1].map(|row| {
        let first = row * z.len();
        let at = |w: &[f32], c: usize| f64::from(w[first + c]);
        let scaled = z
            .iter()
            .enumerate()
            .map(|(c, z)| at(gamma, c) * z + at(beta, c));
        scaled.collect()
    })
}

/// The same as passes: a matrix with gamma on its diagonal.
pub(super) fn plan_query_and_key(
    p: &mut Planner,
    z: Columns,
    gamma: &Weights,
    beta: &Weights,
) -> [Columns; 2] {
    let key = z.width;
    [("q", 0), ("k", key)].map(|(name, first)| {
        let mut diagonal = vec![0.0; key * key];
        (0..key).for_each(|c| diagonal[c * key + c] = gamma[first + c]);
        let beta: Weights = beta[first..first + key].into();
        p.project(name, &diagonal.into(), Some(&beta), z)
    })
}

impl Mixer for Gau {
    fn definition(&self) -> &'static Definition {
        &DEFINITION
    }

    fn shape(&self) -> Shape {
        Shape {
            heads: 1,
            key: self.key,
            value: self.value,
            state: 0,
            tail: 0,
            cache_per_token: self.key + self.value,
        }
    }

    fn weights(&self) -> Vec<&Weights> {
        vec![
            &self.in_proj,
            &self.in_bias,
            &self.gamma,
            &self.beta,
            &self.bias,
            &self.out_proj,
            &self.out_bias,
        ]
    }

    fn step(&self, state: &mut StepState, u: &[f64], context: &Context<'_>) -> Vec<f64> {
        let change = context.change;
        let projected = linear(u, &self.in_proj, Some(&self.in_bias));
        let projected: Vec<f64> = projected.into_iter().map(silu).collect();
        let (r, rest) = projected.split_at(self.value);
        let (v, z) = rest.split_at(self.value);
        let [q, key] = query_and_key(z, &self.gamma, &self.beta);
        let value: Vec<f64> = v
            .iter()
            .map(|v| v * f64::from(change.write_factor))
            .collect();
        state.last_value.clone_from(&value);
        state.writes.push(Write {
            log_decay: Vec::new(),
            key,
            value,
        });
        if change.window > 0 && state.writes.len() > change.window {
            state.writes.remove(0);
        }
        let mut o = vec![0.0; self.value];
        for (distance, write) in state.writes.iter().rev().enumerate() {
            let dot: f64 = q.iter().zip(&write.key).map(|(q, k)| q * k).sum();
            let bias = self.bias[distance.min(self.bias.len() - 1)];
            let score = dot / self.length as f64 + f64::from(bias);
            let weight = score.max(0.0).powi(2);
            o.iter_mut()
                .zip(&write.value)
                .for_each(|(o, v)| *o += weight * v);
        }
        state.last_read.clone_from(&o);
        linear(&multiply(&o, r), &self.out_proj, Some(&self.out_bias))
    }

    fn plan(&self, p: &mut Planner) -> Taps {
        let projected = p.project("projected", &self.in_proj, Some(&self.in_bias), p.io.u);
        let [r, v, z] = projected.split([self.value, self.value, self.key]);
        let silu = Gate::of(pointwise::SILU);
        let v = p.gate("v", v, &silu);
        let z = p.gate("z", z, &silu);
        let [q, k] = plan_query_and_key(p, z, &self.gamma, &self.beta);
        let scale = 1.0 / self.length as f32;
        let attention = Attention {
            heads: 1,
            kv_heads: 1,
            window: 0,
            dilation: 1,
            squared_relu: true,
            bias: Some(&self.bias),
            active: None,
            bias_by_rank: false,
            scale,
        };
        let o = p.attend_scores([q, k, v], &attention);
        let o = p.product("gated", r, o, &silu);
        p.project_out(&self.out_proj, Some(&self.out_bias), o);
        let scores = Scores {
            function: ScoreFunction::SquaredRelu,
            bias: self.bias.clone(),
            distances: self.bias.len(),
            dilation: 1,
        };
        Taps {
            scale,
            window: p.change.window,
            ..Taps::new(q, k, Decay::Scores(scores))
        }
    }
}
