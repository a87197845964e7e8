//! From runs to panels: what is drawn, with axes, units and provenance. One file a panel; here is
//! what they share.

mod cost;
mod decay;
mod recall;
mod receptive_field;
mod state;

pub(super) use cost::cost;
pub(super) use decay::decay;
pub(super) use recall::recall;
pub(super) use receptive_field::receptive_field;
pub(super) use state::state;

use super::side::Side;
use crate::player::Player;
use crate::settings::Settings;
use crate::views::{Axis, Drawing, Mark, Provenance, Scale, View};

/// Points of a curve and columns of a heat-map, at most.
const POINTS: usize = 512;

const RUNS: [&str; 2] = ["a", "b"];

fn axis(label: &str, unit: &str, scale: Scale) -> Axis {
    Axis {
        label: label.to_owned(),
        unit: unit.to_owned(),
        scale,
        domain: None,
    }
}

fn position_axis(context: usize) -> Axis {
    Axis {
        domain: Some([0.0, context as f64]),
        ..axis("position in the text", "tokens", Scale::Linear)
    }
}

fn view(id: &str, title: &str, drawing: Drawing) -> View {
    View {
        id: id.to_owned(),
        title: title.to_owned(),
        drawing,
    }
}

fn longest<P: Player>(sides: &[&Side<P>]) -> usize {
    sides.iter().map(|s| s.context()).max().unwrap_or(0)
}

/// Vertical marks at the training lengths.
fn training_marks<P: Player>(sides: &[&Side<P>]) -> Vec<Mark> {
    let mut out: Vec<Mark> = Vec::new();
    for side in sides {
        if let Some(train) = side.wanted.stack.train_context
            && out.iter().all(|m| m.value != train as f64)
        {
            out.push(Mark {
                vertical: true,
                value: train as f64,
                label: format!("trained at {train}"),
            });
        }
    }
    out
}

fn provenance<P: Player>(
    sides: &[&Side<P>],
    check: &str,
    formula: &str,
    source: &str,
    tolerance: &str,
) -> Provenance {
    let backends: Vec<&str> = sides.iter().map(|s| s.backend.as_str()).collect();
    let interventions = sides
        .iter()
        .zip(RUNS)
        .flat_map(|(s, run)| {
            let run = run.to_ascii_uppercase();
            s.interventions()
                .into_iter()
                .map(move |i| format!("run {run}: {i}"))
        })
        .collect();
    Provenance {
        backend: match backends.as_slice() {
            [a, b] if a != b => format!("{a}; run B: {b}"),
            _ => backends.first().map_or(String::new(), |b| (*b).to_owned()),
        },
        formula: formula.to_owned(),
        source: source.to_owned(),
        tolerance: trust(sides, tolerance),
        self_check: check.to_owned(),
        covered_tokens: sides.iter().map(|s| s.covered()).min().unwrap_or(0),
        context_tokens: longest(sides),
        interventions,
    }
}

/// What tests hold the panel's numbers to, then what each model has been compared with: only the
/// shipped ones have outputs of another program to be compared with.
fn trust<P: Player>(sides: &[&Side<P>], tolerance: &str) -> String {
    let mut out = tolerance.to_owned();
    for (i, side) in sides.iter().enumerate() {
        let model = &side.wanted.model;
        if sides[..i].iter().any(|s| s.wanted.model == *model) {
            continue;
        }
        out += if out.is_empty() { "" } else { "; " };
        out += &side.wanted.stack.name;
        out += if model == "file" || model.starts_with("random") {
            ": not compared with another program, its kernels are tested against their formulas"
        } else {
            ": without interventions its logits equal those of transformers to an RMS ratio of 2e-4, its losses to 1e-3"
        };
    }
    out
}

/// The name of a side in a legend: nothing if it is alone.
fn suffix(sides: usize, run: &str) -> String {
    if sides > 1 {
        format!(" ({})", run.to_ascii_uppercase())
    } else {
        String::new()
    }
}

/// The position whose output looks back.
fn query_position<P: Player>(side: &Side<P>, settings: &Settings) -> usize {
    let last = side.covered() - 1;
    usize::try_from(settings.integer("position")).map_or(last, |p| p.min(last))
}
