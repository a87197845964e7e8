//! From a checked checkpoint to a stack of layers.

use super::checkpoint::Checkpoint;
use super::config::{self, Config, Tokenizer};
use super::stack::Stack;
use super::tensors::Tensors;

/// Reads `config.json` and a safetensors file into a model.
///
/// # Errors
/// One sentence: what is wrong, where, and what to do.
pub fn load(config_json: &[u8], safetensors: Vec<u8>) -> Result<Stack, String> {
    let (config, file) = config::open(config_json, safetensors)?;
    build(&config, file)
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
    })
}
