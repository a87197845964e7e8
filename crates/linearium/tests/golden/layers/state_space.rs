//! State-space models and gated networks: S4D, S4, S5, minGRU, minLSTM, RWKV-4, SpikeGPT.

use linearium::mixers::Mixer;
use linearium::mixers::min_gru::MinGru;
use linearium::mixers::min_lstm::MinLstm;
use linearium::mixers::rwkv4::Rwkv4;
use linearium::mixers::spike_gpt::SpikeGpt;
use linearium::model::tensors::Tensors;

use super::Layer;
use crate::golden::Golden;

/// What a definition in f64 keeps of official code in f64: the order of sums.
const F64: f64 = 1e-13;

/// The layers of these files.
pub fn layers() -> Vec<Layer> {
    let mut all = minimal();
    all.push(rwkv4());
    all.extend((0..2).map(spike_gpt));
    all
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

/// Its state is kept in another form than the official one; `scans.rs` compares it.
fn rwkv4() -> Layer {
    let mut golden = Golden::open("rwkv4", 0);
    let width = golden.shape("u")[1];
    let mixer = Rwkv4::load(&mut golden.weights(), width).unwrap();
    Layer {
        state: Vec::new(),
        ..layer(&golden, "rwkv4", Box::new(mixer))
    }
}

/// The part of a block that mixes tokens: from the norms before it to the first neuron's spikes.
/// Currents are rounded to f32 on the way in; no membrane comes so near to the threshold that this
/// or the arithmetic of f32 changes a spike.
fn spike_gpt(case: usize) -> Layer {
    let mut golden = Golden::open("spike_gpt", case);
    let shape = golden.shape("u");
    let mut u: Vec<f64> = golden.input("u").iter().map(|&u| u.into()).collect();
    // The first block has a norm in front of the model.
    let norms = if case == 0 {
        &["ln0", "ln1"][..]
    } else {
        &["ln1"]
    };
    for norm in norms {
        let [weight, bias] =
            ["weight", "bias"].map(|part| golden.input(&format!("weights.{norm}.{part}")));
        u = layer_norm(&u, &weight, &bias, 1e-5);
    }
    let prefix = format!("case{case}.weights.att.");
    let mut tensors = Tensors::new(&mut golden.file, prefix);
    let mixer = SpikeGpt::load(&mut tensors, shape[1], 2.0, 1.0).unwrap();
    Layer {
        name: format!("spike_gpt, case {case}"),
        mixer: Box::new(mixer),
        u: u.iter().map(|&u| u as f32).collect(),
        t: shape[0],
        out: golden.input("spikes1").iter().map(|&s| s.into()).collect(),
        state: Vec::new(),
        exact_to: 0.0,
    }
}

/// `(u - mean) / sqrt(variance + eps) * weight + bias` for each row.
fn layer_norm(u: &[f64], weight: &[f32], bias: &[f32], eps: f64) -> Vec<f64> {
    let width = weight.len();
    let mut out = Vec::new();
    for row in u.chunks_exact(width) {
        let mean = row.iter().sum::<f64>() / width as f64;
        let variance = row.iter().map(|u| (u - mean).powi(2)).sum::<f64>() / width as f64;
        for ((u, &w), &b) in row.iter().zip(weight).zip(bias) {
            out.push((u - mean) / (variance + eps).sqrt() * f64::from(w) + f64::from(b));
        }
    }
    out
}
