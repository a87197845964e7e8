//! `linearium scaling`: whether a mixer's cost is what "linear time, constant memory" says, from
//! 1,024 tokens to a million.

use std::ffi::OsStr;
use std::path::Path;
use std::rc::Rc;
use std::time::Instant;

use linearium::lab::CPU_SEGMENT;
use linearium::mixers::{self, Definition};
use linearium::model::session::{Options, Session};
use linearium::model::stack::Stack;
use linearium::player::{CpuPlayer, Player};
use linearium::recording::Role;
use pollster::block_on;
use serde::Serialize;

use crate::arguments::{Arguments, Flag};
use crate::files::NewFile;
use crate::{Failure, Outcome, models, say};

/// The shortest pass, in tokens.
const SHORTEST: usize = 1024;
/// The longest pass unless something else is said.
const LONGEST: usize = 1 << 20;
/// Short passes are repeated until so many tokens were read in all, and the best one counts.
const REPEATED_TOKENS: usize = 1 << 15;

pub fn flags() -> Vec<Flag> {
    let mut model = Flag::new(
        "model",
        "ID",
        "A model with random weights. Default: every mixer whose memory does not grow.",
    );
    model.many = true;
    vec![
        model,
        Flag::new("width", "D", "Width of the two layers. Default: 32."),
        Flag::new(
            "longest",
            "N",
            "Tokens of the longest pass; passes are 4 times as long as the one before. Default: 1048576.",
        ),
        Flag::new("json", "F", "Where to write the numbers."),
    ]
}

/// One mixer.
#[derive(Serialize)]
struct Row {
    mixer: &'static str,
    passes: Vec<Pass>,
    /// Least-squares slope of log time against log T: 1 if every token costs the same.
    slope: f64,
}

/// One length.
#[derive(Serialize)]
struct Pass {
    tokens: usize,
    ms: f64,
    /// Everything that the player holds beside the weights, in bytes.
    buffer_bytes: usize,
    /// Most memory that the process has had so far, in bytes, where the system says it.
    peak_bytes: Option<usize>,
    /// Whether every logit and every value of the states at the end is a finite number.
    finite: bool,
}

pub fn run(arguments: &Arguments) -> Outcome {
    let width = arguments.integer("width", 1, 1024)?.unwrap_or(32);
    let longest = arguments
        .integer("longest", SHORTEST, 1 << 24)?
        .unwrap_or(LONGEST);
    let chosen = match arguments.all("model") {
        [] => mixers::ALL.to_vec(),
        given => given
            .iter()
            .map(|id| definition(id))
            .collect::<Result<_, _>>()?,
    };
    let json = arguments.raw("json").map(Path::new);
    let out = json.map(NewFile::create).transpose()?;
    let mut rows = Vec::new();
    for definition in chosen {
        let size = (definition.size)(width);
        let stack = Rc::new(Stack::random_of(definition, &size, 0));
        if stack.has_cache() && arguments.all("model").is_empty() {
            continue;
        }
        let row = block_on(measure(definition, &stack, longest))?;
        let ms: Vec<String> = row
            .passes
            .iter()
            .map(|p| format!("{}: {:.1}", p.tokens, p.ms))
            .collect();
        let finite = row.passes.iter().all(|p| p.finite);
        say(&format!(
            "{}: slope {:.3}, {}; milliseconds for tokens {}",
            row.mixer,
            row.slope,
            if finite { "finite" } else { "NOT FINITE" },
            ms.join(", ")
        ))?;
        rows.push(row);
    }
    let Some(mut file) = out else { return Ok(()) };
    let text = serde_json::to_string_pretty(&rows)
        .map_err(|e| Failure::Other(format!("the numbers cannot be written as JSON: {e}")))?;
    file.write(text.as_bytes())?;
    file.write(b"\n")?;
    Ok(file.finish()?)
}

fn definition(id: &OsStr) -> Result<&'static Definition, Failure> {
    let known =
        |d: &&&Definition| id.to_str().and_then(|id| id.strip_prefix("random-")) == Some(d.id);
    mixers::ALL.iter().find(known).copied().ok_or_else(|| {
        Failure::Usage(format!(
            "there is no mixer for “{}”: give one of {}",
            id.to_string_lossy(),
            models::random_ids().join(", ")
        ))
    })
}

async fn measure(
    definition: &'static Definition,
    stack: &Rc<Stack>,
    longest: usize,
) -> Result<Row, String> {
    let mut passes = Vec::new();
    let mut tokens = SHORTEST;
    while tokens <= longest {
        passes.push(pass(stack, tokens).await?);
        tokens *= 4;
    }
    Ok(Row {
        mixer: definition.id,
        slope: slope(&passes),
        passes,
    })
}

async fn pass(stack: &Rc<Stack>, tokens: usize) -> Result<Pass, String> {
    let options = Options {
        capacity: tokens,
        ..Options::default()
    };
    let mut session = Session::new(stack.clone(), &options, CPU_SEGMENT, |layout| async move {
        Ok(CpuPlayer::new(&layout))
    })
    .await?;
    let mut best = f64::INFINITY;
    for _ in 0..REPEATED_TOKENS.div_ceil(tokens) {
        session.reset()?;
        let start = Instant::now();
        let mut done = 0;
        while done < tokens {
            let t = session.next_segment(tokens - done);
            let text: Vec<u32> = (done..done + t)
                .map(|i| ((i * 31 + i / 7) % stack.vocab) as u32)
                .collect();
            session.feed(&text, None).await?;
            done += t;
        }
        best = best.min(start.elapsed().as_secs_f64() * 1e3);
    }
    let buffers = &session.plan.layout.buffers;
    let buffer_bytes = buffers
        .iter()
        .filter(|b| b.role != Role::Weight)
        .map(|b| 4 * b.len)
        .sum();
    let mut parts = vec![(session.plan.logits, 0..stack.vocab)];
    for layer in 0..session.plan.layers() {
        let state = session.plan.taps(layer).state;
        parts.extend(state.map(|s| (s, 0..session.plan.layout.info(s).len)));
    }
    let read = session.player.read(&parts).await?;
    Ok(Pass {
        tokens,
        ms: best,
        buffer_bytes,
        peak_bytes: peak_bytes(),
        finite: read.iter().flatten().all(|x| x.is_finite()),
    })
}

/// Least squares in log-log.
fn slope(passes: &[Pass]) -> f64 {
    let points: Vec<(f64, f64)> = passes
        .iter()
        .map(|p| ((p.tokens as f64).ln(), p.ms.ln()))
        .collect();
    let n = points.len() as f64;
    let mean = |f: fn(&(f64, f64)) -> f64| points.iter().map(f).sum::<f64>() / n;
    let (x, y) = (mean(|p| p.0), mean(|p| p.1));
    let along: f64 = points.iter().map(|p| (p.0 - x) * (p.1 - y)).sum();
    let square: f64 = points.iter().map(|p| (p.0 - x).powi(2)).sum();
    along / square
}

/// The largest resident set of this process so far.
fn peak_bytes() -> Option<usize> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
    let kilobytes: usize = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(1024 * kilobytes)
}
