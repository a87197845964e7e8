//! Token pruning on recurrences, as choices that do not depend on each other: what is important (a
//! [`Score`]), how many tokens stay in which layer, and what dropping a token means.

pub mod scores;
pub mod seen;

pub use seen::{LogDecay, Score, Seen};
