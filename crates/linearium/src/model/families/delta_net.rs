//! DeltaNet of flash-linear-attention (`fla/models/delta_net/`).

use super::fla::{self, Mixing, NAMES};
use super::{Family, Read};
use crate::mixers::delta_net::DeltaNet;
use crate::mixers::{Mixer, Size, Weights};
use crate::model::config::{Common, Keys};
use crate::model::tensors::Tensors;
use crate::parts::delta_layer::{KeyActivation, KeyNorm, Options};

/// Its entry.
pub static FAMILY: Family = Family {
    model_type: "delta_net",
    class: "DeltaNetForCausalLM",
    name: "DeltaNet",
    names: NAMES,
    mark: "attn.b_proj.weight",
    read,
    ignores: |_| false,
};

struct Layer {
    size: Size,
    options: Options,
}

fn read(keys: &Keys) -> Read {
    fla::read(keys, 24, 4.0, |common| {
        let (size, _) = fla::heads(keys, common, [1.0, 1.0], 16)?;
        let activation = match keys.text("qk_activation")?.unwrap_or("silu") {
            "silu" => KeyActivation::Silu,
            "relu" => KeyActivation::Relu,
            "elu" => KeyActivation::EluPlusOne,
            "identity" => KeyActivation::Identity,
            _ => {
                let known = ["silu", "relu", "elu", "identity"];
                return Err(keys.wrong_choice("qk_activation", &known));
            }
        };
        let key_norm = match keys.text("qk_norm")?.unwrap_or("l2") {
            "l2" => KeyNorm::Length,
            "sum" => KeyNorm::Sum,
            _ => return Err(keys.wrong_choice("qk_norm", &["l2", "sum"])),
        };
        Ok(Layer {
            size,
            options: Options {
                groups: size.heads,
                conv: fla::short_conv(keys, true)?,
                gate: keys.flag("use_gate", false)?,
                negative_eigenvalues: keys.flag("allow_neg_eigval", false)?,
                beta: keys.flag("use_beta", true)?,
                activation,
                key_norm,
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
        Ok(Box::new(DeltaNet::load(t, &self.size, self.options)?))
    }
}
