//! Which tokens stay: from a score for each to sorted positions.

use std::cmp::Ordering;

/// Tokens that stay whatever their score.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Protect {
    /// So many at the beginning (attention sinks).
    pub first: usize,
    /// So many at the end (the query).
    pub last: usize,
    /// These positions (a class token).
    pub positions: Vec<usize>,
}

impl Protect {
    fn covers(&self, position: usize, tokens: usize) -> bool {
        position < self.first
            || position + self.last >= tokens
            || self.positions.contains(&position)
    }
}

/// The tokens that stay.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Their positions, sorted.
    pub kept: Vec<usize>,
    /// What a person should know about how they were chosen, in sentences.
    pub warnings: Vec<String>,
}

/// Of these candidates (sorted positions) the `keep` with the highest scores `[T]`, the earlier one
/// where scores are equal; protected ones come first. A score that is no number counts as the lowest.
pub fn select(scores: &[f32], candidates: &[usize], keep: usize, protect: &Protect) -> Selection {
    let mut warnings = Vec::new();
    let candidates: Vec<usize> = candidates
        .iter()
        .copied()
        .filter(|&position| position < scores.len())
        .collect();
    let unknown = candidates.iter().filter(|&&p| scores[p].is_nan()).count();
    if unknown > 0 {
        warnings.push(format!(
            "{unknown} of {} scores are no numbers: these tokens count as the least important",
            candidates.len()
        ));
    }
    let is_protected = |position: &usize| protect.covers(*position, scores.len());
    let (mut kept, mut others): (Vec<usize>, Vec<usize>) = candidates
        .iter()
        .partition(|position| is_protected(position));
    if kept.len() > keep {
        warnings.push(format!(
            "{} tokens are protected, more than the {keep} to be kept: the protected ones stay",
            kept.len()
        ));
    }
    let score = |position: usize| match scores[position] {
        score if score.is_nan() => f32::NEG_INFINITY,
        score => score,
    };
    // Stable, so that of equal scores the earlier one is kept; behind a true lowest score comes none.
    others.sort_by(|&a, &b| {
        let nan_last = scores[a].is_nan().cmp(&scores[b].is_nan());
        let by_score = score(b).partial_cmp(&score(a));
        by_score.unwrap_or(Ordering::Equal).then(nan_last)
    });
    others.truncate(keep.saturating_sub(kept.len()));
    kept.extend(others);
    kept.sort_unstable();
    Selection { kept, warnings }
}

/// Positions of positions: where the rows `inner` of the rows `outer` stood at first.
pub fn compose(outer: &[usize], inner: &[usize]) -> Vec<usize> {
    inner
        .iter()
        .filter_map(|&row| outer.get(row).copied())
        .collect()
}

/// Dropped tokens right before each kept one.
pub fn gaps(kept: &[usize]) -> Vec<usize> {
    let before = std::iter::once(0).chain(kept.iter().map(|k| k + 1));
    kept.iter()
        .zip(before)
        .map(|(k, first)| k - first)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(tokens: usize) -> Vec<usize> {
        (0..tokens).collect()
    }

    fn kept(scores: &[f32], keep: usize, protect: &Protect) -> Vec<usize> {
        select(scores, &all(scores.len()), keep, protect).kept
    }

    #[test]
    fn the_highest_stay_in_order() {
        let none = Protect::default();
        let scores = [0.5, 2.0, -1.0, 2.0, 0.5, 3.0];
        assert_eq!(kept(&scores, 0, &none), Vec::<usize>::new());
        assert_eq!(kept(&scores, 1, &none), [5]);
        assert_eq!(kept(&scores, 2, &none), [1, 5]);
        assert_eq!(kept(&scores, 4, &none), [0, 1, 3, 5]);
        assert_eq!(kept(&scores, 6, &none), all(6));
        assert_eq!(kept(&scores, 99, &none), all(6));
        assert_eq!(kept(&[], 3, &none), Vec::<usize>::new());
    }

    #[test]
    fn what_is_no_number_goes_first() {
        let scores = [f32::NAN, f32::NEG_INFINITY, 1.0, f32::INFINITY];
        let chosen = select(&scores, &all(4), 3, &Protect::default());
        assert_eq!(chosen.kept, [1, 2, 3]);
        assert!(chosen.warnings[0].starts_with("1 of 4 scores"));
        assert!(
            select(&[1.0], &[0], 1, &Protect::default())
                .warnings
                .is_empty()
        );
    }

    #[test]
    fn protected_tokens_stay() {
        let scores = [0.0, 5.0, 4.0, 3.0, 0.0];
        let protect = Protect {
            first: 1,
            last: 1,
            positions: vec![3],
        };
        assert_eq!(kept(&scores, 4, &protect), [0, 1, 3, 4]);
        let chosen = select(&scores, &all(5), 2, &protect);
        assert_eq!(chosen.kept, [0, 3, 4]);
        assert!(chosen.warnings[0].starts_with("3 tokens are protected"));
        let everything = Protect {
            first: 9,
            ..Protect::default()
        };
        assert_eq!(kept(&scores, 1, &everything), all(5));
    }

    #[test]
    fn gaps_of_a_second_choice_add_up() {
        let outer = [1, 2, 5, 9, 10];
        let inner = [1, 3, 4];
        let both = compose(&outer, &inner);
        assert_eq!(both, [2, 9, 10]);
        assert_eq!(gaps(&outer), [1, 0, 2, 3, 0]);
        assert_eq!(gaps(&both), [2, 6, 0]);
        // A gap of the composition: the rows left out, each with its own gap, and the last gap.
        let (outer_gaps, inner_gaps) = (gaps(&outer), gaps(&inner));
        for (i, &row) in inner.iter().enumerate() {
            let first = row - inner_gaps[i];
            let sum: usize = outer_gaps[first..=row].iter().sum::<usize>() + inner_gaps[i];
            assert_eq!(gaps(&both)[i], sum);
        }
    }
}
