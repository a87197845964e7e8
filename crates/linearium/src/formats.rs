//! Number formats and multiplications at the level of bits. All of them take and give `f32`, whose
//! words hold every narrower format here.

pub mod bf16;
pub mod fp8;
pub mod l_mul;

/// How the bits that do not fit are dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reduce {
    /// They are cut off: towards zero.
    Truncate,
    /// To the nearest value that fits, of two equally near ones to that with an even last bit.
    Round,
}

/// The word without its last `drop` bits, up to 23 of them. Rounding may carry into the exponent,
/// which is right, and up to infinity, for which callers look.
fn reduced(word: u32, drop: u32, reduce: Reduce) -> u32 {
    if drop == 0 {
        return word;
    }
    let kept = match reduce {
        Reduce::Truncate => word,
        Reduce::Round => word + (1 << (drop - 1)) - 1 + (word >> drop & 1),
    };
    kept >> drop << drop
}

/// `x` with only so many stored bits of its mantissa, 1 to 23; the exponent keeps its 8 bits.
/// Subnormal numbers become 0; infinity and NaN stay what they are; what rounds beyond the largest
/// finite value becomes that value.
pub fn keep_mantissa(x: f32, bits: u32, reduce: Reduce) -> f32 {
    if !x.is_finite() {
        return x;
    }
    let word = x.to_bits();
    let (sign, size) = (word & 0x8000_0000, word & 0x7FFF_FFFF);
    if size < 0x0080_0000 {
        return f32::from_bits(sign);
    }
    let drop = 23 - bits.clamp(1, 23);
    let largest = 0x7F7F_FFFF >> drop << drop;
    f32::from_bits(sign | reduced(size, drop, reduce).min(largest))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nearest value by search among neighbours, ties to the even one.
    #[test]
    fn the_nearest_value_is_found() {
        for bits in 1..=7 {
            let step = 2f64.powi(-bits);
            for i in 0..4096 {
                let x = 1.0 + f64::from(i) / 4096.0;
                let below = (x / step).floor() * step;
                let above = below + step;
                let even = (below / step).rem_euclid(2.0) == 0.0;
                let nearest = match (x - below).total_cmp(&(above - x)) {
                    std::cmp::Ordering::Less => below,
                    std::cmp::Ordering::Greater => above,
                    std::cmp::Ordering::Equal if even => below,
                    std::cmp::Ordering::Equal => above,
                };
                for (scale, sign) in [(1.0, 1.0), (0.25, -1.0), (1024.0, 1.0)] {
                    let at = |v: f64| (sign * v * scale) as f32;
                    let kept = |reduce| keep_mantissa(at(x), bits as u32, reduce);
                    assert_eq!(kept(Reduce::Round), at(nearest), "{x} to {bits} bits");
                    assert_eq!(kept(Reduce::Truncate), at(below), "{x} to {bits} bits");
                }
            }
        }
    }

    #[test]
    fn the_ends_of_the_range() {
        for reduce in [Reduce::Truncate, Reduce::Round] {
            assert_eq!(keep_mantissa(1e-40, 3, reduce), 0.0);
            assert!(keep_mantissa(-1e-40, 3, reduce).is_sign_negative());
            assert_eq!(keep_mantissa(f32::INFINITY, 3, reduce), f32::INFINITY);
            assert!(keep_mantissa(f32::NAN, 3, reduce).is_nan());
            assert!(keep_mantissa(f32::MAX, 3, reduce).is_finite());
            assert_eq!(keep_mantissa(0.1, 23, reduce), 0.1);
        }
    }
}
