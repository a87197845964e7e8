//! Sequence mixers. A mixer is gates plus a scan kernel: [`Mixer::step`] is its definition, one
//! token in f64 as the formula stands; [`Mixer::plan`] gives the passes that compute the same for
//! many tokens on either player.

pub mod gla;
pub mod outer_scan;
pub mod retnet;
pub mod s6;
pub mod softmax;
pub mod ssd;

use std::sync::Arc;

use crate::kernels::matmul::{self, Matmul};
use crate::random::Random;
use crate::recording::{BufferId, Layout, NONE, Recording};

/// Values of a weight tensor, row-major.
pub type Weights = Arc<[f32]>;

/// What the registry knows of a mixer before it has weights.
pub struct Definition {
    /// The same id everywhere: file, URL, golden file, test.
    pub id: &'static str,
    /// Name in the field.
    pub name: &'static str,
    /// Symbols and what they are, with shapes.
    pub glossary: &'static [(&'static str, &'static str)],
    /// A layer with random weights, initialised as in the official code.
    pub random: fn(&Size, &mut Random) -> Box<dyn Mixer>,
}

/// The size of a layer with random weights.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Model width D.
    pub width: usize,
    /// Heads H (for S6 the channels follow from `width`).
    pub heads: usize,
    /// Key or state width (K, N).
    pub key: usize,
    /// Value width (V, P).
    pub value: usize,
}

/// Every mixer.
pub static ALL: &[&Definition] = &[
    &gla::DEFINITION,
    &retnet::DEFINITION,
    &s6::DEFINITION,
    &softmax::DEFINITION,
    &ssd::DEFINITION,
];

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
    pub thresholds: Option<Vec<Arc<[f32]>>>,
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

/// One sequence mixer with its weights: from the normalised residual stream `u [T, D]` to what is
/// added to it.
pub trait Mixer {
    /// Its definition in the registry.
    fn definition(&self) -> &'static Definition;
    /// Its dimensions.
    fn shape(&self) -> Shape;
    /// Number of parameters.
    fn parameters(&self) -> usize;
    /// The definition: one token, in f64. `u [D]` in, `[D]` out.
    fn step(&self, state: &mut StepState, u: &[f64], change: &Change, layer: usize) -> Vec<f64>;
    /// Declares the buffers of this layer and returns what records its passes.
    fn plan(&self, planner: &mut Planner) -> Box<dyn Plan>;
}

/// A layer whose buffers are declared.
pub trait Plan {
    /// Appends the passes for `t` tokens: reads `u [T, D]` and the residual `x [T, D]`, writes
    /// `out = x + mixer(u)`. `position` tokens came before.
    fn record(&self, recording: &mut Recording, t: usize, position: usize, io: Io);
    /// Where probes find what they need.
    fn taps(&self) -> &Taps;
}

/// The buffers between layers.
#[derive(Clone, Copy, Debug)]
pub struct Io {
    /// Normalised input `[T, D]`.
    pub u: BufferId,
    /// Residual stream `[T, D]`.
    pub residual: BufferId,
    /// Residual stream after the layer `[T, D]`.
    pub out: BufferId,
}

/// Columns of a buffer with one row a token.
#[derive(Clone, Copy, Debug)]
pub struct Columns {
    /// The buffer.
    pub buffer: BufferId,
    /// Width of a row.
    pub stride: usize,
    /// First column.
    pub offset: usize,
    /// Number of columns.
    pub width: usize,
}

impl Columns {
    /// A whole buffer of rows.
    pub fn all(buffer: BufferId, width: usize) -> Columns {
        Columns {
            buffer,
            stride: width,
            offset: 0,
            width,
        }
    }

    /// Some of these columns.
    pub fn part(self, offset: usize, width: usize) -> Columns {
        Columns {
            offset: self.offset + offset,
            width,
            ..self
        }
    }
}

/// Where the probes find the factors of a layer's hidden attention and its state.
///
/// For head h: `M[i, j] = scale * sum_n q_i[n] exp(sum_{l=j+1..i} g_l[n]) w_j k_j[n]`.
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

/// The log-decay of a layer.
#[derive(Clone, Debug)]
pub enum Decay {
    /// One value a head, `[T, H]`.
    Scalar(Columns),
    /// One value a head and key channel, `[T, H, K]`.
    PerKey(Columns),
    /// Step size `[T, H]` times a rate for each head and state `[H, K]`, plus a shift.
    Rates(Columns, Weights, f32),
    /// No decay: softmax attention, whose weights are normalised scores.
    Softmax,
}

/// State of [`Mixer::step`], empty at the start of a sequence.
#[derive(Clone, Debug, Default)]
pub struct StepState {
    /// Tokens seen.
    pub position: usize,
    /// Inputs of the convolution, oldest first.
    pub tail: Vec<Vec<f64>>,
    /// The recurrence: for each token in the window its log-decays, keys and values, so that a
    /// window is the sum that its definition says.
    pub writes: Vec<Write>,
    /// The state, `[H, K, V]`.
    pub state: Vec<f64>,
}

/// One token's write into the state, kept where a window needs it.
#[derive(Clone, Debug)]
pub struct Write {
    /// Log-decay `[H, K]`.
    pub log_decay: Vec<f64>,
    /// Key times write scale `[H, K]`.
    pub key: Vec<f64>,
    /// Value `[H, V]`.
    pub value: Vec<f64>,
}

impl StepState {
    /// `S_t = diag(exp(g_t)) S_{t-1} + k_t v_t^T` for every head, or with a window the sum over
    /// the last `window` tokens as it is defined; returns nothing, the state is in `self.state`.
    pub fn update(&mut self, write: Write, shape: &Shape, window: usize) {
        let Shape {
            heads, key, value, ..
        } = *shape;
        let add = |state: &mut [f64], w: &Write| {
            for h in 0..heads {
                for i in 0..key {
                    let decay = w.log_decay[h * key + i].exp();
                    for j in 0..value {
                        let s = &mut state[(h * key + i) * value + j];
                        *s = decay * *s + w.key[h * key + i] * w.value[h * value + j];
                    }
                }
            }
        };
        if window == 0 {
            self.state.resize(heads * key * value, 0.0);
            add(&mut self.state, &write);
            return;
        }
        self.writes.push(write);
        if self.writes.len() > window {
            self.writes.remove(0);
        }
        self.state = vec![0.0; heads * key * value];
        for w in &self.writes {
            add(&mut self.state, w);
        }
    }

    /// `o = scale * S^T q` for every head, q `[H, K]`.
    pub fn read(&self, q: &[f64], scale: f64, shape: &Shape) -> Vec<f64> {
        let Shape {
            heads, key, value, ..
        } = *shape;
        let mut out = vec![0.0; heads * value];
        for h in 0..heads {
            for i in 0..key {
                for j in 0..value {
                    out[h * value + j] +=
                        scale * q[h * key + i] * self.state[(h * key + i) * value + j];
                }
            }
        }
        out
    }

    /// Causal depthwise convolution of one token, as `kernels/causal_conv.rs`.
    pub fn convolve(
        &mut self,
        x: &[f64],
        weight: &[f32],
        bias: Option<&[f32]>,
        width: usize,
    ) -> Vec<f64> {
        self.tail.push(x.to_vec());
        if self.tail.len() > width {
            self.tail.remove(0);
        }
        let first = width - self.tail.len();
        (0..x.len())
            .map(|c| {
                let mut sum = bias.map_or(0.0, |b| f64::from(b[c]));
                for (w, row) in self.tail.iter().enumerate() {
                    sum += f64::from(weight[c * width + first + w]) * row[c];
                }
                silu(sum)
            })
            .collect()
    }
}

/// A linear layer with its buffers.
#[derive(Clone, Copy, Debug)]
pub struct Linear {
    /// `[N, K]`.
    pub weight: BufferId,
    /// `[N]`, or [`NONE`].
    pub bias: BufferId,
    /// N.
    pub outputs: usize,
}

impl Linear {
    /// Appends `out [T, N] = x W^T + bias (+ residual)`.
    pub fn record(
        &self,
        recording: &mut Recording,
        t: usize,
        x: Columns,
        residual: Option<BufferId>,
        out: BufferId,
    ) {
        recording.push(
            &matmul::KERNEL,
            &Matmul {
                t: t as u32,
                k: x.width as u32,
                n: self.outputs as u32,
                x_stride: x.stride as u32,
                x_offset: x.offset as u32,
                has_bias: (self.bias != NONE).into(),
                has_residual: residual.is_some().into(),
            },
            &[x.buffer, self.weight, self.bias, residual.unwrap_or(NONE)],
            &[out],
        );
    }
}

/// `y[n] = sum_k w[n, k] x[k] + bias[n]` in f64.
pub fn linear(x: &[f64], w: &[f32], bias: Option<&[f32]>) -> Vec<f64> {
    w.chunks_exact(x.len())
        .enumerate()
        .map(|(n, row)| {
            let dot: f64 = row.iter().zip(x).map(|(&w, x)| f64::from(w) * x).sum();
            dot + bias.map_or(0.0, |b| f64::from(b[n]))
        })
        .collect()
}

/// `u / sqrt(mean(u^2) + eps) * weight` over groups of columns in f64.
pub fn rms_norm(u: &[f64], weight: &[f32], group: usize, eps: f64) -> Vec<f64> {
    let mut out = Vec::with_capacity(u.len());
    for part in u.chunks_exact(group) {
        let square = part.iter().map(|x| x * x).sum::<f64>() / group as f64;
        for x in part {
            let w = weight[out.len() % weight.len()];
            out.push(x / (square + eps).sqrt() * f64::from(w));
        }
    }
    out
}

/// `x / (1 + e^-x)` in f64.
pub fn silu(x: f64) -> f64 {
    x / (1.0 + (-x).exp())
}

/// `ln(1 + e^x)` in f64.
pub fn softplus(x: f64) -> f64 {
    if x > 30.0 { x } else { x.exp().ln_1p() }
}

/// Cosine and sine of `position * theta^(-2 i / K)` for `t` positions, `[T, K/2, 2]`, computed in
/// f64: an f32 angle is off by up to 0.004 at position 65,536.
pub fn rotary_angles(theta: f64, key: usize, position: usize, t: usize) -> Vec<f32> {
    let half = key / 2;
    let mut out = Vec::with_capacity(t * key);
    for p in position..position + t {
        for i in 0..half {
            let angle = p as f64 * theta.powf(-2.0 * i as f64 / key as f64);
            out.push(angle.cos() as f32);
            out.push(angle.sin() as f32);
        }
    }
    out
}

/// Rotates every head of `x [H, K]` in place (half-split convention) in f64.
pub fn rotate(x: &mut [f64], key: usize, theta: f64, position: usize) {
    let half = key / 2;
    for head in x.chunks_exact_mut(key) {
        for i in 0..half {
            let angle = position as f64 * theta.powf(-2.0 * i as f64 / key as f64);
            let (sin, cos) = angle.sin_cos();
            let (a, b) = (head[i], head[i + half]);
            head[i] = a * cos - b * sin;
            head[i + half] = b * cos + a * sin;
        }
    }
}

/// Declares the buffers of a stack layer by layer.
pub struct Planner {
    /// The buffers.
    pub layout: Layout,
    /// The most tokens that one recording will have.
    pub segment: usize,
    /// The most tokens that the run will have, for attention caches.
    pub capacity: usize,
    /// What is changed in the model.
    pub change: Change,
    /// The layer that is being planned.
    pub layer: usize,
    /// The layer whose factors probes want to read: its scratch buffers are its own.
    pub tapped_layer: Option<usize>,
    shared: Vec<BufferId>,
    /// Rotary angles to be written before each recording: (theta, K, buffer).
    pub angles: Vec<(f64, usize, BufferId)>,
}

impl Planner {
    /// Nothing declared yet.
    pub fn new(segment: usize, capacity: usize, change: Change, tapped: Option<usize>) -> Planner {
        Planner {
            layout: Layout::default(),
            segment,
            capacity,
            change,
            layer: 0,
            tapped_layer: tapped,
            shared: Vec::new(),
            angles: Vec::new(),
        }
    }

    /// A weight of this layer.
    pub fn weight(&mut self, name: &str, data: &Weights) -> BufferId {
        self.layout
            .weight(&format!("layers.{}.{name}", self.layer), data.clone())
    }

    /// A weight of this layer that may be absent.
    pub fn optional(&mut self, name: &str, data: &Option<Weights>) -> BufferId {
        data.as_ref().map_or(NONE, |d| self.weight(name, d))
    }

    /// A state of this layer.
    pub fn state(&mut self, name: &str, len: usize) -> BufferId {
        self.layout
            .state(&format!("layers.{}.{name}", self.layer), len)
    }

    /// Scratch memory that all layers share, since they run one after another.
    pub fn shared(&mut self, name: &str, len: usize) -> BufferId {
        let known = self
            .shared
            .iter()
            .find(|id| self.layout.info(**id).name == name);
        let id = match known {
            Some(&id) => id,
            None => {
                let id = self.layout.scratch(name, len);
                self.shared.push(id);
                id
            }
        };
        let info = &mut self.layout.buffers[id.0 as usize];
        info.len = info.len.max(len);
        id
    }

    /// Scratch memory that a probe may want: this layer's own if it is tapped.
    pub fn tapped(&mut self, name: &str, len: usize) -> BufferId {
        if self.tapped_layer == Some(self.layer) {
            self.layout
                .scratch(&format!("layers.{}.{name}", self.layer), len)
        } else {
            self.shared(name, len)
        }
    }

    /// Scratch memory that is always this layer's own: small gates, read for every layer.
    pub fn own(&mut self, name: &str, len: usize) -> BufferId {
        self.layout
            .scratch(&format!("layers.{}.{name}", self.layer), len)
    }

    /// The buffer with rotary angles for heads of width K.
    pub fn rotary(&mut self, theta: f64, key: usize) -> BufferId {
        if let Some(found) = self.angles.iter().find(|a| a.0 == theta && a.1 == key) {
            return found.2;
        }
        let id = self
            .layout
            .input(&format!("angles {theta} {key}"), self.segment * key);
        self.angles.push((theta, key, id));
        id
    }

    /// The thresholds of this layer's filter.
    pub fn thresholds(&mut self) -> Option<BufferId> {
        let data = self.change.thresholds.as_ref()?.get(self.layer)?.clone();
        Some(self.weight("thresholds", &data))
    }
}
