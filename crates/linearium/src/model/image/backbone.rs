//! The layers of an image classifier, and their definition in f64.

use crate::mixers::s6::S6;
use crate::mixers::{Change, Context, StepState, Weights};
use crate::orders::{Grid, Order};
use crate::pruning::DropMode;
use crate::step::{Left, linear, rms_norm, silu};

use super::pixels::Grey;

/// One block: `x <- x + W_out (silu(z) * mean over orders of S6(x in that order))`, of `norm(x)`.
pub struct Block {
    /// RMS norm, `[D]`.
    pub norm: Weights,
    /// One S6 for each order. They share `in_proj` and `out_proj`: what differs is convolution, step
    /// sizes, B, C, A and skip.
    pub routes: Vec<S6>,
}

/// An image classifier.
pub struct Backbone {
    /// The architecture in words.
    pub name: String,
    /// Pixels a side of the picture that it reads.
    pub side: usize,
    /// Pixels a side of a patch.
    pub patch: usize,
    /// Model width D.
    pub width: usize,
    /// Classes.
    pub classes: usize,
    /// The number of the class token, which the head reads; without one it reads the mean of all
    /// tokens.
    pub class_token: Option<usize>,
    /// `[D, P^2]`.
    pub patch_weight: Weights,
    /// What is added to each token, `[T, D]`: its position, and the bias of the patches or the class
    /// token itself.
    pub places: Weights,
    /// The scan orders.
    pub orders: Vec<Order>,
    /// The names of the scan orders.
    pub order_names: Vec<String>,
    /// The blocks.
    pub blocks: Vec<Block>,
    /// Last norm, `[D]`.
    pub norm: Weights,
    /// `[classes, D]`.
    pub head: Weights,
    /// `[classes]`.
    pub head_bias: Weights,
    /// Added to the mean square in every norm.
    pub eps: f32,
}

/// Which tokens a run drops where and what that means; each step at the input of a block.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Steps {
    /// Block, from 0, and the positions that it keeps, in the order of its rows: sorted but for the
    /// class token where `as_released` has moved it.
    pub kept: Vec<(usize, Vec<usize>)>,
    /// What dropping means to a state.
    pub meaning: Meaning,
}

/// What dropping a token means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meaning {
    /// To a state.
    pub mode: DropMode,
    /// True for the places of the released code of ToP-ViM (`ZLKong/ToP-ViM vim/models_mamba.py`):
    /// the class token moves to the middle of the kept ones, and the two orders are this list and its
    /// reversal.
    pub as_released: bool,
}

impl Default for Meaning {
    fn default() -> Meaning {
        Meaning {
            mode: DropMode::Gather,
            as_released: false,
        }
    }
}

/// How the rows of a block are read: for each order which row comes when, and how many dropped tokens
/// stood before it, where that matters.
pub(super) struct Paths {
    pub(super) read: Vec<Vec<usize>>,
    pub(super) gaps: Vec<Vec<usize>>,
}

impl Backbone {
    /// Patches in rows and columns.
    pub fn grid(&self) -> Grid {
        let n = self.side / self.patch;
        Grid {
            height: n,
            width: n,
        }
    }

    /// Tokens T.
    pub fn tokens(&self) -> usize {
        self.grid().tokens() + usize::from(self.class_token.is_some())
    }

    /// The token of a patch.
    pub fn token_of_patch(&self, patch: usize) -> usize {
        patch + usize::from(self.class_token.is_some_and(|at| patch >= at))
    }

    /// Number of parameters.
    pub fn parameters(&self) -> usize {
        let ends = [
            &self.patch_weight,
            &self.places,
            &self.norm,
            &self.head,
            &self.head_bias,
        ];
        let blocks = self.blocks.iter().map(|block| {
            let shared = block
                .routes
                .first()
                .map_or(0, |r| r.in_proj.len() + r.out_proj.len());
            let own = block.routes.iter().map(|route| {
                let all = crate::mixers::Mixer::weights(route);
                all.iter().map(|w| w.len()).sum::<usize>()
                    - route.in_proj.len()
                    - route.out_proj.len()
            });
            block.norm.len() + shared + own.sum::<usize>()
        });
        ends.iter().map(|w| w.len()).sum::<usize>() + blocks.sum::<usize>()
    }

    /// Multiplications and additions of a picture whose blocks have so many rows, one number for each
    /// block: the matrices, 2 each value; 2 for each tap of the convolution; 9 for each state of the
    /// scan. Norms and gates are left out.
    pub fn operations(&self, rows: &[usize]) -> u64 {
        let patches = 2 * self.grid().tokens() * self.patch_weight.len();
        let blocks = self.blocks.iter().zip(rows).map(|(block, rows)| {
            let shared = block
                .routes
                .first()
                .map_or(0, |r| 2 * (r.in_proj.len() + r.out_proj.len()));
            let routes = block.routes.iter().map(|r| {
                let products = r.conv_weight.len() + r.x_proj.len() + r.dt_proj.len();
                2 * products + 9 * r.a.len()
            });
            rows * (shared + routes.sum::<usize>())
        });
        let heads = match self.class_token {
            Some(_) => 1,
            None => rows.last().copied().unwrap_or_default(),
        };
        (patches + blocks.sum::<usize>() + 2 * heads * self.head.len()) as u64
    }

    /// The patches of a picture of any size, `[T, P^2]`, from -1 to 1; zeros for the class token.
    pub fn patches(&self, image: &Grey) -> Vec<f32> {
        let square = image.square(self.side);
        let (grid, patch) = (self.grid(), self.patch);
        let mut out = vec![0.0; self.tokens() * patch * patch];
        for n in 0..grid.tokens() {
            let (row, column) = grid.place(n);
            let out = &mut out[self.token_of_patch(n) * patch * patch..][..patch * patch];
            for (i, out) in out.iter_mut().enumerate() {
                let (y, x) = (row * patch + i / patch, column * patch + i % patch);
                *out = f32::from(square.pixels()[y * self.side + x]) / 127.5 - 1.0;
            }
        }
        out
    }

    /// How a block reads the tokens at `kept`, which are its rows.
    pub(super) fn paths(&self, kept: &[usize], meaning: Meaning) -> Paths {
        let count = kept.len();
        if meaning.as_released && count < self.tokens() {
            let ahead: Vec<usize> = (0..count).collect();
            let back = ahead.iter().rev().copied().collect();
            return Paths {
                read: vec![ahead, back],
                gaps: vec![vec![0; count]; 2],
            };
        }
        let both = self.orders.iter().map(|order| order.restricted(kept));
        let (read, mut gaps): (Vec<_>, Vec<Vec<usize>>) = both.unzip();
        for gaps in &mut gaps {
            // Before the first token there is no state that could decay.
            if let Some(first) = gaps.first_mut() {
                *first = 0;
            }
        }
        Paths { read, gaps }
    }

    /// Says which meanings cannot be had.
    ///
    /// # Errors
    /// A sentence.
    pub fn check(&self, meaning: Meaning) -> Result<(), String> {
        if meaning.as_released {
            if self.class_token.is_none() || self.orders.len() != 2 {
                return Err(format!(
                    "the released code of ToP-ViM has a class token and two orders, {} has not: prune as described",
                    self.name
                ));
            }
            if !matches!(meaning.mode, DropMode::Gather | DropMode::Mask) {
                return Err(format!(
                    "the released code of ToP-ViM knows no gaps, so that the mode '{}' means nothing in it: choose gather or mask, or prune as described",
                    meaning.mode.id()
                ));
            }
        }
        match meaning.mode {
            DropMode::Mask | DropMode::Gather | DropMode::Hold | DropMode::DecayDefault => Ok(()),
            DropMode::DecayTrue | DropMode::Carry => Err(format!(
                "the mode '{}' needs what a dropped token would have been in later blocks, which an image backbone does not compute: choose mask, gather, hold or decay-default",
                meaning.mode.id()
            )),
        }
    }

    /// The definition, in f64: patches `[T, P^2]` in, logits out.
    pub fn read(&self, patches: &[f32], steps: &Steps) -> Vec<f64> {
        let eps = f64::from(self.eps);
        let exact = |x: &[f32]| -> Vec<f64> { x.iter().map(|&x| x.into()).collect() };
        let mut rows: Vec<Vec<f64>> = patches
            .chunks_exact(self.patch * self.patch)
            .zip(self.places.chunks_exact(self.width))
            .map(|(patch, place)| {
                let x = linear(&exact(patch), &self.patch_weight, None);
                x.iter()
                    .zip(place)
                    .map(|(x, &p)| x + f64::from(p))
                    .collect()
            })
            .collect();
        let mut kept: Vec<usize> = (0..self.tokens()).collect();
        for (layer, block) in self.blocks.iter().enumerate() {
            if let Some((_, chosen)) = steps.kept.iter().find(|(at, _)| *at == layer) {
                if steps.meaning.mode == DropMode::Mask {
                    for (row, x) in rows.iter_mut().enumerate() {
                        if !chosen.contains(&row) {
                            x.fill(0.0);
                        }
                    }
                } else {
                    let row = |p: &usize| kept.iter().position(|k| k == p);
                    rows = chosen
                        .iter()
                        .filter_map(row)
                        .map(|i| rows[i].clone())
                        .collect();
                    kept.clone_from(chosen);
                }
            }
            let paths = self.paths(&kept, steps.meaning);
            let over_gaps = steps.meaning.mode == DropMode::DecayDefault;
            let added = block.read(&rows, &paths, over_gaps, eps);
            for (x, added) in rows.iter_mut().zip(added) {
                x.iter_mut().zip(added).for_each(|(x, a)| *x += a);
            }
        }
        let normed: Vec<Vec<f64>> = rows
            .iter()
            .map(|x| rms_norm(x, &self.norm, self.width, eps))
            .collect();
        let logits = |x: &[f64]| linear(x, &self.head, Some(&self.head_bias));
        match self.class_token {
            Some(at) => {
                let row = kept.iter().position(|&k| k == at);
                row.map(|row| logits(&normed[row])).unwrap_or_default()
            }
            None => {
                let mut mean = vec![0.0; self.width];
                for x in &normed {
                    let share = |(m, x): (&mut f64, &f64)| *m += x / normed.len() as f64;
                    mean.iter_mut().zip(x).for_each(share);
                }
                logits(&mean)
            }
        }
    }
}

impl Block {
    /// The definition on all rows: what is added to them.
    fn read(&self, rows: &[Vec<f64>], paths: &Paths, over_gaps: bool, eps: f64) -> Vec<Vec<f64>> {
        let Some(first) = self.routes.first() else {
            return Vec::new();
        };
        let e = first.channels;
        let xz: Vec<Vec<f64>> = rows
            .iter()
            .map(|x| linear(&rms_norm(x, &self.norm, x.len(), eps), &first.in_proj, None))
            .collect();
        let mut mean = vec![vec![0.0; e]; rows.len()];
        for (route, (read, gaps)) in self.routes.iter().zip(paths.read.iter().zip(&paths.gaps)) {
            let mut state = StepState::default();
            for (&row, &gap) in read.iter().zip(gaps) {
                let context = Context {
                    change: &Change::default(),
                    layer: 0,
                    left: &Left::default(),
                };
                let missed = if over_gaps { gap as f64 } else { 0.0 };
                let y = route.step_channels(&mut state, &xz[row][..e], missed, &context);
                let share = 1.0 / self.routes.len() as f64;
                mean[row]
                    .iter_mut()
                    .zip(y)
                    .for_each(|(m, y)| *m += share * y);
            }
        }
        let gated = mean.iter().zip(&xz).map(|(y, xz)| {
            let y: Vec<f64> = y.iter().zip(&xz[e..]).map(|(y, &z)| y * silu(z)).collect();
            linear(&y, &first.out_proj, None)
        });
        gated.collect()
    }
}
