//! `tokenizer.json`: from text to a checked [`Tokenizer`].

use std::cell::RefCell;

use super::added::Added;
use super::bpe::Bpe;
use super::split::{GPT2, LLAMA3, Split, char_of};
use super::{MAX_TOKENIZER_BYTES, Normalizer, Tokenizer};
use crate::model::json::{self, Json, quote};

/// The most values in the file, and how deep they may be nested.
const MAX_VALUES: usize = 8_000_000;
const MAX_DEPTH: usize = 24;

type Object = [(String, Json)];

fn get<'a>(object: &'a Object, key: &str) -> Option<&'a Json> {
    let found = object.iter().find(|(k, _)| k == key);
    found.map(|(_, v)| v).filter(|v| **v != Json::Null)
}

fn text<'a>(object: &'a Object, key: &str) -> Option<&'a str> {
    match get(object, key) {
        Some(Json::Text(t)) => Some(t),
        _ => None,
    }
}

fn list<'a>(object: &'a Object, key: &str) -> &'a [Json] {
    match get(object, key) {
        Some(Json::List(list)) => list,
        _ => &[],
    }
}

/// A flag; what is not true or false is as if it were not there.
fn flag(object: &Object, key: &str, default: bool) -> bool {
    match get(object, key) {
        Some(Json::Bool(b)) => *b,
        _ => default,
    }
}

fn wrong(what: &str) -> String {
    format!("tokenizer.json {what}: use the tokenizer.json that belongs to this model")
}

fn unknown(what: &str, kind: &str) -> String {
    format!(
        "tokenizer.json has the {what} {}, which cannot be computed here: leave the file out to read random tokens",
        quote(kind)
    )
}

/// The parts of a `Sequence`, or the one part that is not one; nothing where there is none.
fn parts<'a>(root: &'a Object, key: &str, inner: &str) -> Result<Vec<&'a Object>, String> {
    let mut out = Vec::new();
    let mut open: Vec<&Json> = get(root, key).into_iter().collect();
    while let Some(part) = open.pop() {
        let Json::Object(part) = part else {
            let what = format!("holds {} under {key}", part.describe());
            return Err(wrong(&what));
        };
        if text(part, "type") == Some("Sequence") {
            open.extend(list(part, inner).iter().rev());
        } else {
            out.push(part.as_slice());
        }
    }
    Ok(out)
}

pub(super) fn tokenizer(bytes: &[u8], vocab_size: usize) -> Result<Tokenizer, String> {
    if bytes.len() > MAX_TOKENIZER_BYTES {
        return Err(wrong(&format!(
            "is {} bytes long where at most {MAX_TOKENIZER_BYTES} are read",
            bytes.len()
        )));
    }
    let source = std::str::from_utf8(bytes).map_err(|_| wrong("is not UTF-8 text"))?;
    let root = match json::parse(source, MAX_DEPTH, MAX_VALUES) {
        Ok(Json::Object(root)) => root,
        Ok(other) => {
            return Err(wrong(&format!(
                "holds {} instead of an object",
                other.describe()
            )));
        }
        Err(e) => return Err(wrong(&format!("cannot be read, {e}"))),
    };
    let byte_level = parts(&root, "decoder", "decoders")?
        .iter()
        .any(|d| text(d, "type") == Some("ByteLevel"));
    let normalizers = normalizers(&root)?;
    let (bpe, mut texts) = model(&root, vocab_size, byte_level)?;
    let mut tokenizer = Tokenizer {
        added: [Added::default(), Added::default()],
        normalizers,
        splits: splits(&root)?,
        bpe,
        template: [Vec::new(), Vec::new()],
        texts: Vec::new(),
        last: RefCell::default(),
    };
    for token in list(&root, "added_tokens") {
        let Json::Object(token) = token else {
            return Err(wrong(
                "holds something else than objects under added_tokens",
            ));
        };
        let (Some(content), Some(Json::Count(id))) = (text(token, "content"), get(token, "id"))
        else {
            return Err(wrong("has an added token without content or id"));
        };
        let id = place(*id, vocab_size, content)?;
        for key in ["single_word", "lstrip", "rstrip"] {
            if flag(token, key, false) {
                return Err(unknown(
                    &format!("added token {} with", quote(content)),
                    key,
                ));
            }
        }
        set(&mut texts, id, content.as_bytes().to_vec());
        if flag(token, "normalized", true) {
            let content = tokenizer.normalize(content);
            tokenizer.added[1].insert(content, id);
        } else {
            tokenizer.added[0].insert(content.to_owned(), id);
        }
    }
    tokenizer.texts = texts;
    tokenizer.template = template(&root, vocab_size)?;
    Ok(tokenizer)
}

/// An id that the model has.
fn place(id: u64, vocab_size: usize, token: &str) -> Result<u32, String> {
    if id < vocab_size as u64 {
        return Ok(id as u32);
    }
    Err(wrong(&format!(
        "gives the token {} the id {id}, but the model has {vocab_size} tokens",
        quote(token)
    )))
}

fn set(texts: &mut Vec<Vec<u8>>, id: u32, text: Vec<u8>) {
    let at = id as usize;
    if texts.len() <= at {
        texts.resize(at + 1, Vec::new());
    }
    texts[at] = text;
}

/// The vocabulary with its merges, and the text of each id.
fn model(
    root: &Object,
    vocab_size: usize,
    byte_level: bool,
) -> Result<(Bpe, Vec<Vec<u8>>), String> {
    let Some(Json::Object(model)) = get(root, "model") else {
        return Err(wrong("has no model"));
    };
    match text(model, "type") {
        Some("BPE") | None => {}
        Some(other) => return Err(unknown("model", other)),
    }
    for key in ["continuing_subword_prefix", "end_of_word_suffix"] {
        if text(model, key).is_some_and(|t| !t.is_empty()) {
            return Err(unknown("model BPE with", key));
        }
    }
    let Some(Json::Object(vocab)) = get(model, "vocab") else {
        return Err(wrong("has no vocabulary"));
    };
    let mut bpe = Bpe {
        fuse_unknown: flag(model, "fuse_unk", false),
        whole_first: flag(model, "ignore_merges", false),
        ..Bpe::default()
    };
    let bytes_of: std::collections::HashMap<char, u8> =
        (0..=255).map(|b| (char_of(b), b)).collect();
    let mut texts = Vec::new();
    for (token, id) in vocab {
        let Json::Count(id) = id else {
            let what = format!("gives the token {} {}", quote(token), id.describe());
            return Err(wrong(&what));
        };
        let id = place(*id, vocab_size, token)?;
        bpe.ids.insert(token.clone(), id);
        let seen: Option<Vec<u8>> = token.chars().map(|c| bytes_of.get(&c).copied()).collect();
        let bytes = match (byte_level, seen, byte_token(token)) {
            (true, Some(bytes), _) => bytes,
            (false, _, Some(byte)) => vec![byte],
            (false, ..) => token.replace('\u{2581}', " ").into_bytes(),
            (true, None, _) => token.as_bytes().to_vec(),
        };
        set(&mut texts, id, bytes);
    }
    for (rank, merge) in list(model, "merges").iter().enumerate() {
        let pair = match merge {
            Json::Text(t) => t.split_once(' '),
            Json::List(pair) => match &pair[..] {
                [Json::Text(a), Json::Text(b)] => Some((a.as_str(), b.as_str())),
                _ => None,
            },
            _ => None,
        };
        let ids = pair.and_then(|(a, b)| {
            let id = |t: &str| bpe.ids.get(t).copied();
            Some(((id(a)?, id(b)?), id(&format!("{a}{b}"))?))
        });
        let Some((pair, merged)) = ids else {
            return Err(wrong(&format!(
                "has a merge {rank} that is not two tokens of the vocabulary which make a third"
            )));
        };
        // Of two equal merges the library keeps the later one.
        bpe.merges.insert(pair, (rank as u32, merged));
    }
    if let Some(token) = text(model, "unk_token") {
        let Some(&id) = bpe.ids.get(token) else {
            let what = format!("has no token {}, its unk_token", quote(token));
            return Err(wrong(&what));
        };
        bpe.unknown = Some(id);
    }
    if flag(model, "byte_fallback", false) {
        let ids = (0..=255u8).map(|b| bpe.ids.get(&format!("<0x{b:02X}>")).copied());
        let Some(ids) = ids.collect::<Option<Vec<u32>>>() else {
            return Err(wrong("falls back to bytes but lacks a token of one"));
        };
        bpe.bytes = Some(ids);
    }
    Ok((bpe, texts))
}

/// The byte that a token like `<0x0A>` stands for.
fn byte_token(token: &str) -> Option<u8> {
    let hex = token.strip_prefix("<0x")?.strip_suffix('>')?;
    (hex.len() == 2).then(|| u8::from_str_radix(hex, 16).ok())?
}

fn normalizers(root: &Object) -> Result<Vec<Normalizer>, String> {
    parts(root, "normalizer", "normalizers")?
        .into_iter()
        .map(|part| match text(part, "type") {
            Some("NFC") => Ok(Normalizer::Nfc),
            Some("Prepend") => Ok(Normalizer::Prepend(
                text(part, "prepend").unwrap_or_default().to_owned(),
            )),
            Some("Replace") => match (get(part, "pattern"), text(part, "content")) {
                (Some(Json::Object(pattern)), Some(to))
                    if text(pattern, "String").is_some_and(|from| !from.is_empty()) =>
                {
                    let from = text(pattern, "String").unwrap_or_default();
                    Ok(Normalizer::Replace(from.to_owned(), to.to_owned()))
                }
                _ => Err(unknown("normalizer", "Replace by a pattern")),
            },
            other => Err(unknown("normalizer", other.unwrap_or("without a type"))),
        })
        .collect()
}

fn splits(root: &Object) -> Result<Vec<Split>, String> {
    let mut out = Vec::new();
    for part in parts(root, "pre_tokenizer", "pretokenizers")? {
        match text(part, "type") {
            Some("ByteLevel") => {
                let add_prefix_space = flag(part, "add_prefix_space", true);
                let use_regex = flag(part, "use_regex", true);
                if add_prefix_space && use_regex {
                    return Err(unknown("pre_tokenizer", "ByteLevel with add_prefix_space"));
                }
                out.extend(use_regex.then_some(Split::Gpt2));
                out.push(Split::Bytes { add_prefix_space });
            }
            Some("Digits") if flag(part, "individual_digits", false) => out.push(Split::Digits),
            Some("Split") => out.push(pattern(part)?),
            other => return Err(unknown("pre_tokenizer", other.unwrap_or("without a type"))),
        }
    }
    Ok(out)
}

fn pattern(part: &Object) -> Result<Split, String> {
    let regex = match get(part, "pattern") {
        Some(Json::Object(pattern)) => text(pattern, "Regex").unwrap_or_default(),
        _ => "",
    };
    let isolated = text(part, "behavior") == Some("Isolated") && !flag(part, "invert", false);
    let digits = LLAMA3[0].len()..regex.len().saturating_sub(LLAMA3[1].len());
    let split = match regex {
        GPT2 => Some(Split::Gpt2),
        _ if regex.starts_with(LLAMA3[0]) && regex.ends_with(LLAMA3[1]) => {
            match regex.get(digits) {
                Some(r"\p{N}{1,3}") => Some(Split::Llama3(3)),
                Some(r"\p{N}") => Some(Split::Llama3(1)),
                _ => None,
            }
        }
        _ => None,
    };
    split
        .filter(|_| isolated)
        .ok_or_else(|| unknown("pre_tokenizer Split by", regex))
}

/// What the post-processors put in front of and behind a text.
fn template(root: &Object, vocab_size: usize) -> Result<[Vec<u32>; 2], String> {
    let mut out = [Vec::new(), Vec::new()];
    for part in parts(root, "post_processor", "processors")? {
        match text(part, "type") {
            // It moves places in the text, which are not told here.
            Some("ByteLevel") => continue,
            Some("TemplateProcessing") => {}
            other => return Err(unknown("post_processor", other.unwrap_or("without a type"))),
        }
        let mut behind = 0;
        for item in list(part, "single") {
            let Json::Object(item) = item else {
                return Err(wrong("holds something else than objects in its template"));
            };
            if get(item, "Sequence").is_some() {
                behind = 1;
                continue;
            }
            let name = match get(item, "SpecialToken") {
                Some(Json::Object(token)) => text(token, "id").unwrap_or_default(),
                _ => "",
            };
            let token = match get(part, "special_tokens") {
                Some(Json::Object(tokens)) => get(tokens, name),
                _ => None,
            };
            let Some(Json::Object(token)) = token else {
                let what = format!("has no special token {} for its template", quote(name));
                return Err(wrong(&what));
            };
            for id in list(token, "ids") {
                match id {
                    Json::Count(id) => out[behind].push(place(*id, vocab_size, name)?),
                    other => {
                        let what =
                            format!("has {} among the ids of its template", other.describe());
                        return Err(wrong(&what));
                    }
                }
            }
        }
    }
    Ok(out)
}
