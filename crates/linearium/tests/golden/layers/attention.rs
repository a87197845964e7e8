//! Layers that attend by scores.

use linearium::mixers::gau::Gau;
use linearium::mixers::seq_boat::{self, NormPlace, SeqBoat};
use linearium::mixers::window_attention::WindowAttention;

use super::Layer;
use crate::golden::Golden;

/// All of them.
pub fn layers() -> Vec<Layer> {
    let windows = [(6, 1), (5, 3), (4, 10)].into_iter().enumerate();
    let mut layers: Vec<Layer> = windows
        .map(|(case, (window, dilation))| window_attention(case, window, dilation))
        .collect();
    layers.push(gau());
    layers.extend(seq_boat());
    layers
}

/// The fourth case sees what comes behind a token too.
fn seq_boat() -> impl Iterator<Item = Layer> {
    let plain = seq_boat::Options {
        modes: 4,
        key: 6,
        value: 20,
        window: 5,
        positions: 64,
        rotary: false,
        by_rank: false,
        squared_relu: false,
        norm: NormPlace::Before,
    };
    let ranked = seq_boat::Options {
        by_rank: true,
        squared_relu: true,
        norm: NormPlace::Behind,
        ..plain
    };
    let rotary = seq_boat::Options {
        window: 4,
        rotary: true,
        ..plain
    };
    let cases = [plain, ranked, rotary].into_iter().enumerate();
    cases.map(|(case, options)| {
        let mut golden = Golden::open("seq_boat", case);
        Layer {
            name: format!("seq_boat {case}"),
            mixer: Box::new(SeqBoat::load(&mut golden.weights(), 16, options).unwrap()),
            u: golden.input("u"),
            t: golden.shape("u")[0],
            out: golden.exact("out"),
            state: golden.exact("state"),
            // The rates of the moving average are in f32, 6e-8 off each.
            exact_to: 1e-6,
        }
    })
}

/// The first case is causal. The second is not: its tokens see those behind them.
fn gau() -> Layer {
    let mut golden = Golden::open("gau", 0);
    let t = golden.shape("u")[0];
    Layer {
        name: "gau 0".to_owned(),
        mixer: Box::new(Gau::load(&mut golden.weights(), [20, 8, 16], 40, t).unwrap()),
        u: golden.input("u"),
        t,
        out: golden.exact("out"),
        state: Vec::new(),
        exact_to: 1e-12,
    }
}

/// The golden file holds what goes into the attention and what comes out: the projections are those
/// that hand it on.
fn window_attention(case: usize, window: usize, dilation: usize) -> Layer {
    let golden = Golden::open("window_attention", case);
    let [t, heads, key] = golden.shape("scan.q")[..] else {
        unreachable!()
    };
    let kv_heads = golden.shape("scan.k")[1];
    let (queries, keys) = (heads * key, kv_heads * key);
    let width = queries + 2 * keys;
    let parts = ["q", "k", "v"].map(|n| golden.input(&format!("scan.{n}")));
    let (mut u, mut out) = (Vec::new(), Vec::new());
    for row in 0..t {
        for (part, width) in parts.iter().zip([queries, keys, keys]) {
            u.extend_from_slice(&part[row * width..][..width]);
        }
    }
    for row in golden.exact("scan.o").chunks_exact(queries) {
        out.extend_from_slice(row);
        out.resize(out.len() + 2 * keys, 0.0);
    }
    let hand_on = |first: usize, columns: usize| {
        let mut w = vec![0.0; columns * width];
        (0..columns).for_each(|c| w[c * width + first + c] = 1.0);
        w.into()
    };
    let mut out_proj = vec![0.0; width * queries];
    (0..queries).for_each(|c| out_proj[c * queries + c] = 1.0);
    Layer {
        name: format!("window_attention {case}"),
        mixer: Box::new(WindowAttention {
            width,
            heads,
            kv_heads,
            key,
            window,
            dilation,
            theta: None,
            q_proj: hand_on(0, queries),
            k_proj: hand_on(queries, keys),
            v_proj: hand_on(queries + keys, keys),
            out_proj: out_proj.into(),
        }),
        u,
        t,
        out,
        state: Vec::new(),
        exact_to: 1e-13,
    }
}
