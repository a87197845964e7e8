//! `linearium prune --image`.

use std::io::BufReader;
use std::path::Path;
use std::rc::Rc;
use std::time::Instant;

use image::{DynamicImage, ImageDecoder, ImageReader, Limits};
use linearium::lab::Host;
use linearium::model::config::MAX_CONFIG_BYTES;
use linearium::model::image::backbone::{Meaning, Steps};
use linearium::model::image::pixels::MAX_PIXELS;
use linearium::model::image::scenes::{self, Background};
use linearium::model::image::session::{Which, top_vim_schedule};
use linearium::model::image::{Backbone, Grey, ImageSession, Pruned, Reading, load};
use linearium::player::Player;
use linearium::pruning::{DropMode, scores};
use pollster::block_on;
use serde::Serialize;

use crate::arguments::{Arguments, Flag};
use crate::files::{self, NewFile};
use crate::prune::{ROUNDS, schedule};
use crate::{Failure, Outcome, backend, note, say};

/// The most bytes of `model.safetensors` of an image classifier.
const MAX_WEIGHTS_BYTES: u64 = 1 << 30;
/// The most bytes that a decoder may take: two pictures of the largest size in four bytes a pixel.
const MAX_DECODED_BYTES: u64 = 8 * MAX_PIXELS as u64;
/// The most pixels a side.
const MAX_SIDE: u32 = 1 << 16;

/// The flag `--image`.
pub fn image_flag() -> Flag {
    Flag::new(
        "image",
        "FILE|empty:SEED|redundant:SEED|test-set",
        "The image: a PNG or JPEG file, of which the middle square is read as grey; a digit on a background that the shipped classifiers were trained for; or all scenes that these were tested on. Instead of --text.",
    )
}

/// The flag `--as`.
pub fn as_flag() -> Flag {
    Flag::new(
        "as",
        "described|released",
        "Images: ToP-ViM as its paper describes it, or as its code was released, which scores by the last order from its end and moves the class token. Default: described.",
    )
}

/// Refuses flags that mean nothing here.
pub fn refuse(arguments: &Arguments, flags: &[&str], why: &str) -> Outcome {
    match flags.iter().find(|flag| arguments.raw(flag).is_some()) {
        Some(flag) => Err(Failure::Usage(format!(
            "--{flag} cannot be given here: {why}"
        ))),
        None => Ok(()),
    }
}

/// What is read.
enum Picture {
    One(Grey, Option<usize>),
    TestSet,
}

#[derive(Serialize)]
struct Answer {
    class: usize,
    /// One for each class; none of a test set.
    logits: Vec<f32>,
    /// Multiplications and additions.
    operations: u64,
    /// Shortest of some rounds, of a test set the mean over its scenes of one round.
    milliseconds: f64,
    /// Right ones of a test set.
    right: Option<usize>,
}

#[derive(Serialize)]
struct Written {
    model: String,
    backend: String,
    version: &'static str,
    image: String,
    /// What a scene shows.
    label: Option<usize>,
    /// How many scenes were read.
    scenes: usize,
    tokens: usize,
    score: &'static str,
    mode: &'static str,
    r#as: &'static str,
    seed: u64,
    /// Block, and how many tokens it keeps.
    layers: Vec<(usize, usize)>,
    /// Row and column of the patches that are left at the end; none of a test set.
    kept_patches: Vec<(usize, usize)>,
    /// Root mean square of what pruning changes in the logits, over that of the logits.
    error: Option<f64>,
    dense: Answer,
    pruned: Answer,
    warnings: Vec<String>,
}

pub fn run(arguments: &Arguments) -> Outcome {
    refuse(
        arguments,
        &[
            "text",
            "limit",
            "draft",
            "conv",
            "protect-first",
            "protect-last",
        ],
        "it is about texts: leave it out, or give --text and no --image",
    )?;
    let dir = Path::new(arguments.required("model", "a folder with an image classifier")?);
    let named = arguments.required("image", "a PNG or JPEG file")?;
    let id = |flag, default| Ok::<_, Failure>(arguments.text(flag)?.unwrap_or(default));
    let released = match id("as", "described")? {
        "described" => false,
        "released" => true,
        other => {
            return Err(Failure::Usage(format!(
                "--as = “{other}” is not known: give described or released"
            )));
        }
    };
    let default_score = ["activation_clip", "activation_sum"][usize::from(released)];
    let score = scores::by_id(id("score", default_score)?).map_err(Failure::Usage)?;
    let mode = DropMode::by_id(id("mode", "gather")?).map_err(Failure::Usage)?;
    let meaning = Meaning {
        mode,
        as_released: released,
    };
    let seed = arguments.integer("seed", 0, usize::MAX)?.unwrap_or(1) as u64;
    let backend = backend::choice(arguments)?;
    let json = arguments.raw("json").map(Path::new);
    let backbone = backbone(dir)?;
    let blocks = backbone.blocks.len();
    let asked = ["keep", "layers"]
        .iter()
        .any(|f| arguments.raw(f).is_some());
    let schedule = match asked {
        true => schedule(arguments, "1", blocks)?,
        false => top_vim_schedule(blocks)?,
    };
    let picture = picture(named.as_ref())?;
    let which = Which::Scored {
        score,
        schedule,
        seed,
    };
    let pruned = Pruned { which, meaning };
    block_on(async {
        let out = json.map(NewFile::create).transpose()?;
        let (host, gpu) = backend::host(backend).await?;
        let player = |layout| host.player(gpu, layout);
        let mut session = ImageSession::new(Rc::clone(&backbone), player).await?;
        let measured = measure(&mut session, &picture, &pruned).await?;
        let (steps, warnings, dense, pruned) = measured;
        let class = backbone.class_token;
        let last = steps.kept.last().map(|(_, kept)| kept.clone());
        let kept = last.unwrap_or_else(|| (0..backbone.tokens()).collect());
        let patches = (0..backbone.grid().tokens())
            .filter(|&patch| kept.contains(&backbone.token_of_patch(patch)))
            .map(|patch| backbone.grid().place(patch));
        let written = Written {
            model: dir.display().to_string(),
            backend: session.player.backend(),
            version: env!("CARGO_PKG_VERSION"),
            image: named.to_string_lossy().into(),
            label: match &picture {
                Picture::One(_, label) => *label,
                Picture::TestSet => None,
            },
            scenes: match picture {
                Picture::One(..) => 1,
                Picture::TestSet => scenes::DIGITS,
            },
            tokens: backbone.tokens(),
            score: score.id(),
            mode: mode.id(),
            r#as: ["described", "released"][usize::from(released)],
            seed,
            layers: steps
                .kept
                .iter()
                .map(|(b, kept)| (*b, kept.len()))
                .collect(),
            kept_patches: match picture {
                Picture::One(..) => patches.collect(),
                Picture::TestSet => Vec::new(),
            },
            error: error(&dense.logits, &pruned.logits),
            dense,
            pruned,
            warnings,
        };
        if let Some(mut out) = out {
            let text = serde_json::to_string_pretty(&written)
                .map_err(|e| Failure::Other(format!("the result cannot be written: {e}")))?;
            out.write(text.as_bytes())?;
            out.finish()?;
        }
        tell(&written, class.is_some())
    })
}

/// The classifier in a folder.
fn backbone(dir: &Path) -> Result<Rc<Backbone>, String> {
    let read = |name: &str, most: u64| {
        let bytes = files::read_start(&dir.join(name), most + 1)?;
        match bytes.len() as u64 > most {
            true => Err(format!(
                "{} is longer than {most} bytes: give an image classifier",
                dir.join(name).display()
            )),
            false => Ok(bytes),
        }
    };
    let config = read("config.json", MAX_CONFIG_BYTES as u64)?;
    let weights = read("model.safetensors", MAX_WEIGHTS_BYTES)?;
    let loaded = load::load(&config, weights);
    let loaded = loaded.map_err(|sentence| format!("{}: {sentence}", dir.display()))?;
    Ok(Rc::new(loaded))
}

fn picture(named: &Path) -> Result<Picture, Failure> {
    let text = named.to_str().unwrap_or_default();
    if text == "test-set" {
        return Ok(Picture::TestSet);
    }
    for background in Background::ALL {
        let seed = text
            .strip_prefix(background.id())
            .and_then(|rest| rest.strip_prefix(':'));
        if let Some(seed) = seed {
            let seed = seed.parse().map_err(|_| {
                Failure::Usage(format!(
                    "--image {text} has no seed behind the colon: give a whole number from 0 to {}",
                    u32::MAX
                ))
            })?;
            let scene = scenes::of_seed(seed, background, scenes::PIECES);
            return Ok(Picture::One(scene.image, Some(scene.class)));
        }
    }
    Ok(Picture::One(decode(named)?, None))
}

/// A PNG or JPEG file as grey values.
fn decode(path: &Path) -> Result<Grey, String> {
    let unreadable = |why: &dyn std::fmt::Display| {
        format!(
            "{} cannot be read as an image: {why}; give a whole PNG or JPEG file",
            path.display()
        )
    };
    let mut reader = ImageReader::new(BufReader::new(files::open(path)?))
        .with_guessed_format()
        .map_err(|e| unreadable(&e))?;
    let mut limits = Limits::default();
    limits.max_image_width = Some(MAX_SIDE);
    limits.max_image_height = Some(MAX_SIDE);
    limits.max_alloc = Some(MAX_DECODED_BYTES);
    reader.limits(limits);
    let decoder = reader.into_decoder().map_err(|e| unreadable(&e))?;
    let (width, height) = decoder.dimensions();
    if u64::from(width) * u64::from(height) > MAX_PIXELS as u64 {
        return Err(format!(
            "{} is {width} by {height} pixels where at most {MAX_PIXELS} in all are read: make it smaller",
            path.display()
        ));
    }
    let decoded = DynamicImage::from_decoder(decoder).map_err(|e| unreadable(&e))?;
    let rgba = decoded.into_rgba8();
    Grey::from_rgba(width as usize, height as usize, rgba.as_raw())
        .map_err(|sentence| format!("{}: {sentence}", path.display()))
}

type Measured = (Steps, Vec<String>, Answer, Answer);

async fn measure<P: Player>(
    session: &mut ImageSession<P>,
    picture: &Picture,
    pruned: &Pruned,
) -> Result<Measured, String> {
    match picture {
        Picture::One(image, _) => {
            let scored = session.read(image, Some(pruned)).await?;
            // The choice is not what is timed.
            let known = Pruned {
                which: Which::Known(scored.steps.kept.clone()),
                meaning: pruned.meaning,
            };
            let (dense, dense_ms) = shortest(session, image, None).await?;
            let (_, pruned_ms) = shortest(session, image, Some(&known)).await?;
            let answer = |reading: &Reading, milliseconds| Answer {
                class: reading.class(),
                logits: reading.logits.clone(),
                operations: reading.operations,
                milliseconds,
                right: None,
            };
            let answers = (answer(&dense, dense_ms), answer(&scored, pruned_ms));
            Ok((scored.steps, scored.warnings, answers.0, answers.1))
        }
        Picture::TestSet => {
            let mut answers = Vec::new();
            let mut last = None;
            for pruned in [None, Some(pruned)] {
                let start = Instant::now();
                let mut right = 0;
                for n in 0..scenes::DIGITS {
                    let scene = scenes::of_test_set(n);
                    let reading = session.read(&scene.image, pruned).await?;
                    right += usize::from(reading.class() == scene.class);
                    last = Some(reading);
                }
                let all = start.elapsed().as_secs_f64() * 1e3;
                answers.push(Answer {
                    class: 0,
                    logits: Vec::new(),
                    operations: last.as_ref().map_or(0, |r| r.operations),
                    milliseconds: all / scenes::DIGITS as f64,
                    right: Some(right),
                });
            }
            let (Some(pruned), Some(dense), Some(last)) = (answers.pop(), answers.pop(), last)
            else {
                return Err("the test set is empty".to_owned());
            };
            Ok((last.steps, last.warnings, dense, pruned))
        }
    }
}

/// Reads an image some times; the shortest time in milliseconds.
async fn shortest<P: Player>(
    session: &mut ImageSession<P>,
    image: &Grey,
    pruned: Option<&Pruned>,
) -> Result<(Reading, f64), String> {
    let mut best = f64::INFINITY;
    let mut rounds = 0;
    loop {
        let start = Instant::now();
        let reading = session.read(image, pruned).await?;
        best = best.min(start.elapsed().as_secs_f64() * 1e3);
        rounds += 1;
        if rounds == ROUNDS {
            return Ok((reading, best));
        }
    }
}

fn error(dense: &[f32], pruned: &[f32]) -> Option<f64> {
    let square = |x: f64| x * x;
    let size: f64 = dense.iter().map(|&x| square(x.into())).sum();
    let pairs = dense.iter().zip(pruned);
    let difference: f64 = pairs
        .map(|(&a, &b)| square(f64::from(a) - f64::from(b)))
        .sum();
    (size > 0.0).then(|| (difference / size).sqrt())
}

fn tell(w: &Written, class_token: bool) -> Outcome {
    for sentence in &w.warnings {
        note(sentence);
    }
    let last = w.layers.last().map_or(w.tokens, |(_, kept)| *kept);
    let class_token = if class_token {
        ", class token included"
    } else {
        ""
    };
    say(&format!(
        "{} on {}: {last} of {} tokens kept by {}, {}, as {}{class_token}",
        w.model, w.backend, w.tokens, w.score, w.mode, w.r#as
    ))?;
    for (block, kept) in &w.layers {
        say(&format!("block {block} keeps {kept}"))?;
    }
    match (w.dense.right, w.pruned.right) {
        (Some(dense), Some(pruned)) => {
            say(&format!("right: {dense} of {}, pruned {pruned}", w.scenes))?
        }
        _ => {
            let label = w
                .label
                .map_or_else(String::new, |l| format!(", shown is {l}"));
            say(&format!(
                "class {}, pruned {}{label}",
                w.dense.class, w.pruned.class
            ))?;
        }
    }
    if let Some(error) = w.error {
        say(&format!("error of the logits: {error:.3e}"))?;
    }
    say(&format!(
        "operations in millions: {:.2} of {:.2}, a share of {:.3}",
        w.pruned.operations as f64 / 1e6,
        w.dense.operations as f64 / 1e6,
        w.pruned.operations as f64 / w.dense.operations as f64
    ))?;
    say(&format!(
        "milliseconds an image: {:.2} of {:.2}",
        w.pruned.milliseconds, w.dense.milliseconds
    ))
}
