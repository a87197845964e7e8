//! What the paper says of MoM, measured again.

use super::memories::{Router, Setting, store};
use super::{id_of, needs, one, same_state, trained};
use crate::exhibit::{Bench, Claim, Measured, Pending, nothing};
use crate::number::short;

const PAPER: &str = "arXiv 2502.13685, abstract";
const DRAWN: &str = "128 pairs, four memories of 32 by 32, one for a token, random router, sums; mean over 16 seeds; not trained";
const TRAINED: &str = "models of two layers of width 64, trained by tests/train/mom.py on 4 to 64 pairs: MoM for 900 steps of 32 texts, one memory for 1,322; first seed; 64 drawn texts of 256 tokens";
/// Texts that each trained model reads.
const TEXTS: usize = 64;
/// Seed of those texts, which differ from all of training.
const SEED: u64 = 500;
/// Pairs in them.
const ASKED: usize = 8;

pub static CLAIMS: [Claim; 6] = [
    Claim {
        id: "same-work",
        statement: "With several memories pairs interfere less than in one memory, for the same work a token.",
        source: PAPER,
        measured: "error of four memories over that of one of the same width",
        scale: DRAWN,
        expected: [0.45, 0.55],
        unit: "",
        tolerance: "The closed form is 1/√4: a memory holds a quarter of the pairs.",
        reproducible: true,
        why: "",
        needs: nothing,
        measure: |_| drawn(one),
    },
    Claim {
        id: "same-state",
        statement: "Several memories hold more than one memory of the same state.",
        source: "what “expanding the memory capacity” would mean at equal memory",
        measured: "error of four memories over that of one with keys four times as long",
        scale: DRAWN,
        expected: [0.0, 0.9],
        unit: "",
        tolerance: "Better by a tenth.",
        reproducible: false,
        why: "With a router that knows nothing of the pairs both errors are √(n / M d_k): routing buys what its state buys, at a fraction of the work. More could only come from a router that has learned which pairs must not meet.",
        needs: nothing,
        measure: |_| drawn(same_state),
    },
    Claim {
        id: "trained-same-work",
        statement: "MoM recalls more than a linear model with one memory.",
        source: "arXiv 2502.13685, recall-intensive tasks",
        measured: "recall of 8 pairs by MoM minus that by one memory that is as much work for a token",
        scale: TRAINED,
        expected: [0.05, f64::INFINITY],
        unit: "",
        tolerance: "More than two standard errors of 512 answers.",
        reproducible: false,
        why: "The training was too short for MoM: when the time of the GPU was over its loss was still falling, and of two seeds only the second had begun to recall (94 % of 4 pairs, 76 % of 8, in mom-recall.txt), while one memory had the task after 400 steps.",
        needs: || needs(&["mom", "cost"]),
        measure: |bench| difference(bench, "mom", "cost"),
    },
    Claim {
        id: "trained-same-state",
        statement: "The same against one memory with as large a state.",
        source: "arXiv 2502.13685, comparison at equal state, which the paper does not make for recall",
        measured: "recall of 8 pairs by MoM minus that by one square memory with the same state",
        scale: TRAINED,
        expected: [0.05, f64::INFINITY],
        unit: "",
        tolerance: "More than two standard errors of 512 answers.",
        reproducible: false,
        why: "As against one memory of the same work: MoM was still learning when its training ended. That routing alone buys no more than its state is measured in claim same-state.",
        needs: || needs(&["mom", "state"]),
        measure: |bench| difference(bench, "mom", "state"),
    },
    Claim {
        id: "learned-router",
        statement: "The router learns where to write.",
        source: "arXiv 2502.13685, routing is trained with the model",
        measured: "recall of 8 pairs by MoM minus that by MoM whose router was never trained",
        scale: TRAINED,
        expected: [0.02, f64::INFINITY],
        unit: "",
        tolerance: "More than one standard error of 512 answers.",
        reproducible: false,
        why: "A router learns from what is recalled, and the first seed recalls next to nothing yet. Of the second, whose numbers are in mom-recall.txt, 76 % of 8 pairs are recalled with the router learned and 70 % with it as drawn.",
        needs: || needs(&["mom", "frozen"]),
        measure: |bench| difference(bench, "mom", "frozen"),
    },
    Claim {
        id: "balance",
        statement: "Without the balance loss some memories are hardly used.",
        source: "arXiv 2502.13685, auxiliary loss; OpenSparseLLMs/MoM, load_balancing_loss_func",
        measured: "share of the tokens of the busiest memory without balance loss over that with it, in the second layer",
        scale: TRAINED,
        expected: [1.2, f64::INFINITY],
        unit: "",
        tolerance: "Busier by a fifth.",
        reproducible: true,
        why: "",
        needs: || needs(&["mom", "unbalanced"]),
        measure: |bench| {
            Box::pin(async move {
                let mut busiest = Vec::new();
                for kind in ["mom", "unbalanced"] {
                    let answers = trained::ask(bench, &id_of(kind), ASKED, TEXTS, 1, SEED).await?;
                    busiest.push(answers.load.iter().copied().fold(0.0, f64::max));
                }
                Ok(Measured {
                    value: busiest[1] / busiest[0],
                    words: format!(
                        "The busiest of eight memories gets {} % of the tokens with and {} % without balance loss; 25 % would be even.",
                        short(100.0 * busiest[0]),
                        short(100.0 * busiest[1]),
                    ),
                })
            })
        },
    },
];

fn drawn<'a>(other: fn(Setting) -> Setting) -> Pending<'a, Measured> {
    Box::pin(async move {
        let four = Setting {
            pairs: 128,
            memories: 4,
            top: 1,
            width: 32,
            values: 32,
            decay: 1.0,
            temperature: 1.0,
            router: Router::Random,
            shared: false,
            delta: false,
            likeness: 0.0,
            seed: 0,
        };
        let mean = |s: Setting| {
            let all = (0..16).map(|seed| store(&Setting { seed, ..s }).error());
            all.sum::<f64>() / 16.0
        };
        let (ours, theirs) = (mean(four), mean(other(four)));
        Ok(Measured {
            value: ours / theirs,
            words: format!(
                "The error is {} with four memories and {} with one.",
                short(ours),
                short(theirs)
            ),
        })
    })
}

fn difference<'a>(
    bench: &'a Bench<'a>,
    ours: &'static str,
    theirs: &'static str,
) -> Pending<'a, Measured> {
    Box::pin(async move {
        let a = trained::ask(bench, &id_of(ours), ASKED, TEXTS, 1, SEED)
            .await?
            .recall;
        let b = trained::ask(bench, &id_of(theirs), ASKED, TEXTS, 1, SEED)
            .await?
            .recall;
        Ok(Measured {
            value: a - b,
            words: format!(
                "{} % of {ASKED} pairs are recalled, against {} %.",
                short(100.0 * a),
                short(100.0 * b)
            ),
        })
    })
}
