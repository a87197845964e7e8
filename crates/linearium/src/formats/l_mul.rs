//! L-Mul: a floating-point multiplication by one addition of integers (Addition is All You Need for
//! Energy-efficient Language Models, arXiv 2410.00907).
//!
//! With `x = ±(1 + x_m) 2^{x_e}` and M stored bits of mantissa, the paper's product is
//! `±(1 + x_m + y_m + 2^{-l(M)}) 2^{x_e + y_e}` with l(M) = M up to 3 bits, 3 for 4 and 4 above. As a
//! machine would do it: add the two words without their signs, subtract the bias, add the offset.
//! If the mantissas sum to less than 1 both are the same. If they sum to more, the adder's carry
//! moves into the exponent and it gives `2 s 2^e` where the formula gives `(1 + s) 2^e`: two
//! different functions. The paper has no official code; the adder is what others have written.

/// Which of the two functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variant {
    /// The equation of the paper.
    Formula,
    /// One addition of integers.
    Adder,
}

/// l(M): the offset is `2^{-l}`.
pub fn offset_exponent(bits: u32) -> u32 {
    match bits {
        0..=3 => bits,
        4 => 3,
        _ => 4,
    }
}

/// The offset in the last place of an `f32`, for so many bits of mantissa.
pub fn offset_word(bits: u32) -> u32 {
    1 << (23 - offset_exponent(bits))
}

/// Bits of an exponent of 0 in an `f32`.
pub const BIAS_WORD: u32 = 0x3F80_0000;
/// The smallest normal number.
const SMALLEST: u32 = 0x0080_0000;
/// The largest finite number.
const LARGEST: u32 = 0x7F7F_FFFF;

/// The product of two words whose mantissas have been reduced before. Zero and subnormal factors
/// give 0; what is too small gives 0, what is too large the largest finite number; infinity and NaN
/// are those of an exact product. The sign is the product's.
pub fn multiply(x: f32, y: f32, offset: u32, variant: Variant) -> f32 {
    let [a, b] = [x, y].map(|v| v.to_bits() & 0x7FFF_FFFF);
    let sign = (x.to_bits() ^ y.to_bits()) & 0x8000_0000;
    let flushed = |v: f32, word: u32| if word < SMALLEST { 0.0 * v } else { v };
    if !x.is_finite() || !y.is_finite() {
        return flushed(x, a) * flushed(y, b);
    }
    if a < SMALLEST || b < SMALLEST {
        return f32::from_bits(sign);
    }
    let sum = match variant {
        Variant::Adder => i64::from(a) + i64::from(b) + i64::from(offset) - i64::from(BIAS_WORD),
        Variant::Formula => {
            let mantissas = (a & 0x7F_FFFF) + (b & 0x7F_FFFF) + offset;
            let exponents = i64::from(a >> 23) + i64::from(b >> 23) - 127;
            // `1 + s` of 2 or more has an exponent that is one higher, and half the mantissa.
            if mantissas < SMALLEST {
                (exponents << 23) + i64::from(mantissas)
            } else {
                (exponents << 23) + i64::from(SMALLEST) + i64::from((mantissas - SMALLEST) / 2)
            }
        }
    };
    let word = match sum {
        ..0x0080_0000 => 0,
        _ => sum.min(i64::from(LARGEST)) as u32,
    };
    f32::from_bits(sign | word)
}

/// Gains from here to 1 do not shrink what they multiply: `1 - 2^{-(l + 1)}`. In the coordinates
/// `e + m` of a number the adder adds `2 a - 2 + 2^{-l}` for a gain a in [1/2, 1), which is 0 here.
pub fn breaking_gain(bits: u32) -> f64 {
    1.0 - 2f64.powi(-(offset_exponent(bits) as i32) - 1)
}

/// What the adder makes of the binary logarithm of a gain a in [1/2, 1]: `2 a - 2 + 2^{-l}`, and
/// `2^{-l}` for 1 itself.
pub fn effective_log2(gain: f64, bits: u32) -> f64 {
    2.0 * gain - 2.0 + 2f64.powi(-(offset_exponent(bits) as i32))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::formats::{Reduce, keep_mantissa};

    /// e + m, in which the adder adds.
    fn coordinate(x: f64) -> f64 {
        let exponent = x.log2().floor();
        exponent + x / exponent.exp2() - 1.0
    }

    fn from_coordinate(c: f64) -> f64 {
        c.floor().exp2() * (1.0 + c - c.floor())
    }

    /// All pairs of mantissas up to 7 bits, in f64: the equation as it stands, and the adder as an
    /// addition of coordinates.
    #[test]
    fn every_pair_is_the_closed_form() {
        for bits in 1..=7u32 {
            let offset = 2f64.powi(-(offset_exponent(bits) as i32));
            let count = 1 << bits;
            for i in 0..count {
                for j in 0..count {
                    let [xm, ym] = [i, j].map(|n| f64::from(n) / f64::from(count));
                    for (xe, ye, sign) in [(0, 0, 1.0), (-3, 5, -1.0), (40, -60, 1.0)] {
                        let x = (1.0 + xm) * 2f64.powi(xe);
                        let y = sign * (1.0 + ym) * 2f64.powi(ye);
                        let formula = sign * (1.0 + xm + ym + offset) * 2f64.powi(xe + ye);
                        let adder =
                            sign * from_coordinate(coordinate(x) + coordinate(y.abs()) + offset);
                        let got = |variant| {
                            multiply(x as f32, y as f32, offset_word(bits), variant) as f64
                        };
                        assert_eq!(got(Variant::Formula), formula, "{bits}: {x} {y}");
                        assert_eq!(got(Variant::Adder), adder, "{bits}: {x} {y}");
                    }
                }
            }
        }
    }

    /// Mean, RMS and largest relative error over all pairs of mantissas without truncation: the
    /// numbers of an independent program.
    #[test]
    fn errors_over_all_pairs() {
        let cases = [
            (3, 0.049, 0.060, 0.125),
            (4, 0.049, 0.059, 0.125),
            (5, 0.0041, 0.031, 0.073),
        ];
        for (bits, mean, rms, largest) in cases {
            let (mut sum, mut squares, mut most, count) = (0.0, 0.0, 0f64, 1 << bits);
            for i in 0..count {
                for j in 0..count {
                    let [x, y] = [i, j].map(|n| 1.0 + n as f32 / count as f32);
                    let got = f64::from(multiply(x, y, offset_word(bits), Variant::Adder));
                    let error = got / (f64::from(x) * f64::from(y)) - 1.0;
                    sum += error;
                    squares += error * error;
                    most = most.max(error.abs());
                }
            }
            let n = f64::from(count * count);
            assert!((sum / n - mean).abs() < 6e-4, "{bits}: {}", sum / n);
            assert!((f64::sqrt(squares / n) - rms).abs() < 6e-4, "{bits}");
            assert!((most - largest).abs() < 6e-4, "{bits}: {most}");
        }
    }

    #[test]
    fn zero_and_the_ends_of_the_range() {
        for variant in [Variant::Formula, Variant::Adder] {
            let product = |x, y| multiply(x, y, offset_word(3), variant);
            assert_eq!(product(0.0, 5.0), 0.0);
            assert!(product(-0.0, 5.0).is_sign_negative());
            assert_eq!(product(1e-40, 1e30), 0.0);
            assert_eq!(product(1e-30, 1e-30), 0.0);
            assert_eq!(product(1e30, -1e30), -f32::MAX);
            assert_eq!(product(f32::INFINITY, -2.0), f32::NEG_INFINITY);
            assert!(product(f32::INFINITY, 0.0).is_nan());
            assert!(product(f32::NAN, 1.0).is_nan());
        }
    }

    /// A gain above the breaking one grows what it multiplies, one below shrinks it.
    #[test]
    fn where_decay_breaks() {
        assert_eq!([3, 4, 5].map(breaking_gain), [0.9375, 0.9375, 0.968_75]);
        for bits in 1..=10 {
            let at = breaking_gain(bits);
            for (gain, grows) in [(at - 0.004, false), (at, true), (1.0, true)] {
                let mut h = 1.0;
                for _ in 0..400 {
                    h = multiply(gain as f32, h, offset_word(bits), Variant::Adder);
                }
                let stays = at == gain && h == 1.0;
                assert!(stays || (h > 1.0) == grows, "{bits} bits, gain {gain}: {h}");
                let change = effective_log2(gain, bits);
                assert!((change > 0.0) == (gain > at), "{gain}");
            }
        }
    }

    /// With truncated operands the result has as many bits as they.
    #[test]
    fn the_adder_stays_in_its_format() {
        for bits in 1..=10 {
            for i in 0..1000 {
                let x = keep_mantissa(0.37 + 0.011 * i as f32, bits, Reduce::Truncate);
                let y = keep_mantissa(9.1 - 0.008 * i as f32, bits, Reduce::Truncate);
                let r = multiply(x, y, offset_word(bits), Variant::Adder);
                assert_eq!(keep_mantissa(r, bits, Reduce::Truncate), r);
            }
        }
    }
}
