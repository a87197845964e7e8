//! Retention, the mixer of RetNet (arXiv 2307.08621).
//!
//! `S_t = gamma S_{t-1} + k_t v_t^T`, `o_t = K^-1/2 S_t^T q_t` with a fixed decay for each head,
//! `gamma_h = 1 - 2^(-5-h)`, and rotary positions on q and k;
//! `out = W_o (RMSNorm(o) * silu(W_g u))`. Official code: flash-linear-attention
//! `fla/layers/multiscale_retention.py`, `fla/ops/retention/naive.py`.

#[cfg(feature = "zoo")]
use super::{Context, StepState, Write};
use super::{Definition, Mixer, NO_STEPS, Planner, Shape, Size, Taps, Weights};
use crate::kernels::rms_norm as norm;
#[cfg(feature = "zoo")]
use crate::model::tensors::Tensors;
#[cfg(feature = "zoo")]
use crate::parts::qkv::Options;
use crate::parts::qkv::Qkv;
use crate::plan::outer_scan::OuterScan;
use crate::plan::{Activation, Columns};
use crate::random::Random;
#[cfg(feature = "zoo")]
use crate::step::{linear, multiply, rms_norm, rotate, silu};

/// The registry's entry.
pub static DEFINITION: Definition = Definition {
    id: "retnet",
    name: "Retention (RetNet)",
    glossary: &[
        ("u", "[T, D] normalised input of the layer"),
        ("q, k", "[T, H, K] query and key, rotated by position"),
        ("v", "[T, H, V] value"),
        ("gamma", "[H] decay, the same for every token"),
        ("S", "[H, K, V] state"),
    ],
    ignores: &[NO_STEPS],
    size: Size::heads_of_64,
    random,
};

/// Weights of one layer.
#[derive(Clone)]
pub struct RetNet {
    /// Model width D.
    pub width: usize,
    /// Heads H.
    pub heads: usize,
    /// Key width K of a head, even.
    pub key: usize,
    /// Value width V of a head.
    pub value: usize,
    /// Base of the rotary angles.
    pub theta: f64,
    /// `[2HK + HV (+ HV), D]`, rows q, k, v, output gate if there is one.
    pub in_proj: Weights,
    /// What is done to q, k and v before they are rotated.
    pub qkv: Qkv,
    /// False if the output is not gated.
    pub gated: bool,
    /// `[V]`, shared by the heads.
    pub norm: Weights,
    /// Added to the mean square.
    pub eps: f32,
    /// `[D, HV]`.
    pub out_proj: Weights,
}

fn random(size: &Size, random: &mut Random) -> Box<dyn Mixer> {
    let (keys, values) = (size.heads * size.key, size.heads * size.value);
    Box::new(RetNet {
        width: size.width,
        heads: size.heads,
        key: size.key,
        value: size.value,
        theta: 10_000.0,
        in_proj: random
            .normals(
                2 * (keys + values) * size.width,
                (size.width as f64).sqrt().recip(),
            )
            .into(),
        qkv: Qkv::default(),
        gated: true,
        norm: vec![1.0; size.value].into(),
        eps: 1e-5,
        out_proj: random
            .normals(size.width * values, (values as f64).sqrt().recip())
            .into(),
    })
}

/// ln(1 - 2^(-5-h)) of each head.
pub fn log_gammas(heads: usize) -> Vec<f64> {
    (0..heads)
        .map(|h| (-(2f64.powi(-5 - h as i32))).ln_1p())
        .collect()
}

#[cfg(feature = "zoo")]
impl RetNet {
    /// Takes the tensors of the official layer (`fla/layers/multiscale_retention.py`).
    ///
    /// # Errors
    /// A sentence if a tensor is missing or has another shape.
    pub fn load(
        t: &mut Tensors<'_>,
        size: &Size,
        options: &Options,
        eps: f32,
    ) -> Result<RetNet, String> {
        let Size { width, heads, .. } = *size;
        let values = heads * size.value;
        let (mut rows, qkv) = Qkv::load(t, size, options)?;
        if options.gate {
            rows.extend_from_slice(&t.take("g_proj.weight", &[values, width])?);
        }
        Ok(RetNet {
            width,
            heads,
            key: size.key,
            value: size.value,
            theta: 10_000.0,
            in_proj: rows.into(),
            qkv,
            gated: options.gate,
            norm: Qkv::load_norm(t, size.value, options)?,
            eps,
            out_proj: t.take("o_proj.weight", &[width, values])?,
        })
    }
}

impl RetNet {
    fn keys(&self) -> usize {
        self.heads * self.key
    }

    fn values(&self) -> usize {
        self.heads * self.value
    }
}

impl Mixer for RetNet {
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
        let mut all = vec![&self.in_proj, &self.norm, &self.out_proj];
        all.extend(self.qkv.weights());
        all
    }

    #[cfg(feature = "zoo")]
    fn step(&self, state: &mut StepState, u: &[f64], context: &Context<'_>) -> Vec<f64> {
        let (keys, values, change) = (self.keys(), self.values(), context.change);
        let projected = linear(u, &self.in_proj, None);
        let (qkv, z) = projected.split_at(2 * keys + values);
        let mut qkv = self.qkv.step(state, qkv.to_vec(), 2 * keys);
        rotate(
            &mut qkv[..2 * keys],
            (self.key, self.key),
            self.theta,
            state.position,
        );
        state.position += 1;
        let (q, rest) = qkv.split_at(keys);
        let (k, v) = rest.split_at(keys);
        let log_decay = log_gammas(self.heads)
            .iter()
            .flat_map(|g| vec![g + f64::from(change.log_decay_shift); self.key])
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
        let [qkv, z] = projected.split([2 * keys + values, gates]);
        let [qk, v] = self.qkv.plan(p, qkv, 2 * keys);
        let [q, k] = p
            .rotate("rotated", qk, (self.key, self.key), self.theta)
            .split([keys, keys]);
        let gammas: Weights = log_gammas(self.heads).iter().map(|&g| g as f32).collect();
        let gammas = Columns::same(p.weight("log_gamma", &gammas), self.heads);
        let shift = Activation {
            shift: p.change.log_decay_shift,
            ..Activation::default()
        };
        let log_decay = p.gates("log_decay", self.heads);
        p.activate(gammas, &shift, log_decay);
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
