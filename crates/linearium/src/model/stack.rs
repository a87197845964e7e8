//! A language model as a stack of blocks: embedding, then for each block
//! `x <- x + mixer(norm(x))` and, where there is one, `x <- x + ffn(norm(x))`, then a norm and the
//! head. Any pattern of mixers is a stack.

use crate::kernels::cross_entropy::{self, CrossEntropy};
use crate::kernels::embed::{self, Embed};
use crate::kernels::rms_norm::{self as norm, RmsNorm};
use crate::kernels::swiglu::{self, Swiglu};
use crate::mixers::{
    self, Change, Columns, Io, Linear, Mixer, Plan, Planner, Size, StepState, Taps, Weights,
    linear, rms_norm, silu,
};
use crate::random::Random;
use crate::recording::{BufferId, Layout, NONE, Recording};

/// A gated feed-forward layer: `down(silu(gate(u)) * up(u))`.
pub struct FeedForward {
    /// Norm before it, `[D]`.
    pub norm: Weights,
    /// Inner width F.
    pub inner: usize,
    /// `[2F, D]`, rows gate, up.
    pub gate_up: Weights,
    /// `[2F]`.
    pub gate_up_bias: Option<Weights>,
    /// `[D, F]`.
    pub down: Weights,
    /// `[D]`.
    pub down_bias: Option<Weights>,
}

/// One block.
pub struct Block {
    /// Norm before the mixer, `[D]`.
    pub norm: Weights,
    /// The mixer.
    pub mixer: Box<dyn Mixer>,
    /// The feed-forward layer, if there is one.
    pub feed_forward: Option<FeedForward>,
}

/// A language model.
pub struct Stack {
    /// The architecture in words.
    pub name: String,
    /// Model width D.
    pub width: usize,
    /// Vocabulary size.
    pub vocab: usize,
    /// `[vocab, D]`.
    pub embedding: Weights,
    /// The blocks.
    pub blocks: Vec<Block>,
    /// Last norm, `[D]`.
    pub norm: Weights,
    /// `[vocab, D]`; the embedding if absent.
    pub head: Option<Weights>,
    /// Added to the mean square in every norm.
    pub eps: f32,
    /// Length of the texts that it was trained on, in tokens, if known.
    pub train_context: Option<usize>,
    /// True if a token is a byte of text.
    pub reads_bytes: bool,
}

impl Stack {
    /// A byte model of one mixer with random weights: 2 layers, width 128.
    pub fn random(definition: &mixers::Definition, seed: u64) -> Stack {
        let (width, vocab) = (128, 256);
        let random = &mut Random::new(seed);
        let size = match definition.id {
            "s6" => Size {
                width,
                heads: 2 * width,
                key: 16,
                value: 1,
            },
            _ => Size {
                width,
                heads: 4,
                key: 64,
                value: 64,
            },
        };
        let blocks = (0..2)
            .map(|_| Block {
                norm: vec![1.0; width].into(),
                mixer: (definition.random)(&size, random),
                feed_forward: None,
            })
            .collect();
        Stack {
            name: format!("{}, random weights", definition.name),
            width,
            vocab,
            embedding: random.normals(vocab * width, 0.5).into(),
            blocks,
            norm: vec![1.0; width].into(),
            head: Some(
                random
                    .normals(vocab * width, (width as f64).sqrt().recip())
                    .into(),
            ),
            eps: 1e-5,
            train_context: None,
            reads_bytes: true,
        }
    }

    /// Number of parameters.
    pub fn parameters(&self) -> usize {
        let optional = |w: &Option<Weights>| w.as_ref().map_or(0, |w| w.len());
        let blocks: usize = self
            .blocks
            .iter()
            .map(|b| {
                let ffn = b.feed_forward.as_ref().map_or(0, |f| {
                    f.norm.len()
                        + f.gate_up.len()
                        + f.down.len()
                        + optional(&f.gate_up_bias)
                        + optional(&f.down_bias)
                });
                b.norm.len() + b.mixer.parameters() + ffn
            })
            .sum();
        self.embedding.len() + blocks + self.norm.len() + optional(&self.head)
    }

    /// Bytes of f32 that the model carries from token to token after `t` tokens: states and
    /// convolution tails (constant), and caches of attention (growing).
    pub fn state_bytes(&self, t: usize) -> usize {
        let values = |s: mixers::Shape| s.state + s.tail + s.cache_per_token * t;
        4 * self
            .blocks
            .iter()
            .map(|b| values(b.mixer.shape()))
            .sum::<usize>()
    }

    /// True if a layer keeps a cache that grows with the context.
    pub fn has_cache(&self) -> bool {
        self.blocks
            .iter()
            .any(|b| b.mixer.shape().cache_per_token > 0)
    }

    /// The definition of the model: one token, in f64, as the formulas stand. Gives the logits.
    pub fn step(&self, states: &mut Vec<StepState>, token: u32, change: &Change) -> Vec<f64> {
        states.resize(self.blocks.len(), StepState::default());
        let (d, eps) = (self.width, f64::from(self.eps));
        let row = &self.embedding[token as usize * d..][..d];
        let mut x: Vec<f64> = row.iter().map(|&v| f64::from(v)).collect();
        let add = |x: &mut Vec<f64>, y: Vec<f64>| x.iter_mut().zip(y).for_each(|(x, y)| *x += y);
        for (layer, (block, state)) in self.blocks.iter().zip(states).enumerate() {
            let u = rms_norm(&x, &block.norm, d, eps);
            add(&mut x, block.mixer.step(state, &u, change, layer));
            if let Some(f) = &block.feed_forward {
                let u = rms_norm(&x, &f.norm, d, eps);
                let gate_up = linear(&u, &f.gate_up, f.gate_up_bias.as_deref());
                let (gate, up) = gate_up.split_at(f.inner);
                let inner: Vec<f64> = gate.iter().zip(up).map(|(&g, u)| silu(g) * u).collect();
                add(&mut x, linear(&inner, &f.down, f.down_bias.as_deref()));
            }
        }
        let x = rms_norm(&x, &self.norm, d, eps);
        linear(&x, self.head.as_ref().unwrap_or(&self.embedding), None)
    }

    /// Declares all buffers for runs of at most `capacity` tokens in recordings of at most
    /// `segment` tokens. `tapped` is the layer whose factors probes read.
    pub fn plan(
        &self,
        segment: usize,
        capacity: usize,
        change: &Change,
        tapped: Option<usize>,
    ) -> StackPlan {
        let p = &mut Planner::new(segment, capacity, change.clone(), tapped);
        let d = self.width;
        let tokens = p.layout.input("tokens", segment);
        let targets = p.layout.input("targets", segment);
        let embedding = p.layout.weight("embedding", self.embedding.clone());
        let head = match &self.head {
            Some(head) => p.layout.weight("head", head.clone()),
            None => embedding,
        };
        let norm = p.layout.weight("norm", self.norm.clone());
        let streams = [
            p.shared("residual 0", segment * d),
            p.shared("residual 1", segment * d),
        ];
        let u = p.shared("u", segment * d);
        let logits = p.layout.scratch("logits", segment * self.vocab);
        let losses = p.layout.scratch("losses", segment * 2);
        let mut blocks = Vec::new();
        for (layer, block) in self.blocks.iter().enumerate() {
            p.layer = layer;
            let norm = p.weight("norm_before", &block.norm);
            let mixer = block.mixer.plan(p);
            let feed_forward = block.feed_forward.as_ref().map(|f| FeedForwardPlan {
                norm: p.weight("ffn_norm", &f.norm),
                inner: f.inner,
                gate_up: Linear {
                    weight: p.weight("gate_up", &f.gate_up),
                    bias: p.optional("gate_up_bias", &f.gate_up_bias),
                    outputs: 2 * f.inner,
                },
                hidden: p.shared("ffn gate and up", segment * 2 * f.inner),
                activated: p.shared("ffn activated", segment * f.inner),
                down: Linear {
                    weight: p.weight("down", &f.down),
                    bias: p.optional("down_bias", &f.down_bias),
                    outputs: d,
                },
            });
            blocks.push(BlockPlan {
                norm,
                mixer,
                feed_forward,
            });
        }
        StackPlan {
            layout: std::mem::take(&mut p.layout),
            width: d,
            vocab: self.vocab,
            eps: self.eps,
            segment,
            capacity,
            tokens,
            targets,
            logits,
            losses,
            angles: std::mem::take(&mut p.angles),
            embedding,
            head,
            norm,
            streams,
            u,
            blocks,
        }
    }
}

struct FeedForwardPlan {
    norm: BufferId,
    inner: usize,
    gate_up: Linear,
    hidden: BufferId,
    activated: BufferId,
    down: Linear,
}

struct BlockPlan {
    norm: BufferId,
    mixer: Box<dyn Plan>,
    feed_forward: Option<FeedForwardPlan>,
}

/// A stack whose buffers are declared.
pub struct StackPlan {
    /// The buffers.
    pub layout: Layout,
    /// Vocabulary size.
    pub vocab: usize,
    /// The most tokens of one recording.
    pub segment: usize,
    /// The most tokens of a run.
    pub capacity: usize,
    /// Input `[T]`: token ids as f32 (exact up to 2^24).
    pub tokens: BufferId,
    /// Input `[T]`: the next tokens, -1 for none.
    pub targets: BufferId,
    /// `[T, vocab]`.
    pub logits: BufferId,
    /// `[T, 2]`: loss in nats, most likely token.
    pub losses: BufferId,
    /// Rotary angles to be written before a recording: (theta, K, buffer).
    pub angles: Vec<(f64, usize, BufferId)>,
    width: usize,
    eps: f32,
    embedding: BufferId,
    head: BufferId,
    norm: BufferId,
    streams: [BufferId; 2],
    u: BufferId,
    blocks: Vec<BlockPlan>,
}

impl StackPlan {
    /// Where the probes find the factors of a layer.
    pub fn taps(&self, layer: usize) -> &Taps {
        self.blocks[layer].mixer.taps()
    }

    /// Number of layers.
    pub fn layers(&self) -> usize {
        self.blocks.len()
    }

    /// The passes for `t` tokens after `position` tokens.
    pub fn record(&self, t: usize, position: usize) -> Recording {
        let mut r = Recording::default();
        let [mut x, mut next] = self.streams;
        r.push(
            &embed::KERNEL,
            &Embed {
                t: t as u32,
                width: self.width as u32,
            },
            &[self.embedding, self.tokens],
            &[x],
        );
        let u = Columns::all(self.u, self.width);
        for block in &self.blocks {
            self.record_norm(&mut r, t, x, block.norm);
            block.mixer.record(
                &mut r,
                t,
                position,
                Io {
                    u: self.u,
                    residual: x,
                    out: next,
                },
            );
            std::mem::swap(&mut x, &mut next);
            let Some(f) = &block.feed_forward else {
                continue;
            };
            self.record_norm(&mut r, t, x, f.norm);
            f.gate_up.record(&mut r, t, u, None, f.hidden);
            r.push(
                &swiglu::KERNEL,
                &Swiglu {
                    t: t as u32,
                    width: f.inner as u32,
                    gate_stride: 2 * f.inner as u32,
                    gate_offset: 0,
                    up_stride: 2 * f.inner as u32,
                    up_offset: f.inner as u32,
                },
                &[f.hidden, f.hidden],
                &[f.activated],
            );
            f.down
                .record(&mut r, t, Columns::all(f.activated, f.inner), Some(x), next);
            std::mem::swap(&mut x, &mut next);
        }
        self.record_norm(&mut r, t, x, self.norm);
        let head = Linear {
            weight: self.head,
            bias: NONE,
            outputs: self.vocab,
        };
        head.record(&mut r, t, u, None, self.logits);
        r.push(
            &cross_entropy::KERNEL,
            &CrossEntropy {
                t: t as u32,
                vocab: self.vocab as u32,
            },
            &[self.logits, self.targets],
            &[self.losses],
        );
        r
    }

    fn record_norm(&self, r: &mut Recording, t: usize, x: BufferId, weight: BufferId) {
        let width = self.width as u32;
        r.push(
            &norm::KERNEL,
            &RmsNorm {
                t: t as u32,
                width,
                group: width,
                weight_len: width,
                eps: self.eps,
                gate: norm::NO_GATE,
                z_stride: 0,
                z_offset: 0,
            },
            &[x, weight, NONE],
            &[self.u],
        );
    }
}
