//! `config.json` in the form of the `transformers` library: from text to a typed configuration
//! and to the list of tensors that a checkpoint of it must hold.
//!
//! What a family says in it stands in [`super::families`], a file each. Two keys are our own:
//! `train_context_length` (tokens) and `tokenizer` (`"bytes"`). Keys that change nothing in a
//! forward pass in f32 (`chunk_size`, `residual_in_fp32`, `rms_norm`, initialisation, …) are
//! ignored; Mamba-2's gated norm is always there, as it is in that library.
//!
//! Every number is bounded before it is used as a size.

mod keys;

use std::collections::HashSet;
use std::fmt;

pub use self::keys::Keys;
pub(super) use self::keys::{Defaults, SILU, width};
use super::checkpoint::{Checkpoint, no_others};
use super::families::{self, Family, Layers};
use super::stack::{Block, Norm};
pub use super::tensors::TensorSpec;
use super::tensors::Tensors;
use crate::mixers::Weights;

/// The longest `config.json` that is read, in bytes.
pub const MAX_CONFIG_BYTES: usize = 1 << 20;
/// The widest vector inside a model: a hidden state, a convolution, a projection.
pub const MAX_WIDTH: usize = 1 << 20;
/// The largest `hidden_size`.
pub const MAX_HIDDEN_SIZE: usize = 65_536;
/// The most layers.
pub const MAX_LAYERS: usize = 1_000;
/// The largest vocabulary.
pub const MAX_VOCABULARY: usize = 1 << 20;
/// The most taps of a causal convolution; the published models have four.
pub const MAX_CONV_KERNEL: usize = 64;
/// The most parameters: their f32 and the file must fit the address space together, which has
/// 4 GiB in wasm.
pub const MAX_PARAMETERS: u64 = if cfg!(target_pointer_width = "32") {
    3 << 27
} else {
    1 << 34
};

/// How text becomes token ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tokenizer {
    /// A token id is the value of a byte.
    Bytes,
    /// The tokens are known to another program only: such a model loads but cannot read text.
    Unknown,
}

/// What every `config.json` says, whatever the family.
#[derive(Clone, Debug, PartialEq)]
pub struct Common {
    /// Number of different tokens.
    pub vocab_size: usize,
    /// Width D of the residual stream.
    pub hidden_size: usize,
    /// Number of layers.
    pub num_hidden_layers: usize,
    /// Whether the head is the embedding, unless the file has a head of its own.
    pub tie_word_embeddings: bool,
    /// Added to the mean square in every norm between layers.
    pub eps: f32,
    /// Length of the texts that the model was trained on, in tokens, if known.
    pub train_context_length: Option<usize>,
    /// How text becomes token ids.
    pub tokenizer: Tokenizer,
}

/// The configuration of a model of one of the known families.
pub struct Config {
    family: &'static Family,
    common: Common,
    layers: Box<dyn Layers>,
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{} {:?}", self.family.model_type, self.common)
    }
}

impl Config {
    /// Reads and checks `config.json`.
    ///
    /// # Errors
    /// One sentence that names the key.
    pub fn read(json: &[u8]) -> Result<Config, String> {
        let keys = Keys::read(json)?;
        let family = families::of_config(&keys)?;
        let (common, layers) = (family.read)(&keys)?;
        Config::new(family, common, layers)
    }

    /// The configuration that follows from the shapes of the tensors, where a layout has none.
    ///
    /// # Errors
    /// One sentence if it does not follow.
    #[cfg(feature = "zoo")]
    pub fn of_tensors(checkpoint: &Checkpoint) -> Result<Config, String> {
        let (common, layers) = families::rwkv7_native::read(checkpoint)?;
        Config::new(&families::rwkv7_native::FAMILY, common, layers)
    }

    /// The configuration of a model of this family.
    ///
    /// # Errors
    /// A sentence if it has too many parameters.
    pub(super) fn new(
        family: &'static Family,
        common: Common,
        layers: Box<dyn Layers>,
    ) -> Result<Config, String> {
        let config = Config {
            family,
            common,
            layers,
        };
        let parameters = config.parameters();
        if parameters > MAX_PARAMETERS {
            return Err(format!(
                "config.json describes a model of {parameters} parameters where at most {MAX_PARAMETERS} fit here: choose a smaller model"
            ));
        }
        Ok(config)
    }

    /// The family.
    pub fn family(&self) -> &'static Family {
        self.family
    }

    /// What every family has.
    pub fn common(&self) -> &Common {
        &self.common
    }

    /// Embedding `[V, D]`.
    pub(super) fn embedding(&self, t: &mut Tensors<'_>) -> Result<Weights, String> {
        let names = &self.family.names;
        // A tied pair may be stored under the name of either.
        let mut others = names.embedding_too.to_vec();
        if self.common.tie_word_embeddings {
            others.push(names.head);
        }
        let shape = [self.common.vocab_size, self.common.hidden_size];
        t.take_named(names.embedding, &shape, &others)
    }

    /// Tensors that belong to no layer, see [`Layers::shared`].
    pub(super) fn shared(&self, t: &mut Tensors<'_>) -> Result<Option<Weights>, String> {
        self.layers.shared(&self.common, t)
    }

    /// The block of one layer.
    pub(super) fn block(
        &self,
        layer: usize,
        shared: Option<&Weights>,
        t: &mut Tensors<'_>,
    ) -> Result<Block, String> {
        let mut t = t.within(&format!("{}.{layer}.", self.family.names.layers));
        self.layers.block(&self.common, layer, shared, &mut t)
    }

    /// The last norm, and the head `[V, D]` if it is not the embedding.
    pub(super) fn end(&self, t: &mut Tensors<'_>) -> Result<(Norm, Option<Weights>), String> {
        let names = &self.family.names;
        let norm = (names.take_norm)(t, names.norm, self.common.hidden_size)?;
        let shape = [self.common.vocab_size, self.common.hidden_size];
        let head = if self.common.tie_word_embeddings {
            t.take_any(names.head, &shape)?
        } else {
            Some(t.take(names.head, &shape)?)
        };
        Ok((norm, head))
    }

    /// The tensors of a checkpoint, in the order of the forward pass; made one layer at a time, so
    /// that a number of layers that is a lie costs nothing.
    pub fn tensors(&self) -> impl Iterator<Item = TensorSpec> + '_ {
        let begin = listed(|t| {
            self.embedding(t)?;
            self.shared(t).map(drop)
        });
        let shared = Weights::default();
        let layers = (0..self.common.num_hidden_layers)
            .flat_map(move |i| listed(|t| self.block(i, Some(&shared), t).map(drop)));
        begin
            .into_iter()
            .chain(layers)
            .chain(listed(|t| self.end(t).map(drop)))
    }

    /// Number of parameters; a tied head counts once.
    pub fn parameters(&self) -> u64 {
        self.tensors()
            .filter(|t| t.required)
            .map(|t| t.shape.iter().map(|&n| n as u64).product::<u64>())
            .sum()
    }

    /// True for tensors that files of this family hold although nothing reads them.
    pub fn ignores(&self, name: &str) -> bool {
        (self.family.ignores)(name)
    }

    /// Holds the checkpoint against this configuration: every tensor there with its shape and an
    /// element type that can be read, and no others. Tensors under another known name get the one
    /// that is listed here. No values are read.
    ///
    /// # Errors
    /// One sentence on the first tensor that does not fit.
    pub fn check(&self, checkpoint: &mut Checkpoint) -> Result<(), String> {
        if let Some(found) = families::of_tensors(checkpoint, self.family) {
            return Err(format!(
                "config.json describes a {} model but the tensors in the safetensors file are those of a {} model: use the config.json that belongs to this file",
                self.family.model_type, found.model_type
            ));
        }
        let mut known = HashSet::new();
        for tensor in self.tensors() {
            for other in &tensor.other_names {
                checkpoint.rename(other, &tensor.name);
            }
            if checkpoint.shape(&tensor.name).is_some() || tensor.required {
                checkpoint.expect(&tensor.name, &tensor.shape).map_err(|e| {
                    format!(
                        "{e} (config.json describes {} layers and {} parameters, the file holds {})",
                        self.common.num_hidden_layers,
                        self.parameters(),
                        checkpoint.elements()
                    )
                })?;
            }
            known.insert(tensor.name);
        }
        no_others(checkpoint.names(), |name| {
            known.contains(name) || self.ignores(name)
        })
    }
}

/// What `take` asks for; whatever it makes of it is dropped.
fn listed(take: impl FnOnce(&mut Tensors<'_>) -> Result<(), String>) -> Vec<TensorSpec> {
    let mut list = Vec::new();
    // Nothing is read, so nothing can be missing.
    let result = take(&mut Tensors::listing(&mut list));
    debug_assert_eq!(result, Ok(()));
    list
}

/// Reads both files of a model and holds them against each other; the tensors can then be taken
/// one by one as [`Config::tensors`] lists them.
///
/// # Errors
/// One sentence: what is wrong, where, and what to do.
pub fn open(config_json: &[u8], safetensors: Vec<u8>) -> Result<(Config, Checkpoint), String> {
    let config = Config::read(config_json)?;
    let mut checkpoint = Checkpoint::read(safetensors)?;
    config.check(&mut checkpoint)?;
    Ok((config, checkpoint))
}
