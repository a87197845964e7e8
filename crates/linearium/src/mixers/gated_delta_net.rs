//! Gated DeltaNet (arXiv 2412.06464): the delta rule on a state that decays.
//!
//! `[q|k|v] = silu(conv(W u))`, q and k of unit length; `beta = sigmoid(W_b u)`;
//! `g = -exp(A_log) softplus(W_a u + dt_bias)`; for each head `S' = exp(g_t) S_{t-1}`,
//! `S_t = S' + beta_t k_t (v_t - S'^T k_t)^T`, `o_t = K^-1/2 S_t^T q_t`;
//! `out = W_o (RMSNorm(o) * silu(W_g u))`. Official code: flash-linear-attention
//! `fla/layers/gated_deltanet.py`, `fla/ops/gated_delta_rule/naive.py`.

use super::{Context, Definition, Mixer, NO_STEPS, Planner, Shape, Size, StepState, Taps, Weights};
use crate::model::tensors::Tensors;
use crate::parts::delta_layer::{DeltaLayer, Options};
use crate::plan::delta_scan::NO_WINDOW;
use crate::random::Random;

/// The registry's entry.
pub static DEFINITION: Definition = Definition {
    id: "gated_delta_net",
    name: "Gated DeltaNet",
    glossary: &[
        ("u", "[T, D] normalised input of the layer"),
        ("q, k", "[T, G, K] query and key of unit length"),
        ("v", "[T, H, V] value"),
        (
            "beta",
            "[T, H] how much of what the key recalls is replaced, 0 to 1",
        ),
        ("g", "[T, H] log-decay, below 0"),
        ("S", "[H, K, V] state"),
    ],
    ignores: &[NO_STEPS, NO_WINDOW],
    size: Size::heads_of_64,
    random,
};

/// The options of the official layer as it is by default.
pub fn options(groups: usize) -> Options {
    Options {
        groups,
        gate: true,
        ..super::delta_net::options(groups)
    }
}

/// One layer with its weights.
#[derive(Clone, Debug)]
pub struct GatedDeltaNet(pub DeltaLayer);

fn random(size: &Size, random: &mut Random) -> Box<dyn Mixer> {
    // Two heads share a key where they can, so that groups are never untested.
    let groups = if size.heads.is_multiple_of(2) {
        size.heads / 2
    } else {
        size.heads
    };
    let layer = DeltaLayer::random(size, options(groups), true, random);
    Box::new(GatedDeltaNet(layer))
}

impl GatedDeltaNet {
    /// Takes the tensors of `fla/layers/gated_deltanet.py`; `size.heads` are its value heads.
    ///
    /// # Errors
    /// A sentence if a tensor is missing or has another shape.
    pub fn load(
        t: &mut Tensors<'_>,
        size: &Size,
        options: Options,
    ) -> Result<GatedDeltaNet, String> {
        DeltaLayer::load(t, size, options, true).map(GatedDeltaNet)
    }
}

impl Mixer for GatedDeltaNet {
    fn definition(&self) -> &'static Definition {
        &DEFINITION
    }

    fn shape(&self) -> Shape {
        self.0.shape()
    }

    fn weights(&self) -> Vec<&Weights> {
        self.0.weights()
    }

    fn step(&self, state: &mut StepState, u: &[f64], context: &Context<'_>) -> Vec<f64> {
        self.0.step(state, u, context)
    }

    fn plan(&self, planner: &mut Planner) -> Taps {
        self.0.plan(planner)
    }
}
