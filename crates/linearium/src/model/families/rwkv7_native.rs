//! RWKV-7 in the files of its authors, converted from `.pth` to safetensors: no `config.json`
//! belongs to them, all sizes follow from the shapes of the tensors.
//!
//! Names and shapes: `BlinkDL/RWKV-LM` `RWKV-v7/rwkv_v7_numpy.py`; flash-linear-attention
//! `utils/convert_from_rwkv7.py`.

use super::fla::Attention;
use super::rwkv7::Model;
use super::{Family, Layers, Names, Read};
use crate::mixers::rwkv7::Ranks;
use crate::mixers::{Size, Weights};
use crate::model::checkpoint::Checkpoint;
use crate::model::config::{
    Common, MAX_HIDDEN_SIZE, MAX_LAYERS, MAX_VOCABULARY, MAX_WIDTH, Tokenizer,
};
use crate::model::json::quote;
use crate::model::stack::{Block, Norm};
use crate::model::tensors::{Elsewhere, Form, Tensors};

/// Its entry, which no `config.json` names.
pub static FAMILY: Family = Family {
    model_type: "rwkv7 (native names)",
    class: "",
    name: "RWKV-7",
    names: Names {
        embedding: "emb.weight",
        embedding_too: &[],
        layers: "blocks",
        norm: "ln_out",
        take_norm: Norm::layer,
        head: "head.weight",
    },
    mark: "att.w1",
    read: |_| Err("config.json is not needed for RWKV-7 in native names: leave it out".to_owned()),
    // Of the share of the first value, which the first layer itself does not have.
    ignores: |name| {
        name.strip_prefix("blocks.0.att.v")
            .is_some_and(|n| ["0", "1", "2"].contains(&n))
    },
};

/// Reads the sizes off the shapes; the check of the file that follows finds what contradicts them.
pub(crate) fn read(file: &Checkpoint) -> Read {
    let shape = |name: &str| file.shape(name);
    let Some(&[vocab_size, d]) = shape(FAMILY.names.embedding) else {
        return Err("config.json is missing, and the tensors are not those of RWKV-7 in native names, which alone needs none: give config.json too".to_owned());
    };
    let side = |name: &str, rank: usize, at: usize, max: usize| match shape(name) {
        Some(found) if found.len() == rank && (1..=max).contains(&found[at]) => Ok(found[at]),
        Some(found) => Err(format!(
            "the tensor {} has shape {found:?} in the safetensors file, which no RWKV-7 in native names has: use another checkpoint",
            quote(name)
        )),
        None => Err(format!(
            "the tensor {} is missing in the safetensors file, from which the sizes of RWKV-7 in native names follow: save the whole model again",
            quote(name)
        )),
    };
    side(FAMILY.names.embedding, 2, 0, MAX_VOCABULARY)?;
    side(FAMILY.names.embedding, 2, 1, MAX_HIDDEN_SIZE)?;
    let layers = (0..MAX_LAYERS)
        .take_while(|n| shape(&format!("blocks.{n}.ln1.weight")).is_some())
        .count();
    let heads = side("blocks.0.att.r_k", 2, 0, MAX_HIDDEN_SIZE)?;
    let key = side("blocks.0.att.r_k", 2, 1, MAX_HIDDEN_SIZE)?;
    if heads * key != d || layers == 0 {
        return Err(format!(
            "the tensors describe {layers} layers of {heads} heads of {key} channels at a width of {d}, which is no RWKV-7: use another checkpoint"
        ));
    }
    let rank = |layer: usize, name: &str| {
        side(
            &format!("blocks.{layer}.att.{name}1"),
            2,
            1,
            MAX_HIDDEN_SIZE,
        )
    };
    let ranks = Ranks {
        decay: rank(0, "w")?,
        erase: rank(0, "a")?,
        value: if layers > 1 { rank(1, "v")? } else { 1 },
        gate: rank(0, "g")?,
    };
    let model = Model {
        size: Size {
            width: d,
            heads,
            key,
            value: key,
        },
        ranks,
        inner: side("blocks.0.ffn.key.weight", 2, 0, MAX_WIDTH)?,
        norm_first: true,
        attention: Attention::default(),
    };
    let common = Common {
        vocab_size,
        hidden_size: d,
        num_hidden_layers: layers,
        tie_word_embeddings: false,
        eps: 1e-5,
        train_context_length: None,
        tokenizer: if vocab_size == 256 {
            Tokenizer::Bytes
        } else {
            Tokenizer::Unknown
        },
    };
    Ok((common, Box::new(Native(model))))
}

/// The same layers under other names.
struct Native(Model);

impl Layers for Native {
    fn block(
        &self,
        common: &Common,
        layer: usize,
        shared: Option<&Weights>,
        t: &mut Tensors<'_>,
    ) -> Result<Block, String> {
        self.0
            .block(common, layer, shared, &mut t.translated(native))
    }
}

/// The name of a block's tensor of flash-linear-attention in the authors' files.
fn native(name: &str) -> Elsewhere {
    let (part, rest) = name.split_once('.').unwrap_or((name, ""));
    let at = |name: String, form: Form| Elsewhere { name, form };
    match part {
        "pre_norm" => at(format!("ln0.{rest}"), Form::Same),
        "attn_norm" => at(format!("ln1.{rest}"), Form::Same),
        "ffn_norm" => at(format!("ln2.{rest}"), Form::Same),
        "attn" => {
            let (module, inner) = rest.split_once('.').unwrap_or((rest, ""));
            let matrix = |name: &str| at(format!("att.{name}.{inner}"), Form::Same);
            match module {
                "r_proj" => matrix("receptance"),
                "k_proj" => matrix("key"),
                "v_proj" => matrix("value"),
                "o_proj" => matrix("output"),
                "g_norm" => matrix("ln_x"),
                "k_k" | "k_a" => at(format!("att.{module}"), Form::Row),
                _ => match module.strip_suffix("_lora") {
                    Some(letter) => {
                        let (number, form) = match inner {
                            "lora.0.weight" => (1, Form::Transposed),
                            "lora.2.weight" => (2, Form::Transposed),
                            _ => (0, Form::Row),
                        };
                        at(format!("att.{letter}{number}"), form)
                    }
                    None => at(format!("att.{module}"), Form::Same),
                },
            }
        }
        _ if rest == "x_k" => at(name.to_owned(), Form::Row),
        _ => at(name.to_owned(), Form::Same),
    }
}
