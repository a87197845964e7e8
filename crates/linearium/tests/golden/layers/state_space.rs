//! State-space models and gated networks: S4D, S4, S5, minGRU, minLSTM, RWKV-4, SpikeGPT.

use linearium::mixers::Mixer;
use linearium::mixers::min_gru::MinGru;
use linearium::mixers::min_lstm::MinLstm;

use super::Layer;
use crate::golden::Golden;

/// What a definition in f64 keeps of official code in f64: the order of sums.
const F64: f64 = 1e-13;

/// The layers of these files.
pub fn layers() -> Vec<Layer> {
    minimal()
}

fn layer(golden: &Golden, id: &str, mixer: Box<dyn Mixer>) -> Layer {
    Layer {
        name: format!("{id}, case {}", golden.case),
        mixer,
        u: golden.input("u"),
        t: golden.shape("u")[0],
        out: golden.exact("out"),
        state: golden.exact("state"),
        exact_to: F64,
    }
}

/// The third case of each file begins with a state that a layer of ours does not have.
fn minimal() -> Vec<Layer> {
    let mut all = Vec::new();
    for mut golden in Golden::first_cases(2, "min_gru") {
        let (width, channels) = (golden.shape("u")[1], golden.shape("state")[0]);
        let mixer = MinGru::load(&mut golden.weights(), width, channels).unwrap();
        all.push(layer(&golden, "min_gru", Box::new(mixer)));
    }
    for mut golden in Golden::first_cases(2, "min_lstm") {
        let (width, channels) = (golden.shape("u")[1], golden.shape("state")[0]);
        let mixer = MinLstm::load(&mut golden.weights(), width, channels).unwrap();
        all.push(layer(&golden, "min_lstm", Box::new(mixer)));
    }
    all
}
