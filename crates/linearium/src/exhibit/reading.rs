//! A model reading a text on the bench, with the rows that an exhibit asks for.

use std::rc::Rc;

use super::{Bench, BoxedPlayer};
use crate::mixers::{Columns, Taps};
use crate::model::session::{Options, Session};
use crate::model::stack::Stack;
use crate::probes::passkey;
use crate::random::Random;

/// Columns of a layer, picked from its taps; none for a layer that has no such thing.
pub type Pick = fn(&Taps) -> Option<Columns>;

/// What was read.
#[derive(Clone, Debug, Default)]
pub struct Reading {
    /// Loss in nats of predicting token t + 1, `[T - 1]`.
    pub losses: Vec<f32>,
    /// The most likely next token, `[T]`.
    pub guesses: Vec<u32>,
    /// For each that was asked for: `[T, width]`, empty for a layer that has no such thing.
    pub rows: Vec<Vec<f32>>,
    /// Position and state `[H, K, V]` of the layer looked at, after each segment.
    pub states: Vec<(usize, Vec<f32>)>,
}

impl Bench<'_> {
    /// A session on this bench.
    ///
    /// # Errors
    /// One sentence of the player.
    pub async fn session(
        &self,
        stack: &Rc<Stack>,
        options: &Options,
    ) -> Result<Session<BoxedPlayer>, String> {
        Session::new(stack.clone(), options, self.segment_tokens(), |layout| {
            self.player(layout)
        })
        .await
    }

    /// Reads `tokens` from an empty state in segments of at most `every` tokens, keeping the
    /// columns in `wanted` (layer and what of it) and the states of the tapped layer.
    ///
    /// # Errors
    /// One sentence of the session, or that this run is not wanted any more.
    pub async fn read(
        &self,
        session: &mut Session<BoxedPlayer>,
        tokens: &[u32],
        every: usize,
        wanted: &[(usize, Pick)],
        state_of: Option<usize>,
    ) -> Result<Reading, String> {
        session.reset()?;
        let columns: Vec<Option<Columns>> = wanted
            .iter()
            .map(|(layer, pick)| pick(session.plan.taps(*layer)))
            .collect();
        let state = state_of.and_then(|layer| session.plan.taps(layer).state);
        let mut out = Reading {
            rows: vec![Vec::new(); wanted.len()],
            ..Reading::default()
        };
        let mut done = 0;
        while done < tokens.len() {
            let left = (tokens.len() - done).min(every - done % every);
            let t = session.next_segment(left);
            let next = tokens.get(done + t).copied();
            session.feed(&tokens[done..done + t], next).await?;
            done += t;
            let mut parts = vec![(session.plan.losses, 0..2 * t)];
            let kept = columns.iter().flatten();
            parts.extend(kept.map(|c| (c.buffer, 0..c.stride * t)));
            if let Some(state) =
                state.filter(|_| done.is_multiple_of(every) || done == tokens.len())
            {
                parts.push((state, 0..session.plan.layout.info(state).len));
            }
            use crate::player::Player as _;
            let mut read = session.player.read(&parts).await?.into_iter();
            for pair in read.next().unwrap_or_default().chunks_exact(2) {
                out.losses.push(pair[0]);
                out.guesses.push(pair[1] as u32);
            }
            for (rows, c) in out.rows.iter_mut().zip(&columns) {
                let Some(c) = c else { continue };
                for row in read.next().unwrap_or_default().chunks_exact(c.stride) {
                    rows.extend_from_slice(&row[c.offset..c.offset + c.width]);
                }
            }
            if let Some(state) = read.next() {
                out.states.push((done, state));
            }
            self.rest().await?;
        }
        out.losses.pop();
        Ok(out)
    }

    /// Share of the digits of passkeys found in `samples` texts of `length` tokens for each depth.
    ///
    /// # Errors
    /// One sentence of the session, or that this run is not wanted any more.
    pub async fn recall(
        &self,
        session: &mut Session<BoxedPlayer>,
        filler: &[u8],
        length: usize,
        depths: &[f64],
        samples: usize,
        seed: u64,
    ) -> Result<Vec<f64>, String> {
        let mut random = Random::new(seed);
        let mut out = Vec::new();
        for &depth in depths {
            let mut found = passkey::Recall::default();
            for _ in 0..samples {
                let text = passkey::text(filler, length, depth, &mut random);
                let tokens = session.stack.encode(&text);
                found.digits += passkey::ask(session, &tokens).await?;
                found.samples += 1;
                self.rest().await?;
            }
            out.push(found.share());
        }
        Ok(out)
    }
}
