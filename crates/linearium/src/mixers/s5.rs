//! S5 (arXiv 2208.04933): one state-space model for all channels together, in place of one for each.
//!
//! `x'(t) = Lambda x(t) + B u(t)`, `y = 2 Re(C x) + D u` with P complex states, each with a step size
//! of its own; of each conjugate pair one is kept. Then, as the layer is configured, a gated linear
//! unit: `y`, `gelu(y) * sigma(W gelu(y) + b)`, `y * sigma(W gelu(y) + b)`, or
//! `(W_1 gelu(y) + b_1) * sigma(W gelu(y) + b)`. Official code: lindermanlab/S5, `s5/ssm.py`,
//! `s5/ssm_init.py`, `s5/layers.py` (SequenceLayer between its norm and its skip).
//!
//! A head here is one complex state. Its key is what a token writes, `B u`, two numbers, and its value
//! is 1: what is read is the real part of the state.

use rustfft::num_complex::Complex64;

use super::s4d::complex;
use super::{
    Columns, Context, Definition, Mixer, NO_STEPS, Planner, Shape, Size, StepState, Taps, Weights,
};
use crate::kernels::pointwise;
use crate::model::tensors::Tensors;
use crate::parts::hippo::legs;
use crate::plan::complex_scan::{Mode, StateSpace, bilinear, hold};
use crate::plan::pointwise::Gate;
use crate::random::Random;
use crate::step::{gelu_tanh, linear, sigmoid};

/// The registry's entry.
pub static DEFINITION: Definition = Definition {
    id: "s5",
    name: "S5",
    glossary: &[
        ("u", "[T, D] normalised input of the layer"),
        ("dt", "[P] step size of each state"),
        ("Lambda", "[P] complex rates, real part below 0"),
        ("B", "[P, D] what of the input goes to which state"),
        ("C", "[D, P] what is read of the states"),
        ("x", "[P] complex states"),
        ("D", "[D] skip"),
    ],
    ignores: &[NO_STEPS],
    size: |width| Size {
        width,
        heads: width / 2,
        key: 2,
        value: 1,
    },
    random,
};

/// The gated linear unit behind the model, named as in the official configurations. Its matrix W is
/// `[D, D]`, its bias `[D]`.
#[derive(Clone, Debug)]
pub enum Unit {
    /// None.
    None,
    /// `half_glu1`: `gelu(y) * sigma(W gelu(y) + b)`.
    Half1([Weights; 2]),
    /// `half_glu2`: `y * sigma(W gelu(y) + b)`.
    Half2([Weights; 2]),
    /// `full_glu`: `(W_1 gelu(y) + b_1) * sigma(W gelu(y) + b)`, W and b first.
    Full([Weights; 4]),
}

/// Weights of one layer.
#[derive(Clone)]
pub struct S5 {
    /// Model width D.
    pub width: usize,
    /// Complex states P.
    pub states: usize,
    /// True for the bilinear rule, false for zero-order hold.
    pub bilinear: bool,
    /// Real parts of Lambda, `[P]`.
    pub lambda_re: Weights,
    /// Imaginary parts of Lambda, `[P]`.
    pub lambda_im: Weights,
    /// ln dt, `[P]`.
    pub log_step: Weights,
    /// B, `[P, D, 2]`.
    pub b: Weights,
    /// C, `[D, P, 2]`.
    pub c: Weights,
    /// D, `[D]`.
    pub skip: Weights,
    /// What comes behind it.
    pub unit: Unit,
}

/// HiPPO-LegS in its own basis, with B and C random there, and `half_glu1` behind it.
fn random(size: &Size, random: &mut Random) -> Box<dyn Mixer> {
    let (width, states) = (size.width, size.heads.max(1));
    let legs = legs(states);
    let all = 2 * states;
    let deviation = |fan_in: usize| (fan_in as f64).sqrt().recip();
    // Columns of V^* B: real B of all states, `[D, 2 P]`.
    let real = random.normals(width * all, deviation(width));
    let mut b = Vec::new();
    for v in &legs.v {
        for d in 0..width {
            let row = &real[d * all..][..all];
            let sum: Complex64 = v
                .iter()
                .zip(row)
                .map(|(v, &x)| v.conj() * f64::from(x))
                .sum();
            b.extend([sum.re as f32, sum.im as f32]);
        }
    }
    let wide = random.normals(width * all * 2, deviation(all));
    let mut c = Vec::new();
    for d in 0..width {
        for v in &legs.v {
            let row = &wide[d * all * 2..][..all * 2];
            let sum: Complex64 = v.iter().enumerate().map(|(i, v)| complex(row, i) * v).sum();
            c.extend([sum.re as f32, sum.im as f32]);
        }
    }
    let log_step = (0..states)
        .map(|_| (1e-3f64.ln() + 100f64.ln() * random.uniform()) as f32)
        .collect();
    Box::new(S5 {
        width,
        states,
        bilinear: false,
        lambda_re: legs.lambda.iter().map(|l| l.re as f32).collect(),
        lambda_im: legs.lambda.iter().map(|l| l.im as f32).collect(),
        log_step,
        b: b.into(),
        c: c.into(),
        skip: random.normals(width, 1.0).into(),
        unit: Unit::Half1([
            random.normals(width * width, deviation(width)).into(),
            vec![0.0; width].into(),
        ]),
    })
}

impl S5 {
    /// The layer from its official parameters: those of the model below `seq.`, those of the unit,
    /// whose name is that of the official configuration (`none` for none), beside it. Rates are
    /// clipped to a real part of at most -1e-4 if the configuration says so.
    ///
    /// # Errors
    /// A sentence if a tensor is missing, has another shape, or there is no such unit.
    pub fn load(
        t: &mut Tensors<'_>,
        width: usize,
        states: usize,
        bilinear: bool,
        clip: bool,
        unit: &str,
    ) -> Result<S5, String> {
        let mut lambda_re = t.take("seq.Lambda_re", &[states])?;
        if clip {
            lambda_re = lambda_re.iter().map(|x| x.min(-1e-4)).collect();
        }
        let unit = match unit {
            "none" => Unit::None,
            "half_glu1" => Unit::Half1(dense(t, "out2", width)?),
            "half_glu2" => Unit::Half2(dense(t, "out2", width)?),
            "full_glu" => {
                let [w, b] = dense(t, "out2", width)?;
                let [w_1, b_1] = dense(t, "out1", width)?;
                Unit::Full([w, b, w_1, b_1])
            }
            _ => {
                return Err(format!(
                    "S5 has no unit {unit:?}; there are none, half_glu1, half_glu2 and full_glu"
                ));
            }
        };
        Ok(S5 {
            width,
            states,
            bilinear,
            lambda_re,
            lambda_im: t.take("seq.Lambda_im", &[states])?,
            log_step: t.take("seq.log_step", &[states, 1])?,
            b: t.take("seq.B", &[states, width, 2])?,
            c: t.take("seq.C", &[width, states, 2])?,
            skip: t.take("seq.D", &[width])?,
            unit,
        })
    }

    /// The discrete states, and what their inputs are multiplied with beside B.
    fn discrete(&self) -> Vec<(Complex64, Complex64)> {
        (0..self.states)
            .map(|p| {
                let lambda = Complex64::new(self.lambda_re[p].into(), self.lambda_im[p].into());
                let rule = if self.bilinear { bilinear } else { hold };
                rule(lambda, f64::from(self.log_step[p]).exp())
            })
            .collect()
    }

    /// The discrete states as a system whose inputs are B u.
    fn system(&self) -> StateSpace {
        let one = Complex64::from(1.0);
        let modes = self.discrete().into_iter();
        StateSpace {
            channels: self.states,
            states: 1,
            modes: modes.map(|(a, _)| Mode { a, b: one, c: one }).collect(),
            couplings: Vec::new(),
            pairs: true,
        }
    }

    /// Real rows of the discrete B: all real parts and all imaginary parts, or both of each state.
    fn input_rows(&self, side_by_side: bool) -> Weights {
        let (d, states) = (self.width, self.states);
        let mut out = vec![0.0; 2 * states * d];
        for (p, (_, write)) in self.discrete().into_iter().enumerate() {
            for i in 0..d {
                let b = complex(&self.b, p * d + i) * write;
                for (part, x) in [b.re, b.im].into_iter().enumerate() {
                    let row = if side_by_side {
                        2 * p + part
                    } else {
                        part * states + p
                    };
                    out[row * d + i] = x as f32;
                }
            }
        }
        out.into()
    }

    /// Rows of C as they read all real parts, then all imaginary parts.
    fn output_rows(&self) -> Weights {
        let parts = |d: usize| {
            let c = move |p: usize, part: usize| 2.0 * self.c[(d * self.states + p) * 2 + part];
            let real = (0..self.states).map(move |p| c(p, 0));
            real.chain((0..self.states).map(move |p| -c(p, 1)))
        };
        (0..self.width).flat_map(parts).collect()
    }
}

/// Weight and bias of a dense layer of flax, which has its weight the other way round.
fn dense(t: &mut Tensors<'_>, name: &str, width: usize) -> Result<[Weights; 2], String> {
    let kernel = t.take(&format!("{name}.kernel"), &[width, width])?;
    let weight = (0..width * width)
        .map(|i| kernel[i % width * width + i / width])
        .collect();
    Ok([weight, t.take(&format!("{name}.bias"), &[width])?])
}

impl Mixer for S5 {
    fn definition(&self) -> &'static Definition {
        &DEFINITION
    }

    fn shape(&self) -> Shape {
        Shape::recurrent(self.states, 2, 1)
    }

    fn weights(&self) -> Vec<&Weights> {
        let mut all = vec![
            &self.lambda_re,
            &self.lambda_im,
            &self.log_step,
            &self.b,
            &self.c,
            &self.skip,
        ];
        match &self.unit {
            Unit::None => {}
            Unit::Half1(parts) | Unit::Half2(parts) => all.extend(parts),
            Unit::Full(parts) => all.extend(parts),
        }
        all
    }

    fn step(&self, state: &mut StepState, u: &[f64], context: &Context<'_>) -> Vec<f64> {
        let (d, states) = (self.width, self.states);
        let inputs: Vec<Complex64> = (self.discrete().into_iter().enumerate())
            .map(|(p, (_, write))| {
                let products = u
                    .iter()
                    .enumerate()
                    .map(|(i, u)| complex(&self.b, p * d + i) * u);
                products.sum::<Complex64>() * write
            })
            .collect();
        let (re, im) = (inputs.iter().map(|x| x.re), inputs.iter().map(|x| x.im));
        let inputs: Vec<f64> = re.chain(im).collect();
        let x = self.system().step(state, &inputs, context.change);
        state.last_value = vec![1.0; states];
        state.last_read = x[..states].to_vec();
        let y: Vec<f64> = (0..d)
            .map(|i| {
                let read: f64 = (0..states)
                    .map(|p| {
                        (complex(&self.c, i * states + p) * Complex64::new(x[p], x[states + p])).re
                    })
                    .sum();
                2.0 * read + f64::from(self.skip[i]) * u[i]
            })
            .collect();
        let activated: Vec<f64> = y.iter().map(|&y| gelu_tanh(y)).collect();
        let gated = |x: &[f64], [w, b]: [&Weights; 2]| {
            let gates = linear(&activated, w, Some(b));
            x.iter().zip(gates).map(|(x, g)| x * sigmoid(g)).collect()
        };
        match &self.unit {
            Unit::None => y,
            Unit::Half1([w, b]) => gated(&activated, [w, b]),
            Unit::Half2([w, b]) => gated(&y, [w, b]),
            Unit::Full([w, b, w_1, b_1]) => gated(&linear(&activated, w_1, Some(b_1)), [w, b]),
        }
    }

    fn plan(&self, p: &mut Planner) -> Taps {
        let (u, states) = (p.io.u, self.states);
        let inputs = p.project("inputs", &self.input_rows(false), None, u);
        let (x, taps) = self.system().plan(p, inputs);
        // Probes want both parts of a state's input side by side.
        let k = if p.tapped_layer == Some(p.layer) {
            p.project("keys", &self.input_rows(true), None, u)
        } else {
            Columns::all(inputs.buffer, 2 * states)
        };
        // The input of a state is its key, so that its value is 1.
        let ones = vec![1.0; states].into();
        let ones = Columns::same(p.weight("values", &ones), states);
        p.show_value(ones);
        let real = Columns::same(p.weight("real part", &vec![1.0, 0.0].into()), 2);
        let y = p.project("read", &self.output_rows(), None, x);
        let y = p.add("skipped", y, u, Some(&self.skip), 1.0);
        let out = match &self.unit {
            Unit::None => y,
            Unit::Half1([w, b]) | Unit::Half2([w, b]) => {
                let activated = p.gate("activated", y, &Gate::of(pointwise::GELU_TANH));
                let gates = p.project("gates", w, Some(b), activated);
                let first = matches!(self.unit, Unit::Half1(_));
                let x = if first { activated } else { y };
                p.product("gated", gates, x, &Gate::of(pointwise::SIGMOID))
            }
            Unit::Full([w, b, w_1, b_1]) => {
                let activated = p.gate("activated", y, &Gate::of(pointwise::GELU_TANH));
                let gates = p.project("gates", w, Some(b), activated);
                let values = p.project("values", w_1, Some(b_1), activated);
                p.product("gated", gates, values, &Gate::of(pointwise::SIGMOID))
            }
        };
        p.add_out(out);
        Taps { q: real, k, ..taps }
    }
}
