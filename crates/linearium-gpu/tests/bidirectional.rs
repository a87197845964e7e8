//! Layers of two directions on the GPU.

#[path = "../../linearium/tests/bidirectional/suite.rs"]
mod suite;

use linearium_gpu::{Gpu, GpuPlayer};
use pollster::block_on;

/// As on the CPU, with sums in another order and chunks.
#[test]
fn both_directions_are_the_mixer() {
    let gpu = block_on(Gpu::new()).expect("a test machine has a Vulkan adapter");
    let open = |layout| block_on(GpuPlayer::new(&gpu, &layout)).unwrap();
    suite::both_directions_are_the_mixer(open, 2e-5);
}
