//! `linearium mixers`: the table of the page of mixers, with what was measured on this machine.

use std::path::Path;

use linearium::catalogue::Row;
use linearium::lab::{Lab, Measured};
use linearium::mixers::ALL;
use linearium::number::short;
use linearium::settings::property;
use pollster::block_on;
use serde::Serialize;

use crate::arguments::{Arguments, Flag};
use crate::backend;
use crate::files::NewFile;
use crate::{Failure, Outcome, say};

/// Settings of the lab that change the table.
const SETTINGS: [&str; 2] = ["equal", "seed"];

pub fn flags() -> Vec<Flag> {
    let mut out: Vec<Flag> = SETTINGS
        .iter()
        .filter_map(|id| property(id).map(Flag::of))
        .collect();
    out.push(backend::flag());
    out.push(Flag::new("json", "F", "Where to write the rows."));
    out
}

/// One mixer: what follows from its definition, and what was measured.
#[derive(Serialize)]
struct Written {
    #[serde(flatten)]
    row: Row,
    measured: Vec<Measured>,
}

pub fn run(arguments: &Arguments) -> Outcome {
    let json = arguments.raw("json").map(Path::new);
    let choice = backend::choice(arguments)?;
    let mut query = Vec::new();
    for id in SETTINGS {
        let (Some(value), Some(property)) = (arguments.text(id)?, property(id)) else {
            continue;
        };
        let value = property.check(value).map_err(Failure::Usage)?;
        query.push(format!("{id}={value}"));
    }
    block_on(async {
        let out = json.map(NewFile::create).transpose()?;
        let (host, has_gpu) = backend::host(choice).await?;
        let mut lab = Lab::new(host);
        if has_gpu {
            lab.gpu_is_ready();
        }
        lab.configure(&query.join("&"));
        let backends: &[bool] = match (choice, has_gpu) {
            (backend::Choice::Gpu, _) => &[true],
            (_, true) => &[false, true],
            _ => &[false],
        };
        let mut rows = Vec::new();
        for definition in ALL {
            let row = lab.mixer(definition.id).await?;
            let mut measured = Vec::new();
            for &gpu in backends {
                measured.push(lab.measure_mixer(row.id, gpu).await?);
            }
            print(&row, &measured)?;
            rows.push(Written { row, measured });
        }
        if let Some(mut out) = out {
            let text = serde_json::to_string_pretty(&rows)
                .map_err(|e| format!("the rows cannot be written as JSON: {e}"))?;
            out.write(text.as_bytes())?;
            out.write(b"\n")?;
            out.finish()?;
        }
        Ok(())
    })
}

fn print(row: &Row, measured: &[Measured]) -> Outcome {
    let bytes: Vec<String> = row
        .lengths
        .iter()
        .map(|at| format!("{} after {}", at.state_bytes, at.tokens))
        .collect();
    let bytes = match row.grows {
        true => bytes.join(", "),
        false => row.lengths[0].state_bytes.to_string(),
    };
    let reached = row.reached.map_or(String::new(), |share| {
        format!(" ({} % of the budget)", short(100.0 * share))
    });
    let times: Vec<String> = measured
        .iter()
        .map(|m| format!("{} µs on {}", short(m.time.us_per_token), m.time.backend))
        .collect();
    // Measured on the CPU whatever the time was measured on.
    let Some(Measured { reach, .. }) = measured.first() else {
        return Ok(());
    };
    say(&format!(
        "{}: {} heads of {} keys and {} values, {} parameters{reached}\n  state: {bytes} bytes; {} multiply-adds for a token at {}\n  decay: {}; erases: {}\n  reach at initialisation: {} to {} of {} tokens, {} on average\n  time a token: {}",
        row.id,
        row.heads,
        row.key,
        row.value,
        row.parameters,
        row.lengths[1].operations_last,
        row.lengths[1].tokens,
        row.decay.label,
        row.erases,
        reach.shortest,
        reach.longest,
        reach.tokens,
        short(reach.mean_distance),
        times.join(", "),
    ))
}
