//! Every mixer of the registry against its definition, on the CPU.

mod hidden_attention;
mod suite;

use std::path::Path;
use std::rc::Rc;

use linearium::mixers;
use linearium::model::session::{Options, Session};
use linearium::model::stack::Stack;
use linearium::player::CpuPlayer;
use pollster::block_on;

fn session(stack: &Rc<Stack>, options: &Options, segment: usize) -> Session<CpuPlayer> {
    block_on(Session::new(
        stack.clone(),
        options,
        segment,
        |layout| async move { Ok(CpuPlayer::new(&layout)) },
    ))
    .unwrap()
}

/// f32 through two layers against f64: rounding of 6e-8 an operation over sums of some hundred
/// terms, amplified by norms; some five times what is seen.
const TOLERANCE: f64 = 1e-5;

#[test]
fn recordings_equal_their_definitions() {
    let cuts: Vec<usize> = (1..70).collect();
    suite::recordings_equal_definitions(session, &cuts, TOLERANCE);
}

#[test]
fn every_length_is_read() {
    suite::every_length_is_read(session, TOLERANCE);
}

#[test]
fn nothing_reaches_back() {
    suite::nothing_reaches_back(session);
}

#[test]
fn changes_act_or_are_ignored() {
    suite::changes_act_or_are_ignored(session);
}

/// A mixer without a golden file would be proved by nobody else's code, and one without a glossary
/// by nobody understood.
#[test]
fn every_mixer_has_what_belongs_to_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    for d in mixers::ALL {
        let golden = root.join(format!("tests/golden/{}.safetensors", d.id));
        assert!(golden.is_file(), "{} is missing", golden.display());
        assert!(!d.name.is_empty() && d.glossary.len() > 1, "{}", d.id);
        let (_, label) = mixers::RANDOM_MODELS
            .iter()
            .find(|(id, _)| id.strip_prefix("random-") == Some(d.id))
            .unwrap_or_else(|| panic!("{} is not offered as a model", d.id));
        assert!(label.ends_with(d.name), "{label}");
    }
    assert_eq!(mixers::ALL.len(), mixers::RANDOM_MODELS.len());
}
