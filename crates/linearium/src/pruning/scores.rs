//! Scores: what is important. Each file is one, a pure function from the arrays of a layer of an
//! unpruned run to one number a token.

pub mod random;
pub mod stride;

use super::Score;

/// Every score, for commands, pages and tests.
pub static ALL: &[&dyn Score] = &[&random::Uniform, &stride::Stride];

/// The score with this id.
///
/// # Errors
/// A sentence with the ids that there are.
pub fn by_id(id: &str) -> Result<&'static dyn Score, String> {
    let found = ALL.iter().find(|score| score.id() == id);
    found.copied().ok_or_else(|| {
        let ids: Vec<&str> = ALL.iter().map(|score| score.id()).collect();
        format!("there is no score '{id}': choose one of {}", ids.join(", "))
    })
}
