//! What the model reads.

use std::fmt::Write as _;
use std::rc::Rc;

use crate::by_id::ById;
use crate::model::stack::Stack;
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

/// So many bytes of a text have as many tokens as there may be, in any vocabulary for which this
/// matters: words have fewer letters.
const BYTES_PER_TOKEN: usize = 8;

/// The tokens of the input, long enough for the longest context where the input goes on, and one
/// more, so that the last loss is known.
///
/// # Errors
/// One sentence if there is nothing to read, or the model does not read text.
pub fn tokens(
    settings: &Settings,
    texts: &ById<Rc<[u8]>>,
    stack: &Stack,
) -> Result<Vec<u32>, String> {
    let input = settings.get("input");
    let mut random = Random::new(settings.integer("seed") as u64);
    let most = MAX_CONTEXT + 1;
    let vocab = stack.vocab;
    if input == "noise" {
        return Ok((0..most).map(|_| random.below(vocab) as u32).collect());
    }
    if !stack.reads_text() {
        return Err(format!(
            "this model has a vocabulary of {vocab} tokens and its tokenizer.json was not given, so it cannot read text: give it together with the other files, or choose the input “Random bytes”, which gives it random tokens"
        ));
    }
    let long = if stack.reads_bytes {
        most
    } else {
        most * BYTES_PER_TOKEN
    };
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
    let mut tokens = stack.encode(&bytes);
    tokens.truncate(most);
    if tokens.is_empty() {
        return Err("the text has no tokens: choose another one".to_owned());
    }
    Ok(tokens)
}

/// The words of tokens, one for each: a UTF-8 sequence stands on the token that begins it, tokens
/// that continue it are empty; other bytes as `\xNN`. Tokens without a text are numbers.
pub fn words(tokens: &[u32], stack: &Stack) -> Vec<String> {
    if !stack.reads_text() {
        return tokens.iter().map(|t| format!("{t} ")).collect();
    }
    let parts: Vec<Vec<u8>> = tokens.iter().map(|&t| stack.bytes_of(t)).collect();
    let mut out = Vec::with_capacity(parts.len());
    while out.len() < parts.len() {
        let rest = &parts[out.len()..];
        // Four tokens hold the longest sequence even if each is a byte.
        let whole = (1..=rest.len().min(4)).find_map(|n| {
            let text = String::from_utf8(rest[..n].concat()).ok()?;
            Some((n, text))
        });
        let (n, text) = whole.unwrap_or_else(|| (1, escaped(&rest[0])));
        out.push(text);
        out.extend((1..n).map(|_| String::new()));
    }
    out
}

/// What is UTF-8 as it is, other bytes as `\xNN`.
fn escaped(bytes: &[u8]) -> String {
    let mut out = String::new();
    for chunk in bytes.utf8_chunks() {
        out.push_str(chunk.valid());
        for byte in chunk.invalid() {
            let _ = write!(out, "\\x{byte:02x}");
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
        let stack = Stack::random(crate::mixers::ALL[0], 1);
        let got = words(&ids, &stack);
        assert_eq!(got.len(), ids.len());
        let want = [
            "a", "ä", "", "€", "", "", "😀", "", "", "", "\n", "\\xff", "\\xe2", "\\x82",
        ];
        assert_eq!(got, want);
    }
}
