//! What the paper says of one scan, measured again.

use super::layers::Options;
use super::reach;
use crate::exhibit::{Bench, Claim, Measured, Pending, nothing};
use crate::number::short;

const PAPER: &str = "arXiv 2405.21022, abstract: one scan instead of several";

fn usual(side: usize) -> Options {
    Options {
        side,
        decay: 0.9,
        logit_scale: 1.0,
        tpe: false,
        lrpe: false,
        phantom: false,
        shuffled: false,
        seed: 1,
    }
}

pub static CLAIMS: [Claim; 6] = [
    Claim {
        id: "one-scan-sees-all",
        statement: "One additive scan gives every pixel the whole image.",
        source: PAPER,
        measured: "smallest share of the image, over all pixels, whose weight is above 1/1000 of the largest",
        scale: "24 x 24 pixels, 2 heads of 16 keys, logits of standard deviation 1, seed 1",
        expected: [99.0, 100.0],
        unit: "%",
        tolerance: "All pixels but a few whose logits are very low.",
        reproducible: true,
        why: "",
        needs: nothing,
        measure: |_| {
            Box::pin(async {
                let options = usual(24);
                let logits = options.inputs(None).logits;
                // Without positions all pixels read the same state.
                let value = 100.0 * reach::coverage(&reach::additive(&options, &logits, 0));
                let words = format!("Every pixel sees {} % of the image.", short(value));
                Ok(Measured { value, words })
            })
        },
    },
    Claim {
        id: "one-decaying-scan",
        statement: "A multiplicative scan needs more than one pass: it sees only what came before, and forgets that.",
        source: PAPER,
        measured: "share of the image that a pixel sees, averaged over all pixels, one scan with a decay of 0.9",
        scale: "24 x 24 pixels, weights above 1/1000 of the largest",
        expected: [0.0, 50.0],
        unit: "%",
        tolerance: "Less than the half that comes before a pixel on average.",
        reproducible: true,
        why: "",
        needs: nothing,
        measure: |_| seen_by_scans(1),
    },
    Claim {
        id: "four-decaying-scans",
        statement: "With decay even four directions do not see the whole image.",
        source: "follows from the paper's argument; measured for this page",
        measured: "the same with four scans",
        scale: "24 x 24 pixels, weights above 1/1000 of the largest",
        expected: [0.0, 90.0],
        unit: "%",
        tolerance: "Clearly less than the whole.",
        reproducible: true,
        why: "",
        needs: nothing,
        measure: |_| seen_by_scans(4),
    },
    Claim {
        id: "order-does-not-matter",
        statement: "The additive recurrence gives the same for every order of the pixels.",
        source: "arXiv 2405.21022, the recurrence as a softmax over time",
        measured: "relative RMS change of the output when the pixels are shuffled and put back, without positions",
        scale: "24 x 24 pixels, seed 1, played by the kernels in f32",
        expected: [0.0, 1e-5],
        unit: "",
        tolerance: "Sums of f32 in another order.",
        reproducible: true,
        why: "",
        needs: nothing,
        measure: |bench| changed(bench, usual(24)),
    },
    Claim {
        id: "positions-give-order-back",
        statement: "Relative positions (MD-LRPE) tell the layer where pixels stand.",
        source: "arXiv 2405.21022, multi-dimensional position encodings",
        measured: "the same change with MD-LRPE",
        scale: "24 x 24 pixels, seed 1, played by the kernels in f32",
        expected: [0.05, f64::INFINITY],
        unit: "",
        tolerance: "Far above the rounding of the claim before.",
        reproducible: true,
        why: "",
        needs: nothing,
        measure: |bench| {
            changed(
                bench,
                Options {
                    lrpe: true,
                    ..usual(24)
                },
            )
        },
    },
    Claim {
        id: "time-of-scans",
        statement: "Scanning once is faster than scanning four times.",
        source: PAPER,
        measured: "time of four multiplicative scans over that of the one additive scan",
        scale: "40 x 40 pixels, 2 heads of 16 keys and 64 values, shortest of 3 rounds, projections left out",
        expected: [1.2, f64::INFINITY],
        unit: "",
        tolerance: "Above 1 by more than the noise of a busy machine; by operations the ratio is 3.9.",
        reproducible: false,
        why: "It is a time on this device and differs from run to run: the additive scan also takes a running softmax, with exponentials for every key, and a second pass that reads the state, and on a GPU with little to do every pass costs the same.",
        needs: nothing,
        measure: times,
    },
];

fn seen_by_scans<'a>(scans: usize) -> Pending<'a, Measured> {
    Box::pin(async move {
        let options = usual(24);
        let all = (0..options.tokens())
            .map(|i| reach::coverage(&reach::multiplicative(&options, scans, i)));
        let value = 100.0 * all.sum::<f64>() / options.tokens() as f64;
        let words = format!("On average a pixel sees {} % of the image.", short(value));
        Ok(Measured { value, words })
    })
}

fn changed<'a>(bench: &'a Bench<'a>, options: Options) -> Pending<'a, Measured> {
    Box::pin(async move {
        let usual = options.play(bench, 0, &options.inputs(None)).await?;
        let value = options.change_under_permutation(bench, 0, &usual).await?;
        let words = format!("The output changes by {} of its size.", short(value));
        Ok(Measured { value, words })
    })
}

fn times<'a>(bench: &'a Bench<'a>) -> Pending<'a, Measured> {
    Box::pin(async move {
        let options = usual(40);
        let inputs = options.inputs(None);
        let (_, once) = options.time(bench, 0, &inputs).await?;
        let (_, four) = options.time(bench, 4, &inputs).await?;
        Ok(Measured {
            value: four / once,
            words: format!("{} ms against {} ms.", short(four), short(once)),
        })
    })
}
