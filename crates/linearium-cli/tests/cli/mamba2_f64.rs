//! Mamba-2 read straight from the checkpoint, in f64, in its quadratic form: every output is a sum
//! over all earlier tokens, no state is carried. Nothing here comes from the library but the
//! reader of safetensors.

use std::fs;

use linearium::model::checkpoint::Checkpoint;
use serde_json::Value;

use crate::program::model;

/// The factors of one layer's hidden attention.
pub struct Layer {
    /// Log-decay `[T][H]`.
    pub log_decay: Vec<Vec<f64>>,
    /// Step size times write factor `[T][H]`.
    pub write: Vec<Vec<f64>>,
    /// `[T][N]`, one group.
    b: Vec<Vec<f64>>,
    /// `[T][N]`
    c: Vec<Vec<f64>>,
    window: usize,
}

impl Layer {
    /// `M[i][0..=i]` of a head.
    pub fn row(&self, i: usize, head: usize) -> Vec<f64> {
        let mut out = vec![0.0; i + 1];
        let first = match self.window {
            0 => 0,
            r => (i + 1).saturating_sub(r),
        };
        let mut log_decay = 0f64;
        for j in (first..=i).rev() {
            let dot: f64 = self.c[i].iter().zip(&self.b[j]).map(|(c, b)| c * b).sum();
            out[j] = dot * log_decay.exp() * self.write[j][head];
            log_decay += self.log_decay[j][head];
        }
        out
    }
}

/// What is changed in the model.
#[derive(Clone, Copy)]
pub struct Change {
    pub decay_factor: f64,
    pub write_factor: f64,
    pub window: usize,
}

/// What the model computes.
pub struct Reading {
    pub layers: Vec<Layer>,
    /// Loss of predicting token t + 1, `[T - 1]`.
    pub losses: Vec<f64>,
}

struct Weights {
    file: Checkpoint,
    config: Value,
}

impl Weights {
    fn take(&mut self, name: &str, shape: &[usize]) -> Vec<f64> {
        let tensor = self.file.take(name, shape).unwrap();
        tensor.data.iter().map(|&x| f64::from(x)).collect()
    }

    fn size(&self, key: &str) -> usize {
        self.config[key].as_u64().unwrap() as usize
    }
}

fn silu(x: f64) -> f64 {
    x / (1.0 + (-x).exp())
}

fn times(matrix: &[f64], x: &[f64]) -> Vec<f64> {
    let row = |r: &[f64]| r.iter().zip(x).map(|(m, x)| m * x).sum();
    matrix.chunks_exact(x.len()).map(row).collect()
}

fn rms_norm(x: &[f64], weight: &[f64], eps: f64) -> Vec<f64> {
    let mean = x.iter().map(|x| x * x).sum::<f64>() / x.len() as f64;
    let root = (mean + eps).sqrt();
    x.iter().zip(weight).map(|(x, w)| x / root * w).collect()
}

/// Reads bytes with a shipped Mamba-2 model: one group, no biases but the convolution's, tied head.
pub fn read(name: &str, text: &[u8], change: Change) -> Reading {
    let folder = model(name);
    let config = fs::read(format!("{folder}/config.json")).unwrap();
    let weights = fs::read(format!("{folder}/model.safetensors")).unwrap();
    let mut w = Weights {
        file: Checkpoint::read(weights).unwrap(),
        config: serde_json::from_slice(&config).unwrap(),
    };
    assert_eq!((w.size("n_groups"), w.size("conv_kernel")), (1, 4));
    let (d, h, p, n) = (
        w.size("hidden_size"),
        w.size("num_heads"),
        w.size("head_dim"),
        w.size("state_size"),
    );
    let eps = w.config["layer_norm_epsilon"].as_f64().unwrap();
    let embedding = w.take("backbone.embeddings.weight", &[256, d]);
    let mut x: Vec<Vec<f64>> = text
        .iter()
        .map(|&b| embedding[usize::from(b) * d..][..d].to_vec())
        .collect();
    let mut layers = Vec::new();
    for layer in 0..w.size("num_hidden_layers") {
        layers.push(mix(&mut w, layer, &mut x, [d, h, p, n], eps, change));
    }
    let norm = w.take("backbone.norm_f.weight", &[d]);
    let losses = x[..x.len() - 1]
        .iter()
        .zip(&text[1..])
        .map(|(x, &next)| {
            let logits = times(&embedding, &rms_norm(x, &norm, eps));
            let sum: f64 = logits.iter().map(|l| l.exp()).sum();
            sum.ln() - logits[usize::from(next)]
        })
        .collect();
    Reading { layers, losses }
}

fn mix(
    w: &mut Weights,
    layer: usize,
    x: &mut [Vec<f64>],
    [d, h, p, n]: [usize; 4],
    eps: f64,
    change: Change,
) -> Layer {
    let (e, channels) = (h * p, h * p + 2 * n);
    let mut take =
        |name: &str, shape: &[usize]| w.take(&format!("backbone.layers.{layer}.{name}"), shape);
    let norm = take("norm.weight", &[d]);
    let in_proj = take("mixer.in_proj.weight", &[e + channels + h, d]);
    let conv = take("mixer.conv1d.weight", &[channels, 1, 4]);
    let conv_bias = take("mixer.conv1d.bias", &[channels]);
    let dt_bias = take("mixer.dt_bias", &[h]);
    let a_log = take("mixer.A_log", &[h]);
    let skip = take("mixer.D", &[h]);
    let gated_norm = take("mixer.norm.weight", &[e]);
    let out_proj = take("mixer.out_proj.weight", &[d, e]);
    let projected: Vec<Vec<f64>> = x
        .iter()
        .map(|x| times(&in_proj, &rms_norm(x, &norm, eps)))
        .collect();
    let convolved: Vec<Vec<f64>> = (0..x.len())
        .map(|t| {
            (0..channels)
                .map(|c| {
                    let taps = (0..4).filter(|i| t + i >= 3);
                    let sum: f64 = taps
                        .map(|i| conv[c * 4 + i] * projected[t + i - 3][e + c])
                        .sum();
                    silu(sum + conv_bias[c])
                })
                .collect()
        })
        .collect();
    let steps: Vec<Vec<f64>> = projected
        .iter()
        .map(|row| {
            let raw = row[e + channels..].iter().zip(&dt_bias);
            raw.map(|(dt, bias)| (dt + bias).exp().ln_1p()).collect()
        })
        .collect();
    let out = Layer {
        log_decay: steps
            .iter()
            .map(|dt| {
                let gates = dt.iter().zip(&a_log);
                gates
                    .map(|(dt, a)| change.decay_factor.ln() - dt * a.exp())
                    .collect()
            })
            .collect(),
        write: steps
            .iter()
            .map(|dt| dt.iter().map(|dt| dt * change.write_factor).collect())
            .collect(),
        b: convolved.iter().map(|row| row[e..e + n].to_vec()).collect(),
        c: convolved.iter().map(|row| row[e + n..].to_vec()).collect(),
        window: change.window,
    };
    for t in 0..x.len() {
        let mut y = vec![0.0; e];
        for head in 0..h {
            let row = out.row(t, head);
            for c in head * p..(head + 1) * p {
                let sum: f64 = row.iter().zip(&convolved).map(|(m, v)| m * v[c]).sum();
                y[c] = (sum + skip[head] * convolved[t][c]) * silu(projected[t][c]);
            }
        }
        let added = times(&out_proj, &rms_norm(&y, &gated_norm, eps));
        x[t].iter_mut().zip(added).for_each(|(x, y)| *x += y);
    }
    out
}
