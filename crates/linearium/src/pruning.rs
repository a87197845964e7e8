//! Token pruning on recurrences, as choices that do not depend on each other: what is important (a
//! [`Score`]), how many tokens stay in which layer ([`Schedule`]), what dropping a token means to a
//! state ([`DropMode`]) and what the convolution before it sees ([`Neighbours`]).
//!
//! A layer drops tokens at its input. From there on they are out of the residual stream: later
//! layers, the head and the loss work on the kept ones, which keep their positions (rotary angles
//! are those of the whole text, gaps of successive prunings add up). What a later layer needs of a
//! dropped token, as a neighbour or for its true decay, comes from the stream as it was when the
//! token was dropped. Attention over kept tokens counts distances in kept tokens where it has learned
//! biases for them. The loss is that of the kept tokens which have a next one: of predicting the
//! token that truly comes next in the text, dropped or not.

pub mod agreement;
pub mod compare;
pub mod draft;
pub mod drop_mode;
#[cfg(test)]
mod example;
pub mod influence;
pub mod learned_mask;
pub mod levels;
pub mod look;
pub mod operations;
pub mod ranking;
pub mod schedule;
pub mod scores;
pub mod seen;
pub mod selection;
pub mod timing;

pub use drop_mode::{DropMode, Neighbours};
pub use schedule::{Keep, Schedule};
pub use seen::{LogDecay, Score, Seen, When};
pub use selection::{Protect, Selection, select};

/// Which tokens a run drops where, and what that means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pruning {
    /// What dropping means to a state.
    pub mode: DropMode,
    /// What a convolution sees.
    pub neighbours: Neighbours,
    /// Tokens of the text, T.
    tokens: usize,
    /// Layer and the positions that it keeps, in order.
    steps: Vec<(usize, Vec<usize>)>,
}

impl Pruning {
    /// Checks that layers and positions are in order, that positions are below `tokens`, and that a
    /// later step keeps only what an earlier one has left.
    ///
    /// # Errors
    /// A sentence if they are not.
    pub fn new(
        mode: DropMode,
        neighbours: Neighbours,
        tokens: usize,
        steps: Vec<(usize, Vec<usize>)>,
    ) -> Result<Pruning, String> {
        let mut before: Option<&(usize, Vec<usize>)> = None;
        for step in &steps {
            let (layer, kept) = step;
            if kept.windows(2).any(|pair| pair[0] >= pair[1]) {
                return Err(format!(
                    "the kept positions of layer {layer} are not in order: sort them, each once"
                ));
            }
            if let Some(last) = kept.last().filter(|last| **last >= tokens) {
                return Err(format!(
                    "layer {layer} cannot keep position {last} of {tokens} tokens"
                ));
            }
            if let Some((earlier, left)) = before {
                if earlier >= layer {
                    return Err(format!(
                        "pruning at layer {layer} cannot follow pruning at layer {earlier}: name each layer once, in order"
                    ));
                }
                if let Some(gone) = kept.iter().find(|k| left.binary_search(k).is_err()) {
                    return Err(format!(
                        "layer {layer} cannot keep position {gone}: layer {earlier} has dropped it"
                    ));
                }
            }
            before = Some(step);
        }
        Ok(Pruning {
            mode,
            neighbours,
            tokens,
            steps,
        })
    }

    /// Tokens of the text, T.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// Each layer that drops tokens, and the positions that it keeps.
    pub fn steps(&self) -> &[(usize, Vec<usize>)] {
        &self.steps
    }

    /// The positions that reach the head.
    pub fn kept(&self) -> Vec<usize> {
        let last = self.steps.last();
        last.map_or_else(|| (0..self.tokens).collect(), |(_, kept)| kept.clone())
    }

    /// The same tokens dropped, with another meaning.
    pub fn meaning(&self, mode: DropMode, neighbours: Neighbours) -> Pruning {
        Pruning {
            mode,
            neighbours,
            ..self.clone()
        }
    }
}
