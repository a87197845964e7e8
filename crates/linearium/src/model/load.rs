//! From a checked checkpoint to a stack of layers.

use std::sync::Arc;

use super::config::{self, Config, LlamaConfig, Mamba2Config, MambaConfig, Tokenizer};
use super::stack::{Block, FeedForward, Stack};
use super::tensors::Tensors;
use crate::mixers::Weights;
use crate::mixers::attention::Softmax;
use crate::mixers::s6::S6;
use crate::mixers::ssd::Ssd;

/// Reads `config.json` and a safetensors file into a model.
///
/// # Errors
/// One sentence: what is wrong, where, and what to do.
pub fn load(config_json: &[u8], safetensors: Vec<u8>) -> Result<Stack, String> {
    let (config, mut file) = config::open(config_json, safetensors)?;
    let (name, width, eps, stem) = match &config {
        Config::Mamba2(c) => ("Mamba-2", c.hidden_size, c.layer_norm_epsilon, "backbone"),
        Config::Mamba(c) => ("Mamba", c.hidden_size, c.layer_norm_epsilon, "backbone"),
        Config::Llama(c) => ("Llama", c.hidden_size, c.rms_norm_eps, "model"),
    };
    let vocab = config.vocab_size();
    let embedding = match &config {
        Config::Llama(_) => "model.embed_tokens.weight",
        _ => "backbone.embeddings.weight",
    };
    let norm = match &config {
        Config::Llama(_) => "model.norm.weight",
        _ => "backbone.norm_f.weight",
    };
    let embedding = file.take(embedding, &[vocab, width])?.data;
    let mut blocks = Vec::new();
    for layer in 0..config.num_hidden_layers() {
        let mut tensors = Tensors::new(&mut file, format!("{stem}.layers.{layer}."));
        blocks.push(match &config {
            Config::Mamba2(c) => mamba2(c, &mut tensors)?,
            Config::Mamba(c) => mamba(c, &mut tensors)?,
            Config::Llama(c) => llama(c, &mut tensors)?,
        });
    }
    let norm = file.take(norm, &[width])?.data;
    let head = file
        .optional("lm_head.weight", &[vocab, width])?
        .map(|t| t.data);
    file.finish(|name| config.ignores(name))?;
    Ok(Stack {
        name: name.to_owned(),
        width,
        vocab,
        embedding,
        blocks,
        norm,
        head,
        eps,
        train_context: config.train_context_length(),
        reads_bytes: config.tokenizer() == Tokenizer::Bytes,
    })
}

/// A = -exp(A_log).
fn rates(a_log: &Weights) -> Weights {
    Arc::from_iter(a_log.iter().map(|a| -a.exp()))
}

fn mamba2(c: &Mamba2Config, t: &mut Tensors<'_>) -> Result<Block, String> {
    let (d, e, channels) = (c.hidden_size, c.intermediate_size(), c.conv_channels());
    Ok(Block {
        norm: t.take("norm.weight", &[d])?,
        mixer: Box::new(Ssd {
            width: d,
            heads: c.num_heads,
            value: c.head_dim,
            key: c.state_size,
            groups: c.n_groups,
            in_proj: t.take("mixer.in_proj.weight", &[c.in_proj_rows(), d])?,
            in_bias: t.take_if(c.use_bias, "mixer.in_proj.bias", c.in_proj_rows())?,
            conv_weight: t.take("mixer.conv1d.weight", &[channels, 1, c.conv_kernel])?,
            conv_bias: t.take_if(c.use_conv_bias, "mixer.conv1d.bias", channels)?,
            dt_bias: t.take("mixer.dt_bias", &[c.num_heads])?,
            a: rates(&t.take("mixer.A_log", &[c.num_heads])?),
            skip: t.take("mixer.D", &[c.num_heads])?,
            norm: t.take("mixer.norm.weight", &[e])?,
            norm_group: e / c.n_groups,
            eps: c.layer_norm_epsilon,
            dt_limit: (c.time_step_limit[0], c.time_step_limit[1]),
            out_proj: t.take("mixer.out_proj.weight", &[d, e])?,
            out_bias: t.take_if(c.use_bias, "mixer.out_proj.bias", d)?,
        }),
        feed_forward: None,
    })
}

fn mamba(c: &MambaConfig, t: &mut Tensors<'_>) -> Result<Block, String> {
    let (d, e, n, r) = (
        c.hidden_size,
        c.intermediate_size,
        c.state_size,
        c.time_step_rank,
    );
    Ok(Block {
        norm: t.take("norm.weight", &[d])?,
        mixer: Box::new(S6 {
            width: d,
            channels: e,
            states: n,
            rank: r,
            in_proj: t.take("mixer.in_proj.weight", &[2 * e, d])?,
            in_bias: t.take_if(c.use_bias, "mixer.in_proj.bias", 2 * e)?,
            conv_weight: t.take("mixer.conv1d.weight", &[e, 1, c.conv_kernel])?,
            conv_bias: t.take_if(c.use_conv_bias, "mixer.conv1d.bias", e)?,
            x_proj: t.take("mixer.x_proj.weight", &[r + 2 * n, e])?,
            dt_proj: t.take("mixer.dt_proj.weight", &[e, r])?,
            dt_bias: t.take("mixer.dt_proj.bias", &[e])?,
            a: rates(&t.take("mixer.A_log", &[e, n])?),
            skip: t.take("mixer.D", &[e])?,
            out_proj: t.take("mixer.out_proj.weight", &[d, e])?,
            out_bias: t.take_if(c.use_bias, "mixer.out_proj.bias", d)?,
        }),
        feed_forward: None,
    })
}

fn llama(c: &LlamaConfig, t: &mut Tensors<'_>) -> Result<Block, String> {
    let (d, f) = (c.hidden_size, c.intermediate_size);
    let queries = c.num_attention_heads * c.head_dim;
    let keys = c.num_key_value_heads * c.head_dim;
    let qkv = [
        ("self_attn.q_proj", queries),
        ("self_attn.k_proj", keys),
        ("self_attn.v_proj", keys),
    ];
    let gate_up = [("mlp.gate_proj", f), ("mlp.up_proj", f)];
    Ok(Block {
        norm: t.take("input_layernorm.weight", &[d])?,
        mixer: Box::new(Softmax {
            width: d,
            heads: c.num_attention_heads,
            groups: c.num_key_value_heads,
            key: c.head_dim,
            theta: c.rope_theta,
            in_proj: t.stacked(&qkv, d)?,
            in_bias: t.stacked_bias(c.attention_bias, &qkv)?,
            out_proj: t.take("self_attn.o_proj.weight", &[d, queries])?,
            out_bias: t.take_if(c.attention_bias, "self_attn.o_proj.bias", d)?,
        }),
        feed_forward: Some(FeedForward {
            norm: t.take("post_attention_layernorm.weight", &[d])?,
            inner: f,
            gate_up: t.stacked(&gate_up, d)?,
            gate_up_bias: t.stacked_bias(c.mlp_bias, &gate_up)?,
            down: t.take("mlp.down_proj.weight", &[d, f])?,
            down_bias: t.take_if(c.mlp_bias, "mlp.down_proj.bias", d)?,
        }),
    })
}
