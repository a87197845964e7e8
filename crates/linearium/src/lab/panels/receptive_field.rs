//! How far one output looks back.

use super::{
    POINTS, RUNS, axis, longest, position_axis, provenance, query_position, suffix, training_marks,
    view,
};
use crate::lab::input;
use crate::lab::side::Side;
use crate::number::short;
use crate::player::Player;
use crate::probes::receptive_field::{self, Reach, THRESHOLD};
use crate::settings::Settings;
use crate::views::{Axis, Cell, Drawing, Lines, Panel, Scale, Series, Table, Tokens};

/// Tokens of a token strip, at most.
const STRIP: usize = 2000;

/// How far one output looks back.
pub(in crate::lab) fn receptive_field<P: Player>(
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
                tokens: input::words(&side.run().tokens[start..=query], &side.wanted.stack),
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
