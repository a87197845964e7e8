//! SSD, the mixer of Mamba-2 (arXiv 2405.21060).
//!
//! `[z|x|B|C|dt] = W_in u`; `[x|B|C] = silu(conv([x|B|C]))`; `dt = softplus(dt + dt_bias)`;
//! for each head `S_t = exp(dt_t A) S_{t-1} + dt_t B_t x_t^T`, `y_t = S_t^T C_t + D x_t`;
//! `out = W_out RMSNorm(y * silu(z))`. Official code: `mamba_ssm/modules/mamba2.py`,
//! `mamba_ssm/modules/ssd_minimal.py`; `transformers` `Mamba2Mixer`.

use super::outer_scan::{Inputs, OuterScan};
use super::{
    Change, Columns, Decay, Definition, Io, Linear, Mixer, Plan, Planner, Shape, Size, StepState,
    Taps, Weights, Write, linear, rms_norm, silu, softplus,
};
use crate::kernels::activate::{self, Activate};
use crate::kernels::causal_conv::{self, CausalConv};
use crate::kernels::rms_norm::{self as norm, RmsNorm};
use crate::kernels::scaled_add::{self, ScaledAdd};
use crate::random::Random;
use crate::recording::{BufferId, NONE, Recording};

/// The registry's entry.
pub static DEFINITION: Definition = Definition {
    id: "ssd",
    name: "SSD (Mamba-2)",
    glossary: &[
        ("u", "[T, D] normalised input of the layer"),
        ("z", "[T, H P] gate"),
        ("x", "[T, H, P] value, after the convolution"),
        ("B", "[T, G, N] key: where to write"),
        ("C", "[T, G, N] query: where to read"),
        ("dt", "[T, H] step size, above 0"),
        ("A", "[H] decay rate, below 0"),
        ("S", "[H, N, P] state"),
        ("D", "[H] skip"),
    ],
    random,
};

/// Weights of one layer. E = H P.
#[derive(Clone)]
pub struct Ssd {
    /// Model width D.
    pub width: usize,
    /// Heads H.
    pub heads: usize,
    /// Head width P.
    pub value: usize,
    /// State width N.
    pub key: usize,
    /// Groups G.
    pub groups: usize,
    /// Width of the convolution.
    pub conv: usize,
    /// `[2E + 2GN + H, D]`, rows z, x, B, C, dt.
    pub in_proj: Weights,
    /// `[2E + 2GN + H]`.
    pub in_bias: Option<Weights>,
    /// `[E + 2GN, conv]`.
    pub conv_weight: Weights,
    /// `[E + 2GN]`.
    pub conv_bias: Option<Weights>,
    /// `[H]`.
    pub dt_bias: Weights,
    /// A = -exp(A_log), `[H]`.
    pub a: Weights,
    /// D, `[H]`.
    pub skip: Weights,
    /// `[E]`.
    pub norm: Weights,
    /// Columns that are normalised together.
    pub norm_group: usize,
    /// Added to the mean square.
    pub eps: f32,
    /// Lowest and highest step size.
    pub dt_limit: (f32, f32),
    /// `[D, E]`.
    pub out_proj: Weights,
    /// `[D]`.
    pub out_bias: Option<Weights>,
}

fn random(size: &Size, random: &mut Random) -> Box<dyn Mixer> {
    let (e, groups, conv) = (size.heads * size.value, 1, 4);
    let channels = e + 2 * groups * size.key;
    let rows = e + channels + size.heads;
    let uniform = |r: &mut Random, low: f64, high: f64| low + (high - low) * r.uniform();
    // Initialisation of mamba2.py: dt log-uniform in [1e-3, 0.1], A uniform in [1, 16].
    let dt_bias: Vec<f32> = (0..size.heads)
        .map(|_| {
            let dt = uniform(random, 1e-3f64.ln(), 0.1f64.ln()).exp();
            (dt + (-(-dt).exp_m1()).ln()) as f32
        })
        .collect();
    let a: Vec<f32> = (0..size.heads)
        .map(|_| -uniform(random, 1.0, 16.0) as f32)
        .collect();
    Box::new(Ssd {
        width: size.width,
        heads: size.heads,
        value: size.value,
        key: size.key,
        groups,
        conv,
        in_proj: random
            .normals(rows * size.width, (size.width as f64).sqrt().recip())
            .into(),
        in_bias: None,
        conv_weight: random
            .normals(channels * conv, 0.5 * (conv as f64).sqrt().recip())
            .into(),
        conv_bias: Some(random.normals(channels, 0.1).into()),
        dt_bias: dt_bias.into(),
        a: a.into(),
        skip: vec![1.0; size.heads].into(),
        norm: vec![1.0; e].into(),
        norm_group: e,
        eps: 1e-5,
        dt_limit: (0.0, f32::INFINITY),
        out_proj: random
            .normals(size.width * e, (e as f64).sqrt().recip())
            .into(),
        out_bias: None,
    })
}

impl Ssd {
    fn inner(&self) -> usize {
        self.heads * self.value
    }

    fn channels(&self) -> usize {
        self.inner() + 2 * self.groups * self.key
    }

    fn rows(&self) -> usize {
        self.inner() + self.channels() + self.heads
    }
}

impl Mixer for Ssd {
    fn definition(&self) -> &'static Definition {
        &DEFINITION
    }

    fn shape(&self) -> Shape {
        Shape {
            heads: self.heads,
            key: self.key,
            value: self.value,
            state: self.heads * self.key * self.value,
            tail: self.channels() * (self.conv - 1),
            cache_per_token: 0,
        }
    }

    fn parameters(&self) -> usize {
        let optional = |w: &Option<Weights>| w.as_ref().map_or(0, |w| w.len());
        [
            &self.in_proj,
            &self.conv_weight,
            &self.dt_bias,
            &self.a,
            &self.skip,
            &self.norm,
        ]
        .iter()
        .map(|w| w.len())
        .sum::<usize>()
            + self.out_proj.len()
            + optional(&self.in_bias)
            + optional(&self.conv_bias)
            + optional(&self.out_bias)
    }

    fn step(&self, state: &mut StepState, u: &[f64], change: &Change, layer: usize) -> Vec<f64> {
        let (e, gn) = (self.inner(), self.groups * self.key);
        let projected = linear(u, &self.in_proj, self.in_bias.as_deref());
        let z = &projected[..e];
        let xbc = state.convolve(
            &projected[e..e + self.channels()],
            &self.conv_weight,
            self.conv_bias.as_deref(),
            self.conv,
        );
        let (x, b, c) = (&xbc[..e], &xbc[e..e + gn], &xbc[e + gn..]);
        let mut write = Write {
            log_decay: Vec::new(),
            key: Vec::new(),
            value: x.to_vec(),
        };
        let mut q = Vec::new();
        for h in 0..self.heads {
            let raw = projected[e + self.channels() + h] + f64::from(self.dt_bias[h]);
            let (low, high) = self.dt_limit;
            let mut dt = softplus(raw).max(f64::from(low)).min(f64::from(high));
            if let Some(thresholds) = &change.thresholds
                && dt <= f64::from(thresholds[layer][h])
            {
                dt = 0.0;
            }
            let group = h / (self.heads / self.groups) * self.key;
            let g = dt * f64::from(self.a[h]) + f64::from(change.log_decay_shift);
            for n in 0..self.key {
                write.log_decay.push(g);
                write
                    .key
                    .push(f64::from(change.write_factor) * dt * b[group + n]);
                q.push(c[group + n]);
            }
        }
        state.update(write, &self.shape(), change.window);
        let mut y = state.read(&q, 1.0, &self.shape());
        for (i, y) in y.iter_mut().enumerate() {
            *y = (*y + f64::from(self.skip[i / self.value]) * x[i]) * silu(z[i]);
        }
        let normed = rms_norm(&y, &self.norm, self.norm_group, f64::from(self.eps));
        linear(&normed, &self.out_proj, self.out_bias.as_deref())
    }

    fn plan(&self, planner: &mut Planner) -> Box<dyn Plan> {
        let (rows, e, gn) = (planner.segment, self.inner(), self.groups * self.key);
        let projected = planner.shared("projected", rows * self.rows());
        let xbc = planner.tapped("convolved", rows * self.channels());
        let dt = planner.own("dt", rows * self.heads);
        let log_decay = planner.own("log_decay", rows * self.heads);
        let all = Columns::all(xbc, self.channels());
        let inputs = Inputs {
            q: all.part(e + gn, gn),
            k: all.part(e, gn),
            v: all.part(0, e),
            log_decay,
            per_key: false,
            write_scale: Some(dt),
            scale: 1.0,
        };
        let scan = OuterScan::plan(planner, inputs, self.shape(), self.groups);
        let a = planner.weight("a", &self.a);
        let taps = Taps {
            q: inputs.q,
            k: inputs.k,
            heads_per_group: self.heads / self.groups,
            decay: Decay::Scalar(Columns::all(log_decay, self.heads)),
            write_scale: Some(Columns::all(dt, self.heads)),
            scale: planner.change.write_factor,
            state: Some(scan.state),
            left_window: scan.window.as_ref().map(|w| w.state),
            window: planner.change.window,
            steps: Some((Columns::all(dt, self.heads), self.a.clone())),
        };
        Box::new(SsdPlan {
            width: self.width,
            heads: self.heads,
            value: self.value,
            channels: self.channels(),
            conv: self.conv,
            dt_limit: self.dt_limit,
            norm_group: self.norm_group,
            eps: self.eps,
            log_decay_shift: planner.change.log_decay_shift,
            in_proj: Linear {
                weight: planner.weight("in_proj", &self.in_proj),
                bias: planner.optional("in_bias", &self.in_bias),
                outputs: self.rows(),
            },
            projected,
            conv_weight: planner.weight("conv", &self.conv_weight),
            conv_bias: planner.optional("conv_bias", &self.conv_bias),
            xbc,
            tail: planner.state("tail", self.channels() * (self.conv - 1)),
            dt_bias: planner.weight("dt_bias", &self.dt_bias),
            thresholds: planner.thresholds(),
            a,
            dt,
            log_decay,
            scan,
            skip: planner.weight("d", &self.skip),
            skipped: planner.shared("skipped", rows * e),
            norm: planner.weight("norm", &self.norm),
            normed: planner.shared("normed", rows * e),
            out_proj: Linear {
                weight: planner.weight("out_proj", &self.out_proj),
                bias: planner.optional("out_bias", &self.out_bias),
                outputs: self.width,
            },
            taps,
        })
    }
}

struct SsdPlan {
    width: usize,
    heads: usize,
    value: usize,
    channels: usize,
    conv: usize,
    dt_limit: (f32, f32),
    norm_group: usize,
    eps: f32,
    log_decay_shift: f32,
    in_proj: Linear,
    projected: BufferId,
    conv_weight: BufferId,
    conv_bias: BufferId,
    xbc: BufferId,
    tail: BufferId,
    dt_bias: BufferId,
    thresholds: Option<BufferId>,
    a: BufferId,
    dt: BufferId,
    log_decay: BufferId,
    scan: OuterScan,
    skip: BufferId,
    skipped: BufferId,
    norm: BufferId,
    normed: BufferId,
    out_proj: Linear,
    taps: Taps,
}

impl Plan for SsdPlan {
    fn record(&self, recording: &mut Recording, t: usize, position: usize, io: Io) {
        let e = self.heads * self.value;
        let stride = (e + self.channels + self.heads) as u32;
        self.in_proj.record(
            recording,
            t,
            Columns::all(io.u, self.width),
            None,
            self.projected,
        );
        recording.push(
            &causal_conv::KERNEL,
            &CausalConv {
                t: t as u32,
                channels: self.channels as u32,
                width: self.conv as u32,
                x_stride: stride,
                x_offset: e as u32,
                has_bias: (self.conv_bias != NONE).into(),
                silu: 1,
            },
            &[self.projected, self.conv_weight, self.conv_bias],
            &[self.xbc, self.tail],
        );
        recording.push(
            &activate::KERNEL,
            &Activate {
                t: t as u32,
                width: self.heads as u32,
                x_stride: stride,
                x_offset: (e + self.channels) as u32,
                function: activate::SOFTPLUS,
                has_bias: 1,
                has_scale: 0,
                has_threshold: self.thresholds.is_some().into(),
                min: self.dt_limit.0,
                max: self.dt_limit.1,
                multiplier: 1.0,
                shift: 0.0,
            },
            &[
                self.projected,
                self.dt_bias,
                NONE,
                self.thresholds.unwrap_or(NONE),
            ],
            &[self.dt],
        );
        recording.push(
            &activate::KERNEL,
            &Activate {
                t: t as u32,
                width: self.heads as u32,
                x_stride: self.heads as u32,
                x_offset: 0,
                function: activate::IDENTITY,
                has_bias: 0,
                has_scale: 1,
                has_threshold: 0,
                min: f32::MIN,
                max: f32::MAX,
                multiplier: 1.0,
                shift: self.log_decay_shift,
            },
            &[self.dt, NONE, self.a, NONE],
            &[self.log_decay],
        );
        self.scan.record(recording, t, position);
        recording.push(
            &scaled_add::KERNEL,
            &ScaledAdd {
                t: t as u32,
                width: e as u32,
                y_stride: self.channels as u32,
                y_offset: 0,
                per: self.value as u32,
                has_d: 1,
                multiply: 0,
                multiplier: 1.0,
            },
            &[self.scan.out, self.xbc, self.skip],
            &[self.skipped],
        );
        recording.push(
            &norm::KERNEL,
            &RmsNorm {
                t: t as u32,
                width: e as u32,
                group: self.norm_group as u32,
                weight_len: e as u32,
                eps: self.eps,
                gate: norm::GATE_THEN_NORM,
                z_stride: stride,
                z_offset: 0,
            },
            &[self.skipped, self.norm, self.projected],
            &[self.normed],
        );
        let x = Columns::all(self.normed, e);
        self.out_proj
            .record(recording, t, x, Some(io.residual), io.out);
    }

    fn taps(&self) -> &Taps {
        &self.taps
    }
}
