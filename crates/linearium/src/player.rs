//! Players: what plays a [`Recording`] over the buffers of a [`Layout`].

use std::ops::Range;
use std::sync::Arc;

use fearless_simd::Level;

use crate::recording::{BufferId, Layout, Recording, Role};

/// Plays recordings over buffers that it owns.
///
/// Errors are sentences for a person. After an error of a GPU player (a lost device) the buffers
/// are gone; whoever owns the run makes a new player and feeds the tokens again.
#[allow(async_fn_in_trait)] // players live on one thread; no caller needs `Send`
pub trait Player {
    /// The back end, for people: `cpu (avx2)`, `gpu (name of the adapter)`.
    fn backend(&self) -> String;
    /// The most tokens that one recording should have on this back end.
    fn segment_tokens(&self) -> usize;
    /// Writes `data` into a buffer from element `start`.
    fn write(&mut self, buffer: BufferId, start: usize, data: &[f32]) -> Result<(), String>;
    /// Sets every state to zero, as at the start of a sequence.
    fn reset(&mut self) -> Result<(), String>;
    /// Plays the passes in order. A GPU player may return before they are done.
    fn play(&mut self, recording: &Recording) -> Result<(), String>;
    /// Reads parts of buffers, in one crossing; waits for the passes played so far.
    async fn read(&mut self, parts: &[(BufferId, Range<usize>)]) -> Result<Vec<Vec<f32>>, String>;
}

/// Plays on the CPU, with the best SIMD level that the processor has.
pub struct CpuPlayer {
    level: Level,
    buffers: Vec<Vec<f32>>,
    /// What is only read stays where the model has it.
    weights: Vec<Option<Arc<[f32]>>>,
    states: Vec<usize>,
}

impl CpuPlayer {
    /// Makes the buffers of `layout`.
    pub fn new(layout: &Layout) -> CpuPlayer {
        CpuPlayer::with_level(layout, Level::new())
    }

    /// The same with a SIMD level of choice, for tests and benchmarks.
    pub fn with_level(layout: &Layout, level: Level) -> CpuPlayer {
        let buffers = layout
            .buffers
            .iter()
            .map(|b| match (&b.data, b.role) {
                (Some(_), _) | (None, Role::Workspace) => Vec::new(),
                (None, Role::Scratch) => vec![f32::NAN; b.len],
                (None, _) => vec![0.0; b.len],
            })
            .collect();
        let states = (0..layout.buffers.len())
            .filter(|&i| layout.buffers[i].role == Role::State)
            .collect();
        CpuPlayer {
            level,
            buffers,
            weights: layout.buffers.iter().map(|b| b.data.clone()).collect(),
            states,
        }
    }

    /// The values of a buffer.
    pub(crate) fn buffer(&self, id: BufferId) -> &[f32] {
        let i = id.0 as usize;
        self.weights[i].as_deref().unwrap_or(&self.buffers[i])
    }

    /// A buffer that is written to, a copy of its own if it is a weight.
    fn own(&mut self, id: BufferId) -> &mut Vec<f32> {
        let i = id.0 as usize;
        if let Some(data) = self.weights[i].take() {
            self.buffers[i] = data.to_vec();
        }
        &mut self.buffers[i]
    }
}

impl Player for CpuPlayer {
    fn backend(&self) -> String {
        format!("cpu ({})", level_name(self.level))
    }

    fn segment_tokens(&self) -> usize {
        256
    }

    fn write(&mut self, buffer: BufferId, start: usize, data: &[f32]) -> Result<(), String> {
        self.own(buffer)[start..start + data.len()].copy_from_slice(data);
        Ok(())
    }

    fn reset(&mut self) -> Result<(), String> {
        for &i in &self.states {
            self.buffers[i].fill(0.0);
        }
        Ok(())
    }

    fn play(&mut self, recording: &Recording) -> Result<(), String> {
        for pass in &recording.passes {
            let (read, written) = pass.bindings.split_at(pass.kernel.reads);
            // Taken out while they are written: no buffer is both, so the reads stay in place.
            let mut taken: Vec<Vec<f32>> = written
                .iter()
                .map(|b| std::mem::take(self.own(*b)))
                .collect();
            {
                let reads: Vec<&[f32]> = read.iter().map(|b| self.buffer(*b)).collect();
                let mut writes: Vec<&mut [f32]> = taken.iter_mut().map(Vec::as_mut_slice).collect();
                (pass.kernel.cpu)(self.level, &pass.params, &reads, &mut writes);
            }
            for (b, data) in written.iter().zip(taken) {
                self.buffers[b.0 as usize] = data;
            }
        }
        Ok(())
    }

    async fn read(&mut self, parts: &[(BufferId, Range<usize>)]) -> Result<Vec<Vec<f32>>, String> {
        Ok(parts
            .iter()
            .map(|(b, r)| self.buffer(*b)[r.clone()].to_vec())
            .collect())
    }
}

/// The SIMD level in the words of processor manuals.
pub fn level_name(level: Level) -> String {
    if cfg!(all(target_arch = "wasm32", target_feature = "simd128")) {
        // The only level of such a build.
        let relaxed = cfg!(target_feature = "relaxed-simd");
        return ["wasm simd128", "wasm relaxed simd"][usize::from(relaxed)].to_owned();
    }
    format!("{level:?}")
        .split('(')
        .next()
        .unwrap_or_default()
        .to_ascii_lowercase()
}
