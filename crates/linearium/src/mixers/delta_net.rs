//! DeltaNet (arXiv 2406.06484): linear attention that replaces what a key recalls.
//!
//! `[q|k|v] = silu(conv(W u))`, q and k of unit length; `beta = sigmoid(W_b u)`; for each head
//! `S_t = S_{t-1} + beta_t k_t (v_t - S_{t-1}^T k_t)^T`, `o_t = K^-1/2 S_t^T q_t`;
//! `out = W_o RMSNorm(o)`. Official code: flash-linear-attention `fla/layers/delta_net.py`,
//! `fla/ops/delta_rule/naive.py`. A decay factor c makes the first S_{t-1} and the recalled one
//! `c S_{t-1}`.

use super::{Context, Definition, Mixer, NO_STEPS, Planner, Shape, Size, StepState, Taps, Weights};
use crate::model::tensors::Tensors;
use crate::parts::delta_layer::{DeltaLayer, KeyActivation, KeyNorm, Options};
use crate::plan::delta_scan::NO_WINDOW;
use crate::random::Random;

/// The registry's entry.
pub static DEFINITION: Definition = Definition {
    id: "delta_net",
    name: "DeltaNet",
    glossary: &[
        ("u", "[T, D] normalised input of the layer"),
        ("q, k", "[T, H, K] query and key of unit length"),
        ("v", "[T, H, V] value"),
        (
            "beta",
            "[T, H] how much of what the key recalls is replaced, 0 to 1",
        ),
        ("S", "[H, K, V] state"),
    ],
    ignores: &[NO_STEPS, NO_WINDOW],
    size: Size::heads_of_64_in_width,
    random,
};

/// The options of the official layer as it is by default.
pub fn options(heads: usize) -> Options {
    Options {
        groups: heads,
        conv: Some((4, false)),
        gate: false,
        negative_eigenvalues: false,
        beta: true,
        activation: KeyActivation::Silu,
        key_norm: KeyNorm::Length,
        eps: 1e-5,
    }
}

/// One layer with its weights.
#[derive(Clone, Debug)]
pub struct DeltaNet(pub DeltaLayer);

fn random(size: &Size, random: &mut Random) -> Box<dyn Mixer> {
    let layer = DeltaLayer::random(size, options(size.heads), false, random);
    Box::new(DeltaNet(layer))
}

impl DeltaNet {
    /// Takes the tensors of `fla/layers/delta_net.py`.
    ///
    /// # Errors
    /// A sentence if a tensor is missing or has another shape.
    pub fn load(t: &mut Tensors<'_>, size: &Size, options: Options) -> Result<DeltaNet, String> {
        DeltaLayer::load(t, size, options, false).map(DeltaNet)
    }
}

impl Mixer for DeltaNet {
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
