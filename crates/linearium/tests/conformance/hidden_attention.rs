//! The hidden attention explains the scan: a row of M times the values is what the layer reads,
//! for every mixer, every change of the model, some heads and every position.
//!
//! M comes from what a run keeps (f32, through the recording); values and what is read come from
//! the definition in f64.

use std::rc::Rc;

use linearium::mixers::{self, Change, StepState};
use linearium::model::session::Options;
use linearium::model::stack::Stack;
use linearium::probes::receptive_field::row;
use linearium::probes::run::{Factors, Look, Run};
use pollster::block_on;

use crate::suite::{changes, tokens};

const T: usize = 48;
const LAYER: usize = 1;

fn factors(stack: &Rc<Stack>, tokens: &[u32], change: &Change, head: usize) -> Factors {
    let options = Options {
        capacity: T,
        change: change.clone(),
        tapped_layer: Some(LAYER),
        ..Options::default()
    };
    let session = crate::session(stack, &options, 20);
    let look = Look { layer: LAYER, head };
    let mut run = Run::new(session, tokens.to_vec(), look);
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

/// f32 factors through one layer against f64: products of up to 48 decays, sums over K keys;
/// 1e-5 is some five times what is seen.
#[test]
fn a_row_times_the_values_is_what_is_read() {
    for definition in mixers::ALL {
        let stack = Rc::new(Stack::random(definition, 11));
        let tokens = tokens(T);
        let shape = stack.blocks[LAYER].mixer.shape();
        let width = shape.value;
        for (name, change) in changes(shape.heads) {
            let states = states(&stack, &tokens, &change);
            for head in [0, shape.heads / 2, shape.heads - 1] {
                let f = factors(&stack, &tokens, &change, head);
                let (mut difference, mut size) = (0.0, 0.0);
                for i in 0..T {
                    let row = row(&f, i);
                    for c in head * width..(head + 1) * width {
                        let got: f64 = row
                            .iter()
                            .zip(&states)
                            .map(|(&m, s)| f64::from(m) * s.last_value[c])
                            .sum();
                        let want = states[i].last_read[c];
                        difference += (got - want).powi(2);
                        size += want.powi(2);
                    }
                }
                assert!(
                    difference <= 1e-10 * size,
                    "{} head {head} with {name}: {:.2e}",
                    definition.id,
                    (difference / size).sqrt()
                );
                // A filter may leave a head without a single write.
                assert!(
                    size > 0.0 || change.thresholds.is_some(),
                    "{}: nothing was read",
                    definition.id
                );
            }
        }
    }
}
