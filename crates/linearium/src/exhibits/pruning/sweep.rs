//! Many measurements that are shown as they come: each is kept under its name, and a run that is
//! asked again goes on with those that are missing.

use std::rc::Rc;

use crate::exhibit::declared::curve;
use crate::exhibit::{Bench, Shown, axis};
use crate::settings::Settings;
use crate::views::{Lines, Scale, Series};

/// The measurements of one state of the controls.
pub struct Sweep<'a> {
    bench: &'a Bench<'a>,
    key: String,
}

impl<'a> Sweep<'a> {
    pub fn new(settings: &Settings, bench: &'a Bench<'a>) -> Sweep<'a> {
        let gpu = if bench.on_gpu() { "gpu" } else { "cpu" };
        Sweep {
            bench,
            key: format!("pruning {gpu} {}", settings.to_query()),
        }
    }

    /// What was measured under this name.
    pub fn known(&self, name: &str) -> Option<Rc<[f64]>> {
        self.bench.measured(&format!("{} {name}", self.key))
    }

    /// Measures those of these that are missing, in their order, until it is time to show what there
    /// is; gives how many are done. One at least is measured.
    pub async fn go_on<T>(
        &self,
        all: &[T],
        name: impl Fn(&T) -> String,
        measure: impl AsyncFn(&T) -> Result<Vec<f64>, String>,
    ) -> Result<usize, String> {
        for point in all {
            let name = name(point);
            if self.known(&name).is_some() {
                continue;
            }
            let values = measure(point).await?;
            self.bench
                .remember(&format!("{} {name}", self.key), &values);
            self.bench.rest().await?;
            if self.bench.is_time_to_show() {
                break;
            }
        }
        let done = all
            .iter()
            .filter(|point| self.known(&name(point)).is_some());
        Ok(done.count())
    }
}

/// One way at one keep ratio.
pub struct Point {
    /// Which way: an index into the names.
    pub way: usize,
    pub keep: f64,
    pub quality: f64,
    /// Over the unpruned run.
    pub operations: f64,
    /// Milliseconds.
    pub ms: f64,
}

/// The points that no other one beats in both cost and quality, by rising cost. Less is better in
/// both.
pub fn front(points: impl Iterator<Item = (f64, f64)>) -> Vec<(f64, f64)> {
    let mut all: Vec<(f64, f64)> = points
        .filter(|(cost, quality)| cost.is_finite() && quality.is_finite())
        .collect();
    all.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
    let mut best = f64::INFINITY;
    all.retain(|(_, quality)| {
        let better = *quality < best;
        best = best.min(*quality);
        better
    });
    all
}

/// What is drawn along the horizontal axis.
pub struct Cost {
    pub id: &'static str,
    pub title: &'static str,
    pub label: &'static str,
    pub unit: &'static str,
    pub of: fn(&Point) -> f64,
}

/// Keep ratio, arithmetic and time.
pub const COSTS: [Cost; 3] = [
    Cost {
        id: "against-keep",
        title: "Quality against keep ratio",
        label: "keep ratio",
        unit: "",
        of: |p| p.keep,
    },
    Cost {
        id: "against-time",
        title: "Quality against time: the best way at each price is strong",
        label: "time",
        unit: "ms",
        of: |p| p.ms,
    },
    Cost {
        id: "against-operations",
        title: "Quality against multiply-adds",
        label: "multiply-adds over the unpruned run",
        unit: "",
        of: |p| p.operations,
    },
];

/// One picture for each cost: a curve for each way, the chosen one strong; in that of time the
/// Pareto front, which is strong too.
pub fn draw(
    out: &mut Shown,
    points: &[Point],
    ways: &[&str],
    chosen: Option<usize>,
    quality: (&str, &str),
) {
    for cost in &COSTS {
        let mut series: Vec<Series> = Vec::new();
        if cost.id == "against-time" {
            let all = points.iter().map(|p| ((cost.of)(p), p.quality));
            series.push(curve("none better for this time", front(all), true));
        }
        for (way, name) in ways.iter().enumerate() {
            let own = points.iter().filter(|p| p.way == way);
            let mut own: Vec<(f64, f64)> = own.map(|p| ((cost.of)(p), p.quality)).collect();
            own.retain(|(x, y)| x.is_finite() && y.is_finite());
            own.sort_by(|a, b| a.0.total_cmp(&b.0));
            if !own.is_empty() {
                series.push(curve(name, own, chosen == Some(way)));
            }
        }
        if series.iter().all(|s| s.x.is_empty()) {
            continue;
        }
        let lines = Lines {
            x: axis(cost.label, cost.unit, Scale::Linear),
            y: axis(quality.0, quality.1, Scale::Linear),
            series,
            ..Lines::default()
        };
        out.view(cost.id, cost.title, crate::views::Drawing::Lines(lines));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_front_has_what_nothing_beats() {
        let all = [(3.0, 0.5), (1.0, 2.0), (2.0, 2.5), (2.0, 1.0), (4.0, 0.5)];
        let nan = [(f64::NAN, 0.0), (0.5, f64::NAN)];
        let front = front(all.into_iter().chain(nan));
        assert_eq!(front, [(1.0, 2.0), (2.0, 1.0), (3.0, 0.5)]);
    }
}
