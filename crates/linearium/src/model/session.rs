//! A run of a model over tokens on one player: the state is carried exactly across any cut of the
//! input, so that a context of any length needs the memory of one segment.

use std::rc::Rc;

use crate::kernels::state_norm::{self, StateNorm};
use crate::mixers::Change;
use crate::model::stack::{Stack, StackPlan};
use crate::plan::rotary_angles;
use crate::player::Player;
#[cfg(feature = "zoo")]
use crate::pruning::Pruning;
use crate::recording::{BufferId, Layout, Recording, Role};

/// Tokens between two applications of the cap on the norm of the state, as in the released code
/// of Stuffed Mamba (`passkey-retrieval/mamba2/modeling_mamba2.py`).
pub const NORMALISE_EVERY: usize = 128;

/// What a run should be.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The most tokens that will be fed; sizes the caches of attention.
    pub capacity: usize,
    /// What is changed in the model.
    pub change: Change,
    /// The layer whose factors probes read.
    pub tapped_layer: Option<usize>,
    /// Cap each head's state at the norm that it has after so many tokens; 0 is off.
    pub normalise_at: usize,
    /// Tokens that are dropped, if some are.
    #[cfg(feature = "zoo")]
    pub pruning: Option<Pruning>,
}

/// A run of a model.
pub struct Session<P> {
    /// The model.
    pub stack: Rc<Stack>,
    /// Its buffers and passes.
    pub plan: StackPlan,
    /// The player; probes read from it after [`Session::feed`].
    pub player: P,
    position: usize,
    normalise: Option<Normalise>,
    #[cfg(feature = "zoo")]
    pruning: Option<Pruning>,
}

/// What a text gave where tokens are dropped.
#[cfg(feature = "zoo")]
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Kept {
    /// The kept tokens.
    pub positions: Vec<usize>,
    /// The loss in nats of predicting the token that comes next in the text, dropped or not; none
    /// behind the last one of the text, so perhaps one fewer than positions.
    pub losses: Vec<f32>,
    /// The most likely next token of every kept position.
    pub guesses: Vec<u32>,
}

/// The cap on the norm of every state.
struct Normalise {
    at: usize,
    calibrated: bool,
    recording: Recording,
    /// For each layer with a state: state, cap, heads, values a head.
    states: Vec<(BufferId, BufferId, usize, usize)>,
}

impl<P: Player> Session<P> {
    /// Plans the model and makes a player for its buffers with `player`, which also says how many
    /// tokens a recording should have.
    pub async fn new<F>(
        stack: Rc<Stack>,
        options: &Options,
        segment: usize,
        player: impl FnOnce(Layout) -> F,
    ) -> Result<Session<P>, String>
    where
        F: Future<Output = Result<P, String>>,
    {
        let segment = segment
            .clamp(1, options.capacity.max(1))
            .min(stack.longest_segment());
        let mut plan = plan(&stack, segment, options)?;
        let mut normalise = None;
        if options.normalise_at > 0 {
            let mut n = Normalise {
                at: options.normalise_at,
                calibrated: false,
                recording: Recording::default(),
                states: Vec::new(),
            };
            for (layer, block) in stack.blocks.iter().enumerate() {
                let Some(state) = plan.taps(layer).state else {
                    continue;
                };
                let shape = block.mixer.shape();
                let size = shape.key * shape.value;
                let cap = plan
                    .layout
                    .input(&format!("layers.{layer}.cap"), shape.heads);
                n.recording.push(
                    &state_norm::KERNEL,
                    &StateNorm {
                        heads: shape.heads as u32,
                        size: size as u32,
                    },
                    &[cap],
                    &[state],
                );
                n.states.push((state, cap, shape.heads, size));
            }
            normalise = Some(n);
        }
        let layout = plan.layout.clone();
        for b in &mut plan.layout.buffers {
            // The player holds the weights now.
            if b.role == Role::Weight {
                b.data = None;
            }
        }
        let player = player(layout).await?;
        Ok(Session {
            stack,
            plan,
            player,
            position: 0,
            normalise,
            #[cfg(feature = "zoo")]
            pruning: options.pruning.clone(),
        })
    }

    /// Tokens fed so far.
    pub fn position(&self) -> usize {
        self.position
    }

    /// Goes back to the empty state.
    pub fn reset(&mut self) -> Result<(), String> {
        self.position = 0;
        if let Some(n) = &mut self.normalise {
            n.calibrated = false;
        }
        self.player.reset()
    }

    /// How many of `wanted` tokens the next [`Session::feed`] may have: a segment at most, and
    /// never across a point where the state is capped.
    pub fn next_segment(&self, wanted: usize) -> usize {
        let mut t = wanted.min(self.plan.segment);
        if let Some(n) = &self.normalise {
            let next = if self.position < n.at {
                n.at
            } else {
                (self.position / NORMALISE_EVERY + 1) * NORMALISE_EVERY
            };
            t = t.min(next - self.position);
        }
        t
    }

    /// Feeds `tokens`, at most [`Session::next_segment`] of them. `next` is the token after them,
    /// if there is one: the loss of a position is that of predicting the token after it.
    ///
    /// # Errors
    /// A sentence if a token is not in the vocabulary, the capacity is exceeded, or the player
    /// fails.
    pub async fn feed(&mut self, tokens: &[u32], next: Option<u32>) -> Result<(), String> {
        let t = tokens.len();
        if t == 0 {
            return Ok(());
        }
        if let Some(bad) = tokens.iter().find(|&&id| id as usize >= self.plan.vocab) {
            return Err(format!(
                "token {bad} is not in the vocabulary of {} tokens: this text does not fit this model",
                self.plan.vocab
            ));
        }
        if self.position + t > self.plan.capacity {
            return Err(format!(
                "the run was made for {} tokens and cannot read {}: make a longer one",
                self.plan.capacity,
                self.position + t
            ));
        }
        let recording = self.prepare(tokens, next)?;
        self.player.play(&recording)?;
        self.position += t;
        self.cap_norms().await
    }

    /// Writes what the next recording wants to know of these tokens and gives that recording; the
    /// tokens count as fed after [`Session::passed`]. For whoever plays a part of the passes, or
    /// measures them.
    ///
    /// # Errors
    /// As [`Session::feed`].
    pub fn prepare(&mut self, tokens: &[u32], next: Option<u32>) -> Result<Recording, String> {
        let t = tokens.len();
        let ids: Vec<f32> = tokens.iter().map(|&id| id as f32).collect();
        let mut targets = ids[1.min(t)..].to_vec();
        targets.push(next.map_or(-1.0, |id| id as f32));
        self.player.write(self.plan.tokens, 0, &ids)?;
        for &(theta, key, buffer) in &self.plan.angles {
            let angles = rotary_angles(theta, key, self.position, t);
            self.player.write(buffer, 0, &angles)?;
        }
        #[cfg(feature = "zoo")]
        if let Some((pruning, rows)) = self.pruning.as_ref().zip(self.plan.pruned.as_ref()) {
            if self.position + t > pruning.tokens() {
                return Err(format!(
                    "tokens were chosen from {} and this run reads {}: choose from all of them",
                    pruning.tokens(),
                    self.position + t
                ));
            }
            let segment = rows.segment(pruning, self.position, self.position + t);
            for (buffer, values) in &segment.inputs {
                self.player.write(*buffer, 0, values)?;
            }
            let last = segment.last.iter();
            let targets: Vec<f32> = last
                .map(|&(token, kept)| if kept { targets[token] } else { -1.0 })
                .collect();
            self.player.write(self.plan.targets, 0, &targets)?;
            return Ok(self.plan.record_rows(&segment.counts));
        }
        self.player.write(self.plan.targets, 0, &targets)?;
        Ok(self.plan.record(t, self.position))
    }

    /// Counts tokens as fed whose recording was played.
    pub fn passed(&mut self, tokens: usize) {
        self.position += tokens;
    }

    async fn cap_norms(&mut self) -> Result<(), String> {
        let Some(n) = &mut self.normalise else {
            return Ok(());
        };
        if self.position == n.at && !n.calibrated {
            n.calibrated = true;
            let parts: Vec<_> = n
                .states
                .iter()
                .map(|&(s, _, h, size)| (s, 0..h * size))
                .collect();
            let states = self.player.read(&parts).await?;
            for (&(_, cap, _, size), state) in n.states.iter().zip(states) {
                let norms: Vec<f32> = state
                    .chunks_exact(size)
                    .map(|s| s.iter().map(|x| x * x).sum::<f32>().sqrt())
                    .collect();
                self.player.write(cap, 0, &norms)?;
            }
        } else if self.position > n.at && self.position.is_multiple_of(NORMALISE_EVERY) {
            self.player.play(&n.recording)?;
        }
        Ok(())
    }

    /// Feeds a whole text in segments and gives the loss of every position but the last, in nats,
    /// and the most likely next token of every position.
    pub async fn read_text(&mut self, tokens: &[u32]) -> Result<(Vec<f32>, Vec<u32>), String> {
        let (mut losses, mut guesses) = (Vec::new(), Vec::new());
        let mut done = 0;
        while done < tokens.len() {
            let t = self.next_segment(tokens.len() - done);
            let next = tokens.get(done + t).copied();
            self.feed(&tokens[done..done + t], next).await?;
            let read = self.player.read(&[(self.plan.losses, 0..2 * t)]).await?;
            for pair in read[0].chunks_exact(2) {
                losses.push(pair[0]);
                guesses.push(pair[1] as u32);
            }
            done += t;
        }
        losses.pop();
        Ok((losses, guesses))
    }

    /// Feeds a whole text in segments and gives what the kept tokens say, which are all if none are
    /// dropped.
    ///
    /// # Errors
    /// As [`Session::feed`].
    #[cfg(feature = "zoo")]
    pub async fn read_kept(&mut self, tokens: &[u32]) -> Result<Kept, String> {
        let mut out = Kept::default();
        let mut done = 0;
        while done < tokens.len() {
            let t = self.next_segment(tokens.len() - done);
            let next = tokens.get(done + t).copied();
            self.feed(&tokens[done..done + t], next).await?;
            let rows = self.last_rows(done, t);
            let parts = [(self.plan.losses, 0..2 * rows.len())];
            let read = self.player.read(&parts).await?;
            for ((token, kept), pair) in rows.into_iter().zip(read[0].chunks_exact(2)) {
                if !kept {
                    continue;
                }
                out.positions.push(done + token);
                if done + token + 1 < tokens.len() {
                    out.losses.push(pair[0]);
                }
                out.guesses.push(pair[1] as u32);
            }
            done += t;
        }
        Ok(out)
    }

    /// The rows of the logits after `t` tokens from this position were fed: the token of each, counted
    /// from the first of them, and whether it is kept.
    #[cfg(feature = "zoo")]
    pub fn last_rows(&self, from: usize, t: usize) -> Vec<(usize, bool)> {
        match self.pruning.as_ref().zip(self.plan.pruned.as_ref()) {
            Some((pruning, rows)) => rows.segment(pruning, from, from + t).last,
            None => (0..t).map(|token| (token, true)).collect(),
        }
    }
}

/// The buffers and passes of a run.
fn plan(stack: &Stack, segment: usize, options: &Options) -> Result<StackPlan, String> {
    let Options {
        capacity,
        change,
        tapped_layer,
        ..
    } = options;
    #[cfg(feature = "zoo")]
    if let Some(pruning) = &options.pruning {
        return stack.plan_pruned(segment, *capacity, change, *tapped_layer, pruning);
    }
    Ok(stack.plan(segment, *capacity, change, *tapped_layer))
}
