//! What the paper says of LongMamba, measured again.

use super::heads::{Filter, Study};
use super::rules::Rule;
use super::synthetic::Steps;
use super::{mean, needs};
use crate::exhibit::{Bench, Claim, Measured, Pending, nothing};
use crate::number::short;
use crate::probes::filter::{CLAMPED_SHARE, GLOBAL_DECAY};

const MODEL: &str = "mamba2-passkey-t128";
const LENGTH: usize = 1024;
const TRAINED_SCALE: &str = "mamba2-passkey-t128 (0.9 M parameters, trained at 128 tokens), held-out text read to 1,024 tokens, eight times the training length";

pub static CLAIMS: [Claim; 7] = [
    Claim {
        id: "unfiltered-sum",
        statement: "Beyond the training length the steps of a channel sum to more than training ever had, in proportion to the length.",
        source: "arXiv 2504.16053, the cause that the paper names",
        measured: "sum of the steps at S = 8 L₀ over their sum at L₀",
        scale: "16,000 steps drawn as softplus(N(-4, 1)), five windows of 2,000",
        expected: [7.0, 9.0],
        unit: "",
        tolerance: "Eight times, within the noise of heavy tails.",
        reproducible: true,
        why: "",
        needs: nothing,
        measure: |_| {
            drawn(0.0, |s| {
                (
                    s.unfiltered,
                    format!("The steps sum to {} budgets.", short(s.unfiltered)),
                )
            })
        },
    },
    Claim {
        id: "budget",
        statement: "After the filter the steps at length S sum to about what they summed to in training.",
        source: "GATECH-EIC/LongMamba, load_align_target.py: the name and rule of the calibration",
        measured: "sum of the kept steps at S = 8 L₀ over the budget, nothing clamped",
        scale: "16,000 steps drawn as softplus(N(-4, 1)), five windows of 2,000",
        expected: [0.9, 1.1],
        unit: "",
        tolerance: "Within 10 %: thresholds are means over windows.",
        reproducible: true,
        why: "",
        needs: nothing,
        measure: |_| {
            drawn(0.0, |s| {
                (
                    s.spent,
                    format!(
                        "The kept steps spend {} of the budget, with {} % of the tokens: far fewer than the eighth that S / L₀ suggests.",
                        short(s.spent),
                        short(100.0 * s.kept_share)
                    ),
                )
            })
        },
    },
    Claim {
        id: "budget-clamped",
        statement: "The same with the largest 5 % of the steps clamped, as the paper sets it for Mamba-2.",
        source: "arXiv 2504.16053; GATECH-EIC/LongMamba, load_align_target.py",
        measured: "sum of the kept steps at S = 8 L₀ over the budget of clamped windows",
        scale: "16,000 steps drawn as softplus(N(-4, 1)), five windows of 2,000",
        expected: [0.9, 1.1],
        unit: "",
        tolerance: "As without clamping.",
        reproducible: false,
        why: "Clamping makes a plateau of 5 % equal values, whose sum over 8 L₀ tokens alone exceeds the budget; the threshold then is the plateau's height, and all steps above it, unclamped when the text is read, are kept: 5 % of the tokens instead of 2 %.",
        needs: nothing,
        measure: |_| {
            drawn(CLAMPED_SHARE, |s| {
                (
                    s.spent,
                    format!(
                        "The kept steps spend {} budgets, with {} % of the tokens.",
                        short(s.spent),
                        short(100.0 * s.kept_share)
                    ),
                )
            })
        },
    },
    Claim {
        id: "receptive-field",
        statement: "The filter enlarges the receptive fields of global channels.",
        source: "arXiv 2504.16053, abstract",
        measured: "mean distance with the filter over that without, at S, in those global heads that leave less than half of a write in training",
        scale: TRAINED_SCALE,
        expected: [1.5, f64::INFINITY],
        unit: "",
        tolerance: "By more than half: the paper shows maps and names no number.",
        reproducible: true,
        why: "",
        needs: files,
        measure: |bench| {
            Box::pin(async move {
                let fields = fields(bench).await?;
                let fading: Vec<_> = fields.iter().filter(|(left, _)| *left < 0.5).collect();
                let ratio = |(_, f): &&(f64, [f64; 3])| f[2] / f[1];
                Ok(Measured {
                    value: fading.iter().map(ratio).sum::<f64>() / fading.len() as f64,
                    words: in_words(&fields),
                })
            })
        },
    },
    Claim {
        id: "receptive-field-proportional",
        statement: "They reach as much further as the text is longer.",
        source: "what keeping the product of decays at its value in training suggests",
        measured: "mean distance at S with the filter over S / L₀ times that at L₀, mean over the global heads",
        scale: TRAINED_SCALE,
        expected: [0.8, f64::INFINITY],
        unit: "",
        tolerance: "At least 80 % of what a field that grows with the text would have.",
        reproducible: false,
        why: "The kept tokens of a head are not spread evenly: the table of the exhibit shows heads that grow eightfold beside one that hardly grows, since its last tokens are among those that it keeps. The clamped calibration also lets a head spend more than its budget (claim budget-clamped), which is decay again.",
        needs: files,
        measure: |bench| {
            Box::pin(async move {
                let fields = fields(bench).await?;
                let times = LENGTH as f64 / 128.0;
                let shares = fields.iter().map(|(_, f)| f[2] / (times * f[0]));
                Ok(Measured {
                    value: shares.sum::<f64>() / fields.len() as f64,
                    words: in_words(&fields),
                })
            })
        },
    },
    Claim {
        id: "loss",
        statement: "Perplexity beyond the training length is lower with the filter.",
        source: "arXiv 2504.16053, language modelling on PG-19",
        measured: "loss of the last half of the text without the filter minus that with it",
        scale: TRAINED_SCALE,
        expected: [0.02, f64::INFINITY],
        unit: "nats",
        tolerance: "More than the noise between places of the text.",
        reproducible: true,
        why: "",
        needs: files,
        measure: |bench| {
            Box::pin(async move {
                let mut study = study(bench, LENGTH, 0).await?;
                let before = study.read(bench, 0, false).await?;
                study.choose(&before);
                let after = study.read(bench, 0, true).await?;
                let [a, b] = [before, after].map(|r| mean(&r.losses[LENGTH / 2..]));
                Ok(Measured {
                    value: a - b,
                    words: format!(
                        "The loss is {} nats without and {} with the filter.",
                        short(a),
                        short(b)
                    ),
                })
            })
        },
    },
    Claim {
        id: "recall",
        statement: "Retrieval from texts longer than training gets better.",
        source: "arXiv 2504.16053, LongBench-E and RULER, of which the passkey is the simplest case",
        measured: "share of passkey digits found with the filter minus without, at eight times the training length",
        scale: "mamba2-passkey-t128, 1,024 tokens, 4 texts for each of five depths, 100 digits",
        expected: [0.05, f64::INFINITY],
        unit: "",
        tolerance: "More than one standard error of 100 digits.",
        reproducible: true,
        why: "",
        needs: files,
        measure: |bench| {
            Box::pin(async move {
                let study = study(bench, LENGTH, 0).await?;
                let text = bench.text("heldout")?;
                let without = study.recall(bench, &text, 4, false).await?;
                let with = study.recall(bench, &text, 4, true).await?;
                Ok(Measured {
                    value: with - without,
                    words: format!(
                        "{} % of the digits are found without and {} % with the filter.",
                        short(100.0 * without),
                        short(100.0 * with)
                    ),
                })
            })
        },
    },
];

fn files() -> Vec<crate::lab::Need> {
    needs(MODEL)
}

fn drawn<'a>(clamped: f64, of: fn(&Steps) -> (f64, String)) -> Pending<'a, Measured> {
    Box::pin(async move {
        let (value, words) = of(&Steps::new(-4.0, 1.0, clamped, 8.0));
        Ok(Measured { value, words })
    })
}

async fn study(bench: &Bench<'_>, length: usize, place: usize) -> Result<Study, String> {
    let published = Filter {
        rule: Rule::Threshold,
        log_theta: GLOBAL_DECAY.ln(),
        clamped: CLAMPED_SHARE,
        lookup: |length, _| length,
    };
    let text = bench.text("heldout")?;
    Study::new(bench, bench.model(MODEL)?, &text, place, length, published).await
}

/// For each global head of all layers: what it leaves of a write after the training length, and its
/// mean distances at the training length, at S, and at S with the filter.
async fn fields(bench: &Bench<'_>) -> Result<Vec<(f64, [f64; 3])>, String> {
    let study = study(bench, LENGTH, 0).await?;
    let mut fields = Vec::new();
    for layer in 0..study.heads.len() {
        let before = study.read(bench, layer, false).await?;
        let reaches = study.reaches(&before, layer);
        for h in study.heads[layer].iter().filter(|h| h.global) {
            fields.push((h.log_left.exp(), reaches[h.head]));
        }
    }
    Ok(fields)
}

fn in_words(fields: &[(f64, [f64; 3])]) -> String {
    let mean = |i: usize| fields.iter().map(|(_, f)| f[i]).sum::<f64>() / fields.len() as f64;
    format!(
        "Over {} global heads the mean distance is {} tokens at the training length, {} at {LENGTH} tokens and {} there with the filter.",
        fields.len(),
        short(mean(0)),
        short(mean(1)),
        short(mean(2)),
    )
}
