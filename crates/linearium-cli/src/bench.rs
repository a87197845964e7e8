//! `linearium bench`: how fast a model runs on this machine.

use std::ffi::OsString;
use std::path::Path;

use linearium::lab::Host;
use linearium::model::session::{Options, Session};
use linearium::player::Player;
use linearium::settings::{MAX_CONTEXT, MIN_CONTEXT};
use linearium_gpu::{AnyPlayer, LabHost};
use pollster::block_on;
use serde::Serialize;

use crate::arguments::{Arguments, Flag};
use crate::backend::{self, Choice};
use crate::files::NewFile;
use crate::models::{self, Source};
use crate::{Failure, Outcome, say};

/// Tokens that are decoded one by one in each round.
const DECODED: usize = 64;

pub fn flags() -> Vec<Flag> {
    let mut model = models::flag();
    model.many = true;
    model.help += " Default: random-ssd.";
    vec![
        model,
        Flag::new("context", "N", "Tokens of the prefill. Default: 4096."),
        Flag::new(
            "rounds",
            "N",
            "Rounds; the first one more is not counted. Default: 5.",
        ),
        Flag::new(
            "backend",
            "cpu|gpu|auto",
            "What computes; auto measures every one that there is. Default: auto.",
        ),
        Flag::new("json", "F", "Where to write the numbers."),
    ]
}

/// What is written.
#[derive(Serialize)]
struct Written {
    version: &'static str,
    machine: String,
    rows: Vec<Row>,
}

/// One model on one back end.
#[derive(Serialize)]
struct Row {
    model: String,
    backend: String,
    parameters: usize,
    context_tokens: usize,
    rounds: usize,
    prefill_tokens_per_second: Figure,
    decode_ms_per_token: Figure,
}

/// The best round and the one in the middle.
#[derive(Serialize)]
struct Figure {
    best: f64,
    median: f64,
}

impl Figure {
    /// Of times in milliseconds; the best one is the shortest.
    fn new(mut times_ms: Vec<f64>, from_ms: impl Fn(f64) -> f64) -> Figure {
        times_ms.sort_by(f64::total_cmp);
        Figure {
            best: from_ms(times_ms[0]),
            median: from_ms(times_ms[times_ms.len() / 2]),
        }
    }
}

pub fn run(arguments: &Arguments) -> Outcome {
    let context = arguments
        .integer("context", MIN_CONTEXT, MAX_CONTEXT)?
        .unwrap_or(4096);
    let rounds = arguments.integer("rounds", 1, 1000)?.unwrap_or(5);
    let choice = match arguments.raw("backend") {
        None => Choice::Auto,
        Some(_) => backend::choice(arguments)?,
    };
    let default = [OsString::from("random-ssd")];
    let models = match arguments.all("model") {
        [] => &default,
        given => given,
    };
    let sources: Vec<Source> = models
        .iter()
        .map(|m| Source::new(m))
        .collect::<Result<_, Failure>>()?;
    let json = arguments.raw("json").map(Path::new);
    block_on(async {
        let out = json.map(NewFile::create).transpose()?;
        let (host, has_gpu) = backend::host(choice).await?;
        let backends: &[bool] = match (choice, has_gpu) {
            (Choice::Gpu, _) => &[true],
            (_, true) => &[false, true],
            _ => &[false],
        };
        let about = about();
        say(&about)?;
        say(&format!(
            "prefill of {context} tokens, then {DECODED} tokens one by one; {rounds} rounds, best (median)"
        ))?;
        let mut rows = Vec::new();
        for source in &sources {
            for &gpu in backends {
                let row = measure(&host, source, gpu, context, rounds).await?;
                say(&format!(
                    "{} on {}: prefill {:.0} ({:.0}) tokens/s, decode {:.3} ({:.3}) ms/token",
                    row.model,
                    row.backend,
                    row.prefill_tokens_per_second.best,
                    row.prefill_tokens_per_second.median,
                    row.decode_ms_per_token.best,
                    row.decode_ms_per_token.median
                ))?;
                rows.push(row);
            }
        }
        let Some(mut file) = out else { return Ok(()) };
        let written = Written {
            version: env!("CARGO_PKG_VERSION"),
            machine: about,
            rows,
        };
        let text = serde_json::to_string_pretty(&written)
            .map_err(|e| Failure::Other(format!("the numbers cannot be written as JSON: {e}")))?;
        file.write(text.as_bytes())?;
        file.write(b"\n")?;
        Ok(file.finish()?)
    })
}

async fn measure(
    host: &LabHost,
    source: &Source,
    gpu: bool,
    context: usize,
    rounds: usize,
) -> Result<Row, String> {
    let stack = source.load()?;
    let options = Options {
        capacity: context + DECODED,
        ..Options::default()
    };
    let mut session = Session::new(
        stack.clone(),
        &options,
        host.segment_tokens(gpu),
        |layout| host.player(gpu, layout),
    )
    .await?;
    let tokens: Vec<u32> = (0..context + DECODED)
        .map(|i| ((i * 31 + i / 7) % stack.vocab) as u32)
        .collect();
    let (prompt, decoded) = tokens.split_at(context);
    let (mut prefill, mut decode) = (Vec::new(), Vec::new());
    for round in 0..=rounds {
        session.reset()?;
        let start = host.now_ms();
        let mut done = 0;
        while done < context {
            let n = session.next_segment(context - done);
            session.feed(&prompt[done..done + n], None).await?;
            done += n;
        }
        wait(&mut session).await?;
        let between = host.now_ms();
        for token in decoded {
            session.feed(&[*token], None).await?;
            // The next token would be chosen from what is read here.
            wait(&mut session).await?;
        }
        // The first round pays for page faults and shader compilation.
        if round > 0 {
            prefill.push(between - start);
            decode.push(host.now_ms() - between);
        }
    }
    Ok(Row {
        model: source.name(),
        backend: session.player.backend(),
        parameters: stack.parameters(),
        context_tokens: context,
        rounds,
        prefill_tokens_per_second: Figure::new(prefill, |ms| context as f64 * 1e3 / ms),
        decode_ms_per_token: Figure::new(decode, |ms| ms / DECODED as f64),
    })
}

/// Waits until what was played is done: a read does.
async fn wait(session: &mut Session<AnyPlayer>) -> Result<(), String> {
    let losses = session.plan.losses;
    session.player.read(&[(losses, 0..2)]).await?;
    Ok(())
}

/// The machine in one line.
fn about() -> String {
    let cpu = std::fs::read_to_string("/proc/cpuinfo")
        .ok()
        .and_then(|text| {
            let line = text.lines().find(|l| l.starts_with("model name"))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        })
        .unwrap_or_else(|| "processor without a name".to_owned());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    format!(
        "{cpu}, {threads} hardware threads (one is used), {} {}",
        std::env::consts::OS,
        std::env::consts::ARCH
    )
}
