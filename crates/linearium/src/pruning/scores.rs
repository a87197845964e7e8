//! Scores: what is important. Each file is one or a family of them, pure functions from the arrays
//! of a layer of an unpruned run to one number a token; the build puts every `impl Score` that is
//! in these files into [`ALL`].

pub mod activation;
pub mod gradient;
pub mod hidden_attention;
pub mod norm;
pub mod oracle;
pub mod random;
pub mod recency;
pub mod retained_mass;
pub mod step_size;
pub mod stride;

use super::Score;

include!(concat!(env!("OUT_DIR"), "/scores.rs"));

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
