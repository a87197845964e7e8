//! Layers whose memory is normalised.

use linearium::mixers::Mixer;
use linearium::mixers::lawcat::{self, Lawcat};
use linearium::mixers::light_net::LightNet;

use super::Layer;
use crate::golden::Golden;

/// All of them.
pub fn layers() -> Vec<Layer> {
    let light_net = [None, Some((4, true))].into_iter().enumerate();
    let light_net = light_net.map(|(case, conv)| {
        layer("light_net", case, |golden| {
            Box::new(LightNet::load(&mut golden.weights(), 24, 3, 5, conv).unwrap())
        })
    });
    let grouped = lawcat::Options {
        heads: 4,
        kv_heads: 2,
        value: 6,
        feature: 3,
        rank: 3,
        conv: 4,
        silu: false,
    };
    let whole = lawcat::Options {
        heads: 2,
        value: 8,
        feature: 4,
        rank: 4,
        conv: 3,
        silu: true,
        ..grouped
    };
    let lawcat = [grouped, whole].into_iter().enumerate();
    let lawcat = lawcat.map(|(case, options)| {
        layer("lawcat", case, |golden| {
            Box::new(Lawcat::load(&mut golden.weights(), 24, options).unwrap())
        })
    });
    light_net.chain(lawcat).collect()
}

/// f64 against f64; 1e-6 in f32 is off by 2.5e-14, which shows where outputs are small.
const EXACT: f64 = 1e-9;

fn layer(id: &str, case: usize, load: impl FnOnce(&mut Golden) -> Box<dyn Mixer>) -> Layer {
    let mut golden = Golden::open(id, case);
    Layer {
        name: format!("{id} {case}"),
        mixer: load(&mut golden),
        u: golden.input("u"),
        t: golden.shape("u")[0],
        out: golden.exact("out"),
        state: golden.exact("state"),
        exact_to: EXACT,
    }
}
