//! Stuffed Mamba: a state that never learnt to forget fills up and fails behind the training length.

#[path = "stuffed_mamba/claims.rs"]
mod claims;
#[path = "stuffed_mamba/drawn.rs"]
mod drawn;
#[path = "stuffed_mamba/laws.rs"]
mod laws;
#[path = "stuffed_mamba/reading.rs"]
mod reading;

use crate::exhibit::declared::{control, curve, measured, number, one_of, symbol, whole};
use crate::exhibit::{Act, BACKEND, Bench, Exhibit, Paper, Pending, Shown, Step, axis, axis_over};
use crate::lab::Need;
use crate::number::short;
use crate::settings::{Property, Settings, choice};
use crate::views::{Drawing, Heatmap, Lines, Scale};
use laws::{LENGTHS, Laws, STATES};
use reading::{Mitigation, Study};

/// The exhibit.
pub static EXHIBIT: Exhibit = Exhibit {
    slug: "stuffed_mamba",
    title: "Stuffed Mamba",
    see: "Behind the training length the state goes on filling, since the model never learnt to let go; one factor on every decay rescues the loss.",
    paper: Some(Paper {
        arxiv: "2410.07145",
        year: 2024,
        authors: "Chen et al.",
        title: "Stuffed Mamba: State Collapse and State Capacity of RNN-Based Long-Context Modeling",
    }),
    controls: &[
        control(
            "model",
            "Model",
            "model",
            one_of(&[
                choice("mamba2-passkey-t128", "Passkey, trained at 128 tokens"),
                choice("mamba2-text-t1024", "Text, trained at 1,024 tokens"),
                choice("family", "One of our family"),
            ]),
            "mamba2-passkey-t128",
            "The first collapses, the second does not. The family has 25 small models.",
        ),
        Property {
            when: &["model=family"],
            ..control(
                "state",
                "State size N",
                "model",
                one_of(&[
                    choice("4", "4"),
                    choice("8", "8"),
                    choice("16", "16"),
                    choice("32", "32"),
                    choice("64", "64"),
                ]),
                "64",
                "Width of the state of a head of the family's model.",
            )
        },
        Property {
            when: &["model=family"],
            unit: "tokens",
            ..control(
                "trained",
                "Training length",
                "model",
                one_of(&[
                    choice("64", "64"),
                    choice("128", "128"),
                    choice("256", "256"),
                    choice("512", "512"),
                    choice("1024", "1,024"),
                ]),
                "64",
                "Length of the texts that the family's model was trained on.",
            )
        },
        control(
            "input",
            "Text",
            "model",
            one_of(&[
                choice("text", "Held-out text"),
                choice("newlines", "Newlines only"),
                choice("repeat", "A sentence, again and again"),
            ]),
            "text",
            "Newlines carry nothing: whatever moves is caused by length alone.",
        ),
        control(
            "mitigation",
            "Mitigation",
            "mitigation",
            one_of(&[
                choice("none", "None"),
                choice("forget", "Forget more, insert less"),
                choice("normalise", "Cap the norm of the state"),
                choice("window", "Keep the last tokens only"),
            ]),
            "forget",
            "The three of the paper, none of which trains anything.",
        ),
        Property {
            when: &["mitigation=forget"],
            ..control(
                "ca",
                "Decay factor c_a",
                "mitigation",
                number(0.9, 1.0, true),
                "0.99",
                "Multiplies every decay. The paper has 0.9999 for texts of 32,000 tokens; this text is shorter.",
            )
        },
        Property {
            when: &["mitigation=forget"],
            ..control(
                "cb",
                "Write factor c_B",
                "mitigation",
                number(0.25, 1.0, false),
                "1",
                "Multiplies every write; the paper has 0.75.",
            )
        },
        Property {
            when: &["mitigation=normalise"],
            unit: "tokens",
            ..control(
                "cap",
                "Norm taken after",
                "mitigation",
                whole(64, 1024, true),
                "128",
                "The norm of each head after so many tokens is its cap, applied every 128 tokens.",
            )
        },
        Property {
            when: &["mitigation=window"],
            unit: "tokens",
            ..control(
                "window",
                "Window r",
                "mitigation",
                whole(16, 1024, true),
                "128",
                "The exact state of the last r tokens, as a difference of two states.",
            )
        },
        control(
            "layer",
            "Layer",
            "look",
            whole(0, 3, false),
            "2",
            "Counted from 0; a model with fewer layers shows its last.",
        ),
        control(
            "head",
            "Head",
            "look",
            whole(0, 7, false),
            "0",
            "Counted from 0 among the heads of the layer, sorted by how much they keep: 0 forgets least.",
        ),
        Property {
            unit: "tokens",
            ..control(
                "length",
                "Length T",
                "model",
                whole(256, 8192, true),
                "2048",
                "How much is read.",
            )
        },
        control(
            "samples",
            "Passkeys a cell",
            "look",
            whole(0, 4, false),
            "1",
            "Texts for each length and depth of the grid, without and with the mitigation; 0 asks for none.",
        ),
        control(
            "decay",
            "Decay of the drawn head",
            "drawn",
            number(0.9, 1.0, true),
            "0.9999",
            "One head with random inputs, without a model.",
        ),
        control(
            "key",
            "Its state size",
            "drawn",
            whole(4, 64, true),
            "16",
            "N of the drawn head; its values are 8 wide.",
        ),
        control(
            "direction",
            "State normalisation",
            "drawn",
            one_of(&[
                choice("described", "As described"),
                choice("released", "As released"),
            ]),
            "described",
            "The paper scales a state that is too large down to its cap. The released code multiplies by norm over cap instead of cap over norm.",
        ),
        BACKEND,
    ],
    symbols: &[
        measured("trained", "L₀", "training length", "tokens", "trained"),
        measured("length", "T", "length of the text", "tokens", "length"),
        symbol(
            "elements",
            "N_S",
            "elements of the recurrent state of the model",
            "state",
        ),
        symbol("ca", "c_a", "factor on every decay", "ca"),
        symbol("cb", "c_B", "factor on every write", "cb"),
        symbol(
            "alone",
            "c_a^T",
            "what that factor alone leaves of the first write",
            "ca",
        ),
        measured(
            "window",
            "r",
            "tokens that the state holds",
            "tokens",
            "window",
        ),
        measured(
            "cap",
            "p",
            "tokens after which the cap is taken",
            "tokens",
            "cap",
        ),
        symbol(
            "left",
            "α_{1:T}",
            "what the chosen head leaves of the first write",
            "head",
        ),
        symbol(
            "growth",
            "var",
            "variance of the chosen head's state at T over that at L₀",
            "input",
        ),
        measured(
            "near",
            "ℓ(L₀)",
            "loss up to the training length",
            "nats",
            "model",
        ),
        measured(
            "far",
            "ℓ(T)",
            "loss of the last half of the text",
            "nats",
            "length",
        ),
        measured(
            "mitigated",
            "ℓ′(T)",
            "the same with the mitigation",
            "nats",
            "mitigation",
        ),
        symbol(
            "recall",
            "R",
            "share of the passkey digits found in the longest texts of the grid",
            "samples",
        ),
        symbol(
            "recall_mitigated",
            "R′",
            "the same with the mitigation",
            "mitigation",
        ),
        symbol(
            "drawn",
            "‖S‖",
            "norm of the drawn head's state at the end",
            "decay",
        ),
        symbol("capped", "‖S′‖", "the same, normalised", "direction"),
        symbol(
            "difference",
            "ratio",
            "that norm as released over as described",
            "direction",
        ),
        symbol(
            "window_error",
            "δ_r",
            "relative error of a window by difference in single precision",
            "key",
        ),
        symbol(
            "forget_slope",
            "dT_f/dN_S",
            "tokens of training length for a thousand elements more until a model forgets",
            "",
        ),
        symbol(
            "recall_slope",
            "d ln T_r/dN_S",
            "growth of the longest recall for a thousand elements more",
            "",
        ),
    ],
    needs: |settings| needs(&id_of(settings)),
    run,
    claims: &claims::CLAIMS,
    tour: &[
        Step {
            ask: "A model trained at 128 tokens has a loss of about 1.2 nats there. What is it in the second half of 2,048 tokens?",
            settings: "samples=0&mitigation=none",
            act: Act::Mark {
                symbol: "far",
                min: 0.5,
                max: 3.0,
                log: false,
            },
            reveal: "Much higher, though nothing in the machine breaks at 128: the state just goes on filling.",
        },
        Step {
            ask: "Draw the norm of the state of a head that hardly forgets.",
            settings: "samples=0&mitigation=none",
            act: Act::Draw {
                view: "norm",
                series: "unchanged",
            },
            reveal: "It grows behind the training length, where the model never saw such states.",
        },
        Step {
            ask: "Let the model forget until the loss of the far half is below 1.2 nats.",
            settings: "samples=0&ca=0.9999",
            act: Act::Find {
                symbol: "mitigated",
                low: 0.0,
                high: 1.2,
            },
            reveal: "A factor of 0.99 is enough, and what it costs is recall: 0.99 to the power of 500 is 0.007.",
        },
    ],
    formula: r"S_t = c_a \alpha_t S_{t-1} + c_B \Delta_t B_t x_t^\top,\quad S_t \leftarrow S_t \min(1, p_h / \lVert S_t \rVert),\quad S^{(r)}_t = S_t - \alpha_{t-r+1:t} S_{t-r}",
    source: "arXiv 2410.07145 v1; thunlp/stuffed-mamba ccf0bd7, analysis/ and passkey-retrieval/mamba2/modeling_mamba2.py",
    tolerance: "the changed models equal to their definition in f64 to 2e-5; the family's losses equal to PyTorch's to 1e-3",
};

fn needs(model: &str) -> Vec<Need> {
    let need = |kind, id: &str| Need {
        kind,
        id: id.to_owned(),
    };
    vec![
        need("model", model),
        need("text", "heldout"),
        need("text", "mamba2-family"),
    ]
}

/// The id of a model of the family.
fn member(state: usize, length: usize) -> String {
    format!("mamba2-n{state}-t{length}")
}

fn id_of(settings: &Settings) -> String {
    match settings.get("model") {
        "family" => format!(
            "mamba2-n{}-t{}",
            settings.get("state"),
            settings.get("trained")
        ),
        shipped => shipped.to_owned(),
    }
}

fn chosen(settings: &Settings) -> Mitigation {
    match settings.get("mitigation") {
        "forget" => Mitigation::Forget {
            decay: settings.number("ca"),
            write: settings.number("cb"),
        },
        "normalise" => Mitigation::Normalise(settings.integer("cap") as usize),
        "window" => Mitigation::Window(settings.integer("window") as usize),
        _ => Mitigation::None,
    }
}

/// Value width of the drawn head.
const VALUE: usize = 8;
/// Length of the drawn head's text, and where its cap is taken.
const DRAWN: usize = 4096;
const DRAWN_CAP: usize = 512;

fn run<'a>(settings: &'a Settings, bench: &'a Bench<'a>) -> Pending<'a, Shown> {
    Box::pin(async move {
        let mitigation = chosen(settings);
        let length = settings.integer("length") as usize;
        let text = bench.text("heldout")?;
        let stack = bench.model(&id_of(settings))?;
        let layer = (settings.integer("layer") as usize).min(stack.blocks.len() - 1);
        let tokens = reading::tokens(&stack, settings.get("input"), &text, length);
        let study = Study::new(stack, tokens, layer)?;
        let plain = study.read(bench, Mitigation::None).await?;
        let changed = match mitigation {
            Mitigation::None => None,
            other => Some(study.read(bench, other).await?),
        };
        let order = study.by_memory(&plain);
        let head = order[(settings.integer("head") as usize).min(order.len() - 1)];
        let readings = [Some(&plain), changed.as_ref()];
        let mut shown = Shown::default();
        shown.view(
            "norm",
            "Norm of the state of the chosen head",
            Drawing::Lines(study.norms(&readings, head)),
        );
        let shown_reading = changed.as_ref().unwrap_or(&plain);
        shown.view(
            "entries",
            "Entries of that state over time, with the mitigation",
            Drawing::Heatmap(study.entries(shown_reading, head)),
        );
        shown.view(
            "histogram",
            "Entries at the training length and at the end, unchanged",
            Drawing::Histogram(study.histogram(&plain, head)),
        );
        shown.view(
            "decay",
            "What each head of the layer leaves of the first write, with the mitigation",
            Drawing::Lines(study.decays(shown_reading, head)),
        );
        shown.view(
            "loss",
            "Loss by position",
            Drawing::Lines(study.losses(&readings)),
        );
        let samples = settings.integer("samples") as usize;
        let mut recall = [f64::NAN; 2];
        if samples > 0 {
            let mut grids = vec![study.grid(bench, &text, samples, Mitigation::None).await?];
            if changed.is_some() {
                grids.push(study.grid(bench, &text, samples, mitigation).await?);
            }
            for (recall, grid) in recall.iter_mut().zip(&grids) {
                *recall = grid.last().map_or(f64::NAN, |row| mean(row));
            }
            if let Some(grid) = grids.last() {
                shown.view(
                    "grid",
                    "Passkeys found, with the mitigation",
                    Drawing::Heatmap(passkeys(grid)),
                );
            }
            shown.view(
                "recall",
                "Passkey digits found over the length of the text",
                Drawing::Lines(recall_lines(&grids)),
            );
        }
        let drawn = drawn::Head {
            decay: settings.number("decay"),
            key: settings.integer("key") as usize,
            value: VALUE,
            length: DRAWN,
            cap_at: DRAWN_CAP,
            window: DRAWN_CAP,
        };
        let norms = drawn.run();
        shown.view(
            "drawn",
            "A drawn head: its norm unchanged, capped, as released, and of a window",
            Drawing::Lines(norms.lines()),
        );
        bench.rest().await?;
        let laws = Laws::new(laws::members(&bench.text("mamba2-family")?)?);
        shown.view(
            "excess",
            "Our family: excess loss far behind the training length",
            Drawing::Lines(laws.excess()),
        );
        shown.view(
            "course",
            "The same in the course of training",
            Drawing::Lines(laws.course()),
        );
        shown.view(
            "forget",
            "Training length from which on a model forgets, over its state",
            Drawing::Lines(laws.forget_lines()),
        );
        shown.view(
            "capacity",
            "Longest text with 95 % recall, over the state",
            Drawing::Lines(laws.recall_lines()),
        );
        shown.view(
            "laws",
            "Laws, here and published",
            Drawing::Table(laws.table()),
        );
        shown.view(
            "random-keys",
            "Without training: random keys that a state of width N holds",
            Drawing::Lines(Lines {
                x: axis("key width N", "", Scale::Log),
                y: axis("keys with 95 % recall", "", Scale::Log),
                series: vec![curve("sums of random keys", drawn::capacities(), true)],
                ..Lines::default()
            }),
        );

        let [ca, cb] = match mitigation {
            Mitigation::Forget { decay, write } => [decay, write],
            _ => [1.0, 1.0],
        };
        shown.value("trained", study.trained as f64);
        shown.value("length", length as f64);
        shown.value("elements", study.elements() as f64);
        shown.value("ca", ca);
        shown.value("cb", cb);
        shown.value("alone", ca.powf(length as f64));
        match mitigation {
            Mitigation::Window(r) => shown.value("window", r as f64),
            _ => shown.words("window", f64::INFINITY, "all"),
        }
        match mitigation {
            Mitigation::Normalise(p) => shown.value("cap", p as f64),
            _ => shown.words("cap", f64::NAN, "no cap"),
        }
        shown.value("left", study.left(shown_reading, head));
        shown.value("growth", study.growth(&plain, head));
        let far = |r: &crate::exhibit::Reading| mean32(&r.losses[length / 2..]);
        shown.value(
            "near",
            mean32(&plain.losses[..study.trained.min(length - 1)]),
        );
        shown.value("far", far(&plain));
        shown.value("mitigated", far(shown_reading));
        for (id, found) in ["recall", "recall_mitigated"].into_iter().zip(recall) {
            if found.is_nan() {
                shown.words(id, f64::NAN, "not asked for");
            } else {
                shown.value(id, found);
            }
        }
        let last = |x: &[f64]| x.last().copied().unwrap_or(0.0);
        let (described, released) = (last(&norms.described), last(&norms.released));
        shown.value("drawn", last(&norms.plain));
        shown.value(
            "capped",
            if settings.get("direction") == "released" {
                released
            } else {
                described
            },
        );
        let ratio = released / described;
        if ratio < 1e6 {
            shown.value("difference", ratio);
        } else {
            shown.words("difference", ratio, "over a million");
        }
        shown.value("window_error", norms.window_error);
        let slope = |fit: Option<laws::Fit>| fit.map_or(f64::NAN, |f| f.slope);
        shown.value("forget_slope", slope(laws.forget_fit()));
        shown.value("recall_slope", slope(laws.recall_exponential()));
        shown.summary = format!(
            "The model was trained at {} tokens. In the last half of {length} its loss is {} nats{}; the variance of the chosen head's state grows {} times from the training length to the end.",
            study.trained,
            short(far(&plain)),
            changed.as_ref().map_or(String::new(), |c| format!(
                ", {} with the mitigation",
                short(far(c))
            )),
            short(study.growth(&plain, head)),
        );
        Ok(shown)
    })
}

fn mean(x: &[f64]) -> f64 {
    x.iter().sum::<f64>() / x.len().max(1) as f64
}

fn mean32(x: &[f32]) -> f64 {
    x.iter().map(|&x| f64::from(x)).sum::<f64>() / x.len().max(1) as f64
}

/// Rows of depths for each length of the grid.
fn passkeys(grid: &[Vec<f64>]) -> Heatmap {
    let depths = crate::probes::passkey::DEPTHS;
    let values = (0..depths.len()).flat_map(|d| grid.iter().map(move |row| row[d] as f32));
    Heatmap {
        x: axis("length", "tokens", Scale::Linear),
        y: axis("depth", "", Scale::Linear),
        columns: grid.len(),
        rows: depths.len(),
        values: values.collect(),
        row_labels: depths.map(|d| d.to_string()).to_vec(),
        column_labels: reading::GRID[..grid.len()]
            .iter()
            .map(ToString::to_string)
            .collect(),
        value: axis_over("share of digits", "", Scale::Linear, [0.0, 1.0]),
        rule: "share of the digits found".to_owned(),
        run: "a".to_owned(),
        x_is_position: false,
    }
}

fn recall_lines(grids: &[Vec<Vec<f64>>]) -> Lines {
    let names = ["unchanged", "with the mitigation"];
    let of = |(grid, name): (&Vec<Vec<f64>>, &str)| {
        let points = grid
            .iter()
            .zip(reading::GRID)
            .map(|(row, l)| (l as f64, mean(row)));
        curve(name, points, name != "unchanged")
    };
    Lines {
        x: axis("length", "tokens", Scale::Log),
        y: axis_over("share of digits", "", Scale::Linear, [0.0, 1.0]),
        series: grids.iter().zip(names).map(of).collect(),
        ..Lines::default()
    }
}

/// All models of the family.
fn family() -> impl Iterator<Item = (usize, usize)> {
    STATES
        .iter()
        .flat_map(|&n| LENGTHS.iter().map(move |&t| (n, t)))
}
