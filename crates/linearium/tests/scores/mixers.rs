//! Every score on every mixer of the registry, from a real run.

use std::rc::Rc;

use linearium::mixers::{self, Size};
use linearium::model::session::{Options, Session};
use linearium::model::stack::Stack;
use linearium::player::CpuPlayer;
use linearium::probes::receptive_field::row;
use linearium::probes::run::{Look, Run};
use linearium::pruning::look::{Arrays, look};
use linearium::pruning::{scores, seen::Seen};
use pollster::block_on;

const T: usize = 45;

/// What needs something that a mixer may not have, with what its sentence must say.
const MAY_LACK: [(&str, &str); 6] = [
    ("step_size", "step sizes"),
    ("long_mamba", "step sizes"),
    ("retained_mass", "decays"),
    ("router", "router"),
    ("spec_kv", "draft"),
    ("spec_pc", "draft"),
];

fn tokens() -> Vec<u32> {
    (0..T as u32).map(|i| (i * 37 + i * i * 11) % 256).collect()
}

fn session(stack: &Rc<Stack>) -> Session<CpuPlayer> {
    let options = Options {
        capacity: T,
        tapped_layer: Some(1),
        ..Options::default()
    };
    let player = |layout| async move { Ok(CpuPlayer::new(&layout)) };
    block_on(Session::new(stack.clone(), &options, 16, player)).unwrap()
}

fn model(definition: &'static mixers::Definition) -> Rc<Stack> {
    let size = Size {
        width: 20,
        heads: 3,
        key: 10,
        value: 7,
    };
    Rc::new(Stack::random_of(definition, &size, 5))
}

fn arrays(stack: &Rc<Stack>) -> Arrays {
    block_on(look(&mut session(stack), &tokens(), 1)).unwrap()
}

#[test]
fn every_mixer_has_scores() {
    let mut wrong = Vec::new();
    for definition in mixers::ALL {
        let arrays = arrays(&model(definition));
        let seen = arrays.seen(T / 2, 3);
        for score in scores::ALL {
            match score.score(&seen) {
                Ok(all) => {
                    assert_eq!(all.len(), T, "{} of {}", score.id(), definition.id);
                    assert!(all.iter().all(|s| !s.is_nan()));
                }
                Err(e) => {
                    let lacks = MAY_LACK.iter().find(|(id, _)| *id == score.id());
                    let known = lacks.is_some_and(|(_, what)| {
                        e.contains(what) || e.contains("filters no channel")
                    });
                    if !known {
                        wrong.push(format!("{} of {}: {e}", score.id(), definition.id));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// What a score makes of the arrays is the row that the probes show.
#[test]
fn scores_see_the_hidden_attention_of_the_probes() {
    for definition in mixers::ALL {
        let stack = model(definition);
        let arrays = arrays(&stack);
        let seen = Seen {
            readout: Some(T - 3),
            ..arrays.seen(9, 3)
        };
        let mut want = vec![0.0; T];
        for head in 0..seen.heads {
            let look = Look { layer: 1, head };
            let mut run = Run::new(session(&stack), tokens(), look);
            while block_on(run.advance()).unwrap() {}
            for (want, weight) in want.iter_mut().zip(row(&run.evidence.factors, T - 3)) {
                *want += f64::from(weight.abs()) / seen.heads as f64;
            }
        }
        let got = scores::by_id("given").unwrap().score(&seen).unwrap();
        let largest = want.iter().copied().fold(0.0, f64::max);
        assert!(largest > 0.0, "{}", definition.id);
        for (t, (got, want)) in got.iter().zip(&want).enumerate() {
            let off = (f64::from(*got) - want).abs();
            assert!(off <= 1e-6 * largest, "{} {t}: {got} {want}", definition.id);
        }
    }
}
