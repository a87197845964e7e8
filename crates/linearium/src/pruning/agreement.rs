//! How well a score agrees with another one, usually the oracle, and what a pruned readout has lost.

use super::ranking;

/// Share of the tokens kept by either that both keep, `|A and B| / |A or B|`; 1 if neither keeps
/// any. Positions in rising order.
pub fn jaccard(a: &[usize], b: &[usize]) -> f64 {
    let both = a.iter().filter(|t| b.binary_search(t).is_ok()).count();
    match a.len() + b.len() - both {
        0 => 1.0,
        either => both as f64 / either as f64,
    }
}

/// [`jaccard`] of the `keep` highest of two scores.
pub fn jaccard_of_kept(a: &[f32], b: &[f32], keep: usize) -> f64 {
    jaccard(&ranking::highest(a, keep), &ranking::highest(b, keep))
}

/// Spearman's rank correlation: Pearson's of the ranks, equal scores sharing the mean of theirs.
/// None where it is not defined: fewer than two tokens, a score that is the same for all, or one
/// that is not a number.
pub fn spearman(a: &[f32], b: &[f32]) -> Option<f64> {
    if a.len() != b.len() || a.iter().chain(b).any(|x| x.is_nan()) {
        return None;
    }
    let (a, b) = (ranks(a), ranks(b));
    // The mean of all ranks, however many are equal.
    let mean = (a.len() as f64 - 1.0) / 2.0;
    let product = |a: &[f64], b: &[f64]| -> f64 {
        a.iter().zip(b).map(|(a, b)| (a - mean) * (b - mean)).sum()
    };
    let spread = (product(&a, &a) * product(&b, &b)).sqrt();
    (spread > 0.0).then(|| product(&a, &b) / spread)
}

/// Rank of each score, from 0 for the highest; equal ones share the mean.
fn ranks(scores: &[f32]) -> Vec<f64> {
    let order = ranking::order(scores);
    let mut ranks = vec![0.0; scores.len()];
    let mut first = 0;
    while first < order.len() {
        let equal = order[first..]
            .iter()
            .take_while(|&&t| scores[t] == scores[order[first]])
            .count();
        for &t in &order[first..first + equal] {
            ranks[t] = first as f64 + (equal as f64 - 1.0) / 2.0;
        }
        first += equal;
    }
    ranks
}

/// `|got - want| / |want|`; 0 if both are 0, infinite if only `want` is.
///
/// # Errors
/// A sentence if the two are not equally long.
pub fn relative_error(got: &[f32], want: &[f32]) -> Result<f64, String> {
    if got.len() != want.len() {
        return Err(format!(
            "a readout of {} values cannot be compared with one of {}",
            got.len(),
            want.len()
        ));
    }
    let square = |x: f64| x * x;
    let error: f64 = got
        .iter()
        .zip(want)
        .map(|(&g, &w)| square(f64::from(g) - f64::from(w)))
        .sum();
    let size: f64 = want.iter().map(|&w| square(w.into())).sum();
    Ok(match (error == 0.0, size == 0.0) {
        (true, _) => 0.0,
        (false, true) => f64::INFINITY,
        _ => (error / size).sqrt(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_that_are_kept() {
        assert_eq!(jaccard(&[0, 2, 5], &[2, 5, 7]), 0.5);
        assert_eq!(jaccard(&[], &[]), 1.0);
        assert_eq!(jaccard(&[1], &[]), 0.0);
        let (a, b) = ([3.0, 1.0, 2.0, 0.0], [0.0, 1.0, 2.0, 3.0]);
        assert_eq!(jaccard_of_kept(&a, &b, 2), 1.0 / 3.0);
        assert_eq!(jaccard_of_kept(&a, &b, 4), 1.0);
        assert_eq!(jaccard_of_kept(&a, &b, 0), 1.0);
        assert_eq!(jaccard_of_kept(&[], &[], 1), 1.0);
    }

    #[test]
    fn spearman_of_a_worked_example() {
        // Ranks 0, 1, 2, 3, 4 and 1, 0, 3, 2, 4: 1 - 6 * 4 / (5 * 24).
        let a = [9.0, 8.0, 7.0, 6.0, 5.0];
        assert!((spearman(&a, &[4.0, 5.0, 2.0, 3.0, 1.0]).unwrap() - 0.8).abs() < 1e-12);
        assert_eq!(spearman(&a, &a), Some(1.0));
        // With ties, ranks 0.5, 0.5, 2 and 0, 1, 2: 1.5 / sqrt(1.5 * 2).
        let tied = spearman(&[2.0, 2.0, 1.0], &[3.0, 2.0, 1.0]).unwrap();
        assert!((tied - 0.75f64.sqrt()).abs() < 1e-12, "{tied}");
        assert_eq!(spearman(&a, &[1.0; 5]), None);
        assert_eq!(spearman(&[], &[]), None);
        assert_eq!(spearman(&[1.0], &[2.0]), None);
        assert_eq!(spearman(&a, &[1.0, 2.0, 3.0, f32::NAN, 4.0]), None);
        assert_eq!(spearman(&a, &[1.0]), None);
    }

    #[test]
    fn errors_relative_to_what_is_wanted() {
        assert_eq!(relative_error(&[3.0, 0.0], &[3.0, 4.0]), Ok(0.8));
        assert_eq!(relative_error(&[], &[]), Ok(0.0));
        assert_eq!(relative_error(&[0.0], &[0.0]), Ok(0.0));
        assert_eq!(relative_error(&[1.0], &[0.0]), Ok(f64::INFINITY));
        assert!(relative_error(&[1.0], &[]).is_err());
    }
}
