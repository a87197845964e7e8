//! Layers of delta rules.

use linearium::mixers::delta_net::{self, DeltaNet};
use linearium::mixers::gated_delta_net::{self, GatedDeltaNet};
use linearium::mixers::rwkv7::{Ranks, Rwkv7};
use linearium::mixers::{
    Columns, Context, Definition, Mixer, Planner, Shape, Size, StepState, Taps, Weights,
};
use linearium::parts::delta_layer::{KeyActivation, KeyNorm, Options};

use super::Layer;
use crate::golden::Golden;

/// f64 against f64, but for eps: 1e-5 as f32 is off by 2.5e-13, which shows behind a norm of
/// outputs whose mean square is some 1e-4.
const EXACT: f64 = 1e-8;

/// The layer of a case whose tensors have these names.
pub fn layer(
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
    delta.chain(gated).chain(rwkv7()).collect()
}

fn rwkv7() -> impl Iterator<Item = Layer> {
    let size = Size {
        width: 24,
        heads: 2,
        key: 12,
        value: 12,
    };
    let ranks = Ranks {
        decay: 6,
        erase: 5,
        value: 4,
        gate: 8,
    };
    (0..2).map(move |case| {
        layer("rwkv7", case, |golden| {
            let first = case == 0;
            let mixer = Rwkv7::load(&mut golden.weights(), &size, &ranks, 1e-5, first)?;
            Ok(if first {
                Box::new(mixer)
            } else {
                Box::new(Later {
                    mixer,
                    first: golden.input("v_first").into(),
                })
            })
        })
    })
}

/// A layer behind a first one of which only the values are known.
struct Later {
    mixer: Rwkv7,
    /// `[T, HV]`.
    first: Weights,
}

impl Mixer for Later {
    fn definition(&self) -> &'static Definition {
        self.mixer.definition()
    }

    fn shape(&self) -> Shape {
        self.mixer.shape()
    }

    fn weights(&self) -> Vec<&Weights> {
        self.mixer.weights()
    }

    fn step(&self, state: &mut StepState, u: &[f64], context: &Context<'_>) -> Vec<f64> {
        let width = self.mixer.size.heads * self.mixer.size.value;
        let row = &self.first[state.position * width..][..width];
        state.position += 1;
        let row = row.iter().map(|&v| v.into()).collect();
        context.left.borrow_mut().insert("v_first", row);
        self.mixer.step(state, u, context)
    }

    fn plan(&self, p: &mut Planner) -> Taps {
        let width = self.mixer.size.heads * self.mixer.size.value;
        let rows = p.weight("v_first", &self.first);
        p.leave("v_first", Columns::all(rows, width));
        self.mixer.plan(p)
    }
}
