//! Kernels and mixers against official code, as golden files recorded it.

mod golden;
mod layers;
mod scans;

use linearium::player::CpuPlayer;

/// f32 through one layer against f64: projections, a scan of some 40 tokens and a norm.
#[test]
fn layers_give_what_official_layers_give() {
    layers::check(|layout| CpuPlayer::new(&layout), 1e-5);
}

/// f64 against f64: what differs is the order of sums.
#[test]
fn definitions_give_what_official_layers_give() {
    for mut layer in layers::all() {
        let got = layer.defined();
        let ratio = layers::rms_ratio(&got, &layer.out);
        assert!(ratio <= layer.exact_to, "{}: {ratio:.2e}", layer.name);
    }
}
