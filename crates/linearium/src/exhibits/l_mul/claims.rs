//! What the paper says of L-Mul, measured again.

use super::products::{Pairs, Product, attention};
use super::saved;
use crate::exhibit::{Bench, Claim, Measured, Pending, nothing};
use crate::formats::Reduce;
use crate::formats::fp8::Fp8;
use crate::formats::l_mul::Variant;
use crate::number::short;

const PAPER: &str = "arXiv 2410.00907, abstract";
const PAIRS: usize = 400_000;
const SCALE: &str = "400,000 pairs of normal numbers, seed 1; errors are RMS against the exact product of the whole numbers, over its RMS";

pub static CLAIMS: [Claim; 7] = [
    Claim {
        id: "four-bits-e4m3",
        statement: "L-Mul with a 4-bit mantissa is about as precise as fp8 e4m3 multiplication.",
        source: PAPER,
        measured: "error of 4-bit L-Mul over the error of e4m3, factors cut off, one adder",
        scale: SCALE,
        expected: [0.9, 1.1],
        unit: "",
        tolerance: "“About” is taken as within 10 %.",
        reproducible: true,
        why: "",
        needs: nothing,
        measure: |_| four_bits(Product::adder(4)),
    },
    Claim {
        id: "three-bits-e5m2",
        statement: "L-Mul with a 3-bit mantissa is more precise than fp8 e5m2 multiplication.",
        source: PAPER,
        measured: "error of 3-bit L-Mul over the error of e5m2, factors cut off, one adder",
        scale: SCALE,
        expected: [0.0, 0.99],
        unit: "",
        tolerance: "Smaller by more than the noise of the sample.",
        reproducible: true,
        why: "",
        needs: nothing,
        measure: |_| {
            Box::pin(async {
                let pairs = Pairs::new(PAIRS, 1);
                let ours = pairs.error(|x, y| Product::adder(3).of(x, y));
                Ok(ratio("3-bit L-Mul", ours, "e5m2", pairs.fp8(Fp8::E5M2)))
            })
        },
    },
    Claim {
        id: "equation-e4m3",
        statement: "The same with the equation as it is printed.",
        source: "arXiv 2410.00907, equation of L-Mul",
        measured: "error of the 4-bit equation over the error of e4m3, factors cut off",
        scale: SCALE,
        expected: [0.9, 1.1],
        unit: "",
        tolerance: "As for the adder.",
        reproducible: false,
        why: "Where the mantissas sum to more than 1 the equation gives (1 + s) 2^e, which is far too small: at x = y = 1.875 it gives 2.875 for 3.516. The adder's carry gives 2 s 2^e.",
        needs: nothing,
        measure: |_| {
            four_bits(Product {
                variant: Variant::Formula,
                ..Product::adder(4)
            })
        },
    },
    Claim {
        id: "rounded-e4m3",
        statement: "The same with factors rounded instead of cut off.",
        source: "the paper's way of dropping bits could not be read: this is the other one",
        measured: "error of 4-bit L-Mul over the error of e4m3, factors rounded, one adder",
        scale: SCALE,
        expected: [0.9, 1.1],
        unit: "",
        tolerance: "As for factors that are cut off.",
        reproducible: false,
        why: "The offset stands in for what cutting takes away; after rounding, which takes nothing away on average, it makes products 5 % too large.",
        needs: nothing,
        measure: |_| {
            four_bits(Product {
                reduce: Reduce::Round,
                ..Product::adder(4)
            })
        },
    },
    Claim {
        id: "attention",
        statement: "Attention with L-Mul is almost lossless.",
        source: PAPER,
        measured: "error of the output of one causal head with 4-bit L-Mul over that with fp8 e4m3",
        scale: "128 tokens, width 64, normal q, k and v, seed 1; not a trained model",
        expected: [0.0, 1.5],
        unit: "",
        tolerance: "“Almost lossless” names no number: an error not far from that of fp8, which is used for inference, is taken for it.",
        reproducible: true,
        why: "",
        needs: nothing,
        measure: measure_attention,
    },
    Claim {
        id: "energy-product",
        statement: "An L-Mul costs 95 % less energy than a floating-point multiplication.",
        source: PAPER,
        measured: "share saved by an int32 addition in the place of an f32 multiplication",
        scale: "table of Horowitz 2014 at 45 nm: 0.1 and 3.7 pJ; arithmetic, not a measurement of hardware",
        expected: [92.0, 98.0],
        unit: "%",
        tolerance: "Within 3 points: how the paper gets exactly 95 could not be read.",
        reproducible: true,
        why: "",
        needs: nothing,
        measure: |_| saving(0, "1 - 0.1 / 3.7"),
    },
    Claim {
        id: "energy-dot",
        statement: "A dot product with L-Mul costs 80 % less energy.",
        source: PAPER,
        measured: "share saved with one f32 addition for each product",
        scale: "table of Horowitz 2014 at 45 nm: 0.1, 0.9 and 3.7 pJ; arithmetic, not a measurement of hardware",
        expected: [77.0, 83.0],
        unit: "%",
        tolerance: "Within 3 points.",
        reproducible: true,
        why: "",
        needs: nothing,
        measure: |_| saving(1, "1 - (0.1 + 0.9) / (3.7 + 0.9)"),
    },
];

fn ratio(ours: &str, error: f64, theirs: &str, other: f64) -> Measured {
    Measured {
        value: error / other,
        words: format!(
            "The error of {ours} is {}, that of {theirs} {}.",
            short(error),
            short(other)
        ),
    }
}

fn four_bits<'a>(product: Product) -> Pending<'a, Measured> {
    Box::pin(async move {
        let pairs = Pairs::new(PAIRS, 1);
        let ours = pairs.error(|x, y| product.of(x, y));
        Ok(ratio("4-bit L-Mul", ours, "e4m3", pairs.fp8(Fp8::E4M3)))
    })
}

fn saving<'a>(index: usize, sum: &'static str) -> Pending<'a, Measured> {
    Box::pin(async move {
        let value = 100.0 * saved()[index];
        let words = format!("{sum} = {} %.", short(value));
        Ok(Measured { value, words })
    })
}

fn measure_attention<'a>(bench: &'a Bench<'a>) -> Pending<'a, Measured> {
    Box::pin(async move {
        let all = attention(bench, Product::adder(4), 1).await?;
        let of = |name: &str| {
            let at = all.names.iter().position(|n| n == name).unwrap_or(0);
            all.errors[at][1]
        };
        Ok(ratio(
            "the output with 4-bit L-Mul",
            all.errors[0][1],
            "that with e4m3",
            of("fp8 e4m3"),
        ))
    })
}
