//! Where the winner flips: one channel of S6 reads events on an empty background that turns, control
//! by control, into a smooth signal of which any two neighbours say the same.

use std::rc::Rc;

use super::sweep::Sweep;
use crate::exhibit::declared::{curve, table};
use crate::exhibit::{Bench, Shown, axis, axis_over};
use crate::model::session::Options;
use crate::number::short;
use crate::pruning::levels::{LEVELS, channel, error, readouts};
use crate::pruning::{DropMode, Protect, select};
use crate::random::Random;
use crate::settings::Settings;
use crate::views::{Cell, Drawing, Lines, Scale};

/// Tokens.
const T: usize = 196;
/// Step of every token.
const STEP: f64 = 0.003;
/// Shares of the smooth signal, coarse first.
const SHARES: [f64; 9] = [0.0, 1.0, 0.25, 0.5, 0.75, 0.125, 0.375, 0.625, 0.875];

/// The signal in levels, and the scores by which it is pruned: events by their size, with noise that
/// spreads what is kept beside them; the smoother it is the more by chance.
pub fn signal(share: f64, seed: u64) -> (Vec<u32>, Vec<f32>) {
    let mut random = Random::new(seed);
    let mut levels = Vec::new();
    let mut scores = Vec::new();
    for t in 0..T {
        let event = match random.uniform() {
            u if u < 0.06 => 2000.0 + 2000.0 * random.uniform(),
            _ => 1.0,
        };
        let smooth = 2048.0 + 1500.0 * (t as f64 / 30.0).sin();
        let level = (1.0 - share) * event + share * smooth;
        levels.push((level as u32).min(LEVELS as u32 - 1));
        scores.push(((1.0 - share) * event + random.uniform()) as f32);
    }
    (levels, scores)
}

/// The error of each drop mode with this share of the tokens kept.
pub async fn errors(
    bench: &Bench<'_>,
    share: f64,
    keep: f64,
    seed: u64,
    modes: &[DropMode],
) -> Result<Vec<f64>, String> {
    let stack = Rc::new(channel(STEP));
    let open = async |options: Options| bench.session(&stack, &options).await;
    let (levels, scores) = signal(share, seed);
    let all: Vec<usize> = (0..T).collect();
    let count = ((keep * T as f64).ceil() as usize).clamp(1, T);
    let kept = select(&scores, &all, count, &Protect::default()).kept;
    let whole = readouts(&open, &levels, &kept, None).await?;
    let mut out = Vec::new();
    for &mode in modes {
        let got = readouts(&open, &levels, &kept, Some(mode)).await?;
        out.push(error(&got, &whole));
        bench.rest().await?;
    }
    Ok(out)
}

/// Errors of all drop modes from an empty to a redundant signal.
pub async fn all_modes(settings: &Settings, bench: &Bench<'_>) -> Result<Shown, String> {
    let keep = settings.number("keep");
    let seed = settings.integer("seed") as u64;
    let sweep = Sweep::new(settings, bench);
    let measure = async |share: &f64| errors(bench, *share, keep, seed, &DropMode::ALL).await;
    let done = sweep.go_on(&SHARES, |s| s.to_string(), measure).await?;
    let mut known: Vec<(f64, Rc<[f64]>)> = SHARES
        .iter()
        .filter_map(|share| Some((*share, sweep.known(&share.to_string())?)))
        .collect();
    known.sort_by(|a, b| a.0.total_cmp(&b.0));
    let chosen = settings.get("mode");
    let series = DropMode::ALL.iter().enumerate().map(|(i, mode)| {
        let points = known.iter().map(|(share, errors)| (*share, errors[i]));
        let pair = [DropMode::Hold, DropMode::DecayTrue].contains(mode);
        curve(mode.id(), points, pair || mode.id() == chosen)
    });
    let mut out = Shown {
        progress: [done, SHARES.len()],
        ..Shown::default()
    };
    let lines = Lines {
        x: axis_over(
            "share of the smooth signal (0: events on nothing, 1: neighbours repeat each other)",
            "",
            Scale::Linear,
            [0.0, 1.0],
        ),
        y: axis("error of what kept tokens read", "", Scale::Linear),
        series: series.collect(),
        ..Lines::default()
    };
    out.view(
        "flip",
        "Where the winner flips: from an empty to a redundant background",
        Drawing::Lines(lines),
    );
    let (levels, _) = signal(0.0, seed);
    let (smooth, _) = signal(1.0, seed);
    let drawn = |levels: &[u32]| {
        let points = levels.iter().enumerate();
        let level = points.map(|(t, &l)| (t as f64, f64::from(l) / LEVELS as f64));
        level.collect::<Vec<_>>()
    };
    let lines = Lines {
        x: axis("position", "tokens", Scale::Linear),
        y: axis("input", "", Scale::Linear),
        series: vec![
            curve("empty background", drawn(&levels), true),
            curve("redundant", drawn(&smooth), false),
        ],
        x_is_position: true,
        ..Lines::default()
    };
    out.view(
        "signals",
        "What is read at both ends",
        Drawing::Lines(lines),
    );
    let rows = known.iter().map(|(share, errors)| {
        let cells = errors.iter().map(|e| Cell::Number(*e));
        [Cell::Number(*share)].into_iter().chain(cells).collect()
    });
    let ids: Vec<&str> = ["smooth share"]
        .into_iter()
        .chain(DropMode::ALL.map(DropMode::id))
        .collect();
    out.view(
        "errors",
        "Relative error of what kept tokens read",
        Drawing::Table(table(&ids, rows.collect())),
    );
    let at = |share: f64, mode: DropMode| {
        let i = DropMode::ALL.iter().position(|m| *m == mode);
        let known = known.iter().find(|(s, _)| *s == share);
        i.zip(known).map_or(f64::NAN, |(i, (_, errors))| errors[i])
    };
    let (hold, decay) = (DropMode::Hold, DropMode::DecayTrue);
    out.value("error", at(0.0, decay));
    out.value("tokens", T as f64);
    for idle in ["score", "layer", "schedule"] {
        out.idle(idle, "one channel reads a signal that is kept by its size");
    }
    out.idle("conv", "the channel has no convolution");
    out.idle("model", "one channel of S6 stands for all models");
    out.idle("input", "the signal is made for this picture");
    out.idle("length", "the signal has 196 tokens");
    out.idle("protect", "the end is kept like everything else");
    out.summary = format!(
        "On an empty background decay-true errs by {} and hold by {}; on a redundant one decay-true errs by {} and hold by {}. What was dropped decides which is right.",
        short(at(0.0, decay)),
        short(at(0.0, hold)),
        short(at(1.0, decay)),
        short(at(1.0, hold))
    );
    Ok(out)
}
