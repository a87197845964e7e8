//! From the files of a model to a stack of layers.

use super::checkpoint::Checkpoint;
#[cfg(feature = "zoo")]
use super::checkpoint::Index;
use super::config::{Config, Tokenizer};
use super::stack::{Stack, TextTokens};
use super::tensors::Tensors;
use crate::plan::TokenTables;

/// The files of a model, as they lie in its folder.
#[derive(Clone, Debug, Default)]
pub struct Files {
    /// `config.json`; RWKV-7 in its authors' files has none.
    pub config: Option<Vec<u8>>,
    /// `model.safetensors.index.json` of a sharded model.
    pub index: Option<Vec<u8>>,
    /// `model.safetensors` or all files that the index names, by name.
    pub weights: Vec<(String, Vec<u8>)>,
    /// `tokenizer.json`, if there is one.
    pub tokenizer: Option<Vec<u8>>,
}

impl Files {
    /// The two files of most models.
    pub fn pair(config: Vec<u8>, weights: Vec<u8>) -> Files {
        Files {
            config: Some(config),
            weights: vec![("model.safetensors".to_owned(), weights)],
            ..Files::default()
        }
    }

    /// Reads the headers of the weights.
    fn checkpoint(&mut self) -> Result<Checkpoint, String> {
        let mut weights = std::mem::take(&mut self.weights);
        #[cfg(feature = "zoo")]
        if let Some(index) = &self.index {
            return Checkpoint::read_sharded(&Index::read(index)?, weights);
        }
        match (weights.pop(), weights.is_empty(), &self.index) {
            (Some((_, weights)), true, None) => Checkpoint::read(weights),
            (None, _, None) => Err(
                "there are no weights: give model.safetensors, or the files of a sharded model with its index".to_owned(),
            ),
            _ => Err(
                "there are several files of weights and no model.safetensors.index.json that says what they hold: give it too".to_owned(),
            ),
        }
    }
}

/// Reads `config.json` and a safetensors file into a model.
///
/// # Errors
/// One sentence: what is wrong, where, and what to do.
pub fn load(config_json: &[u8], safetensors: Vec<u8>) -> Result<Stack, String> {
    load_files(Files::pair(config_json.to_vec(), safetensors))
}

/// Reads the files of a model.
///
/// # Errors
/// One sentence: what is wrong, where, and what to do.
pub fn load_files(mut files: Files) -> Result<Stack, String> {
    let (config, mut checkpoint) = match files.config.take() {
        Some(json) => (Config::read(&json)?, files.checkpoint()?),
        None => {
            let checkpoint = files.checkpoint()?;
            (without_config(&checkpoint)?, checkpoint)
        }
    };
    config.check(&mut checkpoint)?;
    let tokenizer = text_tokens(&files, &config)?;
    Ok(Stack {
        tokenizer,
        token_tables: TokenTables::default(),
        ..build(&config, checkpoint)?
    })
}

/// A model that reads bytes needs no tokenizer.
#[cfg(feature = "zoo")]
fn text_tokens(files: &Files, config: &Config) -> Result<Option<Box<dyn TextTokens>>, String> {
    match (&files.tokenizer, config.common()) {
        (Some(json), common) if common.tokenizer == Tokenizer::Unknown => {
            let tokenizer = super::tokenizer::Tokenizer::read(json, common.vocab_size)?;
            Ok(Some(Box::new(tokenizer)))
        }
        _ => Ok(None),
    }
}

/// The engine of the page's first load leaves them to the complete one.
#[cfg(not(feature = "zoo"))]
fn text_tokens(_: &Files, _: &Config) -> Result<Option<Box<dyn TextTokens>>, String> {
    Ok(None)
}

#[cfg(feature = "zoo")]
fn without_config(checkpoint: &Checkpoint) -> Result<Config, String> {
    Config::of_tensors(checkpoint)
}

/// The engine of the page's first load knows no layout without `config.json`.
#[cfg(not(feature = "zoo"))]
fn without_config(_: &Checkpoint) -> Result<Config, String> {
    Err("config.json is missing: give it too".to_owned())
}

/// Takes every tensor of a checked file.
fn build(config: &Config, mut file: Checkpoint) -> Result<Stack, String> {
    let common = config.common();
    let t = &mut Tensors::new(&mut file, String::new());
    let embedding = config.embedding(t)?;
    let shared = config.shared(t)?;
    let blocks = (0..common.num_hidden_layers)
        .map(|layer| config.block(layer, shared.as_ref(), t))
        .collect::<Result<_, _>>()?;
    let (norm, head) = config.end(t)?;
    file.finish(|name| config.ignores(name))?;
    Ok(Stack {
        name: config.family().name.to_owned(),
        width: common.hidden_size,
        vocab: common.vocab_size,
        embedding,
        blocks,
        norm,
        head,
        eps: common.eps,
        train_context: common.train_context_length,
        reads_bytes: common.tokenizer == Tokenizer::Bytes,
        tokenizer: None,
        token_tables: TokenTables::default(),
    })
}
