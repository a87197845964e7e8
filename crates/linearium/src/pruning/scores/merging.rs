//! Token merging (ToMe, arXiv 2210.09461): tokens that are like another one go, and leave what they
//! held to it.
//!
//! Bipartite soft matching (`facebookresearch/ToMe`, `tome/merge.py`): the tokens at even places each
//! look for the most similar (cosine of keys) at the odd places; the r best pairs merge, as means
//! weighted by how many tokens each already holds; r is at most half. The official result is [even
//! ones that stay, odd ones]; a recurrence needs them by position, which is what is given here.
//!
//! Two variants are this project's. In a recurrence a merged token stands where its partner stands,
//! so [`Next`] lets a token merge only with the one right behind it: groups are runs of neighbours
//! that end in the token that stays, so that nothing is read before it was written and the order is
//! kept. [`ImportanceSimilarity`] (an idea of UTR, arXiv 2410.14725) takes as sources the less
//! important half and as targets the other.
//!
//! As a score: what goes first is the least important, pair by pair; when half are gone the rest is
//! merged and matched again. A keep ratio of at least one half is one official matching with
//! r = T - K.

use super::activation::Clip;
use crate::pruning::{Score, Seen, When, ranking};

/// The step at which a token is merged into another.
pub struct Merging;

impl Score for Merging {
    fn id(&self) -> &'static str {
        "merging"
    }

    fn name(&self) -> &'static str {
        "similarity merging (ToMe)"
    }

    fn formula(&self) -> &'static str {
        r"s_a = \text{step at which } a \text{ merges by } \max_b \cos(k_a, k_b),\ a \text{ even},\ b \text{ odd}"
    }

    fn source(&self) -> &'static str {
        "facebookresearch/ToMe, tome/merge.py, bipartite_soft_matching"
    }

    fn when(&self) -> When {
        When::Read
    }

    fn needs(&self) -> &'static [&'static str] {
        &["tokens", "key", "k", "u", "width"]
    }

    fn score(&self, seen: &Seen<'_>) -> Result<Vec<f32>, String> {
        let (features, width) = features(seen)?;
        let pairs = rounds(features, width, |features, _| {
            soft_matching(features, width, 0)
        })?;
        Ok(steps(&pairs, seen.tokens))
    }
}

/// The step at which a token is merged into the next one.
pub struct Next;

impl Score for Next {
    fn id(&self) -> &'static str {
        "merging_next"
    }

    fn name(&self) -> &'static str {
        "merging with the next token"
    }

    fn formula(&self) -> &'static str {
        r"s_a = \text{step at which } a \text{ merges into } a + 1 \text{ by } \cos(k_a, k_{a+1})"
    }

    fn source(&self) -> &'static str {
        "this project's: tome/merge.py of facebookresearch/ToMe with the next kept token as the only partner"
    }

    fn when(&self) -> When {
        When::Read
    }

    fn needs(&self) -> &'static [&'static str] {
        &["tokens", "key", "k", "u", "width"]
    }

    fn score(&self, seen: &Seen<'_>) -> Result<Vec<f32>, String> {
        let (features, width) = features(seen)?;
        let pairs = rounds(features, width, |features, _| {
            next_matching(features, width)
        })?;
        Ok(steps(&pairs, seen.tokens))
    }
}

/// The step at which a token of the less important half is merged into one of the other.
pub struct ImportanceSimilarity;

impl Score for ImportanceSimilarity {
    fn id(&self) -> &'static str {
        "importance_similarity"
    }

    fn name(&self) -> &'static str {
        "importance and similarity"
    }

    fn formula(&self) -> &'static str {
        r"s_a = \text{step at which } a \text{ merges by } \max_b \cos(y_a, y_b),\ S_a \le \operatorname{median} S \le S_b"
    }

    fn source(&self) -> &'static str {
        "idea of UTR (arXiv 2410.14725), importance of ToP-ViM (arXiv 2409.18962)"
    }

    fn when(&self) -> When {
        When::Read
    }

    fn needs(&self) -> &'static [&'static str] {
        &["tokens", "out", "y"]
    }

    fn score(&self, seen: &Seen<'_>) -> Result<Vec<f32>, String> {
        let importance = Clip.score(seen)?;
        let y = seen.y.unwrap_or(seen.out);
        let width = y.len() / seen.tokens.max(1);
        let exact = y.iter().map(|&y| y.into()).collect();
        let pairs = rounds(exact, width, |features, tokens| {
            let importance: Vec<f32> = tokens.iter().map(|&t| importance[t]).collect();
            halves_matching(features, width, &importance)
        })?;
        Ok(steps(&pairs, seen.tokens))
    }
}

/// Pairs of a source and its target, the most similar first; no source is a target.
pub type Pairs = Vec<(usize, usize)>;

/// The official matching of n features `[n, width]`: each token at an even place with its most
/// similar at an odd place, the most similar pairs first, of equal ones the earlier. The first
/// `protected` even places stay.
pub fn soft_matching(features: &[f64], width: usize, protected: usize) -> Pairs {
    let unit = normalised(features, width);
    let n = unit.len();
    let sources: Vec<usize> = (0..n).step_by(2).skip(protected).collect();
    let targets: Vec<usize> = (1..n).step_by(2).collect();
    best_pairs(&unit, &sources, &targets)
}

/// Each token at an even place with the one behind it, the most similar pairs first.
pub fn next_matching(features: &[f64], width: usize) -> Pairs {
    let unit = normalised(features, width);
    let pairs =
        (0..unit.len() / 2).map(|i| (dot(&unit[2 * i], &unit[2 * i + 1]), 2 * i, 2 * i + 1));
    in_order(pairs.collect())
}

/// Each token of the half with the lower importances with its most similar of the other half.
pub fn halves_matching(features: &[f64], width: usize, importance: &[f32]) -> Pairs {
    let unit = normalised(features, width);
    let order = ranking::order(importance);
    let (targets, sources) = order.split_at(order.len().div_ceil(2));
    let [mut targets, mut sources] = [targets.to_vec(), sources.to_vec()];
    targets.sort_unstable();
    sources.sort_unstable();
    best_pairs(&unit, &sources, &targets)
}

fn best_pairs(unit: &[Vec<f64>], sources: &[usize], targets: &[usize]) -> Pairs {
    let best = |&source: &usize| {
        let mut best: Option<(f64, usize, usize)> = None;
        for &target in targets {
            let similarity = dot(&unit[source], &unit[target]);
            if best.is_none_or(|b| similarity > b.0) {
                best = Some((similarity, source, target));
            }
        }
        best
    };
    in_order(sources.iter().filter_map(best).collect())
}

fn in_order(mut pairs: Vec<(f64, usize, usize)>) -> Pairs {
    // Stable: equal similarities by position.
    pairs.sort_by(|a, b| b.0.total_cmp(&a.0));
    pairs
        .into_iter()
        .map(|(_, source, target)| (source, target))
        .collect()
}

/// Rows of length 1; a row of zeros, which has no direction, stays and is similar to none.
fn normalised(features: &[f64], width: usize) -> Vec<Vec<f64>> {
    let unit = |row: &[f64]| {
        let norm = dot(row, row).sqrt();
        let scale = if norm > 0.0 { norm.recip() } else { 0.0 };
        row.iter().map(|x| x * scale).collect()
    };
    features.chunks_exact(width.max(1)).map(unit).collect()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// All mergings of T tokens down to one that cannot be merged, in order, as positions in the text:
/// `matching` is given the features `[n, width]` of those that stay and their positions.
///
/// # Errors
/// A sentence if a feature is not a number.
pub fn rounds(
    mut features: Vec<f64>,
    width: usize,
    matching: impl Fn(&[f64], &[usize]) -> Pairs,
) -> Result<Pairs, String> {
    let mut tokens: Vec<usize> = (0..features.len() / width.max(1)).collect();
    if let Some(at) = features.iter().position(|x| x.is_nan()) {
        return Err(format!(
            "token {} is similar to none: the layer's values are not numbers there",
            at / width.max(1)
        ));
    }
    let mut sizes = vec![1.0; tokens.len()];
    let mut all = Pairs::new();
    loop {
        let pairs = matching(&features, &tokens);
        if pairs.is_empty() {
            return Ok(all);
        }
        all.extend(pairs.iter().map(|&(a, b)| (tokens[a], tokens[b])));
        let merged = Merged::new(tokens.len(), &pairs, pairs.len());
        (features, sizes) = merged.means(&features, width, &sizes);
        tokens = merged
            .kept()
            .into_iter()
            .map(|place| tokens[place])
            .collect();
    }
}

/// The step at which each token merges into another, and T for those that never do.
fn steps(pairs: &Pairs, tokens: usize) -> Vec<f32> {
    let mut steps = vec![tokens as f32; tokens];
    for (step, &(source, _)) in pairs.iter().enumerate() {
        steps[source] = step as f32;
    }
    steps
}

/// Tokens merged into others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Merged {
    /// The token that holds each token now, `[T]`: itself for those that stay.
    pub into: Vec<usize>,
}

impl Merged {
    /// Merges the first `count` pairs of T tokens; of a target that merges itself later, what it
    /// holds goes with it.
    pub fn new(tokens: usize, pairs: &[(usize, usize)], count: usize) -> Merged {
        let mut into: Vec<usize> = (0..tokens).collect();
        // The last pair first, so that a target knows where it ends.
        for &(source, target) in pairs[..count.min(pairs.len())].iter().rev() {
            into[source] = into[target];
        }
        Merged { into }
    }

    /// Positions of the tokens that stay, rising.
    pub fn kept(&self) -> Vec<usize> {
        let stays = |t: &usize| self.into[*t] == *t;
        (0..self.into.len()).filter(stays).collect()
    }

    /// Means of the rows `[T, width]` of each group, weighted by the tokens that each row already
    /// holds `[T]`, in the order of [`Merged::kept`], and how many each holds now.
    pub fn means(&self, rows: &[f64], width: usize, sizes: &[f64]) -> (Vec<f64>, Vec<f64>) {
        let kept = self.kept();
        let mut places = vec![0; self.into.len()];
        for (place, &t) in kept.iter().enumerate() {
            places[t] = place;
        }
        let mut means = vec![0.0; kept.len() * width];
        let mut held = vec![0.0; kept.len()];
        for (t, (row, size)) in rows.chunks_exact(width.max(1)).zip(sizes).enumerate() {
            let place = places[self.into[t]];
            held[place] += size;
            for (mean, x) in means[place * width..].iter_mut().zip(row) {
                *mean += size * x;
            }
        }
        for (mean, held) in means.chunks_exact_mut(width.max(1)).zip(&held) {
            mean.iter_mut().for_each(|x| *x /= held);
        }
        (means, held)
    }
}

/// The keys, mean over groups, or without keys the input: what similarity is of, and its width.
fn features(seen: &Seen<'_>) -> Result<(Vec<f64>, usize), String> {
    let t = seen.tokens;
    if t == 0 {
        return Ok((Vec::new(), 1));
    }
    let groups = seen.k.len() / (t * seen.key.max(1));
    if groups > 0 && seen.k.len() == t * groups * seen.key {
        let mut means = vec![0.0; t * seen.key];
        for (mean, row) in means
            .chunks_exact_mut(seen.key)
            .zip(seen.k.chunks_exact(groups * seen.key))
        {
            for key in row.chunks_exact(seen.key) {
                for (mean, &k) in mean.iter_mut().zip(key) {
                    *mean += f64::from(k) / groups as f64;
                }
            }
        }
        return Ok((means, seen.key));
    }
    if seen.u.len() != t * seen.width || seen.width == 0 {
        return Err(
            "merging needs keys or the input of the layer, and this one has neither".to_owned(),
        );
    }
    Ok((seen.u.iter().map(|&u| u.into()).collect(), seen.width))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pruning::example::Example;
    use crate::random::Random;

    fn features(n: usize, width: usize) -> Vec<f64> {
        let mut random = Random::new(n as u64);
        (0..n * width).map(|_| random.normal()).collect()
    }

    /// The matching by its definition, with every pair written out.
    #[test]
    fn every_even_token_looks_for_its_most_similar_odd_one() {
        let (n, width) = (17, 4);
        let x = features(n, width);
        let row = |i: usize| &x[i * width..][..width];
        let cos = |a: usize, b: usize| {
            dot(row(a), row(b)) / (dot(row(a), row(a)) * dot(row(b), row(b))).sqrt()
        };
        let mut want: Vec<(usize, usize)> = (0..n)
            .step_by(2)
            .map(|a| {
                let odd = (1..n).step_by(2);
                (
                    a,
                    odd.max_by(|&b, &c| cos(a, b).total_cmp(&cos(a, c)))
                        .unwrap(),
                )
            })
            .collect();
        want.sort_by(|p, q| cos(q.0, q.1).total_cmp(&cos(p.0, p.1)));
        assert_eq!(soft_matching(&x, width, 0), want);
        want.retain(|p| p.0 > 0);
        assert_eq!(soft_matching(&x, width, 1), want);
        assert!(soft_matching(&x[..width], width, 0).is_empty());
        assert!(soft_matching(&[], width, 0).is_empty());
    }

    #[test]
    fn equal_similarities_stand_by_position_and_zeros_are_like_none() {
        let x = [1.0, 0.0, 2.0, 0.0, 1.0, 0.0, 1.0, 0.0, 0.0, 0.0];
        assert_eq!(soft_matching(&x, 2, 0), [(0, 1), (2, 1), (4, 1)]);
        assert_eq!(next_matching(&x, 2), [(0, 1), (2, 3)]);
    }

    #[test]
    fn groups_hold_the_means_of_all_their_tokens() {
        let (n, width) = (23, 3);
        let x = features(n, width);
        for keep in 1..=n {
            let pairs = rounds(x.clone(), width, |f, _| soft_matching(f, width, 0)).unwrap();
            assert_eq!(pairs.len(), n - 1);
            let merged = Merged::new(n, &pairs, n - keep);
            let kept = merged.kept();
            assert_eq!(kept.len(), keep);
            let (means, held) = merged.means(&x, width, &vec![1.0; n]);
            for (place, &t) in kept.iter().enumerate() {
                let group: Vec<usize> = (0..n).filter(|&s| merged.into[s] == t).collect();
                assert_eq!(held[place], group.len() as f64);
                for c in 0..width {
                    let mean = group.iter().map(|&s| x[s * width + c]).sum::<f64>() / held[place];
                    assert!((means[place * width + c] - mean).abs() < 1e-12);
                }
            }
        }
    }

    /// Groups are runs of neighbours that end in the token that stays.
    #[test]
    fn merging_with_the_next_keeps_the_order() {
        let (n, width) = (29, 3);
        let x = features(n, width);
        let pairs = rounds(x, width, |f, _| next_matching(f, width)).unwrap();
        for keep in 1..=n {
            let merged = Merged::new(n, &pairs, n - keep);
            let kept = merged.kept();
            assert_eq!(kept.len(), keep);
            assert!(merged.into.is_sorted(), "{:?}", merged.into);
            assert!((0..n).all(|t| merged.into[t] >= t));
        }
    }

    #[test]
    fn scores_keep_what_a_merging_keeps() {
        let example = Example::per_key(26);
        let seen = example.seen();
        let (features, width) = super::features(&seen).unwrap();
        let scores = Merging.score(&seen).unwrap();
        let matching = soft_matching(&features, width, 0);
        for keep in 13..=26 {
            let merged = Merged::new(26, &matching, 26 - keep);
            assert_eq!(ranking::highest(&scores, keep), merged.kept());
        }
        let scores = ImportanceSimilarity.score(&seen).unwrap();
        let importance = Clip.score(&seen).unwrap();
        assert_eq!(
            ranking::highest(&scores, 13),
            ranking::highest(&importance, 13)
        );
        let mut broken = Example::per_key(6);
        broken.array_mut("k").unwrap()[9] = f32::NAN;
        assert!(Next.score(&broken.seen()).unwrap_err().contains("token 1"));
    }
}
