//! minGRU (Feng et al., Were RNNs All We Needed?, arXiv 2410.01201): a gated recurrent unit whose
//! gate does not see the state, and which therefore is a scan.
//!
//! `[h~ | a] = W u`; `z = sigma(a)`; `h_t = (1 - z) h_{t-1} + z g(h~)` with g(x) = x + 1/2 from 0 on
//! and sigma(x) below; `out = W_out h`. Reference: lucidrains/minGRU-pytorch,
//! `minGRU_pytorch/minGRU.py`; the authors' own is BorealisAI/minRNNs, `models/minRNNs.py`.

use super::{
    Columns, Context, Decay, Definition, Mixer, NO_STEPS, Planner, Shape, Size, StepState, Taps,
    Weights, Write,
};
use crate::kernels::{activate, pointwise};
use crate::model::tensors::Tensors;
use crate::plan::Activation;
use crate::plan::elementwise_scan::ElementwiseScan;
use crate::plan::pointwise::Gate;
use crate::random::Random;
use crate::step::{linear, sigmoid, softplus};

/// The registry's entry.
pub static DEFINITION: Definition = Definition {
    id: "min_gru",
    name: "minGRU",
    glossary: &[
        ("u", "[T, D] normalised input of the layer"),
        ("h~", "[T, E] candidate for the state"),
        ("z", "[T, E] share of the state that is replaced"),
        ("g", "makes the candidate positive"),
        ("h", "[E] state"),
    ],
    ignores: &[NO_STEPS],
    size: |width| Size {
        width,
        heads: 2 * width,
        key: 1,
        value: 1,
    },
    random,
};

/// Weights of one layer.
#[derive(Clone)]
pub struct MinGru {
    /// Model width D.
    pub width: usize,
    /// Channels E.
    pub channels: usize,
    /// `[2E, D]`, rows h~, a.
    pub in_proj: Weights,
    /// `[D, E]`; without it the state is the output.
    pub out_proj: Option<Weights>,
}

fn random(size: &Size, random: &mut Random) -> Box<dyn Mixer> {
    let (width, channels) = (size.width, size.heads);
    Box::new(MinGru {
        width,
        channels,
        in_proj: random
            .normals(2 * channels * width, (width as f64).sqrt().recip())
            .into(),
        out_proj: Some(
            random
                .normals(width * channels, (channels as f64).sqrt().recip())
                .into(),
        ),
    })
}

impl MinGru {
    /// The layer of width D and E channels from its official tensors; where both are equal the
    /// official layer has no `to_out`.
    ///
    /// # Errors
    /// A sentence if a tensor is missing or has another shape.
    pub fn load(t: &mut Tensors<'_>, width: usize, channels: usize) -> Result<MinGru, String> {
        Ok(MinGru {
            width,
            channels,
            in_proj: t.take("to_hidden_and_gate.weight", &[2 * channels, width])?,
            out_proj: load_out(t, width, channels)?,
        })
    }
}

/// `to_out`, if the layer has one.
pub(super) fn load_out(
    t: &mut Tensors<'_>,
    width: usize,
    channels: usize,
) -> Result<Option<Weights>, String> {
    if width == channels {
        return Ok(None);
    }
    t.take("to_out.weight", &[width, channels]).map(Some)
}

/// `h_t = (1 - sigma(a)) h_{t-1} + sigma(a) g(candidate)` and the output, in f64.
pub(super) fn step_units(
    shape: &Shape,
    candidates: &[f64],
    a: impl Iterator<Item = f64>,
    out_proj: Option<&Weights>,
    state: &mut StepState,
    context: &Context<'_>,
) -> Vec<f64> {
    let change = context.change;
    let mut write = Write {
        log_decay: Vec::new(),
        key: Vec::new(),
        value: Vec::new(),
    };
    for (&x, a) in candidates.iter().zip(a) {
        write
            .log_decay
            .push(f64::from(change.log_decay_shift) - softplus(a));
        write.key.push(f64::from(change.write_factor) * sigmoid(a));
        write.value.push(if x < 0.0 { sigmoid(x) } else { x + 0.5 });
    }
    state.update(write, shape, change.window);
    let h = state.read(&vec![1.0; shape.heads], 1.0, shape);
    match out_proj {
        Some(weight) => linear(&h, weight, None),
        None => h,
    }
}

/// Notes the same for rows of candidates and a.
pub(super) fn plan_units(
    p: &mut Planner,
    candidates: Columns,
    a: Columns,
    out_proj: Option<&Weights>,
) -> Taps {
    let channels = a.width;
    let z = p.gate("z", a, &Gate::of(pointwise::SIGMOID));
    // 1 - sigma(a) is e^-softplus(a).
    let softplus = Activation {
        function: activate::SOFTPLUS,
        ..Activation::default()
    };
    let dt = p.gates("minus log_decay", channels);
    p.activate(a, &softplus, dt);
    let one = Columns::same(p.weight("one", &vec![1.0].into()), 1);
    let rates: Weights = vec![-1.0; channels].into();
    let scan = ElementwiseScan {
        dt,
        a: p.weight("rates", &rates),
        u: p.product("write", candidates, z, &Gate::of(pointwise::POSITIVE)),
        b: one,
        c: one,
    };
    let (h, state, left_window) = scan.plan(p, 1);
    if p.tapped_layer == Some(p.layer) {
        // The scan reads products with z; scores read the values themselves.
        let values = p.gate("values", candidates, &Gate::of(pointwise::POSITIVE));
        p.show_value(values);
    }
    match out_proj {
        Some(weight) => p.project_out(weight, None, h),
        None => p.add_out(h),
    }
    let decay = Decay::Rates(dt, rates, p.change.log_decay_shift);
    Taps {
        heads_per_group: channels,
        write_scale: Some(z),
        scale: p.change.write_factor,
        state: Some(state),
        left_window,
        window: p.change.window,
        ..Taps::new(one, one, decay)
    }
}

impl Mixer for MinGru {
    fn definition(&self) -> &'static Definition {
        &DEFINITION
    }

    fn shape(&self) -> Shape {
        Shape::recurrent(self.channels, 1, 1)
    }

    fn weights(&self) -> Vec<&Weights> {
        let mut all = vec![&self.in_proj];
        all.extend(&self.out_proj);
        all
    }

    fn step(&self, state: &mut StepState, u: &[f64], context: &Context<'_>) -> Vec<f64> {
        let projected = linear(u, &self.in_proj, None);
        let (candidates, a) = projected.split_at(self.channels);
        let (shape, out) = (self.shape(), self.out_proj.as_ref());
        step_units(&shape, candidates, a.iter().copied(), out, state, context)
    }

    fn plan(&self, p: &mut Planner) -> Taps {
        let projected = p.project("projected", &self.in_proj, None, p.io.u);
        let [candidates, a] = projected.split([self.channels, self.channels]);
        plan_units(p, candidates, a, self.out_proj.as_ref())
    }
}
