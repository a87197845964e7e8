//! State-space models and gated networks: S4D, S4, S5, minGRU, minLSTM, RWKV-4, SpikeGPT.

use linearium::mixers::Mixer;
use linearium::mixers::min_gru::MinGru;
use linearium::mixers::min_lstm::MinLstm;
use linearium::mixers::rwkv4::Rwkv4;
use linearium::mixers::s4::S4;
use linearium::mixers::s4d::{S4d, Start};
use linearium::mixers::s5::S5;
use linearium::mixers::spike_gpt::SpikeGpt;
use linearium::model::tensors::Tensors;

use super::Layer;
use crate::golden::Golden;

/// What a definition in f64 keeps of official code in f64: the order of sums.
const F64: f64 = 1e-13;

/// The layers of these files.
pub fn layers() -> Vec<Layer> {
    let mut all = minimal();
    all.extend((0..6).map(s4d));
    all.extend((0..3).map(|case| s4(case).0));
    all.extend((0..2).flat_map(s5));
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

/// The settings of a case: a number, or whether it is this text.
fn setting(golden: &Golden, name: &str) -> serde_json::Value {
    let metadata = &golden.file.metadata()[&format!("case{}", golden.case)];
    let settings: serde_json::Value = serde_json::from_str(metadata).unwrap();
    settings[name].clone()
}

/// Systems that all channels share, if the case says so, else one a channel.
fn n_ssm(golden: &Golden, channels: usize) -> usize {
    setting(golden, "n_ssm")
        .as_u64()
        .map_or(channels, |n| n as usize)
}

/// The five blocks, and the minimal layer, whose file has no state.
fn s4d(case: usize) -> Layer {
    let mut golden = Golden::open("s4d", case);
    let channels = golden.shape("u")[1];
    let states = setting(&golden, "d_state").as_u64().unwrap() as usize / 2;
    if setting(&golden, "layer") == "S4D" {
        let mixer = S4d::load_minimal(&mut golden.weights(), channels, states).unwrap();
        return Layer {
            name: "s4d, the minimal layer".to_owned(),
            mixer: Box::new(mixer),
            u: golden.input("u"),
            t: golden.shape("u")[0],
            out: golden.exact("out"),
            state: Vec::new(),
            exact_to: F64,
        };
    }
    let shared = n_ssm(&golden, channels);
    let bilinear = setting(&golden, "disc") == "bilinear";
    let mixer = S4d::load(&mut golden.weights(), channels, states, shared, bilinear).unwrap();
    layer(&golden, "s4d", Box::new(mixer))
}

/// The official state has both of each conjugate pair.
fn s4(case: usize) -> (Layer, S4, Golden) {
    let mut golden = Golden::open("s4", case);
    let channels = golden.shape("u")[1];
    let shape = golden.shape("weights.layer.kernel.P");
    let [rank, states] = [shape[0], shape[2]];
    let shared = n_ssm(&golden, channels);
    let mixer = S4::load(&mut golden.weights(), channels, states, shared, rank).unwrap();
    let state = golden.exact("state");
    let halves = state.chunks_exact(2 * states);
    let layer = Layer {
        state: halves.step_by(2).flatten().copied().collect(),
        ..layer(&golden, "s4", Box::new(mixer.clone()))
    };
    (layer, mixer, golden)
}

/// C (I - A^T) is small where states decay slowly (case 1: by 1e-4 in units of time), and its rounding
/// counts as much more in what is made of it.
const KERNEL: f64 = 1e-12;

/// The kernel by Cauchy sums at roots of unity, the C that these need, and the output as one
/// convolution, wherever it is cut; the recurrence gives the same kernel.
#[test]
fn s4_is_a_convolution_too() {
    for case in 0..3 {
        let (layer, mixer, golden) = s4(case);
        let (t, channels) = (layer.t, mixer.diagonal.channels);
        let kernel = mixer.kernel(t).concat();
        let ratio = super::rms_ratio(&kernel, &golden.exact("kernel"));
        assert!(ratio <= KERNEL, "kernel of case {case}: {ratio:.2e}");
        let system = mixer.system();
        let recurrent: Vec<f64> = (0..channels)
            .flat_map(|d| system.impulse_response(d, t))
            .collect();
        let ratio = super::rms_ratio(&recurrent, &kernel);
        assert!(
            ratio <= KERNEL,
            "recurrent kernel of case {case}: {ratio:.2e}"
        );

        let c: Vec<f64> = (system.read_later(t).iter().enumerate())
            .flat_map(|(i, later)| {
                let [re, im] = [0, 1].map(|part| f64::from(mixer.diagonal.c[2 * i + part]));
                [re - later.re / 2.0, im - later.im / 2.0]
            })
            .collect();
        let ratio = super::rms_ratio(&c, &golden.exact("c_after_first_call"));
        assert!(ratio <= KERNEL, "C of case {case}: {ratio:.2e}");

        let u: Vec<f64> = layer.u.iter().map(|&u| u.into()).collect();
        let mut state = linearium::mixers::StepState::default();
        let change = linearium::mixers::Change::default();
        let want: Vec<f64> = u
            .chunks_exact(channels)
            .flat_map(|u| system.step(&mut state, u, &change))
            .collect();
        for piece in [1, 5, 36, t] {
            let mut convolution = mixer.convolution(t);
            let got: Vec<f64> = u
                .chunks(piece * channels)
                .flat_map(|u| convolution.feed(u))
                .collect();
            let ratio = super::rms_ratio(&got, &want);
            assert!(
                ratio <= KERNEL,
                "case {case} in pieces of {piece}: {ratio:.2e}"
            );
        }
    }
}

/// The model alone, and the layer between its norm and its skip, whose input is rounded to f32 on
/// the way in. The third case runs in both directions, which is not the layer's own affair here.
fn s5(case: usize) -> [Layer; 2] {
    let mut golden = Golden::open("s5", case);
    let shape = golden.shape("u");
    let [t, width] = [shape[0], shape[1]];
    let states = golden.shape("state")[0];
    let bilinear = setting(&golden, "discretization") == "bilinear";
    let clip = setting(&golden, "clip_eigs") == true;
    let unit = setting(&golden, "activation");
    let mut load =
        |unit: &str| S5::load(&mut golden.weights(), width, states, bilinear, clip, unit).unwrap();
    let [alone, whole] = [load("none"), load(unit.as_str().unwrap())];
    let exact: Vec<f64> = golden.input("u").iter().map(|&u| u.into()).collect();
    let [scale, bias] = ["scale", "bias"].map(|part| golden.input(&format!("weights.norm.{part}")));
    let normed = layer_norm(&exact, &scale, &bias, 1e-6);
    let out = golden.exact("layer.out");
    let whole = Layer {
        name: format!("s5, the layer of case {case}"),
        mixer: Box::new(whole),
        u: normed.iter().map(|&u| u as f32).collect(),
        t,
        out: out.iter().zip(&exact).map(|(out, u)| out - u).collect(),
        state: Vec::new(),
        exact_to: 2e-7,
    };
    [layer(&golden, "s5", Box::new(alone)), whole]
}

/// Rates of the four initialisations. The official parameters are f32, and none of their imaginary
/// parts is below 1e-4 (logarithms were a choice there).
#[test]
fn s4d_starts_as_the_official_layer() {
    let starts = [Start::Lin, Start::Inv, Start::Real, Start::LegS];
    for (case, start) in starts.into_iter().enumerate() {
        let golden = Golden::open("s4d", case);
        let states = golden.shape("weights.layer.kernel.A_real")[1];
        let real = golden.input("weights.layer.kernel.A_real");
        let imaginary = golden.input("weights.layer.kernel.A_imag");
        let (mut rates, _) = start.rates(states);
        rates.sort_by(|a, b| a.im.abs().total_cmp(&b.im.abs()));
        let mut want: Vec<(f64, f64)> = (0..states)
            .map(|n| (-f64::from(real[n]).exp(), imaginary[n].into()))
            .collect();
        want.sort_by(|a, b| a.1.total_cmp(&b.1));
        for (rate, want) in rates.iter().zip(want) {
            assert!((rate.re - want.0).abs() < 1e-6, "{start:?} {rate} {want:?}");
            let imaginary = rate.im.abs().max(1e-4);
            assert!(
                (imaginary / want.1 - 1.0).abs() < 1e-6,
                "{start:?} {rate} {want:?}"
            );
        }
    }
}

/// HiPPO-LegS of eight states; eigenvectors are free up to a phase, these numbers are not.
#[test]
fn legs_is_diagonal_plus_rank_one_as_in_the_official_code() {
    let golden = Golden::open("s4", 0);
    let exact = |name: &str| -> Vec<f64> {
        let (values, _) = golden.file.raw(name).unwrap().as_chunks::<8>();
        values.iter().map(|&b| f64::from_le_bytes(b)).collect()
    };
    let legs = linearium::parts::hippo::legs(4);
    let lambda: Vec<f64> = legs.lambda.iter().flat_map(|l| [l.re, l.im]).collect();
    let products = legs.b.iter().zip(&legs.p).map(|(b, p)| b * p.conj());
    for (name, got) in [
        ("legs.lambda", lambda),
        ("legs.p_abs", legs.p.iter().map(|p| p.norm()).collect()),
        ("legs.b_abs", legs.b.iter().map(|b| b.norm()).collect()),
        (
            "legs.b_times_conj_p",
            products.flat_map(|x| [x.re, x.im]).collect(),
        ),
    ] {
        let ratio = super::rms_ratio(&got, &exact(name));
        assert!(ratio <= 1e-12, "{name}: {ratio:.2e}");
    }
}
