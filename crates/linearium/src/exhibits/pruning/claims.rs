//! What is said of pruning, measured again.

use super::flip::errors;
use crate::exhibit::{Bench, Claim, Measured, nothing};
use crate::lab::Need;
use crate::model::image::ImageSession;
use crate::model::image::backbone::Meaning;
use crate::model::image::scenes;
use crate::model::image::session::{Pruned, Which, top_vim_schedule};
use crate::number::short;
use crate::pruning::{DropMode, scores};

const SIGNAL: &str = "one channel of S6 with 16 states of rates -1 to -16 and a step of 0.003, 196 tokens, half of them kept, seed 1";
const SCENES: usize = 40;
const TEST_SET: &str =
    "digits-vim (6 blocks of width 64), the first 40 of the 397 scenes of its test set";

/// In the order in which they are shown.
pub static CLAIMS: [Claim; 5] = [
    Claim {
        id: "empty",
        statement: "Where what is dropped was empty, the state must fade as if it had been there.",
        source: "section 4 of ToP-ViM (arXiv 2409.18962) argues for keeping the gap; the signal is this project's",
        measured: "error of decay-true over the error of hold, events on an empty background",
        scale: SIGNAL,
        expected: [0.0, 0.02 / 0.3],
        unit: "",
        tolerance: "An error of at most 0.02 beside one of at least 0.3.",
        reproducible: true,
        why: "",
        needs: nothing,
        measure: |bench| Box::pin(flip(bench, 0.0)),
    },
    Claim {
        id: "redundant",
        statement: "Where what is dropped repeated its neighbours, the order is reversed.",
        source: "this project's counterpart: no paper measures it",
        measured: "error of decay-true over the error of hold, a smooth signal",
        scale: SIGNAL,
        expected: [1.0, f64::INFINITY],
        unit: "",
        tolerance: "Hold errs less.",
        reproducible: true,
        why: "",
        needs: nothing,
        measure: |bench| Box::pin(flip(bench, 1.0)),
    },
    Claim {
        id: "operations",
        statement: "ToP-ViM's schedule saves a quarter of the arithmetic of the whole backbone.",
        source: "ZLKong/ToP-ViM vim/models_mamba.py: 197, 157, 125, 101 tokens",
        measured: "operations of a pruned image over those of an unpruned one, scores left out",
        scale: TEST_SET,
        expected: [0.0, 0.75],
        unit: "",
        tolerance: "At most 0.75.",
        reproducible: true,
        why: "",
        needs: files,
        measure: |bench| {
            Box::pin(async move {
                let described = Meaning::default();
                let way = read(bench, "activation_clip", described, 1).await?;
                Ok(Measured {
                    value: way.operations,
                    words: format!("{} of the operations are left.", short(way.operations)),
                })
            })
        },
    },
    Claim {
        id: "clipping",
        statement: "The clipped sum of the output activation finds the important patches.",
        source: "ToP-ViM (arXiv 2409.18962), section 4: best of four scores",
        measured: "scenes classified right with the clipped score minus with a random one, the classifier not tuned to pruning",
        scale: TEST_SET,
        expected: [1.0, f64::INFINITY],
        unit: "scenes",
        tolerance: "One scene more.",
        reproducible: false,
        why: "It is worse here than chance, also on all 397 scenes: 286 are right with the clipped score and 332 with a random one (linearium prune --model web/public/models/digits-vim --image test-set, then with --score random). Tuned while it prunes with that score, the classifier has 374 right of 378 unpruned.",
        needs: files,
        measure: |bench| {
            Box::pin(async move {
                let clip = read(bench, "activation_clip", Meaning::default(), SCENES).await?;
                let chance = read(bench, "random", Meaning::default(), SCENES).await?;
                Ok(difference(
                    "the clipped score",
                    clip.right,
                    "a random one",
                    chance.right,
                ))
            })
        },
    },
    Claim {
        id: "gap",
        statement: "Keeping the gap in the scan (decay-default) classifies better than closing it.",
        source: "ToP-ViM (arXiv 2409.18962): alignment lifts ViM-S from 75.4 to 78.8, after tuning",
        measured: "scenes classified right with decay-default minus with gather, the classifier not tuned to pruning",
        scale: TEST_SET,
        expected: [1.0, f64::INFINITY],
        unit: "scenes",
        tolerance: "One scene more.",
        reproducible: false,
        why: "Nor on all 397 scenes: 275 are right with decay-default and 286 with gather; tuned, 367 of 375 and 374 of 378 (linearium prune --image test-set with --mode decay-default, and with the classifiers digits-vim-decay and digits-vim-gather). It is so on empty and on redundant backgrounds (tests/golden/images/README.md).",
        needs: files,
        measure: |bench| {
            Box::pin(async move {
                let gap = Meaning {
                    mode: DropMode::DecayDefault,
                    as_released: false,
                };
                let decay = read(bench, "activation_clip", gap, SCENES).await?;
                let gather = read(bench, "activation_clip", Meaning::default(), SCENES).await?;
                Ok(difference(
                    "decay-default",
                    decay.right,
                    "gather",
                    gather.right,
                ))
            })
        },
    },
];

fn files() -> Vec<Need> {
    vec![super::need("model", "digits-vim")]
}

fn difference(a: &str, right: usize, b: &str, other: usize) -> Measured {
    Measured {
        value: right as f64 - other as f64,
        words: format!("Of {SCENES} scenes {right} are right with {a} and {other} with {b}."),
    }
}

async fn flip(bench: &Bench<'_>, share: f64) -> Result<Measured, String> {
    let modes = [DropMode::DecayTrue, DropMode::Hold];
    let errors = errors(bench, share, 0.5, 1, &modes).await?;
    Ok(Measured {
        value: errors[0] / errors[1],
        words: format!(
            "Decay-true errs by {} and hold by {} of the unpruned readout.",
            short(errors[0]),
            short(errors[1])
        ),
    })
}

struct Read {
    right: usize,
    operations: f64,
}

async fn read(
    bench: &Bench<'_>,
    score: &str,
    meaning: Meaning,
    scenes: usize,
) -> Result<Read, String> {
    let backbone = bench.classifier("digits-vim")?;
    let pruned = Pruned {
        which: Which::Scored {
            score: scores::by_id(score)?,
            schedule: top_vim_schedule(backbone.blocks.len())?,
            seed: 1,
        },
        meaning,
    };
    let mut session = ImageSession::new(backbone, |layout| bench.player(layout)).await?;
    let mut out = Read {
        right: 0,
        operations: 0.0,
    };
    for n in 0..scenes {
        let scene = scenes::of_test_set(n);
        let reading = session.read(&scene.image, Some(&pruned)).await?;
        out.right += usize::from(reading.class() == scene.class);
        out.operations = reading.operations as f64 / reading.dense_operations as f64;
        bench.rest().await?;
    }
    Ok(out)
}
