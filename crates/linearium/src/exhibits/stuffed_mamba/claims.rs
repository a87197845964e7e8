//! What the paper says of state collapse and state capacity, measured again.

use super::laws::{self, Laws};
use super::reading::{Mitigation, Study, tokens};
use super::{drawn, family, mean, mean32, member, needs};
use crate::exhibit::{Bench, Claim, Measured, Pending, nothing};
use crate::lab::Need;
use crate::number::short;
use crate::probes::passkey::DEPTHS;

const MODEL: &str = "mamba2-passkey-t128";
const CONTRAST: &str = "mamba2-text-t1024";
const PAPER: &str = "arXiv 2410.07145 v1";
const SHIPPED: &str = "mamba2-passkey-t128 (0.9 M parameters, trained at 128 tokens) on the first 4,096 bytes of the held-out text";
const FAMILY: &str = "25 Mamba-2 models of 76,000 to 100,000 parameters, states of 1,840 to 17,200 elements, trained at 64 to 1,024 bytes with 10 million bytes each (tests/train/stuffed.py)";
const LONG: usize = 4096;

pub static CLAIMS: [Claim; 11] = [
    Claim {
        id: "collapse",
        statement: "Behind the training length the loss of a model that never learnt to forget rises.",
        source: "arXiv 2410.07145, figure of loss by position; analysis/eval_per_token.py",
        measured: "loss at 2,048 to 4,096 minus that at 64 to 128, both less the loss of a model trained at 1,024 on the same bytes",
        scale: SHIPPED,
        expected: [0.2, f64::INFINITY],
        unit: "nats",
        tolerance: "Far more than texts differ, since the other model read the same.",
        reproducible: true,
        why: "",
        needs: both,
        measure: |bench| Box::pin(collapse(bench)),
    },
    Claim {
        id: "state-grows",
        statement: "On newlines alone the variance of a head's state explodes behind the training length.",
        source: "arXiv 2410.07145, states of mamba2-370m at 8K and 20K; analysis/analyze_states.py",
        measured: "largest growth over all heads of the variance of the entries, from the training length to 2.5 times it",
        scale: "mamba2-passkey-t128, 320 newlines, 18 heads",
        expected: [10.0, f64::INFINITY],
        unit: "",
        tolerance: "Tenfold, as the paper's histogram at 20K over 8K shows.",
        reproducible: false,
        why: "The model has not seen newlines alone in training and gives them steps of other sizes than text; the heads that hardly decay grow like the square of the length, which from 128 to 320 tokens is sixfold.",
        needs: shipped,
        measure: |bench| Box::pin(growth(bench, 320)),
    },
    Claim {
        id: "state-grows-on",
        statement: "The state goes on filling as long as the text lasts.",
        source: "arXiv 2410.07145, the same figures",
        measured: "the same to 16 times the training length",
        scale: "mamba2-passkey-t128, 2,048 newlines, 18 heads",
        expected: [10.0, f64::INFINITY],
        unit: "",
        tolerance: "Tenfold.",
        reproducible: true,
        why: "",
        needs: shipped,
        measure: |bench| Box::pin(growth(bench, 2048)),
    },
    Claim {
        id: "forget-more",
        statement: "Forgetting more without any training brings the loss back.",
        source: "arXiv 2410.07145, first mitigation",
        measured: "loss at 2,048 to 4,096 unchanged minus that with every decay times 0.99",
        scale: SHIPPED,
        expected: [0.1, f64::INFINITY],
        unit: "nats",
        tolerance: "Half of the collapse at least.",
        reproducible: true,
        why: "",
        needs: shipped,
        measure: |bench| {
            gain(
                bench,
                Mitigation::Forget {
                    decay: 0.99,
                    write: 1.0,
                },
            )
        },
    },
    Claim {
        id: "normalise",
        statement: "So does capping the norm of the state.",
        source: "arXiv 2410.07145, second mitigation",
        measured: "loss at 2,048 to 4,096 unchanged minus that with the norm capped at its value after 128 tokens",
        scale: SHIPPED,
        expected: [0.1, f64::INFINITY],
        unit: "nats",
        tolerance: "As for forgetting.",
        reproducible: true,
        why: "",
        needs: shipped,
        measure: |bench| gain(bench, Mitigation::Normalise(128)),
    },
    Claim {
        id: "window",
        statement: "So does a sliding window by the difference of two states.",
        source: "arXiv 2410.07145, third mitigation; the released plot of it is drawn from random numbers and no code for it is released",
        measured: "loss at 2,048 to 4,096 unchanged minus that with the state of the last 128 tokens",
        scale: SHIPPED,
        expected: [0.1, f64::INFINITY],
        unit: "nats",
        tolerance: "As for forgetting.",
        reproducible: true,
        why: "",
        needs: shipped,
        measure: |bench| gain(bench, Mitigation::Window(128)),
    },
    Claim {
        id: "window-exact",
        statement: "The difference of two states is exactly the state of the tokens between them.",
        source: "arXiv 2410.07145, third mitigation",
        measured: "relative difference to the state of the last 512 tokens alone, states in single precision",
        scale: "a drawn head, 4,096 tokens, decay 0.9999, 16 by 8",
        expected: [0.0, 1e-4],
        unit: "",
        tolerance: "Rounding, which grows with the state over the window's state.",
        reproducible: true,
        why: "",
        needs: nothing,
        measure: |_| {
            Box::pin(async {
                let head = drawn::Head {
                    decay: 0.9999,
                    key: 16,
                    value: 8,
                    length: LONG,
                    cap_at: 512,
                    window: 512,
                };
                let value = head.run().window_error;
                let words = format!("They differ by {value:.1e} of the window's state.");
                Ok(Measured { value, words })
            })
        },
    },
    Claim {
        id: "recall-price",
        statement: "What forgetting more costs is recall.",
        source: "arXiv 2410.07145, discussion of the mitigations",
        measured: "share of passkey digits found in 256 tokens, unchanged minus with every decay times 0.99",
        scale: "mamba2-passkey-t128, 6 texts for each of five depths, 150 digits",
        expected: [0.1, f64::INFINITY],
        unit: "",
        tolerance: "More than two standard errors of 150 digits.",
        reproducible: true,
        why: "",
        needs: shipped,
        measure: |bench| Box::pin(price(bench)),
    },
    Claim {
        id: "training-length",
        statement: "A model trained on longer texts forgets in time: it does not collapse.",
        source: "arXiv 2410.07145, retraining at longer lengths",
        measured: "excess loss at 4,096 to 8,192 of the models trained at 64 minus that of the models trained at 512, mean over five state sizes",
        scale: FAMILY,
        expected: [0.02, f64::INFINITY],
        unit: "nats",
        tolerance: "Above the noise of single models, about 0.01.",
        reproducible: true,
        why: "",
        needs: ends,
        measure: |bench| Box::pin(training_length(bench)),
    },
    Claim {
        id: "forgetting-law",
        statement: "The training length from which on a model forgets grows in proportion to its state.",
        source: "arXiv 2410.07145: T = 5.172 N − 4.469 (thousands of tokens, millions of elements), R² > 0.999",
        measured: "slope of the fitted line over its standard error",
        scale: FAMILY,
        expected: [2.0, f64::INFINITY],
        unit: "",
        tolerance: "Two standard errors above zero.",
        reproducible: false,
        why: "All our states are small: the published line is below zero under 0.86 million elements, and ours have at most 0.017 million. Here every model trained at 256 bytes forgets and every one trained at 64 does not, whatever its state.",
        needs: table,
        measure: |bench| {
            Box::pin(async move {
                let laws = Laws::new(laws::members(&bench.text("mamba2-family")?)?);
                law(
                    laws.forget_fit(),
                    laws.forget.len(),
                    "tokens for a thousand elements",
                )
            })
        },
    },
    Claim {
        id: "capacity-law",
        statement: "The longest text from which a passkey is recalled grows with the state, faster than in proportion.",
        source: "arXiv 2410.07145: T = 4.756 (1.365^N − 1) − 0.742 (thousands of tokens, millions of elements)",
        measured: "slope of ln T over the state over its standard error",
        scale: FAMILY,
        expected: [2.0, f64::INFINITY],
        unit: "",
        tolerance: "Two standard errors above zero: a growth, not the published constant, which belongs to states a thousand times as large.",
        reproducible: true,
        why: "",
        needs: table,
        measure: |bench| {
            Box::pin(async move {
                let laws = Laws::new(laws::members(&bench.text("mamba2-family")?)?);
                let mut out = law(
                    laws.recall_exponential(),
                    laws.recall.len(),
                    "of ln T for a thousand elements",
                )?;
                if let Some((e, p)) = laws.recall_exponential().zip(laws.recall_power()) {
                    out.words += &format!(
                        " An exponential explains {} of the variance of ln T, a power of the state (exponent {} ± {}) {}.",
                        short(e.r2),
                        short(p.slope),
                        short(p.error),
                        short(p.r2),
                    );
                }
                Ok(out)
            })
        },
    },
];

fn shipped() -> Vec<Need> {
    needs(MODEL)
}

fn both() -> Vec<Need> {
    let mut all = needs(MODEL);
    all.extend(needs(CONTRAST).into_iter().take(1));
    all
}

/// The family's models trained at the shortest length and at 512.
fn ends() -> Vec<Need> {
    let mut all = table();
    for (state, length) in family().filter(|(_, t)| [64, 512].contains(t)) {
        all.push(Need {
            kind: "model",
            id: member(state, length),
        });
    }
    all
}

fn table() -> Vec<Need> {
    needs(MODEL)
        .into_iter()
        .filter(|n| n.kind == "text")
        .collect()
}

fn law(fit: Option<laws::Fit>, models: usize, unit: &str) -> Result<Measured, String> {
    let fit = fit.ok_or("too few models of the family came out for a fit")?;
    Ok(Measured {
        value: fit.slope / fit.error,
        words: format!(
            "The slope is {} ± {} {unit}, from {models} states and seeds; R² is {}.",
            short(fit.slope),
            short(fit.error),
            short(fit.r2)
        ),
    })
}

async fn study(
    bench: &Bench<'_>,
    model: &str,
    input: &str,
    length: usize,
    layer: usize,
) -> Result<Study, String> {
    let stack = bench.model(model)?;
    let tokens = tokens(&stack, input, &bench.text("heldout")?, length);
    Study::new(stack, tokens, layer)
}

async fn losses(
    bench: &Bench<'_>,
    model: &str,
    mitigation: Mitigation,
) -> Result<Vec<f32>, String> {
    let study = study(bench, model, "text", LONG, 0).await?;
    Ok(study.read(bench, mitigation).await?.losses)
}

async fn collapse(bench: &Bench<'_>) -> Result<Measured, String> {
    let ours = losses(bench, MODEL, Mitigation::None).await?;
    let theirs = losses(bench, CONTRAST, Mitigation::None).await?;
    let over = |from: usize, to: usize| {
        let to = to.min(ours.len());
        mean32(&ours[from..to]) - mean32(&theirs[from..to])
    };
    let (near, far) = (over(64, 128), over(2048, 4096));
    Ok(Measured {
        value: far - near,
        words: format!(
            "Over the contrast the loss is {} nats at 64 to 128 and {} at 2,048 to 4,096.",
            short(near),
            short(far)
        ),
    })
}

async fn growth(bench: &Bench<'_>, length: usize) -> Result<Measured, String> {
    let mut all = Vec::new();
    let layers = bench.model(MODEL)?.blocks.len();
    for layer in 0..layers {
        let study = study(bench, MODEL, "newlines", length, layer).await?;
        let reading = study.read(bench, Mitigation::None).await?;
        for head in study.by_memory(&reading) {
            all.push((study.growth(&reading, head), layer, head));
        }
    }
    let most = all
        .iter()
        .fold(all[0], |m, x| if x.0 > m.0 { *x } else { m });
    let grown = all.iter().filter(|x| x.0 >= 10.0).count();
    Ok(Measured {
        value: most.0,
        words: format!(
            "Head {} of layer {} grows {} times; {grown} of {} heads grow tenfold.",
            most.2,
            most.1,
            short(most.0),
            all.len()
        ),
    })
}

fn gain<'a>(bench: &'a Bench<'a>, mitigation: Mitigation) -> Pending<'a, Measured> {
    Box::pin(async move {
        let plain = losses(bench, MODEL, Mitigation::None).await?;
        let changed = losses(bench, MODEL, mitigation).await?;
        let [a, b] = [plain, changed].map(|l| mean32(&l[LONG / 2..]));
        Ok(Measured {
            value: a - b,
            words: format!(
                "The loss is {} nats unchanged and {} with it.",
                short(a),
                short(b)
            ),
        })
    })
}

async fn price(bench: &Bench<'_>) -> Result<Measured, String> {
    let study = study(bench, MODEL, "text", 256, 0).await?;
    let text = bench.text("heldout")?;
    let mut found = Vec::new();
    for mitigation in [
        Mitigation::None,
        Mitigation::Forget {
            decay: 0.99,
            write: 1.0,
        },
    ] {
        let grid = study.grid(bench, &text, 6, mitigation).await?;
        found.push(grid.last().map_or(f64::NAN, |row| mean(row)));
    }
    Ok(Measured {
        value: found[0] - found[1],
        words: format!(
            "{} % of the digits are found unchanged, {} % with the factor, over {} depths.",
            short(100.0 * found[0]),
            short(100.0 * found[1]),
            DEPTHS.len()
        ),
    })
}

async fn training_length(bench: &Bench<'_>) -> Result<Measured, String> {
    let mut sums = [0.0; 2];
    for (sum, length) in sums.iter_mut().zip([64, 512]) {
        for (state, _) in family().filter(|(_, t)| *t == length) {
            let study = study(bench, &member(state, length), "text", 8192, 0).await?;
            *sum += study.excess(bench, LONG).await? / laws::STATES.len() as f64;
        }
    }
    Ok(Measured {
        value: sums[0] - sums[1],
        words: format!(
            "The excess is {} nats for models trained at 64 bytes and {} for those trained at 512. {PAPER} names no such number.",
            short(sums[0]),
            short(sums[1])
        ),
    })
}
