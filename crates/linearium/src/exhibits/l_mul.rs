//! L-Mul: a floating-point multiplication by one addition of integers. What it is at the level of
//! bits is in [`crate::formats::l_mul`]; here is what follows from it: errors beside fp8, attention
//! and a recurrence computed with it, and where a decay breaks.

#[path = "l_mul/bits.rs"]
mod bits;
#[path = "l_mul/claims.rs"]
mod claims;
#[path = "l_mul/products.rs"]
mod products;
#[path = "l_mul/recurrence.rs"]
mod recurrence;

use crate::exhibit::{
    Act, BACKEND, Bench, Exhibit, Paper, Pending, Shown, Step, Symbol, axis, axis_over, no_files,
};
use crate::formats::Reduce;
use crate::formats::fp8::Fp8;
use crate::formats::l_mul::{Variant, breaking_gain, effective_log2, offset_exponent};
use crate::number::short;
use crate::settings::{Kind, Property, Settings, choice};
use crate::views::{Axis, Cell, Drawing, Heatmap, Lines, Mark, Scale, Series, Table};
use products::{Pairs, Product};

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

const fn number(min: f64, max: f64) -> Kind {
    Kind::Number {
        min,
        max,
        log: false,
    }
}

/// Largest number that can be multiplied by hand.
const LARGEST: f64 = 1e6;

/// The exhibit.
pub static EXHIBIT: Exhibit = Exhibit {
    slug: "l_mul",
    title: "L-Mul",
    see: "A product of two floating-point numbers by one addition of integers: how wrong it is, and where that matters.",
    paper: Some(Paper {
        arxiv: "2410.00907",
        year: 2024,
        authors: "Luo and Sun",
        title: "Addition is All You Need for Energy-efficient Language Models",
    }),
    controls: &[
        property(
            "x",
            "First number",
            "numbers",
            number(-LARGEST, LARGEST),
            "1.7",
            "Multiplied bit by bit in the first table.",
        ),
        property(
            "y",
            "Second number",
            "numbers",
            number(-LARGEST, LARGEST),
            "-2.6",
            "Multiplied bit by bit in the first table.",
        ),
        property(
            "bits",
            "Mantissa bits",
            "numbers",
            Kind::Integer {
                min: 1,
                max: 10,
                log: false,
            },
            "4",
            "Stored bits of the mantissa of both factors; the exponent keeps its 8 bits.",
        ),
        property(
            "product",
            "Product",
            "variant",
            Kind::Choice {
                choices: &[
                    choice("described", "As described"),
                    choice("adder", "As one adder"),
                ],
            },
            "adder",
            "The paper's equation, or the addition of integers that carries into the exponent. The paper has no official code; others have written the adder.",
        ),
        property(
            "reduce",
            "Bits that do not fit",
            "variant",
            Kind::Choice {
                choices: &[choice("truncate", "Cut off"), choice("round", "Round")],
            },
            "truncate",
            "How factors lose their other bits. What cutting takes away the offset gives back; with rounding the products are too large on average.",
        ),
        property(
            "offset",
            "Offset 2^-l",
            "variant",
            Kind::Choice {
                choices: &[choice("on", "On"), choice("off", "Off")],
            },
            "on",
            "Stands for the product of the mantissas, which is left out. Off is Mitchell's logarithmic product of 1962.",
        ),
        Property {
            kind: Kind::Number {
                min: 0.5,
                max: 1.0,
                log: true,
            },
            ..property(
                "gain",
                "Gain of the recurrence",
                "recurrence",
                number(0.5, 1.0),
                "0.95",
                "The decay a of h = a h + x.",
            )
        },
        property(
            "where",
            "L-Mul computes",
            "recurrence",
            Kind::Choice {
                choices: &[
                    choice("inputs", "Inputs only"),
                    choice("decay", "Decay too"),
                ],
            },
            "decay",
            "The products of inputs alone are harmless; the product of the decay and the state is made at every step, and errors of one sign multiply.",
        ),
        Property {
            unit: "tokens",
            kind: Kind::Integer {
                min: 16,
                max: 4096,
                log: true,
            },
            ..property(
                "length",
                "Length",
                "recurrence",
                number(16.0, 4096.0),
                "1000",
                "Steps of the recurrence.",
            )
        },
        property(
            "seed",
            "Seed",
            "numbers",
            Kind::Integer {
                min: 0,
                max: 1000,
                log: false,
            },
            "0",
            "Seed of all random numbers.",
        ),
        BACKEND,
    ],
    symbols: &[
        symbol("x", "x", "first factor", "x"),
        symbol("y", "y", "second factor", "y"),
        symbol("bits", "M", "stored bits of the mantissa", "bits"),
        symbol("l", "l(M)", "exponent of the offset", "offset"),
        symbol("product", "L(x, y)", "the product by addition", "product"),
        symbol("exact", "x y", "the exact product", ""),
        symbol("error", "error", "relative error of this product", ""),
        symbol(
            "rms_error",
            "ε",
            "relative RMS error of products of random numbers",
            "reduce",
        ),
        symbol(
            "e4m3",
            "ε(e4m3)",
            "the same for fp8 e4m3, exact products of rounded factors",
            "",
        ),
        symbol("e5m2", "ε(e5m2)", "the same for fp8 e5m2", ""),
        symbol(
            "difference",
            "Δ",
            "relative RMS difference of equation and adder",
            "product",
        ),
        symbol(
            "logits",
            "ε(qk)",
            "relative RMS error of attention's logits",
            "",
        ),
        symbol(
            "attended",
            "ε(o)",
            "relative RMS error of attention's output",
            "",
        ),
        symbol("gain", "a", "gain of the recurrence", "gain"),
        symbol("effective", "a′", "gain that L-Mul makes of it", "gain"),
        symbol(
            "breaking",
            "a*",
            "gain from which the state never shrinks",
            "",
        ),
        Symbol {
            unit: "tokens",
            ..symbol(
                "half_life",
                "t½",
                "steps until half of a write is left",
                "where",
            )
        },
        symbol(
            "growth",
            "h/h₀",
            "size of the last state over that of the exact one",
            "length",
        ),
    ],
    needs: no_files,
    run,
    claims: &claims::CLAIMS,
    tour: &[
        Step {
            ask: "Two numbers with 3 bits of mantissa, multiplied by an addition: how wrong are products on average?",
            settings: "bits=3",
            act: Act::Mark {
                symbol: "rms_error",
                min: 0.005,
                max: 0.5,
                log: true,
            },
            reveal: "About 6 %: nearer than fp8 e5m2 (7.5 %) with as many bits, without one multiplication.",
        },
        Step {
            ask: "The state of h = 0.99 h + x settles at about 7 times the size of x. Draw its size if every product is an L-Mul.",
            settings: "bits=5&gain=0.99",
            act: Act::Draw {
                view: "state",
                series: "L-Mul",
            },
            reveal: "It explodes: every product is a little too large, and a recurrence multiplies a thousand times.",
        },
        Step {
            ask: "Find a gain at which the state shrinks again.",
            settings: "bits=5&gain=0.99",
            act: Act::Find {
                symbol: "effective",
                low: 0.2,
                high: 0.999,
            },
            reveal: "Only gains below 1 - 2^-(l+1) shrink: 0.96875 here, 0.9375 with 3 or 4 bits.",
        },
    ],
    formula: r"L(x, y) = \pm (1 + x_m + y_m + 2^{-l(M)})\, 2^{x_e + y_e},\; l(M) = M\,(M \le 3),\ 3\,(M = 4),\ 4\,(M > 4)",
    source: "arXiv 2410.00907, equation of L-Mul as others quote it; no official code. fp8: OFP8 revision 1.0",
    tolerance: "equal to the closed form for every pair of mantissas up to 7 bits; both back ends equal to the last bit",
};

const fn symbol(
    id: &'static str,
    letter: &'static str,
    meaning: &'static str,
    control: &'static str,
) -> Symbol {
    Symbol {
        id,
        letter,
        meaning,
        unit: "",
        control,
    }
}

/// The multiplication that the settings ask for.
fn chosen(settings: &Settings) -> Product {
    Product {
        bits: settings.integer("bits") as u32,
        reduce: match settings.get("reduce") {
            "round" => Reduce::Round,
            _ => Reduce::Truncate,
        },
        variant: match settings.get("product") {
            "described" => Variant::Formula,
            _ => Variant::Adder,
        },
        offset: settings.get("offset") == "on",
    }
}

/// Pairs of random numbers behind the curve of errors.
const PAIRS: usize = 20_000;

fn run<'a>(settings: &'a Settings, bench: &'a Bench<'a>) -> Pending<'a, Shown> {
    Box::pin(async move {
        let product = chosen(settings);
        let seed = settings.integer("seed") as u64;
        let mut shown = Shown::default();
        shown.view(
            "error-map",
            "Relative error over the mantissas of both factors",
            Drawing::Heatmap(error_map(product)),
        );
        let [x, y] = ["x", "y"].map(|id| settings.number(id) as f32);
        shown.view(
            "bits",
            "One product, bit by bit",
            Drawing::Table(bits::of(x, y, product)),
        );
        shown.value("x", x.into());
        shown.value("y", y.into());
        shown.value("bits", product.bits.into());
        shown.value("l", offset_exponent(product.bits).into());
        let (got, exact) = (product.of(x, y), f64::from(x) * f64::from(y));
        shown.value("product", got.into());
        shown.value("exact", exact);
        shown.value(
            "error",
            if exact == 0.0 {
                0.0
            } else {
                f64::from(got) / exact - 1.0
            },
        );

        let pairs = Pairs::new(PAIRS, seed);
        let error = pairs.error(|x, y| product.of(x, y));
        let (e4m3, e5m2) = (pairs.fp8(Fp8::E4M3), pairs.fp8(Fp8::E5M2));
        shown.view(
            "errors",
            "Error of products of random numbers, by bits of mantissa",
            Drawing::Lines(errors_by_bits(product, &pairs, [e4m3, e5m2])),
        );
        shown.value("rms_error", error);
        shown.value("e4m3", e4m3);
        shown.value("e5m2", e5m2);
        shown.value("difference", pairs.difference(product));
        bench.rest().await?;

        let attention = products::attention(bench, product, seed).await?;
        shown.view(
            "weights",
            "Attention of the last of 128 tokens",
            Drawing::Lines(attention.weights),
        );
        shown.value("logits", attention.errors[0][0]);
        shown.value("attended", attention.errors[0][1]);
        shown.view(
            "attention",
            "Attention with other multiplications: relative RMS errors",
            Drawing::Table(table(
                &["multiplication", "logits", "output"],
                attention
                    .names
                    .into_iter()
                    .zip(attention.errors)
                    .map(|(name, [logits, out])| {
                        vec![Cell::Text(name), Cell::Number(logits), Cell::Number(out)]
                    })
                    .collect(),
            )),
        );
        bench.rest().await?;

        let gain = settings.number("gain");
        let breaks = settings.get("where") == "decay";
        let length = settings.integer("length") as usize;
        let states = recurrence::sizes(product, gain as f32, breaks, length, seed);
        let last = states.approximate.last().zip(states.exact.last());
        let growth = last.map_or(1.0, |(a, e)| f64::from(*a) / f64::from(*e));
        shown.view(
            "state",
            "Size of the state of a recurrence",
            Drawing::Lines(states.lines()),
        );
        shown.view(
            "decay",
            "What a gain becomes",
            Drawing::Lines(effective_gains(product, gain)),
        );
        let effective = if breaks { acting(product, gain) } else { gain };
        shown.value("gain", gain);
        shown.value("effective", effective);
        if product.offset {
            shown.value("breaking", breaking_gain(product.bits));
        } else {
            shown.words("breaking", 1.0, "1 (no offset)");
        }
        let life = if breaks {
            recurrence::half_life(product, gain as f32)
        } else {
            0.5f64.ln() / gain.ln()
        };
        if life.is_finite() {
            shown.value("half_life", life);
        } else {
            shown.words("half_life", f64::INFINITY, "never");
        }
        shown.value("growth", growth);
        shown.view(
            "energy",
            "Energy of one operation at 45 nm, and what is saved",
            Drawing::Table(energy()),
        );
        shown.summary = format!(
            "Products of random numbers with {} bits of mantissa are off by {} % (RMS), against {} % for fp8 e4m3 and {} % for e5m2. A gain of {gain} acts as {}; {}.",
            product.bits,
            short(100.0 * error),
            short(100.0 * e4m3),
            short(100.0 * e5m2),
            short(effective),
            if growth.is_finite() && growth < 10.0 {
                format!(
                    "the state ends {} times as large as the exact one",
                    short(growth)
                )
            } else {
                "the state explodes".to_owned()
            },
        );
        Ok(shown)
    })
}

/// A table from column heads and rows.
fn table(columns: &[&str], rows: Vec<Vec<Cell>>) -> Table {
    Table {
        columns: columns.iter().map(|&c| c.to_owned()).collect(),
        rows,
    }
}

/// Cells along each side of the map of errors.
const CELLS: usize = 64;

fn error_map(product: Product) -> Heatmap {
    let at = |i: usize| 1.0 + (i as f32 + 0.5) / CELLS as f32;
    let error = |x: f32, y: f32| f64::from(product.of(x, y)) / (f64::from(x) * f64::from(y)) - 1.0;
    let rows = (0..CELLS).rev();
    let values = rows.flat_map(|y| (0..CELLS).map(move |x| error(at(x), at(y)) as f32));
    Heatmap {
        x: axis_over(
            "mantissa 1 + x_m of the first factor",
            "",
            Scale::Linear,
            [1.0, 2.0],
        ),
        // The first row is that of the largest mantissa.
        y: axis_over(
            "mantissa 1 + y_m of the second factor",
            "",
            Scale::Linear,
            [2.0, 1.0],
        ),
        columns: CELLS,
        rows: CELLS,
        values: values.collect(),
        value: axis("relative error", "", Scale::Linear),
        rule: "one product a cell, at its centre".to_owned(),
        run: "a".to_owned(),
        ..Heatmap::default()
    }
}

fn series(label: &str, points: impl Iterator<Item = (f64, f64)>, emphasis: bool) -> Series {
    let (x, y) = points.map(|(x, y)| (x as f32, y as f32)).unzip();
    Series {
        label: label.to_owned(),
        run: "a".to_owned(),
        x,
        y,
        emphasis,
    }
}

fn errors_by_bits(product: Product, pairs: &Pairs, [e4m3, e5m2]: [f64; 2]) -> Lines {
    let by_bits = |name: &str, of: &dyn Fn(u32) -> f64, strong| {
        series(
            name,
            (1..=10).map(|bits| (f64::from(bits), of(bits))),
            strong,
        )
    };
    let mark = |value, label: &str| Mark {
        vertical: false,
        value,
        label: label.to_owned(),
    };
    Lines {
        x: axis("bits of mantissa M", "", Scale::Linear),
        y: axis("relative RMS error", "", Scale::Log),
        series: vec![
            by_bits(
                "L-Mul as set",
                &|bits| pairs.error(|x, y| Product { bits, ..product }.of(x, y)),
                true,
            ),
            by_bits(
                "exact product of the same factors",
                &|bits| {
                    let exact = Product { bits, ..product };
                    pairs.error(|x, y| exact.reduced(x) * exact.reduced(y))
                },
                false,
            ),
        ],
        marks: vec![
            mark(e4m3, "fp8 e4m3"),
            mark(e5m2, "fp8 e5m2"),
            Mark {
                vertical: true,
                ..mark(product.bits.into(), "M")
            },
        ],
        x_is_position: false,
    }
}

/// The gain that acts: for the adder the closed form with the bits that are kept, for the equation
/// what one step makes of states of all mantissas, averaged.
fn acting(product: Product, gain: f64) -> f64 {
    let kept = f64::from(product.reduced(gain as f32));
    match product.variant {
        Variant::Adder if product.offset => effective_log2(kept, product.bits).exp2(),
        Variant::Adder => (2.0 * kept - 2.0).exp2(),
        Variant::Formula => one_step(product, gain),
    }
}

/// What one step makes of states of all mantissas, averaged in logarithms.
fn one_step(product: Product, gain: f64) -> f64 {
    let logs = (0..64).map(|i| {
        let h = 1.0 + (f64::from(i) + 0.5) / 64.0;
        (f64::from(product.of(gain as f32, h as f32)) / h).log2()
    });
    (logs.sum::<f64>() / 64.0).exp2()
}

fn effective_gains(product: Product, gain: f64) -> Lines {
    let gains = || (0..=200).map(|i| 0.5 + 0.5 * f64::from(i) / 200.0);
    Lines {
        x: axis("gain a", "", Scale::Linear),
        y: axis("gain that acts", "", Scale::Linear),
        series: vec![
            series("exact", gains().map(|a| (a, a)), false),
            series(
                "one step, averaged over states",
                gains().map(|a| (a, one_step(product, a))),
                false,
            ),
            series(
                "L-Mul as set",
                gains().map(|a| (a, acting(product, a))),
                true,
            ),
        ],
        marks: vec![
            Mark {
                vertical: false,
                value: 1.0,
                label: "above this line the state grows".to_owned(),
            },
            Mark {
                vertical: true,
                value: gain,
                label: "a".to_owned(),
            },
        ],
        x_is_position: false,
    }
}

/// Energy of operations at 45 nm in pJ (Horowitz, Computing's energy problem, ISSCC 2014), as the
/// code of EcoFormer and a journal's table give them.
pub(crate) const ENERGY: [(&str, f64); 4] = [
    ("f32 multiplication", 3.7),
    ("f32 addition", 0.9),
    ("int32 addition", 0.1),
    ("int32 multiplication", 3.1),
];

/// What an L-Mul in the place of an f32 multiplication saves, and in the place of that of a
/// multiplication and an addition: 0.1 instead of 3.7, and 0.1 + 0.9 instead of 3.7 + 0.9.
pub(crate) fn saved() -> [f64; 2] {
    let [multiply, add, integer, _] = ENERGY.map(|(_, pj)| pj);
    [
        1.0 - integer / multiply,
        1.0 - (integer + add) / (multiply + add),
    ]
}

fn energy() -> Table {
    let mut rows: Vec<Vec<Cell>> = ENERGY
        .iter()
        .map(|&(name, pj)| {
            vec![
                Cell::Text(name.to_owned()),
                Cell::Number(pj),
                Cell::Text("Horowitz 2014, 45 nm".to_owned()),
            ]
        })
        .collect();
    let [product, dot] = saved();
    for (name, sum, share) in [
        ("saved by an L-Mul for a product", "1 − 0.1 / 3.7", product),
        (
            "saved in a dot product",
            "1 − (0.1 + 0.9) / (3.7 + 0.9)",
            dot,
        ),
    ] {
        rows.push(vec![
            Cell::Text(name.to_owned()),
            Cell::Number((1e4 * share).round() / 1e4),
            Cell::Text(format!(
                "{sum}; the paper says {}",
                if share > 0.9 { "95 %" } else { "80 %" }
            )),
        ]);
    }
    table(&["operation", "pJ, or share saved", "source"], rows)
}

/// An axis of sizes that may explode.
fn size_axis() -> Axis {
    axis("RMS of the state over 64 channels", "", Scale::Log)
}
