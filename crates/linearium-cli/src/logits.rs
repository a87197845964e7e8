//! `linearium logits`.

use std::path::Path;

use linearium::lab::Host;
use linearium::model::session::{Options, Session};
use linearium::model::stack::Stack;
use linearium::player::Player;
use linearium::settings::MAX_CONTEXT;
use pollster::block_on;

use crate::arguments::{Arguments, Flag};
use crate::backend::{self, Choice};
use crate::files::{self, NewFile};
use crate::models::{self, Source};
use crate::safetensors::{Entry, f32_bytes, write_header};
use crate::{Failure, Outcome, note, say};

/// The most tokens that may be asked for: token counts are f32 in places, exact up to 2^24.
pub const MAX_LIMIT: usize = 1 << 24;
/// So many bytes are read for each token that is asked for, where tokens are not bytes.
const BYTES_PER_TOKEN: usize = 16;
/// The most tokens of one piece; the memory of a run grows with it.
const MAX_PIECE: usize = 4096;

pub fn flags() -> Vec<Flag> {
    vec![
        models::flag(),
        Flag::new(
            "text",
            "FILE",
            "The text, read as bytes or as tokenizer.json says.",
        ),
        Flag::new(
            "limit",
            "N",
            &format!("Read the first N tokens only. Default: {MAX_CONTEXT}."),
        ),
        Flag::new(
            "piece",
            "N",
            "Feed so many tokens at a time; the result does not depend on it. Default: what suits the back end.",
        ),
        backend::flag(),
        Flag::new(
            "out",
            "F.safetensors",
            "Where to write input_ids i32 [T], logits f32 [T, V] and loss_per_position f32 [T-1] (nats).",
        ),
    ]
}

pub fn run(arguments: &Arguments) -> Outcome {
    let source = Source::new(arguments.required("model", "a folder, or random-ssd")?)?;
    let text = Path::new(arguments.required("text", "the name of a text file")?);
    let out = Path::new(arguments.required("out", "the name of the file to write")?);
    let asked = arguments.integer("limit", 1, MAX_LIMIT)?;
    let piece = arguments.integer("piece", 1, MAX_PIECE)?;
    let choice = backend::choice(arguments)?;
    block_on(write(&source, text, out, asked, piece, choice))
}

async fn write(
    source: &Source,
    text: &Path,
    out: &Path,
    asked: Option<usize>,
    piece: Option<usize>,
    choice: Choice,
) -> Outcome {
    let mut file = NewFile::create(out)?;
    let stack = source.load()?;
    let tokens = tokens_of(source, &stack, text, asked)?;
    let (host, gpu) = backend::host(choice).await?;
    let options = Options {
        capacity: tokens.len(),
        ..Options::default()
    };
    let segment = piece.unwrap_or(host.segment_tokens(gpu));
    let mut session = Session::new(stack.clone(), &options, segment, |layout| {
        host.player(gpu, layout)
    })
    .await?;
    let backend = session.player.backend();
    let (t, vocab) = (tokens.len(), stack.vocab);
    write_header(
        &mut file,
        &[
            ("model", source.name()),
            ("backend", backend.clone()),
            ("version", env!("CARGO_PKG_VERSION").to_owned()),
        ],
        &[
            Entry {
                name: "input_ids",
                dtype: "I32",
                shape: &[t],
            },
            Entry {
                name: "logits",
                dtype: "F32",
                shape: &[t, vocab],
            },
            Entry {
                name: "loss_per_position",
                dtype: "F32",
                shape: &[t - 1],
            },
        ],
    )?;
    for &token in &tokens {
        file.write(&(token as i32).to_le_bytes())?;
    }
    let mut losses = Vec::with_capacity(t);
    while session.position() < t {
        let from = session.position();
        let n = session.next_segment(t - from);
        let next = tokens.get(from + n).copied();
        session.feed(&tokens[from..from + n], next).await?;
        let (logits, pairs) = (session.plan.logits, session.plan.losses);
        let read = session
            .player
            .read(&[(logits, 0..n * vocab), (pairs, 0..2 * n)])
            .await?;
        file.write(&f32_bytes(&read[0]))?;
        losses.extend(read[1].chunks_exact(2).map(|pair| pair[0]));
    }
    // The token after the last one is not known.
    losses.pop();
    file.write(&f32_bytes(&losses))?;
    file.finish()?;
    let mean = match losses.len() {
        0 => String::new(),
        n => {
            let sum: f64 = losses.iter().map(|&l| f64::from(l)).sum();
            format!(", mean loss {:.4} nats", sum / n as f64)
        }
    };
    say(&format!(
        "{}: {t} tokens by {} on {backend}{mean}",
        out.display(),
        source.name()
    ))
}

/// The tokens of a text, so many at most.
///
/// # Errors
/// A sentence if the model cannot read texts, or this one.
pub fn tokens_of(
    source: &Source,
    stack: &Stack,
    text: &Path,
    asked: Option<usize>,
) -> Result<Vec<u32>, Failure> {
    if !stack.reads_text() {
        return Err(Failure::Other(format!(
            "{} has a vocabulary of {} tokens and no tokenizer.json, so it cannot read a text: add that file to the folder or give a model that reads bytes",
            source.name(),
            stack.vocab
        )));
    }
    let limit = asked.unwrap_or(MAX_CONTEXT);
    if stack.has_cache() && limit > MAX_CONTEXT {
        return Err(Failure::Other(format!(
            "{} keeps a cache that grows with every token: give --limit up to {MAX_CONTEXT}",
            source.name()
        )));
    }
    let bytes = if stack.reads_bytes {
        limit
    } else {
        limit * BYTES_PER_TOKEN
    };
    let read = files::read_text(text, bytes)?;
    if read.cut && asked.is_none() {
        note(&format!(
            "{} is longer than {bytes} bytes: only those are read, give --limit N for more",
            text.display()
        ));
    }
    if std::str::from_utf8(&read.bytes).is_err() {
        note(&format!(
            "{} is not UTF-8: its bytes are read as they are",
            text.display()
        ));
    }
    let mut tokens = stack.encode(&read.bytes);
    tokens.truncate(limit);
    if tokens.is_empty() {
        return Err(Failure::Other(format!(
            "{} has no tokens for {}: give another text",
            text.display(),
            source.name()
        )));
    }
    Ok(tokens)
}
