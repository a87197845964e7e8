//! How long a text takes, and how much arithmetic it is.

use super::operations::{Operations, belongs_to_scan};
use crate::model::session::Session;
use crate::player::Player;

/// What a text took.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Timing {
    /// Milliseconds of the scans (and attention) alone, with the rows taken for them and the sums
    /// over gaps.
    pub scan_ms: f64,
    /// Milliseconds of the whole run.
    pub whole_ms: f64,
    /// Multiply-adds.
    pub operations: Operations,
}

/// Plays a text and its scans alone, the shortest of some rounds each, by a clock in milliseconds.
///
/// # Errors
/// The sentence of the session or the player.
pub async fn time<P: Player>(
    session: &mut Session<P>,
    tokens: &[u32],
    rounds: usize,
    now_ms: &dyn Fn() -> f64,
) -> Result<Timing, String> {
    let mut best = Timing {
        scan_ms: f64::INFINITY,
        whole_ms: f64::INFINITY,
        operations: Operations::default(),
    };
    for _ in 0..rounds {
        let (whole, operations) = play(session, tokens, now_ms, false).await?;
        // From an empty state again: caches know how much they have read.
        let (scan, _) = play(session, tokens, now_ms, true).await?;
        best.whole_ms = best.whole_ms.min(whole);
        best.scan_ms = best.scan_ms.min(scan);
        best.operations = operations;
    }
    Ok(best)
}

/// Plays a text, or its scans alone, from an empty state: milliseconds, and multiply-adds.
async fn play<P: Player>(
    session: &mut Session<P>,
    tokens: &[u32],
    now_ms: &dyn Fn() -> f64,
    scans_alone: bool,
) -> Result<(f64, Operations), String> {
    session.reset()?;
    let (mut ms, mut operations) = (0.0, Operations::default());
    let mut done = 0;
    while done < tokens.len() {
        let t = session.next_segment(tokens.len() - done);
        let next = tokens.get(done + t).copied();
        // A read waits until everything is played.
        let wait = [(session.plan.losses, 0..1)];
        let mut start = now_ms();
        let mut recording = session.prepare(&tokens[done..done + t], next)?;
        if scans_alone {
            recording.passes.retain(belongs_to_scan);
            start = now_ms();
        }
        session.player.play(&recording)?;
        session.player.read(&wait).await?;
        ms += now_ms() - start;
        operations = operations.plus(Operations::of(&recording));
        session.passed(t);
        done += t;
    }
    Ok((ms, operations))
}
