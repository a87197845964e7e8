//! The native contestant of `cargo xtask bench`.
//!
//! `linearium-bench inputs CASE DIR` writes the inputs of a case for its peers, and what a correct
//! run gives. `linearium-bench contest CASE LEVEL [MODEL TEXT]` prepares a case and then obeys
//! lines on standard input, as every contestant does: `check FILE` runs once and writes the
//! result as f32; `time SECONDS` runs for so long and answers `time NANOSECONDS COUNT`, the
//! shortest run and their number.

use std::io::{BufRead, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use fearless_simd::Level;
use linearium::player::level_name;
use linearium_bench::{Case, Files, open};

const USAGE: &str = "linearium-bench inputs CASE DIR | contest CASE best|4-wide [MODEL TEXT]";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match arguments[..] {
        ["inputs", case, dir] => inputs(case, Path::new(dir)),
        ["contest", case, level] => contest(case, level, None),
        ["contest", case, level, model, text] => {
            files(Path::new(model), Path::new(text)).and_then(|f| contest(case, level, Some(f)))
        }
        _ => Err(format!("usage: {USAGE}")),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(path).map_err(|e| format!("{} cannot be read: {e}", path.display()))
}

fn write(path: &Path, values: &[f32]) -> Result<(), String> {
    std::fs::write(path, bytemuck::cast_slice(values))
        .map_err(|e| format!("{} cannot be written: {e}", path.display()))
}

fn files(model: &Path, text: &Path) -> Result<Files, String> {
    Ok(Files {
        config: read(&model.join("config.json"))?,
        weights: read(&model.join("model.safetensors"))?,
        text: read(text)?,
    })
}

fn inputs(name: &str, dir: &Path) -> Result<(), String> {
    let case = open(name, Level::new(), None)?;
    for input in case.inputs() {
        write(&dir.join(format!("{}.f32", input.name)), input.values)?;
    }
    match case.reference() {
        Some(reference) => write(&dir.join("reference.f32"), &reference),
        None => Ok(()),
    }
}

/// The best level of this processor, or the one of its 4-wide levels that wasm corresponds to.
fn level(name: &str) -> Result<Level, String> {
    let best = Level::new();
    match name {
        "best" => Ok(best),
        "4-wide" => {
            #[cfg(target_arch = "x86_64")]
            if let Some(sse) = best.as_sse4_2() {
                return Ok(Level::Sse4_2(sse));
            }
            Ok(Level::baseline())
        }
        _ => Err(format!("there is no level `{name}`: usage: {USAGE}")),
    }
}

fn contest(name: &str, level_wanted: &str, files: Option<Files>) -> Result<(), String> {
    let level = level(level_wanted)?;
    let mut case = open(name, level, files)?;
    case.run()?;
    println!("ready native, {}", level_name(level));
    for line in std::io::stdin().lock().lines() {
        let line = line.map_err(|e| format!("standard input cannot be read: {e}"))?;
        match line.split_once(' ') {
            Some(("check", path)) => {
                case.run()?;
                write(Path::new(path), case.output()?)?;
                println!("checked");
            }
            Some(("time", seconds)) => {
                let seconds: f64 = seconds
                    .parse()
                    .map_err(|_| format!("`{seconds}` is not a number of seconds"))?;
                let (shortest, count) = time(case.as_mut(), seconds)?;
                println!("time {shortest} {count}");
            }
            _ => return Err(format!("the line `{line}` is neither check nor time")),
        }
        std::io::stdout()
            .flush()
            .map_err(|e| format!("standard output cannot be written: {e}"))?;
    }
    Ok(())
}

fn time(case: &mut dyn Case, seconds: f64) -> Result<(u128, u32), String> {
    let start = Instant::now();
    let (mut shortest, mut count) = (Duration::MAX, 0);
    while count == 0 || start.elapsed().as_secs_f64() < seconds {
        let before = Instant::now();
        case.run()?;
        shortest = shortest.min(before.elapsed());
        count += 1;
    }
    Ok((shortest.as_nanos(), count))
}
