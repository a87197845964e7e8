//! Dropping tokens, on the CPU.

mod bad_input;
mod crossover;
mod facts;
mod reference;
mod study;
mod suite;

use std::rc::Rc;

use linearium::model::session::{Options, Session};
use linearium::model::stack::Stack;
use linearium::player::CpuPlayer;
use pollster::block_on;

fn open(
    stack: &Rc<Stack>,
    options: &Options,
    segment: usize,
) -> Result<Session<CpuPlayer>, String> {
    block_on(Session::new(
        stack.clone(),
        options,
        segment,
        |layout| async move { Ok(CpuPlayer::new(&layout)) },
    ))
}

#[test]
fn modes_are_what_they_say() {
    suite::modes_are_what_they_say(open, &[suite::T, 1, 7]);
}

#[test]
fn facts_hold() {
    facts::facts_hold(open);
}

#[test]
fn crossover() {
    crossover::crossover(open);
}

#[test]
fn the_ends_are_defined() {
    bad_input::the_ends_are_defined(&open);
}

#[test]
fn refusals_are_sentences() {
    bad_input::refusals_are_sentences(&open);
}

#[test]
fn losses_are_of_the_true_next_token() {
    bad_input::losses_are_of_the_true_next_token(&open);
}
