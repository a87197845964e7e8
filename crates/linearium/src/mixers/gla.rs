//! GLA, gated linear attention (arXiv 2312.06635).
//!
//! `S_t = diag(exp(g_t)) S_{t-1} + k_t v_t^T`, `o_t = K^-1/2 S_t^T q_t` for each head, with
//! `g = logsigmoid(W_2 W_1 u + b) / 16`; `out = W_o (RMSNorm(o) * silu(W_g u))`. Official code:
//! flash-linear-attention `fla/layers/gla.py`, `fla/ops/gla/naive.py`.

use super::outer_scan::{Inputs, OuterScan};
use super::{
    Change, Columns, Decay, Definition, Io, Linear, Mixer, Plan, Planner, Shape, Size, StepState,
    Taps, Weights, Write, linear, rms_norm, silu, softplus,
};
use crate::kernels::activate::{self, Activate};
use crate::kernels::rms_norm::{self as norm, RmsNorm};
use crate::random::Random;
use crate::recording::{BufferId, NONE, Recording};

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
    /// `[2HK + 2HV + rank, D]`, rows q, k, v, output gate, W_1.
    pub in_proj: Weights,
    /// W_2, `[HK, rank]`.
    pub gate_proj: Weights,
    /// b, `[HK]`.
    pub gate_bias: Weights,
    /// What the log-decay is divided by (16).
    pub normaliser: f32,
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
        gate_proj: random
            .normals(keys * rank, (rank as f64).sqrt().recip())
            .into(),
        gate_bias: vec![0.0; keys].into(),
        normaliser: 16.0,
        norm: vec![1.0; size.value].into(),
        eps: 1e-5,
        out_proj: random
            .normals(size.width * values, (values as f64).sqrt().recip())
            .into(),
    })
}

impl Gla {
    fn keys(&self) -> usize {
        self.heads * self.key
    }

    fn values(&self) -> usize {
        self.heads * self.value
    }

    fn rows(&self) -> usize {
        2 * self.keys() + 2 * self.values() + self.rank
    }
}

impl Mixer for Gla {
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
        [
            &self.in_proj,
            &self.gate_proj,
            &self.gate_bias,
            &self.norm,
            &self.out_proj,
        ]
        .iter()
        .map(|w| w.len())
        .sum()
    }

    fn step(&self, state: &mut StepState, u: &[f64], change: &Change, _: usize) -> Vec<f64> {
        let (keys, values) = (self.keys(), self.values());
        let projected = linear(u, &self.in_proj, None);
        let (q, rest) = projected.split_at(keys);
        let (k, rest) = rest.split_at(keys);
        let (v, rest) = rest.split_at(values);
        let (z, low) = rest.split_at(values);
        let gate = linear(low, &self.gate_proj, Some(&self.gate_bias));
        let log_decay = gate
            .iter()
            .map(|g| -softplus(-g) / f64::from(self.normaliser) + f64::from(change.log_decay_shift))
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
        let projected = planner.tapped("projected", rows * self.rows());
        let log_decay = planner.own("log_decay", rows * keys);
        let all = Columns::all(projected, self.rows());
        let inputs = Inputs {
            q: all.part(0, keys),
            k: all.part(keys, keys),
            v: all.part(2 * keys, values),
            log_decay,
            per_key: true,
            write_scale: None,
            scale: (self.key as f32).sqrt().recip(),
        };
        let scan = OuterScan::plan(planner, inputs, self.shape(), self.heads);
        let taps = Taps {
            q: inputs.q,
            k: inputs.k,
            heads_per_group: 1,
            decay: Decay::PerKey(Columns::all(log_decay, keys)),
            write_scale: None,
            scale: inputs.scale * planner.change.write_factor,
            state: Some(scan.state),
            left_window: scan.window.as_ref().map(|w| w.state),
            window: planner.change.window,
            steps: None,
        };
        let linear = |planner: &mut Planner, name, weight, outputs| Linear {
            weight: planner.weight(name, weight),
            bias: NONE,
            outputs,
        };
        Box::new(GlaPlan {
            width: self.width,
            keys,
            values,
            value: self.value,
            rank: self.rank,
            eps: self.eps,
            multiplier: 1.0 / self.normaliser,
            log_decay_shift: planner.change.log_decay_shift,
            in_proj: linear(planner, "in_proj", &self.in_proj, self.rows()),
            projected: all,
            gate_proj: linear(planner, "gate_proj", &self.gate_proj, keys),
            gate: planner.shared("gate", rows * keys),
            gate_bias: planner.weight("gate_bias", &self.gate_bias),
            log_decay,
            scan,
            norm: planner.weight("norm", &self.norm),
            normed: planner.shared("normed", rows * values),
            out_proj: linear(planner, "out_proj", &self.out_proj, self.width),
            taps,
        })
    }
}

struct GlaPlan {
    width: usize,
    keys: usize,
    values: usize,
    value: usize,
    rank: usize,
    eps: f32,
    multiplier: f32,
    log_decay_shift: f32,
    in_proj: Linear,
    projected: Columns,
    gate_proj: Linear,
    gate: BufferId,
    gate_bias: BufferId,
    log_decay: BufferId,
    scan: OuterScan,
    norm: BufferId,
    normed: BufferId,
    out_proj: Linear,
    taps: Taps,
}

impl Plan for GlaPlan {
    fn record(&self, recording: &mut Recording, t: usize, position: usize, io: Io) {
        let u = Columns::all(io.u, self.width);
        self.in_proj
            .record(recording, t, u, None, self.projected.buffer);
        let low = self
            .projected
            .part(2 * self.keys + 2 * self.values, self.rank);
        self.gate_proj.record(recording, t, low, None, self.gate);
        recording.push(
            &activate::KERNEL,
            &Activate {
                t: t as u32,
                width: self.keys as u32,
                x_stride: self.keys as u32,
                x_offset: 0,
                function: activate::LOG_SIGMOID,
                has_bias: 1,
                has_scale: 0,
                has_threshold: 0,
                min: f32::MIN,
                max: 0.0,
                multiplier: self.multiplier,
                shift: self.log_decay_shift,
            },
            &[self.gate, self.gate_bias, NONE, NONE],
            &[self.log_decay],
        );
        self.scan.record(recording, t, position);
        recording.push(
            &norm::KERNEL,
            &RmsNorm {
                t: t as u32,
                width: self.values as u32,
                group: self.value as u32,
                weight_len: self.value as u32,
                eps: self.eps,
                gate: norm::NORM_THEN_GATE,
                z_stride: self.projected.stride as u32,
                z_offset: (2 * self.keys + self.values) as u32,
            },
            &[self.scan.out, self.norm, self.projected.buffer],
            &[self.normed],
        );
        let x = Columns::all(self.normed, self.values);
        self.out_proj
            .record(recording, t, x, Some(io.residual), io.out);
    }

    fn taps(&self) -> &Taps {
        &self.taps
    }
}
