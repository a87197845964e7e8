//! Dropping tokens, on the GPU.

#![cfg(feature = "zoo")]

#[path = "../../linearium/tests/pruning/crossover.rs"]
mod crossover;
#[path = "../../linearium/tests/pruning/facts.rs"]
mod facts;
#[path = "../../linearium/tests/pruning/reference.rs"]
mod reference;
#[path = "../../linearium/tests/pruning/suite.rs"]
mod suite;

use std::rc::Rc;

use linearium::model::session::{Options, Session};
use linearium::model::stack::Stack;
use linearium_gpu::{Gpu, GpuPlayer};
use pollster::block_on;

fn open(
    gpu: &Gpu,
    stack: &Rc<Stack>,
    options: &Options,
    segment: usize,
) -> Result<Session<GpuPlayer>, String> {
    block_on(Session::new(
        stack.clone(),
        options,
        segment,
        |layout| async move { GpuPlayer::new(gpu, &layout).await },
    ))
}

fn gpu() -> Gpu {
    block_on(Gpu::new()).expect("a test machine has a Vulkan adapter")
}

#[test]
fn modes_are_what_they_say() {
    let gpu = gpu();
    suite::modes_are_what_they_say(|s, o, t| open(&gpu, s, o, t), &[suite::T]);
}

#[test]
fn facts_hold() {
    let gpu = gpu();
    facts::facts_hold(|s, o, t| open(&gpu, s, o, t));
}

#[test]
fn crossover() {
    let gpu = gpu();
    crossover::crossover(|s, o, t| open(&gpu, s, o, t));
}
