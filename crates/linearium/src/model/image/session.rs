//! A run of an image classifier on one player: a picture in, logits out, and tokens dropped on the
//! way by a score of what the block before has computed.

use std::rc::Rc;

use crate::mixers::Decay;
use crate::plan::Columns;
use crate::player::Player;
use crate::pruning::selection::compose;
use crate::pruning::{DropMode, Keep, LogDecay, Protect, Schedule, Score, Seen, draft, select};
use crate::recording::Layout;

use super::backbone::{Backbone, Meaning, Steps};
use super::pixels::Grey;
use super::plan::{BlockTaps, ImagePlan};

/// Which tokens are dropped: chosen while the picture is read, or known before.
#[derive(Clone)]
pub enum Which {
    /// By a score, so many at each step. A step stands at the input of its block, and the score sees
    /// what the block before it has computed.
    Scored {
        /// What is important.
        score: &'static dyn Score,
        /// How many stay where.
        schedule: Schedule,
        /// For scores that draw.
        seed: u64,
    },
    /// Block, from 0, and the positions that it keeps.
    Known(Vec<(usize, Vec<usize>)>),
}

/// How tokens are dropped.
#[derive(Clone)]
pub struct Pruned {
    /// Which.
    pub which: Which,
    /// What that means.
    pub meaning: Meaning,
}

/// What a picture was read as.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// `[classes]`.
    pub logits: Vec<f32>,
    /// Which tokens stayed at which block.
    pub steps: Steps,
    /// Rows of each block.
    pub rows: Vec<usize>,
    /// Multiplications and additions, those of scores left out.
    pub operations: u64,
    /// The same with all tokens.
    pub dense_operations: u64,
    /// What a person should know, in sentences.
    pub warnings: Vec<String>,
}

impl Reading {
    /// The class with the highest logit, the first of equal ones.
    pub fn class(&self) -> usize {
        let best = |best: usize, i: usize| {
            if self.logits[i] > self.logits[best] {
                i
            } else {
                best
            }
        };
        (0..self.logits.len()).fold(0, best)
    }
}

/// What a score of the tokens before a block says, and what the scans of this block compute.
#[derive(Clone, Debug, PartialEq)]
pub struct Look {
    /// One number for each token; none without a score.
    pub scores: Vec<f32>,
    /// One for each order.
    pub scans: Vec<Scanned>,
}

/// What one scan of a block has computed, row by row in its own order.
#[derive(Clone, Debug, PartialEq)]
pub struct Scanned {
    /// The token at each place of the order, `[T]`.
    pub tokens: Vec<usize>,
    /// Where to write, `[T, N]`.
    pub b: Vec<f32>,
    /// Where to read, `[T, N]`.
    pub c: Vec<f32>,
    /// What is written, `[T, E]`.
    pub x: Vec<f32>,
    /// Step sizes, `[T, E]`.
    pub steps: Vec<f32>,
}

/// A run of a backbone.
pub struct ImageSession<P> {
    /// The backbone.
    pub backbone: Rc<Backbone>,
    /// Its buffers and passes.
    pub plan: ImagePlan,
    /// What plays them.
    pub player: P,
}

/// ToP-ViM's schedule for a backbone of any depth: the share 0.8 of the patches three times, where
/// a depth of 24 has it before blocks 5, 10 and 15, counted from 0 (`ZLKong/ToP-ViM
/// vim/models_mamba.py`).
///
/// # Errors
/// A sentence if the backbone has too few blocks.
pub fn top_vim_schedule(blocks: usize) -> Result<Schedule, String> {
    let keep = Keep::ClassAndShare(0.8);
    let layers = [5, 10, 15].map(|layer| ((layer * blocks) as f64 / 24.0).round() as usize);
    let steps = layers.map(|layer| crate::pruning::schedule::Step { layer, keep });
    if layers[0] == 0 {
        return Err(format!(
            "ToP-ViM's schedule needs more than {blocks} blocks: name the blocks"
        ));
    }
    Schedule::new(steps.to_vec(), blocks)
}

impl<P: Player> ImageSession<P> {
    /// Declares the buffers and gives them to a player.
    ///
    /// # Errors
    /// What `player` says.
    pub async fn new<F>(
        backbone: Rc<Backbone>,
        player: impl FnOnce(Layout) -> F,
    ) -> Result<ImageSession<P>, String>
    where
        F: Future<Output = Result<P, String>>,
    {
        let plan = ImagePlan::new(&backbone);
        let player = player(plan.layout.clone()).await?;
        Ok(ImageSession {
            backbone,
            plan,
            player,
        })
    }

    /// Reads a picture of any size.
    ///
    /// # Errors
    /// A sentence if tokens cannot be dropped so, or if the player fails.
    pub async fn read(&mut self, image: &Grey, pruned: Option<&Pruned>) -> Result<Reading, String> {
        let backbone = self.backbone.clone();
        let blocks = backbone.blocks.len();
        let meaning = pruned.map(|p| p.meaning).unwrap_or_default();
        backbone.check(meaning)?;
        let at = drop_layers(pruned, blocks)?;
        let over_gaps = meaning.mode == DropMode::DecayDefault;
        self.player.reset()?;
        let patches = backbone.patches(image);
        self.player.write(self.plan.patches, 0, &patches)?;
        self.player.play(&self.plan.start(backbone.tokens()))?;

        let mut kept: Vec<usize> = (0..backbone.tokens()).collect();
        let mut alive = kept.clone();
        let mut rows = Vec::new();
        let mut steps = Steps {
            kept: Vec::new(),
            meaning,
        };
        let mut warnings = Vec::new();
        let mut done = 0;
        self.write_paths(&kept, meaning)?;
        for step in at.iter().copied().chain([blocks]) {
            let gaps = over_gaps && kept.len() < backbone.tokens();
            let played = self.plan.blocks(done..step, kept.len(), gaps);
            self.player.play(&played)?;
            rows.extend(std::iter::repeat_n(kept.len(), step - done));
            if let (Some(pruned), true) = (pruned, step < blocks) {
                let place = Place {
                    block: step,
                    rows: &kept,
                    alive: &alive,
                    gaps,
                };
                let (chosen, said) = self.choose(pruned, place).await?;
                warnings.extend(said);
                self.drop_tokens(&kept, &chosen, meaning)?;
                if meaning.mode != DropMode::Mask {
                    kept.clone_from(&chosen);
                }
                alive.clone_from(&chosen);
                steps.kept.push((step, chosen));
                self.write_paths(&kept, meaning)?;
            }
            done = step;
        }
        let logits = self.finish(&kept).await?;
        let dense = vec![backbone.tokens(); blocks];
        Ok(Reading {
            logits,
            steps,
            operations: backbone.operations(&rows),
            dense_operations: backbone.operations(&dense),
            rows,
            warnings,
        })
    }

    /// Reads a picture as far as a block, drops all tokens but `kept` at its input if there are some
    /// named, and looks at the scans of this block. The score is that of all tokens at its input.
    ///
    /// # Errors
    /// A sentence if there is no such block, or what the score or the player says.
    pub async fn look(
        &mut self,
        image: &Grey,
        block: usize,
        kept: Option<&[usize]>,
        scored: Option<(&dyn Score, usize, u64, Meaning)>,
    ) -> Result<Look, String> {
        let backbone = self.backbone.clone();
        let all: Vec<usize> = (0..backbone.tokens()).collect();
        if block == 0 || block >= backbone.blocks.len() {
            return Err(format!(
                "block {block} cannot be looked at: choose one from 1 to {}",
                backbone.blocks.len().saturating_sub(1)
            ));
        }
        let meaning = Meaning::default();
        self.player.reset()?;
        self.player
            .write(self.plan.patches, 0, &backbone.patches(image))?;
        self.player.play(&self.plan.start(all.len()))?;
        self.write_paths(&all, meaning)?;
        self.player
            .play(&self.plan.blocks(0..block, all.len(), false))?;
        let mut scores = Vec::new();
        if let Some((score, keep, seed, meaning)) = scored {
            let place = Place {
                block,
                rows: &all,
                alive: &all,
                gaps: false,
            };
            scores = self.scores(score, &place, keep, seed, meaning).await?;
        }
        let rows = kept.unwrap_or(&all);
        if kept.is_some() {
            self.drop_tokens(&all, rows, meaning)?;
            self.write_paths(rows, meaning)?;
        }
        self.player
            .play(&self.plan.blocks(block..block + 1, rows.len(), false))?;
        let wanted = Wanted {
            stream: self.plan.stream,
            gaps: 0,
            scan: true,
        };
        let taps = &self.plan.blocks[block];
        let arrays = Arrays::read(&mut self.player, taps, wanted, rows.len()).await?;
        let read = backbone.paths(rows, meaning).read;
        let scans = arrays.orders.into_iter().zip(read);
        let scans = scans.map(|(order, read)| Scanned {
            tokens: read.iter().map(|&row| rows[row]).collect(),
            b: order.b,
            c: order.c,
            x: order.x,
            steps: order.steps,
        });
        Ok(Look {
            scores,
            scans: scans.collect(),
        })
    }

    /// The head on what the last block has left.
    async fn finish(&mut self, kept: &[usize]) -> Result<Vec<f32>, String> {
        let classes = self.backbone.classes;
        let rows = match self.backbone.class_token {
            Some(at) => {
                let row = kept.iter().position(|&k| k == at);
                let row = row.ok_or("the class token has been dropped, which the head reads")?;
                self.player.write(self.plan.keep, 0, &[row as f32])?;
                1
            }
            None => kept.len(),
        };
        self.player.play(&self.plan.end(rows))?;
        let part = (self.plan.logits, 0..rows * classes);
        let read = self.player.read(&[part]).await?;
        // The head is linear: the mean of the logits is the logits of the mean.
        let sum = |class: usize| -> f64 {
            let column = read[0][class..].iter().step_by(classes);
            column.map(|&x| f64::from(x)).sum()
        };
        Ok((0..classes)
            .map(|c| (sum(c) / rows as f64) as f32)
            .collect())
    }

    /// Tells the passes in which orders the rows are read.
    fn write_paths(&mut self, kept: &[usize], meaning: Meaning) -> Result<(), String> {
        let paths = self.backbone.paths(kept, meaning);
        let values = |x: &[usize]| -> Vec<f32> { x.iter().map(|&x| x as f32).collect() };
        for (i, inputs) in self.plan.routes.iter().enumerate() {
            let read = &paths.read[i];
            let mut back = vec![0.0; read.len()];
            for (place, &row) in read.iter().enumerate() {
                back[row] = place as f32;
            }
            self.player.write(inputs.read, 0, &values(read))?;
            self.player.write(inputs.back, 0, &back)?;
            self.player.write(inputs.gaps, 0, &values(&paths.gaps[i]))?;
        }
        Ok(())
    }

    /// Takes the rows of the stream that stay.
    fn drop_tokens(
        &mut self,
        kept: &[usize],
        chosen: &[usize],
        meaning: Meaning,
    ) -> Result<(), String> {
        if meaning.mode == DropMode::Mask {
            let stays = |k: &usize| f32::from(u8::from(chosen.contains(k)));
            let mask: Vec<f32> = kept.iter().map(stays).collect();
            self.player.write(self.plan.mask, 0, &mask)?;
            return self.player.play(&self.plan.mask_rows(kept.len()));
        }
        let row = |p: &usize| kept.iter().position(|k| k == p);
        let rows: Vec<f32> = chosen.iter().filter_map(row).map(|r| r as f32).collect();
        self.player.write(self.plan.keep, 0, &rows)?;
        self.player.play(&self.plan.drop_rows(chosen.len()))
    }

    /// The positions that stay at a step, in the order of their rows.
    async fn choose(
        &mut self,
        pruned: &Pruned,
        place: Place<'_>,
    ) -> Result<(Vec<usize>, Vec<String>), String> {
        let class = self.backbone.class_token;
        let (mut chosen, warnings) = match &pruned.which {
            Which::Known(steps) => {
                let known = steps.iter().find(|(block, _)| *block == place.block);
                let chosen = known.map(|(_, chosen)| chosen.clone()).unwrap_or_default();
                if let Some(gone) = chosen.iter().find(|p| !place.alive.contains(p)) {
                    return Err(format!(
                        "block {} cannot keep position {gone}: it is not there any more",
                        place.block
                    ));
                }
                (chosen, Vec::new())
            }
            Which::Scored {
                score,
                schedule,
                seed,
            } => {
                let step = schedule.steps().iter().find(|s| s.layer == place.block);
                let keep = match step {
                    Some(step) => step.keep.count(place.alive.len())?,
                    None => place.alive.len(),
                };
                let scores = self
                    .scores(*score, &place, keep, *seed, pruned.meaning)
                    .await?;
                let candidates: Vec<usize> = (0..place.rows.len())
                    .filter(|&row| place.alive.contains(&place.rows[row]))
                    .collect();
                let of_class = |&row: &usize| Some(place.rows[row]) == class;
                let protect = Protect {
                    positions: candidates.iter().copied().filter(of_class).collect(),
                    ..Protect::default()
                };
                let selection = select(&scores, &candidates, keep, &protect);
                (compose(place.rows, &selection.kept), selection.warnings)
            }
        };
        if chosen.is_empty() {
            return Err(format!(
                "block {} would keep no token, so that there is nothing to read a class from: keep one or more",
                place.block
            ));
        }
        chosen.sort_unstable();
        if let (true, Some(class)) = (pruned.meaning.as_released, class) {
            chosen.retain(|&p| p != class);
            chosen.insert(chosen.len() / 2, class);
        }
        Ok((chosen, warnings))
    }

    /// One number for each row: the mean over the orders of what the score says of each. Every score
    /// that reads what the mixer gives reads what its last projection is given where there is one,
    /// as here.
    async fn scores(
        &mut self,
        score: &dyn Score,
        place: &Place<'_>,
        keep: usize,
        seed: u64,
        meaning: Meaning,
    ) -> Result<Vec<f32>, String> {
        if draft::is_asked(score) {
            return Err(format!(
                "the score '{}' asks a draft model, which reads texts: choose another one for an image",
                score.id()
            ));
        }
        let backbone = self.backbone.clone();
        let t = place.rows.len();
        let taps = &self.plan.blocks[place.block - 1];
        let orders = match meaning.as_released {
            // The released code scores by the last order alone.
            true => vec![backbone.orders.len() - 1],
            false => (0..backbone.orders.len()).collect(),
        };
        let paths = backbone.paths(place.rows, meaning);
        let wanted = Wanted {
            stream: self.plan.stream,
            gaps: usize::from(place.gaps),
            scan: score.needs().iter().any(|n| OF_THE_SCAN.contains(n)),
        };
        let arrays = Arrays::read(&mut self.player, taps, wanted, t).await?;
        let mut sum = vec![0.0f32; t];
        for &order in &orders {
            let read = &paths.read[order];
            let ordered = |x: &[f32]| -> Vec<f32> {
                let width = x.len() / t;
                let rows = read.iter().flat_map(|&row| &x[row * width..][..width]);
                rows.copied().collect()
            };
            let route = &backbone.blocks[place.block - 1].routes[order];
            let of_order = &arrays.orders[order];
            let y = ordered(if meaning.as_released {
                &of_order.y
            } else {
                &arrays.y
            });
            let seen = Seen {
                tokens: t,
                keep,
                width: backbone.width,
                heads: route.channels,
                key: route.states,
                value: 1,
                stream: &ordered(&arrays.stream),
                u: &ordered(&arrays.u),
                q: &of_order.c,
                k: &of_order.b,
                v: &of_order.x,
                log_decay: LogDecay::Rates {
                    steps: &of_order.decay_steps,
                    rates: &route.a,
                    shift: 0.0,
                },
                write_scale: Some(&of_order.steps),
                steps: Some(&of_order.steps),
                scale: 1.0,
                y: Some(&y),
                seed,
                ..Seen::default()
            };
            for (at, s) in score.score(&seen)?.iter().enumerate() {
                // The released code takes the i-th number of the last order for token i.
                let row = if meaning.as_released { at } else { read[at] };
                sum[row] += s / orders.len() as f32;
            }
        }
        Ok(sum)
    }
}

/// Where a step stands.
struct Place<'a> {
    block: usize,
    /// The position of each row.
    rows: &'a [usize],
    /// The positions that have not been dropped: fewer than rows where dropped ones are masked.
    alive: &'a [usize],
    /// Whether the block before went over gaps.
    gaps: bool,
}

/// The blocks before which tokens are dropped.
fn drop_layers(pruned: Option<&Pruned>, blocks: usize) -> Result<Vec<usize>, String> {
    let at: Vec<usize> = match pruned.map(|p| &p.which) {
        None => Vec::new(),
        Some(Which::Known(steps)) => steps.iter().map(|(block, _)| *block).collect(),
        Some(Which::Scored { schedule, .. }) => {
            let at: Vec<usize> = schedule.steps().iter().map(|s| s.layer).collect();
            if at.first() == Some(&0) {
                return Err(
                    "a score sees what the block before has computed, and there is none before block 0: prune at block 1 or later".to_owned(),
                );
            }
            at
        }
    };
    if let Some(block) = at.iter().find(|block| **block >= blocks) {
        return Err(format!(
            "there is no block {block} to prune at: the model has blocks 0 to {}",
            blocks.saturating_sub(1)
        ));
    }
    if at.windows(2).any(|pair| pair[0] >= pair[1]) {
        return Err("the blocks to prune at are not in order: name each once".to_owned());
    }
    Ok(at)
}

/// The fields of [`Seen`] for which the inputs of the scans must be read.
const OF_THE_SCAN: [&str; 6] = ["q", "k", "v", "log_decay", "write_scale", "steps"];

/// Which arrays of a block are read.
struct Wanted {
    stream: Columns,
    /// Of the passes without or with gaps.
    gaps: usize,
    /// Whether the inputs of the scans are among them.
    scan: bool,
}

/// What a block has computed.
struct Arrays {
    /// `[T, D]`, behind the block.
    stream: Vec<f32>,
    /// `[T, D]`.
    u: Vec<f32>,
    /// `[T, E]`.
    y: Vec<f32>,
    orders: Vec<OrderArrays>,
}

/// What one order of it has computed, in this order but for y.
struct OrderArrays {
    b: Vec<f32>,
    c: Vec<f32>,
    x: Vec<f32>,
    steps: Vec<f32>,
    decay_steps: Vec<f32>,
    y: Vec<f32>,
}

impl Arrays {
    async fn read<P: Player>(
        player: &mut P,
        taps: &BlockTaps,
        Wanted { stream, gaps, scan }: Wanted,
        t: usize,
    ) -> Result<Arrays, String> {
        let mut wanted = vec![stream, taps.u[gaps], taps.y[gaps]];
        for route in &taps.routes[gaps] {
            wanted.push(route.y);
            if !scan {
                continue;
            }
            let (Decay::Rates(decay_steps, ..), Some(steps)) =
                (&route.taps.decay, route.taps.write_scale)
            else {
                return Err("an order of this backbone is not S6".to_owned());
            };
            wanted.extend([route.taps.k, route.taps.q, route.x, steps, *decay_steps]);
        }
        let parts: Vec<_> = wanted.iter().map(|c| (c.buffer, 0..t * c.stride)).collect();
        let read = player.read(&parts).await?;
        let mut read = wanted.iter().zip(read).map(|(c, rows)| {
            let rows = rows.chunks_exact(c.stride);
            rows.flat_map(|row| row[c.offset..][..c.width].to_vec())
                .collect::<Vec<f32>>()
        });
        let mut next = || read.next().unwrap_or_default();
        let [stream, u, y] = [next(), next(), next()];
        let orders = taps.routes[gaps].iter().map(|_| {
            let y = next();
            let mut of_scan = || if scan { next() } else { Vec::new() };
            OrderArrays {
                y,
                b: of_scan(),
                c: of_scan(),
                x: of_scan(),
                steps: of_scan(),
                decay_steps: of_scan(),
            }
        });
        Ok(Arrays {
            orders: orders.collect(),
            stream,
            u,
            y,
        })
    }
}
