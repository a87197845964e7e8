//! RWKV-4 (arXiv 2305.13048): an attention without a query, whose weights decay and which is kept as
//! two sums.
//!
//! `x*_t = m* x_t + (1 - m*) x_{t-1}` for k, v and r; `k = W_k xk`, `v = W_v xv`, `r = W_r xr`; for
//! each channel `y_t = (sum_{i<t} e^{(t-1-i) w + k_i} v_i + e^{u + k_t} v_t) / (the same with v = 1)`
//! with `w = -e^time_decay`; `out = W_o (sigma(r) y)`. Official code: BlinkDL/RWKV-LM,
//! `RWKV-v4/src/model.py` (RWKV_TimeMix), `RWKV-v4/cuda/wkv_cuda.cu`.

use super::{
    Columns, Context, Decay, Definition, Mixer, NO_STEPS, Planner, Shape, Size, StepState, Taps,
    Weights,
};
use crate::kernels::pointwise;
use crate::kernels::scan_wkv::{self, ScanWkv};
use crate::model::tensors::Tensors;
use crate::plan::pointwise::Gate;
use crate::plan::pruned::ConstantGap;
use crate::random::Random;
use crate::step::{linear, sigmoid};

/// What does not act on a WKV scan.
pub(super) const IGNORES: &[(&str, &str)] = &[
    NO_STEPS,
    (
        "write-factor",
        "it divides by the sum of what was written, so that a factor of all writes cancels",
    ),
    (
        "window",
        "its sums are kept relative to their largest term, and with that term gone from the window \
         nothing exact is left",
    ),
];

/// The registry's entry.
pub static DEFINITION: Definition = Definition {
    id: "rwkv4",
    name: "RWKV-4",
    glossary: &[
        ("u", "[T, D] normalised input of the layer"),
        ("k", "[T, D] logarithm of a token's weight"),
        ("v", "[T, D] value"),
        ("r", "[T, D] gate of what is read"),
        ("w", "[D] log-decay of the weights, below 0"),
        ("time_first", "[D] bonus of the present token"),
    ],
    ignores: IGNORES,
    size: |width| Size {
        width,
        heads: width,
        key: 1,
        value: 1,
    },
    random,
};

/// Weights of one layer.
#[derive(Clone)]
pub struct Rwkv4 {
    /// Model width D.
    pub width: usize,
    /// Share of the present token in what k, v and r are made of, `[D]` each.
    pub mix: [Weights; 3],
    /// W_k, `[D, D]`.
    pub key: Weights,
    /// W_v, `[D, D]`.
    pub value: Weights,
    /// W_r, `[D, D]`.
    pub receptance: Weights,
    /// `w = -exp(time_decay)`, `[D]`.
    pub time_decay: Weights,
    /// The bonus, `[D]`.
    pub time_first: Weights,
    /// W_o, `[D, D]`.
    pub out_proj: Weights,
}

fn random(size: &Size, random: &mut Random) -> Box<dyn Mixer> {
    Box::new(Rwkv4::random(size.width, 1.0, random))
}

impl Rwkv4 {
    /// Decays, bonus and shares as the official code initialises its first layer; matrices that hand
    /// through what they get, the last one times `gain`, where the official ones begin with zeros.
    pub(super) fn random(width: usize, gain: f64, random: &mut Random) -> Rwkv4 {
        let channel = |f: fn(f64) -> f64| -> Weights {
            let last = (width.max(2) - 1) as f64;
            (0..width).map(|c| f(c as f64 / last) as f32).collect()
        };
        let deviation = (width as f64).sqrt().recip();
        let mut matrix =
            |gain: f64| -> Weights { random.normals(width * width, gain * deviation).into() };
        Rwkv4 {
            width,
            mix: [channel(|x| x), channel(|x| x), channel(f64::sqrt)],
            key: matrix(1.0),
            value: matrix(1.0),
            receptance: matrix(1.0),
            time_decay: channel(|x| -5.0 + 8.0 * x.powf(0.7)),
            time_first: (0..width)
                .map(|c| (0.3f64.ln() + 0.5 * ((c + 1) % 3) as f64 - 0.5) as f32)
                .collect(),
            out_proj: matrix(gain),
        }
    }

    /// The layer of width D from its official tensors.
    ///
    /// # Errors
    /// A sentence if a tensor is missing or has another shape.
    pub fn load(t: &mut Tensors<'_>, width: usize) -> Result<Rwkv4, String> {
        let mut mix = |name: &str| t.take(&format!("time_mix_{name}"), &[1, 1, width]);
        let mix = [mix("k")?, mix("v")?, mix("r")?];
        let mut matrix = |name: &str| t.take(&format!("{name}.weight"), &[width, width]);
        Ok(Rwkv4 {
            width,
            mix,
            key: matrix("key")?,
            value: matrix("value")?,
            receptance: matrix("receptance")?,
            out_proj: matrix("output")?,
            time_decay: t.take("time_decay", &[width])?,
            time_first: t.take("time_first", &[width])?,
        })
    }

    /// All weights.
    pub(super) fn all_weights(&self) -> Vec<&Weights> {
        let [k, v, r] = &self.mix;
        let matrices = [&self.key, &self.value, &self.receptance, &self.out_proj];
        [k, v, r, &self.time_decay, &self.time_first]
            .into_iter()
            .chain(matrices)
            .collect()
    }

    /// The log-decay of each channel.
    fn log_decays(&self, shift: f32) -> impl Iterator<Item = f64> + '_ {
        let rates = self.time_decay.iter();
        rates.map(move |&d| f64::from(shift) - f64::from(d).exp())
    }

    /// One token in f64, before W_o.
    pub(super) fn step_gated(
        &self,
        state: &mut StepState,
        u: &[f64],
        context: &Context<'_>,
    ) -> Vec<f64> {
        let before = state.carried("token before", self.width);
        let [k, v, r] = [
            (&self.mix[0], &self.key),
            (&self.mix[1], &self.value),
            (&self.mix[2], &self.receptance),
        ]
        .map(|(mix, weight)| {
            let mixed: Vec<f64> = (u.iter().zip(before.iter()))
                .zip(mix.iter())
                .map(|((x, before), &m)| f64::from(m) * x + (1.0 - f64::from(m)) * before)
                .collect();
            linear(&mixed, weight, None)
        });
        before.copy_from_slice(u);
        let sums = state.carried("numerator, denominator, maximum", 3 * self.width);
        let (a, rest) = sums.split_at_mut(self.width);
        let (b, o) = rest.split_at_mut(self.width);
        let mut read = Vec::new();
        for (c, w) in self.log_decays(context.change.log_decay_shift).enumerate() {
            if b[c] == 0.0 {
                o[c] = f64::NEG_INFINITY;
            }
            let bonus = f64::from(self.time_first[c]) + k[c];
            let most = o[c].max(bonus);
            let (old, new) = ((o[c] - most).exp(), (bonus - most).exp());
            read.push((old * a[c] + new * v[c]) / (old * b[c] + new));
            let most = (o[c] + w).max(k[c]);
            let (old, new) = ((o[c] + w - most).exp(), (k[c] - most).exp());
            a[c] = old * a[c] + new * v[c];
            b[c] = old * b[c] + new;
            o[c] = most;
        }
        let gated = r.iter().zip(&read).map(|(&r, y)| sigmoid(r) * y).collect();
        state.last_value = v;
        state.last_read = read;
        gated
    }

    /// Notes the same.
    pub(super) fn plan_gated(&self, p: &mut Planner) -> (Columns, Taps) {
        let d = self.width;
        let [mix_k, mix_v, mix_r] = &self.mix;
        let shares = [("k mixed", mix_k), ("v mixed", mix_v), ("r mixed", mix_r)];
        let [k, v, r] = p.shift_tokens(p.io.u, shares);
        let k = p.project("k", &self.key, None, k);
        let v = p.project("v", &self.value, None, v);
        let r = p.project("r", &self.receptance, None, r);
        let log_decay: Weights = self
            .log_decays(p.change.log_decay_shift)
            .map(|w| w as f32)
            .collect();
        let tapped = p.tapped_layer == Some(p.layer);
        p.show_value(v);
        let [k, v] = match p.enter_constant_scan() {
            ConstantGap::Closed => [k, v],
            gap => {
                let copies = matches!(gap, ConstantGap::Copies);
                [
                    p.over_all("k of all tokens", k, copies, NO_KEY),
                    p.over_all("v of all tokens", v, copies, 0.0),
                ]
            }
        };
        let y = p.rows("scanned", d);
        let log_sum = p.rows("log sum", if tapped { d } else { 0 });
        let state = p.state("state", 4 * d);
        let scratch_len = ScanWkv::scratch_len(p.segment, d);
        let reads = [
            k.buffer,
            v.buffer,
            p.weight("log_decay", &log_decay),
            p.weight("time_first", &self.time_first),
        ];
        let writes = [y.buffer, log_sum.buffer, state, p.workspace(scratch_len)];
        p.push(
            &scan_wkv::KERNEL,
            &ScanWkv {
                t: 0,
                channels: d as u32,
                k_stride: k.stride as u32,
                k_offset: k.offset as u32,
                v_stride: v.stride as u32,
                v_offset: v.offset as u32,
                has_log_sum: tapped.into(),
            },
            &reads,
            &writes,
        );
        p.leave_all_rows();
        let one = Columns::same(p.weight("one", &vec![1.0].into()), 1);
        let bonus = self.time_first.iter().map(|u| u.exp()).collect();
        let angles = vec![0.0; d].into();
        let taps = Taps {
            heads_per_group: d,
            write_scale: Some(k),
            normaliser: Some(log_sum),
            in_logs: true,
            bonus: Some(bonus),
            state: Some(state),
            ..Taps::new(one, one, Decay::Turning(log_decay, angles))
        };
        (
            p.product("gated", r, y, &Gate::of(pointwise::SIGMOID)),
            taps,
        )
    }

    /// Dimensions of the scan and the token before.
    pub(super) fn scan_shape(&self) -> Shape {
        Shape {
            state: 4 * self.width,
            tail: self.width,
            ..Shape::recurrent(self.width, 1, 1)
        }
    }
}

/// The key of a token that writes nothing.
const NO_KEY: f32 = -1e30;

impl Mixer for Rwkv4 {
    fn definition(&self) -> &'static Definition {
        &DEFINITION
    }

    fn shape(&self) -> Shape {
        self.scan_shape()
    }

    fn weights(&self) -> Vec<&Weights> {
        self.all_weights()
    }

    fn step(&self, state: &mut StepState, u: &[f64], context: &Context<'_>) -> Vec<f64> {
        let gated = self.step_gated(state, u, context);
        linear(&gated, &self.out_proj, None)
    }

    fn plan(&self, p: &mut Planner) -> Taps {
        let (gated, taps) = self.plan_gated(p);
        p.project_out(&self.out_proj, None, gated);
        taps
    }
}
