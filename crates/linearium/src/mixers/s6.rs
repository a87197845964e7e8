//! S6, the mixer of Mamba (arXiv 2312.00752).
//!
//! `[x|z] = W_in u`; `x = silu(conv(x))`; `[dt|B|C] = W_x x`; `dt = softplus(W_dt dt + b)`; for
//! each channel d and state n `h_t = exp(dt_t A) h_{t-1} + dt_t B_t x_t`, `y_t = C_t . h_t + D x_t`;
//! `out = W_out (y * silu(z))`. Official code: `mamba_ssm/modules/mamba_simple.py`,
//! `mamba_ssm/ops/selective_scan_interface.py::selective_scan_ref`.

use std::sync::Arc;

use super::{
    Change, Columns, Decay, Definition, Io, Linear, Mixer, Plan, Planner, Shape, Size, StepState,
    Taps, Weights, Write, linear, silu, softplus,
};
use crate::kernels::activate::{self, Activate};
use crate::kernels::causal_conv::{self, CausalConv};
use crate::kernels::delay::{self, Delay};
use crate::kernels::scaled_add::{self, ScaledAdd};
use crate::kernels::scan_elementwise::{self, ScanElementwise};
use crate::kernels::swiglu::{self, Swiglu};
use crate::kernels::window_sum::{self, WindowSum};
use crate::random::Random;
use crate::recording::{BufferId, NONE, Recording};

/// The registry's entry.
pub static DEFINITION: Definition = Definition {
    id: "s6",
    name: "S6 (Mamba)",
    glossary: &[
        ("u", "[T, D] normalised input of the layer"),
        ("x", "[T, E] channels, after the convolution"),
        ("z", "[T, E] gate"),
        ("dt", "[T, E] step size, above 0"),
        ("B", "[T, N] where to write, shared by all channels"),
        ("C", "[T, N] where to read, shared by all channels"),
        ("A", "[E, N] decay rates, below 0"),
        ("h", "[E, N] state"),
        ("D", "[E] skip"),
    ],
    random,
};

/// Weights of one layer.
#[derive(Clone)]
pub struct S6 {
    /// Model width D.
    pub width: usize,
    /// Channels E.
    pub channels: usize,
    /// States N of a channel.
    pub states: usize,
    /// Rank R of the step size.
    pub rank: usize,
    /// Width of the convolution.
    pub conv: usize,
    /// `[2E, D]`, rows x, z.
    pub in_proj: Weights,
    /// `[2E]`.
    pub in_bias: Option<Weights>,
    /// `[E, conv]`.
    pub conv_weight: Weights,
    /// `[E]`.
    pub conv_bias: Option<Weights>,
    /// `[R + 2N, E]`, rows dt, B, C.
    pub x_proj: Weights,
    /// `[E, R]`.
    pub dt_proj: Weights,
    /// `[E]`.
    pub dt_bias: Weights,
    /// A = -exp(A_log), `[E, N]`.
    pub a: Weights,
    /// D, `[E]`.
    pub skip: Weights,
    /// `[D, E]`.
    pub out_proj: Weights,
    /// `[D]`.
    pub out_bias: Option<Weights>,
}

fn random(size: &Size, random: &mut Random) -> Box<dyn Mixer> {
    let (channels, states, conv) = (2 * size.width, size.key, 4);
    let rank = size.width.div_ceil(16);
    // Initialisation of mamba_simple.py: A = -1..-N, dt log-uniform in [1e-3, 0.1].
    let dt_bias: Vec<f32> = (0..channels)
        .map(|_| {
            let dt = (1e-3f64.ln() + (0.1f64 / 1e-3).ln() * random.uniform()).exp();
            (dt + (-(-dt).exp_m1()).ln()) as f32
        })
        .collect();
    let a = (0..channels * states).map(|i| -((i % states + 1) as f32));
    Box::new(S6 {
        width: size.width,
        channels,
        states,
        rank,
        conv,
        in_proj: random
            .normals(
                2 * channels * size.width,
                (size.width as f64).sqrt().recip(),
            )
            .into(),
        in_bias: None,
        conv_weight: random
            .normals(channels * conv, 0.5 * (conv as f64).sqrt().recip())
            .into(),
        conv_bias: Some(random.normals(channels, 0.1).into()),
        x_proj: random
            .normals(
                (rank + 2 * states) * channels,
                (channels as f64).sqrt().recip(),
            )
            .into(),
        dt_proj: random
            .normals(channels * rank, (rank as f64).sqrt().recip() * 0.58)
            .into(),
        dt_bias: dt_bias.into(),
        a: Arc::from_iter(a),
        skip: vec![1.0; channels].into(),
        out_proj: random
            .normals(size.width * channels, (channels as f64).sqrt().recip())
            .into(),
        out_bias: None,
    })
}

impl Mixer for S6 {
    fn definition(&self) -> &'static Definition {
        &DEFINITION
    }

    fn shape(&self) -> Shape {
        Shape {
            heads: self.channels,
            key: self.states,
            value: 1,
            state: self.channels * self.states,
            tail: self.channels * (self.conv - 1),
            cache_per_token: 0,
        }
    }

    fn parameters(&self) -> usize {
        let optional = |w: &Option<Weights>| w.as_ref().map_or(0, |w| w.len());
        [
            &self.in_proj,
            &self.conv_weight,
            &self.x_proj,
            &self.dt_proj,
            &self.dt_bias,
            &self.a,
        ]
        .iter()
        .map(|w| w.len())
        .sum::<usize>()
            + self.skip.len()
            + self.out_proj.len()
            + optional(&self.in_bias)
            + optional(&self.conv_bias)
            + optional(&self.out_bias)
    }

    fn step(&self, state: &mut StepState, u: &[f64], change: &Change, layer: usize) -> Vec<f64> {
        let (e, n) = (self.channels, self.states);
        let xz = linear(u, &self.in_proj, self.in_bias.as_deref());
        let x = state.convolve(
            &xz[..e],
            &self.conv_weight,
            self.conv_bias.as_deref(),
            self.conv,
        );
        let dt_b_c = linear(&x, &self.x_proj, None);
        let (b, c) = (&dt_b_c[self.rank..self.rank + n], &dt_b_c[self.rank + n..]);
        let raw = linear(&dt_b_c[..self.rank], &self.dt_proj, Some(&self.dt_bias));
        let mut write = Write {
            log_decay: Vec::new(),
            key: Vec::new(),
            value: x.clone(),
        };
        let mut q = Vec::new();
        for d in 0..e {
            let mut dt = softplus(raw[d]);
            if let Some(thresholds) = &change.thresholds
                && dt <= f64::from(thresholds[layer][d])
            {
                dt = 0.0;
            }
            for i in 0..n {
                let a = f64::from(self.a[d * n + i]);
                write
                    .log_decay
                    .push(dt * a + f64::from(change.log_decay_shift));
                write.key.push(f64::from(change.write_factor) * dt * b[i]);
                q.push(c[i]);
            }
        }
        state.update(write, &self.shape(), change.window);
        let mut y = state.read(&q, 1.0, &self.shape());
        for (d, y) in y.iter_mut().enumerate() {
            *y = (*y + f64::from(self.skip[d]) * x[d]) * silu(xz[e + d]);
        }
        linear(&y, &self.out_proj, self.out_bias.as_deref())
    }

    fn plan(&self, planner: &mut Planner) -> Box<dyn Plan> {
        let (rows, e, n) = (planner.segment, self.channels, self.states);
        let bc_width = self.rank + 2 * n;
        let bc = planner.tapped("dt_b_c", rows * bc_width);
        let dt = planner.own("dt", rows * e);
        let x = planner.shared("convolved", rows * e);
        let all = Columns::all(bc, bc_width);
        let state = planner.state("state", e * n);
        let scratch_len = ScanElementwise::scratch_len(rows, e, n);
        let tokens = planner.change.window;
        let window = (tokens > 0).then(|| Window {
            tokens,
            u: planner.shared("late u", rows * e),
            u_ring: planner.state("ring u", tokens * e),
            dt: planner.shared("late dt", rows * e),
            dt_ring: planner.state("ring dt", tokens * e),
            bc: planner.shared("late b and c", rows * 2 * n),
            b_ring: planner.state("ring b", tokens * n),
            sum: planner.shared("window sum", rows * e),
            sum_state: planner.state("window sum", 2 * e),
            c_ring: planner.state("ring c", n),
            out: planner.shared("left window", rows * e),
            state: planner.state("left window", e * n),
            difference: planner.shared("windowed", rows * e),
        });
        let rates: Weights = Arc::from_iter(
            self.a
                .chunks_exact(n)
                .map(|a| a.iter().sum::<f32>() / n as f32),
        );
        let taps = Taps {
            q: all.part(self.rank + n, n),
            k: all.part(self.rank, n),
            heads_per_group: e,
            decay: Decay::Rates(
                Columns::all(dt, e),
                self.a.clone(),
                planner.change.log_decay_shift,
            ),
            write_scale: Some(Columns::all(dt, e)),
            scale: planner.change.write_factor,
            state: Some(state),
            left_window: window.as_ref().map(|w| w.state),
            window: tokens,
            steps: Some((Columns::all(dt, e), rates)),
        };
        let linear = |planner: &mut Planner, name, weight, outputs| Linear {
            weight: planner.weight(name, weight),
            bias: NONE,
            outputs,
        };
        Box::new(S6Plan {
            width: self.width,
            channels: e,
            states: n,
            rank: self.rank,
            conv: self.conv,
            log_decay_shift: planner.change.log_decay_shift,
            write_factor: planner.change.write_factor,
            in_proj: Linear {
                bias: planner.optional("in_bias", &self.in_bias),
                ..linear(planner, "in_proj", &self.in_proj, 2 * e)
            },
            xz: planner.shared("projected", rows * 2 * e),
            conv_weight: planner.weight("conv", &self.conv_weight),
            conv_bias: planner.optional("conv_bias", &self.conv_bias),
            x,
            tail: planner.state("tail", e * (self.conv - 1)),
            x_proj: linear(planner, "x_proj", &self.x_proj, bc_width),
            bc,
            dt_proj: linear(planner, "dt_proj", &self.dt_proj, e),
            raw: planner.shared("dt before softplus", rows * e),
            dt_bias: planner.weight("dt_bias", &self.dt_bias),
            thresholds: planner.thresholds(),
            dt,
            u: planner.shared("dt x", rows * e),
            a: planner.weight("a", &self.a),
            state,
            scratch: planner.shared("scan scratch", scratch_len),
            y: planner.shared("scanned", rows * e),
            window,
            skip: planner.weight("d", &self.skip),
            skipped: planner.shared("skipped", rows * e),
            gated: planner.shared("normed", rows * e),
            out_proj: Linear {
                bias: planner.optional("out_bias", &self.out_bias),
                ..linear(planner, "out_proj", &self.out_proj, self.width)
            },
            taps,
        })
    }
}

struct Window {
    tokens: usize,
    u: BufferId,
    u_ring: BufferId,
    dt: BufferId,
    dt_ring: BufferId,
    bc: BufferId,
    b_ring: BufferId,
    sum: BufferId,
    sum_state: BufferId,
    c_ring: BufferId,
    out: BufferId,
    state: BufferId,
    difference: BufferId,
}

struct S6Plan {
    width: usize,
    channels: usize,
    states: usize,
    rank: usize,
    conv: usize,
    log_decay_shift: f32,
    write_factor: f32,
    in_proj: Linear,
    xz: BufferId,
    conv_weight: BufferId,
    conv_bias: BufferId,
    x: BufferId,
    tail: BufferId,
    x_proj: Linear,
    bc: BufferId,
    dt_proj: Linear,
    raw: BufferId,
    dt_bias: BufferId,
    thresholds: Option<BufferId>,
    dt: BufferId,
    u: BufferId,
    a: BufferId,
    state: BufferId,
    scratch: BufferId,
    y: BufferId,
    window: Option<Window>,
    skip: BufferId,
    skipped: BufferId,
    gated: BufferId,
    out_proj: Linear,
    taps: Taps,
}

impl S6Plan {
    fn add(&self, t: usize, multiply: bool, has_d: bool, multiplier: f32) -> ScaledAdd {
        let e = self.channels as u32;
        ScaledAdd {
            t: t as u32,
            width: e,
            y_stride: e,
            y_offset: 0,
            per: 1,
            has_d: has_d.into(),
            multiply: multiply.into(),
            multiplier,
        }
    }

    fn scan(&self, t: usize, bc: Columns, b: usize, c: usize) -> ScanElementwise {
        ScanElementwise {
            t: t as u32,
            channels: self.channels as u32,
            states: self.states as u32,
            bc_stride: bc.stride as u32,
            b_offset: b as u32,
            c_offset: c as u32,
            has_write_decay: 0,
            log_shift: self.log_decay_shift,
            write_factor: self.write_factor,
            write_shift: 0.0,
        }
    }

    /// The scan of what has left the window; see `outer_scan.rs`. Its result is subtracted.
    fn record_window(&self, recording: &mut Recording, w: &Window, t: usize, position: usize) {
        let (e, n) = (self.channels, self.states);
        let bc = self.rank + 2 * n;
        let mut late = |x: Columns, out: (BufferId, usize, usize), ring: BufferId, delay: usize| {
            recording.push(
                &delay::KERNEL,
                &Delay {
                    t: t as u32,
                    width: x.width as u32,
                    x_stride: x.stride as u32,
                    x_offset: x.offset as u32,
                    delay: delay as u32,
                    phase: position.checked_rem(delay).unwrap_or(0) as u32,
                    out_stride: out.1 as u32,
                    out_offset: out.2 as u32,
                },
                &[x.buffer],
                &[out.0, ring],
            );
        };
        late(Columns::all(self.u, e), (w.u, e, 0), w.u_ring, w.tokens);
        late(Columns::all(self.dt, e), (w.dt, e, 0), w.dt_ring, w.tokens);
        let dt_b_c = Columns::all(self.bc, bc);
        late(
            dt_b_c.part(self.rank, n),
            (w.bc, 2 * n, 0),
            w.b_ring,
            w.tokens,
        );
        // What has left is still read by the present query.
        late(dt_b_c.part(self.rank + n, n), (w.bc, 2 * n, n), w.c_ring, 0);
        recording.push(
            &window_sum::KERNEL,
            &WindowSum {
                t: t as u32,
                width: e as u32,
            },
            &[self.dt, w.dt],
            &[w.sum, w.sum_state],
        );
        recording.push(
            &scan_elementwise::KERNEL,
            &ScanElementwise {
                has_write_decay: 1,
                write_shift: w.tokens as f32 * self.log_decay_shift,
                ..self.scan(t, Columns::all(w.bc, 2 * n), 0, n)
            },
            &[self.dt, self.a, w.u, w.bc, w.sum],
            &[w.out, w.state, self.scratch],
        );
        recording.push(
            &scaled_add::KERNEL,
            &self.add(t, false, false, -1.0),
            &[self.y, w.out, NONE],
            &[w.difference],
        );
    }
}

impl Plan for S6Plan {
    fn record(&self, recording: &mut Recording, t: usize, position: usize, io: Io) {
        let (e, n) = (self.channels, self.states);
        let bc = self.rank + 2 * n;
        self.in_proj
            .record(recording, t, Columns::all(io.u, self.width), None, self.xz);
        recording.push(
            &causal_conv::KERNEL,
            &CausalConv {
                t: t as u32,
                channels: e as u32,
                width: self.conv as u32,
                x_stride: 2 * e as u32,
                x_offset: 0,
                has_bias: (self.conv_bias != NONE).into(),
                silu: 1,
            },
            &[self.xz, self.conv_weight, self.conv_bias],
            &[self.x, self.tail],
        );
        self.x_proj
            .record(recording, t, Columns::all(self.x, e), None, self.bc);
        let rank = Columns::all(self.bc, bc).part(0, self.rank);
        self.dt_proj.record(recording, t, rank, None, self.raw);
        recording.push(
            &activate::KERNEL,
            &Activate {
                t: t as u32,
                width: e as u32,
                x_stride: e as u32,
                x_offset: 0,
                function: activate::SOFTPLUS,
                has_bias: 1,
                has_scale: 0,
                has_threshold: self.thresholds.is_some().into(),
                min: 0.0,
                max: f32::MAX,
                multiplier: 1.0,
                shift: 0.0,
            },
            &[
                self.raw,
                self.dt_bias,
                NONE,
                self.thresholds.unwrap_or(NONE),
            ],
            &[self.dt],
        );
        recording.push(
            &scaled_add::KERNEL,
            &self.add(t, true, false, 1.0),
            &[self.dt, self.x, NONE],
            &[self.u],
        );
        recording.push(
            &scan_elementwise::KERNEL,
            &self.scan(t, Columns::all(self.bc, bc), self.rank, self.rank + n),
            &[self.dt, self.a, self.u, self.bc, NONE],
            &[self.y, self.state, self.scratch],
        );
        let mut scanned = self.y;
        if let Some(w) = &self.window {
            self.record_window(recording, w, t, position);
            scanned = w.difference;
        }
        recording.push(
            &scaled_add::KERNEL,
            &self.add(t, false, true, 1.0),
            &[scanned, self.x, self.skip],
            &[self.skipped],
        );
        recording.push(
            &swiglu::KERNEL,
            &Swiglu {
                t: t as u32,
                width: e as u32,
                gate_stride: 2 * e as u32,
                gate_offset: e as u32,
                up_stride: e as u32,
                up_offset: 0,
            },
            &[self.xz, self.skipped],
            &[self.gated],
        );
        let gated = Columns::all(self.gated, e);
        self.out_proj
            .record(recording, t, gated, Some(io.residual), io.out);
    }

    fn taps(&self) -> &Taps {
        &self.taps
    }
}
