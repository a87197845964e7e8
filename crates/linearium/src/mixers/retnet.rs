//! Retention, the mixer of RetNet (arXiv 2307.08621).
//!
//! `S_t = gamma S_{t-1} + k_t v_t^T`, `o_t = K^-1/2 S_t^T q_t` with a fixed decay for each head,
//! `gamma_h = 1 - 2^(-5-h)`, and rotary positions on q and k;
//! `out = W_o (RMSNorm(o) * silu(W_g u))`. Official code: flash-linear-attention
//! `fla/layers/multiscale_retention.py`, `fla/ops/retention/naive.py`.

use std::sync::Arc;

use super::outer_scan::{Inputs, OuterScan};
use super::{
    Change, Columns, Decay, Definition, Io, Linear, Mixer, Plan, Planner, Shape, Size, StepState,
    Taps, Weights, Write, linear, rms_norm, rotate, silu,
};
use crate::kernels::activate::{self, Activate};
use crate::kernels::rms_norm::{self as norm, RmsNorm};
use crate::kernels::rotary::{self, Rotary};
use crate::random::Random;
use crate::recording::{BufferId, NONE, Recording};

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
    /// `[2HK + 2HV, D]`, rows q, k, v, output gate.
    pub in_proj: Weights,
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
            heads: self.heads,
            key: self.key,
            value: self.value,
            state: self.heads * self.key * self.value,
            tail: 0,
            cache_per_token: 0,
        }
    }

    fn parameters(&self) -> usize {
        self.in_proj.len() + self.norm.len() + self.out_proj.len()
    }

    fn step(&self, state: &mut StepState, u: &[f64], change: &Change, _: usize) -> Vec<f64> {
        let (keys, values) = (self.keys(), self.values());
        let mut projected = linear(u, &self.in_proj, None);
        rotate(
            &mut projected[..2 * keys],
            self.key,
            self.theta,
            state.position,
        );
        state.position += 1;
        let (q, rest) = projected.split_at(keys);
        let (k, rest) = rest.split_at(keys);
        let (v, z) = rest.split_at(values);
        let log_decay = log_gammas(self.heads)
            .iter()
            .flat_map(|g| vec![g + f64::from(change.log_decay_shift); self.key])
            .collect();
        let key = k
            .iter()
            .map(|k| k * f64::from(change.write_factor))
            .collect();
        let shape = self.shape();
        state.update(
            Write {
                log_decay,
                key,
                value: v.to_vec(),
            },
            &shape,
            change.window,
        );
        let o = state.read(q, (self.key as f64).sqrt().recip(), &shape);
        let mut o = rms_norm(&o, &self.norm, self.value, f64::from(self.eps));
        for (o, z) in o.iter_mut().zip(z) {
            *o *= silu(*z);
        }
        linear(&o, &self.out_proj, None)
    }

    fn plan(&self, planner: &mut Planner) -> Box<dyn Plan> {
        let (rows, keys, values) = (planner.segment, self.keys(), self.values());
        let width = 2 * (keys + values);
        let projected = planner.shared("projected", rows * width);
        let rotated = planner.tapped("rotated", rows * 2 * keys);
        let log_decay = planner.own("log_decay", rows * self.heads);
        let qk = Columns::all(rotated, 2 * keys);
        let all = Columns::all(projected, width);
        let inputs = Inputs {
            q: qk.part(0, keys),
            k: qk.part(keys, keys),
            v: all.part(2 * keys, values),
            log_decay,
            per_key: false,
            write_scale: None,
            scale: (self.key as f32).sqrt().recip(),
        };
        let scan = OuterScan::plan(planner, inputs, self.shape(), self.heads);
        let taps = Taps {
            q: inputs.q,
            k: inputs.k,
            heads_per_group: 1,
            decay: Decay::Scalar(Columns::all(log_decay, self.heads)),
            write_scale: None,
            scale: inputs.scale * planner.change.write_factor,
            state: Some(scan.state),
            left_window: scan.window.as_ref().map(|w| w.state),
            window: planner.change.window,
            steps: None,
        };
        let gammas: Weights = Arc::from_iter(log_gammas(self.heads).iter().map(|&g| g as f32));
        let linear = |planner: &mut Planner, name, weight, outputs| Linear {
            weight: planner.weight(name, weight),
            bias: NONE,
            outputs,
        };
        Box::new(RetNetPlan {
            width: self.width,
            heads: self.heads,
            key: self.key,
            value: self.value,
            eps: self.eps,
            log_decay_shift: planner.change.log_decay_shift,
            in_proj: linear(planner, "in_proj", &self.in_proj, width),
            projected: all,
            angles: planner.rotary(self.theta, self.key),
            rotated,
            gammas: planner.weight("log_gamma", &gammas),
            log_decay,
            scan,
            norm: planner.weight("norm", &self.norm),
            normed: planner.shared("normed", rows * values),
            out_proj: linear(planner, "out_proj", &self.out_proj, self.width),
            taps,
        })
    }
}

struct RetNetPlan {
    width: usize,
    heads: usize,
    key: usize,
    value: usize,
    eps: f32,
    log_decay_shift: f32,
    in_proj: Linear,
    projected: Columns,
    angles: BufferId,
    rotated: BufferId,
    gammas: BufferId,
    log_decay: BufferId,
    scan: OuterScan,
    norm: BufferId,
    normed: BufferId,
    out_proj: Linear,
    taps: Taps,
}

impl Plan for RetNetPlan {
    fn record(&self, recording: &mut Recording, t: usize, position: usize, io: Io) {
        let (keys, values) = (self.heads * self.key, self.heads * self.value);
        let u = Columns::all(io.u, self.width);
        self.in_proj
            .record(recording, t, u, None, self.projected.buffer);
        recording.push(
            &rotary::KERNEL,
            &Rotary {
                t: t as u32,
                heads: 2 * self.heads as u32,
                key: self.key as u32,
                x_stride: self.projected.stride as u32,
                x_offset: 0,
            },
            &[self.projected.buffer, self.angles],
            &[self.rotated],
        );
        recording.push(
            &activate::KERNEL,
            &Activate {
                t: t as u32,
                width: self.heads as u32,
                x_stride: 0,
                x_offset: 0,
                function: activate::IDENTITY,
                has_bias: 0,
                has_scale: 0,
                has_threshold: 0,
                min: f32::MIN,
                max: f32::MAX,
                multiplier: 1.0,
                shift: self.log_decay_shift,
            },
            &[self.gammas, NONE, NONE, NONE],
            &[self.log_decay],
        );
        self.scan.record(recording, t, position);
        recording.push(
            &norm::KERNEL,
            &RmsNorm {
                t: t as u32,
                width: values as u32,
                group: self.value as u32,
                weight_len: self.value as u32,
                eps: self.eps,
                gate: norm::NORM_THEN_GATE,
                z_stride: self.projected.stride as u32,
                z_offset: (2 * keys + values) as u32,
            },
            &[self.scan.out, self.norm, self.projected.buffer],
            &[self.normed],
        );
        let x = Columns::all(self.normed, values);
        self.out_proj
            .record(recording, t, x, Some(io.residual), io.out);
    }

    fn taps(&self) -> &Taps {
        &self.taps
    }
}
