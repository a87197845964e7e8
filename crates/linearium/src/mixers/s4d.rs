//! S4D (arXiv 2206.11893): a state-space model with a diagonal matrix for each channel.
//!
//! `x'(t) = A x(t) + B u(t)`, `y = 2 Re(C x) + D u`, discretised with a step dt of the channel's own;
//! `out = GLU(W gelu(y) + bias)`. A, B and C are complex; of each conjugate pair one is kept.
//! Official code: state-spaces/s4, `models/s4/s4.py` (S4Block, FFTConv, SSMKernelDiag),
//! `models/s4/s4d.py` (S4D).

use rustfft::num_complex::Complex64;

use super::{
    Columns, Context, Definition, Mixer, NO_STEPS, Planner, Shape, Size, StepState, Taps, Weights,
};
use crate::kernels::pointwise;
use crate::model::tensors::Tensors;
use crate::parts::hippo::legs;
use crate::plan::complex_scan::{Mode, StateSpace, bilinear, hold};
use crate::plan::pointwise::Gate;
use crate::random::Random;
use crate::step::{gelu, linear, sigmoid};

/// The registry's entry.
pub static DEFINITION: Definition = Definition {
    id: "s4d",
    name: "S4D",
    glossary: &[
        ("u", "[T, D] normalised input of the layer"),
        ("dt", "[D] step size of each channel"),
        ("A", "[D, N] complex rates, real part below 0"),
        ("B", "[D, N] where to write"),
        ("C", "[D, N] where to read"),
        ("x", "[D, N] complex state"),
        ("D", "[D] skip"),
    ],
    ignores: &[NO_STEPS],
    size: |width| Size {
        width,
        heads: width,
        key: 64,
        value: 1,
    },
    random: |size, random| Box::new(S4d::random(Start::Lin, size, random)),
};

/// What the rates start as (section 4 of the paper).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// `-1/2 + i pi n`.
    Lin,
    /// `-1/2 + i N/pi (N / (2 n + 1) - 1)`, where N counts both of each conjugate pair.
    Inv,
    /// `-(n + 1)`.
    Real,
    /// The diagonal part of HiPPO-LegS, with its B.
    LegS,
}

impl Start {
    /// Rates and B of `states` states.
    pub fn rates(self, states: usize) -> (Vec<Complex64>, Vec<Complex64>) {
        let pi = std::f64::consts::PI;
        let all = 2.0 * states as f64;
        let rates = |f: &dyn Fn(f64) -> (f64, f64)| {
            let rate = |n: usize| {
                let (re, im) = f(n as f64);
                Complex64::new(re, im)
            };
            (0..states).map(rate).collect()
        };
        let ones = vec![Complex64::from(1.0); states];
        match self {
            Start::Lin => (rates(&|n| (-0.5, pi * n)), ones),
            Start::Inv => (
                rates(&|n| (-0.5, all / pi * (all / (2.0 * n + 1.0) - 1.0))),
                ones,
            ),
            Start::Real => (rates(&|n| (-(n + 1.0), 0.0)), ones),
            Start::LegS => {
                let legs = legs(states);
                (legs.lambda, clipped(&legs.b))
            }
        }
    }
}

/// B of HiPPO-LegS as the official code starts with it: no part larger than 2.
pub(super) fn clipped(b: &[Complex64]) -> Vec<Complex64> {
    let clip = |x: f64| x.clamp(-2.0, 2.0);
    b.iter()
        .map(|b| Complex64::new(clip(b.re), clip(b.im)))
        .collect()
}

/// Weights of one layer.
#[derive(Clone)]
pub struct S4d {
    /// Channels D, the model width.
    pub channels: usize,
    /// Complex states N of a channel.
    pub states: usize,
    /// True for the bilinear rule, false for zero-order hold.
    pub bilinear: bool,
    /// ln dt, `[D]`.
    pub log_dt: Weights,
    /// ln(-Re A), `[D, N]`.
    pub log_a_real: Weights,
    /// Im A, `[D, N]`.
    pub a_imag: Weights,
    /// B, `[D, N, 2]`.
    pub b: Weights,
    /// C, `[D, N, 2]`.
    pub c: Weights,
    /// D, `[D]`.
    pub skip: Weights,
    /// W, `[2 D, D]`.
    pub out_proj: Weights,
    /// `[2 D]`.
    pub out_bias: Weights,
}

impl S4d {
    /// A layer as the official code initialises it. A size with an odd key has the states of the
    /// even one below.
    pub fn random(start: Start, size: &Size, random: &mut Random) -> S4d {
        let states = (size.key / 2).max(1);
        let (rates, b) = start.rates(states);
        S4d::with_rates(&rates, &b, size.width, random)
    }

    /// The same for these rates and B of every channel.
    pub(super) fn with_rates(
        rates: &[Complex64],
        b: &[Complex64],
        channels: usize,
        random: &mut Random,
    ) -> S4d {
        let states = rates.len();
        let every = |values: Vec<f32>| -> Weights { values.repeat(channels).into() };
        let log_dt = (0..channels)
            .map(|_| (1e-3f64.ln() + 100f64.ln() * random.uniform()) as f32)
            .collect();
        S4d {
            channels,
            states,
            bilinear: false,
            log_dt,
            log_a_real: every(rates.iter().map(|a| (-a.re).ln() as f32).collect()),
            a_imag: every(rates.iter().map(|a| a.im as f32).collect()),
            b: every(b.iter().flat_map(|b| [b.re as f32, b.im as f32]).collect()),
            c: random.normals(channels * states * 2, 0.5f64.sqrt()).into(),
            skip: random.normals(channels, 1.0).into(),
            out_proj: random
                .normals(2 * channels * channels, (channels as f64).sqrt().recip())
                .into(),
            out_bias: random.normals(2 * channels, 0.1).into(),
        }
    }

    /// The layer from the official tensors of `S4Block`, whose A is `-exp(A_real) - i A_imag`; its
    /// `n_ssm` systems are shared by all channels in turn.
    ///
    /// # Errors
    /// A sentence if a tensor is missing or has another shape.
    pub fn load(
        t: &mut Tensors<'_>,
        channels: usize,
        states: usize,
        n_ssm: usize,
        bilinear: bool,
    ) -> Result<S4d, String> {
        let shared = |values: Weights| -> Weights { each_channel(&values, channels, n_ssm) };
        let kernel = |name: &str| format!("layer.kernel.{name}");
        let a_imag = shared(t.take(&kernel("A_imag"), &[n_ssm, states])?);
        Ok(S4d {
            channels,
            states,
            bilinear,
            log_dt: t.take(&kernel("inv_dt"), &[channels, 1])?,
            log_a_real: shared(t.take(&kernel("A_real"), &[n_ssm, states])?),
            a_imag: a_imag.iter().map(|a| -a).collect(),
            b: shared(t.take(&kernel("B"), &[1, n_ssm, states, 2])?),
            c: t.take(&kernel("C"), &[1, channels, states, 2])?,
            skip: t.take("layer.D", &[1, channels])?,
            out_proj: t.take("output_linear.0.weight", &[2 * channels, channels])?,
            out_bias: t.take("output_linear.0.bias", &[2 * channels])?,
        })
    }

    /// The layer from the official tensors of the minimal `S4D`, which has no B.
    ///
    /// # Errors
    /// A sentence if a tensor is missing or has another shape.
    pub fn load_minimal(
        t: &mut Tensors<'_>,
        channels: usize,
        states: usize,
    ) -> Result<S4d, String> {
        let rates = [channels, states];
        Ok(S4d {
            channels,
            states,
            bilinear: false,
            log_dt: t.take("kernel.log_dt", &[channels])?,
            log_a_real: t.take("kernel.log_A_real", &rates)?,
            a_imag: t.take("kernel.A_imag", &rates)?,
            b: [1.0, 0.0].repeat(channels * states).into(),
            c: t.take("kernel.C", &[channels, states, 2])?,
            skip: t.take("D", &[channels])?,
            out_proj: t.take("output_linear.0.weight", &[2 * channels, channels, 1])?,
            out_bias: t.take("output_linear.0.bias", &[2 * channels])?,
        })
    }

    /// A of a channel and state.
    pub(super) fn rate(&self, i: usize) -> Complex64 {
        let real = -f64::from(self.log_a_real[i]).exp();
        Complex64::new(real, self.a_imag[i].into())
    }

    /// dt of a channel.
    pub(super) fn dt(&self, channel: usize) -> f64 {
        f64::from(self.log_dt[channel]).exp()
    }

    /// The discrete system, in f64.
    pub fn system(&self) -> StateSpace {
        let mode = |i: usize| {
            let rule = if self.bilinear { bilinear } else { hold };
            let (a, write) = rule(self.rate(i), self.dt(i / self.states));
            Mode {
                a,
                b: complex(&self.b, i) * write,
                c: complex(&self.c, i) * 2.0,
            }
        };
        StateSpace {
            channels: self.channels,
            states: self.states,
            modes: (0..self.channels * self.states).map(mode).collect(),
            couplings: Vec::new(),
            pairs: false,
        }
    }

    /// One token of the layer around a system.
    pub(super) fn step_with(
        &self,
        system: &StateSpace,
        state: &mut StepState,
        u: &[f64],
        context: &Context<'_>,
    ) -> Vec<f64> {
        let y = system.step(state, u, context.change);
        state.last_value = u.to_vec();
        state.last_read.clone_from(&y);
        let y: Vec<f64> = (y.iter().zip(u))
            .zip(self.skip.iter())
            .map(|((y, u), &d)| gelu(y + f64::from(d) * u))
            .collect();
        let halves = linear(&y, &self.out_proj, Some(&self.out_bias));
        let (values, gates) = halves.split_at(self.channels);
        values
            .iter()
            .zip(gates)
            .map(|(v, &g)| v * sigmoid(g))
            .collect()
    }

    /// Notes the same.
    pub(super) fn plan_with(&self, system: &StateSpace, p: &mut Planner) -> Taps {
        let u = p.io.u;
        let (y, taps) = system.plan(p, u);
        let y = p.add("skipped", y, u, Some(&self.skip), 1.0);
        let y = p.gate("activated", y, &Gate::of(pointwise::GELU));
        let halves = p.project("halves", &self.out_proj, Some(&self.out_bias), y);
        let [values, gates]: [Columns; 2] = halves.split([self.channels; 2]);
        let out = p.product("gated", gates, values, &Gate::of(pointwise::SIGMOID));
        p.add_out(out);
        taps
    }

    /// All weights.
    pub(super) fn all_weights(&self) -> Vec<&Weights> {
        vec![
            &self.log_dt,
            &self.log_a_real,
            &self.a_imag,
            &self.b,
            &self.c,
            &self.skip,
            &self.out_proj,
            &self.out_bias,
        ]
    }
}

/// Parameters of `n` systems, repeated in turn for each channel.
pub(super) fn each_channel(values: &[f32], channels: usize, n: usize) -> Weights {
    let width = values.len() / n;
    (0..channels)
        .flat_map(|d| &values[d % n * width..][..width])
        .copied()
        .collect()
}

/// A number of `[.., 2]`.
pub(super) fn complex(pairs: &[f32], i: usize) -> Complex64 {
    Complex64::new(pairs[2 * i].into(), pairs[2 * i + 1].into())
}

impl Mixer for S4d {
    fn definition(&self) -> &'static Definition {
        &DEFINITION
    }

    fn shape(&self) -> Shape {
        Shape::recurrent(self.channels, 2 * self.states, 1)
    }

    fn weights(&self) -> Vec<&Weights> {
        self.all_weights()
    }

    fn step(&self, state: &mut StepState, u: &[f64], context: &Context<'_>) -> Vec<f64> {
        self.step_with(&self.system(), state, u, context)
    }

    fn plan(&self, p: &mut Planner) -> Taps {
        self.plan_with(&self.system(), p)
    }
}
