//! Bamba of `transformers` (`models/bamba/`): Mamba-2, attention with half-rotated heads in some
//! layers, and a gated feed-forward layer in each.

use super::llama::Attention;
use super::mamba2::Mamba2;
use super::{Family, HYBRID, Layers, Read};
use crate::mixers::{Mixer, Weights};
use crate::model::config::{
    Common, Defaults, Keys, MAX_CONV_KERNEL, MAX_HIDDEN_SIZE, MAX_WIDTH, SILU,
};
use crate::model::feed_forward::Swiglu;
use crate::model::stack::{Block, FeedForward, Norm};
use crate::model::tensors::Tensors;

/// Its entry.
pub static FAMILY: Family = Family {
    model_type: "bamba",
    class: "BambaForCausalLM",
    name: "Bamba",
    names: HYBRID,
    mark: "mamba.dt_bias",
    read,
    ignores: |_| false,
};

struct Bamba {
    mamba: Mamba2,
    attention: Attention,
    /// The layers that attend.
    attend: Vec<usize>,
    inner: usize,
    mlp_bias: bool,
}

fn read(keys: &Keys) -> Read {
    let common = keys.common(&Defaults {
        vocab_size: 128_000,
        hidden_size: 4096,
        layers: 32,
        tied: false,
        eps: ("rms_norm_eps", 1e-5),
        activation: SILU,
    })?;
    let num_heads = keys.count("mamba_n_heads", 128, MAX_WIDTH)?;
    let expanded = keys.expanded("mamba_expand", 2.0, common.hidden_size)?;
    let mamba = Mamba2 {
        num_heads,
        head_dim: keys.count_or(
            "mamba_d_head",
            "auto",
            (expanded / num_heads).max(1),
            MAX_WIDTH,
        )?,
        state_size: keys.count("mamba_d_state", 256, MAX_HIDDEN_SIZE)?,
        n_groups: keys.count("mamba_n_groups", 1, MAX_WIDTH)?,
        conv_kernel: keys.count("mamba_d_conv", 4, MAX_CONV_KERNEL)?,
        use_conv_bias: keys.flag("mamba_conv_bias", true)?,
        use_bias: keys.flag("mamba_proj_bias", false)?,
        time_step_limit: keys.time_step_limit()?,
    };
    let names = [
        "mamba_n_heads",
        "mamba_d_head",
        "mamba_n_groups",
        "mamba_d_state",
        "mamba_expand",
    ];
    mamba.check(names, expanded)?;
    let layers = Bamba {
        mamba,
        attention: Attention::read(keys, common.hidden_size, Some(8), Some(0.5))?,
        attend: keys.places("attn_layer_indices", common.num_hidden_layers)?,
        inner: keys.count("intermediate_size", 14_336, MAX_WIDTH)?,
        mlp_bias: keys.flag("mlp_bias", false)?,
    };
    Ok((common, Box::new(layers)))
}

impl Layers for Bamba {
    fn block(
        &self,
        common: &Common,
        layer: usize,
        _shared: Option<&Weights>,
        t: &mut Tensors<'_>,
    ) -> Result<Block, String> {
        let d = common.hidden_size;
        let mixer: Box<dyn Mixer> = if self.attend.contains(&layer) {
            Box::new(self.attention.mixer(common, &mut t.within("self_attn."))?)
        } else {
            Box::new(self.mamba.mixer(common, &mut t.within("mamba."))?)
        };
        let t_ffn = &mut t.within("feed_forward.");
        let feed_forward = Swiglu::load(t_ffn, d, self.inner, self.mlp_bias)?;
        Ok(Block {
            stream_norm: None,
            norm: Norm::rms(t, "input_layernorm", d)?,
            mixer,
            feed_forward: Some(FeedForward {
                norm: Norm::rms(t, "pre_ff_layernorm", d)?,
                layer: Box::new(feed_forward),
            }),
        })
    }
}
