//! What dropping means, one token after the other in f64, from the definitions of the mixers.
//!
//! A mixer's step is linear in its recurrent state, `S -> a S + b`. So the decay of a token is
//! `step(S) - step(0)`, whatever the mixer, and a copy of the last kept token is its step again.

use std::collections::BTreeSet;

use linearium::mixers::{Change, Context, Mixer, StepState};
use linearium::model::stack::{Norm, Stack};
use linearium::pruning::{DropMode, Neighbours, Pruning};
use linearium::step::{Left, linear, rms_norm, softplus};

/// The recurrent state of a layer as numbers that a token maps linearly.
type State = Vec<Vec<f64>>;

const WKV: &str = "numerator, denominator, maximum";

fn is_wkv(mixer: &dyn Mixer) -> bool {
    ["rwkv4", "spike_gpt"].contains(&mixer.definition().id)
}

fn take(mixer: &dyn Mixer, state: &mut StepState) -> State {
    if is_wkv(mixer) {
        let sums = state.carried(WKV, 3 * mixer.shape().heads).clone();
        let d = sums.len() / 3;
        let of = |part: usize| {
            (0..d)
                .map(|c| scaled(sums[part * d + c], sums[2 * d + c]))
                .collect()
        };
        return vec![of(0), of(1)];
    }
    vec![state.state.clone(), state.second().state.clone()]
}

/// A sum as it is, from one that is divided by its largest term.
fn scaled(sum: f64, log: f64) -> f64 {
    if sum == 0.0 { 0.0 } else { sum * log.exp() }
}

fn put(mixer: &dyn Mixer, state: &mut StepState, values: &State) {
    if is_wkv(mixer) {
        let d = mixer.shape().heads;
        let sums = state.carried(WKV, 3 * d);
        for c in 0..d {
            let part = |part: &Vec<f64>| part.get(c).copied().unwrap_or(0.0);
            [sums[c], sums[d + c], sums[2 * d + c]] = [part(&values[0]), part(&values[1]), 0.0];
        }
        return;
    }
    state.state.clone_from(&values[0]);
    state.second().state.clone_from(&values[1]);
}

fn difference(a: &State, b: &State) -> State {
    let part = |(a, b): (&Vec<f64>, &Vec<f64>)| -> Vec<f64> {
        (a.iter().enumerate())
            .map(|(i, a)| a - b.get(i).copied().unwrap_or(0.0))
            .collect()
    };
    a.iter().zip(b).map(part).collect()
}

/// `h exp(softplus(dt_bias) A)`: the convolution of S6 has a bias, so that its step on zeros is not
/// that of a scan whose input is zero.
fn decayed_by_bias(mixer: &dyn Mixer, state: &State) -> State {
    let weights = mixer.weights();
    let (dt_bias, a, states) = (weights[4], weights[5], mixer.shape().key);
    let h = state[0].iter().enumerate();
    let decayed =
        h.map(|(i, h)| h * (softplus(dt_bias[i / states].into()) * f64::from(a[i])).exp());
    vec![decayed.collect(), Vec::new()]
}

/// One layer: what kept tokens get, and what they write into the state.
pub struct Read {
    /// What the mixer adds to the residual stream of each token, empty for dropped ones.
    pub out: Vec<Vec<f64>>,
    /// The value of each kept token, `[H, V]`.
    pub value: Vec<Vec<f64>>,
}

/// A layer over `u [T][D]`; only tokens of `kept` are in its state.
pub fn layer(
    mixer: &dyn Mixer,
    number: usize,
    u: &[Vec<f64>],
    kept: &BTreeSet<usize>,
    (mode, neighbours): (DropMode, Neighbours),
    left: &[Left],
) -> Read {
    let change = Change::default();
    let id = mixer.definition().id;
    // Without a convolution both are the same, and a cache of all tokens would be no reference.
    let caches = ["attention", "window_attention", "gau", "seq_boat"].contains(&id);
    let condensed = neighbours == Neighbours::Condensed || caches;
    let step = |state: &mut StepState, p: usize, u: &[f64]| {
        let context = Context {
            change: &change,
            layer: number,
            left: &left[p],
        };
        mixer.step(state, u, &context)
    };
    // What a token does to a state: its step from there, and from nothing.
    let moved = |from: &StepState, p: usize, u: &[f64], s: &State| -> State {
        let mut state = from.clone();
        put(mixer, &mut state, s);
        step(&mut state, p, u);
        take(mixer, &mut state)
    };
    let decayed = |from: &StepState, p: usize, u: &[f64], s: &State| -> State {
        let nothing = vec![Vec::new(); s.len()];
        difference(&moved(from, p, u, s), &moved(from, p, u, &nothing))
    };
    let mut dense = StepState::default();
    let mut of_kept = StepState::default();
    let mut state: State = vec![Vec::new(); 2];
    let mut last: Option<(usize, StepState)> = None;
    let mut result = Read {
        out: Vec::new(),
        value: Vec::new(),
    };
    for (p, u_p) in u.iter().enumerate() {
        dense.position = p;
        // Its learned biases count distances in kept tokens; angles are those of the whole text.
        if id != "seq_boat" {
            of_kept.position = p;
        }
        if kept.contains(&p) {
            let mut here = if condensed {
                of_kept.clone()
            } else {
                dense.clone()
            };
            if id == "spike_gpt" {
                let membranes = of_kept.carried("membranes", u_p.len()).clone();
                *here.carried("membranes", u_p.len()) = membranes;
            }
            put(mixer, &mut here, &state);
            last = Some((p, here.clone()));
            result.out.push(step(&mut here, p, u_p));
            result.value.push(here.last_value.clone());
            state = take(mixer, &mut here);
            of_kept = here;
        } else {
            result.out.push(Vec::new());
            result.value.push(Vec::new());
            let held = match mode {
                DropMode::Mask => panic!("masking drops nothing from a state"),
                DropMode::Gather | DropMode::Hold => state.clone(),
                DropMode::DecayTrue => decayed(&dense, p, u_p, &state),
                DropMode::DecayDefault if id == "s6" => decayed_by_bias(mixer, &state),
                DropMode::DecayDefault => {
                    let zeros = vec![0.0; u_p.len()];
                    decayed(&StepState::default(), p, &zeros, &state)
                }
                DropMode::Carry => match &last {
                    Some((q, from)) => moved(from, *q, &u[*q], &state),
                    None => state.clone(),
                },
            };
            // A state that nothing was written to yet has no values.
            state = held;
        }
        if !caches {
            step(&mut dense, p, u_p);
        }
    }
    result
}

fn norm(x: &[f64], norm: &Norm, eps: f32) -> Vec<f64> {
    match norm {
        Norm::Rms(weight) => rms_norm(x, weight, x.len(), eps.into()),
        Norm::Layer { .. } => panic!("models with random weights have RMS norms"),
    }
}

/// The logits of every kept token of a model without feed-forward layers.
pub fn logits(stack: &Stack, tokens: &[u32], pruning: &Pruning) -> Vec<Vec<f64>> {
    let d = stack.width;
    let row = |&token: &u32| -> Vec<f64> {
        let row = &stack.embedding[token as usize * d..][..d];
        row.iter().map(|&v| f64::from(v)).collect()
    };
    let mut x: Vec<Vec<f64>> = tokens.iter().map(row).collect();
    let left = vec![Left::default(); tokens.len()];
    let mut alive: BTreeSet<usize> = (0..tokens.len()).collect();
    let masks = pruning.mode == DropMode::Mask;
    for (number, block) in stack.blocks.iter().enumerate() {
        if let Some((_, kept)) = pruning.steps().iter().find(|(at, _)| *at == number) {
            alive = kept.iter().copied().collect();
            if masks {
                let gone = (0..x.len()).filter(|p| !alive.contains(p));
                gone.for_each(|p| x[p] = vec![0.0; d]);
            }
        }
        let u: Vec<Vec<f64>> = x.iter().map(|x| norm(x, &block.norm, stack.eps)).collect();
        let all = (0..x.len()).collect();
        let (there, mode) = if masks {
            (&all, DropMode::Hold)
        } else {
            (&alive, pruning.mode)
        };
        let meaning = (mode, pruning.neighbours);
        let read = layer(block.mixer.as_ref(), number, &u, there, meaning, &left);
        for p in there {
            x[*p]
                .iter_mut()
                .zip(&read.out[*p])
                .for_each(|(x, y)| *x += y);
        }
    }
    let head = stack.head.as_ref().unwrap_or(&stack.embedding);
    let kept = alive.iter();
    kept.map(|&p| linear(&norm(&x[p], &stack.norm, stack.eps), head, None))
        .collect()
}
