//! Image classifiers on the GPU.

#[path = "../../linearium/tests/images/suite.rs"]
mod suite;

use linearium::recording::Layout;
use linearium_gpu::{Gpu, GpuPlayer};
use pollster::block_on;

fn opened() -> impl AsyncFn(Layout) -> Result<GpuPlayer, String> {
    let gpu = block_on(Gpu::new()).expect("a test machine has a Vulkan adapter");
    async move |layout| GpuPlayer::new(&gpu, &layout).await
}

#[test]
fn classifiers_answer_as_in_pytorch() {
    let open = opened();
    suite::classifiers_answer_as_in_pytorch(|layout| open(layout));
}

#[test]
fn a_run_is_its_definition() {
    let open = opened();
    suite::a_run_is_its_definition(|layout| open(layout));
}

/// A part of the test set: a software GPU is slow.
#[test]
fn the_test_set_is_classified_as_in_pytorch() {
    let open = opened();
    suite::the_test_set_is_classified_as_in_pytorch(|layout| open(layout), 8);
}
