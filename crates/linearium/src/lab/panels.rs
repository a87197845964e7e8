//! From runs to panels: what is drawn, with axes, units and provenance.

use super::input;
use super::recall::RecallJob;
use super::side::Side;
use crate::number::short;
use crate::player::Player;
use crate::probes::passkey::DEPTHS;
use crate::probes::receptive_field::{self, Reach, THRESHOLD};
use crate::probes::run::BUCKET;
use crate::probes::state::{self, Stats};
use crate::probes::{cost as costs, decay as decays};
use crate::settings::Settings;
use crate::views::{
    Axis, Cell, Counts, Drawing, Heatmap, Histogram, Lines, Mark, Panel, Provenance, Scale, Series,
    Table, Tokens, View,
};

/// Points of a curve and columns of a heat-map, at most.
const POINTS: usize = 512;
/// Tokens of a token strip, at most.
const STRIP: usize = 2000;

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
        tolerance: tolerance.to_owned(),
        self_check: check.to_owned(),
        covered_tokens: sides.iter().map(|s| s.covered()).min().unwrap_or(0),
        context_tokens: longest(sides),
        interventions,
    }
}

/// The name of a side in a legend: nothing if it is alone.
fn suffix(sides: usize, run: &str) -> String {
    if sides > 1 {
        format!(" ({})", run.to_ascii_uppercase())
    } else {
        String::new()
    }
}

/// How fast each head forgets.
pub(super) fn decay<P: Player>(sides: &[&Side<P>], settings: &Settings, check: &str) -> Panel {
    let context = longest(sides);
    let mut views = Vec::new();
    let mut summary = Vec::new();
    let mut left = Lines {
        x: position_axis(context),
        y: Axis {
            domain: Some([0.0, 1.0]),
            ..axis(
                "what is left of the first token's write, a₁:ₜ",
                "",
                Scale::Linear,
            )
        },
        marks: training_marks(sides),
        x_is_position: true,
        ..Lines::default()
    };
    let mut to_query = Lines {
        y: Axis {
            domain: Some([0.0, 1.0]),
            ..axis(
                "what is left at the chosen position of a write here",
                "",
                Scale::Linear,
            )
        },
        ..left.clone()
    };
    let mut lives = Vec::new();
    for (side, run) in sides.iter().zip(RUNS) {
        let e = &side.run().evidence;
        let (layer, head) = (side.wanted.look.layer, side.wanted.look.head);
        let tokens = side.covered();
        let heads: Vec<usize> = side
            .wanted
            .stack
            .blocks
            .iter()
            .map(|b| b.mixer.shape().heads)
            .collect();
        let read = read_of(side);
        let of_layer = &e.log_decays[layer];
        if of_layer.is_empty() {
            summary.push(format!(
                "{} has no decay: softmax attention looks up every token anew.",
                side.wanted.stack.name
            ));
            continue;
        }
        let buckets = &of_layer[..tokens.div_ceil(BUCKET) * heads[layer]];
        views.push(heat(buckets, heads[layer], tokens, run, sides.len()));
        let query = query_position(side, settings);
        let drawn: Vec<usize> = (0..heads[layer].min(64)).chain([head]).collect();
        for h in drawn.into_iter().filter(|&h| h != head).chain([head]) {
            let sums = decays::cumulative(buckets, heads[layer], h, read);
            let ends = |b: usize| ((b + 1) * BUCKET).min(tokens) as f32;
            let every = sums.len().div_ceil(POINTS).max(1);
            let points = || (0..sums.len()).step_by(every);
            let series = |x, y| Series {
                label: format!("head {h}{}", suffix(sides.len(), run)),
                run: run.to_owned(),
                x,
                y,
                emphasis: h == head,
            };
            left.series.push(series(
                points().map(ends).collect(),
                points().map(|b| sums[b].exp() as f32).collect(),
            ));
            let at_query = sums[query / BUCKET];
            let before = || points().filter(|&b| b <= query / BUCKET);
            to_query.series.push(series(
                before().map(ends).collect(),
                before()
                    .map(|b| (at_query - sums[b]).exp() as f32)
                    .collect(),
            ));
        }
        let all = decays::half_lives(
            &crate::probes::run::Evidence {
                log_decays: e
                    .log_decays
                    .iter()
                    .zip(&heads)
                    .map(|(b, h)| b[..b.len().min(tokens.div_ceil(BUCKET) * h)].to_vec())
                    .collect(),
                ..Default::default()
            },
            &heads,
            read,
        );
        summary.push(format!(
            "Head {head} of layer {layer}{} has a half-life of {} tokens.",
            suffix(sides.len(), run),
            short(all[layer][head])
        ));
        lives.push((run, all.into_iter().flatten().collect::<Vec<f64>>()));
    }
    if !lives.is_empty() {
        views.push(view(
            "cumulative",
            "What is left of the first token",
            Drawing::Lines(left),
        ));
        views.push(view(
            "to-query",
            "What is left at the chosen position, of each earlier write",
            Drawing::Lines(to_query),
        ));
        views.push(half_life_histogram(&lives, sides));
    }
    Panel {
        id: "decay".to_owned(),
        title: "How fast each head forgets".to_owned(),
        summary: summary.join(" "),
        views,
        provenance: provenance(
            sides,
            check,
            r"a_{s:t} = \exp\Big(\sum_{l=s+1}^{t} g_l\Big), \quad t_{1/2} = \frac{\ln(1/2)}{\operatorname{mean} g}",
            "Stuffed Mamba (arXiv 2410.07145), analysis/get_dA.py; decays are kept as means over 16 tokens",
            "log-decays equal the f64 definition to an RMS ratio of 2e-5 in the logits they give",
        ),
    }
}

/// Tokens over which the kept buckets were filled, up to the end of the shown ones.
fn read_of<P: Player>(side: &Side<P>) -> usize {
    let shown = side.covered();
    // A run that went beyond the context has full buckets there.
    side.run().position().min(shown.div_ceil(BUCKET) * BUCKET)
}

fn heat(buckets: &[f32], heads: usize, tokens: usize, run: &str, sides: usize) -> View {
    let count = buckets.len() / heads;
    let per = count.div_ceil(256).max(1);
    let columns = count.div_ceil(per);
    let mut values = Vec::with_capacity(heads * columns);
    for h in 0..heads {
        for c in 0..columns {
            let part = c * per..((c + 1) * per).min(count);
            let n = part.len() as f32;
            let sum: f32 = part.map(|b| -buckets[b * heads + h]).sum();
            values.push(sum / n);
        }
    }
    view(
        &format!("rate-{run}"),
        &format!("Forgetting rate of every head{}", suffix(sides, run)),
        Drawing::Heatmap(Heatmap {
            x: Axis {
                domain: Some([0.0, tokens as f64]),
                ..axis("position in the text", "tokens", Scale::Linear)
            },
            y: axis("head", "", Scale::Linear),
            columns,
            rows: heads,
            values,
            row_labels: (0..heads).map(|h| format!("{h}")).collect(),
            column_labels: Vec::new(),
            value: axis("forgetting rate −ln a", "per token", Scale::Log),
            rule: format!("mean of {} tokens a cell", per * BUCKET),
            run: run.to_owned(),
            x_is_position: true,
        }),
    )
}

fn half_life_histogram<P: Player>(lives: &[(&str, Vec<f64>)], sides: &[&Side<P>]) -> View {
    // Four bins an octave would be finer than a few dozen heads can fill: one an octave.
    let edges: Vec<f32> = (-2..=21).map(|o| 2f32.powi(o)).collect();
    let series = lives
        .iter()
        .map(|(run, lives)| {
            let mut counts = vec![0.0; edges.len() - 1];
            for &life in lives {
                let bin = (life.max(0.25).log2().floor() + 2.0).min(counts.len() as f64 - 1.0);
                counts[bin as usize] += 1.0;
            }
            Counts {
                label: format!("all layers{}", suffix(sides.len(), run)),
                run: (*run).to_owned(),
                counts,
            }
        })
        .collect();
    view(
        "half-life",
        "Half-life of all heads of all layers",
        Drawing::Histogram(Histogram {
            x: axis(
                "half-life; the outermost bins hold what lies beyond",
                "tokens",
                Scale::Log,
            ),
            y: axis("heads", "", Scale::Linear),
            edges,
            series,
        }),
    )
}

/// The position whose output looks back.
fn query_position<P: Player>(side: &Side<P>, settings: &Settings) -> usize {
    let last = side.covered() - 1;
    usize::try_from(settings.integer("position")).map_or(last, |p| p.min(last))
}

/// How far one output looks back.
pub(super) fn receptive_field<P: Player>(
    sides: &[&Side<P>],
    settings: &Settings,
    check: &str,
) -> Option<Panel> {
    let context = longest(sides);
    let mut curves = Lines {
        x: position_axis(context),
        y: axis("influence |M|", "", Scale::Log),
        marks: training_marks(sides),
        x_is_position: true,
        ..Lines::default()
    };
    let mut strips = Vec::new();
    let mut rows = Vec::new();
    let mut summary = Vec::new();
    for (side, run) in sides.iter().zip(RUNS) {
        let f = &side.run().evidence.factors;
        let query = query_position(side, settings);
        let row = receptive_field::row(f, query);
        let reach = receptive_field::reach(f, &row);
        let largest = row.iter().fold(0f32, |m, w| m.max(w.abs()));
        let name = suffix(sides.len(), run);
        let per = row.len().div_ceil(POINTS).max(1);
        curves.series.push(Series {
            label: format!("head {} at {query}{name}", side.wanted.look.head),
            run: run.to_owned(),
            x: (0..row.len()).step_by(per).map(|j| j as f32).collect(),
            y: row
                .chunks(per)
                .map(|c| c.iter().fold(0f32, |m, w| m.max(w.abs())))
                .collect(),
            emphasis: true,
        });
        let start = (query + 1).saturating_sub(STRIP);
        strips.push(view(
            &format!("text-{run}"),
            &format!("What the output at {query} still sees{name}"),
            Drawing::Tokens(Tokens {
                start,
                tokens: input::words(
                    &side.run().tokens[start..=query],
                    side.wanted.stack.reads_bytes,
                ),
                values: row[start..]
                    .iter()
                    .map(|w| w.abs() / largest.max(f32::MIN_POSITIVE))
                    .collect(),
                value: Axis {
                    domain: Some([f64::from(THRESHOLD), 1.0]),
                    ..axis("influence over the largest", "", Scale::Log)
                },
                query,
                run: run.to_owned(),
                rule: String::new(),
            }),
        ));
        rows.push(reach_row(run, sides.len(), query, &reach));
        summary.push(format!(
            "The output at {query}{name} reaches {} tokens back (above 1/1000 of the largest influence), {} on average.",
            reach.threshold_length,
            short(reach.mean_distance)
        ));
    }
    curves.y.domain = log_domain(&curves.series, 1e-8);
    let mut views = strips;
    views.push(view(
        "influence",
        "Influence of every earlier position",
        Drawing::Lines(curves),
    ));
    views.push(view(
        "reach",
        "How far it reaches",
        Drawing::Table(Table {
            columns: [
                "run",
                "position (tokens)",
                "mean distance (tokens)",
                "length above 1/1000 of the largest (tokens)",
                "length above 0.001 (tokens)",
                "decay horizon: half-life (tokens)",
            ]
            .map(str::to_owned)
            .to_vec(),
            rows,
        }),
    ));
    Some(Panel {
        id: "receptive-field".to_owned(),
        title: "How far one output looks back".to_owned(),
        summary: summary.join(" "),
        views,
        provenance: provenance(
            sides,
            check,
            r"M_{ij} = \sum_n q_i[n]\, \exp\Big(\sum_{l=j+1}^{i} g_l[n]\Big) w_j k_j[n]",
            "Ali et al., arXiv 2403.01590; mean distance: DeciMamba, arXiv 2406.14528; thresholds: LongMamba, arXiv 2504.16053. Through one mixer: convolution, skip, gate and projection are outside of M. The curve shows the largest influence of each pixel's positions",
            "M times the values equals the scan's output to an RMS ratio of 1e-5 (tests/receptive_field.rs)",
        ),
    })
}

/// Domain of a log axis over several decades below the largest value.
fn log_domain(series: &[Series], decades: f64) -> Option<[f64; 2]> {
    let largest = series
        .iter()
        .flat_map(|s| &s.y)
        .fold(0f32, |m, &y| if y.is_finite() { m.max(y) } else { m });
    (largest > 0.0).then(|| [f64::from(largest) * decades, f64::from(largest) * 1.5])
}

fn reach_row(run: &str, sides: usize, query: usize, r: &Reach) -> Vec<Cell> {
    let name = if sides > 1 {
        run.to_ascii_uppercase()
    } else {
        "A".to_owned()
    };
    vec![
        Cell::Text(name),
        Cell::Number(query as f64),
        Cell::Number((r.mean_distance * 10.0).round() / 10.0),
        Cell::Number(r.threshold_length as f64),
        Cell::Number(r.absolute_length as f64),
        match r.decay_horizon.is_finite() {
            true => Cell::Number((r.decay_horizon * 10.0).round() / 10.0),
            false => Cell::Text("none".to_owned()),
        },
    ]
}

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
pub(super) fn state<P: Player>(sides: &[&Side<P>], check: &str) -> Panel {
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

/// What it costs the model.
pub(super) fn cost<P: Player>(sides: &[&Side<P>], check: &str) -> Panel {
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
            "within 1e-3 of transformers at every position of the shipped texts",
        ),
    }
}

/// Passkey recall against length and depth.
pub(super) fn recall<P: Player>(
    job: &RecallJob<P>,
    sides: &[&Side<P>],
    check: &str,
) -> Option<Panel> {
    let mut views = Vec::new();
    let mut means = Lines {
        x: axis("length of the text", "tokens", Scale::Log),
        y: Axis {
            domain: Some([0.0, 1.0]),
            ..axis("recall: share of digits found", "", Scale::Linear)
        },
        marks: training_marks(sides),
        ..Lines::default()
    };
    let (mut rows, mut summary) = (Vec::new(), Vec::new());
    for grid in &job.grids {
        let name = suffix(job.grids.len(), grid.run);
        let mut series = Series {
            label: format!("mean over depths{name}"),
            run: grid.run.to_owned(),
            emphasis: true,
            ..Series::default()
        };
        for (length, cells) in job.lengths.iter().zip(&grid.cells) {
            let samples: usize = cells.iter().map(|c| c.samples).sum();
            let digits: usize = cells.iter().map(|c| c.digits).sum();
            if samples == 0 {
                continue;
            }
            let share = crate::probes::passkey::Recall { samples, digits }.share();
            series.x.push(*length as f32);
            series.y.push(share as f32);
            rows.push(vec![
                Cell::Text(grid.run.to_ascii_uppercase()),
                Cell::Number(*length as f64),
                Cell::Number(share),
                Cell::Number(samples as f64),
            ]);
        }
        if let (Some(first), Some(last)) = (series.y.first(), series.y.last()) {
            summary.push(format!(
                "{}{name} finds {} of the digits in {} tokens and {} in {}.",
                grid.name,
                short(f64::from(*first)),
                series.x[0],
                short(f64::from(*last)),
                series.x[series.x.len() - 1]
            ));
        }
        means.series.push(series);
        views.push(view(
            &format!("grid-{}", grid.run),
            &format!("Recall by depth and length{name}"),
            Drawing::Heatmap(Heatmap {
                x: axis("length of the text", "tokens", Scale::Linear),
                y: axis("depth of the passkey", "", Scale::Linear),
                columns: job.lengths.len(),
                rows: DEPTHS.len(),
                values: (0..DEPTHS.len())
                    .flat_map(|d| grid.cells.iter().map(move |c| c[d].share() as f32))
                    .collect(),
                row_labels: DEPTHS.iter().map(|d| format!("{d}")).collect(),
                column_labels: job.lengths.iter().map(|l| format!("{l}")).collect(),
                value: Axis {
                    domain: Some([0.0, 1.0]),
                    ..axis("recall: share of digits found", "", Scale::Linear)
                },
                rule: "mean of all texts of a cell".to_owned(),
                run: grid.run.to_owned(),
                x_is_position: false,
            }),
        ));
    }
    if rows.is_empty() {
        return None;
    }
    views.insert(0, view("recall", "Recall by length", Drawing::Lines(means)));
    views.push(view(
        "recall-table",
        "Recall by length",
        Drawing::Table(Table {
            columns: [
                "run",
                "length (tokens)",
                "recall (share of digits)",
                "texts",
            ]
            .map(str::to_owned)
            .to_vec(),
            rows,
        }),
    ));
    Some(Panel {
        id: "recall".to_owned(),
        title: "What the model can still look up".to_owned(),
        summary: summary.join(" "),
        views,
        provenance: provenance(
            sides,
            check,
            r"\text{recall} = \frac{\#\{\text{digits that are the most likely next byte}\}}{5 \cdot \text{texts}}",
            "passkey retrieval; the question and the five digits are the last bytes, each digit is asked for after the true ones before it",
            "a share of n digits has a standard error of at most 0.5 / sqrt(n)",
        ),
    })
}
