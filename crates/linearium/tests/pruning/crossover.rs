//! Where what was removed was empty, its true decay is right and holding the state is wrong; where
//! it was redundant, the order is reversed.

use std::rc::Rc;

use linearium::mixers::s6::{InnerNorms, S6};
use linearium::model::session::{Options, Session};
use linearium::model::stack::{Block, Norm, Stack};
use linearium::player::Player;
use linearium::pruning::{DropMode, Neighbours, Protect, Pruning, select};
use linearium::random::Random;
use pollster::block_on;

/// Tokens, and the levels that a token has.
const T: usize = 196;
const LEVELS: usize = 4096;

/// One channel of S6 with 16 states of rates -1 to -16, a step of 0.003 for every token, B = C = 1,
/// that reads the level of a token as its input, 0 to 1.
fn levels() -> Stack {
    let mut embedding = Vec::new();
    for level in 0..LEVELS {
        // A norm over both columns hardly sees the first one.
        embedding.extend([0.01 * level as f32 / LEVELS as f32, 1.0]);
    }
    let states = 16;
    let dt = 0.003f64;
    let mixer = S6 {
        width: 2,
        channels: 1,
        states,
        rank: 1,
        // x in the linear part of SiLU's far end, far above 0.
        in_proj: vec![70.0, 0.0, 0.0, 1.0].into(),
        in_bias: None,
        conv_weight: vec![1.0].into(),
        conv_bias: None,
        x_proj: [vec![0.0], vec![1.0; 2 * states]].concat().into(),
        // B and C over their size: 1 for every input above 0.
        norms: Some(InnerNorms {
            dt: vec![1.0].into(),
            b_c: vec![1.0; 2 * states].into(),
            eps: 1e-12,
        }),
        dt_proj: vec![0.0].into(),
        dt_bias: vec![dt.exp_m1().ln() as f32].into(),
        a: (1..=states).map(|n| -(n as f32)).collect(),
        skip: vec![0.0].into(),
        out_proj: vec![1.0, 1.0].into(),
        out_bias: None,
    };
    Stack {
        name: "levels".to_owned(),
        width: 2,
        vocab: LEVELS,
        embedding: embedding.into(),
        blocks: vec![Block {
            stream_norm: None,
            norm: Norm::Rms(vec![1.0; 2].into()),
            mixer: Box::new(mixer),
            feed_forward: None,
        }],
        norm: Norm::Rms(vec![1.0; 2].into()),
        head: None,
        eps: 1e-12,
        train_context: None,
        reads_bytes: false,
        tokenizer: None,
        token_tables: linearium::plan::TokenTables::default(),
    }
}

/// What kept tokens read from the state.
fn read<P: Player>(mut session: Session<P>, tokens: &[u32], rows: usize) -> Vec<f64> {
    let mut buffers = session.plan.layout.buffers.iter();
    let found = buffers.position(|b| b.name == "layers.0.scanned").unwrap();
    let buffer = linearium::recording::BufferId(found as u32);
    block_on(session.feed(tokens, None)).unwrap();
    let read = block_on(session.player.read(&[(buffer, 0..rows)])).unwrap();
    read[0].iter().map(|&x| x.into()).collect()
}

/// Errors of modes on the kept tokens, over what the whole text gives there.
fn errors<P: Player, const N: usize>(
    open: impl Fn(&Rc<Stack>, &Options, usize) -> Result<Session<P>, String>,
    tokens: &[u32],
    kept: &[usize],
    modes: [DropMode; N],
) -> [f64; N] {
    let stack = Rc::new(levels());
    let whole = Options {
        capacity: T,
        tapped_layer: Some(0),
        ..Options::default()
    };
    let dense = read(open(&stack, &whole, T).unwrap(), tokens, T);
    let dense: Vec<f64> = kept.iter().map(|k| dense[*k]).collect();
    modes.map(|mode| {
        let steps = vec![(0, kept.to_vec())];
        let options = Options {
            pruning: Some(Pruning::new(mode, Neighbours::Original, T, steps).unwrap()),
            ..whole.clone()
        };
        // Copies are walked over one by one, and kept ones are at their places.
        let got = read(open(&stack, &options, T).unwrap(), tokens, T);
        let got: Vec<f64> = match mode {
            DropMode::Carry => kept.iter().map(|k| got[*k]).collect(),
            _ => got[..kept.len()].to_vec(),
        };
        let square = |x: f64| x * x;
        let difference: f64 = got.iter().zip(&dense).map(|(g, d)| square(g - d)).sum();
        let size: f64 = dense.iter().map(|d| square(*d)).sum();
        (difference / size).sqrt()
    })
}

/// Both halves of the crossover.
pub fn crossover<P: Player>(
    open: impl Fn(&Rc<Stack>, &Options, usize) -> Result<Session<P>, String>,
) {
    let modes = [DropMode::Hold, DropMode::DecayTrue, DropMode::Carry];
    let mut random = Random::new(1);
    let all: Vec<usize> = (0..T).collect();
    // Events on a background of hardly anything, kept by their size.
    let events: Vec<u32> = (0..T)
        .map(|_| match random.uniform() {
            u if u < 0.06 => 2000 + random.below(2000) as u32,
            _ => 1,
        })
        .collect();
    let scores: Vec<f32> = events.iter().map(|&level| level as f32).collect();
    // Whatever is kept beside the events: background all over the text.
    let noise: Vec<f32> = scores.iter().map(|s| s + random.uniform() as f32).collect();
    let kept = select(&noise, &all, T / 2, &Protect::default()).kept;
    let [hold, decay, _] = errors(&open, &events, &kept, modes);
    assert!(
        decay <= 0.02 && hold >= 0.3,
        "events: hold {hold}, decay-true {decay}"
    );

    let smooth: Vec<u32> = (0..T)
        .map(|t| (2048.0 + 1500.0 * (t as f64 / 30.0).sin()) as u32)
        .collect();
    let chance: Vec<f32> = (0..T).map(|_| random.uniform() as f32).collect();
    let kept = select(&chance, &all, T / 2, &Protect::default()).kept;
    let [hold, decay, carry] = errors(&open, &smooth, &kept, modes);
    assert!(
        decay >= 0.3 && hold < decay && carry <= 0.05,
        "smooth: hold {hold}, decay-true {decay}, carry {carry}"
    );
}
