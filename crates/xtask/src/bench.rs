//! `cargo xtask bench`: our code against its peers, in the same run on the same machine.
//!
//! Every contestant is a program that prepares a case, prints `ready WHAT-IT-IS`, and obeys lines:
//! `check FILE` (write the result) and `time SECONDS` (answer with the shortest run). First all
//! results are compared; then the contestants of a case take turns, round by round, so that what
//! else the machine does falls on all of them. A row is a ratio of times, ours to the peer's: of
//! the shortest runs, and the median over the rounds.

use crate::bench_drag;
use crate::bench_setup::{self, Peers};
use crate::process::Outcome;
use crate::tree::{self, Tree};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// A program that runs a case.
#[derive(Clone, Copy, PartialEq)]
enum Runner {
    /// Our wasm module in Node.
    Wasm,
    /// The same, built with relaxed SIMD.
    WasmRelaxed,
    /// Our native program at the best level of the processor.
    Native,
    /// Our native program at the level that is as wide as wasm's vectors.
    Native4Wide,
    /// Our native program, without pruning.
    NativeUnpruned,
    /// onnxruntime-web's wasm back end, one thread.
    OnnxRuntimeWeb,
    /// The same in an engine that has relaxed SIMD switched on.
    OnnxRuntimeWebRelaxed,
    /// transformers on PyTorch, two threads.
    Transformers,
}

impl Runner {
    fn name(self) -> &'static str {
        match self {
            Runner::Wasm => "wasm",
            Runner::WasmRelaxed => "wasm-relaxed",
            Runner::Native => "native",
            Runner::Native4Wide => "native-4-wide",
            Runner::NativeUnpruned => "native-unpruned",
            Runner::OnnxRuntimeWeb => "onnxruntime-web",
            Runner::OnnxRuntimeWebRelaxed => "onnxruntime-web-relaxed",
            Runner::Transformers => "transformers",
        }
    }

    fn is_ours(self) -> bool {
        match self {
            Runner::Wasm
            | Runner::WasmRelaxed
            | Runner::Native
            | Runner::Native4Wide
            | Runner::NativeUnpruned => true,
            Runner::OnnxRuntimeWeb | Runner::OnnxRuntimeWebRelaxed | Runner::Transformers => false,
        }
    }
}

/// One ratio of the table.
struct Row {
    ours: Runner,
    peer: Runner,
    /// The goal: our time is at most so many times the peer's.
    at_most: f64,
}

/// A case of `linearium-bench` and its rows.
struct Case {
    name: &'static str,
    /// The case's number in the wasm module.
    index: usize,
    /// Tokens of one run.
    tokens: usize,
    /// Largest ratio of root mean squares between a result and the right one.
    tolerance: f64,
    rows: &'static [Row],
}

const SAME_WIDTH: Row = Row {
    ours: Runner::Wasm,
    peer: Runner::Native4Wide,
    at_most: 1.6,
};

const AGAINST_ONNX: [Row; 3] = [
    Row {
        ours: Runner::WasmRelaxed,
        peer: Runner::OnnxRuntimeWebRelaxed,
        at_most: 0.35,
    },
    Row {
        ours: Runner::Wasm,
        peer: Runner::OnnxRuntimeWeb,
        at_most: 0.35,
    },
    SAME_WIDTH,
];

const CASES: [Case; 6] = [
    Case {
        name: "recurrence-scalar",
        index: 0,
        tokens: 1024,
        tolerance: 1e-5,
        rows: &AGAINST_ONNX,
    },
    Case {
        name: "recurrence-per-key",
        index: 1,
        tokens: 1024,
        tolerance: 1e-5,
        rows: &AGAINST_ONNX,
    },
    Case {
        name: "recurrence-elementwise",
        index: 2,
        tokens: 1024,
        tolerance: 1e-5,
        rows: &[SAME_WIDTH],
    },
    Case {
        name: "projection",
        index: 3,
        tokens: 256,
        tolerance: 1e-5,
        rows: &[SAME_WIDTH],
    },
    Case {
        name: "prefill",
        index: 4,
        tokens: 4096,
        // Of the losses of all positions, through three layers in f32.
        tolerance: 1e-4,
        rows: &[
            Row {
                ours: Runner::WasmRelaxed,
                peer: Runner::Transformers,
                at_most: 1.0,
            },
            Row {
                ours: Runner::Wasm,
                peer: Runner::Transformers,
                at_most: 1.0,
            },
            Row {
                ours: Runner::Native,
                peer: Runner::Transformers,
                at_most: 1.0 / 3.0,
            },
            SAME_WIDTH,
        ],
    },
    Case {
        name: "pruned-scan",
        index: 5,
        tokens: 4096,
        tolerance: 1e-5,
        rows: &[Row {
            ours: Runner::Native,
            peer: Runner::NativeUnpruned,
            at_most: 0.65,
        }],
    },
];

/// The name of the measurement that has no peer.
const DRAG: &str = "drag";

const MODEL: &str = "web/public/models/mamba2-passkey-t128";
const TEXT: &str = "web/public/models/sample.txt";

/// What the command line asks for.
struct Request {
    cases: Vec<&'static Case>,
    /// Whether the page's sliders are dragged too.
    drag: bool,
    rounds: usize,
    seconds: f64,
    json: Option<PathBuf>,
}

fn parse(arguments: &[String]) -> Outcome<Request> {
    let mut request = Request {
        cases: Vec::new(),
        drag: false,
        rounds: 9,
        seconds: 0.3,
        json: None,
    };
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        let mut value = || {
            words
                .next()
                .ok_or_else(|| format!("`{word}` needs a value after it"))
        };
        match word.as_str() {
            "--rounds" => {
                let text = value()?;
                request.rounds = text.parse().ok().filter(|&n| n > 0).ok_or_else(|| {
                    format!("--rounds takes a whole number above 0, not `{text}`")
                })?;
            }
            "--seconds" => {
                let text = value()?;
                request.seconds = text.parse().ok().filter(|&s| s > 0.0).ok_or_else(|| {
                    format!("--seconds takes a number of seconds above 0, not `{text}`")
                })?;
            }
            DRAG => request.drag = true,
            "--json" => request.json = Some(PathBuf::from(value()?)),
            name => {
                let case = CASES.iter().find(|case| case.name == name).ok_or_else(|| {
                    let names: Vec<&str> =
                        CASES.iter().map(|case| case.name).chain([DRAG]).collect();
                    format!(
                        "bench knows no case `{name}`: there are {}",
                        names.join(", ")
                    )
                })?;
                request.cases.push(case);
            }
        }
    }
    if request.cases.is_empty() && !request.drag {
        request.cases = CASES.iter().collect();
        request.drag = true;
    }
    Ok(request)
}

/// A contestant that runs.
struct Contestant {
    runner: Runner,
    description: String,
    child: Child,
    commands: ChildStdin,
    answers: BufReader<ChildStdout>,
    /// Nanoseconds of the shortest run, for each round.
    times: Vec<f64>,
}

impl Contestant {
    fn start(runner: Runner, command: &mut Command) -> Outcome<Contestant> {
        let name = runner.name();
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("{name} could not be started: {error}"))?;
        let (Some(commands), Some(answers)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(format!("{name} has no standard input and output"));
        };
        let mut contestant = Contestant {
            runner,
            description: String::new(),
            child,
            commands,
            answers: BufReader::new(answers),
            times: Vec::new(),
        };
        contestant.description = contestant.answer("ready")?;
        Ok(contestant)
    }

    /// The next line, which must begin with `expected`; what follows that word.
    fn answer(&mut self, expected: &str) -> Outcome<String> {
        let name = self.runner.name();
        let mut line = String::new();
        match self.answers.read_line(&mut line) {
            Ok(n) if n > 0 => {}
            _ => return Err(format!("{name} ended: what it said is above")),
        }
        line.trim()
            .strip_prefix(expected)
            .map(|rest| rest.trim().to_owned())
            .ok_or_else(|| format!("{name} answered `{}` instead of {expected}", line.trim()))
    }

    fn ask(&mut self, line: &str, expected: &str) -> Outcome<String> {
        writeln!(self.commands, "{line}")
            .map_err(|error| format!("{} takes no more lines: {error}", self.runner.name()))?;
        self.answer(expected)
    }

    fn result(&mut self, file: &Path) -> Outcome<Vec<f32>> {
        self.ask(&format!("check {}", file.display()), "checked")?;
        read_f32(file)
    }

    fn round(&mut self, seconds: f64) -> Outcome<()> {
        let answer = self.ask(&format!("time {seconds}"), "time")?;
        let time = answer.split(' ').next().and_then(|text| text.parse().ok());
        self.times.push(time.ok_or_else(|| {
            format!(
                "{} answered `{answer}` instead of a time",
                self.runner.name()
            )
        })?);
        Ok(())
    }

    fn shortest(&self) -> f64 {
        self.times.iter().copied().fold(f64::INFINITY, f64::min)
    }
}

impl Drop for Contestant {
    fn drop(&mut self) {
        // It ends by itself when its input does; one that hangs is ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read_f32(file: &Path) -> Outcome<Vec<f32>> {
    let bytes = std::fs::read(file)
        .map_err(|error| format!("{} cannot be read: {error}", file.display()))?;
    let (values, _) = bytes.as_chunks::<4>();
    Ok(values
        .iter()
        .map(|&value| f32::from_le_bytes(value))
        .collect())
}

/// Root mean square of the difference over that of the right values.
fn rms_ratio(got: &[f32], right: &[f32]) -> f64 {
    if got.len() != right.len() {
        return f64::INFINITY;
    }
    let square = |x: f32| f64::from(x) * f64::from(x);
    let difference: f64 = got.iter().zip(right).map(|(a, b)| square(a - b)).sum();
    let size: f64 = right.iter().map(|b| square(*b)).sum();
    (difference / size).sqrt()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len().is_multiple_of(2) {
        (values[middle - 1] + values[middle]) / 2.0
    } else {
        values[middle]
    }
}

/// Runs the cases, prints the table, and fails if a row has no peer or misses its goal.
pub fn run(tree: &Tree, arguments: &[String]) -> Outcome<()> {
    let request = parse(arguments)?;
    let machine = bench_setup::machine(tree);
    println!("{machine}\n");
    let mut rows = Vec::new();
    if !request.cases.is_empty() {
        let programs = bench_setup::programs(tree)?;
        let peers = bench_setup::peers(tree);
        for case in &request.cases {
            rows.extend(run_case(tree, case, &request, &programs, &peers)?);
        }
    }
    if request.drag {
        rows.extend(bench_drag::run(tree, request.rounds)?);
    }
    let failed = rows
        .iter()
        .filter(|row| row["met"] != Value::Bool(true))
        .count();
    if let Some(file) = &request.json {
        let report = json!({
            "machine": machine,
            "rounds": request.rounds,
            "seconds_per_round": request.seconds,
            "rows": rows,
        });
        tree::write(file, &format!("{report:#}\n"))?;
    }
    match failed {
        0 => Ok(()),
        n => Err(format!(
            "{n} of {} rows have no peer or miss their goal",
            rows.len()
        )),
    }
}

fn run_case(
    tree: &Tree,
    case: &Case,
    request: &Request,
    programs: &bench_setup::Programs,
    peers: &Peers,
) -> Outcome<Vec<Value>> {
    let folder = tree.at("target/bench").join(case.name);
    std::fs::create_dir_all(&folder)
        .map_err(|error| format!("{} cannot be made: {error}", folder.display()))?;
    let mut runners: Vec<Runner> = Vec::new();
    for runner in case.rows.iter().flat_map(|row| [row.ours, row.peer]) {
        if !runners.contains(&runner) {
            runners.push(runner);
        }
    }
    let prefill = case.name == "prefill";
    if !prefill {
        programs.write_inputs(case.name, &folder)?;
    }
    println!("{} ({} tokens)", case.name, case.tokens);
    let mut contestants = Vec::new();
    let mut missing = Vec::new();
    for runner in runners {
        let files = [tree.at(MODEL), tree.at(TEXT)];
        let files: &[PathBuf] = if prefill { &files } else { &[] };
        let started = match runner {
            Runner::Wasm => Ok(programs.wasm(tree, case.index, files)),
            Runner::WasmRelaxed => programs.wasm_relaxed(tree, case.index, files),
            Runner::Native => Ok(programs.native(case.name, "best", files)),
            Runner::Native4Wide => Ok(programs.native(case.name, "4-wide", files)),
            Runner::NativeUnpruned => Ok(programs.native("unpruned-scan", "best", files)),
            Runner::OnnxRuntimeWeb => peers.onnxruntime_web(tree, case.name, &folder, false),
            Runner::OnnxRuntimeWebRelaxed => peers.onnxruntime_web(tree, case.name, &folder, true),
            Runner::Transformers => peers.transformers(tree, files, case.tokens),
        }
        .and_then(|mut command| Contestant::start(runner, &mut command));
        match started {
            Ok(contestant) => contestants.push(contestant),
            // Without our own programs there is nothing to measure.
            Err(error) if runner.is_ours() => return Err(error),
            Err(error) => {
                println!("  {}: missing, {error}", runner.name());
                missing.push((runner, error));
            }
        }
    }
    check(case, &folder, &mut contestants)?;
    for _ in 0..request.rounds {
        for contestant in &mut contestants {
            contestant.round(request.seconds)?;
        }
    }
    for contestant in &contestants {
        let shortest = contestant.shortest();
        println!(
            "  {:<16} {:>9.3} ms {:>9.0} tokens/s  ({})",
            contestant.runner.name(),
            shortest / 1e6,
            case.tokens as f64 / shortest * 1e9,
            contestant.description
        );
    }
    let find = |runner| {
        contestants
            .iter()
            .find(|contestant| contestant.runner == runner)
    };
    let rows = case.rows.iter().map(|row| {
        let title = format!("{} ÷ {}", row.ours.name(), row.peer.name());
        let mut value = json!({
            "case": case.name,
            "ours": row.ours.name(),
            "peer": row.peer.name(),
            "goal_at_most": row.at_most,
        });
        let (Some(ours), Some(peer)) = (find(row.ours), find(row.peer)) else {
            let reason = missing.iter().find(|(runner, _)| *runner == row.peer);
            value["missing"] = json!(reason.map(|(_, error)| error));
            value["met"] = json!(false);
            println!("  {title}: no number, the peer is missing");
            return value;
        };
        let pairs = ours.times.iter().zip(&peer.times);
        let shortest = ours.shortest() / peer.shortest();
        let middle = median(pairs.map(|(ours, peer)| ours / peer).collect());
        let met = shortest <= row.at_most;
        println!(
            "  {title}: {shortest:.3} of the shortest, {middle:.3} by rounds; goal at most {:.3}, {}",
            row.at_most,
            if met { "met" } else { "MISSED" }
        );
        value["ours_is"] = json!(ours.description);
        value["peer_is"] = json!(peer.description);
        value["ours_ms"] = json!(ours.shortest() / 1e6);
        value["peer_ms"] = json!(peer.shortest() / 1e6);
        value["ratio_of_shortest"] = json!(shortest);
        value["median_ratio"] = json!(middle);
        value["met"] = json!(met);
        value
    });
    let rows = rows.collect();
    println!();
    Ok(rows)
}

/// Compares every result with the right one: that of the formula in f64, or the peer's.
fn check(case: &Case, folder: &Path, contestants: &mut [Contestant]) -> Outcome<()> {
    let mut results = Vec::new();
    for contestant in contestants.iter_mut() {
        let file = folder.join(format!("{}.out.f32", contestant.runner.name()));
        results.push((contestant.runner, contestant.result(&file)?));
    }
    let from_formula = folder.join("reference.f32");
    let right = if from_formula.exists() {
        read_f32(&from_formula)?
    } else {
        let peer = results
            .iter()
            .find(|(runner, _)| *runner == Runner::Transformers);
        match peer.or(results.first()) {
            Some((_, result)) => result.clone(),
            None => return Ok(()),
        }
    };
    for (runner, result) in &results {
        let ratio = rms_ratio(result, &right);
        if ratio.is_nan() || ratio > case.tolerance {
            return Err(format!(
                "{} computes something else in {}: RMS ratio {ratio:e}, allowed is {:e}; nothing was timed",
                runner.name(),
                case.name,
                case.tolerance
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn the_command_line_names_what_it_does_not_know() {
        let all = parse(&[]).expect("no arguments");
        assert_eq!(all.cases.len(), CASES.len());
        let one = parse(&words("prefill --rounds 3 --json out.json")).expect("one case");
        assert_eq!((one.cases.len(), one.rounds, one.drag), (1, 3, false));
        let drag = parse(&words("drag")).expect("the one without a peer");
        assert!(drag.drag && drag.cases.is_empty() && all.drag);
        for (line, part) in [
            ("gallop", "no case `gallop`"),
            ("--rounds", "needs a value"),
            ("--rounds 0", "above 0"),
            ("--seconds soon", "not `soon`"),
        ] {
            let error = parse(&words(line)).err().expect(line);
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn a_result_of_another_length_or_with_a_wrong_value_is_seen() {
        assert_eq!(rms_ratio(&[1.0, 2.0], &[1.0, 2.0]), 0.0);
        assert_eq!(rms_ratio(&[1.0], &[1.0, 2.0]), f64::INFINITY);
        assert!(rms_ratio(&[1.0, f32::NAN], &[1.0, 2.0]).is_nan());
        assert!((rms_ratio(&[3.0, 4.5], &[3.0, 4.0]) - 0.1).abs() < 1e-9);
    }

    #[test]
    fn the_median_is_the_middle_or_the_mean_of_two() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
    }
}
