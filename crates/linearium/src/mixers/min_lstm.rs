//! minLSTM (Feng et al., Were RNNs All We Needed?, arXiv 2410.01201): a long short-term memory whose
//! gates do not see the state. What it forgets and what it takes in add up to one.
//!
//! `[h~ | f | i] = W u`; `f' = sigma(f) / (sigma(f) + sigma(i))`;
//! `h_t = f' h_{t-1} + (1 - f') g(h~)`; `out = W_out h`. That is minGRU with
//! `a = ln sigma(i) - ln sigma(f)`. Reference: lucidrains/minGRU-pytorch,
//! `minGRU_pytorch/minLSTM.py`.

use super::min_gru::{load_out, plan_units, step_units};
use super::{Context, Definition, Mixer, NO_STEPS, Planner, Shape, Size, StepState, Taps, Weights};
use crate::kernels::activate;
use crate::model::tensors::Tensors;
use crate::plan::Activation;
use crate::random::Random;
use crate::step::{linear, softplus};

/// The registry's entry.
pub static DEFINITION: Definition = Definition {
    id: "min_lstm",
    name: "minLSTM",
    glossary: &[
        ("u", "[T, D] normalised input of the layer"),
        ("h~", "[T, E] candidate for the state"),
        ("f", "[T, E] how much is kept"),
        ("i", "[T, E] how much is taken in"),
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
pub struct MinLstm {
    /// Model width D.
    pub width: usize,
    /// Channels E.
    pub channels: usize,
    /// `[3E, D]`, rows h~, f, i.
    pub in_proj: Weights,
    /// `[D, E]`; without it the state is the output.
    pub out_proj: Option<Weights>,
}

fn random(size: &Size, random: &mut Random) -> Box<dyn Mixer> {
    let (width, channels) = (size.width, size.heads);
    Box::new(MinLstm {
        width,
        channels,
        in_proj: random
            .normals(3 * channels * width, (width as f64).sqrt().recip())
            .into(),
        out_proj: Some(
            random
                .normals(width * channels, (channels as f64).sqrt().recip())
                .into(),
        ),
    })
}

impl MinLstm {
    /// The layer of width D and E channels from its official tensors; where both are equal the
    /// official layer has no `to_out`.
    ///
    /// # Errors
    /// A sentence if a tensor is missing or has another shape.
    pub fn load(t: &mut Tensors<'_>, width: usize, channels: usize) -> Result<MinLstm, String> {
        Ok(MinLstm {
            width,
            channels,
            in_proj: t.take("to_hidden_and_f_i_gate.weight", &[3 * channels, width])?,
            out_proj: load_out(t, width, channels)?,
        })
    }
}

impl Mixer for MinLstm {
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
        let (candidates, gates) = projected.split_at(self.channels);
        let (f, i) = gates.split_at(self.channels);
        let a = f.iter().zip(i).map(|(f, i)| softplus(-f) - softplus(-i));
        let (shape, out) = (self.shape(), self.out_proj.as_ref());
        step_units(&shape, candidates, a, out, state, context)
    }

    fn plan(&self, p: &mut Planner) -> Taps {
        let e = self.channels;
        let projected = p.project("projected", &self.in_proj, None, p.io.u);
        let [candidates, gates] = projected.split([e, 2 * e]);
        let log_sigmoid = Activation {
            function: activate::LOG_SIGMOID,
            ..Activation::default()
        };
        let [f, i] = gates.split([e, e]);
        let log_f = p.rows("log f", e);
        p.activate(f, &log_sigmoid, log_f);
        let log_i = p.rows("log i", e);
        p.activate(i, &log_sigmoid, log_i);
        let a = p.add("a", log_i, log_f, None, -1.0);
        plan_units(p, candidates, a, self.out_proj.as_ref())
    }
}
