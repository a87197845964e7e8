//! The recall grid: lengths by depths, for every side, one text after another.

use super::host::Host;
use super::side::Side;
use crate::model::session::Session;
use crate::player::Player;
use crate::probes::passkey::{self, DEPTHS, Recall};
use crate::random::Random;
use crate::settings::Settings;

/// Lengths of the grid in tokens; those above the context are left out.
pub const LENGTHS: [usize; 8] = [64, 128, 256, 512, 1024, 2048, 4096, 8192];
/// The most samples that may be asked for at one length.
pub const MAX_SAMPLES: usize = 1000;

/// Recall of one side.
pub(super) struct Grid {
    /// `a` or `b`.
    pub run: &'static str,
    /// Name of the model.
    pub name: String,
    /// `cells[length][depth]`.
    pub cells: Vec<Vec<Recall>>,
}

/// The measurement.
pub(super) struct RecallJob<P> {
    /// Lengths that are asked for.
    pub lengths: Vec<usize>,
    /// One grid for each side.
    pub grids: Vec<Grid>,
    /// Key of the model of run A.
    pub model: String,
    /// The settings that it was made for.
    key: String,
    sessions: Vec<Session<P>>,
    /// Rounds (one text for each depth, length and side) that are asked for.
    rounds: usize,
    random: Random,
    round: usize,
    length: usize,
    depth: usize,
    side: usize,
    text: Vec<u32>,
    guesses: Vec<u32>,
    done_tokens: usize,
}

/// Settings on which recall depends.
fn key(settings: &Settings) -> String {
    let mut key = settings.clone();
    for id in [
        "input", "text", "offset", "depth", "layer", "head", "position", "backend",
    ] {
        let _ = key.set(id, crate::settings::property(id).map_or("", |p| p.default));
    }
    key.to_query()
}

impl<P: Player> RecallJob<P> {
    /// A job for the given sides.
    pub async fn new<H: Host<Player = P>>(
        host: &H,
        sides: &[&Side<P>],
        settings: &Settings,
        samples: usize,
    ) -> Result<RecallJob<P>, String> {
        let context = settings.integer("context") as usize;
        let lengths: Vec<usize> = LENGTHS.into_iter().filter(|&l| l <= context).collect();
        let longest = lengths.last().copied().unwrap_or(LENGTHS[0]);
        let (mut grids, mut sessions) = (Vec::new(), Vec::new());
        for (side, run) in sides.iter().zip(["a", "b"]) {
            sessions.push(side.sibling(host, longest).await?);
            grids.push(Grid {
                run,
                name: side.wanted.stack.name.clone(),
                cells: vec![vec![Recall::default(); DEPTHS.len()]; lengths.len()],
            });
        }
        Ok(RecallJob {
            lengths,
            grids,
            model: sides
                .first()
                .map_or(String::new(), |s| s.wanted.model.clone()),
            key: key(settings),
            sessions,
            rounds: samples.div_ceil(DEPTHS.len()),
            random: Random::new(settings.integer("seed") as u64),
            round: 0,
            length: 0,
            depth: 0,
            side: 0,
            text: Vec::new(),
            guesses: Vec::new(),
            done_tokens: 0,
        })
    }

    /// True if what was measured is still what these settings ask for.
    pub fn fits(&self, settings: &Settings) -> bool {
        self.key == key(settings)
    }

    /// More samples.
    pub fn ask_for(&mut self, samples: usize) {
        self.rounds = self.rounds.max(samples.div_ceil(DEPTHS.len()));
    }

    /// True if everything that was asked for is measured.
    pub fn done(&self) -> bool {
        self.round >= self.rounds
    }

    /// Tokens read and to be read.
    pub fn tokens(&self) -> (usize, usize) {
        let round: usize = self.lengths.iter().sum::<usize>() * DEPTHS.len() * self.sessions.len();
        (self.done_tokens, round * self.rounds)
    }

    /// What is going on, for people.
    pub fn message(&self) -> String {
        let samples = self.round * DEPTHS.len();
        format!(
            "passkeys: {samples} of {} texts a length",
            self.rounds * DEPTHS.len()
        )
    }

    /// Reads one segment. True if a text of the longest length was finished, so that the picture
    /// has something new.
    pub async fn advance(&mut self, filler: &[u8]) -> Result<bool, String> {
        if self.text.is_empty() {
            let length = self.lengths[self.length];
            if self.side == 0 {
                let bytes = passkey::text(filler, length, DEPTHS[self.depth], &mut self.random);
                self.text = bytes.into_iter().map(u32::from).collect();
            }
        }
        let session = &mut self.sessions[self.side];
        if self.guesses.is_empty() {
            session.reset()?;
        }
        let from = self.guesses.len();
        let t = session.next_segment(self.text.len() - from);
        session.feed(&self.text[from..from + t], None).await?;
        let read = session
            .player
            .read(&[(session.plan.losses, 0..2 * t)])
            .await?;
        self.guesses
            .extend(read[0].chunks_exact(2).map(|pair| pair[1] as u32));
        self.done_tokens += t;
        if self.guesses.len() < self.text.len() {
            return Ok(false);
        }
        let cell = &mut self.grids[self.side].cells[self.length][self.depth];
        cell.samples += 1;
        cell.digits += passkey::digits_found(&self.text, &self.guesses);
        self.guesses.clear();
        Ok(self.next())
    }

    /// Goes on to the next side, depth, length, round. Both sides read the same texts.
    fn next(&mut self) -> bool {
        self.side += 1;
        if self.side < self.sessions.len() {
            return false;
        }
        self.side = 0;
        self.text.clear();
        self.depth += 1;
        if self.depth < DEPTHS.len() {
            return false;
        }
        self.depth = 0;
        self.length += 1;
        if self.length == self.lengths.len() {
            self.length = 0;
            self.round += 1;
        }
        true
    }
}
