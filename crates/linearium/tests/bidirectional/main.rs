//! Layers of two directions on the CPU.

mod suite;

use linearium::player::CpuPlayer;

/// f32 through one layer against f64, as in the conformance suite.
#[test]
fn both_directions_are_the_mixer() {
    suite::both_directions_are_the_mixer(|layout| CpuPlayer::new(&layout), 1e-5);
}
