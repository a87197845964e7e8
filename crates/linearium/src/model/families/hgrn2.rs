//! HGRN2 of flash-linear-attention (`fla/models/hgrn2/`).

use super::fla::{self, Mixing, NAMES};
use super::{Family, Read};
use crate::mixers::hgrn2::Hgrn2;
use crate::mixers::{Mixer, Size, Weights};
use crate::model::config::{Common, Keys, MAX_HIDDEN_SIZE};
use crate::model::tensors::Tensors;

/// Its entry.
pub static FAMILY: Family = Family {
    model_type: "hgrn2",
    class: "HGRN2ForCausalLM",
    name: "HGRN2",
    names: NAMES,
    mark: "attn.i_proj.weight",
    read,
    ignores: |_| false,
};

/// Of the norm of the output: the official layer does not hand its `norm_eps` on, so the default of
/// `rms_norm_linear` (`fla/modules/layernorm.py`) holds.
const EPS: f32 = 1e-5;

struct Layer {
    size: Size,
    conv: Option<(usize, bool)>,
    lower_bounds: bool,
}

fn read(keys: &Keys) -> Read {
    fla::read(keys, 24, 4.0, |common| {
        fla::need_affine(keys)?;
        let d = common.hidden_size;
        // `expand_ratio` wins over `num_heads`.
        let heads = if keys.has("expand_ratio") && keys.given("expand_ratio").is_none() {
            keys.required_count("num_heads", MAX_HIDDEN_SIZE)?
        } else {
            d / keys.count("expand_ratio", 128, MAX_HIDDEN_SIZE)?
        };
        if heads == 0 || !d.is_multiple_of(heads) {
            return Err(format!(
                "config.json has {heads} heads by its expand_ratio and num_heads, which do not divide the hidden_size of {d}: correct one of the keys"
            ));
        }
        Ok(Layer {
            size: Size {
                width: d,
                heads,
                key: d / heads,
                value: d / heads,
            },
            conv: fla::short_conv(keys, false)?,
            lower_bounds: keys.flag("use_lower_bound", true)?,
        })
    })
}

/// The lowest forget gate of every channel of one layer: of the softmax over layers the sum from
/// the second to this one.
fn lower_bound(all: &[f32], layers: usize, layer: usize, d: usize) -> Weights {
    let of = |layer: usize, c: usize| all[layer * d + c];
    (0..d)
        .map(|c| {
            let highest = (0..layers).map(|l| of(l, c)).fold(f32::MIN, f32::max);
            let exp = |l: usize| f64::from(of(l, c) - highest).exp();
            let sum: f64 = (0..layers).map(exp).sum();
            ((1..=layer).map(exp).sum::<f64>() / sum) as f32
        })
        .collect()
}

impl Mixing for Layer {
    fn shared(&self, common: &Common, t: &mut Tensors<'_>) -> Result<Option<Weights>, String> {
        if !self.lower_bounds {
            return Ok(None);
        }
        let shape = [common.num_hidden_layers, common.hidden_size];
        t.take("model.lower_bounds", &shape).map(Some)
    }

    fn mixer(
        &self,
        common: &Common,
        layer: usize,
        shared: Option<&Weights>,
        t: &mut Tensors<'_>,
    ) -> Result<Box<dyn Mixer>, String> {
        let bound = match shared {
            Some(all) if layer > 0 && self.lower_bounds && t.reads() => {
                let layers = common.num_hidden_layers;
                Some(lower_bound(all, layers, layer, common.hidden_size))
            }
            _ => None,
        };
        let mixer = Hgrn2::load(t, &self.size, self.conv, bound, EPS)?;
        Ok(Box::new(mixer))
    }
}
