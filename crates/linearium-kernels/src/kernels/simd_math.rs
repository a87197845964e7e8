//! What the CPU twins compute on vectors of whatever width the processor has: loads and stores of
//! a row's last few values, and the exponential with the functions made of it.
//!
//! All of it is inlined into the twin that [`fearless_simd::dispatch!`] compiles for each level.

use fearless_simd::{Simd, SimdBase, SimdFloat, prelude::*};

const LOG2_E: f32 = std::f32::consts::LOG2_E;
/// 1.5 * 2^23: a sum with it is rounded to a whole number, which stands in its low bits.
const ROUND: f32 = 12_582_912.0;
/// ln 2 in two parts; the first has nine bits, so that its multiples up to 128 are exact.
const LN_2_HIGH: f32 = 0.693_359_4;
const LN_2_LOW: f32 = -2.121_944_4e-4;
/// Least |x| with e^x below the smallest normal f32.
const EXP_LOW: f32 = -87.336_54;
/// Largest x with a finite e^x.
const EXP_HIGH: f32 = 88.722_83;

/// Loads the values from `at` on; behind the end of `x` there are zeros.
#[inline(always)]
pub(crate) fn load<S: Simd>(simd: S, x: &[f32], at: usize) -> S::f32s {
    match x.get(at..at + S::f32s::LEN) {
        Some(full) => S::f32s::from_slice(simd, full),
        None => {
            let part = &x[at..];
            let mut v = S::f32s::splat(simd, 0.0);
            v.as_mut_slice()[..part.len()].copy_from_slice(part);
            v
        }
    }
}

/// Stores the values from `at` on; those behind the end of `out` are dropped.
#[inline(always)]
pub(crate) fn store<S: Simd>(v: S::f32s, out: &mut [f32], at: usize) {
    match out.get_mut(at..at + S::f32s::LEN) {
        Some(full) => v.store_slice(full),
        None => {
            let part = &mut out[at..];
            part.copy_from_slice(&v.as_slice()[..part.len()]);
        }
    }
}

/// e^x with a relative error of at most 2^-23 (one unit in the last place); 0 where the result
/// would be below the smallest normal number, infinity above the largest, NaN for NaN.
///
/// x = n ln 2 + r with |r| <= ln(2) / 2, e^r = 1 + r + r^2 q(r), where q is the polynomial of
/// degree 4 with the least largest relative error of e^r (Remez exchange; 3.1e-9 before rounding).
#[inline(always)]
pub(crate) fn exp<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    let shifted = x.mul_add(LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = n.mul_add(-LN_2_HIGH, x);
    let r = n.mul_add(-LN_2_LOW, r);
    let q = r.mul_add(1.381_454e-3, 8.368_745e-3);
    let q = q.mul_add(r, 4.166_839e-2);
    let q = q.mul_add(r, 0.166_665_21);
    let q = q.mul_add(r, 0.499_999_94);
    let p = (r * r).mul_add(q, r) + 1.0;
    // Times 2^n: n is added to the exponent.
    let scaled: S::u32s = p.bitcast::<S::u32s>() + (shifted.bitcast::<S::u32s>() << 23);
    let scaled: S::f32s = scaled.bitcast();
    let zero = S::f32s::splat(simd, 0.0);
    let in_range = x.simd_lt(EXP_LOW).select(zero, scaled);
    x.simd_le(EXP_HIGH).select(in_range, x + f32::INFINITY)
}

/// 1 / (1 + e^-x).
#[inline(always)]
pub(crate) fn sigmoid<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    // The exponential of a non-positive number only: nothing overflows.
    let e = exp(simd, -x.abs());
    let one = S::f32s::splat(simd, 1.0);
    x.simd_ge(0.0).select(one, e) / (e + 1.0)
}

/// x / (1 + e^-x).
#[inline(always)]
pub(crate) fn silu<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    x * sigmoid(simd, x)
}

/// ln(1 + e^x) = max(x, 0) + ln(1 + e^-|x|), with a small relative error for very negative x too.
///
/// ln(1 + e) = 2 atanh(s) with s = e / (2 + e) <= 1/3: s (2 + s^2 P(s^2)), P as in [`exp`]
/// (4.6e-9 before rounding).
#[inline(always)]
pub(crate) fn softplus<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    let e = exp(simd, -x.abs());
    let s = e / (e + 2.0);
    let z = s * s;
    let p = z.mul_add(0.280_244_6, 0.279_991_42);
    let p = p.mul_add(z, 0.400_217);
    let p = p.mul_add(z, 0.666_664_1);
    let p = p.mul_add(z, 2.0);
    p.mul_add(s, x.max(0.0))
}

/// Sum of products of two rows of one length.
#[inline(always)]
pub(crate) fn dot<S: Simd>(simd: S, a: &[f32], b: &[f32]) -> f32 {
    let lanes = S::f32s::LEN;
    let mut sum = S::f32s::splat(simd, 0.0);
    let (a_rows, b_rows) = (a.chunks_exact(lanes), b.chunks_exact(lanes));
    let (a_rest, b_rest) = (a_rows.remainder(), b_rows.remainder());
    for (a, b) in a_rows.zip(b_rows) {
        sum = S::f32s::from_slice(simd, a).mul_add(S::f32s::from_slice(simd, b), sum);
    }
    if !a_rest.is_empty() {
        sum = load(simd, a_rest, 0).mul_add(load(simd, b_rest, 0), sum);
    }
    sum.reduce_sum()
}

/// Replaces each x by e^(x - from) and returns their sum.
#[inline(always)]
pub(crate) fn exp_sum<S: Simd>(simd: S, x: &mut [f32], from: f32) -> f32 {
    let lanes = S::f32s::LEN;
    let mut sum = S::f32s::splat(simd, 0.0);
    let mut rows = x.chunks_exact_mut(lanes);
    for row in &mut rows {
        let e = exp(simd, S::f32s::from_slice(simd, row) - from);
        e.store_slice(row);
        sum += e;
    }
    let mut total = sum.reduce_sum();
    let rest = rows.into_remainder();
    if !rest.is_empty() {
        let e = exp(simd, load(simd, rest, 0) - from);
        store::<S>(e, rest, 0);
        total += rest.iter().sum::<f32>();
    }
    total
}

#[cfg(test)]
mod tests {
    use fearless_simd::{Level, dispatch};

    use super::*;

    fn exp_all(level: Level, x: &[f32]) -> Vec<f32> {
        let mut out = vec![f32::NAN; x.len()];
        dispatch!(level, simd => exp_rows(simd, x, &mut out));
        out
    }

    #[inline(always)]
    fn exp_rows<S: Simd>(simd: S, x: &[f32], out: &mut [f32]) {
        for at in (0..x.len()).step_by(S::f32s::LEN) {
            store::<S>(exp(simd, load(simd, x, at)), out, at);
        }
    }

    fn levels() -> Vec<Level> {
        let best = Level::new();
        let mut levels = vec![Level::baseline(), best];
        #[cfg(target_arch = "x86_64")]
        levels.extend(best.as_avx2().map(Level::Avx2));
        levels
    }

    #[test]
    fn exp_errs_by_at_most_one_unit_in_the_last_place() {
        // Every 101st f32 of both signs from 2^-40 to 128: 3.8 million.
        let bits = (0x2b80_0000u32..0x4300_0000).step_by(101);
        let x: Vec<f32> = bits.map(f32::from_bits).flat_map(|x| [x, -x]).collect();
        for level in levels() {
            let mut worst = 0.0f64;
            for (&x, y) in x.iter().zip(exp_all(level, &x)) {
                let want = f64::from(x).exp();
                if x > EXP_HIGH {
                    assert_eq!(y, f32::INFINITY, "{level:?} exp({x})");
                } else if x < EXP_LOW {
                    assert_eq!(y, 0.0, "{level:?} exp({x})");
                } else {
                    worst = worst.max((f64::from(y) / want - 1.0).abs());
                }
            }
            let unit = f64::from(f32::EPSILON);
            assert!(worst <= unit, "{level:?}: {} units", worst / unit);
        }
    }

    #[test]
    fn exp_at_the_ends() {
        let x = [
            0.0,
            -0.0,
            -1e4,
            f32::NEG_INFINITY,
            f32::INFINITY,
            1e30,
            f32::NAN,
            88.0,
            1e-30,
        ];
        for level in levels() {
            let y = exp_all(level, &x);
            assert_eq!(y[..6], [1.0, 1.0, 0.0, 0.0, f32::INFINITY, f32::INFINITY]);
            assert!(y[6].is_nan());
            assert!((f64::from(y[7]) / 88f64.exp() - 1.0).abs() < 1.2e-7);
            assert_eq!(y[8], 1.0);
        }
    }
}
