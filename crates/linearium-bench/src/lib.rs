//! What the benchmarks time. One table of cases is read by the native program, by the wasm module
//! (exports in the `exports` module) and, through the files that the native program writes, by the
//! peers in `tests/peers`, so that all of them do the same work on the same numbers.

mod kernel_cases;
mod prefill;
mod pruned_scan;

#[cfg(target_arch = "wasm32")]
mod exports;

use fearless_simd::Level;

/// Something that can be timed: everything is prepared, [`Case::run`] does the work once.
pub trait Case {
    /// The inputs, for a peer that cannot make them itself.
    fn inputs(&self) -> Vec<Input<'_>>;
    /// What a correct run gives, computed in f64 from the formula; none where the peer is the
    /// reference.
    fn reference(&self) -> Option<Vec<f32>>;
    /// Does the work once, from the empty state.
    fn run(&mut self) -> Result<(), String>;
    /// The result of the last run.
    ///
    /// # Errors
    /// The sentence of a player that cannot be read.
    fn output(&mut self) -> Result<&[f32], String>;
}

/// An input by name.
pub struct Input<'a> {
    /// Name of the file that holds it.
    pub name: &'static str,
    /// Row-major values.
    pub values: &'a [f32],
}

/// A checkpoint and a text, for the cases that run a model.
pub struct Files {
    /// `config.json`.
    pub config: Vec<u8>,
    /// `model.safetensors`.
    pub weights: Vec<u8>,
    /// The text; its bytes are the tokens.
    pub text: Vec<u8>,
}

/// The cases, by name; the index is the number that the wasm module takes.
pub const NAMES: [&str; 7] = [
    "recurrence-scalar",
    "recurrence-per-key",
    "recurrence-elementwise",
    "projection",
    "prefill",
    "pruned-scan",
    "unpruned-scan",
];

/// Tokens of the prefill.
pub const PREFILL_TOKENS: usize = 4096;

/// Prepares a case.
///
/// # Errors
/// A sentence if there is no such case, or the files that it needs are not given or not right.
pub fn open(name: &str, level: Level, files: Option<Files>) -> Result<Box<dyn Case>, String> {
    match name {
        "recurrence-scalar" => Ok(kernel_cases::recurrence(level, false)),
        "recurrence-per-key" => Ok(kernel_cases::recurrence(level, true)),
        "recurrence-elementwise" => Ok(kernel_cases::elementwise(level)),
        "projection" => Ok(kernel_cases::projection(level)),
        "pruned-scan" => Ok(pruned_scan::PrunedScan::boxed(level, true)),
        "unpruned-scan" => Ok(pruned_scan::PrunedScan::boxed(level, false)),
        "prefill" => {
            let files = files.ok_or("the case `prefill` needs a model and a text")?;
            Ok(Box::new(prefill::Prefill::new(level, files)?))
        }
        _ => Err(format!(
            "there is no case `{name}`; there are {}",
            NAMES.join(", ")
        )),
    }
}
