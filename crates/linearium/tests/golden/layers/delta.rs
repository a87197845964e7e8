//! Layers of delta rules.

use linearium::delta_layer::{KeyActivation, KeyNorm, Options};
use linearium::mixers::delta_net::{self, DeltaNet};
use linearium::mixers::gated_delta_net::{self, GatedDeltaNet};
use linearium::mixers::{Mixer, Size};

use super::Layer;
use crate::golden::Golden;

/// f64 against f64, but for eps: 1e-5 as f32 is off by 2.5e-13, which shows behind a norm of
/// outputs whose mean square is some 1e-4.
const EXACT: f64 = 1e-8;

/// The layer of a case whose tensors have these names.
fn layer(
    id: &str,
    case: usize,
    load: impl FnOnce(&mut Golden) -> Result<Box<dyn Mixer>, String>,
) -> Layer {
    let mut golden = Golden::open(id, case);
    let mixer = load(&mut golden).unwrap();
    Layer {
        name: format!("{id} {case}"),
        mixer,
        u: golden.input("u"),
        t: golden.shape("u")[0],
        out: golden.exact("out"),
        state: golden.exact("state"),
        exact_to: EXACT,
    }
}

fn size(heads: usize) -> Size {
    Size {
        width: 24,
        heads,
        key: 8,
        value: 12,
    }
}

/// All of them.
pub fn layers() -> Vec<Layer> {
    let plain = delta_net::options(2);
    let delta = [
        plain,
        Options {
            gate: true,
            negative_eigenvalues: true,
            conv: Some((3, true)),
            ..plain
        },
        Options {
            conv: None,
            activation: KeyActivation::EluPlusOne,
            key_norm: KeyNorm::Sum,
            ..plain
        },
    ];
    let plain = gated_delta_net::options(2);
    let gated = [
        (2, plain),
        (
            3,
            Options {
                groups: 1,
                negative_eigenvalues: true,
                ..plain
            },
        ),
        (
            2,
            Options {
                gate: false,
                conv: Some((4, true)),
                ..plain
            },
        ),
    ];
    let delta = delta.into_iter().enumerate().map(|(case, options)| {
        layer("delta_net", case, |golden| {
            let mixer = DeltaNet::load(&mut golden.weights(), &size(2), options)?;
            Ok(Box::new(mixer))
        })
    });
    let gated = gated
        .into_iter()
        .enumerate()
        .map(|(case, (heads, options))| {
            layer("gated_delta_net", case, |golden| {
                let mixer = GatedDeltaNet::load(&mut golden.weights(), &size(heads), options)?;
                Ok(Box::new(mixer))
            })
        });
    delta.chain(gated).collect()
}
