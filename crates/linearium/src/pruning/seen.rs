//! What a score may look at: the arrays of one layer of an unpruned run.

use crate::mixers::Scores;

/// What is important: from the arrays of one layer to one number a token.
pub trait Score: Sync {
    /// The same id everywhere: file, URL, command, test.
    fn id(&self) -> &'static str;
    /// Name in the field.
    fn name(&self) -> &'static str;
    /// The formula in TeX, with the symbols of [`Seen`].
    fn formula(&self) -> &'static str;
    /// Paper equation or path in official code.
    fn source(&self) -> &'static str;
    /// When it can be told.
    fn when(&self) -> When;
    /// What it reads, by the names of the fields of [`Seen`].
    fn needs(&self) -> &'static [&'static str];
    /// One number a token, `[T]`; the tokens with the higher ones are kept.
    ///
    /// # Errors
    /// A sentence if the layer lacks what the formula needs (a step size, a decay, keys).
    fn score(&self, seen: &Seen<'_>) -> Result<Vec<f32>, String>;
}

/// When a score can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// With the token: it depends on nothing that comes later, so that a stream can use it.
    Arriving,
    /// While reading: later tokens change it, but a stream can drop by what it is so far.
    Reading,
    /// When the layer has read everything.
    Read,
}

impl When {
    /// Its name in data.
    pub fn id(self) -> &'static str {
        match self {
            When::Arriving => "arriving",
            When::Reading => "reading",
            When::Read => "read",
        }
    }
}

/// The log-decays of a layer.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum LogDecay<'a> {
    /// Attention, or a mixer without a state that decays.
    #[default]
    None,
    /// One value a head, `[T, H]`.
    PerHead(&'a [f32]),
    /// One value a head and key channel, `[T, H, K]`.
    PerKey(&'a [f32]),
    /// `steps[t, h] * rates[h, i] + shift`: step sizes `[T, H]`, rates `[H, K]` below 0 (Mamba).
    Rates {
        /// `[T, H]`.
        steps: &'a [f32],
        /// `[H, K]`.
        rates: &'a [f32],
        /// Added to each.
        shift: f32,
    },
    /// The same for every token, `[H, K]`, beside a turn of complex states.
    Constant(&'a [f32]),
}

/// The arrays of one layer of an unpruned run of T tokens, row-major, whole rows.
///
/// Head h reads with group `h * G / H` of q, whose number of groups G is `q.len() / (T K)`, and
/// writes with that of k. Where a mixer has no such array the slice is empty.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seen<'a> {
    /// T.
    pub tokens: usize,
    /// How many tokens are to be kept, for scores that depend on it.
    pub keep: usize,
    /// D.
    pub width: usize,
    /// H (channels for S6).
    pub heads: usize,
    /// K (states N for S6).
    pub key: usize,
    /// V (1 for S6).
    pub value: usize,
    /// `[T, D]`, the residual stream before the layer.
    pub stream: &'a [f32],
    /// `[T, D]`, the normalised input of the mixer.
    pub u: &'a [f32],
    /// `[T, G, K]`, the query (C in Mamba).
    pub q: &'a [f32],
    /// `[T, G, K]`, the key (B in Mamba), without its write scale.
    pub k: &'a [f32],
    /// `[T, H, V]`, the value (x in Mamba), without the step size.
    pub v: &'a [f32],
    /// The log-decay.
    pub log_decay: LogDecay<'a>,
    /// `[T, H]`, what a write is multiplied with, if the mixer has it (the step size of Mamba).
    pub write_scale: Option<&'a [f32]>,
    /// `[T, H]`, the step sizes of Mamba, for scores that are made of them.
    pub steps: Option<&'a [f32]>,
    /// Multiplies `q . k`: every output of a recurrence, every score of attention.
    pub scale: f32,
    /// True if the weights are a softmax of `scale q . k` over the past.
    pub softmax: bool,
    /// True if a write also erases (delta rules): q, k and decay alone are not the hidden attention.
    pub erases: bool,
    /// True if a token reads the state before its own decay and write (RWKV).
    pub read_before: bool,
    /// Tokens that a token reads at most; 0 for all.
    pub window: usize,
    /// b and a of a delta rule, `[T, H, R, K]` each.
    pub erase: Option<[&'a [f32]; 2]>,
    /// `[H, K]`, what the present token is read with where the state is read before it is written.
    pub bonus: Option<&'a [f32]>,
    /// `[T, H]`, what the output of a head is divided by.
    pub normaliser: Option<&'a [f32]>,
    /// True if write scale and normaliser are logarithms.
    pub in_logs: bool,
    /// `[H, K / 2]`, angles by which complex states turn with every token.
    pub turn: Option<&'a [f32]>,
    /// How weights come from scores where they are neither a softmax nor a recurrence.
    pub weighing: Option<&'a Scores>,
    /// `[T, 2]`, logits of staying asleep and of being active, from a router or a mask generator.
    pub router: Option<&'a [f32]>,
    /// `[T]`, importance that a draft model gives the tokens ([`super::draft`]).
    pub draft: Option<&'a [f32]>,
    /// The token whose output counts where one readout does (a class token); none for the last.
    pub readout: Option<usize>,
    /// How many of the last tokens a draft model guessed.
    pub lookahead: usize,
    /// `[T, E]`, what the output projection is given, if the layer ends with one (after norm and
    /// gate).
    pub y: Option<&'a [f32]>,
    /// `[T, D]`, what the mixer adds to the residual stream.
    pub out: &'a [f32],
    /// For scores that draw.
    pub seed: u64,
}
