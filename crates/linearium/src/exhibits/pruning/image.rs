//! Image classifiers that drop patches.

use std::rc::Rc;

use super::sweep::{Point, Sweep, draw};
use super::{SCORES, cannot, layers, pair};
use crate::exhibit::declared::{table, word};
use crate::exhibit::{Bench, BoxedPlayer, Shown, axis};
use crate::model::image::backbone::{Backbone, Meaning, Steps};
use crate::model::image::scenes::{self, Background, Scene};
use crate::model::image::session::Which;
use crate::model::image::{Grey, ImageSession, Pruned, Reading};
use crate::number::short;
use crate::pruning::schedule::Step;
use crate::pruning::{DropMode, Keep, Schedule, Score, draft, scores};
use crate::settings::Settings;
use crate::views::{Cell, Counts, Drawing, Histogram, Patches, Scale};

/// Runs of which the shortest counts.
const ROUNDS: usize = 3;
/// The order of keep ratios in which all ways are measured: coarse first.
const KEEPS: [f64; 4] = [0.8, 0.5, 0.65, 0.9];
/// Scenes for each point: first a few for all points, then as many again.
const SCENES: [usize; 2] = [4, 12];

/// How patches are dropped.
#[derive(Clone, Copy)]
pub struct Way {
    pub score: &'static dyn Score,
    pub meaning: Meaning,
}

/// The keep ratio of every step.
fn keep_of(backbone: &Backbone, share: f64) -> Keep {
    match backbone.class_token {
        Some(_) => Keep::ClassAndShare(share),
        None => Keep::Share(share),
    }
}

fn pruned(
    backbone: &Backbone,
    way: Way,
    at: &[usize],
    share: f64,
    seed: u64,
) -> Result<Pruned, String> {
    let keep = keep_of(backbone, share);
    let steps = at.iter().map(|&layer| Step { layer, keep }).collect();
    Ok(Pruned {
        which: Which::Scored {
            score: way.score,
            schedule: Schedule::new(steps, backbone.blocks.len())?,
            seed,
        },
        meaning: way.meaning,
    })
}

async fn session(
    bench: &Bench<'_>,
    backbone: &Rc<Backbone>,
) -> Result<ImageSession<BoxedPlayer>, String> {
    ImageSession::new(backbone.clone(), |layout| bench.player(layout)).await
}

/// Softmax of the logits.
fn probabilities(logits: &[f32]) -> Vec<f64> {
    let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let all: Vec<f64> = logits.iter().map(|&l| f64::from(l - most).exp()).collect();
    let sum: f64 = all.iter().sum();
    all.iter().map(|e| e / sum).collect()
}

/// Reads a picture some times; the shortest time.
async fn shortest(
    bench: &Bench<'_>,
    session: &mut ImageSession<BoxedPlayer>,
    image: &Grey,
    pruned: Option<&Pruned>,
) -> Result<(Reading, f64), String> {
    let mut best = f64::INFINITY;
    let mut round = 0;
    loop {
        let start = bench.now_ms();
        let reading = session.read(image, pruned).await?;
        best = best.min(bench.now_ms() - start);
        bench.rest().await?;
        round += 1;
        if round == ROUNDS {
            return Ok((reading, best));
        }
    }
}

/// One pruned run beside the unpruned one.
pub async fn one(settings: &Settings, bench: &Bench<'_>) -> Result<Shown, String> {
    let backbone = bench.classifier(settings.get("classifier"))?;
    let (image, label) = match settings.get("picture") {
        "file" => ((*bench.image("file")?).clone(), None),
        background => {
            let background = Background::by_id(background)?;
            let seed = settings.integer("scene") as u32;
            let scene = scenes::of_seed(seed, background, scenes::PIECES);
            (scene.image, Some(scene.class))
        }
    };
    let way = Way {
        score: scores::by_id(settings.get("score"))?,
        meaning: Meaning {
            mode: DropMode::by_id(settings.get("mode"))?,
            as_released: settings.get("as") == "released",
        },
    };
    let at = layers(settings, backbone.blocks.len(), 1);
    let seed = settings.integer("seed") as u64;
    let asked = pruned(&backbone, way, &at, settings.number("keep"), seed)?;
    let mut session = session(bench, &backbone).await?;
    let scored = match session.read(&image, Some(&asked)).await {
        Ok(scored) => scored,
        Err(sentence) => return Ok(cannot(&sentence)),
    };
    // The choice is not what is timed.
    let known = Pruned {
        which: Which::Known(scored.steps.kept.clone()),
        meaning: way.meaning,
    };
    let (dense, dense_ms) = shortest(bench, &mut session, &image, None).await?;
    let (_, pruned_ms) = shortest(bench, &mut session, &image, Some(&known)).await?;

    let mut out = Shown::default();
    out.view(
        "patches",
        "What is dropped before which block is veiled",
        Drawing::Patches(veiled(&backbone, &image, &scored.steps)),
    );
    let before = probabilities(&dense.logits);
    let after = probabilities(&scored.logits);
    let counts = |label: &str, run: &str, p: &[f64]| Counts {
        label: label.to_owned(),
        run: run.to_owned(),
        counts: p.iter().map(|&p| p as f32).collect(),
    };
    let bars = Histogram {
        x: axis("class", "", Scale::Linear),
        y: axis("probability", "", Scale::Linear),
        edges: (0..=backbone.classes).map(|c| c as f32 - 0.5).collect(),
        series: vec![
            counts("unpruned", "a", &before),
            counts("pruned", "a", &after),
        ],
    };
    out.view(
        "classes",
        "Probability of each class, without and with pruning",
        Drawing::Histogram(bars),
    );
    let square = |x: f64| x * x;
    let size: f64 = dense.logits.iter().map(|&x| square(x.into())).sum();
    let pairs = dense.logits.iter().zip(&scored.logits);
    let difference: f64 = pairs.map(|(&a, &b)| square(f64::from(a - b))).sum();
    let error = (difference / size).sqrt();
    let operations = scored.operations as f64 / scored.dense_operations as f64;
    let tokens = backbone.tokens();
    let left = scored.steps.kept.last().map_or(tokens, |(_, k)| k.len());
    let mut rows = vec![
        pair("tokens at the head", tokens as f64, left as f64, "tokens"),
        pair("class", dense.class() as f64, scored.class() as f64, ""),
    ];
    if let Some(label) = label {
        let loss = [-before[label].ln(), -after[label].ln()];
        rows.push(pair(
            &format!("loss of the digit shown, {label}"),
            loss[0],
            loss[1],
            "nats",
        ));
        out.value("loss", loss[0]);
        out.value("loss_pruned", loss[1]);
    }
    rows.push(pair("error of the logits", 0.0, error, "RMS over RMS"));
    rows.push(pair(
        "operations",
        scored.dense_operations as f64 / 1e6,
        scored.operations as f64 / 1e6,
        "million",
    ));
    rows.push(pair("time", dense_ms, pruned_ms, "ms"));
    out.view(
        "numbers",
        "Without and with pruning",
        Drawing::Table(table(&["What", "Unpruned", "Pruned", "Unit"], rows)),
    );
    let steps = scored.steps.kept.iter();
    let rows = steps
        .map(|(block, kept)| vec![Cell::Number(*block as f64), Cell::Number(kept.len() as f64)]);
    out.view(
        "steps",
        "What each pruning leaves",
        Drawing::Table(table(&["Before block", "Tokens kept"], rows.collect())),
    );
    out.value("tokens", tokens as f64);
    out.value("kept", left as f64);
    out.value("error", error);
    out.value("operations", operations);
    out.value("time", dense_ms);
    out.value("time_pruned", pruned_ms);
    if settings.get("schedule") == "three" {
        out.idle("layer", "the schedule names the blocks");
    }
    if settings.get("picture") == "file" {
        out.idle("scene", "your own image is read");
    }
    let shown = label.map_or_else(String::new, |l| format!(", shown is {l}"));
    let told = scored.warnings.iter();
    let told = told.map(|s| format!(" Note: {s}.")).collect::<String>();
    out.summary = format!(
        "{left} of {tokens} tokens reach the head. The class is {} without and {} with pruning{shown}; operations fall to {} of the unpruned run and the logits differ by {} of their size.{told}",
        dense.class(),
        scored.class(),
        short(operations),
        short(error)
    );
    Ok(out)
}

/// The picture as the classifier reads it, with the stage of each patch.
fn veiled(backbone: &Backbone, image: &Grey, steps: &Steps) -> Patches {
    let grid = backbone.grid();
    let stage = |patch: usize| {
        let token = backbone.token_of_patch(patch);
        let stays = steps.kept.iter().filter(|(_, kept)| kept.contains(&token));
        stays.count() as f32
    };
    let dropped = steps.kept.iter();
    let stages = dropped.map(|(block, _)| format!("dropped before block {block}"));
    Patches {
        width: backbone.side,
        height: backbone.side,
        pixels: image
            .square(backbone.side)
            .pixels()
            .iter()
            .map(|&p| p.into())
            .collect(),
        columns: grid.width,
        rows: grid.height,
        values: (0..grid.tokens()).map(stage).collect(),
        stages: stages.chain(["kept to the end".to_owned()]).collect(),
        run: "a".to_owned(),
        ..Patches::default()
    }
}

/// What is measured of a way at one keep ratio.
struct Task {
    way: Option<usize>,
    keep: f64,
    background: Option<Background>,
    scenes: usize,
}

/// Scenes of the test set, on one background or on both in turn.
fn test_scenes(count: usize, background: Option<Background>) -> impl Iterator<Item = Scene> {
    let all = (0..scenes::DIGITS).filter(move |n| match background {
        Some(wanted) => Background::ALL[n % 2] == wanted,
        None => true,
    });
    all.take(count).map(scenes::of_test_set)
}

/// Mean loss, share of right answers, mean milliseconds and operations over scenes of the test set.
async fn quality(
    bench: &Bench<'_>,
    session: &mut ImageSession<BoxedPlayer>,
    asked: Option<&Pruned>,
    task: &Task,
) -> Result<Vec<f64>, String> {
    let (mut loss, mut right, mut ms, mut operations) = (0.0, 0.0, 0.0, 0.0);
    let mut count = 0.0;
    for scene in test_scenes(task.scenes, task.background) {
        let scored = match session.read(&scene.image, asked).await {
            Ok(scored) => scored,
            // A score that a scan of images has nothing for is measured as nothing.
            Err(_) if asked.is_some() => return Ok(vec![f64::NAN; 4]),
            Err(sentence) => return Err(sentence),
        };
        let known = asked.map(|asked| Pruned {
            which: Which::Known(scored.steps.kept.clone()),
            meaning: asked.meaning,
        });
        // The choice is not what is timed.
        let start = bench.now_ms();
        session.read(&scene.image, known.as_ref()).await?;
        ms += bench.now_ms() - start;
        loss -= probabilities(&scored.logits)[scene.class].ln();
        right += f64::from(u8::from(scored.class() == scene.class));
        operations = scored.operations as f64;
        count += 1.0;
        bench.rest().await?;
    }
    Ok(vec![loss / count, right / count, ms / count, operations])
}

/// Every score or every mode on scenes of the test set.
struct Many<'a> {
    ways: Vec<(String, Way, Option<Background>)>,
    head: &'a str,
    chosen: Option<usize>,
    idle: &'static str,
}

async fn measure_many(
    settings: &Settings,
    bench: &Bench<'_>,
    many: Many<'_>,
) -> Result<Shown, String> {
    let backbone = bench.classifier(settings.get("classifier"))?;
    let at = layers(settings, backbone.blocks.len(), 1);
    let seed = settings.integer("seed") as u64;
    let sweep = Sweep::new(settings, bench);
    let player = session(bench, &backbone).await?;
    let player = std::cell::RefCell::new(Some(player));
    let mut all = Vec::new();
    for scenes in SCENES {
        all.push(Task {
            way: None,
            keep: 1.0,
            background: None,
            scenes,
        });
        for keep in KEEPS {
            all.extend((0..many.ways.len()).map(|way| Task {
                way: Some(way),
                keep,
                background: many.ways[way].2,
                scenes,
            }));
        }
    }
    let named = |way: Option<usize>, keep: f64, scenes: usize| match way {
        Some(way) => format!("{way} {keep} {scenes}"),
        None => format!("unpruned {scenes}"),
    };
    let name = |task: &Task| named(task.way, task.keep, task.scenes);
    let measure = async |task: &Task| {
        let asked = match task.way {
            Some(way) => Some(pruned(&backbone, many.ways[way].1, &at, task.keep, seed)?),
            None => None,
        };
        let taken = player.borrow_mut().take();
        let mut session = taken.ok_or("the classifier is at work")?;
        let measured = quality(bench, &mut session, asked.as_ref(), task).await;
        player.replace(Some(session));
        measured
    };
    let done = sweep.go_on(&all, name, measure).await?;
    let newest = |way, keep| {
        let known = SCENES.iter().rev();
        known
            .filter_map(|&n| Some((n, sweep.known(&named(way, keep, n))?)))
            .next()
    };
    let Some((_, whole)) = newest(None, 1.0) else {
        return Err("the unpruned run was not measured".to_owned());
    };
    let mut rows = vec![vec![
        word("unpruned"),
        Cell::Number(1.0),
        Cell::Number(SCENES[0] as f64),
        Cell::Number(whole[0]),
        Cell::Number(whole[1]),
        Cell::Number(whole[2]),
        Cell::Number(1.0),
    ]];
    let mut points = Vec::new();
    for (way, (label, ..)) in many.ways.iter().enumerate() {
        for keep in KEEPS {
            let Some((scenes, values)) = newest(Some(way), keep) else {
                continue;
            };
            if values[0].is_nan() {
                continue;
            }
            let operations = values[3] / whole[3];
            points.push(Point {
                way,
                keep,
                quality: values[0],
                operations,
                ms: values[2],
            });
            rows.push(vec![
                word(label.as_str()),
                Cell::Number(keep),
                Cell::Number(scenes as f64),
                Cell::Number(values[0]),
                Cell::Number(values[1]),
                Cell::Number(values[2]),
                Cell::Number(operations),
            ]);
        }
    }
    let mut out = Shown {
        progress: [done, all.len()],
        ..Shown::default()
    };
    let labels: Vec<&str> = many.ways.iter().map(|(label, ..)| &**label).collect();
    draw(
        &mut out,
        &points,
        &labels,
        many.chosen,
        ("loss of the digit shown", "nats"),
    );
    out.view(
        "all",
        "Every measurement, on the first scenes of the test set",
        Drawing::Table(table(
            &[
                many.head,
                "Keep ratio of each step",
                "Scenes",
                "Loss (nats)",
                "Share right",
                "Time (ms)",
                "Operations over the unpruned run",
            ],
            rows,
        )),
    );
    out.value("loss", whole[0]);
    out.value("time", whole[2]);
    out.idle("keep", "several keep ratios are measured at once");
    out.idle(
        "picture",
        "scenes of the test set are read, on both backgrounds",
    );
    out.idle("scene", "scenes of the test set are read");
    out.idle(many.idle, "all of them are measured");
    out.summary = format!(
        "{done} of {} measurements are done, each the mean over scenes of the test set. The unpruned loss is {} nats.",
        all.len(),
        short(whole[0])
    );
    Ok(out)
}

/// Every score at several keep ratios.
pub async fn all_scores(settings: &Settings, bench: &Bench<'_>) -> Result<Shown, String> {
    let meaning = Meaning {
        mode: DropMode::by_id(settings.get("mode"))?,
        as_released: settings.get("as") == "released",
    };
    let backbone = bench.classifier(settings.get("classifier"))?;
    if let Err(sentence) = backbone.check(meaning) {
        return Ok(cannot(&sentence));
    }
    let (mut ways, mut chosen) = (Vec::new(), None);
    for choice in &SCORES {
        let score = scores::by_id(choice.id)?;
        if draft::is_asked(score) {
            continue;
        }
        if choice.id == settings.get("score") {
            chosen = Some(ways.len());
        }
        ways.push((choice.label.to_owned(), Way { score, meaning }, None));
    }
    let many = Many {
        ways,
        head: "Score",
        chosen,
        idle: "score",
    };
    let mut out = measure_many(settings, bench, many).await?;
    out.idle("draft", "a draft model reads texts");
    Ok(out)
}

/// Every drop mode that images have, on each background.
pub async fn all_modes(settings: &Settings, bench: &Bench<'_>) -> Result<Shown, String> {
    let backbone = bench.classifier(settings.get("classifier"))?;
    let score = scores::by_id(settings.get("score"))?;
    let mut ways = Vec::new();
    for background in Background::ALL {
        for (mode, as_released) in [
            (DropMode::Mask, false),
            (DropMode::Gather, false),
            (DropMode::DecayDefault, false),
            (DropMode::Gather, true),
        ] {
            let meaning = Meaning { mode, as_released };
            if backbone.check(meaning).is_err() {
                continue;
            }
            let what = if as_released {
                "as released"
            } else {
                mode.id()
            };
            let label = format!("{what}, {}", background.id());
            ways.push((label, Way { score, meaning }, Some(background)));
        }
    }
    let many = Many {
        ways,
        head: "Drop mode, background",
        chosen: None,
        idle: "mode",
    };
    let mut out = measure_many(settings, bench, many).await?;
    out.idle("as", "both are measured");
    Ok(out)
}
