//! The mixers side by side: what a layer of each carries, costs, forgets and can erase. Everything
//! is read off a layer that was made and planned; nothing of it is typed by hand.

use serde::Serialize;

use crate::mixers::{self, Change, Columns, Decay, Definition, Mixer, Shape, Size, Taps};
use crate::plan::{Io, PlannedPass, Planner};
use crate::player::{CpuPlayer, Player};
use crate::random::Random;
use crate::recording::{BufferId, Layout, Recording, Role};

/// Model width D of every layer in the catalogue.
pub const WIDTH: usize = 128;
/// The context at which a cache that grows is counted, in tokens.
pub const REFERENCE_TOKENS: usize = 1024;
/// The contexts at which a row says what has been carried and computed, in tokens.
const LENGTHS: [usize; 3] = [1, REFERENCE_TOKENS, 65_536];
/// A layer sized for an equal budget has at most so many times the parameters of the reference: a
/// mixer whose state is a vector would need a hundred times as many to carry as much as a matrix.
const MAX_PARAMETERS: usize = 8;
/// A layer sized for an equal budget has at most so many times the usual keys.
const MAX_GROWTH: usize = 4;
/// The same where the rates are complex: they begin as eigenvalues of a matrix, which cost the cube
/// of their number.
const MAX_COMPLEX_GROWTH: usize = 2;
/// A size this near to the budget (as a logarithm) is taken without looking for a nearer one of
/// another head width.
const NEAR: f64 = 0.08;

/// What two layers have in common when they are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Equal {
    /// Bytes carried from token to token, at [`REFERENCE_TOKENS`] where they grow.
    State,
    /// Parameters of the mixer.
    Parameters,
    /// Multiply-adds for one token, at [`REFERENCE_TOKENS`] where they grow.
    Operations,
}

impl Equal {
    /// The value of the setting `equal`; none for `off`.
    pub fn of(setting: &str) -> Option<Equal> {
        match setting {
            "state" => Some(Equal::State),
            "parameters" => Some(Equal::Parameters),
            "operations" => Some(Equal::Operations),
            _ => None,
        }
    }

    fn amount(self, layer: &Layer) -> usize {
        match self {
            Equal::State => layer.state_bytes(REFERENCE_TOKENS),
            Equal::Parameters => layer.parameters,
            Equal::Operations => layer.operations(REFERENCE_TOKENS),
        }
    }
}

/// One mixer of the table.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Row {
    /// Id of the mixer.
    pub id: &'static str,
    /// Its name in the field.
    pub name: &'static str,
    /// Symbols and what they are, with shapes.
    pub glossary: &'static [(&'static str, &'static str)],
    /// Settings of the lab that do not act on it, with the reason.
    pub ignores: &'static [(&'static str, &'static str)],
    /// Model width D.
    pub width: usize,
    /// Heads H (channels where each has a state of its own).
    pub heads: usize,
    /// Key width K (states N).
    pub key: usize,
    /// Value width V.
    pub value: usize,
    /// Parameters of one layer's mixer.
    pub parameters: usize,
    /// What one layer carries and costs at these contexts.
    pub lengths: Vec<Cost>,
    /// True if what is carried grows with the context.
    pub grows: bool,
    /// What it reached of the equal budget, 1 for all of it; none at the usual size.
    pub reached: Option<f64>,
    /// How it forgets.
    pub decay: Forgetting,
    /// What it can erase, in words.
    pub erases: &'static str,
    /// What one step consists of beside the state, its decay, the write and the read-out.
    pub step: Step,
    /// The kernels that it plays, each once; those that carry something from token to token
    /// first, the one that carries most in front.
    pub kernels: Vec<&'static str>,
    /// How many of them carry something.
    pub scans: usize,
}

/// What one layer carries and has computed after so many tokens.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Cost {
    /// Tokens.
    pub tokens: usize,
    /// Bytes of f32 carried.
    pub state_bytes: usize,
    /// Multiply-adds for the token that comes last.
    pub operations_last: usize,
    /// Multiply-adds for all tokens together; more than the 32 bits of a wasm address.
    pub operations_all: u64,
}

/// How a mixer forgets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Forgetting {
    /// `none`, `head`, `key`, `rates` (a step size times a rate for each state) or `turning` (a
    /// complex rate).
    pub kind: &'static str,
    /// True if the rate is computed from the token, false if it is a weight.
    pub from_token: bool,
    /// In words, for the table.
    pub label: &'static str,
}

/// What one step has beside state, decay, write and read-out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Step {
    /// There is a state of fixed size; otherwise what was seen is kept as it is.
    pub state: bool,
    /// What is written is scaled (a step size, a gate).
    pub write_scale: bool,
    /// Something is taken out of the state along one direction before it is written to.
    pub erase: bool,
    /// The present token is read beside the state before it.
    pub bonus: bool,
    /// What is read is divided by a sum.
    pub normaliser: bool,
    /// Tokens that are seen; 0 for all.
    pub window: usize,
    /// Values carried by a short convolution or a shift before the scan.
    pub tail: usize,
}

/// A layer as the catalogue sees it.
struct Layer {
    shape: Shape,
    taps: Taps,
    /// It takes something out of the state before it writes.
    erase: bool,
    layout: Layout,
    passes: Vec<PlannedPass>,
    u: BufferId,
    parameters: usize,
}

/// Tokens that a layer is played on to see what it does; the first has no past.
const SEEN: usize = 2;

/// The passes of a layer that reads `u`, on its own.
fn planned(mixer: &dyn Mixer, tapped: Option<usize>) -> (Planner, BufferId, Taps) {
    let mut p = Planner::new(SEEN, REFERENCE_TOKENS, Change::default(), tapped);
    let u = p.layout.input("u", SEEN * WIDTH);
    let residual = p.layout.input("residual", SEEN * WIDTH);
    p.io = Io {
        u: Columns::all(u, WIDTH),
        residual,
        out: p.layout.scratch("out", SEEN * WIDTH),
    };
    let taps = mixer.plan(&mut p);
    (p, u, taps)
}

impl Layer {
    fn new(mixer: &dyn Mixer) -> Layer {
        let (p, u, taps) = planned(mixer, None);
        // Some factors are noted for probes alone, which change nothing of what is played.
        let tapped = planned(mixer, Some(0)).2;
        Layer {
            shape: mixer.shape(),
            // The terms of a constant matrix erase nothing that a token could choose.
            erase: tapped.erase.is_some() && !matches!(tapped.decay, Decay::Turning(..)),
            taps,
            layout: p.layout,
            passes: p.passes,
            u,
            parameters: mixer.weights().iter().map(|w| w.len()).sum(),
        }
    }

    /// A layer without the time that drawing its weights takes.
    fn blank(definition: &Definition, size: &Size) -> Layer {
        Layer::new(&*(definition.random)(size, &mut Random::blank()))
    }

    /// Names of the kernels, each once, with the values that they carry from token to token; the
    /// one that carries most in front.
    fn kernels(&self) -> Vec<(&'static str, usize)> {
        let mut out: Vec<(&'static str, usize)> = Vec::new();
        for (kernel, bindings) in self.passes.iter().map(PlannedPass::call) {
            let infos = bindings.iter().map(|&id| self.layout.info(id));
            let states = infos.filter(|info| info.role == Role::State);
            let carried: usize = states.map(|info| info.len).sum();
            match out.iter_mut().find(|(name, _)| *name == kernel.name) {
                Some((_, most)) => *most = carried.max(*most),
                None => out.push((kernel.name, carried)),
            }
        }
        out.sort_by_key(|&(_, carried)| std::cmp::Reverse(carried));
        out
    }

    /// Tokens in the cache after `t` tokens.
    fn cached(&self, t: usize) -> usize {
        match self.taps.window {
            0 => t,
            window => t.min(window),
        }
    }

    fn state_bytes(&self, t: usize) -> usize {
        4 * (self.shape.state + self.shape.tail + self.shape.cache_per_token * self.cached(t))
    }

    /// Multiply-adds of a token that `t - 1` came before: one for each weight; for each value of
    /// the state one to read it, one to write it and one to let it decay, and two more for a delta
    /// rule; one for each value in the cache.
    fn operations(&self, t: usize) -> usize {
        self.operations_without_cache() + self.shape.cache_per_token * self.cached(t)
    }

    fn operations_without_cache(&self) -> usize {
        let for_a_value = if self.erase { 5 } else { 3 };
        self.parameters + for_a_value * self.shape.state
    }

    fn operations_all(&self, t: usize) -> u64 {
        // The cache holds 1, 2, ... tokens until the window is full.
        let [t, full] = [t, self.cached(t)].map(|n| n as u64);
        let cached = full * (full + 1) / 2 + (t - full) * full;
        self.operations_without_cache() as u64 * t + self.shape.cache_per_token as u64 * cached
    }

    /// The gates of the last of a few random tokens: log-decays, or step sizes.
    async fn gates(&self, gates: &Columns, seed: u64) -> Result<Vec<f32>, String> {
        let mut player = CpuPlayer::new(&self.layout);
        let input = Random::new(seed).normals(SEEN * WIDTH, 1.0);
        player.write(self.u, 0, &input)?;
        let mut recording = Recording::default();
        for pass in &self.passes {
            pass.record(&mut recording, SEEN, 0);
        }
        player.play(&recording)?;
        let start = (SEEN - 1) * gates.stride + gates.offset;
        let part = (gates.buffer, start..start + gates.width);
        Ok(player.read(&[part]).await?.remove(0))
    }

    /// How it forgets, found by giving it two different inputs.
    async fn forgetting(&self) -> Result<Forgetting, String> {
        let (kind, gates) = match &self.taps.decay {
            Decay::Scalar(c) => ("head", c),
            Decay::PerKey(c) => ("key", c),
            Decay::Rates(c, ..) => ("rates", c),
            Decay::Turning(_, angles) if angles.iter().all(|&angle| angle == 0.0) => {
                return Ok(Forgetting::new("rates", false));
            }
            Decay::Turning(..) => return Ok(Forgetting::new("turning", false)),
            // Weights by scores: nothing decays.
            _ => return Ok(Forgetting::new("none", false)),
        };
        let [one, other] = [self.gates(gates, 1).await?, self.gates(gates, 2).await?];
        let never = kind != "rates" && one.iter().chain(&other).all(|&g| g == 0.0);
        Ok(match never {
            true => Forgetting::new("none", false),
            false => Forgetting::new(kind, one != other),
        })
    }

    fn erases(&self, decay: Forgetting) -> &'static str {
        let keeps_all = self.shape.cache_per_token > 0 && self.taps.window == 0;
        match (self.shape.state, self.erase, decay.kind) {
            (0, ..) if keeps_all => "nothing: keeps every token",
            (0, ..) => "what leaves the window",
            (_, true, "none") => "what one key holds",
            (_, true, _) => "what one key holds; by decay, all",
            (_, false, "none") => "nothing",
            (_, false, "head") if decay.from_token => "a whole head, on demand",
            (_, false, _) if decay.from_token => "single channels, on demand",
            _ => "nothing at will: fades at a fixed rate",
        }
    }
}

impl Forgetting {
    fn new(kind: &'static str, from_token: bool) -> Forgetting {
        let label = match (kind, from_token) {
            ("head", true) => "for each head, from the token",
            ("head", false) => "for each head, constant",
            ("key", true) => "for each key channel, from the token",
            ("key", false) => "for each key channel, constant",
            ("rates", true) => "for each state, by a step from the token",
            ("rates", false) => "for each state, constant",
            ("turning", _) => "for each state, complex, constant",
            _ => "none",
        };
        Forgetting {
            kind,
            from_token,
            label,
        }
    }
}

/// The size of a layer for an equal budget: the usual one, or the heads and head width that come
/// nearest to what the reference has, GLA at its usual size.
pub fn size(definition: &Definition, equal: Option<Equal>) -> Size {
    let usual = (definition.size)(WIDTH);
    let Some(equal) = equal else { return usual };
    let reference = reference();
    let target = equal.amount(&reference);
    let most = MAX_PARAMETERS * reference.parameters;
    let mut best = (f64::INFINITY, usual);
    let mut at_usual = (0, 0);
    let growth = match Layer::blank(definition, &usual).taps.decay {
        Decay::Turning(..) => MAX_COMPLEX_GROWTH,
        _ => MAX_GROWTH,
    };
    // Another number of heads keeps what a head is; another head width comes after it.
    for scale in [0, -1, 1, -2, 2, -3] {
        let scaled = |x: usize| match (x, scale) {
            (1, _) => 1,
            (x, 0..) => x << scale,
            (x, _) => (x >> -scale).max(1),
        };
        let (key, value) = (scaled(usual.key), scaled(usual.value));
        let end = (growth * usual.heads * usual.key / key).max(1);
        let with = |heads| Size {
            heads,
            key,
            value,
            ..usual
        };
        let measure = |heads| {
            let layer = Layer::blank(definition, &with(heads));
            (equal.amount(&layer), layer.parameters)
        };
        // Everything that a layer has is linear in its heads, but for what it rounds.
        let heads = usual.heads.min(end);
        let all = measure(heads);
        if scale == 0 {
            at_usual = all;
        } else if heads == usual.heads && all == at_usual {
            // It takes no notice of this width.
            continue;
        }
        let fewer = heads.div_ceil(2);
        let some = measure(fewer);
        let where_it_is = |fewer_has: usize, all_have: usize, wanted: usize| {
            let slope = (all_have as f64 - fewer_has as f64) / (heads - fewer).max(1) as f64;
            match slope > 0.0 {
                true => heads as f64 + (wanted as f64 - all_have as f64) / slope,
                false => heads as f64,
            }
        };
        let nearest = where_it_is(some.0, all.0, target).min(where_it_is(some.1, all.1, most));
        let low = (nearest.floor() as usize).clamp(1, end);
        for heads in low..=(low + 1).min(end) {
            let (amount, parameters) = measure(heads);
            let distance = (amount as f64 / target as f64).ln().abs();
            if parameters <= most && distance < best.0 - 1e-9 {
                best = (distance, with(heads));
            }
        }
        if best.0 < NEAR {
            break;
        }
    }
    best.1
}

fn reference() -> Layer {
    let gla = &mixers::gla::DEFINITION;
    Layer::blank(gla, &(gla.size)(WIDTH))
}

/// The row of a mixer.
///
/// # Errors
/// A sentence of the player.
pub async fn row(definition: &'static Definition, equal: Option<Equal>) -> Result<Row, String> {
    let size = size(definition, equal);
    // The weights of the lab's seed 0: a constant rate is one of them.
    let layer = Layer::new(&*(definition.random)(&size, &mut Random::new(0)));
    let shape = layer.shape;
    let kernels = layer.kernels();
    let decay = layer.forgetting().await?;
    let taps = &layer.taps;
    Ok(Row {
        id: definition.id,
        name: definition.name,
        glossary: definition.glossary,
        ignores: definition.ignores,
        width: WIDTH,
        heads: shape.heads,
        key: shape.key,
        value: shape.value,
        parameters: layer.parameters,
        lengths: LENGTHS
            .map(|tokens| Cost {
                tokens,
                state_bytes: layer.state_bytes(tokens),
                operations_last: layer.operations(tokens),
                operations_all: layer.operations_all(tokens),
            })
            .to_vec(),
        grows: shape.cache_per_token > 0 && taps.window == 0,
        reached: equal.map(|e| e.amount(&layer) as f64 / e.amount(&reference()) as f64),
        decay,
        erases: layer.erases(decay),
        step: Step {
            state: shape.state > 0,
            write_scale: taps.write_scale.is_some(),
            erase: layer.erase,
            bonus: taps.bonus.is_some(),
            normaliser: taps.normaliser.is_some(),
            window: taps.window,
            tail: shape.tail,
        },
        kernels: kernels.iter().map(|&(name, _)| name).collect(),
        scans: kernels.iter().filter(|&&(_, carried)| carried > 0).count(),
    })
}
