//! Kernels and mixers against official code, as golden files recorded it.

mod fp8;
mod golden;
mod grid;
mod layers;
mod scans;

use golden::Golden;
use linearium::mixers::Size;
use linearium::mixers::linear_attention::{LinearAttention, Options};
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

/// What cannot be loaded is refused in a sentence that says what is wrong.
#[test]
fn loaders_refuse_what_does_not_fit() {
    let size = Size {
        width: 24,
        heads: 2,
        key: 8,
        value: 12,
    };
    let error = |options: &Options| {
        let mut golden = Golden::open("linear_attention", 0);
        LinearAttention::load(&mut golden.weights(), &size, options).unwrap_err()
    };
    let good = Options {
        groups: 2,
        feature_map: "elu",
        tied: false,
        sum_norms: [false; 2],
        normalised: true,
        output_norm: true,
        eps: 1e-5,
    };
    let groups = error(&Options {
        groups: 3,
        ..good.clone()
    });
    assert!(groups.contains("3 heads of keys"), "{groups}");
    let map = error(&Options {
        feature_map: "dpfp",
        ..good.clone()
    });
    assert!(map.contains("`dpfp` is not known"), "{map}");
    let missing = error(&Options {
        feature_map: "t2r",
        ..good
    });
    assert!(missing.contains("feature_map_q.layer.weight"), "{missing}");
}

/// f32 through one layer against f64, as above.
#[test]
fn grids_give_what_official_code_gives() {
    grid::check(|layout| CpuPlayer::new(&layout), 1e-5);
}
