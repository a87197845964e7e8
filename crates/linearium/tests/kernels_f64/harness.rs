//! Seeded inputs, cuts of the input, and the comparison that all kernel tests use.

use bytemuck::Pod;
use fearless_simd::Level;
use linearium::random::Random;
use linearium::recording::{Kernel, Params};

/// Token counts: nothing, one, around a GPU chunk of 64, and more than one CPU tile.
pub const LENGTHS: [usize; 9] = [0, 1, 2, 3, 63, 64, 65, 100, 257];

/// Half a unit in the last place of f32 relative to the value: one rounding.
pub const ROUNDING: f64 = 5.960_464_5e-8;

/// What an output holds behind its last row: a kernel must leave it alone.
const UNTOUCHED: f32 = 12345.0;

/// The levels that this processor has, the compile-time baseline first.
pub fn levels() -> Vec<Level> {
    let best = Level::new();
    let mut levels = vec![Level::baseline()];
    #[cfg(target_arch = "x86_64")]
    {
        levels.extend(best.as_sse4_2().map(Level::Sse4_2));
        levels.extend(best.as_avx2().map(Level::Avx2));
        levels.extend(best.as_avx512().map(Level::Avx512));
    }
    levels.push(best);
    levels
}

/// Seeded inputs, so that a failure repeats.
pub struct Rng(Random);

impl Rng {
    /// Equal seeds give equal inputs.
    pub fn new(seed: u64) -> Rng {
        Rng(Random::new(seed))
    }

    /// A whole number below `n`.
    pub fn below(&mut self, n: usize) -> usize {
        self.0.below(n)
    }

    /// Uniform in `low..high`.
    pub fn value(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * self.0.uniform() as f32
    }

    /// `n` of them.
    pub fn values(&mut self, n: usize, low: f32, high: f32) -> Vec<f32> {
        (0..n).map(|_| self.value(low, high)).collect()
    }

    /// `t` rows of `width` values in a buffer with this stride and offset; NaN in between, so
    /// that a read from the wrong column shows.
    pub fn rows(&mut self, t: usize, width: usize, stride: usize, offset: usize) -> Vec<f32> {
        let mut buffer = vec![f32::NAN; offset + t * stride + width];
        for row in 0..t {
            for c in 0..width {
                buffer[offset + row * stride + c] = self.value(-1.0, 1.0);
            }
        }
        buffer
    }

    /// Ways to feed `t` tokens: at once, one by one, in sevens, in sixty-fours, at random.
    pub fn cuts(&mut self, t: usize) -> Vec<Vec<usize>> {
        let mut random = Vec::new();
        let mut left = t;
        while left > 0 {
            random.push(1 + self.below(left));
            left -= random[random.len() - 1];
        }
        let even = |n: usize| {
            let mut cut = vec![n; t / n];
            cut.extend((!t.is_multiple_of(n)).then_some(t % n));
            cut
        };
        vec![vec![t], even(1), even(7), even(64), random]
    }
}

/// Calls the CPU twin of a kernel.
pub fn call<P: Pod>(
    kernel: &Kernel,
    level: Level,
    params: &P,
    reads: &[&[f32]],
    writes: &mut [&mut [f32]],
) {
    assert_eq!((reads.len(), writes.len()), (kernel.reads, kernel.writes));
    (kernel.cpu)(level, &Params::pack(params), reads, writes);
}

/// An output buffer: NaN where the kernel must write, a mark behind it.
pub fn output(len: usize) -> Vec<f32> {
    let mut out = vec![f32::NAN; len];
    out.extend([UNTOUCHED; 40]);
    out
}

/// Root-mean-square difference over root-mean-square value, or over `size` where that is more: the
/// size of the terms of a sum, for results so few that they could all cancel.
fn rms_ratio(got: &[f32], want: &[f64], size: f64) -> f64 {
    let mut difference = 0.0;
    let mut value = 0.0;
    for (&g, &w) in got.iter().zip(want) {
        difference += (f64::from(g) - w).powi(2);
        value += w * w;
    }
    let value = f64::max(value, size * size * want.len() as f64);
    if difference == 0.0 {
        0.0
    } else {
        (difference / value).sqrt()
    }
}

/// Compares `got`, an [`output`], with the f64 result, as a ratio of root mean squares.
#[track_caller]
pub fn assert_close(what: &str, got: &[f32], want: &[f64], size: f64, tolerance: f64) {
    assert_eq!(got.len(), want.len() + 40, "{what}: length");
    let (got, behind) = got.split_at(want.len());
    assert!(
        behind.iter().all(|&x| x == UNTOUCHED),
        "{what}: written behind the end"
    );
    assert_state_close(what, got, want, size, tolerance);
}

/// The same for a state, which has nothing behind it.
#[track_caller]
pub fn assert_state_close(what: &str, got: &[f32], want: &[f64], size: f64, tolerance: f64) {
    assert_eq!(got.len(), want.len(), "{what}: length");
    let ratio = rms_ratio(got, want, size);
    assert!(
        ratio <= tolerance,
        "{what}: RMS ratio {ratio:e} above {tolerance:e}"
    );
}
