//! Every mixer of the registry against its definition, on the GPU.

#[path = "../../linearium/tests/conformance/suite.rs"]
mod suite;

use std::rc::Rc;

use linearium::model::session::{Options, Session};
use linearium::model::stack::Stack;
use linearium_gpu::{Gpu, GpuPlayer};
use pollster::block_on;

/// As on the CPU, with sums in another order and chunks; the issue of these mixers asks for 5e-5.
const TOLERANCE: f64 = 2e-5;

fn open(gpu: &Gpu) -> impl Fn(&Rc<Stack>, &Options, usize) -> Session<GpuPlayer> {
    move |stack, options, segment| {
        block_on(Session::new(
            stack.clone(),
            options,
            segment,
            |layout| async move { GpuPlayer::new(gpu, &layout).await },
        ))
        .unwrap()
    }
}

fn gpu() -> Gpu {
    block_on(Gpu::new()).expect("a test machine has a Vulkan adapter")
}

/// Around the edges of a chunk; the CPU's test cuts everywhere.
const CUTS: [usize; 4] = [1, 63, 64, 65];

#[test]
fn recordings_equal_their_definitions() {
    suite::recordings_equal_definitions(open(&gpu()), &CUTS, TOLERANCE);
}

#[test]
fn every_length_is_read() {
    suite::every_length_is_read(open(&gpu()), TOLERANCE);
}

#[test]
fn nothing_reaches_back() {
    suite::nothing_reaches_back(open(&gpu()));
}

#[test]
fn changes_act_or_are_ignored() {
    suite::changes_act_or_are_ignored(open(&gpu()));
}
