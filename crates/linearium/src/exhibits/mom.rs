//! Mixture of memories: a router sends each token to a few of several memories, so that fewer
//! writes meet in each.

#[path = "mom/claims.rs"]
mod claims;
#[path = "mom/memories.rs"]
mod memories;
#[path = "mom/trained.rs"]
mod trained;

use crate::exhibit::declared::{at_x, control, curve, number, one_of, symbol, whole};
use crate::exhibit::{Act, BACKEND, Bench, Exhibit, Paper, Pending, Shown, Step, axis, axis_over};
use crate::lab::Need;
use crate::number::short;
use crate::settings::{Settings, choice};
use crate::views::{Counts, Drawing, Heatmap, Histogram, Lines, Scale};
use memories::{Outcome, Router, Setting, store};

/// The exhibit.
pub static EXHIBIT: Exhibit = Exhibit {
    slug: "mom",
    title: "MoM",
    see: "Each token is written into a few of several memories: fewer writes meet in each, so more pairs are recalled for the same work.",
    paper: Some(Paper {
        arxiv: "2502.13685",
        year: 2025,
        authors: "Du et al.",
        title: "MoM: Linear Sequence Modeling with Mixture-of-Memories",
    }),
    controls: &[
        control(
            "pairs",
            "Stored pairs",
            "memories",
            whole(4, 256, true),
            "64",
            "Keys with a value each, written one after the other and then all asked for.",
        ),
        control(
            "memories",
            "Memories M",
            "memories",
            whole(1, 16, false),
            "4",
            "Memories that tokens are routed to.",
        ),
        control(
            "top",
            "Memories a token k",
            "memories",
            whole(1, 4, false),
            "1",
            "How many memories a token is sent to; the paper trains with two of four.",
        ),
        control(
            "width",
            "Key width d_k",
            "memories",
            whole(8, 64, true),
            "32",
            "A memory is a matrix of d_k by d_k.",
        ),
        control(
            "router",
            "Router",
            "router",
            one_of(&[
                choice("random", "Random projection"),
                choice("kmeans", "Means of the keys"),
                choice("segment", "By segment (oracle)"),
                choice("collapsed", "All to one (collapsed)"),
            ]),
            "random",
            "Which memory a token is sent to. A learned router is in the trained models below.",
        ),
        control(
            "temperature",
            "Temperature",
            "router",
            number(0.05, 10.0, true),
            "1",
            "Divides the router's logits: the choice stays, the weights and the balance loss change.",
        ),
        control(
            "likeness",
            "Keys of a segment are alike",
            "memories",
            number(0.0, 0.9, false),
            "0",
            "Pairs come in four segments; this share of a key is common to its segment.",
        ),
        control(
            "decay",
            "Decay",
            "memories",
            number(0.9, 1.0, true),
            "1",
            "What a write leaves of the memory that it goes to. A memory that is not written does not fade.",
        ),
        control(
            "rule",
            "Update",
            "memories",
            one_of(&[choice("sum", "Sums"), choice("delta", "Delta rule")]),
            "sum",
            "The released layer has the gated delta rule: what the key recalls is replaced.",
        ),
        control(
            "shared",
            "Shared memory",
            "memories",
            one_of(&[choice("off", "Off"), choice("on", "On")]),
            "off",
            "One more memory that every token is written to.",
        ),
        control(
            "seed",
            "Seed",
            "memories",
            whole(0, 1000, false),
            "0",
            "Of all random numbers.",
        ),
        control(
            "checkpoint",
            "Trained model",
            "trained",
            one_of(&[
                choice("mom", "MoM, 8 memories and a shared one"),
                choice("frozen", "Its router as drawn, not learned"),
                choice("unbalanced", "Trained without balance loss"),
            ]),
            "mom",
            "Trained to recall pairs of bytes; 2 layers, width 64.",
        ),
        control(
            "asked",
            "Pairs in its text",
            "trained",
            one_of(&[
                choice("4", "4"),
                choice("8", "8"),
                choice("16", "16"),
                choice("32", "32"),
            ]),
            "8",
            "How many pairs the trained model has to recall.",
        ),
        control(
            "layer",
            "Its layer",
            "trained",
            whole(0, 1, false),
            "1",
            "Where its routes are looked at.",
        ),
        BACKEND,
    ],
    symbols: &[
        symbol("pairs", "n", "stored pairs", "pairs"),
        symbol("memories", "M", "routed memories", "memories"),
        symbol("top", "k", "memories a token is sent to", "top"),
        symbol("width", "d_k", "key width", "width"),
        symbol(
            "temperature",
            "τ",
            "temperature of the router",
            "temperature",
        ),
        symbol("decay", "a", "decay of a written memory", "decay"),
        symbol("state", "state", "numbers in all memories", "shared"),
        symbol("work", "work", "numbers updated for a token", "top"),
        symbol(
            "error",
            "ε",
            "relative RMS error of the recalled values",
            "router",
        ),
        symbol(
            "one",
            "ε₁",
            "the same with one memory of this width",
            "rule",
        ),
        symbol(
            "same",
            "ε₌",
            "the same with one memory of the whole state",
            "likeness",
        ),
        symbol(
            "expected",
            "√(n k / M d_k)",
            "error that sums of random keys have with an even router",
            "",
        ),
        symbol(
            "balance",
            "L",
            "balance loss, k where all memories get as much",
            "router",
        ),
        symbol(
            "busiest",
            "max f",
            "share of the tokens that the busiest memory gets",
            "router",
        ),
        symbol(
            "recall",
            "r",
            "share of the pairs that the trained model recalls here",
            "asked",
        ),
        symbol(
            "trained_busiest",
            "max f̂",
            "share of the tokens that its busiest memory gets",
            "checkpoint",
        ),
    ],
    needs: |settings| needs(&[settings.get("checkpoint")]),
    run,
    claims: &claims::CLAIMS,
    tour: &[
        Step {
            ask: "64 pairs in one memory of 32 by 32 are recalled with an error of 1.4. Now a router sends each pair to one of four such memories, at random. What is the error?",
            settings: "pairs=64",
            act: Act::Mark {
                symbol: "error",
                min: 0.1,
                max: 2.0,
                log: false,
            },
            reveal: "Half: a memory holds a quarter of the pairs, and the error grows with the root of what it holds. One memory of the whole state has the same error, at four times the work.",
        },
        Step {
            ask: "Draw how the error of the four memories grows with the number of pairs.",
            settings: "pairs=64",
            act: Act::Draw {
                view: "errors",
                series: "routed memories",
            },
            reveal: "As the root of the number of pairs: each curve is the same, moved.",
        },
        Step {
            ask: "Make the router collapse: find settings with a balance loss of almost M.",
            settings: "pairs=64",
            act: Act::Find {
                symbol: "balance",
                low: 3.5,
                high: 4.0,
            },
            reveal: "All tokens go to one memory, and the error is that of one memory. Training adds the balance loss so that this does not happen.",
        },
    ],
    formula: r"g = \mathrm{top}_k\,\mathrm{softmax}(W_g x),\quad S^m_t = a\,S^m_{t-1} + k_t v_t^\top \ (g_m > 0),\quad S^m_t = S^m_{t-1}\ (g_m = 0),\quad o_t = \textstyle\sum_m g_m\, q_t^\top S^m_t",
    source: "arXiv 2502.13685; OpenSparseLLMs/MoM 033057c, mom/layers/mom.py, mom/models/mom/modeling_mom.py",
    tolerance: "drawn memories against their closed form; the layer equal to the official code to 1e-5, the trained models to the rule token by token in f64 to 2e-5",
};

/// The id of a trained model.
fn id_of(kind: &str) -> String {
    format!("mom-recall-{kind}")
}

fn needs(kinds: &[&str]) -> Vec<Need> {
    let models = kinds.iter().map(|kind| Need {
        kind: "model",
        id: id_of(kind),
    });
    let table = Need {
        kind: "text",
        id: "mom-recall".to_owned(),
    };
    models.chain([table]).collect()
}

fn chosen(settings: &Settings) -> Setting {
    let count = |id: &str| settings.integer(id) as usize;
    Setting {
        pairs: count("pairs"),
        memories: count("memories"),
        top: count("top").min(count("memories")),
        width: count("width"),
        values: count("width"),
        decay: settings.number("decay"),
        temperature: settings.number("temperature"),
        router: match settings.get("router") {
            "kmeans" => Router::KMeans,
            "segment" => Router::Segment,
            "collapsed" => Router::Collapsed,
            _ => Router::Random,
        },
        shared: settings.get("shared") == "on",
        delta: settings.get("rule") == "delta",
        likeness: settings.number("likeness"),
        seed: settings.integer("seed") as u64,
    }
}

/// One memory of the same width, which a token costs as much as one of M.
fn one(s: Setting) -> Setting {
    Setting {
        memories: 1,
        top: 1,
        shared: false,
        router: Router::Random,
        ..s
    }
}

/// One memory with as many numbers as all of them: keys as long as the memories are many.
fn same_state(s: Setting) -> Setting {
    Setting {
        width: s.width * (s.memories + usize::from(s.shared)),
        ..one(s)
    }
}

/// Numbers of pairs of the curves.
const COUNTS: [usize; 6] = [8, 16, 32, 64, 128, 256];
/// Sequences that the trained model reads.
const SEQUENCES: usize = 8;

fn run<'a>(settings: &'a Settings, bench: &'a Bench<'a>) -> Pending<'a, Shown> {
    Box::pin(async move {
        let s = chosen(settings);
        let out = store(&s);
        let mut shown = Shown::default();
        shown.view(
            "raster",
            "Which memory each pair is written to",
            Drawing::Heatmap(raster(&s, &out)),
        );
        let others = [store(&one(s)), store(&same_state(s))];
        shown.view(
            "by-pair",
            "Error of each pair, by when it was stored",
            Drawing::Lines(by_pair(&out, &others)),
        );
        bench.rest().await?;
        shown.view(
            "errors",
            "Error over the number of pairs",
            Drawing::Lines(errors(bench, s).await?),
        );
        shown.view(
            "interference",
            "Pairs that meet: likeness of their keys",
            Drawing::Heatmap(meeting(&s, &out)),
        );
        shown.view(
            "norms",
            "Norm of each memory",
            Drawing::Lines(norms(&s, &out)),
        );
        shown.view(
            "load",
            "Tokens that each memory gets",
            Drawing::Histogram(load("drawn", &out.load())),
        );

        let kind = settings.get("checkpoint");
        let asked: usize = settings.get("asked").parse().unwrap_or(8);
        let layer = settings.integer("layer") as usize;
        let answers = trained::ask(bench, &id_of(kind), asked, SEQUENCES, layer, s.seed).await?;
        let recorded = trained::recorded(&bench.text("mom-recall")?)?;
        shown.view(
            "trained",
            "Trained models: recall over the number of pairs",
            Drawing::Lines(recalls(&recorded, kind, asked)),
        );
        shown.view(
            "trained-by-pair",
            "Trained model: recall of each pair, by when it was stored",
            Drawing::Lines(Lines {
                x: axis("pair", "", Scale::Linear),
                y: axis_over("recall", "", Scale::Linear, [0.0, 1.0]),
                series: vec![curve(
                    "recall",
                    answers
                        .by_pair
                        .iter()
                        .enumerate()
                        .map(|(i, r)| ((i + 1) as f64, *r)),
                    true,
                )],
                ..Lines::default()
            }),
        );
        shown.view(
            "trained-routes",
            "Trained model: memories that each token is sent to",
            Drawing::Heatmap(routes(&answers, asked)),
        );
        shown.view(
            "trained-load",
            "Trained model: tokens that each memory gets",
            Drawing::Histogram(load("trained", &answers.load)),
        );

        let size = (s.width * s.width) as f64;
        let extra = f64::from(u8::from(s.shared));
        let (error, balance) = (out.error(), out.balance());
        let [alone, same] = others.map(|o| o.error());
        shown.value("pairs", s.pairs as f64);
        shown.value("memories", s.memories as f64);
        shown.value("top", s.top as f64);
        shown.value("width", s.width as f64);
        shown.value("temperature", s.temperature);
        shown.value("decay", s.decay);
        shown.value("state", size * (s.memories as f64 + extra));
        shown.value("work", size * (s.top as f64 + extra));
        shown.value("error", error);
        shown.value("one", alone);
        shown.value("same", same);
        let even = (s.pairs * s.top) as f64 / (s.memories * s.width) as f64;
        shown.value("expected", even.sqrt());
        shown.value("balance", balance);
        let most = |x: &[f64]| x.iter().copied().fold(0.0, f64::max);
        shown.value("busiest", most(&out.load()));
        shown.value("recall", answers.recall);
        shown.value("trained_busiest", most(&answers.load));
        shown.summary = format!(
            "{} pairs are recalled with an error of {} from {} memories, {} from one of the same width and {} from one of the same state. The trained model recalls {} % of {asked} pairs.",
            s.pairs,
            short(error),
            s.memories,
            short(alone),
            short(same),
            short(100.0 * answers.recall),
        );
        Ok(shown)
    })
}

fn heatmap(columns: usize, rows: usize, values: Vec<f32>, names: [&str; 3]) -> Heatmap {
    Heatmap {
        x: axis_over(names[0], "", Scale::Linear, [0.0, columns as f64]),
        y: axis(names[1], "", Scale::Linear),
        columns,
        rows,
        values,
        value: axis_over(names[2], "", Scale::Linear, [0.0, 1.0]),
        rule: "one value a cell".to_owned(),
        run: "a".to_owned(),
        ..Heatmap::default()
    }
}

fn raster(s: &Setting, out: &Outcome) -> Heatmap {
    let rows = s.memories + usize::from(s.shared);
    let of = |m: usize| {
        let weight = move |w: &Vec<f64>| w.get(m).map_or(1.0, |&w| w as f32);
        out.weights.iter().map(weight)
    };
    let mut map = heatmap(
        s.pairs,
        rows,
        (0..rows).flat_map(of).collect(),
        ["pair, in the order of writing", "memory", "weight"],
    );
    map.row_labels = (0..rows).map(|m| memory(s.memories, m)).collect();
    map
}

fn memory(routed: usize, m: usize) -> String {
    if m < routed {
        format!("memory {}", m + 1)
    } else {
        "shared".to_owned()
    }
}

fn by_pair(out: &Outcome, others: &[Outcome; 2]) -> Lines {
    let of = |name: &str, out: &Outcome, strong| {
        let points = out.errors.iter().enumerate();
        curve(name, points.map(|(i, e)| ((i + 1) as f64, *e)), strong)
    };
    Lines {
        x: axis("pair, in the order of writing", "", Scale::Linear),
        y: axis("relative error", "", Scale::Linear),
        series: vec![
            of("one memory", &others[0], false),
            of("one memory of the same state", &others[1], false),
            of("routed memories", out, true),
        ],
        ..Lines::default()
    }
}

async fn errors(bench: &Bench<'_>, s: Setting) -> Result<Lines, String> {
    let mut series = Vec::new();
    for (name, of) in [
        ("one memory", one(s)),
        ("one memory of the same state", same_state(s)),
        ("routed memories", s),
    ] {
        let mut points = Vec::new();
        for pairs in COUNTS {
            points.push((pairs as f64, store(&Setting { pairs, ..of }).error()));
            bench.rest().await?;
        }
        series.push(curve(name, points, name == "routed memories"));
    }
    Ok(Lines {
        x: axis("stored pairs n", "", Scale::Log),
        y: axis("relative RMS error", "", Scale::Log),
        series,
        marks: vec![at_x(s.pairs as f64, "n")],
        x_is_position: false,
    })
}

fn meeting(s: &Setting, out: &Outcome) -> Heatmap {
    heatmap(
        s.pairs,
        s.pairs,
        out.interference.clone(),
        ["pair", "pair", "|k_i . k_j| where they share a memory"],
    )
}

fn norms(s: &Setting, out: &Outcome) -> Lines {
    let rows = s.memories + usize::from(s.shared);
    let of = |m: usize| {
        let points = out.norms.iter().enumerate();
        let points = points.map(|(t, n)| ((t + 1) as f64, n[m]));
        curve(&memory(s.memories, m), points, m == 0)
    };
    Lines {
        x: axis("pairs written", "", Scale::Linear),
        y: axis("Frobenius norm", "", Scale::Linear),
        series: (0..rows).map(of).collect(),
        ..Lines::default()
    }
}

fn load(label: &str, load: &[f64]) -> Histogram {
    Histogram {
        x: axis("memory", "", Scale::Linear),
        y: axis("share of the tokens", "", Scale::Linear),
        edges: (0..=load.len()).map(|m| m as f32 + 0.5).collect(),
        series: vec![Counts {
            label: label.to_owned(),
            run: "a".to_owned(),
            counts: load.iter().map(|&l| l as f32).collect(),
        }],
    }
}

/// Kinds of trained models with their names.
const KINDS: [(&str, &str); 6] = [
    ("mom", "MoM"),
    ("frozen", "router not learned"),
    ("unbalanced", "no balance loss"),
    ("state", "one memory, same state"),
    ("wide", "one memory, same state, long keys"),
    ("cost", "one memory, same work"),
];

fn recalls(recorded: &[trained::Recorded], kind: &str, asked: usize) -> Lines {
    let of = |(id, name): (&str, &str)| curve(name, trained::curve_of(recorded, id), id == kind);
    Lines {
        x: axis("stored pairs", "", Scale::Linear),
        y: axis_over("recall, mean over seeds", "", Scale::Linear, [0.0, 1.0]),
        series: KINDS.into_iter().map(of).collect(),
        marks: vec![at_x(asked as f64, "asked")],
        x_is_position: false,
    }
}

fn routes(answers: &trained::Answers, asked: usize) -> Heatmap {
    let memories = answers.load.len().max(1);
    let tokens = answers.routes.len() / memories;
    let of = |m: usize| {
        let sent = answers.routes.iter().skip(m).step_by(memories);
        sent.map(|&s| f32::from(u8::from(s)))
    };
    let mut map = heatmap(
        tokens,
        memories,
        (0..memories).flat_map(of).collect(),
        ["position", "memory", "sent there"],
    );
    map.row_labels = (0..memories).map(|m| memory(memories, m)).collect();
    map.x.unit = "tokens".to_owned();
    map.rule = format!(
        "pairs are stated in the first {} tokens, then asked for",
        2 * asked
    );
    map.x_is_position = true;
    map
}
