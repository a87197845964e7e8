//! What the image classifiers must keep, on whichever player: the answers of PyTorch
//! (`tests/train/vision.py expect`), and those of the definition in f64.

use std::rc::Rc;

use linearium::model::checkpoint::Checkpoint;
use linearium::model::image::backbone::{Meaning, Steps};
use linearium::model::image::session::{Which, top_vim_schedule};
use linearium::model::image::{Backbone, Grey, ImageSession, Pruned, Reading, load, scenes};
use linearium::player::Player;
use linearium::pruning::{DropMode, Keep, Schedule, schedule, scores};
use linearium::recording::Layout;
use pollster::block_on;

const EXPECTED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden/images");
const MODELS_OF_THE_PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../web/public/models");

/// The classifiers: folder, and whether they have a class token, so that ToP-ViM's way applies.
pub const MODELS: [(&str, bool); 4] = [
    ("digits-vim", true),
    ("digits-vim-gather", true),
    ("digits-vim-decay", true),
    ("digits-plain", false),
];

pub fn file(model: &str, name: &str) -> Vec<u8> {
    let folder = match name {
        "expected.safetensors" => EXPECTED,
        _ => MODELS_OF_THE_PAGE,
    };
    let path = format!("{folder}/{model}/{name}");
    std::fs::read(&path).unwrap_or_else(|e| panic!("{path}: {e}"))
}

pub fn backbone(model: &str) -> Rc<Backbone> {
    let loaded = load::load(
        &file(model, "config.json"),
        file(model, "model.safetensors"),
    );
    Rc::new(loaded.unwrap())
}

pub fn session<P: Player, F: Future<Output = Result<P, String>>>(
    model: &str,
    open: impl Fn(Layout) -> F,
) -> ImageSession<P> {
    block_on(ImageSession::new(backbone(model), open)).unwrap()
}

struct Expected(Checkpoint);

impl Expected {
    fn read(model: &str) -> Expected {
        Expected(Checkpoint::read(file(model, "expected.safetensors")).unwrap())
    }

    fn bytes(&self, name: &str) -> &[u8] {
        self.0
            .raw(name)
            .unwrap_or_else(|| panic!("{name} is missing"))
    }

    fn floats(&self, name: &str) -> Vec<f32> {
        let values = self.bytes(name).as_chunks::<4>().0.iter();
        values.map(|b| f32::from_le_bytes(*b)).collect()
    }

    fn places(&self, name: &str) -> Vec<usize> {
        let values = self.bytes(name).as_chunks::<4>().0.iter();
        values.map(|b| i32::from_le_bytes(*b) as usize).collect()
    }
}

/// The prunings that PyTorch has run, by the name that they have there.
fn prunings(backbone: &Backbone) -> Vec<(&'static str, Option<Pruned>)> {
    let mut all = vec![("", None)];
    if backbone.class_token.is_some() {
        for (name, mode, as_released) in [
            ("gather.", DropMode::Gather, false),
            ("decay-default.", DropMode::DecayDefault, false),
            ("released.", DropMode::Gather, true),
        ] {
            let score = match as_released {
                true => "activation_sum",
                false => "activation_clip",
            };
            let score = scores::by_id(score).unwrap();
            let schedule = top_vim_schedule(backbone.blocks.len()).unwrap();
            let pruned = Pruned {
                which: Which::Scored {
                    score,
                    schedule,
                    seed: 0,
                },
                meaning: Meaning { mode, as_released },
            };
            all.push((name, Some(pruned)));
        }
    }
    all
}

fn rms_ratio(a: &[f32], reference: &[f32]) -> f64 {
    assert_eq!(a.len(), reference.len());
    let square = |v: f64| v * v;
    let pairs = a.iter().zip(reference);
    let difference: f64 = pairs
        .map(|(&a, &b)| square(f64::from(a) - f64::from(b)))
        .sum();
    let size: f64 = reference.iter().map(|&b| square(b.into())).sum();
    (difference / size).sqrt()
}

fn read<P: Player>(
    session: &mut ImageSession<P>,
    image: &Grey,
    pruned: Option<&Pruned>,
) -> Reading {
    block_on(session.read(image, pruned)).unwrap()
}

/// The scenes have PyTorch's pixels; logits and kept tokens are its own.
pub fn classifiers_answer_as_in_pytorch<P: Player, F: Future<Output = Result<P, String>>>(
    open: impl Fn(Layout) -> F,
) {
    for (model, _) in MODELS {
        let expected = Expected::read(model);
        let mut session = session(model, &open);
        let classes = session.backbone.classes;
        let images: Vec<Grey> = (0..8).map(|n| scenes::of_test_set(n).image).collect();
        for (image, pixels) in images.iter().zip(
            expected
                .bytes("images")
                .chunks_exact(scenes::SIDE * scenes::SIDE),
        ) {
            assert_eq!(image.pixels(), pixels, "{model}");
        }
        for (name, pruned) in prunings(&session.backbone) {
            let logits = expected.floats(&format!("{name}logits"));
            for (n, image) in images.iter().enumerate() {
                let what = format!("{model} {name} image {n}");
                let got = read(&mut session, image, pruned.as_ref());
                for (i, (_, kept)) in got.steps.kept.iter().enumerate() {
                    let all = expected.places(&format!("{name}kept.{i}"));
                    let row = &all[n * all.len() / 8..][..all.len() / 8];
                    assert_eq!(kept, row, "{what}: kept by step {i}");
                }
                if pruned.is_some() {
                    let counts: Vec<usize> = got.steps.kept.iter().map(|(_, k)| k.len()).collect();
                    assert_eq!(counts, [157, 125, 101], "{what}");
                    let [all, left] = [got.dense_operations, got.operations];
                    assert!(4 * left <= 3 * all, "{what}: {left} of {all} operations");
                }
                let want = &logits[n * classes..][..classes];
                let ratio = rms_ratio(&got.logits, want);
                assert!(ratio <= 1e-4, "{what}: {ratio:.2e}");
            }
        }
    }
}

/// The share of right classes is PyTorch's, but for one picture at most, with and without pruning;
/// of every so many pictures.
pub fn the_test_set_is_classified_as_in_pytorch<
    P: Player,
    F: Future<Output = Result<P, String>>,
>(
    open: impl Fn(Layout) -> F,
    every: usize,
) {
    for (model, _) in MODELS {
        let expected = Expected::read(model);
        let mut session = session(model, &open);
        let scenes: Vec<_> = (0..scenes::DIGITS).map(scenes::of_test_set).collect();
        let all: Vec<u8> = scenes.iter().map(|s| s.class as u8).collect();
        assert_eq!(all, expected.bytes("labels"));
        let chosen = |x: &[u8]| -> Vec<u8> { x.iter().step_by(every).copied().collect() };
        let labels = chosen(&all);
        for (name, pruned) in prunings(&session.backbone) {
            let wanted = chosen(expected.bytes(&format!("{name}test_classes")));
            let right = |classes: &[u8]| {
                let pairs = classes.iter().zip(&labels);
                pairs.filter(|(a, b)| a == b).count()
            };
            let got: Vec<u8> = scenes
                .iter()
                .step_by(every)
                .map(|s| read(&mut session, &s.image, pruned.as_ref()).class() as u8)
                .collect();
            let others = got.iter().zip(&wanted).filter(|(a, b)| a != b).count();
            println!(
                "{model} {name}: {} of {} right, in PyTorch {}, {others} other classes",
                right(&got),
                labels.len(),
                right(&wanted)
            );
            assert!(others <= 1, "{model} {name}: {others} other classes");
            assert!(right(&got).abs_diff(right(&wanted)) <= 1);
        }
    }
}

/// What a player gives for dropped tokens is what the definition gives for the same ones, in every
/// mode, whatever the tokens; and dropping none is reading all.
pub fn a_run_is_its_definition<P: Player, F: Future<Output = Result<P, String>>>(
    open: impl Fn(Layout) -> F,
) {
    for (model, has_class) in MODELS {
        let mut session = session(model, &open);
        let backbone = session.backbone.clone();
        let blocks = backbone.blocks.len();
        let tokens = backbone.tokens();
        let image = scenes::of_seed(5, scenes::Background::Redundant, 3).image;
        let patches = backbone.patches(&image);
        let dense = read(&mut session, &image, None);
        let schedule = |steps: &[(usize, Keep)]| {
            let steps = steps
                .iter()
                .map(|&(layer, keep)| schedule::Step { layer, keep });
            Schedule::new(steps.collect(), blocks).unwrap()
        };
        let random = scores::by_id("random").unwrap();
        let schedules = [
            schedule(&[]),
            schedule(&[(1, Keep::Share(1.0))]),
            schedule(&[(1, Keep::Share(0.5)), (3, Keep::Share(0.3))]),
            schedule(&[(2, Keep::Count(1))]),
        ];
        for schedule in &schedules {
            for mode in DropMode::ALL {
                for as_released in [false, true] {
                    let meaning = Meaning { mode, as_released };
                    if backbone.check(meaning).is_err() {
                        continue;
                    }
                    let what = format!("{model} {mode:?} {as_released} {:?}", schedule.steps());
                    let pruned = Pruned {
                        which: Which::Scored {
                            score: random,
                            schedule: schedule.clone(),
                            seed: 9,
                        },
                        meaning,
                    };
                    let got = read(&mut session, &image, Some(&pruned));
                    let want = backbone.read(&patches, &got.steps);
                    let want: Vec<f32> = want.iter().map(|&x| x as f32).collect();
                    let ratio = rms_ratio(&got.logits, &want);
                    assert!(ratio <= 2e-5, "{what}: {ratio:.2e}");
                    // The same tokens named beforehand.
                    let known = Pruned {
                        which: Which::Known(got.steps.kept.clone()),
                        meaning,
                    };
                    let again = read(&mut session, &image, Some(&known));
                    assert_eq!(again.logits, got.logits, "{what}");
                    let counts = schedule.counts(tokens).unwrap();
                    let kept: Vec<usize> = got.steps.kept.iter().map(|(_, k)| k.len()).collect();
                    assert_eq!(kept, counts, "{what}");
                    if counts.iter().all(|&c| c == tokens) {
                        assert_eq!(got.logits, dense.logits, "{what}");
                        assert_eq!(got.operations, dense.operations);
                    } else {
                        assert_ne!(got.logits, dense.logits, "{what}");
                    }
                    if has_class {
                        let class = backbone.class_token.unwrap();
                        for (_, kept) in &got.steps.kept {
                            assert!(kept.contains(&class), "{what}");
                            assert!(
                                !as_released || kept[(kept.len() - 1) / 2] == class,
                                "{what}"
                            );
                        }
                    }
                }
            }
        }
        let none = backbone.read(&patches, &Steps::default());
        let none: Vec<f32> = none.iter().map(|&x| x as f32).collect();
        assert!(rms_ratio(&dense.logits, &none) <= 2e-5, "{model}");
    }
}
