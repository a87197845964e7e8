//! The pictures.

use std::ops::Range;

use super::Seen;
use super::measure::{Reader, Way, relative};
use super::memory::{Memory, squares};
use crate::exhibit::declared::{at_x, curve, table, word};
use crate::exhibit::{axis, axis_over};
use crate::model::image::backbone::Backbone;
use crate::model::image::session::Scanned;
use crate::model::image::{Grey, Reading};
use crate::pruning::DropMode;
use crate::views::{Cell, Counts, Heatmap, Histogram, Lines, Patches, Scale, Table};

/// The picture with the patches that each step dropped, and their scores.
pub fn patches(backbone: &Backbone, image: &Grey, read: &Reading, scores: &[f32]) -> Patches {
    let square = image.square(backbone.side);
    let grid = backbone.grid();
    let steps = &read.steps.kept;
    let of_patch = |patch| backbone.token_of_patch(patch);
    let stage = |patch: usize| {
        let token = of_patch(patch);
        let dropped = steps.iter().position(|(_, kept)| !kept.contains(&token));
        dropped.unwrap_or(steps.len()) as f32
    };
    let names = steps
        .iter()
        .map(|(block, _)| format!("dropped before block {}", block + 1));
    Patches {
        width: square.width(),
        height: square.height(),
        pixels: square.pixels().iter().map(|&p| p.into()).collect(),
        columns: grid.width,
        rows: grid.height,
        values: (0..grid.tokens()).map(stage).collect(),
        stages: names.chain(["kept".to_owned()]).collect(),
        beside: (0..grid.tokens())
            .filter_map(|patch| scores.get(of_patch(patch)).copied())
            .collect(),
        value: axis("score at the first step", "", Scale::Linear),
        run: "a".to_owned(),
    }
}

/// Values of patches, NaN where there is none; the class token has no place in it.
pub fn map(backbone: &Backbone, of_token: &[f64], largest: f64) -> Heatmap {
    let grid = backbone.grid();
    let value = |patch| of_token[backbone.token_of_patch(patch)] / largest;
    Heatmap {
        x: axis_over("column", "patches", Scale::Linear, [0.0, grid.width as f64]),
        y: axis_over("row", "patches", Scale::Linear, [0.0, grid.height as f64]),
        columns: grid.width,
        rows: grid.height,
        values: (0..grid.tokens()).map(|p| value(p) as f32).collect(),
        value: axis_over(
            "weight over the largest of all maps",
            "",
            Scale::Linear,
            [0.0, 1.0],
        ),
        rule: "mean size over channels and scans".to_owned(),
        run: "a".to_owned(),
        ..Heatmap::default()
    }
}

/// What the reader weighs, for each token, NaN for those that were dropped.
pub struct Maps {
    /// With all tokens.
    pub dense: Vec<f64>,
    /// With gaps closed.
    pub closed: Vec<f64>,
    /// With gaps kept, by default steps.
    pub kept: Vec<f64>,
    /// The largest of all.
    pub largest: f64,
    /// How far the weights of kept tokens have moved, over what they were: gaps closed, kept by
    /// default steps, kept by true steps.
    pub drifts: [f64; 3],
}

/// The scans of the block at which tokens are first dropped.
pub struct Scans<'a> {
    /// The classifier.
    pub backbone: &'a Backbone,
    /// The block.
    pub block: usize,
    /// What its scans compute with all tokens.
    pub dense: &'a [Scanned],
    /// What they compute without the dropped ones, where that is what counts.
    pub own: Option<&'a [Scanned]>,
    /// The kept tokens, sorted.
    pub kept: &'a [usize],
    /// Which of the scans are looked at.
    pub orders: Range<usize>,
}

impl Scans<'_> {
    /// Scan `order` with the dropped tokens missing, and with none missing.
    fn memories(&self, order: usize, all: &[usize]) -> [Memory<'_>; 2] {
        let route = &self.backbone.blocks[self.block].routes[order];
        let dense = &self.dense[order];
        let factors = self.own.map_or(dense, |own| &own[order]);
        [
            Memory::new(route, dense, factors, self.kept),
            Memory::new(route, dense, dense, all),
        ]
    }

    /// The token whose reading is looked at: the class token, or the kept patch nearest to the middle.
    pub fn reader(&self) -> usize {
        let grid = self.backbone.grid();
        let far = |&&token: &&usize| {
            let (row, column) = grid.place(token);
            row.abs_diff(grid.height / 2).pow(2) + column.abs_diff(grid.width / 2).pow(2)
        };
        let nearest = || self.kept.iter().min_by_key(far).copied();
        self.backbone
            .class_token
            .or_else(nearest)
            .unwrap_or_default()
    }

    /// Mean step of an empty token over channels and scans.
    pub fn default_step(&self) -> f64 {
        let routes = &self.backbone.blocks[self.block].routes[self.orders.clone()];
        let steps: Vec<f32> = routes
            .iter()
            .flat_map(|r| r.default_steps().to_vec())
            .collect();
        steps.iter().map(|&s| f64::from(s)).sum::<f64>() / steps.len() as f64
    }

    /// The weights of all tokens in what the reader reads.
    pub fn maps(&self) -> Maps {
        let all: Vec<usize> = (0..self.backbone.tokens()).collect();
        let reader = self.reader();
        let mut sums = [(); 3].map(|()| vec![0.0; all.len()]);
        let (mut apart, mut size) = ([0.0; 3], 0.0);
        for order in self.orders.clone() {
            let [pruned, whole] = self.memories(order, &all);
            let e = pruned.route.channels;
            let was = whole.weights(DropMode::Hold, reader);
            let ways = [DropMode::Hold, DropMode::DecayDefault, DropMode::DecayTrue];
            let is = ways.map(|mode| pruned.weights(mode, reader));
            let last = pruned.dense.tokens.iter().position(|&t| t == reader);
            for (sum, weights) in sums.iter_mut().zip([&was, &is[0], &is[1]]) {
                for (place, row) in weights.chunks_exact(e).enumerate() {
                    let mean = row.iter().map(|w| w.abs()).sum::<f64>() / e as f64;
                    sum[pruned.dense.tokens[place]] += mean / self.orders.len() as f64;
                }
            }
            // The reader alone has weights behind it, which are 0 in every way.
            if last.is_some() {
                for (apart, is) in apart.iter_mut().zip(&is) {
                    *apart += squares(&pruned, is, &was)[0];
                }
                size += squares(&pruned, &is[0], &was)[1];
            }
        }
        let largest = sums
            .iter()
            .flatten()
            .copied()
            .fold(f64::MIN_POSITIVE, f64::max);
        let [dense, mut closed, mut kept] = sums;
        for token in all.iter().filter(|token| !self.kept.contains(token)) {
            closed[*token] = f64::NAN;
            kept[*token] = f64::NAN;
        }
        Maps {
            dense,
            closed,
            kept,
            largest,
            drifts: apart.map(|apart| (apart / size).sqrt()),
        }
    }

    /// How far what kept tokens read is from what they read with all tokens there, over that: gaps
    /// closed, kept by default steps, kept by true steps.
    fn readout_errors(&self) -> [f64; 3] {
        let all: Vec<usize> = (0..self.backbone.tokens()).collect();
        let (mut apart, mut size) = ([0.0; 3], 0.0);
        for order in self.orders.clone() {
            let [pruned, whole] = self.memories(order, &all);
            let (_, want) = whole.states(DropMode::Hold);
            let ways = [DropMode::Hold, DropMode::DecayDefault, DropMode::DecayTrue];
            for (apart, mode) in apart.iter_mut().zip(ways) {
                let (_, got) = pruned.states(mode);
                let [a, s] = squares(&pruned, &got, &want);
                *apart += a;
                size += s / 3.0;
            }
        }
        apart.map(|apart| (apart / size).sqrt())
    }

    /// Drift of the weights and error of what is read, for each way to go over a gap.
    pub fn table(&self, maps: &Maps) -> Table {
        let ways = [
            "gaps closed",
            "gaps kept, default steps",
            "gaps kept, true steps",
        ];
        let errors = self.readout_errors();
        let rows = ways.iter().zip(maps.drifts).zip(errors);
        let rows = rows.map(|((way, drift), error)| {
            vec![word(*way), Cell::Number(drift), Cell::Number(error)]
        });
        table(
            &["way", "drift of the weights", "error of what is read"],
            rows.collect(),
        )
    }

    /// Size of the state along the path of the first of these scans.
    pub fn state(&self) -> Lines {
        let all: Vec<usize> = (0..self.backbone.tokens()).collect();
        let [pruned, whole] = self.memories(self.orders.start, &all);
        let line = |label: &str, memory: &Memory<'_>, mode, strong| {
            let (sizes, _) = memory.states(mode);
            let points = sizes.into_iter().enumerate();
            curve(
                label,
                points.map(|(place, size)| (place as f64, size)),
                strong,
            )
        };
        let reader = self.reader();
        let at = pruned.dense.tokens.iter().position(|&t| t == reader);
        Lines {
            x: axis("place in the scan", "tokens", Scale::Linear),
            y: axis("size of the state", "", Scale::Linear),
            series: vec![
                line("all tokens", &whole, DropMode::Hold, false),
                line("gaps closed", &pruned, DropMode::Hold, true),
                line("gaps kept", &pruned, DropMode::DecayDefault, true),
            ],
            marks: at.map(|at| at_x(at as f64, "reader")).into_iter().collect(),
            x_is_position: false,
        }
    }

    /// The path of the first of these scans over the grid, with all patches and with the kept ones;
    /// as released in the order of this list, in which the class token may have moved.
    pub fn path(&self, released: Option<&[usize]>) -> Lines {
        let grid = self.backbone.grid();
        let class = self.backbone.class_token;
        let tokens = &self.dense[self.orders.start].tokens;
        let kept: Vec<usize> = match released {
            Some(moved) if self.orders.start == 0 => moved.to_vec(),
            Some(moved) => moved.iter().rev().copied().collect(),
            None => tokens
                .iter()
                .copied()
                .filter(|t| self.kept.contains(t))
                .collect(),
        };
        let point = |&token: &usize| {
            let patch = token - usize::from(class.is_some_and(|class| token > class));
            if class == Some(token) {
                // The class token has no place in the picture: the line is cut there.
                return (f64::NAN, f64::NAN);
            }
            let (row, column) = grid.place(patch);
            (column as f64 + 1.0, (grid.height - row) as f64)
        };
        Lines {
            x: axis_over(
                "column",
                "patches",
                Scale::Linear,
                [0.0, grid.width as f64 + 1.0],
            ),
            y: axis_over(
                "row from below",
                "patches",
                Scale::Linear,
                [0.0, grid.height as f64 + 1.0],
            ),
            series: vec![
                curve("all patches", tokens.iter().map(point), false),
                curve("kept patches", kept.iter().map(point), true),
            ],
            ..Lines::default()
        }
    }
}

/// Shares of the curves.
const SHARES: [f64; 4] = [0.4, 0.6, 0.8, 0.9];

/// Error of the logits over the share that a step keeps, for every meaning of dropping.
pub async fn errors(reader: &mut Reader<'_>, seen: &Seen, way: Way) -> Result<Lines, String> {
    let ways = [
        ("gaps closed", DropMode::Gather),
        ("gaps kept", DropMode::DecayDefault),
        ("masked", DropMode::Mask),
    ];
    let mut series = Vec::new();
    for (label, mode) in ways {
        let mut points = Vec::new();
        for share in SHARES {
            let way = Way {
                mode,
                released: false,
                share,
                ..way
            };
            let reading = reader.read(&seen.image, Some(way)).await?;
            points.push((share, relative(&reading.logits, &seen.dense.logits)));
        }
        points.push((1.0, 0.0));
        let strong = way.mode == mode || (way.mode == DropMode::Hold && mode == DropMode::Gather);
        series.push(curve(label, points, strong));
    }
    Ok(Lines {
        x: axis("share that a step keeps", "", Scale::Linear),
        y: axis("relative RMS change of the logits", "", Scale::Linear),
        series,
        marks: vec![at_x(way.share, "chosen")],
        x_is_position: false,
    })
}

/// Operations of the scans of a block for one token.
fn of_scans(backbone: &Backbone, block: usize) -> u64 {
    let routes = backbone.blocks[block].routes.iter();
    routes.map(|route| 9 * route.a.len() as u64).sum()
}

/// Operations of a block for so many rows.
fn of_block(backbone: &Backbone, block: usize, rows: usize) -> u64 {
    let mut all = vec![0; backbone.blocks.len()];
    let none = backbone.operations(&all);
    all[block] = rows;
    // The head of a classifier without a class token reads the rows of the last block.
    let head = match backbone.class_token {
        None if block + 1 == all.len() => 2 * (rows * backbone.head.len()) as u64,
        _ => 0,
    };
    backbone.operations(&all) - none - head
}

/// Share of the operations of the blocks that the scans are.
pub fn scan_share(backbone: &Backbone) -> f64 {
    let blocks = 0..backbone.blocks.len();
    let scans: u64 = blocks.clone().map(|block| of_scans(backbone, block)).sum();
    let all: u64 = blocks.map(|block| of_block(backbone, block, 1)).sum();
    scans as f64 / all as f64
}

/// Operations of each block: all tokens; the kept ones, but scans that walk the whole path; the kept
/// ones.
pub fn operations(backbone: &Backbone, rows: &[usize]) -> Histogram {
    let millions = |label: &str, of: &dyn Fn(usize) -> u64| Counts {
        label: label.to_owned(),
        run: "a".to_owned(),
        counts: (0..rows.len())
            .map(|block| of(block) as f32 / 1e6)
            .collect(),
    };
    let whole = backbone.tokens();
    let dense = |block| of_block(backbone, block, whole);
    let walked = |block| {
        let missing = (whole - rows[block]) as u64;
        of_block(backbone, block, rows[block]) + missing * of_scans(backbone, block)
    };
    let compact = |block| of_block(backbone, block, rows[block]);
    Histogram {
        x: axis("block", "", Scale::Linear),
        y: axis("operations", "millions", Scale::Linear),
        edges: (0..=rows.len()).map(|edge| edge as f32 + 0.5).collect(),
        series: vec![
            millions("all tokens", &dense),
            millions("kept tokens, scans over the whole path", &walked),
            millions("kept tokens alone", &compact),
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::super::measure::{Way, When};
    use super::*;
    use crate::model::image::load;

    fn shipped(id: &str) -> Backbone {
        let file = |name: &str| {
            let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../../web/public/models");
            std::fs::read(format!("{root}/{id}/{name}")).unwrap()
        };
        load::load(&file("config.json"), file("model.safetensors")).unwrap()
    }

    /// The blocks of the picture are all of the operations but those of the patches and the head.
    #[test]
    fn blocks_sum_to_the_whole() {
        for id in ["digits-vim", "digits-plain"] {
            let backbone = shipped(id);
            let schedule = Way::default().schedule(&backbone).unwrap();
            let counts = schedule.counts(backbone.tokens()).unwrap();
            let rows: Vec<usize> = (0..backbone.blocks.len())
                .map(|block| {
                    let steps = schedule.steps().iter().take_while(|s| s.layer <= block);
                    counts.get(steps.count().wrapping_sub(1)).copied()
                })
                .map(|count| count.unwrap_or(backbone.tokens()))
                .collect();
            let drawn = operations(&backbone, &rows);
            let sum: f64 = drawn.series[2].counts.iter().map(|&c| f64::from(c)).sum();
            let heads = match backbone.class_token {
                Some(_) => 1,
                None => rows[rows.len() - 1],
            };
            let ends = 2 * backbone.grid().tokens() * backbone.patch_weight.len()
                + 2 * heads * backbone.head.len();
            let want = (backbone.operations(&rows) - ends as u64) as f64 / 1e6;
            assert!((sum - want).abs() < 1e-5 * want, "{id}: {sum} {want}");
            let [dense, walked, compact] =
                [0, 1, 2].map(|i| drawn.series[i].counts.iter().sum::<f32>());
            assert!(dense > walked && walked > compact);
        }
    }

    #[test]
    fn steps_are_those_of_the_released_code() {
        let backbone = shipped("digits-vim");
        let counts = |way: Way| {
            let schedule = way.schedule(&backbone).unwrap();
            schedule.counts(backbone.tokens()).unwrap()
        };
        assert_eq!(counts(Way::default()), [157, 125, 101]);
        let late = Way {
            when: When::Late,
            share: 0.5,
            ..Way::default()
        };
        assert_eq!(counts(late), [99]);
        assert_eq!(Way::default().as_released().score, "activation_sum");
    }
}
