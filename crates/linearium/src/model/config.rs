//! `config.json` in the form of the `transformers` library: from text to a typed configuration
//! and to the list of tensors that a checkpoint of it must hold.
//!
//! Keys, defaults and tensor names are those of transformers 5.23.0
//! (`models/{mamba,mamba2,llama}/{configuration,modeling}_*.py`). Two keys are our own:
//! `train_context_length` (tokens) and `tokenizer` (`"bytes"`). Keys that change nothing in a
//! forward pass in f32 (`chunk_size`, `residual_in_fp32`, `rms_norm`, initialisation, …) are
//! ignored; Mamba-2's gated norm is always there, as it is in that library.
//!
//! Every number is bounded before it is used as a size.

mod keys;

use std::collections::HashSet;

use self::keys::Keys;
use super::checkpoint::{Checkpoint, no_others};

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
/// The most parameters: their f32 must fit the address space, which has 4 GiB in wasm.
pub const MAX_PARAMETERS: u64 = if cfg!(target_pointer_width = "32") {
    1 << 28
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

/// A Mamba-2 language model (`Mamba2ForCausalLM`).
#[derive(Clone, Debug, PartialEq)]
pub struct Mamba2Config {
    /// Number of different tokens.
    pub vocab_size: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Number of layers.
    pub num_hidden_layers: usize,
    /// Width N of the state of one head.
    pub state_size: usize,
    /// Width P of one head.
    pub head_dim: usize,
    /// Number of heads H.
    pub num_heads: usize,
    /// Number G of groups that share B and C; the gated norm normalises each group of
    /// `intermediate_size / n_groups` channels for itself.
    pub n_groups: usize,
    /// Taps of the causal convolution.
    pub conv_kernel: usize,
    /// Whether the convolution has a bias.
    pub use_conv_bias: bool,
    /// Whether `in_proj` and `out_proj` have a bias.
    pub use_bias: bool,
    /// Whether the head is the embedding, unless the file has a head of its own.
    pub tie_word_embeddings: bool,
    /// Added to the mean square in every norm.
    pub layer_norm_epsilon: f32,
    /// The step size after softplus is clamped to this range; the upper end may be infinite.
    pub time_step_limit: [f32; 2],
    /// Length of the texts that the model was trained on, in tokens, if known.
    pub train_context_length: Option<usize>,
    /// How text becomes token ids.
    pub tokenizer: Tokenizer,
}

impl Mamba2Config {
    /// Width E = H·P of the mixer.
    pub fn intermediate_size(&self) -> usize {
        self.num_heads * self.head_dim
    }
    /// Channels of the convolution: x [E], B [G·N], C [G·N].
    pub fn conv_channels(&self) -> usize {
        self.intermediate_size() + 2 * self.n_groups * self.state_size
    }
    /// Rows of `in_proj`: z [E], then the channels of the convolution, then dt [H].
    pub fn in_proj_rows(&self) -> usize {
        self.intermediate_size() + self.conv_channels() + self.num_heads
    }
}

/// A Mamba language model (`MambaForCausalLM`).
#[derive(Clone, Debug, PartialEq)]
pub struct MambaConfig {
    /// Number of different tokens.
    pub vocab_size: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width E of the mixer.
    pub intermediate_size: usize,
    /// Number of layers.
    pub num_hidden_layers: usize,
    /// Width N of the state of one channel.
    pub state_size: usize,
    /// Rank R of the projection to step sizes.
    pub time_step_rank: usize,
    /// Taps of the causal convolution.
    pub conv_kernel: usize,
    /// Whether the convolution has a bias.
    pub use_conv_bias: bool,
    /// Whether `in_proj` and `out_proj` have a bias.
    pub use_bias: bool,
    /// Whether the head is the embedding, unless the file has a head of its own.
    pub tie_word_embeddings: bool,
    /// Added to the mean square in every norm.
    pub layer_norm_epsilon: f32,
    /// Length of the texts that the model was trained on, in tokens, if known.
    pub train_context_length: Option<usize>,
    /// How text becomes token ids.
    pub tokenizer: Tokenizer,
}

/// A Llama language model (`LlamaForCausalLM`): softmax attention with rotary positions.
#[derive(Clone, Debug, PartialEq)]
pub struct LlamaConfig {
    /// Number of different tokens.
    pub vocab_size: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width of the gated feed-forward layer.
    pub intermediate_size: usize,
    /// Number of layers.
    pub num_hidden_layers: usize,
    /// Number of query heads.
    pub num_attention_heads: usize,
    /// Number of key and value heads, each shared by as many query heads.
    pub num_key_value_heads: usize,
    /// Width of one head.
    pub head_dim: usize,
    /// Added to the mean square in every norm.
    pub rms_norm_eps: f32,
    /// Base of the rotary frequencies `rope_theta^(-2i/head_dim)`.
    pub rope_theta: f64,
    /// Whether the four projections of attention have a bias.
    pub attention_bias: bool,
    /// Whether the three projections of the feed-forward layer have a bias.
    pub mlp_bias: bool,
    /// Whether the head is the embedding, unless the file has a head of its own.
    pub tie_word_embeddings: bool,
    /// Length of the texts that the model was trained on, in tokens, if known.
    pub train_context_length: Option<usize>,
    /// How text becomes token ids.
    pub tokenizer: Tokenizer,
}

/// The configuration of a model of one of the known architectures.
#[derive(Clone, Debug, PartialEq)]
pub enum Config {
    /// State space duality, scalar decay per head.
    Mamba2(Mamba2Config),
    /// Selective state space (S6), decay per channel and state.
    Mamba(MambaConfig),
    /// Softmax attention.
    Llama(LlamaConfig),
}

/// A tensor that a checkpoint may hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorSpec {
    /// Name in the file.
    pub name: String,
    /// Lengths of the dimensions.
    pub shape: Vec<usize>,
    /// False for a head that is the embedding where the file has none.
    pub required: bool,
    /// Other names under which files are known to hold it.
    pub other_names: &'static [&'static str],
}

fn spec(name: impl Into<String>, shape: &[usize]) -> TensorSpec {
    TensorSpec {
        name: name.into(),
        shape: shape.to_vec(),
        required: true,
        other_names: &[],
    }
}

impl Config {
    /// Reads and checks `config.json`.
    ///
    /// # Errors
    /// One sentence that names the key.
    pub fn read(json: &[u8]) -> Result<Config, String> {
        let keys = Keys::read(json)?;
        let config = match keys.architecture()? {
            "mamba2" => Config::Mamba2(keys.mamba2()?),
            "mamba" => Config::Mamba(keys.mamba()?),
            _ => Config::Llama(keys.llama()?),
        };
        let parameters = config.parameters();
        if parameters > MAX_PARAMETERS {
            return Err(format!(
                "config.json describes a model of {parameters} parameters where at most {MAX_PARAMETERS} fit here: choose a smaller model"
            ));
        }
        Ok(config)
    }

    /// The `model_type` of the architecture.
    pub fn model_type(&self) -> &'static str {
        match self {
            Config::Mamba2(_) => "mamba2",
            Config::Mamba(_) => "mamba",
            Config::Llama(_) => "llama",
        }
    }

    /// Number of layers.
    pub fn num_hidden_layers(&self) -> usize {
        match self {
            Config::Mamba2(c) => c.num_hidden_layers,
            Config::Mamba(c) => c.num_hidden_layers,
            Config::Llama(c) => c.num_hidden_layers,
        }
    }

    /// Number of different tokens.
    pub fn vocab_size(&self) -> usize {
        match self {
            Config::Mamba2(c) => c.vocab_size,
            Config::Mamba(c) => c.vocab_size,
            Config::Llama(c) => c.vocab_size,
        }
    }

    /// Length of the texts that the model was trained on, in tokens, if known.
    pub fn train_context_length(&self) -> Option<usize> {
        match self {
            Config::Mamba2(c) => c.train_context_length,
            Config::Mamba(c) => c.train_context_length,
            Config::Llama(c) => c.train_context_length,
        }
    }

    /// How text becomes token ids.
    pub fn tokenizer(&self) -> Tokenizer {
        match self {
            Config::Mamba2(c) => c.tokenizer,
            Config::Mamba(c) => c.tokenizer,
            Config::Llama(c) => c.tokenizer,
        }
    }

    /// The tensors of a checkpoint, in the order of the forward pass; made one at a time, so that
    /// a number of layers that is a lie costs nothing.
    pub fn tensors(&self) -> impl Iterator<Item = TensorSpec> + '_ {
        let [embedding, norm, head] = self.outer_tensors();
        std::iter::once(embedding)
            .chain((0..self.num_hidden_layers()).flat_map(|i| self.layer_tensors(i)))
            .chain([norm, head])
    }

    /// Number of parameters; a tied head counts once.
    pub fn parameters(&self) -> u64 {
        let size = |s: &TensorSpec| {
            let elements: u64 = s.shape.iter().map(|&n| n as u64).product();
            if s.required { elements } else { 0 }
        };
        let layer: u64 = self.layer_tensors(0).iter().map(size).sum();
        let outer: u64 = self.outer_tensors().iter().map(size).sum();
        outer + layer * self.num_hidden_layers() as u64
    }

    /// Embedding, last norm and head.
    fn outer_tensors(&self) -> [TensorSpec; 3] {
        let (v, d, tied) = match self {
            Config::Mamba2(c) => (c.vocab_size, c.hidden_size, c.tie_word_embeddings),
            Config::Mamba(c) => (c.vocab_size, c.hidden_size, c.tie_word_embeddings),
            Config::Llama(c) => (c.vocab_size, c.hidden_size, c.tie_word_embeddings),
        };
        // A tied pair may be stored under the name of either; the singular is that of the
        // original Mamba files.
        let (embedding, norm, other_names): (_, _, &[&str]) = match (self, tied) {
            (Config::Llama(_), false) => ("model.embed_tokens.weight", "model.norm.weight", &[]),
            (Config::Llama(_), true) => (
                "model.embed_tokens.weight",
                "model.norm.weight",
                &["lm_head.weight"],
            ),
            (_, false) => (
                "backbone.embeddings.weight",
                "backbone.norm_f.weight",
                &["backbone.embedding.weight"],
            ),
            (_, true) => (
                "backbone.embeddings.weight",
                "backbone.norm_f.weight",
                &["backbone.embedding.weight", "lm_head.weight"],
            ),
        };
        [
            TensorSpec {
                other_names,
                ..spec(embedding, &[v, d])
            },
            spec(norm, &[d]),
            TensorSpec {
                required: !tied,
                ..spec("lm_head.weight", &[v, d])
            },
        ]
    }

    /// The tensors of one layer.
    fn layer_tensors(&self, i: usize) -> Vec<TensorSpec> {
        let mut out = Vec::with_capacity(16);
        let mut add = |wanted: bool, name: &str, shape: &[usize]| {
            let stem = if matches!(self, Config::Llama(_)) {
                "model"
            } else {
                "backbone"
            };
            if wanted {
                out.push(spec(format!("{stem}.layers.{i}.{name}"), shape));
            }
        };
        match self {
            Config::Mamba2(c) => {
                let (d, e, h) = (c.hidden_size, c.intermediate_size(), c.num_heads);
                add(true, "norm.weight", &[d]);
                add(true, "mixer.in_proj.weight", &[c.in_proj_rows(), d]);
                add(c.use_bias, "mixer.in_proj.bias", &[c.in_proj_rows()]);
                add(
                    true,
                    "mixer.conv1d.weight",
                    &[c.conv_channels(), 1, c.conv_kernel],
                );
                add(c.use_conv_bias, "mixer.conv1d.bias", &[c.conv_channels()]);
                add(true, "mixer.dt_bias", &[h]);
                add(true, "mixer.A_log", &[h]);
                add(true, "mixer.D", &[h]);
                add(true, "mixer.norm.weight", &[e]);
                add(true, "mixer.out_proj.weight", &[d, e]);
                add(c.use_bias, "mixer.out_proj.bias", &[d]);
            }
            Config::Mamba(c) => {
                let (d, e, n, r) = (
                    c.hidden_size,
                    c.intermediate_size,
                    c.state_size,
                    c.time_step_rank,
                );
                add(true, "norm.weight", &[d]);
                add(true, "mixer.in_proj.weight", &[2 * e, d]);
                add(c.use_bias, "mixer.in_proj.bias", &[2 * e]);
                add(true, "mixer.conv1d.weight", &[e, 1, c.conv_kernel]);
                add(c.use_conv_bias, "mixer.conv1d.bias", &[e]);
                add(true, "mixer.x_proj.weight", &[r + 2 * n, e]);
                add(true, "mixer.dt_proj.weight", &[e, r]);
                add(true, "mixer.dt_proj.bias", &[e]);
                add(true, "mixer.A_log", &[e, n]);
                add(true, "mixer.D", &[e]);
                add(true, "mixer.out_proj.weight", &[d, e]);
                add(c.use_bias, "mixer.out_proj.bias", &[d]);
            }
            Config::Llama(c) => {
                let (d, f) = (c.hidden_size, c.intermediate_size);
                let q = c.num_attention_heads * c.head_dim;
                let kv = c.num_key_value_heads * c.head_dim;
                add(true, "input_layernorm.weight", &[d]);
                let attention = [("q", q, d), ("k", kv, d), ("v", kv, d), ("o", d, q)];
                for (name, rows, columns) in attention {
                    add(
                        true,
                        &format!("self_attn.{name}_proj.weight"),
                        &[rows, columns],
                    );
                    add(
                        c.attention_bias,
                        &format!("self_attn.{name}_proj.bias"),
                        &[rows],
                    );
                }
                add(true, "post_attention_layernorm.weight", &[d]);
                for (name, rows, columns) in [("gate", f, d), ("up", f, d), ("down", d, f)] {
                    add(true, &format!("mlp.{name}_proj.weight"), &[rows, columns]);
                    add(c.mlp_bias, &format!("mlp.{name}_proj.bias"), &[rows]);
                }
            }
        }
        out
    }

    /// True for tensors that files of this architecture hold although nothing reads them: the
    /// rotary frequencies in older Llama files, which follow from `rope_theta`.
    pub fn ignores(&self, name: &str) -> bool {
        matches!(self, Config::Llama(_))
            && name.starts_with("model.layers.")
            && name.ends_with(".self_attn.rotary_emb.inv_freq")
    }

    /// Holds the checkpoint against this configuration: every tensor there with its shape and an
    /// element type that can be read, and no others. Tensors under another known name get the one
    /// that is listed here. No values are read.
    ///
    /// # Errors
    /// One sentence on the first tensor that does not fit.
    pub fn check(&self, checkpoint: &mut Checkpoint) -> Result<(), String> {
        if let Some(found) = architecture_of(checkpoint)
            && found != self.model_type()
        {
            return Err(format!(
                "config.json describes a {} model but the tensors in the safetensors file are those of a {found} model: use the config.json that belongs to this file",
                self.model_type()
            ));
        }
        for tensor in self.tensors() {
            for other in tensor.other_names {
                checkpoint.rename(other, &tensor.name);
            }
            if checkpoint.shape(&tensor.name).is_some() || tensor.required {
                checkpoint.expect(&tensor.name, &tensor.shape).map_err(|e| {
                    format!(
                        "{e} (config.json describes {} layers and {} parameters, the file holds {})",
                        self.num_hidden_layers(),
                        self.parameters(),
                        checkpoint.elements()
                    )
                })?;
            }
        }
        let known: HashSet<String> = self.tensors().map(|t| t.name).collect();
        no_others(checkpoint.names(), |name| {
            known.contains(name) || self.ignores(name)
        })
    }
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

/// The architecture that the names of the tensors show, if they show one.
fn architecture_of(checkpoint: &Checkpoint) -> Option<&'static str> {
    checkpoint.names().find_map(|name| {
        let (stem, rest) = name.split_once(".layers.")?;
        let (_, part) = rest.split_once('.')?;
        match (stem, part) {
            ("backbone", "mixer.dt_bias") => Some("mamba2"),
            ("backbone", "mixer.x_proj.weight") => Some("mamba"),
            ("model", "self_attn.q_proj.weight") => Some("llama"),
            _ => None,
        }
    })
}
