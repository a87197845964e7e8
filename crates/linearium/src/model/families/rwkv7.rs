//! RWKV-7 of flash-linear-attention (`fla/models/rwkv7/`).

use super::fla::{self, Attention};
use super::{Family, Layers, Names, Read};
use crate::mixers::rwkv7::{Ranks, Rwkv7};
use crate::mixers::{Mixer, Size, Weights};
use crate::model::config::{Common, Defaults, Keys, MAX_HIDDEN_SIZE, MAX_WIDTH};
use crate::model::feed_forward::rwkv::ChannelMix;
use crate::model::stack::{Block, FeedForward, Norm};
use crate::model::tensors::Tensors;

/// Its entry.
pub static FAMILY: Family = Family {
    model_type: "rwkv7",
    class: "RWKV7ForCausalLM",
    name: "RWKV-7",
    names: Names {
        take_norm: Norm::layer,
        ..fla::NAMES
    },
    mark: "attn.w_lora.lora.0.weight",
    read,
    ignores: |_| false,
};

/// The layers of a model.
pub(super) struct Model {
    pub(super) size: Size,
    pub(super) ranks: Ranks,
    pub(super) inner: usize,
    /// Whether the first block normalises the residual stream.
    pub(super) norm_first: bool,
    pub(super) attention: Attention,
}

fn read(keys: &Keys) -> Read {
    let common = keys.common(&Defaults {
        eps: ("norm_eps", 1e-5),
        activation: &["sqrelu"],
        ..fla::defaults(24)
    })?;
    let d = common.hidden_size;
    let key = match keys.optional_count("num_heads", MAX_HIDDEN_SIZE)? {
        Some(heads) if keys.has("head_dim") && keys.given("head_dim").is_none() => {
            (d / heads).max(1)
        }
        _ => keys.count("head_dim", 64, MAX_HIDDEN_SIZE)?,
    };
    if !d.is_multiple_of(key) {
        return Err(format!(
            "config.json has a hidden_size of {d}, which heads of {key} channels do not divide: correct hidden_size or head_dim"
        ));
    }
    let values = keys.same_counts("value_dim", d, MAX_WIDTH)?;
    let heads = d / key;
    if !values.is_multiple_of(heads) {
        return Err(format!(
            "config.json has a value_dim of {values}, which {heads} heads do not divide: correct value_dim or head_dim"
        ));
    }
    if !keys.flag("norm_bias", true)? {
        return Err("config.json has false under norm_bias, and norms without a bias cannot be computed: use another checkpoint".to_owned());
    }
    let usual = Ranks::of(d, key);
    let rank = |name: &str, default: usize, usual: usize| {
        if keys.has(name) && keys.given(name).is_none() {
            Ok(usual)
        } else {
            keys.count(name, default, MAX_HIDDEN_SIZE)
        }
    };
    let ranks = Ranks {
        decay: rank("decay_low_rank_dim", 64, usual.decay)?,
        erase: rank("a_low_rank_dim", 64, usual.erase)?,
        value: rank("v_low_rank_dim", 16, usual.value)?,
        gate: rank("gate_low_rank_dim", 128, usual.gate)?,
    };
    let inner = match keys.optional_count("intermediate_size", MAX_WIDTH)? {
        Some(inner) => inner,
        None => {
            let wide = keys.positive("hidden_ratio", 4.0, 4.0)? * d as f64;
            (wide.min(MAX_WIDTH as f64) as usize).next_multiple_of(32)
        }
    };
    let attention = Attention::read(keys, &common)?;
    if attention.of_layer(0).is_some() {
        return Err("config.json has 0 under attn.layers, but the values of the first layer go into all others: use another checkpoint".to_owned());
    }
    let model = Model {
        size: Size {
            width: d,
            heads,
            key,
            value: values / heads,
        },
        ranks,
        inner,
        norm_first: keys.flag("norm_first", true)?,
        attention,
    };
    Ok((common, Box::new(model)))
}

impl Layers for Model {
    fn block(
        &self,
        common: &Common,
        layer: usize,
        _shared: Option<&Weights>,
        t: &mut Tensors<'_>,
    ) -> Result<Block, String> {
        let (d, first) = (common.hidden_size, layer == 0);
        let stream_norm = if first && self.norm_first {
            Some(Norm::layer(t, "pre_norm", d)?)
        } else {
            None
        };
        let norm = Norm::layer(t, "attn_norm", d)?;
        let t_mixer = &mut t.within("attn.");
        let mixer: Box<dyn Mixer> = match self.attention.of_layer(layer) {
            Some(spec) => spec.mixer(d, t_mixer)?,
            None => Box::new(Rwkv7::load(
                t_mixer,
                &self.size,
                &self.ranks,
                common.eps,
                first,
            )?),
        };
        let ffn_norm = Norm::layer(t, "ffn_norm", d)?;
        let t = &mut t.within("ffn.");
        Ok(Block {
            stream_norm,
            norm,
            mixer,
            feed_forward: Some(FeedForward {
                norm: ffn_norm,
                layer: Box::new(ChannelMix {
                    x_k: t.take("x_k", &[d])?,
                    key: t.take("key.weight", &[self.inner, d])?,
                    value: t.take("value.weight", &[d, self.inner])?,
                }),
            }),
        })
    }
}
