//! The hidden attention explains the scan: a row of M times the values is what the layer reads
//! from its state, for every mixer, every change of the model, every head and position.
//!
//! M comes from what a run keeps (f32, through the recording); values, keys and states come from
//! the definitions in f64.

use std::rc::Rc;

use linearium::mixers::{self, Change, StepState, Write};
use linearium::model::session::{Options, Session};
use linearium::model::stack::Stack;
use linearium::player::CpuPlayer;
use linearium::probes::receptive_field::row;
use linearium::probes::run::{Factors, Look, Run};
use pollster::block_on;

const T: usize = 48;
const LAYER: usize = 1;

fn factors(stack: &Rc<Stack>, tokens: &[u32], change: &Change, head: usize) -> Factors {
    let options = Options {
        capacity: T,
        change: change.clone(),
        tapped_layer: Some(LAYER),
        ..Options::default()
    };
    let session = Session::new(stack.clone(), &options, 20, |layout| async move {
        Ok(CpuPlayer::new(&layout))
    });
    let look = Look { layer: LAYER, head };
    let mut run = Run::new(block_on(session).unwrap(), tokens.to_vec(), look);
    while block_on(run.advance()).unwrap() {}
    run.evidence.factors
}

/// The state of the layer after each token, by the definition.
fn states(stack: &Stack, tokens: &[u32], change: &Change) -> Vec<StepState> {
    let mut states = Vec::new();
    tokens
        .iter()
        .map(|&token| {
            stack.step(&mut states, token, change);
            states[LAYER].clone()
        })
        .collect()
}

/// Everything that was written into the layer: a window as long as the text keeps it.
fn writes(stack: &Stack, tokens: &[u32], change: &Change) -> Vec<Write> {
    let mut kept = change.clone();
    if kept.window == 0 {
        kept.window = T;
        return states(stack, tokens, &kept).remove(T - 1).writes;
    }
    // Each token's write is the last one in its window.
    states(stack, tokens, change)
        .iter()
        .map(|s| s.writes[s.writes.len() - 1].clone())
        .collect()
}

fn changes() -> Vec<Change> {
    let plain = Change::default();
    vec![
        plain.clone(),
        Change {
            log_decay_shift: 0.9f32.ln(),
            write_factor: 0.5,
            ..plain.clone()
        },
        Change {
            window: 7,
            log_decay_shift: 0.99f32.ln(),
            ..plain
        },
    ]
}

#[test]
fn a_row_times_the_values_is_what_is_read_from_the_state() {
    for definition in mixers::ALL {
        let stack = Rc::new(Stack::random(definition, 11));
        let tokens: Vec<u32> = (0..T as u32).map(|i| (i * 29 + i * i * 7) % 256).collect();
        let shape = stack.blocks[LAYER].mixer.shape();
        for change in changes() {
            let states = states(&stack, &tokens, &change);
            let writes = writes(&stack, &tokens, &change);
            assert_eq!(writes.len(), T);
            for head in [0, shape.heads / 2, shape.heads - 1] {
                let f = factors(&stack, &tokens, &change, head);
                let scale = f64::from(f.scale) / f64::from(change.write_factor);
                let (mut difference, mut size) = (0.0, 0.0);
                for i in 0..T {
                    let got = weighted_values(&row(&f, i), &writes, head, shape.value);
                    let want = if f.softmax {
                        attended(&f, &states[i], i, head, shape.value)
                    } else {
                        read(&f, scale, &states[i].state, i, head, shape.value)
                    };
                    for (got, want) in got.iter().zip(want) {
                        difference += (got - want).powi(2);
                        size += want.powi(2);
                    }
                }
                let ratio = (difference / size).sqrt();
                assert!(
                    ratio <= 1e-5,
                    "{} head {head} with {change:?}: {ratio:.2e}",
                    definition.id
                );
                assert!(size > 0.0, "{}: nothing was read", definition.id);
            }
        }
    }
}

/// `sum_j M_ij v_j`.
fn weighted_values(row: &[f32], writes: &[Write], head: usize, width: usize) -> Vec<f64> {
    let column = |c: usize| {
        row.iter()
            .zip(writes)
            .map(|(&m, w)| f64::from(m) * w.value[head * width + c])
            .sum()
    };
    (0..width).map(column).collect()
}

/// `scale S_i^T q_i`, the state in f64. The write factor is in the state, so not in `scale`.
fn read(f: &Factors, scale: f64, state: &[f64], i: usize, head: usize, width: usize) -> Vec<f64> {
    let q = &f.q[i * f.key..][..f.key];
    let column = |c: usize| {
        (0..f.key)
            .map(|n| scale * f64::from(q[n]) * state[(head * f.key + n) * width + c])
            .sum()
    };
    (0..width).map(column).collect()
}

/// `sum_j softmax_j(scale q_i . k_j) v_j` over what the definition still keeps.
fn attended(f: &Factors, state: &StepState, i: usize, head: usize, width: usize) -> Vec<f64> {
    let q = &f.q[i * f.key..][..f.key];
    let weight = |w: &Write| {
        let k = &w.key[head * f.key..][..f.key];
        let dot: f64 = q.iter().zip(k).map(|(&q, k)| f64::from(q) * k).sum();
        (f64::from(f.scale) * dot).exp()
    };
    let sum: f64 = state.writes.iter().map(weight).sum();
    let column = |c: usize| {
        state
            .writes
            .iter()
            .map(|w| weight(w) / sum * w.value[head * width + c])
            .sum()
    };
    (0..width).map(column).collect()
}
