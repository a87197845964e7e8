//! Layers with several memories, or one that is not of the text.

use linearium::mixers::gam::Gam;
use linearium::mixers::mom::{self, Mom};
use linearium::mixers::{Mixer, Size};

use super::Layer;
use crate::golden::Golden;

/// All of them.
pub fn layers() -> Vec<Layer> {
    let size = Size {
        width: 24,
        heads: 2,
        key: 8,
        value: 12,
    };
    let options = mom::Options {
        memories: 4,
        top: 2,
        shared: true,
        single: false,
        conv: 4,
    };
    let one = mom::Options {
        memories: 3,
        top: 1,
        shared: false,
        single: true,
        ..options
    };
    let mom = [options, one].into_iter().enumerate();
    let mom = mom.map(|(case, options)| {
        layer("mom", case, "out", |golden| {
            Box::new(Mom::load(&mut golden.weights(), &size, options).unwrap())
        })
    });
    let gam = [(20, 12, 3), (16, 7, 5)].into_iter().enumerate();
    let gam = gam.map(|(case, (width, slots, taps))| {
        layer("gam", case, "mix", |golden| {
            Box::new(Gam::load(&mut golden.weights(), width, slots, taps).unwrap())
        })
    });
    mom.chain(gam).collect()
}

/// f64 against f64, but for eps (1e-5 in f32 is off by 2.5e-13) and the decay rates, e^A_log in f32.
const EXACT: f64 = 1e-6;

fn layer(
    id: &str,
    case: usize,
    out: &str,
    load: impl FnOnce(&mut Golden) -> Box<dyn Mixer>,
) -> Layer {
    let mut golden = Golden::open(id, case);
    Layer {
        name: format!("{id} {case}"),
        mixer: load(&mut golden),
        u: golden.input("u"),
        t: golden.shape("u")[0],
        out: golden.exact(out),
        // GAM has none.
        state: match golden.file.shape(&format!("case{case}.state")) {
            Some(_) => golden.exact("state"),
            None => Vec::new(),
        },
        exact_to: EXACT,
    }
}
