//! Feed-forward layers: what a block does to each token for itself.

#[cfg(feature = "zoo")]
pub mod experts;
#[cfg(feature = "zoo")]
pub mod rwkv;

use super::tensors::Tensors;
use crate::mixers::{Planner, Weights};
#[cfg(feature = "zoo")]
use crate::step::{StepState, linear, silu};

/// A feed-forward layer with its weights: from the normalised residual stream `u [T, D]` to what is
/// added to it.
pub trait Layer {
    /// All its weights.
    fn weights(&self) -> Vec<&Weights>;
    /// Values that it carries from token to token.
    fn tail(&self) -> usize {
        0
    }
    /// The definition: one token, in f64. `u [D]` in, `[D]` out.
    #[cfg(feature = "zoo")]
    fn step(&self, state: &mut StepState, u: &[f64]) -> Vec<f64>;
    /// Notes the passes that read `planner.io.u` and write `residual + layer(u)` to
    /// `planner.io.out`.
    fn plan(&self, planner: &mut Planner);
}

/// `down(silu(gate(u)) * up(u))`.
pub struct Swiglu {
    /// Inner width F.
    pub inner: usize,
    /// `[2F, D]`, rows gate, up.
    pub gate_up: Weights,
    /// `[2F]`.
    pub gate_up_bias: Option<Weights>,
    /// `[D, F]`.
    pub down: Weights,
    /// `[D]`.
    pub down_bias: Option<Weights>,
}

impl Swiglu {
    /// Takes `gate_proj`, `up_proj` and `down_proj` of model width `d`, as both `transformers` and
    /// flash-linear-attention (`fla/modules/mlp.py`) name them.
    ///
    /// # Errors
    /// A sentence if a tensor is missing or has another shape.
    pub fn load(t: &mut Tensors<'_>, d: usize, inner: usize, bias: bool) -> Result<Swiglu, String> {
        let gate_up = [("gate_proj", inner), ("up_proj", inner)];
        Ok(Swiglu {
            inner,
            gate_up: t.stacked(&gate_up, d)?,
            gate_up_bias: t.stacked_bias(bias, &gate_up)?,
            down: t.take("down_proj.weight", &[d, inner])?,
            down_bias: t.take_if(bias, "down_proj.bias", d)?,
        })
    }
}

impl Layer for Swiglu {
    fn weights(&self) -> Vec<&Weights> {
        let mut all = vec![&self.gate_up, &self.down];
        all.extend(&self.gate_up_bias);
        all.extend(&self.down_bias);
        all
    }

    #[cfg(feature = "zoo")]
    fn step(&self, _: &mut StepState, u: &[f64]) -> Vec<f64> {
        let gate_up = linear(u, &self.gate_up, self.gate_up_bias.as_deref());
        let (gate, up) = gate_up.split_at(self.inner);
        let inner: Vec<f64> = gate.iter().zip(up).map(|(&g, u)| silu(g) * u).collect();
        linear(&inner, &self.down, self.down_bias.as_deref())
    }

    fn plan(&self, p: &mut Planner) {
        let hidden = p.project(
            "ffn hidden",
            &self.gate_up,
            self.gate_up_bias.as_ref(),
            p.io.u,
        );
        let [gate, up] = hidden.split([self.inner, self.inner]);
        let hidden = p.swiglu("ffn activated", gate, up);
        p.project_out(&self.down, self.down_bias.as_ref(), hidden);
    }
}
