//! Orders of tokens by their scores. Equal scores stand by position, and a score that is not a
//! number stands behind all others.

use std::cmp::Ordering;

/// Positions from the highest score to the lowest.
pub fn order(scores: &[f32]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_unstable_by(|&a, &b| before(scores, a, b));
    order
}

/// Whether position a stands before b: an order of all positions.
fn before(scores: &[f32], a: usize, b: usize) -> Ordering {
    let (x, y) = (scores[a], scores[b]);
    // partial_cmp, so that the two zeros are equal.
    y.partial_cmp(&x)
        .unwrap_or_else(|| x.is_nan().cmp(&y.is_nan()))
        .then(a.cmp(&b))
}

/// The positions of the `count` highest scores, rising; all if there are not so many.
pub fn highest(scores: &[f32], count: usize) -> Vec<usize> {
    let mut kept: Vec<usize> = (0..scores.len()).collect();
    if count < kept.len() {
        // What stands before the place is in it, in some order.
        kept.select_nth_unstable_by(count, |&a, &b| before(scores, a, b));
        kept.truncate(count);
        kept.sort_unstable();
    }
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
        for count in 0..9 {
            let mut first = order(&scores)[..count].to_vec();
            first.sort_unstable();
            assert_eq!(highest(&scores, count), first);
        }
        assert!(order(&[]).is_empty());
    }
}
