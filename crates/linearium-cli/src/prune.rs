//! `linearium prune`.

use std::path::Path;
use std::rc::Rc;
use std::time::Instant;

use linearium::lab::Host;
use linearium::model::session::{Options, Session};
use linearium::player::Player;
use linearium::probes::passkey;
use linearium::pruning::compare::{Comparison, compare};
use linearium::pruning::draft;
use linearium::pruning::look::{Choice, choose};
use linearium::pruning::schedule::Step;
use linearium::pruning::timing;
use linearium::pruning::{DropMode, Keep, Neighbours, Protect, Pruning, Schedule, scores};
use pollster::block_on;
use serde::Serialize;

use crate::arguments::{Arguments, Flag};
use crate::backend;
use crate::files::NewFile;
use crate::logits::{MAX_LIMIT, tokens_of};
use crate::models::{self, Source};
use crate::prune_image;
use crate::{Failure, Outcome, note, say};

/// Runs of which the shortest counts.
pub const ROUNDS: usize = 3;

fn ids(names: impl Iterator<Item = &'static str>) -> String {
    names.collect::<Vec<_>>().join("|")
}

pub fn flags() -> Vec<Flag> {
    vec![
        models::flag(),
        Flag::new(
            "text",
            "FILE",
            "The text, read as bytes or as tokenizer.json says.",
        ),
        prune_image::image_flag(),
        prune_image::as_flag(),
        Flag::new("limit", "N", "Read the first N tokens only."),
        Flag::new(
            "score",
            &ids(scores::ALL.iter().map(|score| score.id())),
            "What is important. Default: random; of images activation_clip.",
        ),
        Flag::new(
            "draft",
            "DIR",
            "For the scores spec_kv and spec_pc: a smaller model that reads the same tokens.",
        ),
        Flag::new(
            "mode",
            &ids(DropMode::ALL.into_iter().map(DropMode::id)),
            "What a dropped token does to a state. Default: decay-true; of images gather.",
        ),
        Flag::new(
            "keep",
            "0..1",
            "The share of the tokens left that each step keeps. Default: 0.5.",
        ),
        Flag::new(
            "layers",
            "L[:R],...",
            "The layers that drop tokens, from 0, each with its own share if given. Default: 0; of images ToP-ViM's schedule.",
        ),
        Flag::new(
            "conv",
            &ids(Neighbours::ALL.into_iter().map(Neighbours::id)),
            "What a convolution sees beside a kept token: the tokens that stood there, or the kept ones before it. Default: original.",
        ),
        Flag::new(
            "protect-first",
            "N",
            "So many tokens at the beginning stay. Default: 0.",
        ),
        Flag::new(
            "protect-last",
            "N",
            "So many tokens at the end stay. Default: 0.",
        ),
        Flag::new("seed", "N", "For scores that draw. Default: 1."),
        backend::flag(),
        Flag::new(
            "json",
            "F",
            "Where to write everything, kept positions and losses included.",
        ),
    ]
}

/// The draft model and what it said.
#[derive(Serialize)]
struct Drafted {
    model: String,
    /// How it goes on with the text.
    guessed: String,
}

/// Milliseconds.
#[derive(Clone, Copy, Serialize)]
struct Times {
    /// Of the scans (and attention) alone, with the rows taken for them and the sums over gaps.
    scan_ms: f64,
    /// Of the whole run.
    whole_ms: f64,
}

#[derive(Serialize)]
struct Written<'a> {
    model: String,
    backend: String,
    version: &'static str,
    tokens: usize,
    score: &'static str,
    mode: &'static str,
    conv: &'static str,
    draft: Option<Drafted>,
    seed: u64,
    /// Layer, and how many tokens it keeps.
    layers: Vec<(usize, usize)>,
    /// Mean loss in nats of the kept tokens that have a next one; none if there is none.
    loss_before: Option<f64>,
    loss_after: Option<f64>,
    /// Of a text that ends by asking for a passkey: its digits that are guessed right, without
    /// pruning and with it.
    passkey_digits: Option<[usize; 2]>,
    warnings: &'a [String],
    #[serde(flatten)]
    comparison: &'a Comparison,
    time_before: Times,
    time_after: Times,
    /// Milliseconds that choosing the tokens took, once: the unpruned runs that the score looks at,
    /// and the draft model.
    choice_ms: f64,
}

/// The steps of `--layers` and `--keep`.
pub fn schedule(arguments: &Arguments, default: &str, layers: usize) -> Result<Schedule, Failure> {
    let keep = arguments.number("keep", f64::MIN, f64::MAX)?.unwrap_or(0.5);
    let mut steps = Vec::new();
    for part in arguments.text("layers")?.unwrap_or(default).split(',') {
        let (layer, share) = part.split_once(':').unwrap_or((part, ""));
        let wrong = || {
            Failure::Usage(format!(
                "--layers has the part “{part}”: give numbers of layers from 0, each perhaps with : and a share, as in 4,8:0.7"
            ))
        };
        steps.push(Step {
            layer: layer.trim().parse().map_err(|_| wrong())?,
            keep: Keep::Share(match share {
                "" => keep,
                share => share.trim().parse().map_err(|_| wrong())?,
            }),
        });
    }
    Schedule::new(steps, layers).map_err(Failure::Usage)
}

pub fn run(arguments: &Arguments) -> Outcome {
    if arguments.raw("image").is_some() {
        return prune_image::run(arguments);
    }
    prune_image::refuse(
        arguments,
        &["as"],
        "it is about images: give --image, or leave it out",
    )?;
    let source = Source::new(arguments.required("model", "a folder, or random-ssd")?)?;
    let text = Path::new(arguments.required("text", "the name of a text file")?);
    let asked = arguments.integer("limit", 1, MAX_LIMIT)?;
    let id = |flag, default| Ok::<_, Failure>(arguments.text(flag)?.unwrap_or(default));
    let score = scores::by_id(id("score", "random")?).map_err(Failure::Usage)?;
    let mode = DropMode::by_id(id("mode", "decay-true")?).map_err(Failure::Usage)?;
    let conv = Neighbours::by_id(id("conv", "original")?).map_err(Failure::Usage)?;
    let count = |flag| Ok::<_, Failure>(arguments.integer(flag, 0, MAX_LIMIT)?.unwrap_or(0));
    let protect = Protect {
        first: count("protect-first")?,
        last: count("protect-last")?,
        positions: Vec::new(),
    };
    let drafts = match (draft::is_asked(score), arguments.raw("draft")) {
        (true, Some(dir)) => Some(Source::new(dir)?),
        (true, None) => {
            return Err(Failure::Usage(format!(
                "the score {} asks a draft model: give --draft DIR, a smaller model that reads the same tokens",
                score.id()
            )));
        }
        (false, Some(_)) => {
            return Err(Failure::Usage(format!(
                "--draft cannot be given here: the score {} asks no draft model, spec_kv and spec_pc do",
                score.id()
            )));
        }
        (false, None) => None,
    };
    let seed = arguments.integer("seed", 0, usize::MAX)?.unwrap_or(1) as u64;
    let backend = backend::choice(arguments)?;
    let json = arguments.raw("json").map(Path::new);
    let stack = source.load()?;
    let schedule = schedule(arguments, "0", stack.blocks.len())?;
    let tokens = tokens_of(&source, &stack, text, asked)?;
    let bytes: Vec<u8> = tokens.iter().flat_map(|&t| stack.bytes_of(t)).collect();
    let draft_stack = drafts.as_ref().map(Source::load).transpose()?;
    if let Some(draft) = &draft_stack {
        draft::check_tokens(&stack, draft, &bytes)?;
    }
    let asks = stack.reads_bytes && passkey::is_asked(&bytes);
    block_on(async {
        let out = json.map(NewFile::create).transpose()?;
        let (host, gpu) = backend::host(backend).await?;
        let segment = host.segment_tokens(gpu);
        let open = async |options: Options| {
            let player = |layout| host.player(gpu, layout);
            Session::new(Rc::clone(&stack), &options, segment, player).await
        };
        let start = Instant::now();
        let said = match &draft_stack {
            Some(draft) => {
                let open = async |options: Options| {
                    let player = |layout| host.player(gpu, layout);
                    Session::new(Rc::clone(draft), &options, segment, player).await
                };
                Some(draft::read(&open, &tokens).await?)
            }
            None => None,
        };
        let choice = Choice {
            score,
            schedule: &schedule,
            protect: &protect,
            seed,
            draft: said.as_ref(),
        };
        let chosen = choose(&open, &tokens, &choice).await?;
        let choice_ms = start.elapsed().as_secs_f64() * 1e3;
        let pruning = Pruning::new(mode, conv, tokens.len(), chosen.steps)?;
        let comparison = compare(&open, &tokens, &pruning).await?;
        let whole = Options {
            capacity: tokens.len(),
            ..Options::default()
        };
        let pruned = Options {
            pruning: Some(pruning.clone()),
            ..whole.clone()
        };
        let mut session = open(whole).await?;
        let time_before = time(&mut session, &tokens).await?;
        let mut session = open(pruned).await?;
        let time_after = time(&mut session, &tokens).await?;
        let mean = |losses: &[f32]| {
            let sum: f64 = losses.iter().map(|&l| f64::from(l)).sum();
            (!losses.is_empty()).then(|| sum / losses.len() as f64)
        };
        let steps = pruning.steps().iter();
        let written = Written {
            model: source.name(),
            backend: session.player.backend(),
            version: env!("CARGO_PKG_VERSION"),
            tokens: tokens.len(),
            score: score.id(),
            mode: mode.id(),
            conv: conv.id(),
            draft: drafts.as_ref().zip(said.as_ref()).map(|(source, said)| {
                let guessed = said.guessed.iter().flat_map(|&t| stack.bytes_of(t));
                Drafted {
                    model: source.name(),
                    guessed: String::from_utf8_lossy(&guessed.collect::<Vec<u8>>()).into(),
                }
            }),
            seed,
            layers: steps.map(|(layer, kept)| (*layer, kept.len())).collect(),
            loss_before: mean(&comparison.losses_before),
            loss_after: mean(&comparison.losses_after),
            passkey_digits: asks
                .then(|| comparison.right_from(tokens.len().saturating_sub(passkey::DIGITS + 1))),
            warnings: &chosen.warnings,
            comparison: &comparison,
            time_before,
            time_after,
            choice_ms,
        };
        if let Some(mut out) = out {
            let text = serde_json::to_string_pretty(&written)
                .map_err(|e| Failure::Other(format!("the result cannot be written: {e}")))?;
            out.write(text.as_bytes())?;
            out.finish()?;
        }
        tell(&written)
    })
}

/// Plays the text and its scans alone; the shortest of some rounds each.
async fn time<P: Player>(session: &mut Session<P>, tokens: &[u32]) -> Result<Times, String> {
    let start = Instant::now();
    let now = || start.elapsed().as_secs_f64() * 1e3;
    let timing = timing::time(session, tokens, ROUNDS, &now).await?;
    Ok(Times {
        scan_ms: timing.scan_ms,
        whole_ms: timing.whole_ms,
    })
}

fn tell(w: &Written<'_>) -> Outcome {
    let c = w.comparison;
    for sentence in w.warnings.iter().chain(&c.notes) {
        note(sentence);
    }
    say(&format!(
        "{} on {}: {} of {} tokens kept by {}, {}, {} neighbours",
        w.model,
        w.backend,
        c.positions.len(),
        w.tokens,
        w.score,
        w.mode,
        w.conv
    ))?;
    for (layer, kept) in &w.layers {
        say(&format!("layer {layer} keeps {kept}"))?;
    }
    if let Some(draft) = &w.draft {
        say(&format!(
            "the draft {} goes on with {:?}",
            draft.model, draft.guessed
        ))?;
    }
    match (w.loss_before, w.loss_after) {
        (Some(before), Some(after)) => say(&format!(
            "loss of the kept tokens: {before:.4} nats, pruned {after:.4}; next token guessed right: {} of {}, pruned {}",
            c.guessed_before,
            c.losses_before.len(),
            c.guessed_after
        ))?,
        _ => say("no kept token has a next one, so that there is no loss")?,
    }
    if let Some([before, after]) = w.passkey_digits {
        let all = passkey::DIGITS;
        say(&format!(
            "digits of the passkey: {before} of {all}, pruned {after}"
        ))?;
    }
    if let Some(error) = c.error {
        say(&format!(
            "error of their logits, a share of their size: {error:.4}"
        ))?;
    }
    if let Some(split) = c.split {
        say(&format!(
            "  lost content {:.4}, moved neighbours {:.4}, shifted decay {:.4}",
            split.lost_content, split.moved_neighbours, split.shifted_decay
        ))?;
    }
    let (a, b) = (&c.operations_after, &c.operations_before);
    let millions = |operations: u64| operations as f64 / 1e6;
    let [all, scan] = [(a.all, b.all), (a.scan, b.scan)]
        .map(|(after, before)| change(millions(before), millions(after)));
    say(&format!("million multiply-adds: {all}; of scans {scan}"))?;
    let (a, b) = (&w.time_after, &w.time_before);
    let whole = change(b.whole_ms, a.whole_ms);
    let scan = change(b.scan_ms, a.scan_ms);
    say(&format!("milliseconds: {whole}; of scans {scan}"))?;
    say(&format!(
        "  choosing the tokens took {:.3} ms, which is not in them",
        w.choice_ms
    ))
}

/// An amount before and after pruning, and the share that is left.
fn change(before: f64, after: f64) -> String {
    if before > 0.0 {
        let share = after / before;
        format!("{before:.3}, pruned {after:.3}, a share of {share:.3}")
    } else {
        "none".to_owned()
    }
}
