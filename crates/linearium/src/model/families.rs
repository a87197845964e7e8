//! The families of models that can be read, a file each: the keys of its `config.json` with their
//! defaults, and a function that builds a layer from its tensors.
//!
//! Keys, defaults and tensor names are those of transformers 5.23.0
//! (`models/<model_type>/{configuration,modeling}_*.py`) or of flash-linear-attention
//! (`fla/models/<model_type>/`), as each file says. A hybrid is a family whose function gives some
//! layers another mixer.

#[cfg(feature = "zoo")]
pub mod bamba;
#[cfg(feature = "zoo")]
pub mod delta_net;
#[cfg(feature = "zoo")]
pub mod falcon_mamba;
#[cfg(feature = "zoo")]
mod fla;
#[cfg(feature = "zoo")]
pub mod gated_delta_net;
#[cfg(feature = "zoo")]
pub mod gla;
#[cfg(feature = "zoo")]
pub mod hgrn2;
#[cfg(feature = "zoo")]
pub mod jamba;
#[cfg(feature = "zoo")]
pub mod linear_attention;
pub mod llama;
pub mod mamba;
pub mod mamba2;
#[cfg(feature = "zoo")]
pub mod mom;
#[cfg(feature = "zoo")]
pub mod retnet;
#[cfg(feature = "zoo")]
pub mod rwkv7;
#[cfg(feature = "zoo")]
pub mod rwkv7_native;

use super::checkpoint::Checkpoint;
use super::config::{Common, Keys};
use super::stack::{Block, Norm};
use super::tensors::Tensors;
use crate::mixers::Weights;

/// Every family of this build; without the feature `zoo` those that the page needs on its first
/// load. Of two with the same mark the first is taken to be the one that the tensors show.
pub static ALL: &[&Family] = &[
    &mamba2::FAMILY,
    &mamba::FAMILY,
    #[cfg(feature = "zoo")]
    &falcon_mamba::FAMILY,
    #[cfg(feature = "zoo")]
    &jamba::FAMILY,
    #[cfg(feature = "zoo")]
    &bamba::FAMILY,
    &llama::FAMILY,
    #[cfg(feature = "zoo")]
    &rwkv7::FAMILY,
    #[cfg(feature = "zoo")]
    &gla::FAMILY,
    #[cfg(feature = "zoo")]
    &retnet::FAMILY,
    #[cfg(feature = "zoo")]
    &hgrn2::FAMILY,
    #[cfg(feature = "zoo")]
    &linear_attention::FAMILY,
    #[cfg(feature = "zoo")]
    &gated_delta_net::FAMILY,
    #[cfg(feature = "zoo")]
    &delta_net::FAMILY,
    #[cfg(feature = "zoo")]
    &mom::FAMILY,
];

/// What [`Family::read`] gives.
pub type Read = Result<(Common, Box<dyn Layers>), String>;

/// A family of models.
pub struct Family {
    /// `model_type` in `config.json`.
    pub model_type: &'static str,
    /// The first of `architectures` in `config.json`.
    pub class: &'static str,
    /// Name in the field.
    pub name: &'static str,
    /// Names of what is outside of the layers.
    pub names: Names,
    /// A tensor that every file of this family has in some layer.
    pub mark: &'static str,
    /// Reads its keys.
    pub read: fn(&Keys) -> Read,
    /// True for tensors that files of this family hold although nothing reads them.
    pub ignores: fn(&str) -> bool,
}

/// Names of the tensors outside of the layers.
pub struct Names {
    /// The embedding `[V, D]`.
    pub embedding: &'static str,
    /// Other names under which files are known to hold it.
    pub embedding_too: &'static [&'static str],
    /// The layers, without their number.
    pub layers: &'static str,
    /// The last norm, without `.weight`.
    pub norm: &'static str,
    /// What kind of norm it is.
    pub take_norm: fn(&mut Tensors<'_>, &str, usize) -> Result<Norm, String>,
    /// The head `[V, D]`.
    pub head: &'static str,
}

/// The names of the Mamba files of transformers; the singular is that of the original files.
pub const BACKBONE: Names = Names {
    embedding: "backbone.embeddings.weight",
    embedding_too: &["backbone.embedding.weight"],
    layers: "backbone.layers",
    norm: "backbone.norm_f",
    take_norm: Norm::rms,
    head: "lm_head.weight",
};

/// The names of most language models of transformers.
pub const MODEL: Names = Names {
    embedding: "model.embed_tokens.weight",
    embedding_too: &[],
    layers: "model.layers",
    norm: "model.norm",
    take_norm: Norm::rms,
    head: "lm_head.weight",
};

/// The names of the hybrids of transformers.
#[cfg(feature = "zoo")]
pub const HYBRID: Names = Names {
    norm: "model.final_layernorm",
    ..MODEL
};

/// A configuration as far as it concerns the layers.
pub trait Layers {
    /// Takes a tensor that belongs to no layer and that layers need.
    ///
    /// # Errors
    /// A sentence if it is missing or has another shape.
    fn shared(&self, _common: &Common, _t: &mut Tensors<'_>) -> Result<Option<Weights>, String> {
        Ok(None)
    }

    /// Builds one layer from its tensors, whose names are those behind its number.
    ///
    /// # Errors
    /// A sentence if a tensor is missing or has another shape.
    fn block(
        &self,
        common: &Common,
        layer: usize,
        shared: Option<&Weights>,
        t: &mut Tensors<'_>,
    ) -> Result<Block, String>;
}

/// The family that `config.json` names.
pub(super) fn of_config(keys: &Keys) -> Result<&'static Family, String> {
    let (by_type, by_class) = keys.model_type_and_class()?;
    let known = || {
        let types: Vec<&str> = ALL.iter().map(|f| f.model_type).collect();
        format!(
            "{} in the layout of its library",
            crate::model::json::listed(&types, "or")
        )
    };
    let unknown = |what: &str, name: &str| {
        format!(
            "config.json has {what} {}, which is not known here: use a checkpoint of {}",
            crate::model::json::quote(name),
            known()
        )
    };
    let by_type = match by_type {
        None => None,
        Some(t) => Some(
            *ALL.iter()
                .find(|f| f.model_type == t)
                .ok_or_else(|| unknown("model_type", t))?,
        ),
    };
    let by_class = match by_class {
        None => None,
        Some(c) => Some(
            *ALL.iter()
                .find(|f| f.class == c)
                .ok_or_else(|| unknown("the architecture", c))?,
        ),
    };
    match (by_type, by_class) {
        (Some(a), Some(b)) if !std::ptr::eq(a, b) => Err(format!(
            "config.json has model_type {} but its architectures name a {} model: correct one of the two keys",
            a.model_type, b.model_type
        )),
        (Some(a), _) | (None, Some(a)) => Ok(a),
        (None, None) if keys.has("d_model") => Err(
            "config.json has d_model and no model_type, the layout of the original Mamba files: convert the model to the layout of the transformers library".to_owned(),
        ),
        (None, None) => Err(format!(
            "config.json has neither model_type nor architectures: use a checkpoint of {}",
            known()
        )),
    }
}

/// The family that the names of the tensors show, if they show another one than `wanted`.
pub(super) fn of_tensors(checkpoint: &Checkpoint, wanted: &Family) -> Option<&'static Family> {
    let has = |family: &Family| {
        checkpoint.names().any(|name| {
            name.strip_prefix(family.names.layers)
                .and_then(|rest| rest.strip_prefix('.')?.split_once('.'))
                .is_some_and(|(_, part)| part == family.mark)
        })
    };
    if has(wanted) {
        return None;
    }
    ALL.iter().find(|f| has(f)).copied()
}
