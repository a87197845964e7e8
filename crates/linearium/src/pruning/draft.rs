//! A draft model: a smaller one reads the text first and says what matters to the model that is
//! pruned (arXiv 2506.08373; `furiosa-ai/draft-based-approx-llm`).
//!
//! For SpecKV it goes on with the text, and the model reads those guesses behind the text, so that
//! they vote too. For SpecPC its own attention weighs the tokens. A recurrent draft weighs by the
//! shares of its hidden attention, which is this project's extension: the paper's drafts are
//! transformers.

use super::Score;
use super::look::look;
use super::scores::spec_pc;
use crate::model::session::{Options, Session};
use crate::model::stack::Stack;
use crate::player::Player;

/// Tokens that a draft goes on with, for SpecKV.
pub const LOOKAHEAD: usize = 8;
/// Of them, those whose attention SpecPC reads (`specpc.py`: one).
const WEIGHING: usize = 1;
/// Layers that the official code leaves out, of drafts that have more.
const FIRST_LAYER: usize = 8;

/// What a draft model says of a text.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Draft {
    /// How it goes on, [`LOOKAHEAD`] tokens, each the most likely one.
    pub guessed: Vec<u32>,
    /// Importance of each token of the text, `[T]`.
    pub importance: Vec<f32>,
}

/// True if this score asks a draft model.
pub fn is_asked(score: &dyn Score) -> bool {
    let asks = |field: &&str| ["draft", "lookahead"].contains(field);
    score.needs().iter().any(asks)
}

/// Checks that two models read this text as the same tokens.
///
/// # Errors
/// A sentence if they do not.
pub fn check_tokens(model: &Stack, draft: &Stack, text: &[u8]) -> Result<(), String> {
    if model.vocab != draft.vocab {
        return Err(format!(
            "the draft model knows {} tokens and the model {}: choose a draft that reads the same tokens",
            draft.vocab, model.vocab
        ));
    }
    if model.encode(text) != draft.encode(text) {
        return Err(
            "the draft model cuts the text into other tokens than the model: choose a draft that reads the same tokens"
                .to_owned(),
        );
    }
    Ok(())
}

/// Lets a draft model read a text; `open` opens sessions of the draft.
///
/// # Errors
/// The sentence of a session, or one if a layer of the draft has neither queries nor keys.
pub async fn read<P: Player>(
    open: &impl AsyncFn(Options) -> Result<Session<P>, String>,
    tokens: &[u32],
) -> Result<Draft, String> {
    let options = |tapped_layer, guesses| Options {
        capacity: tokens.len() + guesses,
        tapped_layer,
        ..Options::default()
    };
    let mut session = open(options(None, LOOKAHEAD)).await?;
    let guessed = go_on(&mut session, tokens, LOOKAHEAD).await?;
    let layers = session.stack.blocks.len();
    drop(session);
    let first = if layers > FIRST_LAYER { FIRST_LAYER } else { 0 };
    let text = [tokens, &guessed[..guessed.len().min(WEIGHING)]].concat();
    let mut importance = vec![0f32; tokens.len()];
    for layer in first..layers {
        let mut session = open(options(Some(layer), WEIGHING)).await?;
        let arrays = look(&mut session, &text, layer).await?;
        let mut seen = arrays.seen(0, 0);
        seen.lookahead = text.len() - tokens.len();
        let window = spec_pc::Options::for_text(tokens.len()).window;
        let of_layer = spec_pc::importance_by(&[seen], window)?;
        for (all, of_layer) in importance.iter_mut().zip(of_layer) {
            *all = all.max(of_layer as f32);
        }
    }
    Ok(Draft {
        guessed,
        importance,
    })
}

/// The most likely tokens behind a text, one after the other; none behind no text.
async fn go_on<P: Player>(
    session: &mut Session<P>,
    tokens: &[u32],
    count: usize,
) -> Result<Vec<u32>, String> {
    session.reset()?;
    let (_, guesses) = session.read_text(tokens).await?;
    let mut out = Vec::new();
    let mut next = guesses.last().copied();
    while let Some(token) = next.filter(|_| out.len() < count) {
        out.push(token);
        session.feed(&[token], None).await?;
        let read = session.player.read(&[(session.plan.losses, 0..2)]).await?;
        next = Some(read[0][1] as u32);
    }
    Ok(out)
}
