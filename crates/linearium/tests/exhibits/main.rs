//! Every exhibit of the registry, on the CPU.

mod suite;
mod words;

use linearium::lab::Host;
use linearium::player::CpuPlayer;
use linearium::recording::Layout;

/// A host whose clock stands still, so that two runs give the same to the last digit.
struct Still;

impl Host for Still {
    type Player = CpuPlayer;
    async fn player(&self, gpu: bool, layout: Layout) -> Result<CpuPlayer, String> {
        assert!(!gpu, "no GPU was said to be ready");
        Ok(CpuPlayer::new(&layout))
    }
    fn segment_tokens(&self, _gpu: bool) -> usize {
        256
    }
    fn now_ms(&self) -> f64 {
        0.0
    }
    fn self_check(&self) -> String {
        String::new()
    }
}

#[test]
fn declarations_fit_together() {
    suite::declarations_fit_together();
}

#[test]
fn a_run_shows_what_is_declared() {
    suite::a_run_shows_what_is_declared(|| Still);
}

#[test]
fn controls_act_or_say_why_not() {
    suite::controls_act_or_say_why_not(|| Still);
}

#[test]
fn claims_hold_or_say_why_not() {
    suite::claims_hold_or_say_why_not(|| Still, false);
}

#[test]
fn tours_can_be_walked() {
    suite::tours_can_be_walked(|| Still);
}

#[test]
fn a_run_that_is_not_wanted_any_more_ends() {
    suite::a_run_that_is_not_wanted_any_more_ends();
}

#[test]
fn what_is_not_there_is_said_in_a_sentence() {
    suite::what_is_not_there_is_said_in_a_sentence(|| Still);
}

#[test]
fn words_name_every_control_and_symbol() {
    words::words_name_every_control_and_symbol();
}
