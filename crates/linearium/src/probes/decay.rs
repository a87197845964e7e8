//! How fast each head forgets: log-decay over time, cumulative decay from any write, half-life.
//!
//! `a_t = exp(g_t)`; what is left at t of a write at s is `a_{s:t} = exp(sum_{l=s+1..t} g_l)`
//! (Stuffed Mamba, arXiv 2410.07145, `analysis/get_dA.py`); the half-life is
//! `ln(1/2) / mean g` in tokens.

use super::run::{BUCKET, Evidence};

/// Half-life in tokens of each head of each layer over the tokens read; infinite where nothing
/// decays, absent (empty) for a layer without decay.
pub fn half_lives(e: &Evidence, heads: &[usize], tokens: usize) -> Vec<Vec<f64>> {
    e.log_decays
        .iter()
        .zip(heads)
        .map(|(buckets, &heads)| {
            mean_log_decays(buckets, heads, tokens)
                .iter()
                .map(|&g| half_life(g))
                .collect()
        })
        .collect()
}

/// `ln(1/2) / g` for a mean log-decay g, infinite for 0.
pub fn half_life(log_decay: f64) -> f64 {
    if log_decay < 0.0 {
        0.5f64.ln() / log_decay
    } else {
        f64::INFINITY
    }
}

/// Tokens of bucket `b` when `tokens` have been read.
fn width(b: usize, tokens: usize) -> usize {
    BUCKET.min(tokens - b * BUCKET)
}

/// Mean log-decay of each head over the tokens read.
pub fn mean_log_decays(buckets: &[f32], heads: usize, tokens: usize) -> Vec<f64> {
    if buckets.is_empty() {
        return Vec::new();
    }
    let mut sums = vec![0.0; heads];
    for (b, row) in buckets.chunks_exact(heads).enumerate() {
        let n = width(b, tokens) as f64;
        sums.iter_mut()
            .zip(row)
            .for_each(|(s, &g)| *s += n * f64::from(g));
    }
    sums.iter().map(|s| s / tokens.max(1) as f64).collect()
}

/// Cumulative log-decay of one head at the end of each bucket: `L_b = sum_{l <= end of b} g_l`.
pub fn cumulative(buckets: &[f32], heads: usize, head: usize, tokens: usize) -> Vec<f64> {
    let mut sum = 0.0;
    buckets
        .chunks_exact(heads)
        .enumerate()
        .map(|(b, row)| {
            sum += width(b, tokens) as f64 * f64::from(row[head]);
            sum
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_life_of_constant_decays() {
        // 37 tokens, the last bucket partial; heads with a = 1/2, 0.999 and 1.
        let row = [0.5f32.ln(), 0.999f32.ln(), 0.0];
        let e = Evidence {
            log_decays: vec![row.repeat(3), Vec::new()],
            ..Evidence::default()
        };
        let lives = half_lives(&e, &[3, 4], 37);
        assert!((lives[0][0] - 1.0).abs() < 1e-6);
        // ln(1/2) / ln(0.999) = 692.8; the f32 of 0.999 moves it by 1e-5 of itself.
        assert!((lives[0][1] - 692.8).abs() < 0.05, "{}", lives[0][1]);
        assert_eq!(lives[0][2], f64::INFINITY);
        assert!(lives[1].is_empty());
    }

    #[test]
    fn cumulative_decay_counts_the_partial_bucket_by_its_tokens() {
        let buckets = [-1.0, -2.0, -3.0, -4.0];
        assert_eq!(cumulative(&buckets, 2, 1, 20), [-32.0, -48.0]);
        assert_eq!(
            mean_log_decays(&buckets, 2, 20),
            [-28.0 / 20.0, -48.0 / 20.0]
        );
    }
}
