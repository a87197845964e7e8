//! Gated DeltaNet of flash-linear-attention (`fla/models/gated_deltanet/`).

use super::fla::{self, Mixing, NAMES};
use super::{Family, Read};
use crate::mixers::gated_delta_net::GatedDeltaNet;
use crate::mixers::{Mixer, Size, Weights};
use crate::model::config::{Common, Keys, MAX_HIDDEN_SIZE, width};
use crate::model::tensors::Tensors;
use crate::parts::delta_layer::{KeyActivation, KeyNorm, Options};

/// Its entry.
pub static FAMILY: Family = Family {
    model_type: "gated_deltanet",
    class: "GatedDeltaNetForCausalLM",
    name: "Gated DeltaNet",
    names: NAMES,
    mark: "attn.a_proj.weight",
    read,
    ignores: |_| false,
};

struct Layer {
    size: Size,
    options: Options,
}

fn read(keys: &Keys) -> Read {
    fla::read(keys, 21, 4.0, |common| {
        let groups = keys.count("num_heads", 6, MAX_HIDDEN_SIZE)?;
        let heads = keys.optional_count("num_v_heads", MAX_HIDDEN_SIZE)?;
        let heads = heads.unwrap_or(groups);
        if !heads.is_multiple_of(groups) {
            return Err(format!(
                "config.json has {heads} num_v_heads, which {groups} num_heads do not divide: correct one of the two keys"
            ));
        }
        match keys.text("output_gate_activation")? {
            None | Some("swish" | "silu") => {}
            Some(_) => {
                return Err(keys.wrong_choice("output_gate_activation", &["swish", "silu"]));
            }
        }
        let key = keys.count("head_dim", 256, MAX_HIDDEN_SIZE)?;
        let value = keys.expanded_of("expand_v", 2.0, ("head_dim", key))?;
        width("num_v_heads × head_dim", heads, key)?;
        width("num_v_heads × expand_v × head_dim", heads, value)?;
        Ok(Layer {
            size: Size {
                width: common.hidden_size,
                heads,
                key,
                value,
            },
            options: Options {
                groups,
                conv: fla::short_conv(keys, true)?,
                gate: keys.flag("use_gate", true)?,
                negative_eigenvalues: keys.flag("allow_neg_eigval", false)?,
                beta: true,
                activation: KeyActivation::Silu,
                key_norm: KeyNorm::Length,
                eps: common.eps,
            },
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
        Ok(Box::new(GatedDeltaNet::load(t, &self.size, self.options)?))
    }
}
