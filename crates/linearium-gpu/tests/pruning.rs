//! Dropping tokens, on the GPU.

#![cfg(feature = "zoo")]

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
        |layout| gpu.player(layout),
    ))
}

#[test]
fn modes_are_what_they_say() {
    let gpu = block_on(Gpu::new()).expect("a test machine has a Vulkan adapter");
    suite::modes_are_what_they_say(|s, o, t| open(&gpu, s, o, t), &[suite::T]);
}
