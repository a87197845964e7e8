//! Pieces of definitions in f64: the state of [`crate::mixers::Mixer::step`] and the arithmetic
//! that formulas are made of.

use std::cell::RefCell;
use std::collections::BTreeMap;

use crate::mixers::{Change, Shape};

/// What one token's step of a layer may know beside its input and its own state.
#[derive(Clone, Debug)]
pub struct Context<'a> {
    /// What is changed in the model.
    pub change: &'a Change,
    /// The layer.
    pub layer: usize,
    /// What the layers before have left of this token, by name.
    pub left: &'a Left,
}

/// Rows that a layer leaves for those after it (the first value of RWKV-7).
pub type Left = RefCell<BTreeMap<&'static str, Vec<f64>>>;

/// State of [`crate::mixers::Mixer::step`], empty at the start of a sequence.
#[derive(Clone, Debug, Default)]
pub struct StepState {
    /// Tokens seen.
    pub position: usize,
    /// The recurrence: for each token in the window its log-decays, keys and values, so that a
    /// window is the sum that its definition says.
    pub writes: Vec<Write>,
    /// The state, `[H, K, V]`.
    pub state: Vec<f64>,
    /// The value of the last token, `[H, V]`, before any write factor.
    pub last_value: Vec<f64>,
    /// What the last token read, `[H, V]`, before norm, gate and skip: the hidden attention times
    /// the values.
    pub last_read: Vec<f64>,
    /// A second recurrence of the same layer.
    second: Option<Box<StepState>>,
    /// Whatever else is carried from token to token, by name.
    carried: Vec<(&'static str, Vec<f64>)>,
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
        self.last_value.clone_from(&write.value);
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

    /// `S_t = (diag(exp(g_t)) + b a^T) S_{t-1} + k_t v_t^T` for every head, a and b `[H, K]`. The
    /// delta rule is `b = beta k`, `a = -exp(g) k`, its key times beta.
    pub fn update_erasing(&mut self, write: Write, b: &[f64], a: &[f64], shape: &Shape) {
        let Shape {
            heads, key, value, ..
        } = *shape;
        self.state.resize(heads * key * value, 0.0);
        let mut recalled = vec![0.0; heads * value];
        for (i, (row, a)) in self.state.chunks_exact(value).zip(a).enumerate() {
            let recalled = &mut recalled[i / key * value..][..value];
            recalled.iter_mut().zip(row).for_each(|(r, s)| *r += a * s);
        }
        self.update(write, shape, 0);
        for (i, (row, b)) in self.state.chunks_exact_mut(value).zip(b).enumerate() {
            let recalled = &recalled[i / key * value..][..value];
            row.iter_mut().zip(recalled).for_each(|(s, r)| *s += b * r);
        }
    }

    /// Lets what has left a window of tokens go, before the next token is written: a token that
    /// reads before it writes is itself the last of the window.
    pub fn leave_window(&mut self, shape: &Shape, window: usize) {
        self.state
            .resize(shape.heads * shape.key * shape.value, 0.0);
        if window == 0 || self.writes.len() < window {
            return;
        }
        let mut kept = self.writes.split_off(self.writes.len() + 1 - window);
        self.writes.clear();
        self.state.fill(0.0);
        let last_value = self.last_value.clone();
        for write in kept.drain(..) {
            self.update(write, shape, window);
        }
        self.last_value = last_value;
    }

    /// `o = scale * S^T q` for every head, q `[H, K]`.
    pub fn read(&mut self, q: &[f64], scale: f64, shape: &Shape) -> Vec<f64> {
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
        self.last_read.clone_from(&out);
        out
    }

    /// A second recurrence of the same layer, empty at first.
    pub fn second(&mut self) -> &mut StepState {
        self.second.get_or_insert_default()
    }

    /// Something carried from token to token under a name of its own; `len` zeros at first.
    pub fn carried(&mut self, name: &'static str, len: usize) -> &mut Vec<f64> {
        let at = self.carried.iter().position(|(known, _)| *known == name);
        let at = at.unwrap_or_else(|| {
            self.carried.push((name, vec![0.0; len]));
            self.carried.len() - 1
        });
        &mut self.carried[at].1
    }

    /// Causal depthwise convolution of one token, as `kernels/causal_conv.rs`, without its SiLU:
    /// `weight [C, W]`. The last inputs are carried under `name`.
    pub fn convolve(
        &mut self,
        name: &'static str,
        x: &[f64],
        weight: &[f32],
        bias: Option<&[f32]>,
    ) -> Vec<f64> {
        let channels = x.len();
        let width = weight.len() / channels;
        let inputs = self.carried(name, channels * width);
        inputs.drain(..channels);
        inputs.extend_from_slice(x);
        (0..channels)
            .map(|c| {
                let products = inputs[c..]
                    .iter()
                    .step_by(channels)
                    .zip(&weight[c * width..])
                    .map(|(x, &w)| f64::from(w) * x);
                bias.map_or(0.0, |b| f64::from(b[c])) + products.sum::<f64>()
            })
            .collect()
    }
}

/// `y[n] = sum_k w[n, k] x[k] + bias[n]`.
pub fn linear(x: &[f64], w: &[f32], bias: Option<&[f32]>) -> Vec<f64> {
    w.chunks_exact(x.len())
        .enumerate()
        .map(|(n, row)| {
            let dot: f64 = row.iter().zip(x).map(|(&w, x)| f64::from(w) * x).sum();
            dot + bias.map_or(0.0, |b| f64::from(b[n]))
        })
        .collect()
}

/// `u / sqrt(mean(u^2) + eps) * weight` over groups of columns.
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

/// `(u - mean) / sqrt(var + eps) * weight + bias` over groups of columns.
pub fn layer_norm(u: &[f64], weight: &[f32], bias: &[f32], group: usize, eps: f64) -> Vec<f64> {
    let mut out = Vec::with_capacity(u.len());
    for part in u.chunks_exact(group) {
        let mean = part.iter().sum::<f64>() / group as f64;
        let variance = part.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / group as f64;
        for x in part {
            let (w, b) = (f64::from(weight[out.len()]), f64::from(bias[out.len()]));
            out.push((x - mean) / (variance + eps).sqrt() * w + b);
        }
    }
    out
}

/// `u / sqrt(sum(u^2) + eps)` over groups of columns, in place.
pub fn l2_norm(u: &mut [f64], group: usize, eps: f64) {
    for part in u.chunks_exact_mut(group) {
        let square: f64 = part.iter().map(|x| x * x).sum();
        part.iter_mut().for_each(|x| *x /= (square + eps).sqrt());
    }
}

/// `u / (sum(u) + eps)` over groups of columns, in place.
pub fn sum_norm(u: &mut [f64], group: usize, eps: f64) {
    for part in u.chunks_exact_mut(group) {
        let sum: f64 = part.iter().sum();
        part.iter_mut().for_each(|x| *x /= sum + eps);
    }
}

/// Each block of columns `repeat` times, as [`crate::plan::Columns::spread`].
pub fn spread(x: &[f64], block: usize, repeat: usize) -> Vec<f64> {
    let blocks = x.chunks_exact(block);
    blocks.flat_map(|b| b.repeat(repeat)).collect()
}

/// `a * b`, value by value.
pub fn multiply(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| a * b).collect()
}

/// `1 / (1 + e^-x)`.
pub fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// `x / (1 + e^-x)`.
pub fn silu(x: f64) -> f64 {
    x * sigmoid(x)
}

/// `x Phi(x)` with the normal distribution Phi.
pub fn gelu(x: f64) -> f64 {
    // 1 - Phi(9) is below 1e-18. Nearer to 0, Phi(x) - 1/2 is the density times
    // x + x^3 / 3 + x^5 / (3 * 5) + ..., whose terms all have one sign.
    if x.abs() > 9.0 {
        return x.max(0.0);
    }
    let (mut term, mut sum, mut odd) = (x, x, 1.0);
    while term.abs() > 1e-18 * sum.abs() {
        odd += 2.0;
        term *= x * x / odd;
        sum += term;
    }
    let density = (-x * x / 2.0).exp() / std::f64::consts::TAU.sqrt();
    x * (0.5 + density * sum)
}

/// `x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))`, near to [`gelu`].
pub fn gelu_tanh(x: f64) -> f64 {
    let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3));
    x / 2.0 * (1.0 + inner.tanh())
}

/// `ln(1 + e^x)`.
pub fn softplus(x: f64) -> f64 {
    if x > 30.0 { x } else { x.exp().ln_1p() }
}

/// Rotates the first n channels of every head of `x [H, K]` in place (half-split convention).
pub fn rotate(x: &mut [f64], (key, n): (usize, usize), theta: f64, position: usize) {
    let half = n / 2;
    for head in x.chunks_exact_mut(key) {
        for i in 0..half {
            let angle = position as f64 * theta.powf(-2.0 * i as f64 / n as f64);
            let (sin, cos) = angle.sin_cos();
            let (a, b) = (head[i], head[i + half]);
            head[i] = a * cos - b * sin;
            head[i + half] = b * cos + a * sin;
        }
    }
}
