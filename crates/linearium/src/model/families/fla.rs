//! What the models of flash-linear-attention have in common: their names, a gated feed-forward
//! layer, and softmax attention in the layers that `attn` lists
//! (`fla/models/modeling_utils.py`, `fla/models/configuration_utils.py`, `fla/layers/attn.py`).

use super::{Layers, Names, Read};
use crate::mixers::attention::Softmax;
use crate::mixers::{Mixer, Size, Weights};
use crate::model::config::{
    Common, Defaults, Keys, MAX_CONV_KERNEL, MAX_HIDDEN_SIZE, MAX_WIDTH, SILU, width,
};
use crate::model::feed_forward::Swiglu;
use crate::model::stack::{Block, FeedForward, Norm};
use crate::model::tensors::Tensors;
use crate::parts::qkv::{FeatureMap, Options};

/// Names outside of the layers.
pub(super) const NAMES: Names = Names {
    embedding: "model.embeddings.weight",
    embedding_too: &[],
    layers: "model.layers",
    norm: "model.norm",
    take_norm: Norm::rms,
    head: "lm_head.weight",
};

/// Defaults of the configurations; the number of layers differs.
pub(super) fn defaults(layers: usize) -> Defaults {
    Defaults {
        vocab_size: 32_000,
        hidden_size: 2048,
        layers,
        tied: false,
        eps: ("norm_eps", 1e-6),
        activation: SILU,
    }
}

/// What one family adds: its mixer.
pub(super) trait Mixing: 'static {
    /// As [`Layers::shared`].
    fn shared(&self, _: &Common, _: &mut Tensors<'_>) -> Result<Option<Weights>, String> {
        Ok(None)
    }

    /// The mixer of a layer that has no attention.
    fn mixer(
        &self,
        common: &Common,
        layer: usize,
        shared: Option<&Weights>,
        t: &mut Tensors<'_>,
    ) -> Result<Box<dyn Mixer>, String>;
}

struct Model<M> {
    attention: Attention,
    inner: usize,
    mixing: M,
}

/// Reads a configuration whose mixer `read` knows; `ratio` is the default of `hidden_ratio`.
pub(super) fn read<M: Mixing>(
    keys: &Keys,
    layers: usize,
    ratio: f64,
    read: impl FnOnce(&Common) -> Result<M, String>,
) -> Read {
    let common = keys.common(&defaults(layers))?;
    keys.refuse("attnres_block_size", "attention over residuals")?;
    let inner = match keys.optional_count("intermediate_size", MAX_WIDTH)? {
        Some(inner) => inner,
        None => {
            let wide = keys.positive("hidden_ratio", ratio, 4.0)? * common.hidden_size as f64;
            let inner = (wide * 2.0 / 3.0).min(MAX_WIDTH as f64) as usize;
            inner.next_multiple_of(256)
        }
    };
    let model = Model {
        attention: Attention::read(keys, &common)?,
        inner,
        mixing: read(&common)?,
    };
    Ok((common, Box::new(model)))
}

impl<M: Mixing> Layers for Model<M> {
    fn shared(&self, common: &Common, t: &mut Tensors<'_>) -> Result<Option<Weights>, String> {
        self.mixing.shared(common, t)
    }

    fn block(
        &self,
        common: &Common,
        layer: usize,
        shared: Option<&Weights>,
        t: &mut Tensors<'_>,
    ) -> Result<Block, String> {
        let d = common.hidden_size;
        let norm = Norm::rms(t, "attn_norm", d)?;
        let t_mixer = &mut t.within("attn.");
        let mixer = match self.attention.of_layer(layer) {
            Some(spec) => spec.mixer(d, t_mixer)?,
            None => self.mixing.mixer(common, layer, shared, t_mixer)?,
        };
        Ok(Block {
            stream_norm: None,
            norm,
            mixer,
            feed_forward: Some(FeedForward {
                norm: Norm::rms(t, "mlp_norm", d)?,
                layer: Box::new(Swiglu::load(&mut t.within("mlp."), d, self.inner, false)?),
            }),
        })
    }
}

/// Which layers attend, and how.
#[derive(Default)]
pub(super) struct Attention(Vec<Spec>);

/// The attention of some layers.
pub(super) struct Spec {
    layers: Vec<usize>,
    heads: usize,
    kv_heads: usize,
    bias: bool,
    window: usize,
    theta: f64,
}

impl Attention {
    /// Reads `attn`: nothing, an object, or a list of objects.
    pub(super) fn read(keys: &Keys, common: &Common) -> Result<Attention, String> {
        let specs = keys
            .objects("attn")?
            .iter()
            .map(|keys| Spec::read(keys, common))
            .collect::<Result<_, _>>()?;
        Ok(Attention(specs))
    }

    /// That of a layer, if it attends.
    pub(super) fn of_layer(&self, layer: usize) -> Option<&Spec> {
        self.0.iter().find(|s| s.layers.contains(&layer))
    }
}

impl Spec {
    fn read(keys: &Keys, common: &Common) -> Result<Spec, String> {
        let d = common.hidden_size;
        let heads = keys.required_count("num_heads", MAX_HIDDEN_SIZE)?;
        let kv_heads = keys.optional_count("num_kv_heads", MAX_HIDDEN_SIZE)?;
        let kv_heads = kv_heads.unwrap_or(heads);
        if !d.is_multiple_of(2 * heads) || !heads.is_multiple_of(kv_heads) {
            return Err(format!(
                "config.json has attn with {heads} num_heads and {kv_heads} num_kv_heads where the first must divide half of the hidden_size of {d} and the second the first: correct one of the keys"
            ));
        }
        let window = keys.optional_count("window_size", 1 << 30)?;
        Ok(Spec {
            layers: keys.places("layers", common.num_hidden_layers)?,
            heads,
            kv_heads,
            bias: keys.flag("qkv_bias", false)?,
            window: window.unwrap_or(0),
            theta: keys.positive("rope_theta", 10_000.0, 10_000.0)?,
        })
    }

    /// The mixer of one layer.
    pub(super) fn mixer(&self, d: usize, t: &mut Tensors<'_>) -> Result<Box<dyn Mixer>, String> {
        let key = d / self.heads;
        let keys = self.kv_heads * key;
        let qkv = [("q_proj", d), ("k_proj", keys), ("v_proj", keys)];
        Ok(Box::new(Softmax {
            width: d,
            heads: self.heads,
            groups: self.kv_heads,
            key,
            theta: self.theta,
            rotated: key,
            window: self.window,
            in_proj: t.stacked(&qkv, d)?,
            in_bias: t.stacked_bias(self.bias, &qkv)?,
            out_proj: t.take("o_proj.weight", &[d, d])?,
            out_bias: None,
        }))
    }
}

/// Heads of `expand_k · D` keys and `expand_v · D` values in all, and how many share theirs.
pub(super) fn heads(
    keys: &Keys,
    common: &Common,
    [expand_k, expand_v]: [f64; 2],
    heads: usize,
) -> Result<(Size, usize), String> {
    let d = common.hidden_size;
    let heads = keys.count("num_heads", heads, MAX_HIDDEN_SIZE)?;
    let kv_heads = keys.optional_count("num_kv_heads", MAX_HIDDEN_SIZE)?;
    let kv_heads = kv_heads.unwrap_or(heads);
    if !heads.is_multiple_of(kv_heads) {
        return Err(format!(
            "config.json has {heads} num_heads, which {kv_heads} num_kv_heads do not divide: correct one of the two keys"
        ));
    }
    let each = |key: &str, default: f64| {
        let all = keys.expanded(key, default, d)?;
        if all.is_multiple_of(heads) {
            Ok(all / heads)
        } else {
            Err(format!(
                "config.json has {heads} num_heads, which do not divide {key} × hidden_size = {all}: correct one of the three keys"
            ))
        }
    };
    let size = Size {
        width: d,
        heads,
        key: each("expand_k", expand_k)?,
        value: each("expand_v", expand_v)?,
    };
    width("num_heads × head width", heads, size.key.max(size.value))?;
    Ok((size, heads / kv_heads))
}

/// `feature_map` of GLA and RetNet.
pub(super) fn feature_map(keys: &Keys) -> Result<FeatureMap, String> {
    Ok(match keys.text("feature_map")? {
        None => FeatureMap::Identity,
        Some("relu") => FeatureMap::Relu,
        Some("silu" | "swish") => FeatureMap::Silu,
        Some(_) => {
            return Err(keys.wrong_choice("feature_map", &["relu", "silu", "swish"]));
        }
    })
}

/// The options that GLA and RetNet share.
pub(super) fn options(keys: &Keys, heads_per_group: usize) -> Result<Options, String> {
    Ok(Options {
        heads_per_group,
        conv: short_conv(keys, false)?,
        feature: feature_map(keys)?,
        gate: keys.flag("use_output_gate", true)?,
        fused: keys.flag("fuse_norm", true)?,
        affine: keys.flag("elementwise_affine", true)?,
    })
}

/// Taps of the short convolution, which has no bias, if there is one.
pub(super) fn short_conv(keys: &Keys, default: bool) -> Result<Option<(usize, bool)>, String> {
    let taps = keys.count("conv_size", 4, MAX_CONV_KERNEL)?;
    Ok(keys
        .flag("use_short_conv", default)?
        .then_some((taps, false)))
}

/// Norms without a weight are known of GLA and RetNet only.
pub(super) fn need_affine(keys: &Keys) -> Result<(), String> {
    if keys.flag("elementwise_affine", true)? {
        Ok(())
    } else {
        Err("config.json has false under elementwise_affine, and norms without a weight cannot be computed here: use another checkpoint".to_owned())
    }
}
