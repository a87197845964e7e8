//! Layers on the outer-product scan.

use linearium::mixers::gsa::{self, Gsa};
use linearium::mixers::hgrn2::Hgrn2;
use linearium::mixers::linear_attention::{self, LinearAttention};
use linearium::mixers::rwkv6::Rwkv6;
use linearium::mixers::{Mixer, Size};

use super::Layer;
use super::delta::layer;
use crate::golden::Golden;

const SIZE: Size = Size {
    width: 24,
    heads: 2,
    key: 8,
    value: 12,
};

fn boxed<M: Mixer + 'static>(mixer: M) -> Box<dyn Mixer> {
    Box::new(mixer)
}

/// All of them.
pub fn layers() -> Vec<Layer> {
    let mut all = Vec::new();
    let plain = linear_attention::Options {
        groups: 2,
        feature_map: "elu",
        tied: false,
        sum_norms: [false, false],
        normalised: false,
        output_norm: true,
        eps: 1e-5,
    };
    let linear = [
        linear_attention::Options {
            normalised: true,
            ..plain.clone()
        },
        linear_attention::Options {
            feature_map: "relu",
            output_norm: false,
            ..plain.clone()
        },
        linear_attention::Options {
            feature_map: "identity",
            groups: 1,
            ..plain.clone()
        },
        linear_attention::Options {
            feature_map: "elementwise_product",
            sum_norms: [true, false],
            ..plain.clone()
        },
        linear_attention::Options {
            feature_map: "hedgehog",
            normalised: true,
            ..plain.clone()
        },
        linear_attention::Options {
            feature_map: "t2r",
            tied: true,
            sum_norms: [false, true],
            ..plain
        },
    ];
    let half = Size {
        width: 12,
        heads: 2,
        key: 4,
        value: 6,
    };
    for (case, options) in linear.iter().enumerate() {
        let size = if case < 4 { SIZE } else { half };
        all.push(layer("linear_attention", case, |golden| {
            LinearAttention::load(&mut golden.weights(), &size, options).map(boxed)
        }));
    }
    let size = Size {
        heads: 3,
        value: 8,
        ..SIZE
    };
    for (case, conv) in [None, None, Some((4, true))].into_iter().enumerate() {
        all.push(layer("hgrn2", case, |golden| {
            let bound = (case == 1).then(|| golden.input("lower_bound").into());
            Hgrn2::load(&mut golden.weights(), &size, conv, bound, 1e-5).map(boxed)
        }));
    }
    all.push(layer("rwkv6", 0, |golden| {
        Rwkv6::load(&mut golden.weights(), &SIZE, [4, 6], 1e-5).map(boxed)
    }));
    let plain = gsa::Options {
        slots: 6,
        groups: 2,
        conv: None,
        normaliser: 8.0,
        eps: 1e-5,
    };
    let shared = gsa::Options {
        groups: 1,
        conv: Some((4, false)),
        ..plain
    };
    for (case, options) in [plain, shared].iter().enumerate() {
        let layer = layer("gsa", case, |golden| {
            Gsa::load(&mut golden.weights(), &SIZE, options).map(boxed)
        });
        // The state of the hidden attention is that of the values.
        all.push(Layer {
            state: Golden::open("gsa", case).exact("second_state"),
            ..layer
        });
    }
    all
}
