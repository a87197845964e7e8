//! LightNet: additive instead of multiplicative decay (You Only Scan Once, arXiv 2405.21022).
//!
//! With logits k and `z_t = ln sum_{i<=t} e^{k_i}` for each key channel,
//! `S_t = diag(e^{z_{t-1} - z_t}) S_{t-1} + e^{k_t - z_t} v_t^T`: the state is the mean of the
//! values under a softmax over time, which forgets no token for being old.
//! `o_t = K^-1/2 S_t^T silu(q_t)`, `out = W_o (RMSNorm(o) * silu(W_2 W_1 u))`. Official code:
//! flash-linear-attention `fla/layers/lightnet.py`, `fla/ops/gla/naive.py`. As there, the first
//! token has the weight 1 (another port begins with a token of logit 0 and value 0).

use super::{
    Context, Definition, Mixer, NO_STEPS, Planner, Shape, Size, StepState, Taps, Weights, Write,
};
use crate::kernels::{activate, rms_norm as norm};
use crate::model::tensors::Tensors;
use crate::plan::outer_scan::OuterScan;
use crate::plan::{Activation, Columns};
use crate::random::Random;
use crate::step::{linear, multiply, rms_norm, silu};

/// The registry's entry.
pub static DEFINITION: Definition = Definition {
    id: "light_net",
    name: "LightNet",
    glossary: &[
        ("u", "[T, D] normalised input of the layer"),
        ("q", "[T, H, K] query"),
        (
            "k",
            "[T, H, K] logits: how much of a token each key channel takes",
        ),
        ("z", "[T, H, K] logarithm of the sum of e^k so far"),
        ("v", "[T, H, V] value"),
        ("g", "[T, H, K] log-decay z_{t-1} - z_t"),
        (
            "S",
            "[H, K, V] state, a mean of values under a softmax over time",
        ),
    ],
    ignores: &[NO_STEPS],
    size: Size::heads_of_64,
    random,
};

/// Weights of one layer.
#[derive(Clone)]
pub struct LightNet {
    /// Model width D.
    pub width: usize,
    /// Heads H.
    pub heads: usize,
    /// Key width K of a head.
    pub key: usize,
    /// Value width V of a head.
    pub value: usize,
    /// Rank of the output gate.
    pub rank: usize,
    /// `[2HK + HV + rank, D]`, rows q, k, v, W_1.
    pub in_proj: Weights,
    /// Short convolution of q, k and v, `[2HK + HV, conv]`.
    pub conv_weight: Option<Weights>,
    /// `[2HK + HV]`.
    pub conv_bias: Option<Weights>,
    /// W_2, `[HV, rank]`.
    pub gate_proj: Weights,
    /// `[HV]`, all heads are normalised together.
    pub norm: Weights,
    /// Added to the mean square.
    pub eps: f32,
    /// `[D, HV]`.
    pub out_proj: Weights,
}

fn random(size: &Size, random: &mut Random) -> Box<dyn Mixer> {
    let (keys, values, rank) = (size.heads * size.key, size.heads * size.value, 16);
    Box::new(LightNet {
        width: size.width,
        heads: size.heads,
        key: size.key,
        value: size.value,
        rank,
        in_proj: random
            .normals(
                (2 * keys + values + rank) * size.width,
                (size.width as f64).sqrt().recip(),
            )
            .into(),
        conv_weight: None,
        conv_bias: None,
        gate_proj: random
            .normals(values * rank, (rank as f64).sqrt().recip())
            .into(),
        norm: vec![1.0; values].into(),
        eps: 1e-6,
        out_proj: random
            .normals(size.width * values, (values as f64).sqrt().recip())
            .into(),
    })
}

impl LightNet {
    /// A layer of flash-linear-attention's `LightNetAttention` with keys and values of the width D
    /// and, if `conv` gives its width and whether there is a bias, a short convolution.
    ///
    /// # Errors
    /// A sentence if a tensor is missing or has another shape.
    pub fn load(
        t: &mut Tensors<'_>,
        width: usize,
        heads: usize,
        rank: usize,
        conv: Option<(usize, bool)>,
    ) -> Result<LightNet, String> {
        let rows = [
            ("q_proj", width),
            ("k_proj", width),
            ("v_proj", width),
            ("g_proj.0", rank),
        ];
        let (mut conv_weight, mut conv_bias) = (None, None);
        if let Some((taps, bias)) = conv {
            let mut weights = Vec::new();
            for name in ["q", "k", "v"] {
                weights.extend_from_slice(
                    &t.take(&format!("{name}_conv1d.weight"), &[width, 1, taps])?,
                );
            }
            conv_weight = Some(weights.into());
            let names = [
                ("q_conv1d", width),
                ("k_conv1d", width),
                ("v_conv1d", width),
            ];
            conv_bias = t.stacked_bias(bias, &names)?;
        }
        Ok(LightNet {
            width,
            heads,
            key: width / heads,
            value: width / heads,
            rank,
            in_proj: t.stacked(&rows, width)?,
            conv_weight,
            conv_bias,
            gate_proj: t.take("g_proj.1.weight", &[width, rank])?,
            norm: t.take("g_norm.weight", &[width])?,
            eps: 1e-6,
            out_proj: t.take("o_proj.weight", &[width, width])?,
        })
    }

    fn keys(&self) -> usize {
        self.heads * self.key
    }

    fn values(&self) -> usize {
        self.heads * self.value
    }

    fn scale(&self) -> f64 {
        (self.key as f64).sqrt().recip()
    }
}

impl Mixer for LightNet {
    fn definition(&self) -> &'static Definition {
        &DEFINITION
    }

    fn shape(&self) -> Shape {
        let convolved = 2 * self.keys() + self.values();
        Shape {
            // The largest logit and the sum beside what a convolution keeps.
            tail: 2 * self.keys() + self.conv_weight.as_ref().map_or(0, |w| w.len() - convolved),
            ..Shape::recurrent(self.heads, self.key, self.value)
        }
    }

    fn weights(&self) -> Vec<&Weights> {
        let mut all = vec![&self.in_proj, &self.gate_proj, &self.norm, &self.out_proj];
        all.extend(&self.conv_weight);
        all.extend(&self.conv_bias);
        all
    }

    fn step(&self, state: &mut StepState, u: &[f64], context: &Context<'_>) -> Vec<f64> {
        let (keys, values, change) = (self.keys(), self.values(), context.change);
        let projected = linear(u, &self.in_proj, None);
        let (qkv, low) = projected.split_at(2 * keys + values);
        let qkv = match &self.conv_weight {
            Some(weight) => state.convolve("tail", qkv, weight, self.conv_bias.as_deref()),
            None => qkv.to_vec(),
        };
        let (q, rest) = qkv.split_at(keys);
        let (k, v) = rest.split_at(keys);
        let first = state.position == 0;
        state.position += 1;
        let z = state.carried("z", keys);
        let (mut log_decay, mut key) = (Vec::new(), Vec::new());
        for (z, &k) in z.iter_mut().zip(k) {
            let before = if first { f64::NEG_INFINITY } else { *z };
            let largest = before.max(k);
            *z = largest + ((before - largest).exp() + (k - largest).exp()).ln();
            let g = if first { 0.0 } else { before - *z };
            log_decay.push(g + f64::from(change.log_decay_shift));
            key.push((k - *z).exp() * f64::from(change.write_factor));
        }
        let shape = self.shape();
        let value = v.to_vec();
        state.update(
            Write {
                log_decay,
                key,
                value,
            },
            &shape,
            change.window,
        );
        let q: Vec<f64> = q.iter().map(|&q| silu(q)).collect();
        let o = state.read(&q, self.scale(), &shape);
        let o = rms_norm(&o, &self.norm, values, f64::from(self.eps));
        let gate: Vec<f64> = linear(low, &self.gate_proj, None)
            .into_iter()
            .map(silu)
            .collect();
        linear(&multiply(&o, &gate), &self.out_proj, None)
    }

    fn plan(&self, p: &mut Planner) -> Taps {
        let (keys, values) = (self.keys(), self.values());
        let projected = p.project("projected", &self.in_proj, None, p.io.u);
        let [mut qkv, low] = projected.split([2 * keys + values, self.rank]);
        if let Some(weight) = &self.conv_weight {
            qkv = p.convolve("convolved", qkv, weight, self.conv_bias.as_ref(), false);
        }
        let [q, k, v] = qkv.split([keys, keys, values]);
        let out = p.rows("q", keys);
        let q = p.activate(
            q,
            &Activation {
                function: activate::SILU,
                ..Activation::default()
            },
            out,
        );
        let [k, log_decay] = p.running_softmax(k);
        let (o, taps) = self.scan([q, k, v, log_decay]).plan(p, &self.shape());
        let gate = p.project("gate", &self.gate_proj, None, low);
        let gate = Some((norm::NORM_THEN_GATE, gate));
        let o = p.rms_norm("normed", o, &self.norm, values, self.eps, gate);
        p.project_out(&self.out_proj, None, o);
        taps
    }
}

impl LightNet {
    fn scan(&self, [q, k, v, log_decay]: [Columns; 4]) -> OuterScan {
        OuterScan {
            q,
            k,
            v,
            log_decay,
            write_scale: None,
            scale: self.scale() as f32,
            read_before: false,
        }
    }
}
