//! LightNet on a grid of pixels: one additive scan beside one, two and four multiplicative ones, what
//! a pixel sees of the image with each, and what positions give back.

#[path = "light_net/claims.rs"]
mod claims;
#[path = "light_net/layers.rs"]
mod layers;
#[path = "light_net/reach.rs"]
mod reach;

use crate::exhibit::{
    Act, BACKEND, Bench, Exhibit, Paper, Pending, Shown, Step, Symbol, axis, axis_over, no_files,
};
use crate::number::short;
use crate::settings::{Kind, Property, Settings, choice};
use crate::views::{Cell, Drawing, Heatmap, Lines, Mark, Scale, Series, Table};
use layers::{Options, relative};

const fn property(
    id: &'static str,
    label: &'static str,
    group: &'static str,
    kind: Kind,
    default: &'static str,
    help: &'static str,
) -> Property {
    Property {
        id,
        label,
        group,
        kind,
        default,
        unit: "",
        help,
        comparable: false,
        when: &[],
        suggest: "",
    }
}

const SWITCH: Kind = Kind::Choice {
    choices: &[choice("off", "Off"), choice("on", "On")],
};
const SHARE: Kind = Kind::Number {
    min: 0.0,
    max: 1.0,
    log: false,
};

const fn symbol(
    id: &'static str,
    letter: &'static str,
    meaning: &'static str,
    unit: &'static str,
    control: &'static str,
) -> Symbol {
    Symbol {
        id,
        letter,
        meaning,
        unit,
        control,
    }
}

/// The exhibit.
pub static EXHIBIT: Exhibit = Exhibit {
    slug: "light_net",
    title: "LightNet",
    see: "Remove forgetting, and the order of the pixels does not matter: one scan sees the whole image. Then positions must be given back.",
    paper: Some(Paper {
        arxiv: "2405.21022",
        year: 2024,
        authors: "Qin and others",
        title: "You Only Scan Once: Efficient Multi-dimension Sequential Modeling with LightNet",
    }),
    controls: &[
        Property {
            unit: "pixels",
            ..property(
                "side",
                "Side of the image",
                "image",
                Kind::Integer {
                    min: 8,
                    max: 40,
                    log: false,
                },
                "24",
                "The image has as many pixels as its side squared; each is a token.",
            )
        },
        property(
            "down",
            "Pixel, from the top",
            "image",
            SHARE,
            "0.4",
            "The pixel whose field is shown: 0 is the first row, 1 the last.",
        ),
        property(
            "right",
            "Pixel, from the left",
            "image",
            SHARE,
            "0.6",
            "0 is the first column, 1 the last.",
        ),
        property(
            "order",
            "Order of the scans",
            "image",
            Kind::Choice {
                choices: &[choice("rows", "Rows"), choice("shuffled", "Shuffled")],
            },
            "rows",
            "Scans go along rows and columns, or through the pixels in a random order.",
        ),
        Property {
            kind: Kind::Number {
                min: 0.5,
                max: 1.0,
                log: true,
            },
            ..property(
                "decay",
                "Decay of a step",
                "multiplicative",
                SHARE,
                "0.9",
                "What a step leaves of the state. Trained models choose it for every token; here it is one number.",
            )
        },
        property(
            "scans",
            "Directions",
            "multiplicative",
            Kind::Choice {
                choices: &[choice("1", "1"), choice("2", "2"), choice("4", "4")],
            },
            "4",
            "One: along the rows. Two: and back. Four: and along the columns, there and back.",
        ),
        property(
            "logits",
            "Size of the logits",
            "additive",
            Kind::Number {
                min: 0.0,
                max: 4.0,
                log: false,
            },
            "1",
            "Standard deviation of the logits k: with 0 all pixels weigh the same.",
        ),
        property(
            "tpe",
            "Additive positions (MD-TPE)",
            "additive",
            SWITCH,
            "off",
            "A decaying sum along rows and one along columns is added to the features once, before all layers.",
        ),
        property(
            "lrpe",
            "Relative positions (MD-LRPE)",
            "additive",
            SWITCH,
            "off",
            "Queries and keys are turned by angles that grow along each axis: their products see distances.",
        ),
        property(
            "first",
            "First token",
            "additive",
            Kind::Choice {
                choices: &[
                    choice("described", "As described"),
                    choice("released", "As released"),
                ],
            },
            "described",
            "As described, sums begin at 0. A released port begins with the logarithm 0 instead: a token of logit 0 and value 0 stands before all others.",
        ),
        property(
            "seed",
            "Seed",
            "image",
            Kind::Integer {
                min: 0,
                max: 1000,
                log: false,
            },
            "0",
            "Seed of features, weights and orders.",
        ),
        BACKEND,
    ],
    symbols: &[
        symbol("tokens", "n", "pixels of the image", "", "side"),
        symbol("decay", "λ", "decay of a multiplicative scan", "", "decay"),
        symbol(
            "scans",
            "R",
            "directions of the multiplicative scans",
            "",
            "scans",
        ),
        symbol(
            "logits",
            "σ(k)",
            "standard deviation of the logits",
            "",
            "logits",
        ),
        symbol(
            "seen_scans",
            "c×",
            "share of the image that the pixel sees by R multiplicative scans",
            "%",
            "scans",
        ),
        symbol(
            "seen",
            "c+",
            "share of the image that it sees by one additive scan",
            "%",
            "lrpe",
        ),
        symbol(
            "changed_scans",
            "π×",
            "change of the output of R scans when pixels are shuffled and put back",
            "",
            "order",
        ),
        symbol("changed", "π+", "the same for the additive scan", "", "tpe"),
        symbol(
            "operations",
            "o",
            "multiply-adds of R scans over those of the additive one",
            "",
            "scans",
        ),
        symbol(
            "time",
            "t",
            "time of R scans over that of the additive one",
            "",
            "",
        ),
        symbol(
            "mass",
            "Σ w",
            "sum of all weights in the additive scan",
            "",
            "first",
        ),
        symbol(
            "difference",
            "Δ",
            "relative RMS difference of described and released",
            "",
            "first",
        ),
    ],
    needs: no_files,
    run,
    claims: &claims::CLAIMS,
    tour: &[
        Step {
            ask: "One scan along the rows, each step keeps 0.9 of the state. How much of the image does the pixel see?",
            settings: "scans=1",
            act: Act::Mark {
                symbol: "seen_scans",
                min: 0.1,
                max: 100.0,
                log: true,
            },
            reveal: "Only the 65 pixels before it on its own and the last few rows: 0.9 to the power of 66 is 1/1000.",
        },
        Step {
            ask: "Draw the weight of other pixels by distance for one additive scan.",
            settings: "",
            act: Act::Draw {
                view: "distance",
                series: "LightNet, one scan",
            },
            reveal: "It is level: a pixel counts by what it holds, not by where it stands.",
        },
        Step {
            ask: "So shuffled pixels give the same output. Switch on what makes the order count again.",
            settings: "",
            act: Act::Find {
                symbol: "changed",
                low: 0.05,
                high: 10.0,
            },
            reveal: "Positions, added to the features or turned into queries and keys, give back what the missing decay took.",
        },
    ],
    formula: r"S = \sum_{i=1}^{n} \operatorname{softmax}_i(k_i)\, v_i^\top, \qquad o_t = S^\top \operatorname{silu}(q_t)",
    source: "arXiv 2405.21022; ports: flash-linear-attention fla/layers/lightnet.py, Doraemonzzz/xmixers modules/pes/md, Doraemonzzz/xopes ops/lrpe/cosine/_md",
    tolerance: "layers equal sums over all pairs of pixels to 1e-5; positions and the whole grid are held to golden files of the ports",
};

fn options(settings: &Settings) -> Options {
    let on = |id: &str, value: &str| settings.get(id) == value;
    Options {
        side: settings.integer("side") as usize,
        decay: settings.number("decay"),
        logit_scale: settings.number("logits"),
        tpe: on("tpe", "on"),
        lrpe: on("lrpe", "on"),
        phantom: on("first", "released"),
        shuffled: on("order", "shuffled"),
        seed: settings.integer("seed") as u64,
    }
}

/// A layer: directions of its multiplicative scans, 0 for LightNet.
struct Layer {
    scans: usize,
    seen: f64,
    changed: f64,
    ms: f64,
}

fn run<'a>(settings: &'a Settings, bench: &'a Bench<'a>) -> Pending<'a, Shown> {
    Box::pin(async move {
        let options = options(settings);
        let scans = settings.integer("scans") as usize;
        let at = |id: &str| (settings.number(id) * (options.side - 1) as f64).round() as usize;
        let (row, column) = (at("down"), at("right"));
        let pixel = row * options.side + column;
        let inputs = options.inputs(None);
        let additive = reach::additive(&options, &inputs.logits, pixel);
        let by_scans = |scans| reach::multiplicative(&options, scans, pixel);

        let mut all = Vec::new();
        for scans in [0, 1, 2, 4] {
            bench.rest().await?;
            let (out, ms) = options.time(bench, scans, &inputs).await?;
            let changed = options.change_under_permutation(bench, scans, &out).await?;
            let weights = match scans {
                0 => additive.clone(),
                scans => by_scans(scans),
            };
            all.push(Layer {
                scans,
                seen: reach::coverage(&weights),
                changed,
                ms,
            });
        }
        let other = Options {
            phantom: !options.phantom,
            ..options.clone()
        };
        let usual = options.play(bench, 0, &inputs).await?;
        let with_other = other.play(bench, 0, &inputs).await?;
        let difference = if options.phantom {
            relative(&usual, &with_other)
        } else {
            relative(&with_other, &usual)
        };

        let chosen = all.iter().find(|l| l.scans == scans).unwrap_or(&all[0]);
        let light = &all[0];
        let operations = |l: &Layer| options.operations(l.scans) as f64;
        let mut shown = Shown {
            summary: format!(
                "The pixel in row {row} and column {column} sees {} % of {} pixels by one additive scan and {} % by {scans} multiplicative {}. Shuffled pixels change the output by {} and {}.",
                short(100.0 * light.seen),
                options.tokens(),
                short(100.0 * chosen.seen),
                if scans == 1 { "scan" } else { "scans" },
                short(light.changed),
                short(chosen.changed),
            ),
            ..Shown::default()
        };
        let distance = |label: &str, weights: &[f64], strong| {
            let points = reach::by_distance(options.side, weights, pixel);
            let (x, y) = points.iter().map(|&(d, w)| (d as f32, w as f32)).unzip();
            Series {
                label: label.to_owned(),
                run: "a".to_owned(),
                x,
                y,
                emphasis: strong,
            }
        };
        let mut series = vec![distance("LightNet, one scan", &additive, true)];
        for n in [1, 2, 4] {
            let name = format!("{n} multiplicative");
            series.push(distance(&name, &by_scans(n), n == scans));
        }
        shown.view(
            "distance",
            "Weight of other pixels by distance",
            Drawing::Lines(Lines {
                x: axis("distance from the pixel", "pixels", Scale::Linear),
                y: axis_over("mean weight over the largest", "", Scale::Log, [1e-6, 1.0]),
                series,
                marks: vec![Mark {
                    vertical: false,
                    value: 1e-3,
                    label: "seen above 1/1000".to_owned(),
                }],
                x_is_position: false,
            }),
        );
        shown.view(
            "additive",
            "What the pixel sees by one additive scan",
            Drawing::Heatmap(field(&options, &additive)),
        );
        shown.view(
            "multiplicative",
            &format!("What it sees by multiplicative scans: {scans}"),
            Drawing::Heatmap(field(&options, &by_scans(scans))),
        );
        shown.view(
            "layers",
            "The layers beside each other",
            Drawing::Table(table(&options, &all)),
        );
        shown.value("tokens", options.tokens() as f64);
        shown.value("decay", options.decay);
        shown.value("scans", scans as f64);
        shown.value("logits", options.logit_scale);
        shown.value("seen_scans", 100.0 * chosen.seen);
        shown.value("seen", 100.0 * light.seen);
        shown.value("changed_scans", chosen.changed);
        shown.value("changed", light.changed);
        shown.value("operations", operations(chosen) / operations(light));
        shown.value("time", chosen.ms / light.ms);
        let flat = Options {
            lrpe: false,
            ..options.clone()
        };
        let mass = reach::additive(&flat, &inputs.logits, pixel);
        shown.value("mass", mass.iter().sum());
        shown.value("difference", difference);
        Ok(shown)
    })
}

/// Normalised weights over the image.
fn field(options: &Options, weights: &[f64]) -> Heatmap {
    let n = options.side;
    let ends = [0.0, n as f64];
    Heatmap {
        x: axis_over("column", "pixels", Scale::Linear, ends),
        y: axis_over("row", "pixels", Scale::Linear, ends),
        columns: n,
        rows: n,
        values: reach::normalised(weights)
            .iter()
            .map(|&w| w as f32)
            .collect(),
        value: axis("weight over the largest", "", Scale::Linear),
        rule: "mean over all channels, queries of 1".to_owned(),
        run: "a".to_owned(),
        ..Heatmap::default()
    }
}

fn table(options: &Options, all: &[Layer]) -> Table {
    let columns = [
        "layer",
        "sees of the image (%)",
        "change when shuffled",
        "multiply-adds a pixel",
        "time (ms)",
    ];
    let digits = |x: f64| Cell::Number((x * 1e4).round() / 1e4);
    Table {
        columns: columns.map(str::to_owned).to_vec(),
        rows: all
            .iter()
            .map(|l| {
                vec![
                    Cell::Text(match l.scans {
                        0 => "LightNet, one scan".to_owned(),
                        1 => "1 multiplicative scan".to_owned(),
                        n => format!("{n} multiplicative scans"),
                    }),
                    digits(100.0 * l.seen),
                    digits(l.changed),
                    Cell::Number(options.operations(l.scans) as f64),
                    digits(l.ms),
                ]
            })
            .collect(),
    }
}
