//! Pictures, their orders, and the image classifiers on the CPU.

mod bad_input;
mod orders;
mod pixels;
mod suite;

use linearium::player::CpuPlayer;
use linearium::recording::Layout;

async fn open(layout: Layout) -> Result<CpuPlayer, String> {
    Ok(CpuPlayer::new(&layout))
}

#[test]
fn classifiers_answer_as_in_pytorch() {
    suite::classifiers_answer_as_in_pytorch(open);
}

#[test]
fn a_run_is_its_definition() {
    suite::a_run_is_its_definition(open);
}

#[test]
fn the_test_set_is_classified_as_in_pytorch() {
    suite::the_test_set_is_classified_as_in_pytorch(open, 1);
}
