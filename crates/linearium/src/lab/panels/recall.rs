//! What the model can still look up.

use super::{axis, provenance, suffix, training_marks, view};
use crate::lab::recall::RecallJob;
use crate::lab::side::Side;
use crate::number::short;
use crate::player::Player;
use crate::probes::passkey::DEPTHS;
use crate::views::{Axis, Cell, Drawing, Heatmap, Lines, Panel, Scale, Series, Table};

/// Passkey recall against length and depth.
pub(in crate::lab) fn recall<P: Player>(
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
