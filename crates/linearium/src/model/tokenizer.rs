//! Text and token ids, as `tokenizer.json` of the tokenizers library says.
//!
//! Read are byte-pair encodings, byte-level (GPT-NeoX, Llama 3, Qwen) and with bytes as the last
//! resort (Llama 2, Mistral), with the normalisers, splits, added tokens and templates that models
//! with such vocabularies have; anything else is refused. What is done in which order follows
//! `huggingface/tokenizers` `tokenizers/src/{tokenizer/mod.rs,tokenizer/added_vocabulary.rs,
//! models/bpe/{model,word}.rs,pre_tokenizers/byte_level.rs}`.

mod added;
mod bpe;
mod read;
mod split;

use std::cell::RefCell;

use unicode_normalization::UnicodeNormalization;

use self::added::Added;
use self::bpe::Bpe;
use self::split::Split;
use super::stack::TextTokens;

/// The longest `tokenizer.json` that is read, in bytes.
pub const MAX_TOKENIZER_BYTES: usize = 64 << 20;

/// A change of the text before it is split.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Normalizer {
    /// Canonical composition.
    Nfc,
    /// This text in front of a text that is not empty.
    Prepend(String),
    /// One text for another, everywhere.
    Replace(String, String),
}

/// A vocabulary with its rules.
#[derive(Debug)]
pub struct Tokenizer {
    /// Added tokens that are found in the text as it is, and after its normalisation.
    added: [Added; 2],
    normalizers: Vec<Normalizer>,
    splits: Vec<Split>,
    bpe: Bpe,
    /// Ids in front of and behind every text.
    template: [Vec<u32>; 2],
    /// The text of each id.
    texts: Vec<Vec<u8>>,
    /// The text that was encoded last.
    last: RefCell<(String, Vec<u32>)>,
}

impl Tokenizer {
    /// Reads `tokenizer.json` for a model of so many different tokens.
    ///
    /// # Errors
    /// One sentence on what cannot be read or what no model of this kind has.
    pub fn read(json: &[u8], vocab_size: usize) -> Result<Tokenizer, String> {
        read::tokenizer(json, vocab_size)
    }

    /// The ids of a text, with those that belong in front of and behind every text.
    pub fn encode(&self, text: &str) -> Vec<u32> {
        let [before, after] = &self.template;
        let mut out = before.clone();
        let [raw, normalized] = &self.added;
        for piece in raw.pieces(text) {
            match piece {
                added::Piece::Token(id) => out.push(id),
                added::Piece::Text(text) => {
                    let text = self.normalize(text);
                    for piece in normalized.pieces(&text) {
                        match piece {
                            added::Piece::Token(id) => out.push(id),
                            added::Piece::Text(text) => self.encode_piece(text, &mut out),
                        }
                    }
                }
            }
        }
        out.extend_from_slice(after);
        out
    }

    fn normalize(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for normalizer in &self.normalizers {
            text = match normalizer {
                Normalizer::Nfc => text.nfc().collect(),
                Normalizer::Prepend(_) if text.is_empty() => text,
                Normalizer::Prepend(first) => format!("{first}{text}"),
                Normalizer::Replace(from, to) => text.replace(from, to),
            };
        }
        text
    }

    fn encode_piece(&self, text: &str, out: &mut Vec<u32>) {
        let mut pieces = vec![text.to_owned()];
        for split in &self.splits {
            pieces = pieces.iter().flat_map(|p| split.apply(p)).collect();
        }
        for piece in &pieces {
            self.bpe.encode(piece, out);
        }
    }

    /// The bytes of a token; none for an id that the vocabulary lacks.
    pub fn bytes_of(&self, id: u32) -> &[u8] {
        self.texts.get(id as usize).map_or(&[], Vec::as_slice)
    }
}

impl TextTokens for Tokenizer {
    fn encode(&self, text: &str) -> Vec<u32> {
        let mut last = self.last.borrow_mut();
        if last.0 != text || last.1.is_empty() {
            *last = (text.to_owned(), Tokenizer::encode(self, text));
        }
        last.1.clone()
    }

    fn bytes_of(&self, id: u32) -> &[u8] {
        Tokenizer::bytes_of(self, id)
    }
}
