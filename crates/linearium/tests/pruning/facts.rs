//! The exact facts about dropped tokens, on whichever player: with the hidden attention alpha of the
//! whole text and the values x of its tokens,
//!
//! - decay-true leaves alpha unchanged: kept tokens read `sum of alpha_ij x_j` over kept j;
//! - the error of decay-true is what was lost, `sum of alpha_ij x_j` over dropped j, and nothing else;
//! - hold reads what the recurrence of the kept tokens alone reads, in which old tokens look younger.
//!
//! RWKV-4 and SpikeGPT divide by the sum of alpha: there the same holds of the sums before that
//! division. The queries of GSA come from a scan of its own, which lost tokens too: alpha is that of
//! the whole text's keys and decays with the queries of the pruned run.
//!
//! alpha comes from the probes of an unpruned run, x from the definition in f64. That the compacted
//! scan equals the one written with masks is what `suite.rs` shows for every mode.

use std::collections::BTreeSet;
use std::rc::Rc;

use linearium::mixers;
use linearium::model::session::{Options, Session};
use linearium::model::stack::Stack;
use linearium::player::Player;
use linearium::probes::receptive_field::row;
use linearium::probes::run::{Factors, Look, Run};
use linearium::pruning::{DropMode, Neighbours, Pruning};
use linearium::step::{Left, rms_norm};
use pollster::block_on;

use crate::reference;
use crate::suite::{T, drawn, model, options, tokens};

/// Mixers whose scan gives no sum over the past, with the reason.
const NO_SUM: [&str; 8] = [
    // No state, or none that decays.
    "attention",
    "window_attention",
    "gau",
    "gam",
    // What a token erases depends on all before it.
    "delta_net",
    "gated_delta_net",
    "rwkv7",
    "mom",
];
/// Mixers whose scan divides by the sum of the weights of all tokens.
const DIVIDES: [&str; 2] = ["rwkv4", "spike_gpt"];

/// Sums of f32 through one layer against f32 factors.
const TOLERANCE: f64 = 1e-5;

fn factors<P: Player>(session: Session<P>, text: &[u32], head: usize, divides: bool) -> Factors {
    let mut run = Run::new(session, text.to_vec(), Look { layer: 0, head });
    while block_on(run.advance()).unwrap() {}
    let mut factors = run.evidence.factors;
    if !divides {
        // What the scan itself gives: neither divided by its normaliser, nor with a bonus.
        factors.normaliser.clear();
        factors.bonus.fill(0.0);
    }
    factors
}

/// The queries of a head of layer 0 after a run over the whole text, a row for each kept token.
fn queries<P: Player>(session: &mut Session<P>, head: usize, key: usize, rows: usize) -> Vec<f32> {
    let q = session.plan.taps(0).q;
    let read = block_on(session.player.read(&[(q.buffer, 0..q.stride * rows)])).unwrap();
    let rows = read[0].chunks_exact(q.stride);
    let of_head = |row: &[f32]| row[q.offset + head * key..][..key].to_vec();
    rows.flat_map(of_head).collect()
}

/// The factors of these tokens alone.
fn of_kept(f: &Factors, t: usize, kept: &[usize]) -> Factors {
    let take = |rows: &[f32]| -> Vec<f32> {
        let width = rows.len() / t;
        let rows = kept.iter().map(|k| &rows[k * width..(k + 1) * width]);
        rows.flatten().copied().collect()
    };
    Factors {
        q: take(&f.q),
        k: take(&f.k),
        log_decay: take(&f.log_decay),
        write_scale: take(&f.write_scale),
        erase: [take(&f.erase[0]), take(&f.erase[1])],
        normaliser: take(&f.normaliser),
        ..f.clone()
    }
}

/// What the scan of layer 0 gave for each row, `[rows][H V]`.
fn scanned<P: Player>(session: &mut Session<P>, text: &[u32]) -> Vec<Vec<f32>> {
    let mut buffers = session.plan.layout.buffers.iter();
    let found = buffers.rposition(|b| b.name == "layers.0.scanned").unwrap();
    let buffer = linearium::recording::BufferId(found as u32);
    let len = session.plan.layout.info(buffer).len;
    block_on(session.feed(text, None)).unwrap();
    let read = block_on(session.player.read(&[(buffer, 0..len)])).unwrap();
    read[0].chunks_exact(len / T).map(<[f32]>::to_vec).collect()
}

struct Sums {
    difference: f64,
    size: f64,
}

impl Sums {
    fn add(&mut self, got: f64, want: f64, size: f64) {
        self.difference += (got - want).powi(2);
        self.size += size * size;
    }

    fn ratio(&self) -> f64 {
        (self.difference / self.size).sqrt()
    }
}

fn sums() -> Sums {
    Sums {
        difference: 0.0,
        size: 0.0,
    }
}

/// Walks the registry.
pub fn facts_hold<P: Player>(
    open: impl Fn(&Rc<Stack>, &Options, usize) -> Result<Session<P>, String>,
) {
    let text = tokens(T);
    let all: Vec<usize> = (0..T).collect();
    let mut kept = drawn(&all, 0.5, 9);
    kept.retain(|k| !(30..41).contains(k));
    let mut wrong = Vec::new();
    let mut walked = 0;
    for definition in mixers::ALL {
        if NO_SUM.contains(&definition.id) {
            continue;
        }
        walked += 1;
        let stack = model(definition);
        let mixer = stack.blocks[0].mixer.as_ref();
        let shape = mixer.shape();
        // Values of every token, by the definition.
        let u: Vec<Vec<f64>> = (text.iter())
            .map(|&token| {
                let row = &stack.embedding[token as usize * stack.width..][..stack.width];
                let row: Vec<f64> = row.iter().map(|&x| x.into()).collect();
                rms_norm(&row, &vec![1.0; stack.width], stack.width, stack.eps.into())
            })
            .collect();
        let left = vec![Left::default(); T];
        let everyone: BTreeSet<usize> = (0..T).collect();
        let meaning = (DropMode::Hold, Neighbours::Original);
        let dense = reference::layer(mixer, 0, &u, &everyone, meaning, &left);
        let pruned = |mode| {
            let steps = vec![(0, kept.clone())];
            let pruning = Pruning::new(mode, Neighbours::Original, T, steps).unwrap();
            let options = Options {
                tapped_layer: Some(0),
                ..options(&pruning)
            };
            open(&stack, &options, T).unwrap()
        };
        let whole = Options {
            capacity: T,
            tapped_layer: Some(0),
            ..Options::default()
        };
        let of_all = scanned(&mut open(&stack, &whole, T).unwrap(), &text);
        let mut decay_true = pruned(DropMode::DecayTrue);
        let decayed = scanned(&mut decay_true, &text);
        let mut hold = pruned(DropMode::Hold);
        let held = scanned(&mut hold, &text);
        // Scans of constant decay walk over all tokens under decay-true.
        let over_all = ["s4", "s4d", "s5", "rwkv4", "spike_gpt"].contains(&definition.id);
        let divides = DIVIDES.contains(&definition.id);
        let own_queries = definition.id == "gsa";
        let [mut unchanged, mut lost, mut younger] = [sums(), sums(), sums()];
        let mut apart = sums();
        for head in [0, shape.heads / 2, shape.heads - 1] {
            let mut f = factors(open(&stack, &whole, T).unwrap(), &text, head, divides);
            let mut alone = of_kept(&f, T, &kept);
            if own_queries {
                let rows = queries(&mut decay_true, head, f.key, kept.len());
                for (k, q) in kept.iter().zip(rows.chunks_exact(f.key)) {
                    f.q[k * f.key..][..f.key].copy_from_slice(q);
                }
                alone.q = queries(&mut hold, head, f.key, kept.len());
            }
            for (n, &i) in kept.iter().enumerate() {
                let (alpha, alpha_held) = (row(&f, i), row(&alone, n));
                let sum = |weights: &mut dyn Iterator<Item = f32>| -> f64 {
                    match divides {
                        true => weights.map(f64::from).sum(),
                        false => 1.0,
                    }
                };
                let of_held = sum(&mut alpha_held.iter().copied());
                let of_left = sum(&mut kept.iter().filter_map(|k| alpha.get(*k)).copied());
                for c in 0..shape.value {
                    let c = head * shape.value + c;
                    let of = |tokens: &mut dyn Iterator<Item = (usize, f32)>| -> f64 {
                        tokens.map(|(j, a)| f64::from(a) * dense.value[j][c]).sum()
                    };
                    let pairs = || alpha.iter().copied().enumerate();
                    let from_kept = of(&mut pairs().filter(|(j, _)| kept.contains(j)));
                    let from_lost = of(&mut pairs().filter(|(j, _)| !kept.contains(j)));
                    let if_held = of(&mut kept.iter().copied().zip(alpha_held.iter().copied()));
                    let at = if over_all { i } else { n };
                    let [decayed, held, all] =
                        [decayed[at][c], held[n][c], of_all[i][c]].map(f64::from);
                    unchanged.add(decayed * of_left, from_kept, all);
                    if !own_queries {
                        lost.add(all - decayed * of_left, from_lost, all);
                    }
                    younger.add(held * of_held, if_held, all);
                    apart.add(held, decayed, all);
                }
            }
        }
        for (fact, sums) in [
            ("decay-true leaves the hidden attention", unchanged),
            ("the error of decay-true is what was lost", lost),
            ("hold is the recurrence of kept tokens", younger),
        ] {
            if own_queries && sums.size == 0.0 {
                // The queries of what was lost are other ones than those of the unpruned run.
                continue;
            }
            let ratio = sums.ratio();
            if ratio.is_nan() || ratio > TOLERANCE {
                wrong.push(format!("{}: {fact}: {ratio:.2e}", definition.id));
            }
        }
        // Where nothing decays both are the same.
        let decays = definition.id != "linear_attention";
        if (apart.ratio() > 1e-3) != decays {
            let ratio = apart.ratio();
            wrong.push(format!("{}: hold is off by {ratio:.2e}", definition.id));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(walked + NO_SUM.len(), mixers::ALL.len());
}
