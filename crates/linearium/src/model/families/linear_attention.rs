//! Linear attention of flash-linear-attention (`fla/models/linear_attn/`).

use super::fla::{self, Mixing, NAMES};
use super::{Family, Read};
use crate::mixers::linear_attention::{LinearAttention, Options};
use crate::mixers::{Mixer, Size, Weights};
use crate::model::config::{Common, Keys};
use crate::model::tensors::Tensors;

/// Its entry.
pub static FAMILY: Family = Family {
    model_type: "linear_attn",
    class: "LinearAttentionForCausalLM",
    name: "Linear attention",
    names: NAMES,
    mark: "attn.norm.weight",
    read,
    ignores: |_| false,
};

/// Values of `feature_map`.
const FEATURE_MAPS: [&str; 7] = [
    "elementwise_product",
    "hedgehog",
    "t2r",
    "dpfp",
    "elu",
    "relu",
    "identity",
];

struct Layer {
    size: Size,
    options: Options,
}

fn read(keys: &Keys) -> Read {
    fla::read(keys, 24, 4.0, |common| {
        fla::need_affine(keys)?;
        let (size, heads_per_group) = fla::heads(keys, common, [1.0, 1.0], 4)?;
        let map = keys.text("feature_map")?.unwrap_or(FEATURE_MAPS[0]);
        let feature_map = FEATURE_MAPS.into_iter().find(|known| *known == map);
        let Some(feature_map) = feature_map else {
            return Err(keys.wrong_choice("feature_map", &FEATURE_MAPS));
        };
        Ok(Layer {
            size,
            options: Options {
                groups: size.heads / heads_per_group,
                feature_map,
                tied: keys.flag("tie_feature_map_qk", false)?,
                sum_norms: [keys.flag("norm_q", false)?, keys.flag("norm_k", false)?],
                normalised: keys.flag("norm_feature_map", false)?,
                output_norm: true,
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
        Ok(Box::new(LinearAttention::load(
            t,
            &self.size,
            &self.options,
        )?))
    }
}
