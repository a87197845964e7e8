//! A layer that is planned for its log-decays alone: those of a token of zeros, and the sums over
//! the gaps where kept rows are projected for themselves.

use super::rows::{ALL, kept_set};
use super::{Capture, Note, Pruned};
use crate::mixers::{Change, Mixer, Weights};
use crate::plan::{Columns, Io, Planner};
use crate::player::{CpuPlayer, Player};
use crate::pruning::{DropMode, Neighbours};
use crate::recording::{BufferId, Recording};

impl Planner {
    /// Before a mixer is planned: finds what its scan needs to know of gaps.
    pub(crate) fn before_mixer(
        &mut self,
        mixer: &dyn Mixer,
        x: BufferId,
        width: usize,
        normalise: impl Fn(&mut Planner, BufferId) -> Columns,
    ) {
        let Some(pruned) = &mut self.pruned else {
            return;
        };
        pruned.gaps = None;
        pruned.zero = None;
        pruned.scanned = false;
        if pruned.present() == ALL {
            return;
        }
        match (pruned.mode, pruned.neighbours) {
            (DropMode::DecayDefault, _) => {
                let zero = zero_token(mixer, self.layer, width, &self.change);
                let layer = self.layer;
                if let Some(pruned) = &mut self.pruned {
                    match zero {
                        Ok(zero) => pruned.zero = zero,
                        Err(sentence) => pruned.notes.push(Note { layer, sentence }),
                    }
                }
            }
            (DropMode::DecayTrue, Neighbours::Condensed) => {
                self.capture_gaps(mixer, x, width, normalise);
            }
            _ => {}
        }
    }

    /// Plans the mixer for all tokens up to its scan, for the sums of log-decays over the gaps.
    fn capture_gaps(
        &mut self,
        mixer: &dyn Mixer,
        x: BufferId,
        width: usize,
        normalise: impl Fn(&mut Planner, BufferId) -> Columns,
    ) {
        let Some(stream) = self.keep_stream(x, width) else {
            return;
        };
        let (rows, io, left) = (self.rows, self.io, self.left.len());
        let first = self.passes.len();
        let refusal = self.pruned.as_ref().and_then(|p| p.refusal.clone());
        self.rows = ALL;
        self.io = Io {
            u: normalise(self, stream),
            residual: stream,
            out: self.rows("out of all tokens", width).buffer,
        };
        if let Some(pruned) = &mut self.pruned {
            pruned.capture = Some(Capture::Gaps(None));
        }
        mixer.plan(self);
        self.left.truncate(left);
        (self.rows, self.io) = (rows, io);
        let Some(pruned) = &mut self.pruned else {
            return;
        };
        pruned.scanned = false;
        // Passes that are gone have written nothing.
        pruned.moved.clear();
        match pruned.capture.take() {
            Some(Capture::Gaps(Some((gaps, passes)))) => {
                pruned.gaps = Some(gaps);
                self.passes.truncate(passes);
            }
            _ => {
                pruned.refusal = refusal;
                self.passes.truncate(first);
            }
        }
    }

    /// Notes the log-decay of the first scan, if that is all that is wanted of the layer.
    pub(super) fn captured(&mut self, log_decay: Columns) -> bool {
        let Some(pruned) = &mut self.pruned else {
            return false;
        };
        match &mut pruned.capture {
            None => false,
            Some(Capture::Zero(found)) => {
                found.get_or_insert((log_decay, self.passes.len()));
                true
            }
            Some(Capture::Gaps(Some(_))) => true,
            Some(Capture::Gaps(None)) => {
                let kept = kept_set(pruned.prunings);
                let rows = self.rows;
                let gaps = self.sum_gaps(log_decay, kept);
                self.rows = rows;
                let passes = self.passes.len();
                if let Some(pruned) = &mut self.pruned {
                    pruned.capture = Some(Capture::Gaps(Some((gaps, passes))));
                }
                true
            }
        }
    }

    /// True while a token of zeros is planned: a convolution has nothing to say of it.
    pub(in crate::plan) fn is_zero_token(&self) -> bool {
        matches!(
            self.pruned.as_deref(),
            Some(Pruned {
                capture: Some(Capture::Zero(_)),
                ..
            })
        )
    }

    /// Says that the decay of this mixer is none of a token alone.
    pub(crate) fn has_no_zero_token(&mut self, why: &str) {
        if self.is_zero_token()
            && let Some(pruned) = &mut self.pruned
        {
            pruned.refusal = Some(why.to_owned());
        }
    }
}

/// The log-decay of a token of zeros (what the mixer's scan is given), if the mixer has a scan that
/// asks for it.
fn zero_token(
    mixer: &dyn Mixer,
    layer: usize,
    width: usize,
    change: &Change,
) -> Result<Option<Weights>, String> {
    let mut p = Planner::new(1, 1, change.clone(), None);
    p.layer = layer;
    let mut pruned = Pruned::meaning(DropMode::DecayDefault, Neighbours::Condensed);
    pruned.capture = Some(Capture::Zero(None));
    p.pruned = Some(Box::new(pruned));
    let zeros = p.layout.input("zeros", width);
    let out = p.layout.scratch("out", width);
    p.io = Io {
        u: Columns::all(zeros, width),
        residual: zeros,
        out,
    };
    mixer.plan(&mut p);
    let Some(pruned) = p.pruned.take() else {
        return Ok(None);
    };
    if let Some(why) = pruned.refusal {
        return Err(why);
    }
    let Some(Capture::Zero(Some((columns, passes)))) = pruned.capture else {
        return Ok(None);
    };
    let mut recording = Recording::default();
    for pass in &p.passes[..passes] {
        pass.record(&mut recording, 1, 0);
    }
    let mut player = CpuPlayer::new(&p.layout);
    player.play(&recording)?;
    let row = player.buffer(columns.buffer);
    Ok(Some(row[columns.offset..][..columns.width].into()))
}
