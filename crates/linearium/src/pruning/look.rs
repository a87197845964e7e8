//! From an unpruned run of a model to the arrays of one layer that scores look at, and from their
//! scores to the tokens that stay.

use super::draft::Draft;
use super::{Keep, LogDecay, Protect, Schedule, Score, Seen, select};
use crate::mixers::{Columns, Decay, Scores, Weights};
use crate::model::session::{Options, Session};
use crate::player::Player;

/// A sentence where a layer was not tapped, which no input can cause.
const NOT_TAPPED: &str = "the run was made without looking into this layer";

/// The arrays of one layer of an unpruned run; see [`Seen`] for what each is.
#[derive(Clone, Debug, Default)]
pub struct Arrays {
    tokens: usize,
    width: usize,
    heads: usize,
    key: usize,
    value: usize,
    stream: Vec<f32>,
    u: Vec<f32>,
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
    decay: Option<Decay>,
    log_decay: Vec<f32>,
    write_scale: Option<Vec<f32>>,
    steps: Option<Vec<f32>>,
    scale: f32,
    read_before: bool,
    window: usize,
    erase: Option<[Vec<f32>; 2]>,
    bonus: Option<Weights>,
    normaliser: Option<Vec<f32>>,
    in_logs: bool,
    weighing: Option<Scores>,
    router: Option<Vec<f32>>,
    y: Option<Vec<f32>>,
    out: Vec<f32>,
}

impl Arrays {
    /// What a score sees that keeps so many tokens.
    pub fn seen(&self, keep: usize, seed: u64) -> Seen<'_> {
        let rows = self.log_decay.as_slice();
        let mut turn = None;
        let log_decay = match &self.decay {
            Some(Decay::Scalar(_)) => LogDecay::PerHead(rows),
            Some(Decay::PerKey(_)) => LogDecay::PerKey(rows),
            Some(Decay::Rates(_, rates, shift)) => LogDecay::Rates {
                steps: rows,
                rates,
                shift: *shift,
            },
            Some(Decay::Turning(rates, angles)) => {
                turn = angles.iter().any(|a| *a != 0.0).then_some(&**angles);
                LogDecay::Constant(rates)
            }
            Some(Decay::Softmax | Decay::Scores(_)) | None => LogDecay::None,
        };
        Seen {
            tokens: self.tokens,
            keep,
            width: self.width,
            heads: self.heads,
            key: self.key,
            value: self.value,
            stream: &self.stream,
            u: &self.u,
            q: &self.q,
            k: &self.k,
            v: &self.v,
            log_decay,
            write_scale: self.write_scale.as_deref(),
            steps: self.steps.as_deref(),
            scale: self.scale,
            softmax: matches!(self.decay, Some(Decay::Softmax)),
            erases: self.erase.is_some(),
            read_before: self.read_before,
            window: self.window,
            erase: self.erase.as_ref().map(|[b, a]| [&b[..], &a[..]]),
            bonus: self.bonus.as_deref(),
            normaliser: self.normaliser.as_deref(),
            in_logs: self.in_logs,
            turn,
            weighing: self.weighing.as_ref(),
            router: self.router.as_deref(),
            draft: None,
            lookahead: 0,
            readout: None,
            y: self.y.as_deref(),
            out: &self.out,
            seed,
        }
    }
}

/// What is read after each segment: columns, each with a list that grows by their rows.
struct Reader<'a> {
    columns: Vec<(Columns, &'a mut Vec<f32>)>,
}

impl<'a> Reader<'a> {
    fn add(&mut self, columns: Option<Columns>, into: &'a mut Vec<f32>) {
        self.columns.extend(columns.map(|c| (c, into)));
    }

    async fn read<P: Player>(&mut self, player: &mut P, t: usize) -> Result<(), String> {
        let parts: Vec<_> = self
            .columns
            .iter()
            .map(|(c, _)| (c.buffer, 0..(c.stride * t).max(c.offset + c.width)))
            .collect();
        let read = player.read(&parts).await?;
        for ((c, out), rows) in self.columns.iter_mut().zip(read) {
            for row in 0..t {
                out.extend_from_slice(&rows[row * c.stride + c.offset..][..c.width]);
            }
        }
        Ok(())
    }
}

/// Reads a text up to the end of a layer's mixer. The session must have been made with that layer
/// tapped and without pruning, and is reset.
///
/// # Errors
/// The sentence of the session or the player.
pub async fn look<P: Player>(
    session: &mut Session<P>,
    tokens: &[u32],
    layer: usize,
) -> Result<Arrays, String> {
    session.reset()?;
    let shown = session.plan.shown;
    let taps = session.plan.taps(layer).clone();
    let shape = session.stack.blocks[layer].mixer.shape();
    let [before, after] = shown.streams.ok_or(NOT_TAPPED)?;
    let mut out = Arrays {
        tokens: tokens.len(),
        width: session.stack.width,
        heads: shape.heads,
        key: shape.key,
        value: shape.value,
        scale: taps.scale,
        read_before: shown.read_before || taps.bonus.is_some(),
        window: taps.window,
        bonus: taps.bonus.clone(),
        in_logs: taps.in_logs,
        decay: Some(taps.decay.clone()),
        ..Arrays::default()
    };
    if let Decay::Scores(scores) = &taps.decay {
        out.weighing = Some(scores.clone());
    }
    let mut after_rows = Vec::new();
    let mut optional: [Vec<f32>; 7] = Default::default();
    let [write_scale, steps, erase_b, erase_a, normaliser, router, y] = &mut optional;
    let decay = match &taps.decay {
        Decay::Scalar(c) | Decay::PerKey(c) | Decay::Rates(c, ..) => Some(*c),
        Decay::Turning(..) | Decay::Softmax | Decay::Scores(_) => None,
    };
    let mut reader = Reader {
        columns: Vec::new(),
    };
    reader.add(Some(before), &mut out.stream);
    reader.add(Some(after), &mut after_rows);
    reader.add(shown.u, &mut out.u);
    reader.add(shown.v, &mut out.v);
    reader.add(Some(taps.q), &mut out.q);
    reader.add(Some(taps.k), &mut out.k);
    reader.add(decay, &mut out.log_decay);
    reader.add(taps.write_scale, write_scale);
    reader.add(taps.steps.as_ref().map(|(c, _)| *c), steps);
    reader.add(taps.erase.map(|[b, _]| b), erase_b);
    reader.add(taps.erase.map(|[_, a]| a), erase_a);
    reader.add(taps.normaliser, normaliser);
    reader.add(shown.router, router);
    reader.add(shown.inner, y);
    let mut done = 0;
    while done < tokens.len() {
        let t = session.next_segment(tokens.len() - done);
        let next = tokens.get(done + t).copied();
        let mut recording = session.prepare(&tokens[done..done + t], next)?;
        recording.passes.truncate(shown.passes);
        session.player.play(&recording)?;
        session.passed(t);
        reader.read(&mut session.player, t).await?;
        done += t;
    }
    drop(reader);
    let [write_scale, steps, b, a, normaliser, router, y] = optional;
    let some = |rows: Vec<f32>| (!rows.is_empty()).then_some(rows);
    out.write_scale = some(write_scale);
    out.steps = some(steps);
    out.erase = some(b).zip(some(a)).map(|(b, a)| [b, a]);
    out.normaliser = some(normaliser);
    out.router = some(router);
    out.y = some(y);
    let pairs = after_rows.iter().zip(&out.stream);
    out.out = pairs.map(|(after, before)| after - before).collect();
    // Heads that share values have them each.
    let values = shape.heads * shape.value;
    let there = out.v.len() / tokens.len().max(1);
    if there > 0 && there < values && values.is_multiple_of(there) {
        let heads = out.v.chunks_exact(shape.value);
        out.v = heads.flat_map(|v| v.repeat(values / there)).collect();
    }
    Ok(out)
}

/// How tokens are to be chosen.
pub struct Choice<'a> {
    /// What is important.
    pub score: &'a dyn Score,
    /// How many stay where.
    pub schedule: &'a Schedule,
    /// What stays whatever its score.
    pub protect: &'a Protect,
    /// For scores that draw.
    pub seed: u64,
    /// What a draft model says of the text, for scores that ask one.
    pub draft: Option<&'a Draft>,
}

/// Tokens that stay.
pub struct Chosen {
    /// For each step of the schedule its layer and the positions that it keeps.
    pub steps: Vec<(usize, Vec<usize>)>,
    /// The scores of each step, `[T]`; of tokens that were not asked about the lowest there is.
    pub scores: Vec<Vec<f32>>,
    /// What a person should know, in sentences.
    pub warnings: Vec<String>,
}

/// Chooses tokens of a text, step by step of the schedule: by the scores of its layer in an unpruned
/// run, among those that the steps before have left. A score that looks at no array is asked for the
/// tokens that are left, as if there were no others.
///
/// # Errors
/// The sentence of a session, a score or the schedule.
pub async fn choose<P: Player>(
    open: &impl AsyncFn(Options) -> Result<Session<P>, String>,
    tokens: &[u32],
    choice: &Choice<'_>,
) -> Result<Chosen, String> {
    let mut alive: Vec<usize> = (0..tokens.len()).collect();
    let mut out = Chosen {
        steps: Vec::new(),
        scores: Vec::new(),
        warnings: Vec::new(),
    };
    let blind = ["tokens", "keep", "seed"];
    let sees = !choice.score.needs().iter().all(|n| blind.contains(n));
    // What a draft has guessed is read behind the text by scores that let it vote.
    let votes = choice.score.needs().contains(&"lookahead");
    let guessed = choice.draft.filter(|_| votes);
    let guessed = guessed.map_or(&[][..], |draft| &draft.guessed);
    let text = [tokens, guessed].concat();
    for step in choice.schedule.steps() {
        let keep = count(step.keep, alive.len())?;
        let scores = if sees {
            let options = Options {
                capacity: text.len(),
                tapped_layer: Some(step.layer),
                ..Options::default()
            };
            let mut session = open(options).await?;
            let arrays = look(&mut session, &text, step.layer).await?;
            let seen = Seen {
                draft: choice.draft.map(|draft| &draft.importance[..]),
                lookahead: guessed.len(),
                ..arrays.seen(keep, choice.seed)
            };
            let mut scores = choice.score.score(&seen)?;
            scores.truncate(scores.len().saturating_sub(guessed.len()));
            scores
        } else {
            let seen = Seen {
                tokens: alive.len(),
                keep,
                seed: choice.seed,
                ..Seen::default()
            };
            let mut scores = vec![f32::NEG_INFINITY; tokens.len()];
            let of_alive = choice.score.score(&seen)?;
            alive
                .iter()
                .zip(of_alive)
                .for_each(|(p, score)| scores[*p] = score);
            scores
        };
        if scores.len() != tokens.len() {
            return Err(format!(
                "the score '{}' gave {} numbers for {} tokens",
                choice.score.id(),
                scores.len(),
                tokens.len()
            ));
        }
        let selection = select(&scores, &alive, keep, choice.protect);
        alive.clone_from(&selection.kept);
        out.steps.push((step.layer, selection.kept));
        out.scores.push(scores);
        out.warnings.extend(selection.warnings);
    }
    Ok(out)
}

fn count(keep: Keep, alive: usize) -> Result<usize, String> {
    keep.count(alive)
}
