//! bfloat16: the upper half of an `f32`, 8 bits of exponent and 7 of mantissa.

/// The nearest bf16, ties to even; what rounds beyond the largest finite value becomes infinity, as
/// in IEEE 754. Subnormal numbers are kept.
pub fn round(x: f32) -> f32 {
    if x.is_nan() {
        return x;
    }
    let word = x.to_bits();
    f32::from_bits((word + 0x7FFF + (word >> 16 & 1)) & 0xFFFF_0000)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every bf16 is itself, and what lies between two neighbours goes to the nearer one.
    #[test]
    fn every_bf16_and_what_lies_between() {
        for high in 0..0x7F80u32 {
            let [low, next] = [high, high + 1].map(|h| f32::from_bits(h << 16));
            for sign in [1.0, -1.0] {
                assert_eq!(round(sign * low), sign * low);
                for part in [0x0001, 0x7FFF, 0x8000, 0x8001, 0xFFFF] {
                    let between = f32::from_bits(high << 16 | part);
                    let up = part > 0x8000 || part == 0x8000 && high & 1 == 1;
                    let want = if up { next } else { low };
                    assert_eq!(round(sign * between), sign * want, "{high:04x} {part:04x}");
                }
            }
        }
        assert!(round(f32::NAN).is_nan());
        assert_eq!(round(f32::MAX), f32::INFINITY);
        assert_eq!(round(f32::NEG_INFINITY), f32::NEG_INFINITY);
    }
}
