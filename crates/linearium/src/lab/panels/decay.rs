//! How fast each head forgets.

use super::{
    POINTS, RUNS, axis, longest, position_axis, provenance, query_position, suffix, training_marks,
    view,
};
use crate::lab::side::Side;
use crate::number::short;
use crate::player::Player;
use crate::probes::decay as decays;
use crate::probes::run::BUCKET;
use crate::settings::Settings;
use crate::views::{Axis, Counts, Drawing, Heatmap, Histogram, Lines, Panel, Scale, Series, View};

/// How fast each head forgets.
pub(in crate::lab) fn decay<P: Player>(
    sides: &[&Side<P>],
    settings: &Settings,
    check: &str,
) -> Panel {
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
            "What is left of each write at the chosen position",
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
