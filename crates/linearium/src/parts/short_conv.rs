//! The short convolutions of flash-linear-attention's layers: one over several neighbouring parts
//! of a projection, each with a tensor of its own in a checkpoint (`fla/modules/convolution.py`).

use crate::mixers::{Planner, StepState, Weights};
use crate::model::tensors::Tensors;
use crate::plan::Columns;
use crate::random::Random;

/// A causal convolution of each channel, without an activation.
#[derive(Clone, Debug)]
pub struct ShortConv {
    /// `[C, W]`.
    pub weight: Weights,
    /// `[C]`.
    pub bias: Option<Weights>,
}

impl ShortConv {
    /// Random weights for channels of this width, with a bias if asked.
    pub fn random(channels: usize, (width, bias): (usize, bool), random: &mut Random) -> ShortConv {
        ShortConv {
            weight: random
                .normals(channels * width, (width as f64).sqrt().recip())
                .into(),
            bias: bias.then(|| random.normals(channels, 0.1).into()),
        }
    }

    /// Takes `{name}.weight` and, if they have one, `{name}.bias` of each part: its name and
    /// channels.
    ///
    /// # Errors
    /// A sentence if a tensor is missing or has another shape.
    pub fn load(
        t: &mut Tensors<'_>,
        parts: &[(&str, usize)],
        (width, bias): (usize, bool),
    ) -> Result<ShortConv, String> {
        let mut weight = Vec::new();
        for (name, channels) in parts {
            let name = format!("{name}.weight");
            weight.extend_from_slice(&t.take(&name, &[*channels, 1, width])?);
        }
        Ok(ShortConv {
            weight: weight.into(),
            bias: t.stacked_bias(bias, parts)?,
        })
    }

    /// Its weights.
    pub fn weights(&self) -> impl Iterator<Item = &Weights> {
        std::iter::once(&self.weight).chain(&self.bias)
    }

    /// Values that are carried on, for so many channels.
    pub fn tail(&self, channels: usize) -> usize {
        self.weight.len() - channels
    }

    /// One token; its last inputs are carried under the name.
    pub fn step(&self, state: &mut StepState, name: &'static str, x: &[f64]) -> Vec<f64> {
        state.convolve(name, x, &self.weight, self.bias.as_deref())
    }

    /// Many tokens, with SiLU behind it if asked.
    pub fn plan(&self, p: &mut Planner, name: &str, x: Columns, silu: bool) -> Columns {
        p.convolve(name, x, &self.weight, self.bias.as_ref(), silu)
    }
}
