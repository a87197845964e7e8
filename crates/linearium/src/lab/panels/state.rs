//! What the state holds as the context grows.

use super::{RUNS, axis, longest, provenance, suffix, training_marks, view};
use crate::lab::side::Side;
use crate::number::short;
use crate::player::Player;
use crate::probes::state::{self, Stats};
use crate::views::{Axis, Counts, Drawing, Histogram, Lines, Panel, Scale, Series, View};

/// A number about a state, drawn against position.
struct Measure {
    id: &'static str,
    title: &'static str,
    label: &'static str,
    scale: Scale,
    of: fn(&Stats) -> f32,
}

const MEASURES: [Measure; 5] = [
    Measure {
        id: "norm",
        title: "Norm of the state",
        label: "Frobenius norm |S|",
        scale: Scale::Log,
        of: |s| s.norm,
    },
    Measure {
        id: "rank",
        title: "Effective rank: how many directions are in use",
        label: "effective rank",
        scale: Scale::Linear,
        of: |s| s.effective_rank,
    },
    Measure {
        id: "variance",
        title: "Variance of the entries",
        label: "variance",
        scale: Scale::Log,
        of: |s| s.variance,
    },
    Measure {
        id: "largest",
        title: "Largest entry",
        label: "largest |entry|",
        scale: Scale::Log,
        of: |s| s.largest,
    },
    Measure {
        id: "mean",
        title: "Mean entry",
        label: "mean",
        scale: Scale::Linear,
        of: |s| s.mean,
    },
];

/// What the state holds as the context grows.
pub(in crate::lab) fn state<P: Player>(sides: &[&Side<P>], check: &str) -> Panel {
    let context = longest(sides);
    let mut views = Vec::new();
    let mut summary = Vec::new();
    for Measure {
        id,
        title,
        label,
        scale,
        of,
    } in MEASURES
    {
        let mut lines = Lines {
            x: Axis {
                domain: Some([4.0, context as f64]),
                ..axis("position in the text", "tokens", Scale::Log)
            },
            y: axis(label, "", scale),
            marks: training_marks(sides),
            x_is_position: true,
            ..Lines::default()
        };
        for (side, run) in sides.iter().zip(RUNS) {
            let (layer, wanted) = (side.wanted.look.layer, side.wanted.look.head);
            let shots = shots(side);
            let heads = shots.first().map_or(0, |s| s.layers[layer].len());
            let head = wanted.min(heads.saturating_sub(1));
            for h in (0..heads)
                .filter(|&h| h != head)
                .chain((heads > 0).then_some(head))
            {
                let name = if heads == 1 {
                    "layer".to_owned()
                } else {
                    format!("head {h}")
                };
                lines.series.push(Series {
                    label: format!("{name}{}", suffix(sides.len(), run)),
                    run: run.to_owned(),
                    x: shots.iter().map(|s| s.position as f32).collect(),
                    y: shots.iter().map(|s| of(&s.layers[layer][h])).collect(),
                    emphasis: h == head,
                });
            }
        }
        if !lines.series.is_empty() {
            views.push(view(id, title, Drawing::Lines(lines)));
        }
    }
    if let Some(histogram) = entries(sides) {
        // After norm and rank, which say most.
        views.insert(2.min(views.len()), histogram);
    }
    for (side, run) in sides.iter().zip(RUNS) {
        let shots = shots(side);
        let layer = side.wanted.look.layer;
        let Some(last) = shots.last().filter(|s| !s.layers[layer].is_empty()) else {
            summary.push(format!(
                "{} keeps no state: it keeps a cache that grows with every token.",
                side.wanted.stack.name
            ));
            continue;
        };
        let head = side.wanted.look.head.min(last.layers[layer].len() - 1);
        let now = &last.layers[layer][head];
        let mut sentence = format!(
            "After {} tokens the state of head {head} in layer {layer}{} has norm {} and effective rank {}",
            last.position,
            suffix(sides.len(), run),
            short(now.norm.into()),
            short(now.effective_rank.into())
        );
        if let Some(train) = side.wanted.stack.train_context
            && let Some(then) = shots.iter().find(|s| s.position == train)
            && train < last.position
        {
            let then = &then.layers[layer][head];
            sentence += &format!(
                ", at the training length {train} it was {} and {}",
                short(then.norm.into()),
                short(then.effective_rank.into())
            );
        }
        summary.push(sentence + ".");
    }
    Panel {
        id: "state".to_owned(),
        title: "What the state holds as the context grows".to_owned(),
        summary: summary.join(" "),
        views,
        provenance: provenance(
            sides,
            check,
            r"\operatorname{erank}(S) = \exp\Big(-\sum_i p_i \ln p_i\Big), \quad p_i = \sigma_i \big/ \textstyle\sum_j \sigma_j",
            "Stuffed Mamba (arXiv 2410.07145), analysis/analyze_states.py; effective rank: Roy and Vetterli, EUSIPCO 2007",
            "singular values from Gram matrices in f64, equal to known spectra to 1e-13; states equal the f64 definition",
        ),
    }
}

/// Snapshots within the context.
fn shots<P: Player>(side: &Side<P>) -> Vec<&state::Snapshot> {
    let all = &side.run().evidence.snapshots;
    all.iter()
        .filter(|s| s.position <= side.context())
        .collect()
}

/// Histogram of entries of the chosen head at the training length (or the middle) and now.
fn entries<P: Player>(sides: &[&Side<P>]) -> Option<View> {
    let mut series = Vec::new();
    for (side, run) in sides.iter().zip(RUNS) {
        let shots = shots(side);
        let layer = side.wanted.look.layer;
        let Some(last) = shots.last().filter(|s| !s.layers[layer].is_empty()) else {
            continue;
        };
        let head = side.wanted.look.head.min(last.layers[layer].len() - 1);
        let early = side.wanted.stack.train_context.unwrap_or(last.position / 2);
        let first = shots
            .iter()
            .rev()
            .find(|s| s.position <= early && s.position < last.position);
        for shot in first.into_iter().chain([last]) {
            series.push(Counts {
                label: format!("after {} tokens{}", shot.position, suffix(sides.len(), run)),
                run: run.to_owned(),
                counts: shot.layers[layer][head]
                    .histogram
                    .iter()
                    .map(|&c| c as f32)
                    .collect(),
            });
        }
    }
    if series.is_empty() {
        return None;
    }
    // The bins that hold anything, and the middle one.
    let used = |i: usize| series.iter().any(|s| s.counts[i] > 0.0);
    let reach = (0..state::BINS)
        .filter(|&i| used(i))
        .map(|i| i.abs_diff(state::OCTAVES))
        .max()?;
    let from = state::OCTAVES - reach;
    let to = state::OCTAVES + reach;
    for s in &mut series {
        s.counts = s.counts[from..=to].to_vec();
    }
    Some(view(
        "entries",
        "Entries of the state, early and now",
        Drawing::Histogram(Histogram {
            x: axis(
                "entry of the state, bins by powers of two",
                "",
                Scale::Symlog,
            ),
            y: axis("entries", "", Scale::Symlog),
            edges: state::edges()[from..=to + 1].to_vec(),
            series,
        }),
    ))
}
