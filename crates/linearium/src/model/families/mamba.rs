//! Mamba of `transformers` (`models/mamba/`).

use super::{BACKBONE, Family, Layers, Read};
use crate::mixers::Weights;
use crate::mixers::s6::{InnerNorms, S6};
use crate::model::config::{
    Common, Defaults, Keys, MAX_CONV_KERNEL, MAX_HIDDEN_SIZE, MAX_WIDTH, SILU,
};
use crate::model::stack::{Block, Norm};
use crate::model::tensors::{Tensors, rates};

/// Its entry.
pub static FAMILY: Family = Family {
    model_type: "mamba",
    class: "MambaForCausalLM",
    name: "Mamba",
    names: BACKBONE,
    mark: "mixer.x_proj.weight",
    read,
    ignores: |_| false,
};

/// A layer of Mamba.
#[derive(Clone, Debug, PartialEq)]
pub struct Mamba {
    /// Width E of the mixer.
    pub intermediate_size: usize,
    /// Width N of the state of one channel.
    pub state_size: usize,
    /// Rank R of the projection to step sizes.
    pub time_step_rank: usize,
    /// Taps of the causal convolution.
    pub conv_kernel: usize,
    /// Whether the convolution has a bias.
    pub use_conv_bias: bool,
    /// Whether `in_proj` and `out_proj` have a bias.
    pub use_bias: bool,
    /// The norms of dt, B and C.
    pub norms: Norms,
}

/// Norms of dt, B and C.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Norms {
    /// There are none (Mamba).
    None,
    /// Without weights, with this epsilon (Falcon-Mamba).
    Weightless(f32),
    /// With weights, with this epsilon (Jamba).
    Weighted(f32),
}

fn read(keys: &Keys) -> Read {
    let (common, layer) = Mamba::read(keys)?;
    Ok((common, Box::new(layer)))
}

impl Mamba {
    /// Reads its keys.
    ///
    /// # Errors
    /// One sentence that names the key.
    pub fn read(keys: &Keys) -> Result<(Common, Mamba), String> {
        let common = keys.common(&Defaults {
            vocab_size: 50_280,
            hidden_size: 768,
            layers: 32,
            tied: true,
            eps: ("layer_norm_epsilon", 1e-5),
            activation: SILU,
        })?;
        // A stored intermediate_size wins over expand, as in the library.
        let intermediate_size = match keys.optional_count("intermediate_size", MAX_WIDTH)? {
            Some(e) => e,
            None => keys.expanded("expand", 2.0, common.hidden_size)?,
        };
        let layer = Mamba {
            intermediate_size,
            state_size: keys.count("state_size", 16, MAX_HIDDEN_SIZE)?,
            time_step_rank: time_step_rank(keys, "time_step_rank", common.hidden_size)?,
            conv_kernel: keys.count("conv_kernel", 4, MAX_CONV_KERNEL)?,
            use_conv_bias: keys.flag("use_conv_bias", true)?,
            use_bias: keys.flag("use_bias", false)?,
            norms: Norms::None,
        };
        Ok((common, layer))
    }

    /// The mixer of one layer.
    pub(super) fn mixer(&self, common: &Common, t: &mut Tensors<'_>) -> Result<S6, String> {
        let (d, e) = (common.hidden_size, self.intermediate_size);
        let (n, r) = (self.state_size, self.time_step_rank);
        let norms = match self.norms {
            Norms::None => None,
            Norms::Weightless(eps) => Some(InnerNorms {
                dt: vec![1.0; r].into(),
                b_c: vec![1.0; 2 * n].into(),
                eps,
            }),
            Norms::Weighted(eps) => Some(InnerNorms {
                dt: t.take("dt_layernorm.weight", &[r])?,
                b_c: Weights::stacked(&[
                    t.take("b_layernorm.weight", &[n])?,
                    t.take("c_layernorm.weight", &[n])?,
                ]),
                eps,
            }),
        };
        Ok(S6 {
            width: d,
            channels: e,
            states: n,
            rank: r,
            in_proj: t.take("in_proj.weight", &[2 * e, d])?,
            in_bias: t.take_if(self.use_bias, "in_proj.bias", 2 * e)?,
            conv_weight: t.take("conv1d.weight", &[e, 1, self.conv_kernel])?,
            conv_bias: t.take_if(self.use_conv_bias, "conv1d.bias", e)?,
            x_proj: t.take("x_proj.weight", &[r + 2 * n, e])?,
            norms,
            dt_proj: t.take("dt_proj.weight", &[e, r])?,
            dt_bias: t.take("dt_proj.bias", &[e])?,
            a: rates(&t.take("A_log", &[e, n])?),
            skip: t.take("D", &[e])?,
            out_proj: t.take("out_proj.weight", &[d, e])?,
            out_bias: t.take_if(self.use_bias, "out_proj.bias", d)?,
        })
    }
}

/// A rank, or `"auto"` for a sixteenth of the width.
pub(super) fn time_step_rank(keys: &Keys, key: &str, hidden_size: usize) -> Result<usize, String> {
    keys.count_or(key, "auto", hidden_size.div_ceil(16), MAX_HIDDEN_SIZE)
}

impl Layers for Mamba {
    fn block(
        &self,
        common: &Common,
        _layer: usize,
        _shared: Option<&Weights>,
        t: &mut Tensors<'_>,
    ) -> Result<Block, String> {
        Ok(Block {
            stream_norm: None,
            norm: Norm::rms(t, "norm", common.hidden_size)?,
            mixer: Box::new(self.mixer(common, &mut t.within("mixer."))?),
            feed_forward: None,
        })
    }
}
