//! Tokens of a picture are taken out of scans that run over it in several orders: which ones, and
//! what their gaps do to what the scans remember.

#[path = "top_vim/claims.rs"]
mod claims;
#[path = "top_vim/drawn.rs"]
mod drawn;
#[path = "top_vim/measure.rs"]
mod measure;
#[path = "top_vim/memory.rs"]
mod memory;
#[path = "top_vim/synthetic.rs"]
mod synthetic;

use crate::exhibit::declared::{control, measured, number, one_of, symbol, table, whole, word};
use crate::exhibit::{Act, BACKEND, Bench, Exhibit, Paper, Pending, Shown, Step};
use crate::lab::Need;
use crate::model::image::scenes::{self, Background};
use crate::model::image::{Grey, Reading};
use crate::number::short;
use crate::pruning::DropMode;
use crate::pruning::agreement::jaccard;
use crate::settings::{Property, Settings, choice};
use crate::views::{Cell, Drawing, Table};
use drawn::Scans;
use measure::{Reader, Way, When, relative};

/// The exhibit.
pub static EXHIBIT: Exhibit = Exhibit {
    slug: "top_vim",
    title: "ToP-ViM",
    see: "The same patches are kept, and three different memories: what a scan forgets in the gaps that dropped patches leave.",
    paper: Some(Paper {
        arxiv: "2409.18962",
        year: 2024,
        authors: "Zhan et al.",
        title: "Exploring Token Pruning in Vision State Space Models",
    }),
    controls: &[
        control(
            "background",
            "Background",
            "image",
            one_of(&[
                choice("empty", "Empty"),
                choice("redundant", "Smooth (redundant)"),
            ]),
            "empty",
            "What the dropped patches hold: nothing, or what their neighbours say as well.",
        ),
        control(
            "scene",
            "Scene",
            "image",
            whole(0, 1000, false),
            "3",
            "Seed of the picture: a digit among pieces of other digits.",
        ),
        control(
            "model",
            "Classifier",
            "image",
            one_of(&[
                choice("digits-vim", "ViM, never pruned in training"),
                choice("digits-vim-gather", "ViM, tuned while gaps were closed"),
                choice("digits-vim-decay", "ViM, tuned while gaps were kept"),
                choice("digits-plain", "Four snakes, as PlainMamba"),
            ]),
            "digits-vim",
            "14 by 14 patches; ViM has two directions and a class token in the middle, the other four snake orders and none.",
        ),
        control(
            "keep",
            "Share that a step keeps",
            "pruning",
            number(0.2, 1.0, false),
            "0.8",
            "Of the patches that are left at each step.",
        ),
        control(
            "steps",
            "Steps",
            "pruning",
            one_of(&[
                choice("published", "Three, as published"),
                choice("early", "The first alone"),
                choice("late", "The last alone"),
            ]),
            "published",
            "Tokens are dropped at a fifth, two fifths and five eighths of the depth.",
        ),
        control(
            "score",
            "Importance",
            "pruning",
            one_of(&[
                choice("activation_clip", "Clipped sum of the output"),
                choice("activation_sum", "Sum of the output"),
                choice("activation_l1", "l1 norm of the output"),
                choice("activation_l2", "l2 norm of the output"),
                choice("step_size", "Step size"),
                choice("stride", "Even stride"),
                choice("random", "Random"),
            ]),
            "activation_clip",
            "What is kept: the patches with the highest score. The paper clips; the released code sums.",
        ),
        Property {
            when: &["score=random"],
            ..control(
                "seed",
                "Seed of the draw",
                "pruning",
                whole(0, 1000, false),
                "0",
                "Which random patches are kept.",
            )
        },
        control(
            "gaps",
            "Gaps",
            "pruning",
            one_of(&[
                choice("gather", "Closed (alignment off)"),
                choice("hold", "State held"),
                choice("decay-default", "Kept (alignment on)"),
                choice("mask", "Masked, nothing saved"),
            ]),
            "gather",
            "What a dropped patch does to the state: it is not there; the state stays; the state decays as at an empty patch; it is there as zeros.",
        ),
        control(
            "as",
            "ToP-ViM",
            "pruning",
            one_of(&[
                choice("described", "As described"),
                choice("released", "As released"),
            ]),
            "described",
            "The released code scores by the backward scan from its wrong end, moves the class token to the middle of what is kept, and has no alignment.",
        ),
        control(
            "scan",
            "Scans looked at",
            "memory",
            one_of(&[
                choice("all", "All"),
                choice("first", "The first alone"),
                choice("last", "The last alone"),
            ]),
            "all",
            "Of the block at which tokens are first dropped. Alone, a scan sees only what stands before the reader.",
        ),
        control(
            "factors",
            "Convolution and Δ, B, C",
            "memory",
            one_of(&[
                choice("original", "From original neighbours"),
                choice("own", "From kept neighbours"),
            ]),
            "original",
            "The convolution before the scan mixes four neighbours: those of the whole picture, or those that are left.",
        ),
        control(
            "tested",
            "Scenes classified",
            "test",
            whole(4, 397, true),
            "12",
            "The first scenes of the test set, which has 397; the digits are of writers unknown to the models.",
        ),
        BACKEND,
    ],
    symbols: &[
        symbol("tokens", "T", "tokens, class token included", "model"),
        symbol("kept", "K", "tokens that are left at the end", "keep"),
        symbol("share", "r", "share that a step keeps", "keep"),
        symbol(
            "gap",
            "g",
            "mean number of dropped tokens before a kept one, at the first step",
            "steps",
        ),
        symbol(
            "default",
            "Δ₀",
            "mean step of an empty token, softplus of the bias",
            "",
        ),
        symbol(
            "agreement",
            "J",
            "kept at the first step both as described and as released, over kept by either",
            "as",
        ),
        symbol(
            "difference",
            "δ",
            "relative RMS difference of the logits, released from described",
            "as",
        ),
        symbol(
            "drift_closed",
            "d_c",
            "drift of the hidden attention, gaps closed",
            "scan",
        ),
        symbol(
            "drift_kept",
            "d_g",
            "the same, gaps kept with default steps",
            "factors",
        ),
        symbol(
            "drift_true",
            "d_t",
            "the same, gaps kept with the steps of the dropped tokens",
            "factors",
        ),
        symbol("error", "ε", "relative RMS change of the logits", "gaps"),
        measured(
            "operations",
            "o",
            "operations over those with all tokens",
            "%",
            "keep",
        ),
        measured(
            "scan_share",
            "s",
            "share of the operations that the scans are",
            "%",
            "model",
        ),
        measured("time", "t", "time over that with all tokens", "%", ""),
        measured(
            "right_dense",
            "a",
            "scenes classified right with all tokens",
            "%",
            "tested",
        ),
        measured(
            "right",
            "a_K",
            "scenes classified right with the kept ones",
            "%",
            "score",
        ),
    ],
    needs: |settings| needs(&[settings.get("model")]),
    run,
    claims: &claims::CLAIMS,
    tour: &[
        Step {
            ask: "Half of the tokens are dropped on the way, before the middle of the depth. How much of the work is left?",
            settings: "",
            act: Act::Mark {
                symbol: "operations",
                min: 20.0,
                max: 100.0,
                log: false,
            },
            reveal: "Seven tenths: the blocks before the first step still read everything, and the steps come one after the other.",
        },
        Step {
            ask: "Draw how the error of the logits grows as steps keep less and gaps are closed.",
            settings: "",
            act: Act::Draw {
                view: "errors",
                series: "gaps closed",
            },
            reveal: "This classifier was never trained with gaps: the error is large as soon as anything is missing, however the gap is counted.",
        },
        Step {
            ask: "With gaps kept by true steps, the weights of kept patches do not move at all: the drift is 0. Make even it move.",
            settings: "",
            act: Act::Find {
                symbol: "drift_true",
                low: 0.01,
                high: 100.0,
            },
            reveal: "The convolution before the scan has seen other neighbours, so Δ, B and C are others, and no alignment of the scan can give them back.",
        },
    ],
    formula: r"h_{q_k} = \exp\big(A(\Delta_{q_k} + g_k \Delta_0)\big)\, h_{q_{k-1}} + \Delta_{q_k} B_{q_k} x_{q_k}, \qquad S_m = \textstyle\sum_d \max(0, y_{m,d})",
    source: "arXiv 2409.18962; ZLKong/ToP-ViM b5bc231, vim/models_mamba.py; hustvl/Vim dd0358a; the gap with default steps is our reading of “alignment”",
    tolerance: "logits and kept tokens of all ways equal to PyTorch's (tests/golden/images), logits to 1e-4; memories against their closed form to 1e-12",
};

fn needs(models: &[&str]) -> Vec<Need> {
    let need = |id: &&str| Need {
        kind: "model",
        id: (*id).to_owned(),
    };
    models.iter().map(need).collect()
}

/// Rules that are compared; the last one is the reference.
const RULES: [(&str, &str); 8] = [
    ("activation_clip", "clipped sum"),
    ("activation_sum", "sum"),
    ("activation_l1", "l1"),
    ("activation_l2", "l2"),
    ("step_size", "step size"),
    ("stride", "stride"),
    ("random", "random"),
    ("oracle_all", "leave one out"),
];

fn chosen(settings: &Settings) -> Result<Way, String> {
    let score = settings.get("score");
    let score = RULES.iter().find(|(id, _)| *id == score);
    let way = Way {
        score: score.map_or("activation_clip", |(id, _)| id),
        mode: DropMode::by_id(settings.get("gaps"))?,
        released: false,
        share: settings.number("keep"),
        when: match settings.get("steps") {
            "early" => When::Early,
            "late" => When::Late,
            _ => When::Published,
        },
        seed: settings.integer("seed") as u64,
    };
    Ok(way)
}

/// Everything about one picture, for the views.
struct Seen {
    image: Grey,
    class: usize,
    dense: Reading,
    pruned: Reading,
    /// What the first step keeps, in the order of its rows.
    first: Vec<usize>,
}

fn run<'a>(settings: &'a Settings, bench: &'a Bench<'a>) -> Pending<'a, Shown> {
    Box::pin(async move {
        let mut reader = Reader::new(bench, settings.get("model")).await?;
        let backbone = reader.backbone().clone();
        let can_be_released = backbone.class_token.is_some();
        let described = chosen(settings)?;
        let released = settings.get("as") == "released" && can_be_released;
        let way = if released {
            described.as_released()
        } else {
            described
        };
        let background = Background::by_id(settings.get("background"))?;
        let scene = scenes::of_seed(settings.integer("scene") as u32, background, scenes::PIECES);

        let dense = reader.read(&scene.image, None).await?;
        let pruned = reader.read(&scene.image, Some(way)).await?;
        let (block, first) = pruned.steps.kept.first().cloned().unwrap_or_default();
        let seen = Seen {
            image: scene.image,
            class: scene.class,
            dense,
            pruned,
            first,
        };
        let mut shown = Shown::default();
        if !can_be_released {
            shown.idle(
                "as",
                "the released code has a class token and two directions",
            );
        } else if released {
            shown.idle(
                "gaps",
                "the released code closes gaps and knows no other way",
            );
        }

        let scored = Some((way, seen.first.len()));
        let look = reader.look(&seen.image, block, None, scored).await?;
        let mut sorted = seen.first.clone();
        sorted.sort_unstable();
        let own = match settings.get("factors") {
            "own" => Some(reader.look(&seen.image, block, Some(&sorted), None).await?),
            _ => None,
        };
        let orders = match settings.get("scan") {
            "first" => 0..1,
            "last" => backbone.orders.len() - 1..backbone.orders.len(),
            _ => 0..backbone.orders.len(),
        };
        let scans = Scans {
            backbone: &backbone,
            block,
            dense: &look.scans,
            own: own.as_ref().map(|look| look.scans.as_slice()),
            kept: &sorted,
            orders,
        };
        shown.view(
            "kept",
            "Patches that are kept, and the score at the first step",
            Drawing::Patches(drawn::patches(
                &backbone,
                &seen.image,
                &seen.pruned,
                &look.scores,
            )),
        );
        let released_moves = released.then_some(seen.first.as_slice());
        shown.view(
            "path",
            "The path of a scan, before and after",
            Drawing::Lines(scans.path(released_moves)),
        );
        bench.rest().await?;
        let maps = scans.maps();
        for (id, title, values) in [
            (
                "attention-dense",
                "What the reader weighs: all patches there",
                &maps.dense,
            ),
            ("attention-closed", "The same, gaps closed", &maps.closed),
            (
                "attention-kept",
                "The same, gaps kept with default steps",
                &maps.kept,
            ),
        ] {
            let view = Drawing::Heatmap(drawn::map(&backbone, values, maps.largest));
            shown.view(id, title, view);
        }
        shown.view(
            "memory",
            "What the kept tokens weigh and read in this block",
            Drawing::Table(scans.table(&maps)),
        );
        bench.rest().await?;
        shown.view(
            "state",
            "Size of the state along the path",
            Drawing::Lines(scans.state()),
        );
        shown.view(
            "errors",
            "Error of the logits over the share that a step keeps",
            Drawing::Lines(drawn::errors(&mut reader, &seen, way).await?),
        );
        shown.view(
            "operations",
            "Operations of each block",
            Drawing::Histogram(drawn::operations(&backbone, &seen.pruned.rows)),
        );
        shown.view(
            "rules",
            "Rules of importance beside each other",
            Drawing::Table(rules(&mut reader, &seen, way).await?),
        );
        let (ways, difference, agreement) = ways(&mut reader, &seen, described).await?;
        shown.view(
            "ways",
            "Ways to drop beside each other",
            Drawing::Table(ways),
        );

        let tested = settings.integer("tested") as usize;
        let share_of = |right: usize| 100.0 * right as f64 / tested as f64;
        let right_dense = share_of(reader.right(None, tested).await?);
        let right = share_of(reader.right(Some(way), tested).await?);
        let [dense_ms, ms] = reader.times(&seen.image, &seen.pruned).await?;
        let kept = seen.pruned.rows.last().copied().unwrap_or_default();
        let operations =
            100.0 * seen.pruned.operations as f64 / seen.pruned.dense_operations as f64;
        let error = relative(&seen.pruned.logits, &seen.dense.logits);
        let alive = seen.pruned.steps.kept.last().map_or(kept, |(_, k)| k.len());
        shown.value("tokens", backbone.tokens() as f64);
        shown.value("kept", alive as f64);
        shown.value("share", way.share);
        let gone = backbone.tokens() - seen.first.len();
        shown.value("gap", gone as f64 / seen.first.len() as f64);
        shown.value("default", scans.default_step());
        shown.value("agreement", agreement);
        shown.value("difference", difference);
        shown.value("drift_closed", maps.drifts[0]);
        shown.value("drift_kept", maps.drifts[1]);
        shown.value("drift_true", maps.drifts[2]);
        shown.value("error", error);
        shown.value("operations", operations);
        shown.value("scan_share", 100.0 * drawn::scan_share(&backbone));
        shown.value("time", 100.0 * ms / dense_ms);
        shown.value("right_dense", right_dense);
        shown.value("right", right);
        shown.summary = format!(
            "A {} is read as {} from all {} tokens and as {} from {alive}: the logits change by {}, at {} % of the operations. Of {tested} scenes {} % are right with all tokens and {} % with the kept ones.",
            seen.class,
            seen.dense.class(),
            backbone.tokens(),
            seen.pruned.class(),
            short(error),
            short(operations),
            short(right_dense),
            short(right),
        );
        Ok(shown)
    })
}

/// How near each rule comes to the tokens that matter most, and what it does to the logits.
async fn rules(reader: &mut Reader<'_>, seen: &Seen, way: Way) -> Result<Table, String> {
    let mut found = Vec::new();
    for (score, name) in RULES {
        let way = Way { score, ..way };
        let reading = reader.read(&seen.image, Some(way)).await?;
        found.push((name, reading));
    }
    let first = |reading: &Reading| {
        let kept = reading.steps.kept.first().map(|(_, kept)| kept.clone());
        let mut kept = kept.unwrap_or_default();
        kept.sort_unstable();
        kept
    };
    let best = found.last().map(|(_, r)| first(r)).unwrap_or_default();
    let rows = found.iter().map(|(name, reading)| {
        vec![
            word(*name),
            Cell::Number(jaccard(&first(reading), &best)),
            Cell::Number(relative(&reading.logits, &seen.dense.logits)),
            Cell::Number(reading.class() as f64),
        ]
    });
    Ok(table(
        &[
            "rule",
            "kept as by leaving out one at a time (Jaccard)",
            "change of the logits",
            "class",
        ],
        rows.collect(),
    ))
}

/// The ways beside each other; then the difference of the logits, released from described, and how
/// far the two keep the same tokens at the first step.
async fn ways(
    reader: &mut Reader<'_>,
    seen: &Seen,
    described: Way,
) -> Result<(Table, f64, f64), String> {
    let backbone = reader.backbone().clone();
    let with = |mode| Way { mode, ..described };
    let mut all = vec![
        ("gaps closed", with(DropMode::Gather)),
        ("state held", with(DropMode::Hold)),
        ("gaps kept", with(DropMode::DecayDefault)),
        ("masked", with(DropMode::Mask)),
    ];
    if backbone.class_token.is_some() {
        all.push(("as released", described.as_released()));
    }
    let mut rows = vec![vec![
        word("all tokens"),
        Cell::Number(seen.dense.class() as f64),
        Cell::Number(0.0),
        Cell::Number(100.0),
    ]];
    let [mut own, mut other] = [None, None];
    for (name, way) in all {
        let reading = reader.read(&seen.image, Some(way)).await?;
        let share = reading.operations as f64 / reading.dense_operations as f64;
        rows.push(vec![
            word(name),
            Cell::Number(reading.class() as f64),
            Cell::Number(relative(&reading.logits, &seen.dense.logits)),
            Cell::Number(100.0 * share),
        ]);
        if way.released {
            other = Some(reading);
        } else if way.mode == described.mode {
            own = Some(reading);
        }
    }
    let columns = ["way", "class", "change of the logits", "operations in %"];
    let (difference, agreement) = match (own, other) {
        (Some(own), Some(other)) => {
            let first = |reading: &Reading| {
                let mut kept = reading
                    .steps
                    .kept
                    .first()
                    .map_or(Vec::new(), |s| s.1.clone());
                kept.sort_unstable();
                kept
            };
            (
                relative(&other.logits, &own.logits),
                jaccard(&first(&own), &first(&other)),
            )
        }
        _ => (f64::NAN, f64::NAN),
    };
    Ok((table(&columns, rows), difference, agreement))
}
