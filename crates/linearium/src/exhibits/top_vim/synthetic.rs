//! One channel of known rates over signals that are empty or redundant where tokens are dropped.

use super::memory::{Memory, squares};
use crate::exhibit::Measured;
use crate::mixers::s6::S6;
use crate::model::image::session::Scanned;
use crate::number::short;
use crate::pruning::DropMode;
use crate::pruning::ranking::highest;
use crate::random::Random;

const TOKENS: usize = 196;
const STATES: usize = 16;
const STEP: f32 = 0.003;
const SEEDS: u64 = 20;

/// A channel with rates 1 to 16 whose empty tokens have the same step as all others.
fn channel() -> S6 {
    S6 {
        width: 1,
        channels: 1,
        states: STATES,
        rank: 1,
        in_proj: vec![0.0; 2].into(),
        in_bias: None,
        conv_weight: vec![1.0].into(),
        conv_bias: None,
        x_proj: vec![0.0; 1 + 2 * STATES].into(),
        norms: None,
        dt_proj: vec![0.0].into(),
        dt_bias: vec![STEP.exp_m1().ln()].into(),
        a: (1..=STATES).map(|n| -(n as f32)).collect(),
        skip: vec![0.0].into(),
        out_proj: vec![0.0].into(),
        out_bias: None,
    }
}

fn read_alike(x: Vec<f32>) -> Scanned {
    Scanned {
        tokens: (0..TOKENS).collect(),
        b: vec![1.0; TOKENS * STATES],
        c: vec![1.0; TOKENS * STATES],
        x,
        steps: vec![STEP; TOKENS],
    }
}

/// Errors of what half of the tokens read, over what they read with all there: gaps closed, kept.
fn errors(signal: Vec<f32>, kept: &[usize]) -> [f64; 2] {
    let (route, scanned) = (channel(), read_alike(signal));
    let all: Vec<usize> = (0..TOKENS).collect();
    let whole = Memory::new(&route, &scanned, &scanned, &all);
    let pruned = Memory::new(&route, &scanned, &scanned, kept);
    let (_, want) = whole.states(DropMode::Hold);
    [DropMode::Hold, DropMode::DecayDefault].map(|mode| {
        let (_, got) = pruned.states(mode);
        let [apart, size] = squares(&pruned, &got, &want);
        (apart / size).sqrt()
    })
}

/// Events on a quiet ground, the largest kept.
fn sparse(seed: u64) -> [f64; 2] {
    let mut random = Random::new(seed);
    let signal: Vec<f32> = (0..TOKENS)
        .map(|_| {
            let event = random.uniform() < 0.2;
            let size = if event { 1.0 } else { 0.005 };
            (size * random.normals(1, 1.0)[0]).abs()
        })
        .collect();
    let kept = highest(&signal, TOKENS / 2);
    errors(signal, &kept)
}

/// A slow wave, random tokens kept.
fn smooth(seed: u64) -> [f64; 2] {
    let mut random = Random::new(seed);
    let phase = random.uniform();
    let wave = |t: usize| 1.5 + (std::f64::consts::TAU * (t as f64 / 98.0 + phase)).sin();
    let signal = (0..TOKENS).map(|t| wave(t) as f32).collect();
    let draws = random.normals(TOKENS, 1.0);
    let kept = highest(&draws, TOKENS / 2);
    errors(signal, &kept)
}

/// Both ratios of errors.
pub fn crossover() -> Measured {
    let mean = |errors: fn(u64) -> [f64; 2]| {
        let all = (0..SEEDS).map(errors);
        all.fold([0.0; 2], |[a, b], [closed, kept]| {
            [a + closed / SEEDS as f64, b + kept / SEEDS as f64]
        })
    };
    let ([sparse_closed, sparse_kept], [smooth_closed, smooth_kept]) = (mean(sparse), mean(smooth));
    let ratios = [sparse_closed / sparse_kept, smooth_kept / smooth_closed];
    Measured {
        value: ratios[0].min(ratios[1]),
        words: format!(
            "On sparse events closed gaps err by {} and kept ones by {}; on a smooth signal by {} and {}.",
            short(sparse_closed),
            short(sparse_kept),
            short(smooth_closed),
            short(smooth_kept)
        ),
    }
}
