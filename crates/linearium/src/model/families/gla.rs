//! GLA of flash-linear-attention (`fla/models/gla/`).

use super::fla::{self, Mixing, NAMES};
use super::{Family, Read};
use crate::mixers::gla::Gla;
use crate::mixers::{Mixer, Size, Weights};
use crate::model::config::{Common, Keys};
use crate::model::tensors::Tensors;
use crate::parts::qkv::Options;

/// Its entry.
pub static FAMILY: Family = Family {
    model_type: "gla",
    class: "GLAForCausalLM",
    name: "GLA",
    names: NAMES,
    mark: "attn.gk_proj.0.weight",
    read,
    ignores: |_| false,
};

/// Rank of the gate, which the configuration does not say.
const RANK: usize = 16;

struct Layer {
    size: Size,
    options: Options,
    clamp_min: Option<f32>,
}

fn read(keys: &Keys) -> Read {
    fla::read(keys, 24, 4.0, |common| {
        let (size, heads_per_group) = fla::heads(keys, common, [0.5, 1.0], 4)?;
        Ok(Layer {
            size,
            options: fla::options(keys, heads_per_group)?,
            clamp_min: keys.optional_number("clamp_min")?,
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
        let (size, options) = (&self.size, &self.options);
        let gla = Gla::load(t, size, options, RANK, self.clamp_min, common.eps)?;
        Ok(Box::new(gla))
    }
}
