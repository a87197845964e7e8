//! Mixture of memories of flash-linear-attention (`fla/models/mom/`), over the gated delta rule.

use super::fla::{self, Mixing, NAMES};
use super::{Family, Read};
use crate::mixers::mom::{Mom, Options};
use crate::mixers::{Mixer, Size, Weights};
use crate::model::config::{Common, Keys, MAX_CONV_KERNEL, MAX_HIDDEN_SIZE, width};
use crate::model::tensors::Tensors;

/// Its entry.
pub static FAMILY: Family = Family {
    model_type: "mom",
    class: "MomForCausalLM",
    name: "MoM",
    names: NAMES,
    mark: "attn.gate.weight",
    read,
    ignores: |_| false,
};

/// The most memories that a token can be routed to.
const MAX_MEMORIES: usize = 256;

struct Layer {
    size: Size,
    options: Options,
    eps: f32,
}

fn read(keys: &Keys) -> Read {
    fla::read(keys, 24, 4.0, |common| {
        let heads = keys.count("num_heads", 4, MAX_HIDDEN_SIZE)?;
        let key = keys.count("head_dim", 256, MAX_HIDDEN_SIZE)?;
        let value = keys.expanded_of("expand_v", 1.0, ("head_dim", key))?;
        width("num_heads × head_dim", heads, key)?;
        width("num_heads × expand_v × head_dim", heads, value)?;
        let memories = keys.count("num_memories", 4, MAX_MEMORIES)?;
        let top = keys.count("topk", 2, MAX_MEMORIES)?;
        if top > memories {
            return Err(format!(
                "config.json has a topk of {top} and {memories} num_memories, fewer than a token is sent to: correct one of the two keys"
            ));
        }
        for key in ["use_short_conv", "use_output_gate"] {
            if !keys.flag(key, true)? {
                return Err(format!(
                    "config.json has {key} false, which is not known of MoM here: use a checkpoint with it"
                ));
            }
        }
        if !matches!(keys.text("mom_backend")?, None | Some("gated_deltanet")) {
            return Err(keys.wrong_choice("mom_backend", &["gated_deltanet"]));
        }
        Ok(Layer {
            size: Size {
                width: common.hidden_size,
                heads,
                key,
                value,
            },
            options: Options {
                memories,
                top,
                shared: keys.flag("shared_mem", true)?,
                single: keys.flag("single_kv_proj", false)?,
                conv: keys.count("conv_size", 4, MAX_CONV_KERNEL)?,
            },
            eps: common.eps,
        })
    })
}

impl Mixing for Layer {
    fn mixer(
        &self,
        _common: &Common,
        _layer: usize,
        _shared: Option<&Weights>,
        t: &mut Tensors<'_>,
    ) -> Result<Box<dyn Mixer>, String> {
        let mut mom = Mom::load(t, &self.size, self.options)?;
        mom.eps = self.eps;
        Ok(Box::new(mom))
    }
}
