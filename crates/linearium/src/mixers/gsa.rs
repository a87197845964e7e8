//! GSA, gated slot attention (arXiv 2409.07146): softmax attention over a few slots that keys and
//! values are written to.
//!
//! `q, k = silu(W u)`, `v = silu(W u)`, convolved before it where the layer has short convolutions;
//! `g = logsigmoid(W_f u) / 8`, `s = 1 - exp(g)` for each slot m of a head;
//! `A_t = A_{t-1} diag(exp(g_t)) + k_t s_t^T`, `p_t = softmax(A_t^T q_t)`;
//! `S_t = diag(exp(g_t)) S_{t-1} + s_t v_t^T`, `o_t = S_t^T p_t`; `out = W_o RMSNorm(silu(o))`.
//! Official code: flash-linear-attention `fla/layers/gsa.py`, `fla/ops/gsa/naive.py`. A decay
//! factor leaves s as it is. Hidden attention and state are those of S.
//!
//! A is an outer-product scan too: each slot is a head of one value, always 1, whose decay is its
//! own.

use super::{
    Context, Definition, Mixer, NO_STEPS, Planner, Shape, Size, StepState, Taps, Weights, Write,
};
use crate::kernels::{activate, normalise, pointwise};
use crate::model::tensors::Tensors;
use crate::parts::short_conv::ShortConv;
use crate::plan::outer_scan::OuterScan;
use crate::plan::pointwise::Gate;
use crate::plan::{Activation, Columns};
use crate::random::Random;
use crate::step::{linear, rms_norm, silu, softplus, spread};

/// The registry's entry.
pub static DEFINITION: Definition = Definition {
    id: "gsa",
    name: "GSA (gated slot attention)",
    glossary: &[
        ("u", "[T, D] normalised input of the layer"),
        ("q, k", "[T, H, K] query and key"),
        ("v", "[T, H, V] value"),
        ("g", "[T, H, M] log-decay of each slot, below 0"),
        ("s", "[T, H, M] how much goes into each slot, 1 - exp(g)"),
        ("A", "[H, K, M] keys in the slots"),
        ("p", "[T, H, M] attention to the slots"),
        ("S", "[H, M, V] values in the slots, the state"),
    ],
    ignores: &[NO_STEPS],
    size: Size::heads_of_64_in_width,
    random,
};

/// Weights of one layer.
#[derive(Clone, Debug)]
pub struct Gsa {
    /// Model width D, heads H, key width K and value width V of a head.
    pub size: Size,
    /// Slots M of a head.
    pub slots: usize,
    /// Heads G of keys, values and slots, which divide the heads.
    pub groups: usize,
    /// `[HK + GK + GV + GM, D]`, rows q, k, v, f.
    pub in_proj: Weights,
    /// Over the columns q, k, v.
    pub conv: Option<ShortConv>,
    /// What the log-decay is divided by (8).
    pub normaliser: f32,
    /// `[HV]`.
    pub norm: Weights,
    /// Added to the mean square.
    pub eps: f32,
    /// `[D, HV]`.
    pub out_proj: Weights,
}

/// Of one group a head and as many slots as keys, as the official layer by default.
fn random(size: &Size, random: &mut Random) -> Box<dyn Mixer> {
    let Size {
        width,
        heads,
        key,
        value,
    } = *size;
    let (rows, values) = (heads * (3 * key + value), heads * value);
    Box::new(Gsa {
        size: *size,
        slots: key,
        groups: heads,
        in_proj: random
            .normals(rows * width, (width as f64).sqrt().recip())
            .into(),
        conv: None,
        normaliser: 8.0,
        norm: vec![1.0; values].into(),
        eps: 1e-5,
        out_proj: random
            .normals(width * values, (values as f64).sqrt().recip())
            .into(),
    })
}

/// The options of the official layer.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Slots M of a head.
    pub slots: usize,
    /// Heads G of keys, values and slots.
    pub groups: usize,
    /// Width of the short convolutions, and whether they have a bias.
    pub conv: Option<(usize, bool)>,
    /// What the log-decay is divided by.
    pub normaliser: f32,
    /// Added to the mean square in the norm of the output.
    pub eps: f32,
}

impl Gsa {
    /// Takes the tensors of `fla/layers/gsa.py` with its feature map `swish`.
    ///
    /// # Errors
    /// A sentence if a tensor is missing or has another shape, or the groups do not divide the
    /// heads.
    pub fn load(t: &mut Tensors<'_>, size: &Size, options: &Options) -> Result<Gsa, String> {
        let Size {
            width,
            heads,
            key,
            value,
        } = *size;
        let (groups, slots) = (options.groups, options.slots);
        size.check_groups(groups)?;
        let [q, k, v] = [heads * key, groups * key, groups * value];
        let parts = [
            ("q_proj", q),
            ("k_proj", k),
            ("v_proj", v),
            ("f_proj", groups * slots),
        ];
        let convs = [("q_conv1d", q), ("k_conv1d", k), ("v_conv1d", v)];
        Ok(Gsa {
            size: *size,
            slots,
            groups,
            in_proj: t.stacked(&parts, width)?,
            conv: options
                .conv
                .map(|conv| ShortConv::load(t, &convs, conv))
                .transpose()?,
            normaliser: options.normaliser,
            norm: t.take("g_norm.weight", &[heads * value])?,
            eps: options.eps,
            out_proj: t.take("o_proj.weight", &[width, heads * value])?,
        })
    }

    /// Columns of q, k, v.
    fn widths(&self) -> [usize; 3] {
        let Size {
            heads, key, value, ..
        } = self.size;
        [heads * key, self.groups * key, self.groups * value]
    }

    fn per_group(&self) -> usize {
        self.size.heads / self.groups
    }

    /// Of A, a head a slot.
    fn keys(&self) -> Shape {
        Shape::recurrent(self.size.heads * self.slots, self.size.key, 1)
    }

    /// Of S.
    fn values(&self) -> Shape {
        Shape::recurrent(self.size.heads, self.slots, self.size.value)
    }
}

impl Mixer for Gsa {
    fn definition(&self) -> &'static Definition {
        &DEFINITION
    }

    fn shape(&self) -> Shape {
        let values = self.values();
        let channels: usize = self.widths().iter().sum();
        Shape {
            state: values.state + self.keys().state,
            tail: self.conv.as_ref().map_or(0, |c| c.tail(channels)),
            ..values
        }
    }

    fn weights(&self) -> Vec<&Weights> {
        let mut all = vec![&self.in_proj, &self.norm, &self.out_proj];
        all.extend(self.conv.iter().flat_map(ShortConv::weights));
        all
    }

    fn step(&self, state: &mut StepState, u: &[f64], context: &Context<'_>) -> Vec<f64> {
        let Size {
            heads, key, value, ..
        } = self.size;
        let (change, slots, per_group) = (context.change, self.slots, self.per_group());
        let channels = self.widths().iter().sum();
        let projected = linear(u, &self.in_proj, None);
        let (qkv, f) = projected.split_at(channels);
        let qkv = match &self.conv {
            Some(conv) => conv.step(state, "qkv", qkv),
            None => qkv.to_vec(),
        };
        let mut qkv: Vec<f64> = qkv.into_iter().map(silu).collect();
        if self.conv.is_some() {
            // The convolution has an activation of its own, before that of the features.
            qkv = qkv.into_iter().map(silu).collect();
        }
        let [q, k, _] = self.widths();
        let (q, kv) = qkv.split_at(q);
        let (k, v) = kv.split_at(k);
        let k = spread(k, key, per_group);
        let v = spread(v, value, per_group);
        let g: Vec<f64> = f
            .iter()
            .map(|f| -softplus(-f) / f64::from(self.normaliser))
            .collect();
        let g = spread(&g, slots, per_group);
        let s: Vec<f64> = g.iter().map(|g| 1.0 - g.exp()).collect();
        let factor = f64::from(change.write_factor);
        let s: Vec<f64> = s.iter().map(|s| factor * s).collect();
        let log_decay: Vec<f64> = g
            .iter()
            .map(|g| g + f64::from(change.log_decay_shift))
            .collect();
        // For every slot the key of its head.
        let of_slots = |x: &[f64]| spread(x, key, slots);
        let into_slots = of_slots(&k)
            .iter()
            .zip(spread(&s, 1, key))
            .map(|(k, s)| k * s)
            .collect();
        let keys = state.second();
        let write = Write {
            log_decay: spread(&log_decay, 1, key),
            key: into_slots,
            value: vec![1.0; heads * slots],
        };
        keys.update(write, &self.keys(), change.window);
        let scores = keys.read(&of_slots(q), 1.0, &self.keys());
        let p: Vec<f64> = scores
            .chunks_exact(slots)
            .flat_map(|scores| {
                let max = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let e: Vec<f64> = scores.iter().map(|s| (s - max).exp()).collect();
                let sum: f64 = e.iter().sum();
                e.into_iter().map(move |e| e / sum)
            })
            .collect();
        let write = Write {
            log_decay,
            key: s,
            value: v,
        };
        state.update(write, &self.values(), change.window);
        let o = state.read(&p, 1.0, &self.values());
        let o: Vec<f64> = o.into_iter().map(silu).collect();
        let o = rms_norm(&o, &self.norm, heads * value, f64::from(self.eps));
        linear(&o, &self.out_proj, None)
    }

    fn plan(&self, p: &mut Planner) -> Taps {
        let Size {
            heads, key, value, ..
        } = self.size;
        let (slots, per_group) = (self.slots, self.per_group());
        let channels = self.widths().iter().sum();
        let projected = p.project("projected", &self.in_proj, None, p.io.u);
        let [mut qkv, f] = projected.split([channels, self.groups * slots]);
        if let Some(conv) = &self.conv {
            qkv = conv.plan(p, "convolved", qkv, true);
        }
        let [q, k, v] = qkv.split(self.widths());
        let silu = Gate::of(pointwise::SILU);
        let q = p.gate("q", q, &silu);
        let k = p.gate("k", k.spread(key, per_group), &silu);
        let v = p.gate("v", v.spread(value, per_group), &silu);
        let log_sigmoid = Activation {
            function: activate::LOG_SIGMOID,
            max: 0.0,
            multiplier: 1.0 / self.normaliser,
            ..Activation::default()
        };
        let of_groups = p.rows("g", f.width);
        let g = p
            .activate(f, &log_sigmoid, of_groups)
            .spread(slots, per_group);
        let rest = Gate {
            multiplier: -1.0,
            shift: 1.0,
            ..Gate::of(pointwise::EXP)
        };
        let s = p.gate("s", g, &rest);
        let log_decay = p.gates("log_decay", heads * slots);
        let shift = Gate {
            shift: p.change.log_decay_shift,
            ..Gate::default()
        };
        p.gate_into("log_decay", g, &shift, log_decay);
        let ones: Weights = vec![1.0; heads * slots].into();
        let keys = OuterScan {
            q,
            k,
            v: Columns::same(p.weight("ones of slots", &ones), heads * slots),
            log_decay,
            write_scale: Some(s),
            scale: 1.0,
            read_before: false,
        };
        let (scores, _) = keys.plan(p, &self.keys());
        let softmax = (normalise::SOFTMAX, slots, 0.0);
        let attended = p.normalise("attended slots", scores, softmax, [None; 2]);
        let values = OuterScan {
            q: attended,
            k: s,
            v,
            write_scale: None,
            ..keys
        };
        let (o, taps) = values.plan(p, &self.values());
        let o = p.gate("activated", o, &silu);
        let o = p.rms_norm("normed", o, &self.norm, heads * value, self.eps, None);
        p.project_out(&self.out_proj, None, o);
        taps
    }
}
