//! What a longer context costs the model.

use super::{RUNS, axis, longest, provenance, suffix, training_marks, view};
use crate::lab::side::Side;
use crate::number::short;
use crate::player::Player;
use crate::probes::cost as costs;
use crate::views::{Axis, Cell, Drawing, Lines, Mark, Panel, Scale, Series, Table};

/// What it costs the model.
pub(in crate::lab) fn cost<P: Player>(sides: &[&Side<P>], check: &str) -> Panel {
    let context = longest(sides);
    let mut by_position = Lines {
        x: Axis {
            domain: Some([1.0, context as f64]),
            ..axis("position in the text", "tokens", Scale::Log)
        },
        y: axis("loss", "nats per token", Scale::Linear),
        marks: training_marks(sides),
        x_is_position: true,
        ..Lines::default()
    };
    let mut bytes = Lines {
        x: Axis {
            domain: Some([64.0, 65_536.0]),
            ..axis("context length", "tokens", Scale::Log)
        },
        y: axis("memory carried", "bytes", Scale::Log),
        marks: vec![Mark {
            vertical: true,
            value: context as f64,
            label: "context".to_owned(),
        }],
        ..Lines::default()
    };
    let (mut rows, mut facts, mut summary) = (Vec::new(), Vec::new(), Vec::new());
    for (side, run) in sides.iter().zip(RUNS) {
        let stack = &side.wanted.stack;
        let name = suffix(sides.len(), run);
        // The loss at the last position needs the token after the context, which was not asked
        // for.
        let losses = &side.run().evidence.losses[..side.covered() - 1];
        let fine = costs::equal_buckets(losses, 256);
        by_position.series.push(Series {
            label: format!(
                "mean of {} tokens{name}",
                fine.first().map_or(0, |b| b.to - b.from)
            ),
            run: run.to_owned(),
            x: fine.iter().map(|b| (b.from + b.to) as f32 / 2.0).collect(),
            y: fine.iter().map(|b| b.loss as f32).collect(),
            emphasis: false,
        });
        let octaves = costs::octaves(losses);
        by_position.series.push(Series {
            label: format!("mean of an octave{name}"),
            run: run.to_owned(),
            // Both ends of each octave: a step.
            x: octaves
                .iter()
                .flat_map(|b| [b.from.max(1) as f32, b.to as f32])
                .collect(),
            y: octaves.iter().flat_map(|b| [b.loss as f32; 2]).collect(),
            emphasis: true,
        });
        for b in &octaves {
            rows.push(vec![
                Cell::Text(run.to_ascii_uppercase()),
                Cell::Number(b.from as f64),
                Cell::Number(b.to as f64),
                Cell::Number(b.loss),
            ]);
        }
        if let (Some(first), Some(last)) = (octaves.first(), octaves.last()) {
            summary.push(format!(
                "Loss{name} is {} nats per token at positions {} to {} and {} at {} to {}.",
                short(first.loss),
                first.from,
                first.to,
                short(last.loss),
                last.from,
                last.to
            ));
        }
        let lengths: Vec<usize> = (6..=16).map(|e| 1 << e).collect();
        let x: Vec<f32> = lengths.iter().map(|&t| t as f32).collect();
        bytes.series.push(Series {
            label: format!("{}{name}", stack.name),
            run: run.to_owned(),
            x: x.clone(),
            y: lengths
                .iter()
                .map(|&t| stack.state_bytes(t) as f32)
                .collect(),
            emphasis: true,
        });
        let cache = |t| costs::cache_bytes(stack.blocks.len(), stack.width, t);
        if !stack.has_cache() {
            bytes.series.push(Series {
                label: format!("a key-value cache of the same width and depth{name}"),
                run: run.to_owned(),
                x,
                y: lengths.iter().map(|&t| cache(t) as f32).collect(),
                emphasis: false,
            });
        }
        facts.push(vec![
            Cell::Text(run.to_ascii_uppercase()),
            Cell::Number(stack.state_bytes(context) as f64),
            Cell::Number(cache(context) as f64),
            side.ms_per_token()
                .map_or(Cell::Text("not yet".to_owned()), |ms| {
                    Cell::Number((ms * 1e5).round() / 100.0)
                }),
            Cell::Text(side.backend.clone()),
        ]);
    }
    Panel {
        id: "cost".to_owned(),
        title: "What a longer context costs the model".to_owned(),
        summary: summary.join(" "),
        views: vec![
            view("loss", "Loss at each position", Drawing::Lines(by_position)),
            view(
                "bytes",
                "Memory carried from token to token",
                Drawing::Lines(bytes),
            ),
            view(
                "loss-table",
                "Loss by octave of position",
                Drawing::Table(Table {
                    columns: [
                        "run",
                        "from (tokens)",
                        "to (tokens)",
                        "loss (nats per token)",
                    ]
                    .map(str::to_owned)
                    .to_vec(),
                    rows,
                }),
            ),
            view(
                "facts",
                "Memory and time",
                Drawing::Table(Table {
                    columns: [
                        "run",
                        "carried (bytes)",
                        "key-value cache of the same size (bytes)",
                        "time with probes (µs per token)",
                        "back end",
                    ]
                    .map(str::to_owned)
                    .to_vec(),
                    rows: facts,
                }),
            ),
        ],
        provenance: provenance(
            sides,
            check,
            r"\ell_t = -\ln p(x_{t+1} \mid x_1 \dots x_t)",
            "cross-entropy in nats; for bytes, divide by ln 2 for bits per byte",
            "",
        ),
    }
}
