//! What the paper says of ToP-ViM, measured again.

use super::drawn::Scans;
use super::measure::{Reader, Way};
use super::{needs, synthetic};
use crate::exhibit::{Bench, Claim, Measured, Pending, nothing};
use crate::model::image::scenes;
use crate::number::short;
use crate::pruning::agreement::jaccard;
use crate::pruning::{DropMode, Schedule};

const TRAINED: &str = "ViM of 6 blocks, width 64, 197 tokens, trained for two minutes on digits (tests/train/vision.py); 197, 157, 125, 101 tokens; the first 200 of 397 test scenes";
const LOOKED: &str = "second block of digits-vim, 157 of 197 tokens kept by the clipped sum; the first 8 test scenes";
/// Test scenes that are classified: a standard error of 3.5 points at worst, less for differences on
/// the same scenes.
const SCENES: usize = 200;
/// Test scenes whose memories are looked at.
const LOOKS: usize = 8;

const UNTUNED: &str = "digits-vim";
const TUNED_CLOSED: &str = "digits-vim-gather";
const TUNED_KEPT: &str = "digits-vim-decay";

fn closed() -> Way {
    Way::default()
}

fn gaps_kept() -> Way {
    Way {
        mode: DropMode::DecayDefault,
        ..closed()
    }
}

fn scored(score: &'static str) -> Way {
    Way { score, ..closed() }
}

pub static CLAIMS: [Claim; 13] = [
    Claim {
        id: "schedule",
        statement: "Keeping 0.8 of the patches three times takes 197 tokens to 157, 125 and 101, and the blocks read 0.70 of the tokens.",
        source: "ZLKong/ToP-ViM, vim/models_mamba.py, forward_features",
        measured: "tokens that 24 blocks read, over 24 times 197",
        scale: "counted, no model",
        expected: [0.698, 0.7],
        unit: "",
        tolerance: "The counts are whole numbers: their share is 0.699.",
        reproducible: true,
        why: "",
        needs: nothing,
        measure: |_| Box::pin(async { schedule() }),
    },
    Claim {
        id: "naive",
        statement: "Dropping tokens from a ViM that was never trained so ruins it: more than 68 points are lost.",
        source: "arXiv 2409.18962, ViM-S on ImageNet without fine-tuning",
        measured: "points lost when gaps are closed, classifier not tuned",
        scale: TRAINED,
        expected: [10.0, 100.0],
        unit: "points",
        tolerance: "The direction: more than three standard errors. Ten classes cannot lose as much as a thousand.",
        reproducible: true,
        why: "",
        needs: || needs(&[UNTUNED]),
        measure: |bench| points(bench, (UNTUNED, None), (UNTUNED, Some(closed()))),
    },
    Claim {
        id: "tuning",
        statement: "Fine-tuning with tokens dropped brings most of it back: of 68 points 5.7 stay lost.",
        source: "arXiv 2409.18962, ViM-S on ImageNet with and without fine-tuning",
        measured: "points that stay lost after tuning with closed gaps",
        scale: "as claim naive, tuned for 14 s more",
        expected: [-2.0, 7.0],
        unit: "points",
        tolerance: "The published 5.7 points and a standard error at most.",
        reproducible: true,
        why: "",
        needs: || needs(&[UNTUNED, TUNED_CLOSED]),
        measure: |bench| points(bench, (UNTUNED, None), (TUNED_CLOSED, Some(closed()))),
    },
    Claim {
        id: "alignment",
        statement: "Pruning with alignment and fine-tuning is more accurate than without alignment: 78.8 against 75.4 % for ViM-S.",
        source: "arXiv 2409.18962, ViM-S on ImageNet",
        measured: "points by which the classifier tuned with kept gaps is ahead of the one tuned with closed gaps, each pruned its own way",
        scale: "as claim naive, each tuned for 14 s more",
        expected: [1.0, 100.0],
        unit: "points",
        tolerance: "A third of the published 3.4 points.",
        reproducible: false,
        why: "Of all 397 scenes 374 are right with closed and 367 with kept gaps (linearium prune --image test-set): tuning learns to do without either way. A digit, moreover, is still a digit when the gaps between its patches are closed; and “alignment” is read here as a decay by default steps, which the released code has no line of.",
        needs: || needs(&[TUNED_CLOSED, TUNED_KEPT]),
        measure: |bench| {
            points(
                bench,
                (TUNED_KEPT, Some(gaps_kept())),
                (TUNED_CLOSED, Some(closed())),
            )
        },
    },
    Claim {
        id: "alignment-untuned",
        statement: "Alignment helps even where nothing is tuned.",
        source: "arXiv 2409.18962, what keeping the position of pruned tokens would mean without tuning",
        measured: "points by which kept gaps are ahead of closed ones, classifier not tuned",
        scale: TRAINED,
        expected: [1.0, 100.0],
        unit: "points",
        tolerance: "As for claim alignment.",
        reproducible: false,
        why: "What is dropped here matters: even a random choice is right more often (claim better-than-random). And where it is redundant a state that decays over the gap forgets more than one that is held (claim crossover). Of all 397 scenes 286 are right with closed and 275 with kept gaps (linearium prune --image test-set).",
        needs: || needs(&[UNTUNED]),
        measure: |bench| {
            points(
                bench,
                (UNTUNED, Some(gaps_kept())),
                (UNTUNED, Some(closed())),
            )
        },
    },
    Claim {
        id: "clipped",
        statement: "The clipped sum is the best of four rules: clipped sum, sum, l1, l2.",
        source: "arXiv 2409.18962, ablation of the importance",
        measured: "points by which the clipped sum is ahead of the best other, after tuning with the clipped sum",
        scale: TRAINED,
        expected: [0.0, 100.0],
        unit: "points",
        tolerance: "Best or as good.",
        reproducible: false,
        why: "The classifier was tuned with the clipped sum alone, so the three others are at a disadvantage, which the paper's table has not; differences of a point are within a standard error of 200 scenes.",
        needs: || needs(&[TUNED_CLOSED]),
        measure: |bench| best_of_four(bench),
    },
    Claim {
        id: "better-than-random",
        statement: "Importance from the output keeps what matters: it beats a random choice.",
        source: "arXiv 2409.18962, which tokens are kept",
        measured: "points by which the clipped sum is ahead of a random choice, classifier not tuned",
        scale: TRAINED,
        expected: [0.0, 100.0],
        unit: "points",
        tolerance: "Ahead at all.",
        reproducible: false,
        why: "The rule needs a classifier that was tuned with it: then 374 of all 397 scenes are right (linearium prune --image test-set), untuned 286, and 332 with a random choice. A digit covers a third of the picture and more, so that a random half of the patches still shows all of its parts.",
        needs: || needs(&[UNTUNED]),
        measure: |bench| {
            points(
                bench,
                (UNTUNED, Some(closed())),
                (UNTUNED, Some(scored("random"))),
            )
        },
    },
    Claim {
        id: "true-gaps",
        statement: "A scan that keeps the gaps keeps the hidden attention of the tokens that stay.",
        source: "arXiv 2409.18962, aligned hidden states; exact for h = a h + b",
        measured: "drift of the weights of kept tokens, gaps kept with the steps of the dropped tokens, convolution and factors frozen",
        scale: LOOKED,
        expected: [0.0, 1e-6],
        unit: "",
        tolerance: "0 but for rounding.",
        reproducible: true,
        why: "",
        needs: || needs(&[UNTUNED]),
        measure: |bench| {
            drifts(bench, false, |d| {
                (d[2], "Kept with true steps the weights move by")
            })
        },
    },
    Claim {
        id: "default-gaps",
        statement: "Kept with default steps, the hidden attention drifts less than with closed gaps.",
        source: "arXiv 2409.18962, aligned hidden states, as we read them",
        measured: "drift with kept gaps over that with closed gaps, factors frozen",
        scale: LOOKED,
        expected: [0.0, 1.0],
        unit: "",
        tolerance: "Less at all.",
        reproducible: true,
        why: "",
        needs: || needs(&[UNTUNED]),
        measure: |bench| {
            drifts(bench, false, |d| {
                (
                    d[1] / d[0],
                    "Kept with default steps over closed, the drift is",
                )
            })
        },
    },
    Claim {
        id: "scan-alone",
        statement: "Aligning the scan is enough to align the hidden states.",
        source: "arXiv 2409.18962, everything outside of the scan runs on the kept tokens alone",
        measured: "drift with true gaps, convolution and factors of the kept tokens alone",
        scale: LOOKED,
        expected: [0.0, 0.1],
        unit: "",
        tolerance: "A tenth of the weights.",
        reproducible: false,
        why: "The convolution of width four in front of the scan sees other neighbours, and Δ, B and C come from what it gives: with them frozen the drift is 0 (claim true-gaps).",
        needs: || needs(&[UNTUNED]),
        measure: |bench| {
            drifts(bench, true, |d| {
                (
                    d[2],
                    "With factors of the kept tokens alone the weights move by",
                )
            })
        },
    },
    Claim {
        id: "crossover",
        statement: "Keeping gaps is right where what was dropped was empty, closing them where it was redundant.",
        source: "closed form of h = a h + b: a kept gap errs by the lost input alone, a closed one by the age of what is kept",
        measured: "the smaller of two ratios of readout errors: closed over kept on sparse events, kept over closed on a smooth signal",
        scale: "one channel of 16 states with rates 1 to 16, step 0.003, 98 of 196 tokens kept; drawn signals, 20 seeds",
        expected: [1.2, 1000.0],
        unit: "",
        tolerance: "Both ratios above 1 by a fifth.",
        reproducible: true,
        why: "",
        needs: nothing,
        measure: |_| Box::pin(async { Ok(synthetic::crossover()) }),
    },
    Claim {
        id: "time",
        statement: "Fewer operations are less time: the acceleration is practical.",
        source: "arXiv 2409.18962, throughput of pruned models",
        measured: "time of reading a scene with tokens dropped over that with all tokens, choice left out",
        scale: "digits-vim, 0.714 of the operations; the shortest of three for each of the first 8 test scenes, in turns",
        expected: [0.0, 0.95],
        unit: "",
        tolerance: "A twentieth less at all.",
        reproducible: false,
        why: "Where it does not hold the device was busy, or a GPU takes most of the time to begin its kernels, of which there are as many whatever is dropped.",
        needs: || needs(&[UNTUNED]),
        measure: |bench| time(bench),
    },
    Claim {
        id: "released",
        statement: "The released code keeps the patches that the paper describes.",
        source: "ZLKong/ToP-ViM b5bc231, vim/models_mamba.py, against arXiv 2409.18962",
        measured: "kept at the first step by both, over kept by either, classifier not tuned",
        scale: LOOKED,
        expected: [0.9, 1.0],
        unit: "",
        tolerance: "Nine tenths of the patches.",
        reproducible: false,
        why: "The code scores by the backward scan's output in its own order, so that number i is that of token T - 1 - i, and by sums that are not clipped. Two random choices of 157 of 197 share 0.66.",
        needs: || needs(&[UNTUNED]),
        measure: |bench| released(bench),
    },
];

fn schedule() -> Result<Measured, String> {
    let schedule = Schedule::top_vim();
    let counts = schedule.counts(197)?;
    let read = (0..24).map(|block| {
        let steps = schedule.steps().iter().filter(|s| s.layer <= block);
        counts[..steps.count()].last().copied().unwrap_or(197)
    });
    let share = read.sum::<usize>() as f64 / (24.0 * 197.0);
    Ok(Measured {
        value: share,
        words: format!("{counts:?} tokens are left after the steps."),
    })
}

type Side = (&'static str, Option<Way>);

/// Points by which one is ahead of the other.
fn points<'a>(bench: &'a Bench<'a>, one: Side, other: Side) -> Pending<'a, Measured> {
    Box::pin(async move {
        let mut right = Vec::new();
        for (model, way) in [one, other] {
            let mut reader = Reader::new(bench, model).await?;
            right.push(reader.right(way, SCENES).await?);
        }
        Ok(Measured {
            value: 100.0 * (right[0] as f64 - right[1] as f64) / SCENES as f64,
            words: format!(
                "{} and {} of {SCENES} scenes are classified right.",
                right[0], right[1]
            ),
        })
    })
}

fn best_of_four<'a>(bench: &'a Bench<'a>) -> Pending<'a, Measured> {
    Box::pin(async move {
        let mut reader = Reader::new(bench, TUNED_CLOSED).await?;
        let clipped = reader.right(Some(closed()), SCENES).await?;
        let mut others = Vec::new();
        for score in ["activation_sum", "activation_l1", "activation_l2"] {
            others.push(reader.right(Some(scored(score)), SCENES).await?);
        }
        let best = others.iter().copied().max().unwrap_or_default();
        Ok(Measured {
            value: 100.0 * (clipped as f64 - best as f64) / SCENES as f64,
            words: format!(
                "Right are {clipped} of {SCENES} with clipped sums, {} with sums, {} with l1 and {} with l2.",
                others[0], others[1], others[2]
            ),
        })
    })
}

/// Mean drifts over scenes.
fn drifts<'a>(
    bench: &'a Bench<'a>,
    own_factors: bool,
    pick: fn([f64; 3]) -> (f64, &'static str),
) -> Pending<'a, Measured> {
    Box::pin(async move {
        let mut reader = Reader::new(bench, UNTUNED).await?;
        let backbone = reader.backbone().clone();
        let mut mean = [0.0; 3];
        for n in 0..LOOKS {
            let image = scenes::of_test_set(n).image;
            let reading = reader.read(&image, Some(closed())).await?;
            let Some((block, kept)) = reading.steps.kept.first() else {
                return Err("nothing was dropped".to_owned());
            };
            let dense = reader.look(&image, *block, None, None).await?;
            let own = match own_factors {
                true => Some(reader.look(&image, *block, Some(kept), None).await?),
                false => None,
            };
            let scans = Scans {
                backbone: &backbone,
                block: *block,
                dense: &dense.scans,
                own: own.as_ref().map(|look| look.scans.as_slice()),
                kept,
                orders: 0..backbone.orders.len(),
            };
            let drifts = scans.maps().drifts;
            mean.iter_mut()
                .zip(drifts)
                .for_each(|(m, d)| *m += d / LOOKS as f64);
        }
        let (value, words) = pick(mean);
        Ok(Measured {
            value,
            words: format!(
                "{words} {}; with closed gaps by {}.",
                short(value),
                short(mean[0])
            ),
        })
    })
}

fn time<'a>(bench: &'a Bench<'a>) -> Pending<'a, Measured> {
    Box::pin(async move {
        let mut reader = Reader::new(bench, UNTUNED).await?;
        let mut sums = [0.0; 2];
        for n in 0..LOOKS {
            let image = scenes::of_test_set(n).image;
            let reading = reader.read(&image, Some(closed())).await?;
            let times = reader.times(&image, &reading).await?;
            sums.iter_mut().zip(times).for_each(|(sum, ms)| *sum += ms);
        }
        let [dense, pruned] = sums.map(|sum| sum / LOOKS as f64);
        if dense <= 0.0 {
            return Err("the clock of this device is too coarse to time a picture".to_owned());
        }
        Ok(Measured {
            value: pruned / dense,
            words: format!(
                "{} ms a scene, with all tokens {} ms.",
                short(pruned),
                short(dense)
            ),
        })
    })
}

fn released<'a>(bench: &'a Bench<'a>) -> Pending<'a, Measured> {
    Box::pin(async move {
        let mut reader = Reader::new(bench, UNTUNED).await?;
        let mut both = 0.0;
        for n in 0..LOOKS {
            let image = scenes::of_test_set(n).image;
            let mut kept = Vec::new();
            for way in [closed(), closed().as_released()] {
                let reading = reader.read(&image, Some(way)).await?;
                let mut first = reading
                    .steps
                    .kept
                    .first()
                    .map_or(Vec::new(), |s| s.1.clone());
                first.sort_unstable();
                kept.push(first);
            }
            both += jaccard(&kept[0], &kept[1]) / LOOKS as f64;
        }
        Ok(Measured {
            value: both,
            words: format!(
                "{} % of what either keeps at the first step both keep.",
                short(100.0 * both)
            ),
        })
    })
}
