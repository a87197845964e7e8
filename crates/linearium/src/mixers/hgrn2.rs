//! HGRN2 (arXiv 2404.07904): a gated linear recurrence whose key is what its gate forgets.
//!
//! `[q|f|i] = W u`, each convolved where the layer has short convolutions; the gate
//! `lambda = b + (1 - b) sigmoid(f)` with a lower bound b for each channel (0 in the first layer);
//! for each head `S_t = diag(lambda_t) S_{t-1} + (1 - lambda_t) i_t^T`,
//! `o_t = K^-1/2 S_t^T silu(q_t)`; `out = W_o RMSNorm(o)`. A decay factor leaves the key as it is.
//! Official code: flash-linear-attention `fla/layers/hgrn2.py`, `fla/ops/gla/naive.py`; the bounds
//! of all layers are a softmax over layers, summed up (`fla/models/hgrn2/modeling_hgrn2.py`).

use super::{
    Context, Definition, Mixer, NO_STEPS, Planner, Shape, Size, StepState, Taps, Weights, Write,
};
use crate::kernels::{activate, pointwise};
use crate::model::tensors::Tensors;
use crate::parts::short_conv::ShortConv;
use crate::plan::outer_scan::OuterScan;
use crate::plan::pointwise::Gate;
use crate::plan::{Activation, Columns};
use crate::random::Random;
use crate::step::{linear, rms_norm, sigmoid, silu};

/// The registry's entry.
pub static DEFINITION: Definition = Definition {
    id: "hgrn2",
    name: "HGRN2",
    glossary: &[
        ("u", "[T, D] normalised input of the layer"),
        ("q", "[T, H, K] query"),
        ("lambda", "[T, H, K] decay of each key channel"),
        ("k", "[T, H, K] key, 1 - lambda"),
        ("i", "[T, H, V] value"),
        ("S", "[H, K, V] state"),
    ],
    ignores: &[NO_STEPS],
    size: Size::heads_of_64_in_width,
    random,
};

/// The natural logarithm of a bound of 0; e^-80 is nothing beside any f32 gate.
const LOG_OF_NOTHING: f32 = -80.0;

/// Weights of one layer.
#[derive(Clone, Debug)]
pub struct Hgrn2 {
    /// Model width D, heads H, key width K and value width V of a head.
    pub size: Size,
    /// `[2HK + HV, D]`, rows q, f, i.
    pub in_proj: Weights,
    /// Over the columns q, f, i.
    pub conv: Option<ShortConv>,
    /// b, `[HK]`; none for 0.
    pub lower_bound: Option<Weights>,
    /// `[HV]`.
    pub norm: Weights,
    /// Added to the mean square.
    pub eps: f32,
    /// `[D, HV]`.
    pub out_proj: Weights,
}

/// With lower bounds from 0 to 0.9 over the channels, as a later layer has them.
fn random(size: &Size, random: &mut Random) -> Box<dyn Mixer> {
    let Size {
        width,
        heads,
        key,
        value,
    } = *size;
    let (keys, values) = (heads * key, heads * value);
    let deviation = (width as f64).sqrt().recip();
    let bound = (0..keys).map(|n| 0.9 * n as f32 / keys as f32);
    Box::new(Hgrn2 {
        size: *size,
        in_proj: random
            .normals((2 * keys + values) * width, deviation)
            .into(),
        conv: None,
        lower_bound: Some(bound.collect()),
        norm: vec![1.0; values].into(),
        eps: 1e-5,
        out_proj: random
            .normals(width * values, (values as f64).sqrt().recip())
            .into(),
    })
}

impl Hgrn2 {
    /// Takes the tensors of `fla/layers/hgrn2.py`; `lower_bound` is that of the layer, none for
    /// the first one; `conv` is the width of the short convolutions and whether they have a bias.
    ///
    /// # Errors
    /// A sentence if a tensor is missing or has another shape.
    pub fn load(
        t: &mut Tensors<'_>,
        size: &Size,
        conv: Option<(usize, bool)>,
        lower_bound: Option<Weights>,
        eps: f32,
    ) -> Result<Hgrn2, String> {
        let Size {
            width,
            heads,
            key,
            value,
        } = *size;
        let (keys, values) = (heads * key, heads * value);
        if let Some(bound) = &lower_bound
            && bound.len() != keys
        {
            let found = bound.len();
            return Err(format!(
                "a layer of HGRN2 has {found} lower bounds for {keys} key channels: give one a channel"
            ));
        }
        let parts = [("q_proj", keys), ("f_proj", keys), ("i_proj", values)];
        let convs = [("q_conv1d", keys), ("f_conv1d", keys), ("i_conv1d", values)];
        Ok(Hgrn2 {
            size: *size,
            in_proj: t.stacked(&parts, width)?,
            conv: conv
                .map(|conv| ShortConv::load(t, &convs, conv))
                .transpose()?,
            lower_bound,
            norm: t.take("g_norm.weight", &[values])?,
            eps,
            out_proj: t.take("o_proj.weight", &[width, values])?,
        })
    }

    /// Columns of q and f, and of i.
    fn widths(&self) -> [usize; 3] {
        let keys = self.size.heads * self.size.key;
        [keys, keys, self.size.heads * self.size.value]
    }
}

impl Mixer for Hgrn2 {
    fn definition(&self) -> &'static Definition {
        &DEFINITION
    }

    fn shape(&self) -> Shape {
        Shape {
            tail: self
                .conv
                .as_ref()
                .map_or(0, |c| c.tail(self.widths().iter().sum())),
            ..Shape::recurrent(self.size.heads, self.size.key, self.size.value)
        }
    }

    fn weights(&self) -> Vec<&Weights> {
        let mut all = vec![&self.in_proj, &self.norm, &self.out_proj];
        all.extend(self.conv.iter().flat_map(ShortConv::weights));
        all.extend(&self.lower_bound);
        all
    }

    fn step(&self, state: &mut StepState, u: &[f64], context: &Context<'_>) -> Vec<f64> {
        let ([keys, _, values], change) = (self.widths(), context.change);
        let mut qfi = linear(u, &self.in_proj, None);
        if let Some(conv) = &self.conv {
            qfi = conv.step(state, "qfi", &qfi);
        }
        let q: Vec<f64> = qfi[..keys].iter().map(|&q| silu(q)).collect();
        let lambda: Vec<f64> = (0..keys)
            .map(|n| {
                let bound = self.lower_bound.as_ref().map_or(0.0, |b| f64::from(b[n]));
                bound + (1.0 - bound) * sigmoid(qfi[keys + n])
            })
            .collect();
        let write = Write {
            log_decay: lambda
                .iter()
                .map(|x| x.ln() + f64::from(change.log_decay_shift))
                .collect(),
            key: lambda
                .iter()
                .map(|x| (1.0 - x) * f64::from(change.write_factor))
                .collect(),
            value: qfi[2 * keys..].to_vec(),
        };
        let shape = self.shape();
        state.update(write, &shape, change.window);
        let o = state.read(&q, (self.size.key as f64).sqrt().recip(), &shape);
        let o = rms_norm(&o, &self.norm, values, f64::from(self.eps));
        linear(&o, &self.out_proj, None)
    }

    fn plan(&self, p: &mut Planner) -> Taps {
        let [keys, _, values] = self.widths();
        let mut qfi = p.project("projected", &self.in_proj, None, p.io.u);
        if let Some(conv) = &self.conv {
            qfi = conv.plan(p, "convolved", qfi, false);
        }
        let [q, f, i] = qfi.split(self.widths());
        let q = p.gate("q", q, &Gate::of(pointwise::SILU));
        // 1 - lambda = (1 - b) sigmoid(-f), without the difference.
        let rest: Option<Weights> = self
            .lower_bound
            .as_ref()
            .map(|b| b.iter().map(|b| 1.0 - b).collect());
        let forgotten = Gate {
            inner: -1.0,
            scale: rest.as_ref(),
            ..Gate::of(pointwise::SIGMOID)
        };
        let k = p.gate("k", f, &forgotten);
        let log_decay = p.gates("log_decay", keys);
        self.plan_log_decay(p, f, log_decay);
        let scan = OuterScan {
            q,
            k,
            v: i,
            log_decay,
            write_scale: None,
            scale: (self.size.key as f32).sqrt().recip(),
            read_before: false,
        };
        let (o, taps) = scan.plan(p, &self.shape());
        let o = p.rms_norm("normed", o, &self.norm, values, self.eps, None);
        p.project_out(&self.out_proj, None, o);
        taps
    }
}

impl Hgrn2 {
    /// ln lambda = ln sigmoid(f) - ln sigmoid(f - ln b): a difference of logarithms where the sum
    /// b + (1 - b) sigmoid(f) would lose what a decay near 1 lacks to it.
    fn plan_log_decay(&self, p: &mut Planner, f: Columns, out: Columns) {
        let log_sigmoid = Activation {
            function: activate::LOG_SIGMOID,
            max: 0.0,
            ..Activation::default()
        };
        let shift = Gate {
            shift: p.change.log_decay_shift,
            ..Gate::default()
        };
        let Some(bound) = &self.lower_bound else {
            let activation = Activation {
                shift: shift.shift,
                ..log_sigmoid
            };
            p.activate(f, &activation, out);
            return;
        };
        let bound: Weights = bound.iter().map(|b| -b.ln().max(LOG_OF_NOTHING)).collect();
        let of_gate = p.rows("log sigmoid", f.width);
        p.activate(f, &log_sigmoid, of_gate);
        let of_bound = p.rows("log sigmoid of bound", f.width);
        let shifted = Activation {
            bias: Some(&bound),
            ..log_sigmoid
        };
        p.activate(f, &shifted, of_bound);
        let difference = p.add("log of gate", of_gate, of_bound, None, -1.0);
        p.gate_into("log_decay", difference, &shift, out);
    }
}
