//! Sequence mixers. A mixer is gates plus a scan kernel: [`Mixer::step`] is its definition, one
//! token in f64 as the formula stands; [`Mixer::plan`] gives the passes that compute the same for
//! many tokens on either player.
//!
//! Each file in `mixers/` is one; the build puts its `DEFINITION` in [`ALL`] and a model of it with
//! random weights in [`RANDOM_MODELS`].

pub mod attention;
#[cfg(feature = "zoo")]
pub mod delta_net;
#[cfg(feature = "zoo")]
pub mod gam;
#[cfg(feature = "zoo")]
pub mod gated_delta_net;
#[cfg(feature = "zoo")]
pub mod gau;
pub mod gla;
#[cfg(feature = "zoo")]
pub mod gsa;
#[cfg(feature = "zoo")]
pub mod hgrn2;
#[cfg(feature = "zoo")]
pub mod lawcat;
#[cfg(feature = "zoo")]
pub mod light_net;
#[cfg(feature = "zoo")]
pub mod linear_attention;
#[cfg(feature = "zoo")]
pub mod min_gru;
#[cfg(feature = "zoo")]
pub mod min_lstm;
#[cfg(feature = "zoo")]
pub mod mom;
pub mod retnet;
#[cfg(feature = "zoo")]
pub mod rwkv4;
#[cfg(feature = "zoo")]
pub mod rwkv6;
#[cfg(feature = "zoo")]
pub mod rwkv7;
#[cfg(feature = "zoo")]
pub mod s4;
#[cfg(feature = "zoo")]
pub mod s4d;
#[cfg(feature = "zoo")]
pub mod s5;
pub mod s6;
#[cfg(feature = "zoo")]
pub mod seq_boat;
#[cfg(feature = "zoo")]
pub mod spike_gpt;
pub mod ssd;
#[cfg(feature = "zoo")]
pub mod window_attention;

pub use crate::plan::{Columns, Planner};
use crate::random::Random;
use crate::recording::BufferId;
#[cfg(feature = "zoo")]
pub use crate::step::{Context, StepState, Write};
pub use crate::weights::Weights;

include!(concat!(env!("OUT_DIR"), "/mixers.rs"));

/// What the registry knows of a mixer before it has weights.
pub struct Definition {
    /// The same id everywhere: file, URL, golden file, test.
    pub id: &'static str,
    /// Name in the field.
    pub name: &'static str,
    /// Symbols and what they are, with shapes.
    pub glossary: &'static [(&'static str, &'static str)],
    /// Settings of the lab that this mixer ignores, each with the reason as it follows "does not
    /// act on ...:" in a sentence. Whatever is not here acts as its setting says.
    pub ignores: &'static [(&'static str, &'static str)],
    /// The size that a layer of model width D usually has.
    pub size: fn(width: usize) -> Size,
    /// A layer with random weights, initialised as in the official code.
    pub random: fn(&Size, &mut Random) -> Box<dyn Mixer>,
}

/// Why the filter of LongMamba ignores mixers without a step size.
pub const NO_STEPS: (&str, &str) = ("filter", "it skips tokens by the step sizes of Mamba");

/// The size of a layer with random weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Model width D.
    pub width: usize,
    /// Heads H; channels E where each has a state of its own (S6).
    pub heads: usize,
    /// Key or state width (K, N).
    pub key: usize,
    /// Value width (V, P).
    pub value: usize,
}

impl Size {
    /// Heads of 64 keys and 64 values, twice as many channels as the width, as Mamba-2 has.
    pub fn heads_of_64(width: usize) -> Size {
        Size {
            width,
            heads: (width / 32).max(1),
            key: 64,
            value: 64,
        }
    }

    /// Heads of 64 keys and 64 values, together as wide as the model, as RWKV has.
    #[cfg(feature = "zoo")]
    pub fn heads_of_64_in_width(width: usize) -> Size {
        Size {
            heads: (width / 64).max(1),
            ..Size::heads_of_64(width)
        }
    }

    /// That so many groups divide the heads.
    ///
    /// # Errors
    /// A sentence if they do not.
    #[cfg(feature = "zoo")]
    pub fn check_groups(&self, groups: usize) -> Result<(), String> {
        if groups > 0 && self.heads.is_multiple_of(groups) {
            return Ok(());
        }
        Err(format!(
            "{groups} heads of keys cannot be shared by {} heads: their numbers must divide",
            self.heads
        ))
    }
}

/// What is changed in a running model.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// ln c, added to every log-decay (`decay-factor`).
    pub log_decay_shift: f32,
    /// Multiplies every write (`write-factor`).
    pub write_factor: f32,
    /// Tokens that the state holds; 0 for all (`window`).
    pub window: usize,
    /// For each layer and head the step size at or below which a token is skipped; negative for
    /// a head that is left alone (`filter`).
    pub thresholds: Option<Vec<Weights>>,
}

impl Default for Change {
    fn default() -> Change {
        Change {
            log_decay_shift: 0.0,
            write_factor: 1.0,
            window: 0,
            thresholds: None,
        }
    }
}

/// Dimensions that probes and views need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Heads H (channels for S6).
    pub heads: usize,
    /// Key width K (states N for S6).
    pub key: usize,
    /// Value width V (1 for S6).
    pub value: usize,
    /// Values carried from token to token by the recurrence, `H K V`; 0 for attention.
    pub state: usize,
    /// Values carried by the convolution.
    pub tail: usize,
    /// Values that are added to a cache for each token; 0 for a recurrence.
    pub cache_per_token: usize,
}

impl Shape {
    /// A recurrence with one `[K, V]` state a head and nothing else to carry.
    pub fn recurrent(heads: usize, key: usize, value: usize) -> Shape {
        Shape {
            heads,
            key,
            value,
            state: heads * key * value,
            tail: 0,
            cache_per_token: 0,
        }
    }
}

/// One sequence mixer with its weights: from the normalised residual stream `u [T, D]` to what is
/// added to it.
pub trait Mixer {
    /// Its definition in the registry.
    fn definition(&self) -> &'static Definition;
    /// Its dimensions.
    fn shape(&self) -> Shape;
    /// All its weights.
    fn weights(&self) -> Vec<&Weights>;
    /// The definition: one token, in f64. `u [D]` in, `[D]` out. The page's first load, without the
    /// feature `zoo`, plays recordings only.
    #[cfg(feature = "zoo")]
    fn step(&self, state: &mut StepState, u: &[f64], context: &Context<'_>) -> Vec<f64>;
    /// Notes the passes that read `planner.io.u` and write `residual + mixer(u)` to
    /// `planner.io.out`, and says where probes find what they need.
    fn plan(&self, planner: &mut Planner) -> Taps;
}

/// Where the probes find the factors of a layer's hidden attention and its state.
///
/// For head h and j < i: `M[i, j] = scale / z_i * q_i^T (prod_{l=j+1..i} F_l) w_j k_j` with
/// `F_l = diag(exp(g_l)) + b_l a_l^T`, the later factor on the left. The state is
/// `S_t = F_t S_{t-1} + w_t k_t v_t^T`. With a bonus the state is read before it is written and
/// F_i is left out; then `M[i, i] = scale / z_i * q_i^T diag(bonus) w_i k_i`.
#[derive(Clone, Debug)]
pub struct Taps {
    /// `[T, G, K]`, the query (C in Mamba).
    pub q: Columns,
    /// `[T, G, K]`, the key (B in Mamba).
    pub k: Columns,
    /// Heads that share a group of q and k.
    pub heads_per_group: usize,
    /// The log-decay.
    pub decay: Decay,
    /// `[T, H]`, the write scale (the step size of Mamba).
    pub write_scale: Option<Columns>,
    /// b and a of a delta rule, `[T, H, K]` each; with R such terms in a factor, `[T, H, R, K]`.
    pub erase: Option<[Columns; 2]>,
    /// `[H, K]`, how much of the present token is read beside the state before it (RWKV).
    pub bonus: Option<Weights>,
    /// z, `[T, H]`.
    pub normaliser: Option<Columns>,
    /// True if write scale and z are given as logarithms, since they may be of any size (RWKV-4).
    pub in_logs: bool,
    /// Multiplies every weight.
    pub scale: f32,
    /// `[H, K, V]` (for S6 `[D, N]`); none for attention.
    pub state: Option<BufferId>,
    /// The part of the state that has left the window, same shape; to be subtracted.
    pub left_window: Option<BufferId>,
    /// Tokens seen by attention or held in the state; 0 for all.
    pub window: usize,
    /// Step sizes `[T, H]` that LongMamba's filter is calibrated on, and the decay rate A of each
    /// head (mean over states for S6).
    pub steps: Option<(Columns, Weights)>,
}

impl Taps {
    /// Factors without anything special.
    pub fn new(q: Columns, k: Columns, decay: Decay) -> Taps {
        Taps {
            q,
            k,
            heads_per_group: 1,
            decay,
            write_scale: None,
            erase: None,
            bonus: None,
            normaliser: None,
            in_logs: false,
            scale: 1.0,
            state: None,
            left_window: None,
            window: 0,
            steps: None,
        }
    }
}

/// The log-decay of a layer.
#[derive(Clone, Debug)]
pub enum Decay {
    /// One value a head, `[T, H]`.
    Scalar(Columns),
    /// One value a head and key channel, `[T, H, K]`.
    PerKey(Columns),
    /// Step size `[T, H]` times a rate for each head and state `[H, K]`, plus a shift.
    Rates(Columns, Weights, f32),
    /// The same decay and turn for every token: `[H, K]` log-decays and `[H, K / 2]` angles in
    /// radians. A state-space model with complex states: two neighbours of K are the real and the
    /// imaginary part of one, in q of its conjugate.
    Turning(Weights, Weights),
    /// No decay: softmax attention, whose weights are normalised scores.
    Softmax,
    /// No decay: weights that are another function of scores.
    #[cfg(feature = "zoo")]
    Scores(Scores),
}

/// Weights by scores: `M[i, j] = f(scale q_i . k_j + bias[i - j])`, for those j in the window whose
/// distance `i - j` is a multiple of the dilation.
#[cfg(feature = "zoo")]
#[derive(Clone, Debug)]
pub struct Scores {
    /// f.
    pub function: ScoreFunction,
    /// `[H, distances]`, or `[distances]` for all heads; a distance beyond has the last one.
    pub bias: Weights,
    /// Length of the bias of a head; 0 for none.
    pub distances: usize,
    /// Distance from one token that is seen to the next.
    pub dilation: usize,
}

/// What weights are of scores.
#[cfg(feature = "zoo")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScoreFunction {
    /// Softmax over j.
    Softmax,
    /// `relu(s)^2`.
    SquaredRelu,
    /// The score itself: with a scale of 0 a convolution.
    Identity,
}
