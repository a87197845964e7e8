//! RetNet of flash-linear-attention (`fla/models/retnet/`).

use super::fla::{self, Mixing, NAMES};
use super::{Family, Read};
use crate::mixers::retnet::RetNet;
use crate::mixers::{Mixer, Size, Weights};
use crate::model::config::{Common, Keys};
use crate::model::tensors::Tensors;
use crate::parts::qkv::Options;

/// Its entry.
pub static FAMILY: Family = Family {
    model_type: "retnet",
    class: "RetNetForCausalLM",
    name: "RetNet",
    names: NAMES,
    mark: "attn.g_norm_swish_gate.weight",
    read,
    ignores: |_| false,
};

struct Layer {
    size: Size,
    options: Options,
}

fn read(keys: &Keys) -> Read {
    fla::read(keys, 24, 2.0, |common| {
        let (size, heads_per_group) = fla::heads(keys, common, [1.0, 2.0], 8)?;
        if !size.key.is_multiple_of(2) {
            return Err(format!(
                "config.json has heads of {} keys, but rotary positions turn pairs of channels: correct num_heads or expand_k",
                size.key
            ));
        }
        Ok(Layer {
            size,
            options: fla::options(keys, heads_per_group)?,
        })
    })
}

impl Mixing for Layer {
    fn mixer(
        &self,
        common: &Common,
        _layer: usize,
        _shared: Option<&Weights>,
        t: &mut Tensors<'_>,
    ) -> Result<Box<dyn Mixer>, String> {
        let mixer = RetNet::load(t, &self.size, &self.options, common.eps)?;
        Ok(Box::new(mixer))
    }
}
