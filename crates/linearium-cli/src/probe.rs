//! `linearium probe`: the lab itself, driven to its end.

use std::io::{IsTerminal, Write};
use std::path::Path;

use linearium::lab::{Lab, MAX_SAMPLES};
use linearium::settings::{Kind, MAX_CONTEXT, PROPERTIES, Settings, property};
use linearium::views::{Cell, Drawing, Panel, Table};
use linearium_gpu::LabHost;
use pollster::block_on;
use serde::Serialize;

use crate::arguments::{Arguments, Flag};
use crate::backend;
use crate::files::{self, NewFile};
use crate::models::{self, Source};
use crate::{Failure, Outcome, note, say};

/// What is asked for, and the panel of the lab that answers.
const PANELS: [(&str, &str); 5] = [
    ("decay", "decay"),
    ("receptive-field", "receptive-field"),
    ("state", "state"),
    ("loss", "cost"),
    ("passkey", "recall"),
];

/// The most bytes of a text that wraps around or is cut into passkey texts.
const MAX_FILLER: usize = 1 << 24;

/// What may stand behind `linearium probe`.
pub fn panels() -> Vec<&'static str> {
    PANELS.iter().map(|p| p.0).collect()
}

/// A flag for every setting of the lab, and for each that a second run may have for itself
/// `--b.<id>`.
pub fn flags() -> Vec<Flag> {
    let mut out = Vec::new();
    for p in PROPERTIES {
        out.push(match p.id {
            "model" => models::flag(),
            "backend" => backend::flag(),
            "text" => Flag::new(
                "text",
                "FILE",
                &format!(
                    "The text to read; with --input text or repeat the text itself ({}), with passkey the text around the key.",
                    bound(&p.kind)
                ),
            ),
            "input" => {
                let mut flag = Flag::of(p);
                flag.help = format!("{} Default: file, if --text is given.", p.help);
                flag
            }
            _ => Flag::of(p),
        });
        if p.comparable {
            let value = match p.id {
                "model" => models::flag().value,
                _ => Flag::of(p).value,
            };
            let help = "The same for a second run, drawn on the same axes.";
            out.push(Flag::new(&format!("b.{}", p.id), &value, help));
        }
    }
    out.push(Flag::new(
        "samples",
        &format!("1..{MAX_SAMPLES}"),
        "For passkey: texts a length, rounded up to whole rounds over the depths. Default: 40.",
    ));
    out.push(Flag::new(
        "json",
        "F",
        "Where to write the panel: views with their arrays, axes and provenance.",
    ));
    out
}

fn bound(kind: &Kind) -> String {
    match kind {
        Kind::Text { max_bytes } => format!("at most {max_bytes} bytes"),
        _ => String::new(),
    }
}

/// What is written.
#[derive(Serialize)]
struct Written<'a> {
    /// The panel as the page draws it.
    #[serde(flatten)]
    panel: &'a Panel,
    /// The settings as a query: the page shows the same with it.
    settings: &'a str,
    /// The model, as it was given.
    model: String,
    /// The version of this program.
    version: &'a str,
}

pub fn run(arguments: &Arguments) -> Outcome {
    let (_, panel) = PANELS
        .iter()
        .find(|p| p.0 == arguments.operand())
        .ok_or_else(|| Failure::Usage(format!("there is no panel {}", arguments.operand())))?;
    let mut sources = vec![Source::new(
        arguments.required("model", "a folder, or random-ssd")?,
    )?];
    if let Some(second) = arguments.raw("b.model") {
        sources.push(Source::new(second)?);
    }
    let recall = *panel == "recall";
    let settings = settings(arguments, &sources, recall)?;
    let samples = arguments.integer("samples", 1, MAX_SAMPLES)?;
    if samples.is_some() && !recall {
        return Err(Failure::Usage(
            "--samples belongs to `linearium probe passkey`".to_owned(),
        ));
    }
    let choice = backend::choice(arguments)?;
    let json = arguments.raw("json").map(Path::new);
    block_on(async {
        let out = json.map(NewFile::create).transpose()?;
        let (host, has_gpu) = backend::host(choice).await?;
        let mut lab = Lab::new(host);
        if has_gpu {
            lab.gpu_is_ready();
        }
        lab.configure(&settings.to_query());
        if recall {
            lab.measure_recall(samples.unwrap_or(40));
        }
        provide(&mut lab, arguments, &sources, &settings)?;
        // Asked again with the model there: what does not exist in it is an error here.
        if let Some(notice) = lab.configure(&settings.to_query()).notices.first() {
            return Err(Failure::Other(format!("--{notice}")));
        }
        finish(&mut lab, panel).await?;
        let panel = lab
            .panel(panel)
            .ok_or_else(|| Failure::Other("the lab has no answer".to_owned()))?;
        let position = settings.integer("position");
        let covered = panel.provenance.covered_tokens;
        if matches!(panel.id.as_str(), "decay" | "receptive-field") && position >= covered as i64 {
            return Err(Failure::Other(format!(
                "--position {position} was not read: the run has the positions 0 to {}",
                covered - 1
            )));
        }
        if let Some(mut file) = out {
            let written = Written {
                panel: &panel,
                settings: &settings.to_query(),
                model: arguments
                    .raw("model")
                    .map_or(String::new(), |m| m.to_string_lossy().into_owned()),
                version: env!("CARGO_PKG_VERSION"),
            };
            let text = serde_json::to_string(&written)
                .map_err(|e| Failure::Other(format!("the panel cannot be written as JSON: {e}")))?;
            file.write(text.as_bytes())?;
            file.write(b"\n")?;
            file.finish()?;
        }
        print(&panel)
    })
}

/// The settings of the lab from the flags.
fn settings(arguments: &Arguments, sources: &[Source], recall: bool) -> Result<Settings, Failure> {
    let mut out = Settings::default();
    let mut set = |id: &str, value: &str| {
        out.set(id, value)
            .map_err(|sentence| Failure::Usage(format!("--{sentence}")))
    };
    if let [a, b] = sources
        && a.id() == b.id()
        && a != b
    {
        return Err(Failure::Usage(format!(
            "--model and --b.model are two folders that the lab would both call {}: give one of them the name of a shipped model, or compare two runs of one",
            a.id()
        )));
    }
    for (source, flag) in sources.iter().zip(["model", "b.model"]) {
        set(flag, source.id())?;
    }
    let file = arguments.raw("text").map(Path::new);
    let input = match (arguments.text("input")?, file) {
        (Some(input), _) => input,
        (None, Some(_)) => "file",
        (None, None) => {
            return Err(Failure::Usage(
                "--text is missing: give the name of a text file, or --input newlines, noise or repeat".to_owned(),
            ));
        }
    };
    set("input", input)?;
    if let Some(file) = file {
        match input {
            "text" | "repeat" => {
                let most = property("text").map_or(0, |p| match p.kind {
                    Kind::Text { max_bytes } => max_bytes,
                    _ => 0,
                });
                let read = files::read_text(file, most + 1)?;
                let text = String::from_utf8(read.bytes).map_err(|_| {
                    Failure::Other(format!(
                        "{} is not UTF-8: with --input {input} it must be, use --input file",
                        file.display()
                    ))
                })?;
                set("text", &text)?;
            }
            "newlines" | "noise" if !recall => {
                return Err(Failure::Usage(format!(
                    "--text is not read with --input {input}: leave one of them out"
                )));
            }
            _ => {}
        }
    }
    if arguments.text("backend")?.is_none() {
        set("backend", "cpu")?;
    }
    // Values of the second run behind those that they are compared with.
    let ids = PROPERTIES.iter().map(|p| p.id.to_owned());
    let second = PROPERTIES
        .iter()
        .filter(|p| p.comparable)
        .map(|p| format!("b.{}", p.id));
    for id in ids.chain(second) {
        if ["model", "b.model", "text", "input"].contains(&id.as_str()) {
            continue;
        }
        if let Some(value) = arguments.text(&id)? {
            set(&id, value)?;
        }
    }
    Ok(out)
}

/// Gives the lab the files that it needs.
fn provide(
    lab: &mut Lab<LabHost>,
    arguments: &Arguments,
    sources: &[Source],
    settings: &Settings,
) -> Outcome {
    for need in lab.needs() {
        let source = sources.iter().find(|s| s.id() == need.id);
        match (need.kind, source) {
            ("model", Some(Source::Folder(dir))) => {
                lab.provide_model(&need.id, models::read(dir)?)
                    .map_err(|sentence| format!("{}: {sentence}", dir.display()))?;
            }
            _ => {
                let file = arguments.required("text", "the name of a text file")?;
                let needed = match need.id.as_str() {
                    "file" => settings.integer("offset") as usize + MAX_CONTEXT + 1,
                    _ => MAX_FILLER,
                };
                let text = files::read_text(Path::new(file), needed)?;
                lab.provide_text(&need.id, text.bytes)?;
            }
        }
    }
    Ok(())
}

/// Lets the lab work until everything is answered.
async fn finish(lab: &mut Lab<LabHost>, panel: &str) -> Outcome {
    let mut last = None;
    loop {
        let progress = lab.advance(200.0).await;
        for notice in progress.notices {
            // A notice may be the reason why there is no answer: then it is the error.
            if let Some(earlier) = last.replace(notice) {
                note(&earlier);
            }
        }
        let mut stderr = std::io::stderr();
        if stderr.is_terminal() {
            // For a person who waits; nothing is lost if it cannot be shown.
            let _ = write!(stderr, "\r\x1b[K");
            if progress.state == "working" {
                let _ = write!(stderr, "{}", progress.message);
            }
        }
        if progress.state == "working" {
            continue;
        }
        let complete = progress.state == "idle" && progress.done == progress.total;
        if complete && lab.panel(panel).is_some() {
            if let Some(notice) = last {
                note(&notice);
            }
            return Ok(());
        }
        return Err(Failure::Other(last.unwrap_or_else(|| {
            format!(
                "the lab stopped after {} of {} tokens",
                progress.done, progress.total
            )
        })));
    }
}

/// Prints the summary and the tables.
pub fn print(panel: &Panel) -> Outcome {
    say(&panel.summary)?;
    for entry in &panel.provenance.interventions {
        say(&format!("with {entry}"))?;
    }
    for view in &panel.views {
        if let Drawing::Table(table) = &view.drawing {
            say(&format!("\n{}", view.title))?;
            for line in columns(table) {
                say(&line)?;
            }
        }
    }
    Ok(())
}

/// The rows of a table with its cells in columns.
fn columns(table: &Table) -> Vec<String> {
    let mut rows = vec![table.columns.clone()];
    rows.extend(table.rows.iter().map(|row| {
        row.iter()
            .map(|cell| match cell {
                Cell::Number(x) if x.fract() == 0.0 => format!("{x}"),
                Cell::Number(x) => format!("{x:.4}"),
                Cell::Text(text) => text.clone(),
            })
            .collect()
    }));
    let widths: Vec<usize> = (0..table.columns.len())
        .map(|c| rows.iter().map(|r| r[c].chars().count()).max().unwrap_or(0))
        .collect();
    rows.iter()
        .map(|row| {
            let cells = row.iter().zip(&widths);
            let line: String = cells.map(|(cell, w)| format!("  {cell:<w$}")).collect();
            line.trim_end().to_owned()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use linearium::views::{Lines, Series, View};

    use super::*;

    #[test]
    fn numbers_that_are_not_finite_are_null() {
        let lines = Lines {
            series: vec![Series {
                x: vec![0.0, 1.0, 2.0],
                y: vec![f32::NAN, f32::INFINITY, 0.5],
                ..Series::default()
            }],
            ..Lines::default()
        };
        let panel = Panel {
            id: "decay".to_owned(),
            title: String::new(),
            summary: String::new(),
            views: vec![View {
                id: "curve".to_owned(),
                title: String::new(),
                drawing: Drawing::Lines(lines),
            }],
            provenance: Default::default(),
        };
        let written = Written {
            panel: &panel,
            settings: "",
            model: String::new(),
            version: "",
        };
        let json = serde_json::to_string(&written).unwrap();
        assert!(json.contains(r#""y":[null,null,0.5]"#), "{json}");
    }
}
