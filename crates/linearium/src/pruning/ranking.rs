//! Orders of tokens by their scores. Equal scores stand by position, and a score that is not a
//! number stands behind all others.

/// Positions from the highest score to the lowest.
pub fn order(scores: &[f32]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| {
        let (a, b) = (scores[a], scores[b]);
        // partial_cmp, so that the two zeros are equal.
        b.partial_cmp(&a)
            .unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
    });
    order
}

/// The positions of the `count` highest scores, rising; all if there are not so many.
pub fn highest(scores: &[f32], count: usize) -> Vec<usize> {
    let mut kept = order(scores);
    kept.truncate(count);
    kept.sort_unstable();
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_scores_stand_by_position_and_nan_behind_all() {
        let nan = f32::NAN;
        let scores = [1.0, nan, 2.0, 1.0, f32::NEG_INFINITY, -0.0, 0.0, nan, 2.0];
        assert_eq!(order(&scores), [2, 8, 0, 3, 5, 6, 4, 1, 7]);
        assert_eq!(highest(&scores, 3), [0, 2, 8]);
        assert!(highest(&scores, 0).is_empty());
        assert_eq!(highest(&scores, 99).len(), 9);
        assert!(order(&[]).is_empty());
    }
}
