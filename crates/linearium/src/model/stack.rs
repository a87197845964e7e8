//! A language model as a stack of blocks: embedding, then for each block
//! `x <- x + mixer(norm(x))` and, where there is one, `x <- x + ffn(norm(x))`, then a norm and the
//! head. Any pattern of mixers is a stack.

use super::feed_forward;
use super::tensors::Tensors;
use crate::kernels::cross_entropy::{self, CrossEntropy};
#[cfg(feature = "zoo")]
use crate::kernels::normalise;
use crate::mixers::{self, Change, Mixer, Size, Taps, Weights};
#[cfg(feature = "zoo")]
use crate::mixers::{Context, StepState};
#[cfg(feature = "zoo")]
use crate::plan::pruned::{Pruned, PrunedRows, Shown};
use crate::plan::{Columns, Io, OfToken, PlannedPass, Planner, TokenTables};
#[cfg(feature = "zoo")]
use crate::pruning::Pruning;
use crate::random::Random;
use crate::recording::{BufferId, Layout, NONE, Recording};
#[cfg(feature = "zoo")]
use crate::step::{Left, layer_norm, linear, rms_norm};

/// A norm of the residual stream; the stack knows what is added under the root.
pub enum Norm {
    /// `x / sqrt(mean(x^2) + eps) * weight`, weight `[D]`.
    Rms(Weights),
    /// `(x - mean(x)) / sqrt(var(x) + eps) * weight + bias`, `[D]` each.
    #[cfg(feature = "zoo")]
    Layer {
        /// Weight.
        weight: Weights,
        /// Bias.
        bias: Weights,
    },
}

impl Norm {
    /// Takes `<name>.weight`.
    ///
    /// # Errors
    /// A sentence if it is missing or has another shape.
    pub fn rms(t: &mut Tensors<'_>, name: &str, d: usize) -> Result<Norm, String> {
        t.take(&format!("{name}.weight"), &[d]).map(Norm::Rms)
    }

    /// Takes `<name>.weight` and `<name>.bias`.
    ///
    /// # Errors
    /// A sentence if one is missing or has another shape.
    #[cfg(feature = "zoo")]
    pub fn layer(t: &mut Tensors<'_>, name: &str, d: usize) -> Result<Norm, String> {
        Ok(Norm::Layer {
            weight: t.take(&format!("{name}.weight"), &[d])?,
            bias: t.take(&format!("{name}.bias"), &[d])?,
        })
    }

    fn weights(&self) -> Vec<&Weights> {
        match self {
            Norm::Rms(weight) => vec![weight],
            #[cfg(feature = "zoo")]
            Norm::Layer { weight, bias } => vec![weight, bias],
        }
    }

    #[cfg(feature = "zoo")]
    fn step(&self, x: &[f64], eps: f32) -> Vec<f64> {
        match self {
            Norm::Rms(weight) => rms_norm(x, weight, x.len(), eps.into()),
            Norm::Layer { weight, bias } => layer_norm(x, weight, bias, x.len(), eps.into()),
        }
    }

    fn plan(&self, p: &mut Planner, name: &str, x: Columns, eps: f32) -> Columns {
        match self {
            Norm::Rms(weight) => p.rms_norm(name, x, weight, x.width, eps, None),
            #[cfg(feature = "zoo")]
            Norm::Layer { weight, bias } => {
                let weights = [Some(weight), Some(bias)];
                p.normalise(name, x, (normalise::LAYER, x.width, eps), weights)
            }
        }
    }
}

/// A feed-forward layer and the norm before it.
pub struct FeedForward {
    /// Norm before it.
    pub norm: Norm,
    /// The layer.
    pub layer: Box<dyn feed_forward::Layer>,
}

/// One block.
pub struct Block {
    /// Norm that the residual stream itself goes through, if there is one (RWKV, first block).
    pub stream_norm: Option<Norm>,
    /// Norm before the mixer.
    pub norm: Norm,
    /// The mixer.
    pub mixer: Box<dyn Mixer>,
    /// The feed-forward layer, if there is one.
    pub feed_forward: Option<FeedForward>,
}

/// A vocabulary whose tokens are more than bytes.
pub trait TextTokens {
    /// The ids of a text.
    fn encode(&self, text: &str) -> Vec<u32>;
    /// The bytes of a token; none for an id that the vocabulary lacks.
    fn bytes_of(&self, id: u32) -> &[u8];
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
    /// Last norm.
    pub norm: Norm,
    /// `[vocab, D]`; the embedding if absent.
    pub head: Option<Weights>,
    /// Added to the mean square in every norm.
    pub eps: f32,
    /// Length of the texts that it was trained on, in tokens, if known.
    pub train_context: Option<usize>,
    /// True if a token is a byte of text.
    pub reads_bytes: bool,
    /// How text becomes tokens where they are not bytes, if that is known.
    pub tokenizer: Option<Box<dyn TextTokens>>,
    /// What was computed for every token of the vocabulary.
    pub token_tables: TokenTables,
}

/// The most logits of one recording: 64 MiB, half of what every GPU binds.
const MAX_LOGITS: usize = 1 << 24;

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
                stream_norm: None,
                norm: Norm::Rms(vec![1.0; width].into()),
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
            norm: Norm::Rms(vec![1.0; width].into()),
            head: Some(
                random
                    .normals(vocab * width, (width as f64).sqrt().recip())
                    .into(),
            ),
            eps: 1e-5,
            train_context: None,
            reads_bytes: true,
            tokenizer: None,
            token_tables: TokenTables::default(),
        }
    }

    /// True if a text can be read.
    pub fn reads_text(&self) -> bool {
        self.reads_bytes || self.tokenizer.is_some()
    }

    /// The tokens of a text; what is not UTF-8 in it counts as U+FFFD for a vocabulary that is not
    /// of bytes.
    pub fn encode(&self, text: &[u8]) -> Vec<u32> {
        match &self.tokenizer {
            Some(tokenizer) => tokenizer.encode(&String::from_utf8_lossy(text)),
            None => text.iter().map(|&b| b.into()).collect(),
        }
    }

    /// The bytes of a token.
    pub fn bytes_of(&self, token: u32) -> Vec<u8> {
        match &self.tokenizer {
            Some(tokenizer) => tokenizer.bytes_of(token).to_vec(),
            None => vec![token as u8],
        }
    }

    /// Number of parameters.
    pub fn parameters(&self) -> usize {
        let sum = |weights: Vec<&Weights>| weights.iter().map(|w| w.len()).sum::<usize>();
        let blocks: usize = self
            .blocks
            .iter()
            .map(|b| {
                let ffn = b
                    .feed_forward
                    .as_ref()
                    .map_or(0, |f| sum(f.norm.weights()) + sum(f.layer.weights()));
                let stream_norm = b.stream_norm.as_ref().map_or(0, |n| sum(n.weights()));
                stream_norm + sum(b.norm.weights()) + sum(b.mixer.weights()) + ffn
            })
            .sum();
        let head = self.head.as_ref().map_or(0, |w| w.len());
        self.embedding.len() + blocks + sum(self.norm.weights()) + head
    }

    /// Bytes of f32 that the model carries from token to token after `t` tokens: states and
    /// convolution tails (constant), and caches of attention (growing).
    pub fn state_bytes(&self, t: usize) -> usize {
        let values = |s: mixers::Shape| s.state + s.tail + s.cache_per_token * t;
        4 * self
            .blocks
            .iter()
            .map(|b| {
                let ffn = b.feed_forward.as_ref().map_or(0, |f| f.layer.tail());
                values(b.mixer.shape()) + ffn
            })
            .sum::<usize>()
    }

    /// The most tokens that one recording may have, by the size of the logits.
    pub fn longest_segment(&self) -> usize {
        (MAX_LOGITS / self.vocab.max(1)).max(1)
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
        let (d, eps) = (self.width, self.eps);
        let row = &self.embedding[token as usize * d..][..d];
        let mut x: Vec<f64> = row.iter().map(|&v| f64::from(v)).collect();
        let add = |x: &mut Vec<f64>, y: Vec<f64>| x.iter_mut().zip(y).for_each(|(x, y)| *x += y);
        let left = Left::default();
        for (layer, (block, state)) in self.blocks.iter().zip(states).enumerate() {
            if let Some(norm) = &block.stream_norm {
                x = norm.step(&x, eps);
            }
            let u = block.norm.step(&x, eps);
            let context = Context {
                change,
                layer,
                left: &left,
            };
            add(&mut x, block.mixer.step(state, &u, &context));
            if let Some(f) = &block.feed_forward {
                let u = f.norm.step(&x, eps);
                add(&mut x, f.layer.step(state, &u));
            }
        }
        let x = self.norm.step(&x, eps);
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
        self.planned(&mut Planner::new(segment, capacity, change.clone(), tapped))
    }

    /// The same for a run that drops tokens.
    ///
    /// # Errors
    /// A sentence if there is no such layer, or if what dropping shall mean means nothing to a layer.
    #[cfg(feature = "zoo")]
    pub fn plan_pruned(
        &self,
        segment: usize,
        capacity: usize,
        change: &Change,
        tapped: Option<usize>,
        pruning: &Pruning,
    ) -> Result<StackPlan, String> {
        if change.window > 0 {
            return Err(
                "a window counts tokens and pruning takes them away: choose one of both".to_owned(),
            );
        }
        let last = pruning.steps().last();
        if let Some((layer, _)) = last.filter(|(layer, _)| *layer >= self.blocks.len()) {
            return Err(format!(
                "there is no layer {layer} to prune at: the model has layers 0 to {}",
                self.blocks.len().saturating_sub(1)
            ));
        }
        let mut p = Planner::new(segment, capacity, change.clone(), tapped);
        p.pruned = Some(Box::new(Pruned::new(pruning)));
        let mut plan = self.planned(&mut p);
        plan.pruned = p.end_pruning()?;
        Ok(plan)
    }

    fn planned(&self, p: &mut Planner) -> StackPlan {
        let (segment, capacity) = (p.segment, p.capacity);
        let d = self.width;
        let tokens = p.layout.input("tokens", segment);
        let targets = p.layout.input("targets", segment);
        let embedding = p.matrix("embedding", &self.embedding);
        let head = match &self.head {
            Some(head) => p.matrix("head", head),
            None => embedding,
        };
        let rows = p.most_rows();
        let streams = ["residual 0", "residual 1"].map(|name| {
            let buffer = p.layout.scratch(name, rows * d);
            p.declare_rows(buffer, d).buffer
        });
        let logits = p.layout.scratch("logits", segment * self.vocab);
        let losses = p.layout.scratch("losses", segment * 2);
        p.embed(embedding, tokens, streams[0], d);
        // Every layer reads one stream and writes the other.
        let [mut x, mut next] = streams;
        let mut taps = Vec::new();
        for (layer, block) in self.blocks.iter().enumerate() {
            p.layer = layer;
            if let Some(norm) = &block.stream_norm {
                x = self.normalise(p, "normed stream", x, norm).buffer;
            }
            #[cfg(feature = "zoo")]
            {
                x = self.drop_tokens(p, x);
                let normalise = |p: &mut Planner, x| self.normalise(p, "u", x, &block.norm);
                p.before_mixer(block.mixer.as_ref(), x, d, normalise);
            }
            p.io = Io {
                u: self.input(p, "u", x, &block.norm, true),
                residual: x,
                out: next,
            };
            // Where tokens are dropped, rows are not those of the tokens any more.
            p.of_token = (layer == 0 && !p.drops_tokens()).then(|| OfToken {
                rows: p.io.u,
                passes: p.passes.len(),
                tokens,
                vocab: self.vocab,
                tables: self.token_tables.clone(),
            });
            taps.push(block.mixer.plan(p));
            p.of_token = None;
            #[cfg(feature = "zoo")]
            p.after_mixer(d);
            std::mem::swap(&mut x, &mut next);
            if let Some(f) = &block.feed_forward {
                p.io = Io {
                    u: self.input(p, "ffn u", x, &f.norm, f.layer.tail() > 0),
                    residual: x,
                    out: next,
                };
                f.layer.plan(p);
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
            #[cfg(feature = "zoo")]
            shown: p.shown,
            #[cfg(feature = "zoo")]
            pruned: None,
        }
    }

    /// The residual stream that the present layer reads, without the tokens that it drops.
    #[cfg(feature = "zoo")]
    fn drop_tokens(&self, p: &mut Planner, x: BufferId) -> BufferId {
        if p.drops_here() {
            p.drop_tokens(x, self.width)
        } else {
            x
        }
    }

    /// What a layer reads of the residual stream; `neighbours` is true if it reads other tokens than
    /// its own before its scan.
    fn input(
        &self,
        p: &mut Planner,
        name: &str,
        x: BufferId,
        norm: &Norm,
        neighbours: bool,
    ) -> Columns {
        let normalise = |p: &mut Planner, x| self.normalise(p, name, x, norm);
        #[cfg(feature = "zoo")]
        {
            p.input(x, self.width, neighbours, normalise)
        }
        #[cfg(not(feature = "zoo"))]
        {
            let _ = neighbours;
            normalise(p, x)
        }
    }

    fn normalise(&self, p: &mut Planner, name: &str, x: BufferId, norm: &Norm) -> Columns {
        norm.plan(p, name, Columns::all(x, self.width), self.eps)
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
    /// What scores see of the tapped layer.
    #[cfg(feature = "zoo")]
    pub shown: Shown,
    /// The rows of a plan that drops tokens.
    #[cfg(feature = "zoo")]
    pub pruned: Option<PrunedRows>,
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

    /// The passes where tokens are dropped: for each set of rows how many there are, and how many came
    /// before.
    #[cfg(feature = "zoo")]
    pub fn record_rows(&self, counts: &[(usize, usize)]) -> Recording {
        let mut recording = Recording::default();
        for pass in &self.passes {
            pass.record_rows(&mut recording, counts);
        }
        recording
    }
}
