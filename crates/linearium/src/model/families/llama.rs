//! Llama of `transformers` (`models/llama/`): softmax attention with rotary positions.

use super::{Family, Layers, MODEL, Read};
use crate::mixers::Weights;
use crate::mixers::attention::Softmax;
use crate::model::config::{Common, Defaults, Keys, MAX_HIDDEN_SIZE, MAX_WIDTH, SILU, width};
use crate::model::feed_forward::Swiglu;
use crate::model::stack::{Block, FeedForward, Norm};
use crate::model::tensors::Tensors;

/// Its entry.
pub static FAMILY: Family = Family {
    model_type: "llama",
    class: "LlamaForCausalLM",
    name: "Llama",
    names: MODEL,
    mark: "self_attn.q_proj.weight",
    read,
    // The rotary frequencies in older files, which follow from `rope_theta`.
    ignores: |name| {
        name.starts_with("model.layers.") && name.ends_with(".self_attn.rotary_emb.inv_freq")
    },
};

/// A layer of Llama.
#[derive(Clone, Debug, PartialEq)]
pub struct Llama {
    /// The attention.
    pub attention: Attention,
    /// Width of the gated feed-forward layer.
    pub intermediate_size: usize,
    /// Whether the three projections of the feed-forward layer have a bias.
    pub mlp_bias: bool,
}

/// Softmax attention with the names of `transformers`.
#[derive(Clone, Debug, PartialEq)]
pub struct Attention {
    /// Number of query heads.
    pub num_attention_heads: usize,
    /// Number of key and value heads, each shared by as many query heads.
    pub num_key_value_heads: usize,
    /// Width of one head.
    pub head_dim: usize,
    /// Base of the rotary frequencies `rope_theta^(-2i/n)`.
    pub rope_theta: f64,
    /// How many channels n of a head are rotated, the first ones.
    pub rotated: usize,
    /// Whether the four projections have a bias.
    pub attention_bias: bool,
}

fn read(keys: &Keys) -> Read {
    let (common, layer) = Llama::read(keys)?;
    Ok((common, Box::new(layer)))
}

impl Llama {
    /// Reads its keys.
    ///
    /// # Errors
    /// One sentence that names the key.
    pub fn read(keys: &Keys) -> Result<(Common, Llama), String> {
        let common = keys.common(&Defaults {
            vocab_size: 32_000,
            hidden_size: 4096,
            layers: 32,
            tied: false,
            eps: ("rms_norm_eps", 1e-6),
            activation: SILU,
        })?;
        let attention = Attention::read(keys, common.hidden_size, None, Some(1.0))?;
        let layer = Llama {
            attention,
            intermediate_size: keys.count("intermediate_size", 11_008, MAX_WIDTH)?,
            mlp_bias: keys.flag("mlp_bias", false)?,
        };
        Ok((common, layer))
    }
}

impl Attention {
    /// Reads its keys. `kv_heads` is the default of their number, all heads if there is none;
    /// `share` of each head's channels are rotated, or no positions are known.
    pub(super) fn read(
        keys: &Keys,
        hidden_size: usize,
        kv_heads: Option<usize>,
        share: Option<f64>,
    ) -> Result<Attention, String> {
        let heads = keys.count("num_attention_heads", 32, MAX_HIDDEN_SIZE)?;
        let stored = keys.optional_count("num_key_value_heads", MAX_HIDDEN_SIZE)?;
        let kv_heads = match stored {
            Some(n) => n,
            None if keys.has("num_key_value_heads") => heads,
            None => kv_heads.unwrap_or(heads),
        };
        if !heads.is_multiple_of(kv_heads) {
            return Err(format!(
                "config.json has {heads} num_attention_heads, which {kv_heads} num_key_value_heads do not divide: correct one of the two keys"
            ));
        }
        let head_dim = match keys.optional_count("head_dim", MAX_HIDDEN_SIZE)? {
            Some(p) => p,
            None if hidden_size.is_multiple_of(heads) => hidden_size / heads,
            None => {
                return Err(format!(
                    "config.json has a hidden_size of {hidden_size}, which {heads} num_attention_heads do not divide, and no head_dim: correct one of the keys"
                ));
            }
        };
        width("num_attention_heads × head_dim", heads, head_dim)?;
        let (rope_theta, rotated) = match share {
            None => (1.0, 0),
            Some(share) => {
                let (theta, share) = keys.rope(share)?;
                (theta, (share * head_dim as f64) as usize)
            }
        };
        if rotated % 2 != 0 {
            return Err(format!(
                "config.json has a head_dim of {head_dim}, but rotary positions turn pairs of channels: give an even one"
            ));
        }
        Ok(Attention {
            num_attention_heads: heads,
            num_key_value_heads: kv_heads,
            head_dim,
            rope_theta,
            rotated,
            attention_bias: keys.flag("attention_bias", false)?,
        })
    }

    /// The mixer of one layer.
    pub(super) fn mixer(&self, common: &Common, t: &mut Tensors<'_>) -> Result<Softmax, String> {
        let d = common.hidden_size;
        let queries = self.num_attention_heads * self.head_dim;
        let keys = self.num_key_value_heads * self.head_dim;
        let qkv = [("q_proj", queries), ("k_proj", keys), ("v_proj", keys)];
        Ok(Softmax {
            width: d,
            heads: self.num_attention_heads,
            groups: self.num_key_value_heads,
            key: self.head_dim,
            theta: self.rope_theta,
            rotated: self.rotated,
            window: 0,
            in_proj: t.stacked(&qkv, d)?,
            in_bias: t.stacked_bias(self.attention_bias, &qkv)?,
            out_proj: t.take("o_proj.weight", &[d, queries])?,
            out_bias: t.take_if(self.attention_bias, "o_proj.bias", d)?,
        })
    }
}

impl Layers for Llama {
    fn block(
        &self,
        common: &Common,
        _layer: usize,
        _shared: Option<&Weights>,
        t: &mut Tensors<'_>,
    ) -> Result<Block, String> {
        let d = common.hidden_size;
        Ok(Block {
            stream_norm: None,
            norm: Norm::rms(t, "input_layernorm", d)?,
            mixer: Box::new(self.attention.mixer(common, &mut t.within("self_attn."))?),
            feed_forward: Some(FeedForward {
                norm: Norm::rms(t, "post_attention_layernorm", d)?,
                layer: Box::new(Swiglu::load(
                    &mut t.within("mlp."),
                    d,
                    self.intermediate_size,
                    self.mlp_bias,
                )?),
            }),
        })
    }
}
