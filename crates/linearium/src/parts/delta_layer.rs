//! The layer that DeltaNet and Gated DeltaNet share: projections, short convolutions, normalised
//! queries and keys, the delta rule with or without a decay, norm and gate.

use crate::kernels::{activate, normalise, pointwise, rms_norm as norm};
use crate::mixers::{Context, Planner, Shape, Size, StepState, Taps, Weights, Write};
use crate::model::tensors::Tensors;
use crate::parts::short_conv::ShortConv;
use crate::plan::delta_scan::{DeltaScan, Erase};
use crate::plan::pointwise::Gate;
use crate::plan::{Activation, Columns};
use crate::random::Random;
use crate::step::{l2_norm, linear, multiply, rms_norm, sigmoid, silu, softplus, spread, sum_norm};

/// What is done to queries and keys, after the convolution where there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyActivation {
    /// `x / (1 + e^-x)`.
    Silu,
    /// `max(x, 0)`.
    Relu,
    /// `elu(x) + 1`.
    EluPlusOne,
    /// Nothing.
    Identity,
}

/// What a query or key of a head is divided by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyNorm {
    /// Its length, `sqrt(sum(x^2) + 1e-6)`.
    Length,
    /// Its sum.
    Sum,
}

/// Added to the square of a length.
const LENGTH_EPS: f64 = 1e-6;

/// The options of the official layers.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Key heads G, which divide the heads.
    pub groups: usize,
    /// Width of the short convolutions, and whether they have a bias.
    pub conv: Option<(usize, bool)>,
    /// True if the output is gated.
    pub gate: bool,
    /// True if beta goes up to 2.
    pub negative_eigenvalues: bool,
    /// False if beta is 1.
    pub beta: bool,
    /// Of queries and keys.
    pub activation: KeyActivation,
    /// Of queries and keys.
    pub key_norm: KeyNorm,
    /// Added to the mean square in the norm of the output.
    pub eps: f32,
}

/// The decay of a gated delta rule, `g = A softplus(a + dt_bias)`.
#[derive(Clone, Debug)]
pub struct Rates {
    /// A = -exp(A_log), `[H]`.
    pub a: Weights,
    /// `[H]`.
    pub dt_bias: Weights,
}

/// Weights of one layer.
#[derive(Clone, Debug)]
pub struct DeltaLayer {
    /// Heads, and key and value width of a head.
    pub size: Size,
    /// Its options.
    pub options: Options,
    /// `[2GK + HV (+ HV) (+ H) (+ H), D]`, rows q, k, v, then output gate, a and b where there are.
    pub in_proj: Weights,
    /// Of q and k, `C = 2GK`, and of v, `C = HV`.
    pub convs: Option<[ShortConv; 2]>,
    /// The decay, if there is one.
    pub rates: Option<Rates>,
    /// `[V]`, shared by the heads.
    pub norm: Weights,
    /// `[D, HV]`.
    pub out_proj: Weights,
}

impl DeltaLayer {
    /// Random weights for these options; a decay as Mamba-2 has it if `decays`.
    pub fn random(size: &Size, options: Options, decays: bool, random: &mut Random) -> DeltaLayer {
        let Size { width, heads, .. } = *size;
        let mut layer = DeltaLayer {
            size: *size,
            options,
            in_proj: Weights::default(),
            convs: None,
            rates: decays.then(|| Rates::random(heads, random)),
            norm: vec![1.0; size.value].into(),
            out_proj: Weights::default(),
        };
        let rows: usize = layer.rows().iter().sum();
        let values = layer.values();
        let deviation = |n: usize| (n as f64).sqrt().recip();
        layer.in_proj = random.normals(rows * width, deviation(width)).into();
        layer.out_proj = random.normals(width * values, deviation(values)).into();
        layer.convs = options.conv.map(|conv| {
            [2 * layer.keys(), values].map(|channels| ShortConv::random(channels, conv, random))
        });
        layer
    }

    /// Takes the tensors of the official layers (`fla/layers/delta_net.py`,
    /// `fla/layers/gated_deltanet.py`); a decay if `decays`.
    ///
    /// # Errors
    /// A sentence if a tensor is missing or has another shape, or the groups do not divide the
    /// heads.
    pub fn load(
        t: &mut Tensors<'_>,
        size: &Size,
        options: Options,
        decays: bool,
    ) -> Result<DeltaLayer, String> {
        let Size {
            width,
            heads,
            value,
            ..
        } = *size;
        size.check_groups(options.groups)?;
        let mut layer = DeltaLayer {
            size: *size,
            options,
            in_proj: Weights::default(),
            convs: None,
            rates: None,
            norm: t.take("o_norm.weight", &[value])?,
            out_proj: t.take("o_proj.weight", &[width, heads * value])?,
        };
        let (keys, values) = (layer.keys(), layer.values());
        let mut parts = vec![("q_proj", keys), ("k_proj", keys), ("v_proj", values)];
        parts.extend(options.gate.then_some(("g_proj", values)));
        parts.extend(decays.then_some(("a_proj", heads)));
        parts.extend(options.beta.then_some(("b_proj", heads)));
        layer.in_proj = t.stacked(&parts, width)?;
        if let Some(conv) = options.conv {
            layer.convs = Some([
                ShortConv::load(t, &[("q_conv1d", keys), ("k_conv1d", keys)], conv)?,
                ShortConv::load(t, &[("v_conv1d", values)], conv)?,
            ]);
        }
        if decays {
            let a_log = t.take("A_log", &[heads])?;
            layer.rates = Some(Rates {
                a: a_log.iter().map(|a| -a.exp()).collect(),
                dt_bias: t.take("dt_bias", &[heads])?,
            });
        }
        Ok(layer)
    }

    /// Keys of all groups, GK.
    fn keys(&self) -> usize {
        self.options.groups * self.size.key
    }

    /// Values of all heads, HV.
    fn values(&self) -> usize {
        self.size.heads * self.size.value
    }

    /// Rows of q and k, v, output gate, a, b.
    fn rows(&self) -> [usize; 5] {
        let heads = self.size.heads;
        let (keys, values) = (self.keys(), self.values());
        let there = |there: bool, n| if there { n } else { 0 };
        [
            2 * keys,
            values,
            there(self.options.gate, values),
            there(self.rates.is_some(), heads),
            there(self.options.beta, heads),
        ]
    }

    /// Largest beta.
    fn beta_max(&self) -> f32 {
        if self.options.negative_eigenvalues {
            2.0
        } else {
            1.0
        }
    }

    /// Its dimensions.
    pub fn shape(&self) -> Shape {
        let tails = self.convs.as_ref().map_or(0, |[of_qk, of_v]| {
            of_qk.tail(2 * self.keys()) + of_v.tail(self.values())
        });
        Shape {
            tail: tails,
            ..Shape::recurrent(self.size.heads, self.size.key, self.size.value)
        }
    }

    /// All its weights.
    pub fn weights(&self) -> Vec<&Weights> {
        let mut all = vec![&self.in_proj, &self.norm, &self.out_proj];
        all.extend(self.convs.iter().flatten().flat_map(ShortConv::weights));
        if let Some(rates) = &self.rates {
            all.extend([&rates.a, &rates.dt_bias]);
        }
        all
    }

    /// One token, as the formulas stand.
    pub fn step(&self, state: &mut StepState, u: &[f64], context: &Context<'_>) -> Vec<f64> {
        let (key, change) = (self.size.key, context.change);
        let per_group = self.size.heads / self.options.groups;
        let projected = linear(u, &self.in_proj, None);
        let mut rest = &projected[..];
        let [qk, v, z, a, b] = self.rows().map(|rows| {
            let (part, others) = rest.split_at(rows);
            rest = others;
            part
        });
        let convolved = |state: &mut StepState, i: usize, name, x: &[f64]| match &self.convs {
            Some(convs) => convs[i].step(state, name, x),
            None => x.to_vec(),
        };
        let mut qk = convolved(state, 0, "qk", qk);
        let v = convolved(state, 1, "v", v);
        let v: Vec<f64> = v.into_iter().map(silu).collect();
        for x in &mut qk {
            *x = match self.options.activation {
                KeyActivation::Silu => silu(*x),
                KeyActivation::Relu => x.max(0.0),
                KeyActivation::EluPlusOne if *x > 0.0 => *x + 1.0,
                KeyActivation::EluPlusOne => x.exp(),
                KeyActivation::Identity => *x,
            };
        }
        match self.options.key_norm {
            KeyNorm::Length => l2_norm(&mut qk, key, LENGTH_EPS),
            KeyNorm::Sum => sum_norm(&mut qk, key, 0.0),
        }
        let qk = spread(&qk, key, per_group);
        let (q, k) = qk.split_at(qk.len() / 2);
        let beta_max = f64::from(self.beta_max());
        let beta: Vec<f64> = if self.options.beta {
            b.iter().map(|&b| beta_max * sigmoid(b)).collect()
        } else {
            vec![beta_max; self.size.heads]
        };
        let shift = f64::from(change.log_decay_shift);
        let log_decay: Vec<f64> = match &self.rates {
            Some(rates) => {
                let dt = a.iter().zip(&*rates.dt_bias);
                let dt = dt.map(|(a, &bias)| softplus(a + f64::from(bias)));
                let pairs = dt.zip(&*rates.a);
                pairs.map(|(dt, &a)| dt * f64::from(a) + shift).collect()
            }
            None => vec![shift; self.size.heads],
        };
        let log_decay = spread(&log_decay, 1, key);
        let written = multiply(&spread(&beta, 1, key), k);
        let recalled: Vec<f64> = log_decay.iter().zip(k).map(|(g, k)| -g.exp() * k).collect();
        let factor = f64::from(change.write_factor);
        let write = Write {
            log_decay,
            key: written.iter().map(|k| factor * k).collect(),
            value: v,
        };
        let shape = self.shape();
        state.update_erasing(write, &written, &recalled, &shape);
        let o = state.read(q, (key as f64).sqrt().recip(), &shape);
        let o = rms_norm(&o, &self.norm, self.size.value, f64::from(self.options.eps));
        if !self.options.gate {
            return linear(&o, &self.out_proj, None);
        }
        let z: Vec<f64> = z.iter().map(|&z| silu(z)).collect();
        linear(&multiply(&o, &z), &self.out_proj, None)
    }

    /// Notes the passes; gives where probes find the factors.
    pub fn plan(&self, p: &mut Planner) -> Taps {
        let (heads, key) = (self.size.heads, self.size.key);
        let projected = p.project("projected", &self.in_proj, None, p.io.u);
        let [qk, v, z, a, b] = projected.split(self.rows());
        let silu = Gate::of(pointwise::SILU);
        let activation = self.options.activation;
        let (qk, v) = match &self.convs {
            Some([of_qk, of_v]) => {
                let fused = activation == KeyActivation::Silu;
                let qk = of_qk.plan(p, "convolved qk", qk, fused);
                let v = of_v.plan(p, "convolved v", v, true);
                (qk, v)
            }
            None => (qk, p.gate("v", v, &silu)),
        };
        let qk = match activation {
            KeyActivation::Silu if self.convs.is_some() => qk,
            KeyActivation::Silu => p.gate("qk", qk, &silu),
            KeyActivation::Relu => p.gate("qk", qk, &Gate::of(pointwise::RELU)),
            KeyActivation::EluPlusOne => p.gate("qk", qk, &Gate::of(pointwise::ELU_PLUS_ONE)),
            // Whole rows, as the norm wants them.
            KeyActivation::Identity => p.gate("qk", qk, &Gate::default()),
        };
        let qk = match self.options.key_norm {
            KeyNorm::Length => p.l2_norm("normed qk", qk, key, LENGTH_EPS as f32),
            KeyNorm::Sum => {
                let sum = (normalise::SUM, key, 0.0);
                p.normalise("normed qk", qk, sum, [None; 2])
            }
        };
        let [q, k] = qk.split([self.keys(); 2]);
        let nothing: Weights = vec![0.0; heads].into();
        let beta_max = self.beta_max();
        let beta = p.rows("beta", heads);
        if self.options.beta {
            let sigmoid = Gate {
                multiplier: beta_max,
                ..Gate::of(pointwise::SIGMOID)
            };
            p.gate_into("beta", b, &sigmoid, beta);
        } else {
            let constant = Gate {
                shift: beta_max,
                ..Gate::default()
            };
            let nothing = Columns::same(p.weight("no b", &nothing), heads);
            p.gate_into("beta", nothing, &constant, beta);
        }
        let log_decay = p.gates("log_decay", heads);
        let (raw, rates) = match &self.rates {
            Some(rates) => (a, Some(rates)),
            None => (Columns::same(p.weight("no decay", &nothing), heads), None),
        };
        let decay = Activation {
            function: rates.map_or(activate::IDENTITY, |_| activate::SOFTPLUS),
            bias: rates.map(|r| &r.dt_bias),
            scale: rates.map(|r| &r.a),
            shift: p.change.log_decay_shift,
            ..Activation::default()
        };
        p.activate(raw, &decay, log_decay);
        let scan = DeltaScan {
            q,
            k,
            v,
            log_decay,
            erase: Erase::Rate(beta),
            scale: (key as f32).sqrt().recip(),
        };
        let (o, taps) = scan.plan(p, &self.shape());
        let gate = self.options.gate.then_some((norm::NORM_THEN_GATE, z));
        let (value, eps) = (self.size.value, self.options.eps);
        let o = p.rms_norm("normed", o, &self.norm, value, eps, gate);
        p.project_out(&self.out_proj, None, o);
        taps
    }
}

impl Rates {
    /// dt log-uniform in [1e-3, 0.1], A uniform in [-16, 0], as `fla/layers/gated_deltanet.py`.
    fn random(heads: usize, random: &mut Random) -> Rates {
        let (low, high) = (1e-3f64.ln(), 0.1f64.ln());
        let dt_bias = (0..heads).map(|_| {
            let dt = (low + (high - low) * random.uniform()).exp();
            (dt + (-(-dt).exp_m1()).ln()) as f32
        });
        Rates {
            dt_bias: dt_bias.collect(),
            a: random.uniforms(heads, -16.0, 0.0).into(),
        }
    }
}
