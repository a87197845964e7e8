//! How a text is split before its pieces are encoded.

use unicode_general_category::{GeneralCategory, get_general_category};

/// One step of splitting, or of rewriting what is split.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Split {
    /// The pattern of GPT-2.
    Gpt2,
    /// The pattern of Llama 3, in which a number has at most so many digits (1 in Qwen).
    Llama3(usize),
    /// Digits alone.
    Digits,
    /// Every byte as the character that stands for it in a byte-level vocabulary, with a space in
    /// front if asked.
    Bytes { add_prefix_space: bool },
}

/// The pattern of GPT-2, which ByteLevel has built in.
pub(super) const GPT2: &str =
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
/// The pattern of Llama 3 in front of and behind what says how long a number is.
pub(super) const LLAMA3: [&str; 2] = [
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|",
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
];

const CONTRACTIONS: [&str; 7] = ["'s", "'t", "'re", "'ve", "'m", "'ll", "'d"];

impl Split {
    pub(super) fn apply(&self, text: &str) -> Vec<String> {
        match self {
            Split::Gpt2 => pieces(text, gpt2),
            Split::Llama3(digits) => pieces(text, |rest| llama3(rest, *digits)),
            Split::Digits => pieces(text, |rest| match rest.chars().next() {
                Some(c) if c.is_numeric() => c.len_utf8(),
                _ => run(rest, |c| !c.is_numeric()),
            }),
            Split::Bytes { add_prefix_space } => {
                let mut out = String::with_capacity(2 * text.len());
                if *add_prefix_space && !text.starts_with(char::is_whitespace) {
                    out.push(char_of(b' '));
                }
                out.extend(text.bytes().map(char_of));
                vec![out]
            }
        }
    }
}

/// A text in pieces, of which `length` gives the first one of what is left, in bytes.
fn pieces(text: &str, length: impl Fn(&str) -> usize) -> Vec<String> {
    let mut out = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (piece, left) = rest.split_at(length(rest));
        out.push(piece.to_owned());
        rest = left;
    }
    out
}

/// Bytes of the leading characters for which this holds.
fn run(text: &str, holds: impl Fn(char) -> bool) -> usize {
    text.find(|c| !holds(c)).unwrap_or(text.len())
}

/// `\p{L}`.
fn is_letter(c: char) -> bool {
    use GeneralCategory as G;
    matches!(
        get_general_category(c),
        G::UppercaseLetter
            | G::LowercaseLetter
            | G::TitlecaseLetter
            | G::ModifierLetter
            | G::OtherLetter
    )
}

/// What is neither white space nor letter nor number.
fn is_sign(c: char) -> bool {
    !c.is_whitespace() && !c.is_numeric() && !is_letter(c)
}

/// `\s+(?!\S)|\s+`: white space without its last character, which belongs to the next word, unless
/// it ends the text or is alone.
fn spaces(rest: &str) -> usize {
    let all = run(rest, char::is_whitespace);
    let last = rest[..all].chars().next_back().map_or(0, char::len_utf8);
    if all == rest.len() || all == last {
        all
    } else {
        all - last
    }
}

fn gpt2(rest: &str) -> usize {
    for word in CONTRACTIONS {
        if rest.starts_with(word) {
            return word.len();
        }
    }
    let body = rest.strip_prefix(' ').unwrap_or(rest);
    for holds in [is_letter, char::is_numeric, is_sign] {
        let length = run(body, holds);
        if length > 0 {
            return rest.len() - body.len() + length;
        }
    }
    spaces(rest)
}

fn llama3(rest: &str, digits: usize) -> usize {
    for word in CONTRACTIONS {
        if let Some(start) = rest.get(..word.len())
            && start.eq_ignore_ascii_case(word)
        {
            return word.len();
        }
    }
    let Some(first) = rest.chars().next() else {
        return 0;
    };
    let sign = !matches!(first, '\r' | '\n') && !is_letter(first) && !first.is_numeric();
    let skipped = if sign { first.len_utf8() } else { 0 };
    let letters = run(&rest[skipped..], is_letter);
    if letters > 0 {
        return skipped + letters;
    }
    if first.is_numeric() {
        let numbers = rest.chars().take(digits).take_while(|c| c.is_numeric());
        return numbers.map(char::len_utf8).sum();
    }
    let body = rest.strip_prefix(' ').unwrap_or(rest);
    let signs = run(body, is_sign);
    if signs > 0 {
        let ends = run(&body[signs..], |c| matches!(c, '\r' | '\n'));
        return rest.len() - body.len() + signs + ends;
    }
    // `\s*[\r\n]+` takes white space up to its last line end.
    let all = run(rest, char::is_whitespace);
    match rest[..all].rfind(['\r', '\n']) {
        Some(end) => end + 1,
        None => spaces(rest),
    }
}

/// The character that stands for a byte: itself if it can be seen in Latin-1, else one from U+0100
/// on, in the order of the bytes.
pub(super) fn char_of(byte: u8) -> char {
    if is_seen(byte) {
        return byte.into();
    }
    let before = (0..byte).filter(|&b| !is_seen(b)).count() as u32;
    char::from_u32(0x100 + before).unwrap_or_default()
}

fn is_seen(byte: u8) -> bool {
    matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF)
}
