//! A pruned run beside the unpruned one: loss, and the error in parts that add up.
//!
//! The error is that of the logits of kept tokens, as root mean squares over those of the unpruned
//! run. Between the unpruned run and the pruned one stand two others that drop the same tokens:
//!
//! - decay-true with original neighbours: what it lacks is what the dropped tokens wrote, the **lost
//!   content**;
//! - decay-true with the neighbours of the pruned run: what it changes further comes from the
//!   convolution, **moved neighbours**;
//! - the pruned run itself: what it changes further comes from how gaps count, **shifted decay**.
//!
//! The three differences add up to the error, vector by vector; their sizes need not, since they
//! may cancel.

use serde::Serialize;

use super::operations::Operations;
use super::{DropMode, Neighbours, Pruning};
use crate::model::session::{Options, Session};
use crate::player::Player;

/// Root-mean-square errors of the logits of kept tokens over the logits of the unpruned run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Split {
    /// Decay-true with original neighbours, less the unpruned run.
    pub lost_content: f64,
    /// Decay-true with the run's neighbours, less decay-true with original ones.
    pub moved_neighbours: f64,
    /// The run, less decay-true with its neighbours.
    pub shifted_decay: f64,
}

/// What pruning did.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Comparison {
    /// The kept tokens.
    pub positions: Vec<usize>,
    /// Loss in nats of each kept token that has a next one, without pruning.
    pub losses_before: Vec<f32>,
    /// The same with pruning.
    pub losses_after: Vec<f32>,
    /// How many of them were guessed right without pruning (the most likely token is the true one).
    pub guessed_before: usize,
    /// The same with pruning.
    pub guessed_after: usize,
    /// For each of these losses whether it was guessed right, without pruning and with it.
    #[serde(skip)]
    pub right: [Vec<bool>; 2],
    /// Root-mean-square error of the logits of kept tokens; none if no token is kept.
    pub error: Option<f64>,
    /// Its parts; none if no token is kept, or if decay-true means nothing to the model.
    pub split: Option<Split>,
    /// What a person should know, in sentences: why there are no parts, or where a layer does
    /// something else about gaps than the mode says.
    pub notes: Vec<String>,
    /// Multiply-adds without pruning.
    pub operations_before: Operations,
    /// Multiply-adds with pruning.
    pub operations_after: Operations,
}

impl Comparison {
    /// How many kept tokens from this position on were guessed right, without pruning and with it.
    pub fn right_from(&self, from: usize) -> [usize; 2] {
        self.right.each_ref().map(|right| {
            let places = self.positions.iter().zip(right);
            places.filter(|(p, right)| **right && **p >= from).count()
        })
    }
}

/// A run and what it says of the kept tokens of a segment.
struct Side<P> {
    session: Session<P>,
    operations: Operations,
    logits: Vec<f32>,
    losses: Vec<f32>,
    guesses: Vec<u32>,
}

impl<P: Player> Side<P> {
    async fn feed(
        &mut self,
        tokens: &[u32],
        next: Option<u32>,
        kept: &[bool],
    ) -> Result<(), String> {
        let from = self.session.position();
        let recording = self.session.prepare(tokens, next)?;
        self.operations = self.operations.plus(Operations::of(&recording));
        self.session.player.play(&recording)?;
        self.session.passed(tokens.len());
        let rows = self.session.last_rows(from, tokens.len());
        let (vocab, plan) = (self.session.plan.vocab, &self.session.plan);
        let parts = [
            (plan.logits, 0..rows.len() * vocab),
            (plan.losses, 0..2 * rows.len()),
        ];
        let read = self.session.player.read(&parts).await?;
        self.logits.clear();
        self.losses.clear();
        self.guesses.clear();
        for (n, (token, _)) in rows.into_iter().enumerate() {
            if kept[token] {
                self.logits.extend(&read[0][n * vocab..][..vocab]);
                self.losses.push(read[1][2 * n]);
                self.guesses.push(read[1][2 * n + 1] as u32);
            }
        }
        Ok(())
    }
}

fn square_difference(a: &[f32], b: &[f32]) -> f64 {
    let pairs = a.iter().zip(b);
    pairs.map(|(a, b)| f64::from(a - b).powi(2)).sum()
}

/// Runs a text without pruning, with it, and with what stands between, side by side.
///
/// # Errors
/// The sentence of a session or the player.
pub async fn compare<P: Player>(
    open: &impl AsyncFn(Options) -> Result<Session<P>, String>,
    tokens: &[u32],
    pruning: &Pruning,
) -> Result<Comparison, String> {
    let whole = Options {
        capacity: tokens.len(),
        ..Options::default()
    };
    let with = |mode, neighbours| Options {
        pruning: Some(pruning.meaning(mode, neighbours)),
        ..whole.clone()
    };
    let side = async |options: Options| -> Result<Side<P>, String> {
        Ok(Side {
            session: open(options).await?,
            operations: Operations::default(),
            logits: Vec::new(),
            losses: Vec::new(),
            guesses: Vec::new(),
        })
    };
    let mut out = Comparison {
        positions: pruning.kept(),
        ..Comparison::default()
    };
    let mut sides = vec![
        side(whole.clone()).await?,
        side(with(pruning.mode, pruning.neighbours)).await?,
    ];
    let rows = sides[1].session.plan.pruned.as_ref();
    for note in rows.map_or(&[][..], |rows| &rows.notes) {
        out.notes
            .push(format!("layer {} {}", note.layer, note.sentence));
    }
    // Where in `sides` each stands; the run itself may be one of them.
    let mut between = Vec::new();
    for neighbours in [Neighbours::Original, pruning.neighbours] {
        if (pruning.mode, pruning.neighbours) == (DropMode::DecayTrue, neighbours) {
            between.push(1);
        } else if neighbours == Neighbours::Original && between.len() == 1 {
            between.push(between[0]);
        } else {
            match side(with(DropMode::DecayTrue, neighbours)).await {
                Ok(side) => {
                    between.push(sides.len());
                    sides.push(side);
                }
                Err(why) => {
                    out.notes
                        .push(format!("the error has no parts, because {why}"));
                    break;
                }
            }
        }
    }
    let mut is_kept = vec![false; tokens.len()];
    out.positions.iter().for_each(|p| is_kept[*p] = true);
    let (mut size, mut error, mut parts) = (0.0, 0.0, [0.0; 3]);
    let mut done = 0;
    while done < tokens.len() {
        let left = tokens.len() - done;
        let wanted = sides.iter().map(|side| side.session.next_segment(left));
        let t = wanted.min().unwrap_or(left);
        let next = tokens.get(done + t).copied();
        for side in &mut sides {
            let (tokens, kept) = (&tokens[done..done + t], &is_kept[done..done + t]);
            side.feed(tokens, next, kept).await?;
        }
        let logits = |n: usize| sides[n].logits.as_slice();
        size += logits(0).iter().map(|x| f64::from(*x).powi(2)).sum::<f64>();
        error += square_difference(logits(1), logits(0));
        if let [original, own] = between[..] {
            for (part, [a, b]) in parts
                .iter_mut()
                .zip([[original, 0], [own, original], [1, own]])
            {
                *part += square_difference(logits(a), logits(b));
            }
        }
        // The last token of the text has no next one.
        let here = (done..done + t).filter(|p| is_kept[*p]);
        let truth: Vec<u32> = here.filter_map(|p| tokens.get(p + 1).copied()).collect();
        let [before, after] = &mut out.right;
        for (side, (losses, guessed, right)) in sides.iter().zip([
            (&mut out.losses_before, &mut out.guessed_before, before),
            (&mut out.losses_after, &mut out.guessed_after, after),
        ]) {
            losses.extend(&side.losses[..truth.len()]);
            let here = side.guesses.iter().zip(&truth).map(|(a, b)| a == b);
            let from = right.len();
            right.extend(here);
            *guessed += right[from..].iter().filter(|right| **right).count();
        }
        done += t;
    }
    let ratio = |x: f64| (x / size).sqrt();
    if size > 0.0 {
        out.error = Some(ratio(error));
        if between.len() == 2 {
            out.split = Some(Split {
                lost_content: ratio(parts[0]),
                moved_neighbours: ratio(parts[1]),
                shifted_decay: ratio(parts[2]),
            });
        }
    }
    out.operations_before = sides[0].operations;
    out.operations_after = sides[1].operations;
    Ok(out)
}
