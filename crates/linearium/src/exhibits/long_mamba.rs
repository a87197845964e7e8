//! LongMamba: a head that remembers everything runs out of decay when a text is longer than those it
//! was trained on; skipping most tokens gives the reach back.

#[path = "long_mamba/claims.rs"]
mod claims;
#[path = "long_mamba/heads.rs"]
mod heads;
#[path = "long_mamba/rules.rs"]
mod rules;
#[path = "long_mamba/synthetic.rs"]
mod synthetic;

use crate::exhibit::declared::{
    at_x, at_y, control, curve, measured, number, one_of, symbol, table, whole, word,
};
use crate::exhibit::{Act, BACKEND, Bench, Exhibit, Paper, Pending, Shown, Step, axis, axis_over};
use crate::lab::Need;
use crate::number::short;
use crate::probes::cost;
use crate::settings::{Property, Settings, choice};
use crate::views::{Cell, Drawing, Heatmap, Lines, Scale, Table};
use heads::{Filter, Head, Study};
use rules::Rule;

/// The exhibit.
pub static EXHIBIT: Exhibit = Exhibit {
    slug: "long_mamba",
    title: "LongMamba",
    see: "Heads that see the whole training text go dark in a longer one, and light up again when most tokens are skipped.",
    paper: Some(Paper {
        arxiv: "2504.16053",
        year: 2025,
        authors: "Ye et al.",
        title: "LongMamba: Enhancing Mamba's Long Context Capabilities via Training-Free Receptive Field Enlargement",
    }),
    controls: &[
        control(
            "model",
            "Model",
            "model",
            one_of(&[
                choice("mamba2-passkey-t128", "Passkey, trained at 128 tokens"),
                choice("mamba2-text-t1024", "Text, trained at 1,024 tokens"),
            ]),
            "mamba2-passkey-t128",
            "Both are Mamba-2; the one that was trained on short texts has heads that never learnt to forget.",
        ),
        control(
            "rule",
            "What is skipped",
            "filter",
            one_of(&[
                choice("threshold", "Threshold (LongMamba)"),
                choice("budget", "Budget of this text"),
                choice("top", "As many as in training"),
                choice("norm", "Nothing: steps are scaled"),
                choice("decimate", "Same tokens for all heads (DeciMamba)"),
            ]),
            "threshold",
            "The published threshold is found before the text is read; the other rules look at the whole text first. The last two are computed within the chosen layer only.",
        ),
        control(
            "theta",
            "Global above θ",
            "filter",
            number(1e-30, 0.99, true),
            "0.05",
            "A head is global if more than this is left of a write after the training length. The paper's grid search gave 1e-30, 0.05 and 1e-5 for three models.",
        ),
        control(
            "clamped",
            "Clamped share C",
            "filter",
            number(0.0, 0.5, false),
            "0.05",
            "The largest steps of a calibration window are lowered to the smallest among them.",
        ),
        control(
            "lookup",
            "Length in the table",
            "filter",
            one_of(&[
                choice("exact", "S itself"),
                choice("released", "As released: the nearest"),
                choice("described", "As described: rounded down"),
            ]),
            "exact",
            "The released code keeps thresholds for 25 lengths and takes the nearest; the paper rounds S down to thousands. Both are scaled here to the training length of the model.",
        ),
        control(
            "layer",
            "Layer",
            "look",
            whole(0, 3, false),
            "1",
            "Counted from 0; a model with fewer layers shows its last.",
        ),
        control(
            "head",
            "Head",
            "look",
            whole(0, 7, false),
            "0",
            "Counted from 0 among the heads of the layer, sorted by how much they keep: 0 is the most global one.",
        ),
        Property {
            unit: "bytes",
            ..control(
                "offset",
                "Place in the text",
                "model",
                whole(0, 180_000, false),
                "0",
                "Where in the held-out text the reading begins.",
            )
        },
        Property {
            unit: "tokens",
            ..control(
                "length",
                "Length S",
                "model",
                whole(256, 8192, true),
                "1024",
                "How much text is read. The filter acts beyond the training length.",
            )
        },
        control(
            "samples",
            "Passkeys a depth",
            "look",
            whole(0, 4, false),
            "1",
            "Texts of length S with a passkey at each of five depths, without and with the filter; 0 asks for none.",
        ),
        control(
            "mean",
            "Mean of the drawn steps",
            "drawn",
            number(-8.0, 0.0, false),
            "-4",
            "Steps drawn as softplus of normal numbers: without a model, as a head of Mamba could make them.",
        ),
        control(
            "spread",
            "Spread of the drawn steps",
            "drawn",
            number(0.1, 2.0, false),
            "1",
            "Standard deviation of those normal numbers: the heavier the tail, the fewer tokens are kept.",
        ),
        BACKEND,
    ],
    symbols: &[
        measured("trained", "L₀", "training length", "tokens", "model"),
        measured("length", "S", "length of the text", "tokens", "length"),
        symbol(
            "theta",
            "θ",
            "a head is global if it keeps more than this over L₀",
            "theta",
        ),
        symbol(
            "left",
            "Π",
            "what the chosen head leaves of a write after L₀ tokens",
            "head",
        ),
        symbol("globals", "global", "global heads of the model", "theta"),
        symbol(
            "budget",
            "b",
            "sum of the steps of a window of L₀ tokens",
            "clamped",
        ),
        symbol(
            "g",
            "g",
            "threshold of the chosen head for this length",
            "lookup",
        ),
        symbol(
            "lookup",
            "δ",
            "relative difference of g as released and as described",
            "lookup",
        ),
        symbol(
            "kept",
            "α",
            "share of the tokens that the chosen head keeps",
            "rule",
        ),
        symbol(
            "spent",
            "Σ/b",
            "sum of the kept steps over the budget",
            "rule",
        ),
        measured(
            "reach_short",
            "d(L₀)",
            "mean distance of the chosen head at L₀",
            "tokens",
            "head",
        ),
        measured(
            "reach_long",
            "d(S)",
            "mean distance at S",
            "tokens",
            "length",
        ),
        measured(
            "reach_filtered",
            "d′(S)",
            "mean distance at S with tokens skipped",
            "tokens",
            "rule",
        ),
        measured(
            "loss",
            "ℓ",
            "loss of the last half of the text",
            "nats",
            "length",
        ),
        measured(
            "loss_filtered",
            "ℓ′",
            "the same with tokens skipped",
            "nats",
            "rule",
        ),
        symbol("recall", "r", "share of passkey digits found", "samples"),
        symbol(
            "recall_filtered",
            "r′",
            "the same with tokens skipped",
            "samples",
        ),
        symbol(
            "drawn_unfiltered",
            "Σ₀/b",
            "drawn steps: their sum at S over the budget",
            "mean",
        ),
        symbol(
            "drawn_kept",
            "α₀",
            "drawn steps: share of tokens kept",
            "spread",
        ),
    ],
    needs: |settings| needs(settings.get("model")),
    run,
    claims: &claims::CLAIMS,
    tour: &[
        Step {
            ask: "A head trained at 128 tokens keeps about everything for 128 tokens. It now reads 1,024. How far back does its last token look on average?",
            settings: "samples=0",
            act: Act::Mark {
                symbol: "reach_long",
                min: 10.0,
                max: 1000.0,
                log: true,
            },
            reveal: "Hardly further than in training: what was decay enough for 128 tokens is forgetting over 1,024.",
        },
        Step {
            ask: "To give the head its reach back, tokens are skipped until the steps of 1,024 tokens sum to what 128 had. Which share of the tokens is kept? An eighth?",
            settings: "samples=0&length=1024",
            act: Act::Mark {
                symbol: "kept",
                min: 0.001,
                max: 1.0,
                log: true,
            },
            reveal: "Steps are very unequal: few tokens hold most of the sum, so the share is not L₀/S.",
        },
        Step {
            ask: "Make every head of the model local, so that nothing is filtered.",
            settings: "samples=0",
            act: Act::Find {
                symbol: "globals",
                low: 0.0,
                high: 0.0,
            },
            reveal: "With θ near 1 no head counts as global; with θ = 1e-30 almost all do.",
        },
    ],
    formula: r"\bar A_t = e^{A \Delta_t},\quad \text{global} \iff \textstyle\prod_{k \le L_0} \bar A_k > \theta,\quad \Delta_t \le g(S) \Rightarrow (\bar A_t, \bar B_t) := (1, 0)",
    source: "arXiv 2504.16053; GATECH-EIC/LongMamba 5da3e17, load_align_target.py and mamba_ssm/modules/mamba2.py",
    tolerance: "the filtered model equal to its definition in f64 to 2e-5; the published rule equal to the lab's filter",
};

fn needs(model: &str) -> Vec<Need> {
    vec![
        Need {
            kind: "model",
            id: model.to_owned(),
        },
        Need {
            kind: "text",
            id: "heldout".to_owned(),
        },
    ]
}

fn chosen(settings: &Settings) -> Filter {
    Filter {
        rule: match settings.get("rule") {
            "budget" => Rule::Budget,
            "top" => Rule::TopK,
            "norm" => Rule::Norm,
            "decimate" => Rule::Decimate,
            _ => Rule::Threshold,
        },
        log_theta: settings.number("theta").ln(),
        clamped: settings.number("clamped"),
        lookup: match settings.get("lookup") {
            "released" => rules::nearest,
            "described" => rules::rounded_down,
            _ => |length, _| length,
        },
    }
}

fn run<'a>(settings: &'a Settings, bench: &'a Bench<'a>) -> Pending<'a, Shown> {
    Box::pin(async move {
        let filter = chosen(settings);
        let length = settings.integer("length") as usize;
        let text = bench.text("heldout")?;
        let stack = bench.model(settings.get("model"))?;
        let place = settings.integer("offset") as usize;
        let mut study = Study::new(bench, stack, &text, place, length, filter).await?;
        let layer = (settings.integer("layer") as usize).min(study.heads.len() - 1);
        let before = study.read(bench, layer, false).await?;
        study.choose(&before);
        let after = study.read_filtered(bench, layer).await?;
        let of_layer = study.sorted(layer);
        let at = (settings.integer("head") as usize).min(of_layer.len() - 1);
        let head = of_layer[at];

        let mut shown = Shown::default();
        let rows = study.rows(&before, head);
        shown.view(
            "attention",
            "What the last token sees of those before it, in the chosen head",
            Drawing::Lines(rows.lines()),
        );
        shown.view(
            "kept",
            "Tokens that each head of the layer keeps",
            Drawing::Heatmap(kept(&study, &before, layer)),
        );
        shown.view(
            "decay",
            "What is left of the first write",
            Drawing::Lines(study.decays(&before, head)),
        );
        shown.view(
            "heads",
            "All heads by what they leave of a write after the training length",
            Drawing::Lines(by_decay(&study, settings.number("theta"))),
        );
        let reaches = study.reaches(&before, layer);
        shown.view(
            "table",
            "Heads of the layer",
            Drawing::Table(heads_table(&study, layer, &reaches)),
        );
        let in_model = after.is_some();
        let losses = [Some(&before), after.as_ref()];
        shown.view(
            "loss",
            "Loss by position",
            Drawing::Lines(loss_lines(&losses, study.trained)),
        );
        shown.view(
            "state",
            "Norm of the state of the chosen head",
            Drawing::Lines(study.norms(&losses, head)),
        );
        let samples = settings.integer("samples") as usize;
        let mut found = [f64::NAN; 2];
        if samples > 0 {
            for (found, filtered) in found.iter_mut().zip([false, true]) {
                if !filtered || in_model {
                    *found = study.recall(bench, &text, samples, filtered).await?;
                }
            }
        }
        let drawn = synthetic::Steps::new(
            settings.number("mean"),
            settings.number("spread"),
            filter.clamped,
            length as f64 / study.trained as f64,
        );
        shown.view(
            "drawn",
            "Drawn steps, the largest first: what is kept of them",
            Drawing::Lines(drawn.lines()),
        );

        let looked = study.look(head);
        shown.value("trained", study.trained as f64);
        shown.value("length", length as f64);
        shown.value("theta", settings.number("theta"));
        shown.value("left", looked.log_left.exp());
        let globals = study.heads.iter().flatten().filter(|h| h.global).count();
        shown.value("globals", globals as f64);
        shown.value("budget", looked.budget);
        if looked.global && filter.rule == Rule::Threshold {
            shown.value("g", looked.threshold.into());
        } else {
            shown.words("g", f64::NAN, "none");
        }
        shown.value("lookup", looked.lookup_difference);
        let dt = study.steps(&before, head);
        shown.value("kept", dt.kept_share);
        shown.value("spent", dt.spent);
        let reach = reaches[looked.head];
        shown.value("reach_short", reach[0]);
        shown.value("reach_long", reach[1]);
        shown.value("reach_filtered", reach[2]);
        let far = |reading: &crate::exhibit::Reading| mean(&reading.losses[length / 2..]);
        shown.value("loss", far(&before));
        match &after {
            Some(after) => shown.value("loss_filtered", far(after)),
            None => shown.words("loss_filtered", f64::NAN, "not computed"),
        }
        for (id, found) in ["recall", "recall_filtered"].into_iter().zip(found) {
            if found.is_nan() {
                shown.words(id, f64::NAN, "not asked for");
            } else {
                shown.value(id, found);
            }
        }
        shown.value("drawn_unfiltered", drawn.unfiltered);
        shown.value("drawn_kept", drawn.kept_share);
        let found = [rules::nearest, rules::rounded_down].map(|at| at(length, study.trained));
        if filter.rule != Rule::Threshold {
            shown.idle("lookup", "only the published rule looks a threshold up");
        } else if length <= study.trained {
            shown.idle("lookup", "nothing is skipped within the training length");
        } else if found == [length; 2] {
            shown.idle("lookup", "both tables have this very length");
        }
        shown.summary = format!(
            "{globals} heads are global. Head {} of layer {layer} looks back {} tokens on average at {} tokens, {} at {length}, and {} when it keeps {} % of the tokens. The loss of the last half of the text is {} nats{}.",
            looked.head,
            short(reach[0]),
            study.trained,
            short(reach[1]),
            short(reach[2]),
            short(100.0 * dt.kept_share),
            short(far(&before)),
            after.as_ref().map_or(String::new(), |a| format!(
                ", {} with the filter",
                short(far(a))
            )),
        );
        Ok(shown)
    })
}

fn mean(x: &[f32]) -> f64 {
    x.iter().map(|&x| f64::from(x)).sum::<f64>() / x.len().max(1) as f64
}

/// Columns of the raster.
const COLUMNS: usize = 128;

fn kept(study: &Study, before: &crate::exhibit::Reading, layer: usize) -> Heatmap {
    let order = study.sorted(layer);
    let length = study.length;
    let columns = COLUMNS.min(length);
    let mut values = Vec::new();
    for &at in &order {
        let steps = study.steps(before, at).after;
        for c in 0..columns {
            let part = &steps[c * length / columns..(c + 1) * length / columns];
            let kept = part.iter().filter(|&&s| s > 0.0).count();
            values.push(kept as f32 / part.len() as f32);
        }
    }
    let name = |&at: &(usize, usize)| {
        let head = study.look(at);
        format!(
            "head {}{}",
            head.head,
            if head.global { ", global" } else { "" }
        )
    };
    Heatmap {
        x: axis_over("position", "tokens", Scale::Linear, [0.0, length as f64]),
        y: axis("head", "", Scale::Linear),
        columns,
        rows: order.len(),
        values,
        row_labels: order.iter().map(name).collect(),
        value: axis_over("share kept", "", Scale::Linear, [0.0, 1.0]),
        rule: format!("share kept of {} tokens a cell", length.div_ceil(columns)),
        run: "a".to_owned(),
        x_is_position: true,
        ..Heatmap::default()
    }
}

fn by_decay(study: &Study, theta: f64) -> Lines {
    let mut left: Vec<f64> = study.heads.iter().flatten().map(|h| h.log_left).collect();
    left.sort_unstable_by(|a, b| b.total_cmp(a));
    Lines {
        x: axis("heads, the most global first", "", Scale::Linear),
        y: axis("left of a write after L₀", "", Scale::Log),
        series: vec![curve(
            "heads",
            left.iter()
                .enumerate()
                .map(|(i, l)| ((i + 1) as f64, l.max(-80.0).exp())),
            true,
        )],
        marks: vec![at_y(theta, "θ")],
        x_is_position: false,
    }
}

fn heads_table(study: &Study, layer: usize, reaches: &[[f64; 3]]) -> Table {
    let rows = study.sorted(layer).into_iter().map(|at| {
        let h: &Head = study.look(at);
        let r = reaches[h.head];
        let mut row = vec![
            word(h.head.to_string()),
            word(if h.global { "global" } else { "local" }),
            Cell::Number(h.log_left.exp()),
            Cell::Number(h.budget),
        ];
        row.extend(r.map(Cell::Number));
        row
    });
    table(
        &[
            "head",
            "kind",
            "left after L₀",
            "budget b",
            "mean distance at L₀ (tokens)",
            "at S (tokens)",
            "at S, filtered (tokens)",
        ],
        rows.collect(),
    )
}

fn loss_lines(readings: &[Option<&crate::exhibit::Reading>; 2], trained: usize) -> Lines {
    let names = ["unchanged", "filtered"];
    let series = readings.iter().zip(names).filter_map(|(reading, name)| {
        let octaves = cost::octaves(&reading.as_ref()?.losses);
        let middle = |b: &cost::Bucket| ((b.from.max(1) * b.to) as f64).sqrt();
        Some(curve(
            name,
            octaves.iter().map(|b| (middle(b), b.loss)),
            name == "filtered",
        ))
    });
    Lines {
        x: axis("position (middle of the octave)", "tokens", Scale::Log),
        y: axis("loss", "nats per token", Scale::Linear),
        series: series.collect(),
        marks: vec![at_x(trained as f64, "training length")],
        x_is_position: false,
    }
}
