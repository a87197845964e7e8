//! GLA, gated linear attention (arXiv 2312.06635).
//!
//! `S_t = diag(exp(g_t)) S_{t-1} + k_t v_t^T`, `o_t = K^-1/2 S_t^T q_t` for each head, with
//! `g = logsigmoid(W_2 W_1 u + b) / 16`; `out = W_o (RMSNorm(o) * silu(W_g u))`. Official code:
//! flash-linear-attention `fla/layers/gla.py`, `fla/ops/gla/naive.py`.

#[cfg(feature = "zoo")]
use super::{Context, StepState, Write};
use super::{Definition, Mixer, NO_STEPS, Planner, Shape, Size, Taps, Weights};
use crate::kernels::{activate, rms_norm as norm};
#[cfg(feature = "zoo")]
use crate::model::tensors::{Tensors, repeated};
#[cfg(feature = "zoo")]
use crate::parts::qkv::Options;
use crate::parts::qkv::Qkv;
use crate::plan::Activation;
use crate::plan::outer_scan::OuterScan;
use crate::random::Random;
#[cfg(feature = "zoo")]
use crate::step::{linear, multiply, rms_norm, silu, softplus};

/// The registry's entry.
pub static DEFINITION: Definition = Definition {
    id: "gla",
    name: "GLA (gated linear attention)",
    glossary: &[
        ("u", "[T, D] normalised input of the layer"),
        ("q, k", "[T, H, K] query and key"),
        ("v", "[T, H, V] value"),
        ("g", "[T, H, K] log-decay of each key channel, below 0"),
        ("S", "[H, K, V] state"),
    ],
    ignores: &[NO_STEPS],
    size: Size::heads_of_64,
    random,
};

/// Weights of one layer.
#[derive(Clone)]
pub struct Gla {
    /// Model width D.
    pub width: usize,
    /// Heads H.
    pub heads: usize,
    /// Key width K of a head.
    pub key: usize,
    /// Value width V of a head.
    pub value: usize,
    /// Rank of the gate's projection.
    pub rank: usize,
    /// `[2HK + HV (+ HV) + rank, D]`, rows q, k, v, output gate if there is one, W_1.
    pub in_proj: Weights,
    /// What is done to q, k and v before the scan.
    pub qkv: Qkv,
    /// False if the output is not gated.
    pub gated: bool,
    /// W_2, `[HK, rank]`.
    pub gate_proj: Weights,
    /// b, `[HK]`.
    pub gate_bias: Weights,
    /// What the log-decay is divided by (16).
    pub normaliser: f32,
    /// The lowest log-decay, if there is one.
    pub clamp_min: Option<f32>,
    /// `[V]`, shared by the heads.
    pub norm: Weights,
    /// Added to the mean square.
    pub eps: f32,
    /// `[D, HV]`.
    pub out_proj: Weights,
}

fn random(size: &Size, random: &mut Random) -> Box<dyn Mixer> {
    let (keys, values, rank) = (size.heads * size.key, size.heads * size.value, 16);
    Box::new(Gla {
        width: size.width,
        heads: size.heads,
        key: size.key,
        value: size.value,
        rank,
        in_proj: random
            .normals(
                (2 * keys + 2 * values + rank) * size.width,
                (size.width as f64).sqrt().recip(),
            )
            .into(),
        qkv: Qkv::default(),
        gated: true,
        gate_proj: random
            .normals(keys * rank, (rank as f64).sqrt().recip())
            .into(),
        gate_bias: vec![0.0; keys].into(),
        normaliser: 16.0,
        clamp_min: None,
        norm: vec![1.0; size.value].into(),
        eps: 1e-5,
        out_proj: random
            .normals(size.width * values, (values as f64).sqrt().recip())
            .into(),
    })
}

#[cfg(feature = "zoo")]
impl Gla {
    /// Takes the tensors of the official layer (`fla/layers/gla.py`); `rank` is that of the gate.
    ///
    /// # Errors
    /// A sentence if a tensor is missing or has another shape.
    pub fn load(
        t: &mut Tensors<'_>,
        size: &Size,
        options: &Options,
        rank: usize,
        clamp_min: Option<f32>,
        eps: f32,
    ) -> Result<Gla, String> {
        let Size { width, heads, .. } = *size;
        let values = heads * size.value;
        let (mut rows, qkv) = Qkv::load(t, size, options)?;
        if options.gate {
            rows.extend_from_slice(&t.take("g_proj.weight", &[values, width])?);
        }
        rows.extend_from_slice(&t.take("gk_proj.0.weight", &[rank, width])?);
        let times = options.heads_per_group;
        let own = heads / times * size.key;
        let gate_proj = t.take("gk_proj.1.weight", &[own, rank])?;
        let gate_bias = t.take("gk_proj.1.bias", &[own])?;
        Ok(Gla {
            width,
            heads,
            key: size.key,
            value: size.value,
            rank,
            in_proj: rows.into(),
            qkv,
            gated: options.gate,
            gate_proj: repeated(&gate_proj, size.key * rank, times),
            gate_bias: repeated(&gate_bias, size.key, times),
            normaliser: 16.0,
            clamp_min,
            norm: Qkv::load_norm(t, size.value, options)?,
            eps,
            out_proj: t.take("o_proj.weight", &[width, values])?,
        })
    }
}

impl Gla {
    fn keys(&self) -> usize {
        self.heads * self.key
    }

    fn values(&self) -> usize {
        self.heads * self.value
    }
}

impl Mixer for Gla {
    fn definition(&self) -> &'static Definition {
        &DEFINITION
    }

    fn shape(&self) -> Shape {
        Shape {
            tail: self.qkv.tail(2 * self.keys() + self.values()),
            ..Shape::recurrent(self.heads, self.key, self.value)
        }
    }

    fn weights(&self) -> Vec<&Weights> {
        let mut all = vec![
            &self.in_proj,
            &self.gate_proj,
            &self.gate_bias,
            &self.norm,
            &self.out_proj,
        ];
        all.extend(self.qkv.weights());
        all
    }

    #[cfg(feature = "zoo")]
    fn step(&self, state: &mut StepState, u: &[f64], context: &Context<'_>) -> Vec<f64> {
        let (keys, values, change) = (self.keys(), self.values(), context.change);
        let projected = linear(u, &self.in_proj, None);
        let (qkv, rest) = projected.split_at(2 * keys + values);
        let (z, low) = rest.split_at(if self.gated { values } else { 0 });
        let qkv = self.qkv.step(state, qkv.to_vec(), 2 * keys);
        let (q, rest) = qkv.split_at(keys);
        let (k, v) = rest.split_at(keys);
        let gate = linear(low, &self.gate_proj, Some(&self.gate_bias));
        let log_decay = gate
            .iter()
            .map(|g| -softplus(-g) / f64::from(self.normaliser))
            .map(|g| self.clamp_min.map_or(g, |low| g.max(low.into())))
            .map(|g| g + f64::from(change.log_decay_shift))
            .collect();
        let key = k
            .iter()
            .map(|k| k * f64::from(change.write_factor))
            .collect();
        let shape = self.shape();
        let write = Write {
            log_decay,
            key,
            value: v.to_vec(),
        };
        state.update(write, &shape, change.window);
        let o = state.read(q, (self.key as f64).sqrt().recip(), &shape);
        let o = rms_norm(&o, &self.norm, self.value, f64::from(self.eps));
        if !self.gated {
            return linear(&o, &self.out_proj, None);
        }
        let z: Vec<f64> = z.iter().map(|&z| silu(z)).collect();
        linear(&multiply(&o, &z), &self.out_proj, None)
    }

    fn plan(&self, p: &mut Planner) -> Taps {
        let (keys, values) = (self.keys(), self.values());
        let projected = p.project("projected", &self.in_proj, None, p.io.u);
        let gates = if self.gated { values } else { 0 };
        let [qkv, z, low] = projected.split([2 * keys + values, gates, self.rank]);
        let [qk, v] = self.qkv.plan(p, qkv, 2 * keys);
        let [q, k] = qk.split([keys, keys]);
        let gate = p.project("gate", &self.gate_proj, None, low);
        let log_sigmoid = Activation {
            function: activate::LOG_SIGMOID,
            bias: Some(&self.gate_bias),
            min: self.clamp_min.map_or(f32::MIN, |low| low * self.normaliser),
            max: 0.0,
            multiplier: 1.0 / self.normaliser,
            shift: p.change.log_decay_shift,
            ..Activation::default()
        };
        let log_decay = p.gates("log_decay", keys);
        p.activate(gate, &log_sigmoid, log_decay);
        let scan = OuterScan {
            q,
            k,
            v,
            log_decay,
            write_scale: None,
            scale: (self.key as f32).sqrt().recip(),
            read_before: false,
        };
        let (o, taps) = scan.plan(p, &self.shape());
        let gate = self.gated.then_some((norm::NORM_THEN_GATE, z));
        let o = p.rms_norm("normed", o, &self.norm, self.value, self.eps, gate);
        p.project_out(&self.out_proj, None, o);
        taps
    }
}
