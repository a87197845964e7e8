//! Attention over a window, the yardstick with a bounded memory: sliding-window (Longformer,
//! arXiv 2004.05150, section 3.1; Mistral) and, with gaps, dilated-window attention.
//!
//! `o_t = sum_n softmax_n(K^-1/2 q_t . k_{t - n d}) v_{t - n d}` over `0 <= n < w`,
//! `out = W_o o`; w the window, the token itself included, and d the dilation. Reference:
//! flash-linear-attention `fla/ops/attn/naive.py`.

use super::{
    Context, Decay, Definition, Mixer, NO_STEPS, Planner, ScoreFunction, Scores, Shape, Size,
    StepState, Taps, Weights, Write,
};
use crate::plan::Attention;
use crate::random::Random;
use crate::step::{linear, rotate};

/// The registry's entry.
pub static DEFINITION: Definition = Definition {
    id: "window_attention",
    name: "Window attention",
    glossary: &[
        ("u", "[T, D] normalised input of the layer"),
        ("q", "[T, H, K] query, rotated by position"),
        ("k", "[T, G, K] key, rotated by position"),
        ("v", "[T, G, K] value"),
        ("w", "tokens that are seen, 32 with random weights"),
        (
            "d",
            "distance from one of them to the next; random weights come with 1 to 3",
        ),
    ],
    ignores: &[
        NO_STEPS,
        (
            "decay-factor",
            "it forgets a token at once, when it leaves the window",
        ),
    ],
    size: Size::heads_of_64,
    random,
};

/// Weights of one layer.
#[derive(Clone)]
pub struct WindowAttention {
    /// Model width D.
    pub width: usize,
    /// Query heads H.
    pub heads: usize,
    /// Heads of keys and values G; divides H.
    pub kv_heads: usize,
    /// Width K of a head.
    pub key: usize,
    /// Tokens that are seen, the token itself included.
    pub window: usize,
    /// Distance from one of them to the next.
    pub dilation: usize,
    /// Base of the rotary angles, for an even K; none without positions.
    pub theta: Option<f64>,
    /// `[HK, D]`.
    pub q_proj: Weights,
    /// `[GK, D]`.
    pub k_proj: Weights,
    /// `[GK, D]`.
    pub v_proj: Weights,
    /// `[D, HK]`.
    pub out_proj: Weights,
}

fn random(size: &Size, random: &mut Random) -> Box<dyn Mixer> {
    let inner = size.heads * size.key;
    let deviation = (size.width as f64).sqrt().recip();
    let [q_proj, k_proj, v_proj] =
        [(); 3].map(|()| random.normals(inner * size.width, deviation).into());
    Box::new(WindowAttention {
        width: size.width,
        heads: size.heads,
        kv_heads: size.heads,
        key: size.key,
        window: 32,
        dilation: 1 + random.below(3),
        theta: size.key.is_multiple_of(2).then_some(10_000.0),
        q_proj,
        k_proj,
        v_proj,
        out_proj: random
            .normals(size.width * inner, (inner as f64).sqrt().recip())
            .into(),
    })
}

impl WindowAttention {
    fn scale(&self) -> f32 {
        (self.key as f32).sqrt().recip()
    }

    /// Tokens from the oldest that is seen to the present one.
    fn span(&self) -> usize {
        (self.window - 1) * self.dilation + 1
    }
}

impl Mixer for WindowAttention {
    fn definition(&self) -> &'static Definition {
        &DEFINITION
    }

    fn shape(&self) -> Shape {
        Shape {
            heads: self.heads,
            key: self.key,
            value: self.key,
            state: 0,
            tail: (self.span() - 1) * 2 * self.kv_heads * self.key,
            cache_per_token: 0,
        }
    }

    fn weights(&self) -> Vec<&Weights> {
        vec![&self.q_proj, &self.k_proj, &self.v_proj, &self.out_proj]
    }

    fn step(&self, state: &mut StepState, u: &[f64], context: &Context<'_>) -> Vec<f64> {
        let change = context.change;
        let mut q = linear(u, &self.q_proj, None);
        let mut k = linear(u, &self.k_proj, None);
        if let Some(theta) = self.theta {
            rotate(&mut q, (self.key, self.key), theta, state.position);
            rotate(&mut k, (self.key, self.key), theta, state.position);
        }
        state.position += 1;
        let v: Vec<f64> = linear(u, &self.v_proj, None)
            .into_iter()
            .map(|v| v * f64::from(change.write_factor))
            .collect();
        state.writes.push(Write {
            log_decay: Vec::new(),
            key: k,
            value: v.clone(),
        });
        if state.writes.len() > self.span() {
            state.writes.remove(0);
        }
        let seen: Vec<&Write> = state
            .writes
            .iter()
            .rev()
            .enumerate()
            .filter(|(back, _)| {
                back % self.dilation == 0 && (change.window == 0 || *back < change.window)
            })
            .map(|(_, write)| write)
            .collect();
        let per_group = self.heads / self.kv_heads;
        let mut o = Vec::with_capacity(q.len());
        for (h, q) in q.chunks_exact(self.key).enumerate() {
            let column = h / per_group * self.key;
            let weights: Vec<f64> = seen
                .iter()
                .map(|w| {
                    let k = &w.key[column..column + self.key];
                    let dot: f64 = q.iter().zip(k).map(|(a, b)| a * b).sum();
                    (dot / (self.key as f64).sqrt()).exp()
                })
                .collect();
            let sum: f64 = weights.iter().sum();
            for c in column..column + self.key {
                let pairs = weights.iter().zip(&seen);
                o.push(pairs.map(|(weight, w)| weight * w.value[c]).sum::<f64>() / sum);
            }
        }
        let of_head = |h| &v[h / per_group * self.key..][..self.key];
        state.last_value = (0..self.heads).flat_map(of_head).copied().collect();
        state.last_read.clone_from(&o);
        linear(&o, &self.out_proj, None)
    }

    fn plan(&self, p: &mut Planner) -> Taps {
        let mut q = p.project("q", &self.q_proj, None, p.io.u);
        let mut k = p.project("k", &self.k_proj, None, p.io.u);
        let v = p.project("v", &self.v_proj, None, p.io.u);
        if let Some(theta) = self.theta {
            q = p.rotate("rotated q", q, (self.key, self.key), theta);
            k = p.rotate("rotated k", k, (self.key, self.key), theta);
        }
        let attention = Attention {
            heads: self.heads,
            kv_heads: self.kv_heads,
            window: self.window,
            dilation: self.dilation,
            squared_relu: false,
            bias: None,
            active: None,
            bias_by_rank: false,
            scale: self.scale(),
        };
        let o = p.attend_scores([q, k, v], &attention);
        p.project_out(&self.out_proj, None, o);
        let scores = Scores {
            function: ScoreFunction::Softmax,
            bias: Vec::new().into(),
            distances: 0,
            dilation: self.dilation,
        };
        Taps {
            heads_per_group: self.heads / self.kv_heads,
            scale: self.scale(),
            window: match p.change.window {
                0 => self.span(),
                window => self.span().min(window),
            },
            ..Taps::new(q, k, Decay::Scores(scores))
        }
    }
}
