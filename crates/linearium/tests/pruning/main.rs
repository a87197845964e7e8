//! Dropping tokens, on the CPU.

mod reference;
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
