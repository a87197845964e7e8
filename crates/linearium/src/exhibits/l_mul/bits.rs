//! One product as bits.

use super::products::Product;
use super::table;
use crate::formats::l_mul::{Variant, offset_exponent};
use crate::views::{Cell, Table};

/// Sign, exponent and the kept bits of the mantissa of a word.
fn fields(word: u32, bits: u32) -> [Cell; 3] {
    let mantissa = (word & 0x7F_FFFF) >> (23 - bits);
    let width = bits as usize;
    [
        format!("{:b}", word >> 31),
        format!("{:08b}", word >> 23 & 0xFF),
        format!("{mantissa:0width$b}"),
    ]
    .map(Cell::Text)
}

fn row(what: &str, word: u32, bits: u32, value: Cell) -> Vec<Cell> {
    let [sign, exponent, mantissa] = fields(word, bits);
    vec![Cell::Text(what.to_owned()), sign, exponent, mantissa, value]
}

/// The addition, word by word.
pub fn of(x: f32, y: f32, product: Product) -> Table {
    let bits = product.bits;
    let [a, b] = [x, y].map(|v| product.reduced(v));
    let result = product.of(x, y);
    let number = |v: f32| Cell::Number(v.into());
    let empty = || Cell::Text(String::new());
    let mut rows = vec![
        row("x with M bits", a.to_bits(), bits, number(a)),
        row("y with M bits", b.to_bits(), bits, number(b)),
        row("less the bias", 0x3F80_0000, bits, empty()),
    ];
    if product.offset {
        let l = offset_exponent(bits);
        rows.push(row(
            &format!("plus the offset 2^-{l}"),
            product.offset_word(),
            bits,
            empty(),
        ));
    }
    let what = match product.variant {
        Variant::Adder => "sum of the words",
        Variant::Formula => "the equation",
    };
    // The equation may need a bit more than the factors.
    let shown = if product.variant == Variant::Formula {
        bits + 1
    } else {
        bits
    };
    rows.push(row(what, result.to_bits(), shown, number(result)));
    rows.push(row(
        "exact product of x and y",
        (x * y).to_bits(),
        bits + 6,
        number(x * y),
    ));
    table(&["", "sign", "exponent", "mantissa", "value"], rows)
}
