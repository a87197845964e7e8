//! Language models that drop tokens.

use std::rc::Rc;

use super::sweep::{Point, Sweep, draw};
use super::{SCORES, asks_draft, cannot, layers, pair};
use crate::exhibit::declared::{curve, table, word};
use crate::exhibit::{Bench, Shown, axis, axis_over};
use crate::lab::input;
use crate::mixers;
use crate::model::session::Options;
use crate::model::stack::Stack;
use crate::number::short;
use crate::probes::passkey;
use crate::pruning::compare::compare;
use crate::pruning::draft::{self, Draft};
use crate::pruning::look::{Choice, choose};
use crate::pruning::schedule::Step;
use crate::pruning::timing::time;
use crate::pruning::{DropMode, Keep, Neighbours, Protect, Pruning, Schedule, scores};
use crate::random::Random;
use crate::settings::Settings;
use crate::views::{Cell, Drawing, Lines, Scale, Tokens};

/// Runs of which the shortest counts.
const ROUNDS: usize = 2;
/// The order of keep ratios in which all scores are measured: coarse first.
const KEEPS: [f64; 5] = [0.5, 0.25, 0.75, 0.1, 0.9];

/// What is read, and how it is pruned.
struct Study {
    stack: Rc<Stack>,
    tokens: Vec<u32>,
    mode: DropMode,
    conv: Neighbours,
    protect: Protect,
    layers: Vec<usize>,
    seed: u64,
    asks: bool,
    /// The draft model, for scores that ask one.
    draft: Option<Rc<Stack>>,
}

/// Tokens that stay, and the scores of the first layer that drops.
struct Kept {
    pruning: Pruning,
    scores: Vec<f32>,
    warnings: Vec<String>,
    /// How a draft model goes on, if one was asked.
    guessed: Option<Vec<u32>>,
}

fn study(settings: &Settings, bench: &Bench<'_>) -> Result<Study, String> {
    let seed = settings.integer("seed") as u64;
    let stack = match settings.get("model").strip_prefix("random-") {
        Some(id) => {
            let found = mixers::ALL.iter().find(|d| d.id == id);
            let definition = found.ok_or_else(|| format!("there is no mixer “{id}”"))?;
            Rc::new(Stack::random(definition, seed))
        }
        None => bench.model(settings.get("model"))?,
    };
    let length = settings.integer("length") as usize;
    let asks = settings.get("input") == "passkey";
    let bytes: Vec<u8> = match settings.get("input") {
        "passkey" => passkey::text(
            &bench.text("heldout")?,
            length.max(passkey::SHORTEST),
            0.5,
            &mut Random::new(seed),
        ),
        "text" => settings.get("text").bytes().take(length).collect(),
        id => {
            let text = bench.text(id)?;
            text.iter().copied().cycle().take(length).collect()
        }
    };
    let tokens = stack.encode(&bytes);
    if tokens.is_empty() {
        return Err("the text has no tokens: type at least one character".to_owned());
    }
    Ok(Study {
        tokens,
        mode: DropMode::by_id(settings.get("mode"))?,
        conv: Neighbours::by_id(settings.get("conv"))?,
        protect: Protect {
            last: settings.integer("protect") as usize,
            ..Protect::default()
        },
        layers: layers(settings, stack.blocks.len(), 0),
        draft: match asks_draft(settings) {
            true => {
                let draft = bench.model(settings.get("draft"))?;
                draft::check_tokens(&stack, &draft, &bytes)?;
                Some(draft)
            }
            false => None,
        },
        stack,
        seed,
        asks,
    })
}

impl Study {
    fn whole(&self) -> Options {
        Options {
            capacity: self.tokens.len(),
            ..Options::default()
        }
    }

    fn pruned(&self, pruning: &Pruning) -> Options {
        Options {
            pruning: Some(pruning.clone()),
            ..self.whole()
        }
    }

    async fn choose(&self, bench: &Bench<'_>, score: &str, keep: f64) -> Result<Kept, String> {
        let open = async |options: Options| bench.session(&self.stack, &options).await;
        let keep = Keep::Share(keep);
        let steps = self.layers.iter().map(|&layer| Step { layer, keep });
        let schedule = Schedule::new(steps.collect(), self.stack.blocks.len())?;
        let score = scores::by_id(score)?;
        let draft = match &self.draft {
            Some(draft) if draft::is_asked(score) => Some(self.drafted(bench, draft).await?),
            _ => None,
        };
        let choice = Choice {
            score,
            schedule: &schedule,
            protect: &self.protect,
            seed: self.seed,
            draft: draft.as_ref(),
        };
        let chosen = choose(&open, &self.tokens, &choice).await?;
        let pruning = Pruning::new(self.mode, self.conv, self.tokens.len(), chosen.steps)?;
        Ok(Kept {
            pruning,
            scores: chosen.scores.into_iter().next().unwrap_or_default(),
            warnings: chosen.warnings,
            guessed: draft.map(|draft| draft.guessed),
        })
    }

    /// What the draft model says of the text.
    async fn drafted(&self, bench: &Bench<'_>, stack: &Rc<Stack>) -> Result<Draft, String> {
        let open = async |options: Options| bench.session(stack, &options).await;
        draft::read(&open, &self.tokens).await
    }

    /// Loss of the last tokens, which no score drops, and digits found of those that it predicts.
    async fn tail(&self, bench: &Bench<'_>, options: &Options) -> Result<[f64; 2], String> {
        let mut session = bench.session(&self.stack, options).await?;
        let read = session.read_kept(&self.tokens).await?;
        let t = self.tokens.len();
        let (mut sum, mut count, mut digits) = (0.0, 0, 0);
        for (i, &position) in read.positions.iter().enumerate() {
            if position + 1 >= t || position + self.protect.last < t {
                continue;
            }
            sum += f64::from(read.losses[i]);
            count += 1;
            let is_digit = self.asks && position + 1 + passkey::DIGITS >= t;
            let right = read.guesses[i] == self.tokens[position + 1];
            digits += usize::from(is_digit && right);
        }
        Ok([sum / f64::from(count), digits as f64])
    }
}

fn mean(values: impl Iterator<Item = f32>) -> f64 {
    let (mut sum, mut count) = (0.0, 0.0);
    for value in values {
        sum += f64::from(value);
        count += 1.0;
    }
    sum / count
}

/// One pruned run beside the unpruned one.
pub async fn one(settings: &Settings, bench: &Bench<'_>) -> Result<Shown, String> {
    let study = study(settings, bench)?;
    let keep = settings.number("keep");
    let start = bench.now_ms();
    let kept = match study.choose(bench, settings.get("score"), keep).await {
        Ok(kept) => kept,
        Err(sentence) => return Ok(cannot(&sentence)),
    };
    let choice_ms = bench.now_ms() - start;
    bench.rest().await?;
    let open = async |options: Options| bench.session(&study.stack, &options).await;
    let compared = match compare(&open, &study.tokens, &kept.pruning).await {
        Ok(compared) => compared,
        Err(sentence) => return Ok(cannot(&sentence)),
    };
    bench.rest().await?;
    let now = || bench.now_ms();
    let mut times = Vec::new();
    for options in [study.whole(), study.pruned(&kept.pruning)] {
        let mut session = bench.session(&study.stack, &options).await?;
        times.push(time(&mut session, &study.tokens, ROUNDS, &now).await?);
        bench.rest().await?;
    }
    let [before, after] = [&times[0], &times[1]];

    let t = study.tokens.len();
    let mut out = Shown::default();
    let count = compared.positions.len();
    let losses = [&compared.losses_before, &compared.losses_after].map(|l| mean(l.iter().copied()));
    let share = |a: u64, b: u64| a as f64 / b as f64;
    let operations = share(after.operations.all, before.operations.all);
    out.value("tokens", t as f64);
    out.value("kept", count as f64);
    out.value("error", compared.error.unwrap_or(f64::NAN));
    if let Some(split) = compared.split {
        out.value("lost", split.lost_content);
        out.value("moved", split.moved_neighbours);
        out.value("shifted", split.shifted_decay);
    }
    out.value("loss", losses[0]);
    out.value("loss_pruned", losses[1]);
    let first_digit = t.saturating_sub(passkey::DIGITS + 1);
    let digits = compared.right_from(first_digit).map(|found| found as f64);
    if study.asks {
        out.value("recall", digits[0]);
        out.value("recall_pruned", digits[1]);
    }
    out.value("operations", operations);
    out.value("time", before.whole_ms);
    out.value("time_pruned", after.whole_ms);

    let words = input::words(&study.tokens, &study.stack);
    let steps = kept.pruning.steps();
    let survived: Vec<f32> = (0..t)
        .map(|p| {
            let times = steps.iter().filter(|(_, k)| k.binary_search(&p).is_ok());
            times.count() as f32 / steps.len().max(1) as f32
        })
        .collect();
    let tokens = |values: Vec<f32>, value| {
        Drawing::Tokens(Tokens {
            tokens: words.clone(),
            values,
            value,
            query: t - 1,
            run: "a".to_owned(),
            ..Tokens::default()
        })
    };
    let value = axis_over("kept (1) or dropped (0)", "", Scale::Linear, [0.0, 1.0]);
    out.view(
        "kept",
        "Shaded tokens are kept, bare ones are dropped",
        tokens(survived, value),
    );
    if !compared.losses_before.is_empty() {
        let at = |losses: &[f32]| {
            let positions = compared.positions.iter();
            let points = positions.zip(losses).map(|(p, l)| (*p as f64, (*l).into()));
            points.collect::<Vec<_>>()
        };
        let lines = Lines {
            x: axis("position", "tokens", Scale::Linear),
            y: axis("loss", "nats", Scale::Linear),
            series: vec![
                curve("unpruned", at(&compared.losses_before), false),
                curve("pruned", at(&compared.losses_after), true),
            ],
            x_is_position: true,
            ..Lines::default()
        };
        let title = "Loss of the kept tokens, without and with pruning";
        out.view("loss", title, Drawing::Lines(lines));
    }
    if kept.scores.iter().any(|s| s.is_finite()) {
        let score = scores::by_id(settings.get("score"))?;
        let values = kept.scores.clone();
        out.view(
            "score",
            &format!("What the score says: {}", score.name()),
            tokens(values, axis(score.name(), "", Scale::Linear)),
        );
    }
    let parts = compared.split.unwrap_or_default();
    let known = |x: f64| {
        Cell::Number(if compared.split.is_some() {
            x
        } else {
            f64::NAN
        })
    };
    let row = |what: &str, where_from: &str, cell| vec![word(what), word(where_from), cell];
    let rows = vec![
        row(
            "lost content",
            "scan: what dropped tokens would have written",
            known(parts.lost_content),
        ),
        row(
            "moved neighbours",
            "convolution: other tokens stand beside",
            known(parts.moved_neighbours),
        ),
        row(
            "shifted decay",
            "scan: a gap fades as it would not have",
            known(parts.shifted_decay),
        ),
        row(
            "all of it",
            "the differences add up, their sizes need not",
            Cell::Number(compared.error.unwrap_or(f64::NAN)),
        ),
    ];
    out.view(
        "error",
        "Error of the kept logits against the unpruned run, split",
        Drawing::Table(table(
            &["Part", "Where it comes from", "RMS over RMS"],
            rows,
        )),
    );
    let mut rows = vec![
        pair("tokens at the head", t as f64, count as f64, "tokens"),
        pair("loss of the kept tokens", losses[0], losses[1], "nats"),
        pair(
            "guessed right among them",
            compared.guessed_before as f64,
            compared.guessed_after as f64,
            "tokens",
        ),
    ];
    if study.asks {
        rows.push(pair("digits of the passkey", digits[0], digits[1], "of 5"));
    }
    let millions = |x: u64| x as f64 / 1e6;
    rows.extend([
        pair(
            "multiply-adds",
            millions(before.operations.all),
            millions(after.operations.all),
            "million",
        ),
        pair(
            "multiply-adds of scans",
            millions(before.operations.scan),
            millions(after.operations.scan),
            "million",
        ),
        pair("time", before.whole_ms, after.whole_ms, "ms"),
        pair("time of scans", before.scan_ms, after.scan_ms, "ms"),
        pair("time to choose the tokens, once", 0.0, choice_ms, "ms"),
    ]);
    out.view(
        "numbers",
        "Without and with pruning",
        Drawing::Table(table(&["What", "Unpruned", "Pruned", "Unit"], rows)),
    );
    let told: Vec<&str> = kept
        .warnings
        .iter()
        .chain(&compared.notes)
        .map(|s| &**s)
        .collect();
    let told = told
        .iter()
        .map(|s| format!(" Note: {s}."))
        .collect::<String>();
    let recall = match study.asks {
        true => format!(
            " Of the 5 digits of the passkey {} are found, {} with pruning.",
            digits[0], digits[1]
        ),
        false => String::new(),
    };
    let drafted = match &kept.guessed {
        Some(guessed) => format!(
            " The draft model goes on with “{}”.",
            input::words(guessed, &study.stack).concat()
        ),
        None => String::new(),
    };
    out.summary = format!(
        "{count} of {t} tokens reach the head. Their loss is {} nats, {} with pruning; their logits differ by {} of their size.{recall} Multiply-adds fall to {} of the unpruned run.{drafted}{told}",
        short(losses[0]),
        short(losses[1]),
        short(compared.error.unwrap_or(f64::NAN)),
        short(operations)
    );
    Ok(out)
}

/// Every score at several keep ratios.
pub async fn all_scores(settings: &Settings, bench: &Bench<'_>) -> Result<Shown, String> {
    let study = study(settings, bench)?;
    let sweep = Sweep::new(settings, bench);
    let ways: Vec<&str> = SCORES.iter().map(|choice| choice.label).collect();
    let mut all: Vec<(usize, f64)> = vec![(usize::MAX, 1.0)];
    for keep in KEEPS {
        all.extend((0..ways.len()).map(|way| (way, keep)));
    }
    let name = |(way, keep): &(usize, f64)| match SCORES.get(*way) {
        Some(score) => format!("{} {keep}", score.id),
        None => "unpruned".to_owned(),
    };
    let measure = async |(way, keep): &(usize, f64)| {
        let options = match SCORES.get(*way) {
            None => study.whole(),
            // A score that this model has nothing for is measured as nothing.
            Some(score) => match study.choose(bench, score.id, *keep).await {
                Ok(kept) => study.pruned(&kept.pruning),
                Err(_) => return Ok(vec![f64::NAN; 4]),
            },
        };
        let mut session = match bench.session(&study.stack, &options).await {
            Ok(session) => session,
            Err(sentence) if *way == usize::MAX => return Err(sentence),
            Err(_) => return Ok(vec![f64::NAN; 4]),
        };
        let now = || bench.now_ms();
        let timing = time(&mut session, &study.tokens, ROUNDS, &now).await?;
        let [loss, digits] = study.tail(bench, &options).await?;
        Ok(vec![
            loss,
            digits,
            timing.whole_ms,
            timing.operations.all as f64,
        ])
    };
    let done = sweep.go_on(&all, name, measure).await?;
    let mut out = Shown {
        progress: [done, all.len()],
        ..Shown::default()
    };
    let Some(whole) = sweep.known("unpruned") else {
        return Err("the unpruned run was not measured".to_owned());
    };
    let mut points = Vec::new();
    let mut rows = vec![vec![
        word("unpruned"),
        Cell::Number(1.0),
        Cell::Number(whole[0]),
        word(digits(study.asks, whole[1])),
        Cell::Number(whole[2]),
        Cell::Number(1.0),
    ]];
    for point in &all[1..] {
        let Some(values) = sweep.known(&name(point)) else {
            continue;
        };
        if values[0].is_nan() {
            continue;
        }
        let operations = values[3] / whole[3];
        points.push(Point {
            way: point.0,
            keep: point.1,
            quality: values[0],
            operations,
            ms: values[2],
        });
        rows.push(vec![
            word(ways[point.0]),
            Cell::Number(point.1),
            Cell::Number(values[0]),
            word(digits(study.asks, values[1])),
            Cell::Number(values[2]),
            Cell::Number(operations),
        ]);
    }
    let chosen = SCORES.iter().position(|s| s.id == settings.get("score"));
    let last = study.protect.last.min(study.tokens.len());
    let quality = format!("loss of the last {last} tokens");
    draw(&mut out, &points, &ways, chosen, (&quality, "nats"));
    out.view(
        "all",
        "Every measurement",
        Drawing::Table(table(
            &[
                "Score",
                "Keep ratio",
                "Loss of the last tokens (nats)",
                "Digits of the passkey",
                "Time (ms)",
                "Multiply-adds over the unpruned run",
            ],
            rows,
        )),
    );
    out.value("tokens", study.tokens.len() as f64);
    out.value("loss", whole[0]);
    out.value("time", whole[2]);
    out.idle("keep", "several keep ratios are measured at once");
    let best = points.iter().filter(|p| p.keep == KEEPS[0]);
    let best = best.min_by(|a, b| a.quality.total_cmp(&b.quality));
    let best = best.map_or_else(String::new, |p| {
        format!(
            " With half of the tokens the lowest loss is {} nats, by {}.",
            short(p.quality),
            ways[p.way]
        )
    });
    out.summary = format!(
        "{done} of {} runs are measured. The unpruned loss of the last {last} tokens, which every score keeps, is {} nats.{best}",
        all.len(),
        short(whole[0])
    );
    Ok(out)
}

fn digits(asks: bool, found: f64) -> String {
    match asks {
        true => format!("{found} of 5"),
        false => "not asked".to_owned(),
    }
}
