//! GAM, gated associative memory (arXiv 2509.00605).
//!
//! `out = sigmoid(g_l) * local + sigmoid(g_g) * global` with `[g_l, g_g] = W u + b`, a causal
//! convolution `local = conv(u)`, and `global = softmax(u E^T) E`, a look-up in M trained slots E
//! that are the same for every text. Official code: `rishiraj/gam`, `gam_model.py`.
//!
//! Tokens meet in the convolution only: an output sees its last few tokens, at any length. A head
//! is a channel here, its hidden attention the taps of its convolution.

use super::{
    Context, Decay, Definition, Mixer, NO_STEPS, Planner, ScoreFunction, Scores, Shape, Size,
    StepState, Taps, Weights,
};
use crate::kernels::{normalise, pointwise};
use crate::model::tensors::Tensors;
use crate::plan::pointwise::Gate;
use crate::random::Random;
use crate::step::{layer_norm, linear, multiply, sigmoid};

/// The registry's entry.
pub static DEFINITION: Definition = Definition {
    id: "gam",
    name: "GAM (gated associative memory)",
    glossary: &[
        ("u", "[T, D] normalised input of the layer"),
        ("local", "[T, D] convolution of the last few tokens"),
        ("E", "[M, D] slots of the memory, trained, not written"),
        ("global", "[T, D] what u finds in the slots"),
        ("g_l, g_g", "[T, D] gates of both"),
    ],
    ignores: &[
        NO_STEPS,
        (
            "decay-factor",
            "nothing decays: its convolution sees a few tokens, its memory none",
        ),
        (
            "window",
            "its convolution sees fewer tokens than a window has",
        ),
    ],
    size: Size::heads_of_64,
    random,
};

/// Weights of one layer.
#[derive(Clone)]
pub struct Gam {
    /// Model width D.
    pub width: usize,
    /// Weight and bias of a layer norm of its own, `[D]` each.
    pub norm: Option<[Weights; 2]>,
    /// `[D, W]`.
    pub conv_weight: Weights,
    /// `[D]`.
    pub conv_bias: Weights,
    /// E, `[M, D]`.
    pub memory: Weights,
    /// `[2D, D]`, rows g_l, g_g.
    pub gate_proj: Weights,
    /// `[2D]`.
    pub gate_bias: Weights,
}

/// Added to the variance by the layer norm.
const EPS: f32 = 1e-5;

fn random(size: &Size, random: &mut Random) -> Box<dyn Mixer> {
    let (width, slots, conv) = (size.width, 64, 3);
    let deviation = |n: usize| (n as f64).sqrt().recip();
    Box::new(Gam {
        width,
        norm: None,
        conv_weight: random.normals(width * conv, deviation(conv)).into(),
        conv_bias: random.normals(width, 0.1).into(),
        memory: random
            .normals(slots * width, (2.0 / (slots + width) as f64).sqrt())
            .into(),
        gate_proj: random.normals(2 * width * width, deviation(width)).into(),
        gate_bias: vec![0.0; 2 * width].into(),
    })
}

impl Gam {
    /// The part of the official `GAMBlock` before its feed-forward layer, with M slots and W taps.
    ///
    /// # Errors
    /// A sentence if a tensor is missing or has another shape.
    pub fn load(
        t: &mut Tensors<'_>,
        width: usize,
        slots: usize,
        taps: usize,
    ) -> Result<Gam, String> {
        Ok(Gam {
            width,
            norm: Some([
                t.take("ln1.weight", &[width])?,
                t.take("ln1.bias", &[width])?,
            ]),
            conv_weight: t.take("causal_conv.weight", &[width, 1, taps])?,
            conv_bias: t.take("causal_conv.bias", &[width])?,
            memory: t.take("memory_bank", &[slots, width])?,
            gate_proj: t.take("gate.weight", &[2 * width, width])?,
            gate_bias: t.take("gate.bias", &[2 * width])?,
        })
    }

    fn taps(&self) -> usize {
        self.conv_weight.len() / self.width
    }

    /// E^T, `[D, M]`.
    fn transposed(&self) -> Weights {
        let slots = self.memory.len() / self.width;
        let at = |i: usize| self.memory[i % slots * self.width + i / slots];
        (0..self.memory.len()).map(at).collect()
    }
}

impl Mixer for Gam {
    fn definition(&self) -> &'static Definition {
        &DEFINITION
    }

    fn shape(&self) -> Shape {
        Shape {
            heads: self.width,
            key: 1,
            value: 1,
            state: 0,
            tail: self.conv_weight.len() - self.width,
            cache_per_token: 0,
        }
    }

    fn weights(&self) -> Vec<&Weights> {
        let mut all = vec![
            &self.conv_weight,
            &self.conv_bias,
            &self.memory,
            &self.gate_proj,
            &self.gate_bias,
        ];
        all.extend(self.norm.iter().flatten());
        all
    }

    fn step(&self, state: &mut StepState, u: &[f64], context: &Context<'_>) -> Vec<f64> {
        let u = match &self.norm {
            Some([weight, bias]) => layer_norm(u, weight, bias, self.width, f64::from(EPS)),
            None => u.to_vec(),
        };
        let factor = f64::from(context.change.write_factor);
        let read: Vec<f64> = state.convolve("tail", &u, &self.conv_weight, None);
        let read: Vec<f64> = read.into_iter().map(|x| factor * x).collect();
        let scores = linear(&u, &self.memory, None);
        let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let weights: Vec<f64> = scores.iter().map(|s| (s - largest).exp()).collect();
        let sum: f64 = weights.iter().sum();
        let found = linear(&weights, &self.transposed(), None);
        let gates = linear(&u, &self.gate_proj, Some(&self.gate_bias));
        let gates: Vec<f64> = gates.into_iter().map(sigmoid).collect();
        let local: Vec<f64> = read
            .iter()
            .zip(&*self.conv_bias)
            .map(|(x, &b)| x + f64::from(b))
            .collect();
        let global: Vec<f64> = found.iter().map(|x| x / sum).collect();
        state.last_value = u;
        state.last_read = read;
        multiply(&gates, &[local, global].concat())
            .chunks_exact(self.width)
            .fold(vec![0.0; self.width], |sum, x| {
                sum.iter().zip(x).map(|(a, b)| a + b).collect()
            })
    }

    fn plan(&self, p: &mut Planner) -> Taps {
        let width = self.width;
        let u = match &self.norm {
            Some([weight, bias]) => {
                let layer = (normalise::LAYER, width, EPS);
                p.normalise("normed", p.io.u, layer, [Some(weight), Some(bias)])
            }
            None => p.io.u,
        };
        let taps: Weights = self
            .conv_weight
            .iter()
            .map(|w| w * p.change.write_factor)
            .collect();
        let local = p.convolve("local", u, &taps, Some(&self.conv_bias), false);
        let scores = p.project("scores", &self.memory, None, u);
        let softmax = (normalise::SOFTMAX, scores.width, 0.0);
        let weights = p.normalise("slots", scores, softmax, [None; 2]);
        let global = p.project("global", &self.transposed(), None, weights);
        let gates = p.project("gates", &self.gate_proj, Some(&self.gate_bias), u);
        let [g_l, g_g] = gates.split([width; 2]);
        let sigmoid = Gate::of(pointwise::SIGMOID);
        let local = p.product("gated local", g_l, local, &sigmoid);
        let global = p.product("gated global", g_g, global, &sigmoid);
        let out = p.add("sum", local, global, None, 1.0);
        p.add_out(out);
        p.show_value(u);
        let distances = self.taps();
        // By distance: the last tap is that of the present token.
        let bias = taps
            .chunks_exact(distances)
            .flat_map(|w| w.iter().rev())
            .copied()
            .collect();
        let scores = Scores {
            function: ScoreFunction::Identity,
            bias,
            distances,
            dilation: 1,
        };
        Taps {
            scale: 0.0,
            window: distances,
            ..Taps::new(u, u, Decay::Scores(scores))
        }
    }
}
