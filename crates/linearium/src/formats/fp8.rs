//! The two 8-bit floating-point formats of the Open Compute Project (OFP8, revision 1.0), as
//! `float8_e4m3fn` and `float8_e5m2` of PyPI's ml_dtypes have them.
//!
//! e4m3 has 4 bits of exponent (bias 7) and 3 of mantissa, no infinity, and a NaN in the place of
//! its largest value, so that its largest number is 448. e5m2 has 5 (bias 15) and 2, infinity and
//! NaN as IEEE 754; its largest number is 57,344.

/// A format of 8 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fp8 {
    /// 4 bits of exponent, 3 of mantissa.
    E4M3,
    /// 5 bits of exponent, 2 of mantissa.
    E5M2,
}

impl Fp8 {
    /// Stored bits of the mantissa.
    pub fn mantissa_bits(self) -> u32 {
        match self {
            Fp8::E4M3 => 3,
            Fp8::E5M2 => 2,
        }
    }

    /// Lowest exponent of a normal number.
    fn lowest_exponent(self) -> i32 {
        match self {
            Fp8::E4M3 => -6,
            Fp8::E5M2 => -14,
        }
    }

    /// Largest finite number.
    pub fn largest(self) -> f32 {
        match self {
            Fp8::E4M3 => 448.0,
            Fp8::E5M2 => 57_344.0,
        }
    }

    /// The number that a byte stands for.
    pub fn value(self, byte: u8) -> f32 {
        let bits = self.mantissa_bits();
        let sign = if byte & 0x80 == 0 { 1.0 } else { -1.0 };
        let exponent = i32::from(byte & 0x7F) >> bits;
        let mantissa = f32::from(byte & ((1 << bits) - 1)) / (1 << bits) as f32;
        match (self, byte & 0x7F) {
            (Fp8::E4M3, 0x7F) | (Fp8::E5M2, 0x7D..) => return f32::NAN,
            (Fp8::E5M2, 0x7C) => return sign * f32::INFINITY,
            _ => {}
        }
        let lowest = self.lowest_exponent();
        sign * if exponent == 0 {
            mantissa * 2f32.powi(lowest)
        } else {
            (1.0 + mantissa) * 2f32.powi(exponent - 1 + lowest)
        }
    }

    /// The nearest number of the format, ties to the even mantissa. Beyond the largest one it
    /// saturates, as networks in fp8 do; NaN stays NaN.
    pub fn round(self, x: f32) -> f32 {
        if x.is_nan() {
            return x;
        }
        let size = f64::from(x.abs());
        // The exponent by its bits: a logarithm would be off by one next to a power of two.
        let exponent = ((size.to_bits() >> 52) as i32 - 1023).max(self.lowest_exponent());
        let step = 2f64.powi(exponent - self.mantissa_bits() as i32);
        let rounded = (size / step).round_ties_even() * step;
        (rounded as f32).min(self.largest()).copysign(x)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORMATS: [Fp8; 2] = [Fp8::E4M3, Fp8::E5M2];

    #[test]
    fn known_values() {
        let e4m3 = [
            (0x38, 1.0),
            (0x7E, 448.0),
            (0x01, 1.0 / 512.0),
            (0xC0, -2.0),
        ];
        let e5m2 = [(0x3C, 1.0), (0x7B, 57_344.0), (0x01, 1.0 / 65_536.0)];
        for (byte, want) in e4m3 {
            assert_eq!(Fp8::E4M3.value(byte), want);
        }
        for (byte, want) in e5m2 {
            assert_eq!(Fp8::E5M2.value(byte), want);
        }
        assert!(Fp8::E4M3.value(0x7F).is_nan() && Fp8::E5M2.value(0x7E).is_nan());
        assert_eq!(Fp8::E5M2.value(0xFC), f32::NEG_INFINITY);
    }

    /// Against a search over all bytes: every byte's own value, every point half way between two
    /// neighbours, and what lies right beside it.
    #[test]
    fn rounding_is_the_nearest_byte() {
        for format in FORMATS {
            let finite: Vec<(u8, f32)> = (0..0x7F)
                .map(|b| (b, format.value(b)))
                .filter(|(_, v)| v.is_finite())
                .collect();
            let search = |x: f32| {
                let distance = |v: f32| (f64::from(v) - f64::from(x)).abs();
                finite
                    .iter()
                    .min_by(|a, b| {
                        let odd = |byte: u8| byte & 1;
                        distance(a.1)
                            .total_cmp(&distance(b.1))
                            .then(odd(a.0).cmp(&odd(b.0)))
                    })
                    .expect("there are bytes")
                    .1
            };
            for pair in finite.windows(2) {
                let [(_, low), (_, high)] = pair else {
                    unreachable!()
                };
                let middle = (low + high) / 2.0;
                let around = [
                    *low,
                    low + (middle - low) / 2.0,
                    f32::from_bits(middle.to_bits() - 1),
                    middle,
                    f32::from_bits(middle.to_bits() + 1),
                ];
                for x in around {
                    assert_eq!(format.round(x), search(x), "{format:?} {x}");
                    assert_eq!(format.round(-x), -search(x), "{format:?} {x}");
                }
            }
            for x in [1e9, f32::INFINITY] {
                assert_eq!(format.round(x), format.largest());
                assert_eq!(format.round(-x), -format.largest());
            }
            assert!(format.round(f32::NAN).is_nan());
        }
    }
}
