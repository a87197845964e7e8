//! Every exhibit of the registry, on the CPU.

mod family;
mod suite;
mod words;

use std::time::Instant;

use linearium::lab::Host;
use linearium::player::CpuPlayer;
use linearium::recording::Layout;

/// A host whose clock stands still, so that two runs give the same to the last digit, or goes, for
/// claims about times.
#[derive(Clone, Copy)]
struct Cpu {
    since: Option<Instant>,
}

const STILL: Cpu = Cpu { since: None };

impl Host for Cpu {
    type Player = CpuPlayer;
    async fn player(&self, gpu: bool, layout: Layout) -> Result<CpuPlayer, String> {
        assert!(!gpu, "no GPU was said to be ready");
        Ok(CpuPlayer::new(&layout))
    }
    fn segment_tokens(&self, _gpu: bool) -> usize {
        256
    }
    fn now_ms(&self) -> f64 {
        self.since.map_or(0.0, |s| s.elapsed().as_secs_f64() * 1e3)
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
    suite::a_run_shows_what_is_declared(|| STILL);
}

#[test]
fn controls_act_or_say_why_not() {
    suite::controls_act_or_say_why_not(|| STILL);
}

#[test]
fn claims_hold_or_say_why_not() {
    let since = Some(Instant::now());
    suite::claims_hold_or_say_why_not(|| Cpu { since }, false);
}

#[test]
fn tours_can_be_walked() {
    suite::tours_can_be_walked(|| STILL);
}

#[test]
fn a_run_that_is_not_wanted_any_more_ends() {
    suite::a_run_that_is_not_wanted_any_more_ends();
}

#[test]
fn what_is_not_there_is_said_in_a_sentence() {
    suite::what_is_not_there_is_said_in_a_sentence(|| STILL);
}

#[test]
fn words_name_every_control_and_symbol() {
    words::words_name_every_control_and_symbol();
}

#[test]
fn the_family_loses_what_transformers_says() {
    family::the_family_loses_what_transformers_says();
}

#[test]
fn the_family_recalls_what_its_table_says() {
    family::the_family_recalls_what_its_table_says();
}

#[test]
fn recall_models_lose_what_the_rule_says() {
    family::recall_models_lose_what_the_rule_says();
}
