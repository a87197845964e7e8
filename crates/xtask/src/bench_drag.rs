//! How soon the built page answers a dragged slider, measured by `tests/browser/bench` in Chromium
//! on the CPU. There is no peer: the goals are times of their own.

use crate::build;
use crate::process::{self, Outcome};
use crate::setup;
use crate::tree::{self, Tree};
use serde_json::Value;

/// Builds the page, drags its sliders in `rounds` rounds, prints a line for each and gives the rows.
pub fn run(tree: &Tree, rounds: usize) -> Outcome<Vec<Value>> {
    build::all(tree)?;
    let machine = setup::test_machine()?;
    println!("drag (context 4096, wasm on the CPU, Chromium)");
    let file = tree.at("target/bench/drag.json");
    tree::write(&file, "")?;
    let mut playwright = process::in_directory("npx", &tree.at("web"));
    playwright
        .args(["--no-install", "playwright", "test", "--quiet", "--config"])
        .arg(tree.at("tests/browser/playwright.config.ts"))
        .args(["--reporter", "line", "--output"])
        .arg(tree.at("target/xtask/playwright"))
        .env("LINEARIUM_CHROMIUM", &machine.chromium)
        .env("LINEARIUM_PORT", process::free_ports()?.to_string())
        .env("LINEARIUM_BENCH", &file)
        .env("LINEARIUM_BENCH_ROUNDS", rounds.to_string());
    let ran = process::capture(&mut playwright)?;
    if !ran.success {
        return Err(format!("the drag could not be measured:\n{}", ran.output));
    }
    rows(&tree::read(&file)?)
}

/// The rows of the measurement's report, each with its verdict.
fn rows(report: &str) -> Outcome<Vec<Value>> {
    let unreadable = || "the drag was measured, but its report cannot be read".to_owned();
    let report: Value = serde_json::from_str(report).map_err(|_| unreadable())?;
    let rows = report["rows"].as_array().ok_or_else(unreadable)?;
    rows.iter()
        .map(|row| {
            let number = |key: &str| row[key].as_f64().ok_or_else(unreadable);
            let (p95, task) = (number("p95_ms")?, number("longest_task_ms")?);
            let (p95_goal, task_goal) = (number("goal_p95_ms")?, number("goal_task_ms")?);
            let unanswered = number("unanswered")?;
            let met = p95 <= p95_goal && task <= task_goal && unanswered == 0.0;
            let verdict = |met: bool| if met { "met" } else { "MISSED" };
            println!(
                "  {}: a move is on screen after {:.0} ms (median) and {p95:.0} ms (95th percentile of {} moves; {:.0} in the middle one of the rounds); goal at most {p95_goal:.0}, {}",
                row["slider"].as_str().unwrap_or_default(),
                number("p50_ms")?,
                number("moves")?,
                number("p95_ms_median_of_rounds")?,
                verdict(p95 <= p95_goal),
            );
            println!(
                "    longest task of the main thread {task:.0} ms, {:.0} ms of it on the processor ({:.0} ms in the middle one of the rounds); goal at most {task_goal:.0}, {}",
                number("longest_task_processor_ms")?,
                number("longest_task_ms_median_of_rounds")?,
                verdict(task <= task_goal),
            );
            if unanswered > 0.0 {
                println!("    {unanswered:.0} moves were never answered; goal none, MISSED");
            }
            let mut row = row.clone();
            row["case"] = "drag".into();
            row["met"] = met.into();
            Ok(row)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn report(p95: f64, task: f64, unanswered: u32) -> String {
        json!({ "rows": [{
            "slider": "context", "moves": 90, "unanswered": unanswered, "p50_ms": 20.0,
            "p95_ms": p95, "p95_ms_median_of_rounds": p95, "goal_p95_ms": 100,
            "longest_task_ms": task, "longest_task_processor_ms": task,
            "longest_task_ms_median_of_rounds": task, "goal_task_ms": 50,
        }] })
        .to_string()
    }

    #[test]
    fn both_goals_must_be_met_and_every_move_answered() {
        let met = |p95, task, unanswered| {
            rows(&report(p95, task, unanswered)).expect("readable")[0]["met"] == true
        };
        assert!(met(100.0, 50.0, 0));
        assert!(!met(100.1, 50.0, 0));
        assert!(!met(100.0, 50.1, 0));
        assert!(!met(100.0, 50.0, 1));
    }

    #[test]
    fn a_report_without_numbers_is_an_error() {
        assert!(rows("").is_err());
        assert!(rows("{}").is_err());
        assert!(rows(&report(1.0, 1.0, 0).replace("p95_ms\"", "p96_ms\"")).is_err());
    }
}
