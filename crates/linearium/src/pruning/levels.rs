//! One channel of S6 that reads levels: the smallest layer on which what was dropped can be empty or
//! redundant.

use super::{DropMode, Neighbours, Pruning};
use crate::mixers::s6::{InnerNorms, S6};
use crate::model::session::{Options, Session};
use crate::model::stack::{Block, Norm, Stack};
use crate::plan::TokenTables;
use crate::player::Player;
use crate::recording::BufferId;

/// The levels that a token has: token n is the input `n / LEVELS`.
pub const LEVELS: usize = 4096;

/// One channel of S6 with 16 states of rates -1 to -16, this step for every token, B = C = 1, that
/// reads the level of a token as its input, 0 to 1.
pub fn channel(step: f64) -> Stack {
    let mut embedding = Vec::new();
    for level in 0..LEVELS {
        // A norm over both columns hardly sees the first one.
        embedding.extend([0.01 * level as f32 / LEVELS as f32, 1.0]);
    }
    let states = 16;
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
        dt_bias: vec![step.exp_m1().ln() as f32].into(),
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
        token_tables: TokenTables::default(),
    }
}

/// What kept tokens read from the state of [`channel`]: in one run without pruning, or with this
/// meaning of what is dropped.
///
/// # Errors
/// The sentence of the session or the player.
pub async fn readouts<P: Player>(
    open: &impl AsyncFn(Options) -> Result<Session<P>, String>,
    tokens: &[u32],
    kept: &[usize],
    mode: Option<DropMode>,
) -> Result<Vec<f64>, String> {
    let t = tokens.len();
    let pruning = match mode {
        Some(mode) => Some(Pruning::new(
            mode,
            Neighbours::Original,
            t,
            vec![(0, kept.to_vec())],
        )?),
        None => None,
    };
    // Copies are walked over one by one, and tokens that are masked stay: kept ones are at their
    // places.
    let in_place = matches!(mode, None | Some(DropMode::Carry | DropMode::Mask));
    let mut session = open(Options {
        capacity: t,
        tapped_layer: Some(0),
        pruning,
        ..Options::default()
    })
    .await?;
    let mut buffers = session.plan.layout.buffers.iter();
    let found = buffers.position(|b| b.name == "layers.0.scanned");
    let buffer = found.ok_or("the layer has no scan to be read")?;
    session.feed(tokens, None).await?;
    let rows = if in_place { t } else { kept.len() };
    let part = (BufferId(buffer as u32), 0..rows);
    let read = session.player.read(&[part]).await?;
    let row = |(k, position): (usize, &usize)| read[0][if in_place { *position } else { k }].into();
    Ok(kept.iter().enumerate().map(row).collect())
}

/// Root-mean-square error of these readouts over that of the whole text's.
pub fn error(got: &[f64], whole: &[f64]) -> f64 {
    let square = |x: f64| x * x;
    let pairs = got.iter().zip(whole);
    let difference: f64 = pairs.map(|(g, w)| square(g - w)).sum();
    let size: f64 = whole.iter().map(|w| square(*w)).sum();
    (difference / size).sqrt()
}
