//! Mixers on the GPU against official code, as golden files recorded it.

#[path = "../../linearium/tests/golden/golden.rs"]
mod golden;
#[path = "../../linearium/tests/golden/grid.rs"]
mod grid;
#[path = "../../linearium/tests/golden/layers.rs"]
mod layers;

use linearium_gpu::{Gpu, GpuPlayer};
use pollster::block_on;

/// As on the CPU, with sums in another order and chunks.
#[test]
fn layers_give_what_official_layers_give() {
    let gpu = block_on(Gpu::new()).expect("a test machine has a Vulkan adapter");
    layers::check(
        |layout| block_on(GpuPlayer::new(&gpu, &layout)).unwrap(),
        5e-5,
    );
}

/// The same for LightNet on grids.
#[test]
fn grids_give_what_official_code_gives() {
    let gpu = block_on(Gpu::new()).expect("a test machine has a Vulkan adapter");
    grid::check(
        |layout| block_on(GpuPlayer::new(&gpu, &layout)).unwrap(),
        5e-5,
    );
}
