//! A checkpoint reads 4,096 tokens from the empty state.

use std::rc::Rc;

use fearless_simd::Level;
use linearium::model::load::load;
use linearium::model::session::{Options, Session};
use linearium::player::{CpuPlayer, Player};
use pollster::block_on;

use crate::{Case, Files, Input, PREFILL_TOKENS};

/// Tokens of a recording: what [`CpuPlayer`] asks for.
const SEGMENT: usize = 256;

/// The model, its text, and the losses of the last run.
pub struct Prefill {
    session: Session<CpuPlayer>,
    tokens: Vec<u32>,
    losses: Vec<f32>,
}

impl Prefill {
    /// Loads the model.
    ///
    /// # Errors
    /// A sentence if the checkpoint is not right or the text too short.
    pub fn new(level: Level, files: Files) -> Result<Prefill, String> {
        let text = files.text.get(..PREFILL_TOKENS).ok_or_else(|| {
            format!(
                "the text has {} bytes, {PREFILL_TOKENS} are needed",
                files.text.len()
            )
        })?;
        let tokens = text.iter().map(|&byte| u32::from(byte)).collect();
        let stack = Rc::new(load(&files.config, files.weights)?);
        let options = Options {
            capacity: PREFILL_TOKENS,
            ..Options::default()
        };
        let player = |layout| async move { Ok(CpuPlayer::with_level(&layout, level)) };
        let session = block_on(Session::new(stack, &options, SEGMENT, player))?;
        debug_assert_eq!(session.player.segment_tokens(), SEGMENT);
        Ok(Prefill {
            session,
            tokens,
            losses: Vec::new(),
        })
    }
}

impl Case for Prefill {
    fn inputs(&self) -> Vec<Input<'_>> {
        Vec::new()
    }

    fn reference(&self) -> Option<Vec<f32>> {
        None
    }

    fn run(&mut self) -> Result<(), String> {
        self.session.reset()?;
        self.losses = block_on(self.session.read_text(&self.tokens))?.0;
        Ok(())
    }

    fn output(&mut self) -> Result<&[f32], String> {
        Ok(&self.losses)
    }
}
