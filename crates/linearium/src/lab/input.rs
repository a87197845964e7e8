//! What the model reads.

use std::rc::Rc;

use crate::by_id::ById;
use crate::probes::passkey;
use crate::random::Random;
use crate::settings::{MAX_CONTEXT, Settings};

/// The provided text that an input needs.
pub fn text_of(input: &str) -> Option<&'static str> {
    match input {
        "sample" => Some("sample"),
        "heldout" | "passkey" => Some("heldout"),
        "file" => Some("file"),
        _ => None,
    }
}

/// The tokens of the input, long enough for the longest context where the input goes on, and one
/// more, so that the last loss is known. `vocab` bounds random tokens.
///
/// # Errors
/// One sentence if there is nothing to read, or the model does not read bytes.
pub fn tokens(
    settings: &Settings,
    texts: &ById<Rc<[u8]>>,
    vocab: usize,
    reads_bytes: bool,
) -> Result<Vec<u32>, String> {
    let input = settings.get("input");
    let mut random = Random::new(settings.integer("seed") as u64);
    let long = MAX_CONTEXT + 1;
    if input == "noise" {
        return Ok((0..long).map(|_| random.below(vocab) as u32).collect());
    }
    if !reads_bytes {
        return Err(format!(
            "this model has a vocabulary of {vocab} tokens and no tokenizer here, so it cannot read text: choose the input “Random bytes”, which gives it random tokens"
        ));
    }
    let offset = settings.integer("offset") as usize;
    let own = settings.get("text").as_bytes();
    let bytes: Vec<u8> = match input {
        "newlines" => vec![b'\n'; long],
        "repeat" | "text" if own.is_empty() => {
            return Err("the text is empty: type at least one character".to_owned());
        }
        "repeat" => own.iter().cycle().take(long).copied().collect(),
        "text" => own.to_vec(),
        "passkey" => {
            let context = settings.integer("context") as usize;
            passkey::text(
                &texts["heldout"],
                context,
                settings.number("depth"),
                &mut random,
            )
        }
        "file" => {
            let text = &texts["file"];
            if offset >= text.len() {
                return Err(format!(
                    "the text file has {} bytes and cannot be read from byte {offset}: choose a smaller start",
                    text.len()
                ));
            }
            text[offset..].iter().take(long).copied().collect()
        }
        provided => {
            let text = &texts[provided];
            text.iter()
                .cycle()
                .skip(offset % text.len())
                .take(long)
                .copied()
                .collect()
        }
    };
    Ok(bytes.into_iter().map(u32::from).collect())
}

/// The words of tokens from `start` on, for a byte vocabulary: a UTF-8 sequence stands on its
/// first byte, the bytes that continue it are empty; other bytes as `\xNN`.
pub fn words(tokens: &[u32], reads_bytes: bool) -> Vec<String> {
    if !reads_bytes {
        return tokens.iter().map(|t| format!("{t} ")).collect();
    }
    let bytes: Vec<u8> = tokens.iter().map(|&t| t as u8).collect();
    let mut out = Vec::with_capacity(bytes.len());
    let mut i = 0;
    while i < bytes.len() {
        let length = match bytes[i] {
            0..0x80 => 1,
            0xC2..0xE0 => 2,
            0xE0..0xF0 => 3,
            0xF0..0xF5 => 4,
            _ => 0,
        };
        match bytes.get(i..i + length).map(std::str::from_utf8) {
            Some(Ok(s)) if length > 0 => {
                out.push(s.to_owned());
                out.extend((1..length).map(|_| String::new()));
                i += length;
            }
            _ => {
                out.push(format!("\\x{:02x}", bytes[i]));
                i += 1;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_keep_one_entry_a_byte() {
        let ids: Vec<u32> = "aä€😀\n"
            .bytes()
            .map(u32::from)
            .chain([0xFF, 0xE2, 0x82])
            .collect();
        let got = words(&ids, true);
        assert_eq!(got.len(), ids.len());
        let want = [
            "a", "ä", "", "€", "", "", "😀", "", "", "", "\n", "\\xff", "\\xe2", "\\x82",
        ];
        assert_eq!(got, want);
    }
}
