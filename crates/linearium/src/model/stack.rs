//! A language model as a stack of blocks: embedding, then for each block
//! `x <- x + mixer(norm(x))` and, where there is one, `x <- x + ffn(norm(x))`, then a norm and the
//! head. Any pattern of mixers is a stack.

use crate::kernels::cross_entropy::{self, CrossEntropy};
use crate::kernels::embed::{self, Embed};
use crate::mixers::{self, Change, Mixer, Size, Taps, Weights};
#[cfg(feature = "zoo")]
use crate::mixers::{Context, StepState};
use crate::plan::{Columns, Io, PlannedPass, Planner};
use crate::random::Random;
use crate::recording::{BufferId, Layout, NONE, Recording};
#[cfg(feature = "zoo")]
use crate::step::{Left, linear, rms_norm, silu};

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
    /// A byte model of one mixer with random weights: 2 layers, width 128, the mixer's usual size.
    pub fn random(definition: &mixers::Definition, seed: u64) -> Stack {
        Stack::random_of(definition, &(definition.size)(128), seed)
    }

    /// A byte model of 2 layers of one mixer of this size, with random weights.
    pub fn random_of(definition: &mixers::Definition, size: &Size, seed: u64) -> Stack {
        let (width, vocab) = (size.width, 256);
        let random = &mut Random::new(seed);
        let blocks = (0..2)
            .map(|_| Block {
                norm: vec![1.0; width].into(),
                mixer: (definition.random)(size, random),
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
                let mixer: usize = b.mixer.weights().iter().map(|w| w.len()).sum();
                b.norm.len() + mixer + ffn
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
    #[cfg(feature = "zoo")]
    pub fn step(&self, states: &mut Vec<StepState>, token: u32, change: &Change) -> Vec<f64> {
        states.resize(self.blocks.len(), StepState::default());
        let (d, eps) = (self.width, f64::from(self.eps));
        let row = &self.embedding[token as usize * d..][..d];
        let mut x: Vec<f64> = row.iter().map(|&v| f64::from(v)).collect();
        let add = |x: &mut Vec<f64>, y: Vec<f64>| x.iter_mut().zip(y).for_each(|(x, y)| *x += y);
        let left = Left::default();
        for (layer, (block, state)) in self.blocks.iter().zip(states).enumerate() {
            let u = rms_norm(&x, &block.norm, d, eps);
            let context = Context {
                change,
                layer,
                left: &left,
            };
            add(&mut x, block.mixer.step(state, &u, &context));
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
        let streams = ["residual 0", "residual 1"].map(|name| p.layout.scratch(name, segment * d));
        let logits = p.layout.scratch("logits", segment * self.vocab);
        let losses = p.layout.scratch("losses", segment * 2);
        p.push(
            &embed::KERNEL,
            &Embed {
                t: 0,
                width: d as u32,
            },
            &[embedding, tokens],
            &[streams[0]],
        );
        // Every layer reads one stream and writes the other.
        let [mut x, mut next] = streams;
        let mut taps = Vec::new();
        for (layer, block) in self.blocks.iter().enumerate() {
            p.layer = layer;
            p.io = Io {
                u: self.normalise(p, "u", x, &block.norm),
                residual: x,
                out: next,
            };
            taps.push(block.mixer.plan(p));
            std::mem::swap(&mut x, &mut next);
            if let Some(f) = &block.feed_forward {
                let u = self.normalise(p, "ffn u", x, &f.norm);
                let [gate, up] = p
                    .project("ffn hidden", &f.gate_up, f.gate_up_bias.as_ref(), u)
                    .split([f.inner, f.inner]);
                let hidden = p.swiglu("ffn activated", gate, up);
                p.io = Io {
                    u,
                    residual: x,
                    out: next,
                };
                p.project_out(&f.down, f.down_bias.as_ref(), hidden);
                std::mem::swap(&mut x, &mut next);
            }
        }
        p.layer = self.blocks.len();
        let u = self.normalise(p, "u", x, &self.norm);
        p.matmul(u, [head, NONE, NONE], Columns::all(logits, self.vocab));
        p.push(
            &cross_entropy::KERNEL,
            &CrossEntropy {
                t: 0,
                vocab: self.vocab as u32,
            },
            &[logits, targets],
            &[losses],
        );
        StackPlan {
            layout: std::mem::take(&mut p.layout),
            vocab: self.vocab,
            segment,
            capacity,
            tokens,
            targets,
            logits,
            losses,
            angles: std::mem::take(&mut p.angles),
            passes: std::mem::take(&mut p.passes),
            taps,
        }
    }

    fn normalise(&self, p: &mut Planner, name: &str, x: BufferId, weight: &Weights) -> Columns {
        let x = Columns::all(x, self.width);
        p.rms_norm(name, x, weight, self.width, self.eps, None)
    }
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
    passes: Vec<PlannedPass>,
    taps: Vec<Taps>,
}

impl StackPlan {
    /// Where the probes find the factors of a layer.
    pub fn taps(&self, layer: usize) -> &Taps {
        &self.taps[layer]
    }

    /// Number of layers.
    pub fn layers(&self) -> usize {
        self.taps.len()
    }

    /// The passes for `t` tokens after `position` tokens.
    pub fn record(&self, t: usize, position: usize) -> Recording {
        let mut recording = Recording::default();
        for pass in &self.passes {
            pass.record(&mut recording, t, position);
        }
        recording
    }
}
