//! What the state holds: norm, mean, variance, largest entry, effective rank, and the
//! distribution of its entries.
//!
//! Effective rank is the exponential of the entropy of the normalised singular values,
//! `exp(-sum p_i ln p_i)`, `p_i = s_i / sum s` (Roy and Vetterli, EUSIPCO 2007). The other
//! statistics are those of Stuffed Mamba (`analysis/analyze_states.py`), over all entries of one
//! head.

use crate::mixers::Shape;
use crate::spectrum::{moments, singular_shares};

/// Bins of the histogram of entries: [`OCTAVES`] powers of two on each side of the middle bin,
/// which holds all smaller entries.
pub const BINS: usize = 2 * OCTAVES + 1;
/// Powers of two on each side.
pub const OCTAVES: usize = 32;
/// log2 of the lower edge of the first bin beside the middle one.
pub const SMALLEST: i32 = -20;

/// The state of the layer looked at, at one position.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Tokens read.
    pub position: usize,
    /// For each layer, for each head; empty for a layer without a state, and for those that are
    /// not looked at: to measure a state takes longer than to make it. S6 has states of single
    /// channels, too small to have a rank: its layer counts as one head of shape `[E, N]`.
    pub layers: Vec<Vec<Stats>>,
}

/// Statistics of one head's state.
#[derive(Clone, Debug, PartialEq)]
pub struct Stats {
    /// Frobenius norm.
    pub norm: f32,
    /// Mean entry.
    pub mean: f32,
    /// Variance of the entries.
    pub variance: f32,
    /// Largest absolute value.
    pub largest: f32,
    /// Effective rank, 0 for a zero state.
    pub effective_rank: f32,
    /// Counts of entries, [`BINS`] bins by sign and power of two.
    pub histogram: Vec<u32>,
}

/// Measures each head of a layer's state.
pub fn measure(state: &[f32], shape: &Shape) -> Vec<Stats> {
    let (rows, columns) = if shape.value == 1 {
        (shape.heads, shape.key)
    } else {
        (shape.key, shape.value)
    };
    state
        .chunks_exact(rows * columns)
        .map(|s| stats(s, rows, columns))
        .collect()
}

/// Statistics of a matrix `[rows, columns]`.
pub fn stats(s: &[f32], rows: usize, columns: usize) -> Stats {
    let n = s.len() as f64;
    let (sum, square, largest) = moments(s);
    let mut histogram = vec![0; BINS];
    for &x in s {
        histogram[bin(x)] += 1;
    }
    let mean = sum / n;
    Stats {
        norm: square.sqrt() as f32,
        mean: mean as f32,
        // A mean that is large beside the spread costs digits, of which f64 has enough.
        variance: (square / n - mean * mean).clamp(0.0, f64::INFINITY) as f32,
        largest,
        effective_rank: effective_rank(s, rows, columns),
        histogram,
    }
}

/// The histogram bin of an entry.
pub fn bin(x: f32) -> usize {
    // Exponent bits are floor(log2 |x|) for every normal number.
    let octave = (x.abs().to_bits() >> 23) as i32 - 127 - SMALLEST;
    let from_middle = (octave.clamp(-1, OCTAVES as i32 - 1) + 1) as usize;
    if x > 0.0 {
        OCTAVES + from_middle
    } else {
        OCTAVES - from_middle
    }
}

/// The `BINS + 1` edges of the histogram; the outermost bins also hold what lies beyond.
pub fn edges() -> Vec<f32> {
    let up: Vec<f32> = (0..=OCTAVES as i32)
        .map(|o| 2f32.powi(SMALLEST + o))
        .collect();
    up.iter()
        .rev()
        .map(|x| -x)
        .chain(up.iter().copied())
        .collect()
}

/// Effective rank of a matrix `[rows, columns]`, 0 for one that is zero or not finite.
pub fn effective_rank(s: &[f32], rows: usize, columns: usize) -> f32 {
    let shares = singular_shares(s, rows, columns);
    if shares.iter().all(|&p| p == 0.0) {
        return 0.0;
    }
    let entropy: f64 = shares
        .iter()
        .filter(|&&p| p > 0.0)
        .map(|p| -p * p.ln())
        .sum();
    entropy.exp() as f32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    #[test]
    fn effective_rank_of_known_matrices() {
        let mut identity = vec![0.0; 5 * 8];
        for i in 0..5 {
            identity[i * 8 + i] = -2.5;
        }
        assert!((effective_rank(&identity, 5, 8) - 5.0).abs() < 1e-4);
        let one: Vec<f32> = (0..48)
            .map(|i| ((i / 8 + 1) * (i % 8 + 1)) as f32)
            .collect();
        assert!((effective_rank(&one, 6, 8) - 1.0).abs() < 1e-3);
        assert_eq!(effective_rank(&[0.0; 12], 3, 4), 0.0);
        // Singular values 3 and 1: p = 3/4, 1/4.
        let two = [3.0, 0.0, 0.0, 0.0, 1.0, 0.0];
        let p: [f64; 2] = [0.75, 0.25];
        let wanted = p.iter().map(|p| -p * p.ln()).sum::<f64>().exp();
        assert!((f64::from(effective_rank(&two, 2, 3)) - wanted).abs() < 1e-6);
        assert!(
            (f64::from(effective_rank(&two, 3, 2)) - wanted).abs() > 1e-3,
            "the shape matters"
        );
    }

    #[test]
    fn a_matrix_and_its_transpose_have_one_rank() {
        let s = Random::new(1).normals(12 * 7, 1.0);
        let mut t = vec![0.0; 12 * 7];
        for i in 0..12 {
            for j in 0..7 {
                t[j * 12 + i] = s[i * 7 + j];
            }
        }
        assert!((effective_rank(&s, 12, 7) - effective_rank(&t, 7, 12)).abs() < 1e-4);
    }

    #[test]
    fn bins_hold_what_their_edges_say() {
        let edges = edges();
        assert_eq!(edges.len(), BINS + 1);
        assert!(edges.windows(2).all(|e| e[0] < e[1]));
        let mut random = Random::new(9);
        for _ in 0..10_000 {
            let size = 2f64.powf(random.uniform() * 31.9 - 19.95) as f32;
            let x = if random.uniform() < 0.5 { -size } else { size };
            let b = bin(x);
            assert!(
                edges[b] <= x && x <= edges[b + 1],
                "{x} in {}..{}",
                edges[b],
                edges[b + 1]
            );
        }
        assert_eq!(bin(0.0), OCTAVES);
        assert_eq!(bin(1e-9), OCTAVES);
        assert_eq!(bin(f32::INFINITY), BINS - 1);
    }

    #[test]
    fn moments_are_those_of_the_entries() {
        let s = [1.0, -3.0, 2.0, 4.0];
        let got = stats(&s, 2, 2);
        assert_eq!((got.mean, got.variance, got.largest), (1.0, 6.5, 4.0));
        assert!((got.norm - 30f32.sqrt()).abs() < 1e-6);
        assert_eq!(got.histogram.iter().sum::<u32>(), 4);
    }
}
