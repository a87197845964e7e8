//! What dropping tokens must mean on whichever player, for every mixer of the registry.

use std::rc::Rc;

use linearium::mixers::{self, Size};
use linearium::model::session::{Options, Session};
use linearium::model::stack::Stack;
use linearium::player::Player;
use linearium::pruning::{DropMode, Neighbours, Pruning};
use linearium::random::Random;
use pollster::block_on;

use crate::reference;

/// Tokens of a text, one more than a chunk of the scans holds, and some.
pub const T: usize = 70;

/// f32 through two layers against f64, as in the conformance suite.
pub const TOLERANCE: f64 = 1e-5;

/// A text of bytes that repeats nothing for long.
pub fn tokens(len: usize) -> Vec<u32> {
    (0..len as u32)
        .map(|i| (i * 37 + i * i * 11) % 256)
        .collect()
}

/// Root mean square of the difference over root mean square of the reference.
pub fn rms_ratio(a: &[f64], reference: &[f64]) -> f64 {
    assert_eq!(a.len(), reference.len());
    let square = |v: f64| v * v;
    let difference: f64 = a.iter().zip(reference).map(|(a, b)| square(a - b)).sum();
    let size: f64 = reference.iter().map(|b| square(*b)).sum();
    if difference == 0.0 {
        return 0.0;
    }
    (difference / size).sqrt()
}

/// A small model of odd dimensions.
pub fn model(definition: &'static mixers::Definition) -> Rc<Stack> {
    let odd = Size {
        width: 20,
        heads: 3,
        key: 10,
        value: 7,
    };
    Rc::new(Stack::random_of(definition, &odd, 5))
}

/// About this share of the candidates, drawn.
pub fn drawn(candidates: &[usize], share: f64, seed: u64) -> Vec<usize> {
    let mut random = Random::new(seed);
    let chosen = candidates.iter().filter(|_| random.uniform() < share);
    chosen.copied().collect()
}

/// Tokens dropped in both layers, runs of them among those.
pub fn two_steps(mode: DropMode, neighbours: Neighbours) -> Pruning {
    let all: Vec<usize> = (0..T).collect();
    let mut first = drawn(&all, 0.6, 3);
    first.retain(|k| !(20..29).contains(k));
    let second = drawn(&first, 0.5, 4);
    let steps = vec![(0, first), (1, second)];
    Pruning::new(mode, neighbours, T, steps).unwrap()
}

/// The logits of the rows that reach the head and are kept, fed in pieces of this length.
pub fn logits<P: Player>(session: &mut Session<P>, tokens: &[u32], piece: usize) -> Vec<Vec<f64>> {
    let vocab = session.plan.vocab;
    let (mut out, mut done) = (Vec::new(), 0);
    while done < tokens.len() {
        let t = piece.min(tokens.len() - done);
        block_on(session.feed(&tokens[done..done + t], None)).unwrap();
        let rows = session.last_rows(done, t);
        let parts = [(session.plan.logits, 0..rows.len() * vocab)];
        let read = block_on(session.player.read(&parts)).unwrap();
        for ((_, kept), row) in rows.into_iter().zip(read[0].chunks_exact(vocab)) {
            if kept {
                out.push(row.iter().map(|&x| x.into()).collect());
            }
        }
        done += t;
    }
    out
}

/// A run that drops these tokens.
pub fn options(pruning: &Pruning) -> Options {
    Options {
        capacity: pruning.tokens(),
        pruning: Some(pruning.clone()),
        ..Options::default()
    }
}

/// Mixers in which a mode means nothing but gathering, and says so.
pub fn only_gathers(id: &str, mode: DropMode) -> bool {
    let none = [
        "attention",
        "window_attention",
        "gau",
        "gam",
        "delta_net",
        "gated_delta_net",
        "rwkv7",
        "mom",
    ];
    mode.fills_gaps() && none.contains(&id) || mode == DropMode::DecayDefault && id == "light_net"
}

/// Every mode, compacted, is what it says: against the definitions with the mode written into their
/// recurrence, at once, one by one and in sevens.
pub fn modes_are_what_they_say<P: Player>(
    open: impl Fn(&Rc<Stack>, &Options, usize) -> Result<Session<P>, String>,
    pieces: &[usize],
) {
    let text = tokens(T);
    let mut wrong = Vec::new();
    for definition in mixers::ALL {
        let stack = model(definition);
        for mode in DropMode::ALL {
            for neighbours in Neighbours::ALL {
                let pruning = two_steps(mode, neighbours);
                let what = format!("{} {} {}", definition.id, mode.id(), neighbours.id());
                if only_gathers(definition.id, mode) {
                    let error = open(&stack, &options(&pruning), T).err();
                    let error = error.unwrap_or_else(|| panic!("{what} was taken"));
                    assert!(error.contains("means nothing here"), "{what}: {error}");
                    continue;
                }
                let want = reference::logits(&stack, &text, &pruning).concat();
                for &piece in pieces {
                    let mut session = match open(&stack, &options(&pruning), piece) {
                        Ok(session) => session,
                        Err(error) => panic!("{what}: {error}"),
                    };
                    let got = logits(&mut session, &text, piece).concat();
                    let ratio = rms_ratio(&got, &want);
                    if ratio.is_nan() || ratio > TOLERANCE {
                        wrong.push(format!("{what} in pieces of {piece}: {ratio:.2e}"));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
