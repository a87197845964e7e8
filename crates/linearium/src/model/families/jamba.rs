//! Jamba of `transformers` (`models/jamba/`): Mamba with norms of dt, B and C, attention without
//! positions in one of some layers, and experts in the feed-forward layer of one of some.

use super::llama::Attention;
use super::mamba::{Mamba, Norms, time_step_rank};
use super::{Family, HYBRID, Layers, Read};
use crate::mixers::{Mixer, Weights};
use crate::model::config::{
    Common, Defaults, Keys, MAX_CONV_KERNEL, MAX_HIDDEN_SIZE, MAX_LAYERS, MAX_WIDTH, SILU, width,
};
use crate::model::feed_forward::experts::Experts;
use crate::model::feed_forward::{self, Swiglu};
use crate::model::stack::{Block, FeedForward, Norm};
use crate::model::tensors::Tensors;

/// Its entry.
pub static FAMILY: Family = Family {
    model_type: "jamba",
    class: "JambaForCausalLM",
    name: "Jamba",
    names: HYBRID,
    mark: "mamba.x_proj.weight",
    read,
    ignores: |_| false,
};

/// One of so many layers, counted from this one.
#[derive(Clone, Copy)]
struct Every {
    period: usize,
    offset: usize,
}

impl Every {
    fn read(keys: &Keys, name: &str, period: usize, offset: usize) -> Result<Every, String> {
        let of = format!("{name}_layer_period");
        let period = keys.count(&of, period, MAX_LAYERS)?;
        let from = format!("{name}_layer_offset");
        let offset = keys.place(&from, offset, period, &format!("less than {of}"))?;
        Ok(Every { period, offset })
    }

    fn holds(self, layer: usize) -> bool {
        layer % self.period == self.offset
    }
}

struct Jamba {
    mamba: Mamba,
    attention: Attention,
    attends: Every,
    inner: usize,
    experts: usize,
    top: usize,
    has_experts: Every,
}

fn read(keys: &Keys) -> Read {
    let common = keys.common(&Defaults {
        vocab_size: 65_536,
        hidden_size: 4096,
        layers: 32,
        tied: false,
        eps: ("rms_norm_eps", 1e-6),
        activation: SILU,
    })?;
    let mamba = Mamba {
        intermediate_size: keys.expanded("mamba_expand", 2.0, common.hidden_size)?,
        state_size: keys.count("mamba_d_state", 16, MAX_HIDDEN_SIZE)?,
        time_step_rank: time_step_rank(keys, "mamba_dt_rank", common.hidden_size)?,
        conv_kernel: keys.count("mamba_d_conv", 4, MAX_CONV_KERNEL)?,
        use_conv_bias: keys.flag("mamba_conv_bias", true)?,
        use_bias: keys.flag("mamba_proj_bias", false)?,
        norms: Norms::Weighted(common.eps),
    };
    let inner = keys.count("intermediate_size", 14_336, MAX_WIDTH)?;
    let experts = keys.count("num_experts", 16, MAX_WIDTH)?;
    width("num_experts × intermediate_size", experts, inner)?;
    let layers = Jamba {
        mamba,
        attention: Attention::read(keys, common.hidden_size, Some(8), None)?,
        attends: Every::read(keys, "attn", 8, 4)?,
        inner,
        experts,
        top: keys.count("num_experts_per_tok", 2, experts)?,
        has_experts: Every::read(keys, "expert", 2, 1)?,
    };
    Ok((common, Box::new(layers)))
}

impl Layers for Jamba {
    fn block(
        &self,
        common: &Common,
        layer: usize,
        _shared: Option<&Weights>,
        t: &mut Tensors<'_>,
    ) -> Result<Block, String> {
        let d = common.hidden_size;
        let mixer: Box<dyn Mixer> = if self.attends.holds(layer) {
            Box::new(self.attention.mixer(common, &mut t.within("self_attn."))?)
        } else {
            Box::new(self.mamba.mixer(common, &mut t.within("mamba."))?)
        };
        let t_ffn = &mut t.within("feed_forward.");
        let layer: Box<dyn feed_forward::Layer> =
            if self.experts > 1 && self.has_experts.holds(layer) {
                Box::new(Experts::load(t_ffn, d, self.inner, self.experts, self.top)?)
            } else {
                Box::new(Swiglu::load(t_ffn, d, self.inner, false)?)
            };
        Ok(Block {
            stream_norm: None,
            norm: Norm::rms(t, "input_layernorm", d)?,
            mixer,
            feed_forward: Some(FeedForward {
                norm: Norm::rms(t, "pre_ff_layernorm", d)?,
                layer,
            }),
        })
    }
}
