//! ALISA (arXiv 2403.17312): sparse window attention, of the caching ratio r half the last tokens
//! and half those that the last steps looked at most; and its three phases of where keys and values
//! lie.
//!
//! No code is public; algorithms 1 and 2 of the paper. With n tokens read, `k = round(n r / 2)`, at
//! least 1; S is the sum over heads and over the last k steps of the probabilities given to a token;
//! read are the last k tokens and the k of highest S before them (the paper does not say that the
//! two sets are disjoint; here they are). S holds the sparse probabilities, so that a token outside
//! has 0 and returns by a tie only; with `refreshed` it holds those of a dense read, which the paper
//! leaves open. Nothing is evicted: what is not read lies in slow memory or is deleted and made
//! again ([`Ledger`]).

use std::collections::VecDeque;

use super::heavy_hitters::restrict;
use crate::pruning::influence::{Shares, heads_read, numbers};
use crate::pruning::{Score, Seen, When, ranking};

/// Local sum of sparse probabilities, above which the last tokens stand.
pub struct Alisa;

impl Score for Alisa {
    fn id(&self) -> &'static str {
        "alisa"
    }

    fn name(&self) -> &'static str {
        "sparse window attention (ALISA)"
    }

    fn formula(&self) -> &'static str {
        r"s_j = \sum_h \sum_{i > T - k} p^{(h)}_{ij} + \begin{cases} H k + 1 & j \ge T - k \\ 0 & \text{else} \end{cases}, \quad k = \operatorname{round}(K / 2)"
    }

    fn source(&self) -> &'static str {
        "arXiv 2403.17312, algorithm 1"
    }

    fn when(&self) -> When {
        When::Reading
    }

    fn needs(&self) -> &'static [&'static str] {
        needs_hidden_attention!("keep")
    }

    fn score(&self, seen: &Seen<'_>) -> Result<Vec<f32>, String> {
        seen.check_heads(self.id())?;
        let heads: Vec<_> = heads_read(seen)
            .into_iter()
            .map(|h| seen.factors(h))
            .collect();
        let ratio = seen.keep as f64 / seen.tokens.max(1) as f64;
        let heads: Vec<_> = heads.iter().map(Shares::new).collect();
        let rows = |i: usize| heads.iter().map(|f| f.of(i)).collect();
        let steps = read(seen.tokens, ratio, false, rows);
        numbers(steps.scores)
    }
}

/// What a text was read with.
#[derive(Clone, Debug, Default)]
pub struct Steps {
    /// For each step the first of the last tokens, which are all read.
    pub local: Vec<usize>,
    /// For each step the other tokens read, rising.
    pub global: Vec<Vec<usize>>,
    /// At the end: S, and for the last tokens more than any S, `[T]`.
    pub scores: Vec<f64>,
}

/// One probability 1 as a whole number: sums of these are exact when rows leave, so that tokens
/// that were not read have exactly 0.
const ONE: f64 = (1u64 << 40) as f64;

/// Reads a text with caching ratio `ratio` in (0, 1]. `rows(i)` gives, for each head, the
/// probabilities of token i for `0..=i` if all are read.
pub fn read(
    tokens: usize,
    ratio: f64,
    refreshed: bool,
    rows: impl Fn(usize) -> Vec<Vec<f64>>,
) -> Steps {
    let mut steps = Steps::default();
    let mut sums = vec![0u64; tokens];
    let mut last: VecDeque<Vec<u64>> = VecDeque::new();
    let mut heads = 1;
    for i in 0..tokens {
        let n = i + 1;
        let k = half_budget(n, ratio);
        leave(&mut last, &mut sums, k);
        let (local, global) = chosen(&sums, n, k);
        let mut kept = vec![false; n];
        kept[local..].fill(true);
        global.iter().for_each(|&t| kept[t] = true);
        let rows = rows(i);
        heads = rows.len();
        let mut row = vec![0; n];
        for of_head in rows {
            let of_head = match refreshed {
                true => of_head,
                false => restrict(&of_head, &kept),
            };
            for (row, p) in row.iter_mut().zip(of_head) {
                *row += (p * ONE).round() as u64;
            }
        }
        for (sum, p) in sums.iter_mut().zip(&row) {
            *sum += p;
        }
        last.push_back(row);
        steps.local.push(local);
        steps.global.push(global);
    }
    let k = half_budget(tokens, ratio);
    leave(&mut last, &mut sums, k);
    let above = (heads * k + 1) as f64;
    let score = |(t, sum): (usize, u64)| {
        let local = if t + k >= tokens { above } else { 0.0 };
        sum as f64 / ONE + local
    };
    steps.scores = sums.into_iter().enumerate().map(score).collect();
    steps
}

/// k when n tokens have been read, the present one included.
fn half_budget(n: usize, ratio: f64) -> usize {
    let ratio = if ratio.is_nan() { 0.0 } else { ratio };
    ((n as f64 * ratio.clamp(0.0, 1.0) / 2.0).round() as usize).max(1)
}

/// Rows before the last k leave the sums.
fn leave(last: &mut VecDeque<Vec<u64>>, sums: &mut [u64], k: usize) {
    while last.len() > k {
        for (sum, p) in sums.iter_mut().zip(last.pop_front().unwrap_or_default()) {
            *sum -= p;
        }
    }
}

/// The first of the last k of n tokens, and the k of highest sum before it.
fn chosen(sums: &[u64], n: usize, k: usize) -> (usize, Vec<usize>) {
    let local = n.saturating_sub(k);
    let before: Vec<f32> = sums[..local].iter().map(|&s| s as f32).collect();
    (local, ranking::highest(&before, k))
}

/// Where the key and value of a token lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the memory that attention reads.
    Fast,
    /// To be loaded when it is read.
    Slow,
    /// To be made again when it is read.
    Deleted,
}

/// When the phases begin and how much they move (algorithm 2).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Phases {
    /// Tokens read when phase II begins.
    pub second: usize,
    /// Tokens read when phase III begins.
    pub third: usize,
    /// Share of the tokens before the last ones that lies outside fast memory from phase II on.
    pub offloaded: f64,
    /// Share of them that is deleted from phase III on.
    pub deleted: f64,
}

/// One step of the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// 1, 2 or 3.
    pub phase: u8,
    /// Tokens before this one are deleted.
    pub slow_from: usize,
    /// Tokens before this one and behind the deleted ones lie in slow memory.
    pub fast_from: usize,
    /// Tokens that go from fast to slow memory in this step.
    pub stored: usize,
    /// Tokens read that are loaded from slow memory.
    pub loaded: usize,
    /// Tokens read that are made again.
    pub recomputed: usize,
}

impl Entry {
    /// Where a token that has been read lies.
    pub fn place(&self, token: usize) -> Place {
        match token {
            t if t < self.slow_from => Place::Deleted,
            t if t < self.fast_from => Place::Slow,
            _ => Place::Fast,
        }
    }
}

/// Where every token lies at every step. The paper says which share is moved; that the oldest are
/// moved first, in whole tokens, is said here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    /// One for each step.
    pub entries: Vec<Entry>,
}

/// What moving and making tokens again costs, in seconds a token.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cost {
    /// From fast to slow memory.
    pub store: f64,
    /// From slow to fast memory.
    pub load: f64,
    /// Key and value from the token's input.
    pub recompute: f64,
}

impl Ledger {
    /// The ledger of a text that was read like that.
    pub fn new(steps: &Steps, phases: &Phases) -> Ledger {
        let mut entries = Vec::with_capacity(steps.local.len());
        let mut moved = 0;
        for (i, (&local, global)) in steps.local.iter().zip(&steps.global).enumerate() {
            let n = i + 1;
            let share = |of: f64| (of.clamp(0.0, 1.0) * local as f64).round() as usize;
            let phase =
                1 + u8::from(n >= phases.second) + u8::from(n >= phases.third.max(phases.second));
            let fast_from = if phase >= 2 {
                share(phases.offloaded)
            } else {
                0
            };
            let slow_from = if phase == 3 {
                share(phases.deleted).min(fast_from)
            } else {
                0
            };
            let before = |end: usize| global.partition_point(|&t| t < end);
            entries.push(Entry {
                phase,
                slow_from,
                fast_from,
                stored: fast_from.saturating_sub(moved),
                loaded: before(fast_from) - before(slow_from),
                recomputed: before(slow_from),
            });
            moved = moved.max(fast_from);
        }
        Ledger { entries }
    }

    /// The most tokens that fast memory holds at once, those included that a step loads or makes.
    pub fn peak(&self) -> usize {
        let of = |(i, e): (usize, &Entry)| i + 1 - e.fast_from + e.loaded + e.recomputed;
        self.entries.iter().enumerate().map(of).max().unwrap_or(0)
    }

    /// Seconds that all moves and recomputations take.
    pub fn seconds(&self, cost: &Cost) -> f64 {
        let of = |e: &Entry| {
            e.stored as f64 * cost.store
                + e.loaded as f64 * cost.load
                + e.recomputed as f64 * cost.recompute
        };
        self.entries.iter().map(of).sum()
    }

    /// The cheapest phases, among shares in tenths and sixteen beginnings of phase III, for which
    /// fast memory never holds more than `capacity` tokens; phase I lasts as long as all fits. None
    /// if there are none.
    pub fn cheapest(steps: &Steps, capacity: usize, cost: &Cost) -> Option<(Phases, Ledger)> {
        let tokens = steps.local.len();
        let second = capacity + 1;
        let tenths = |up_to: usize| (0..=up_to).map(|i| i as f64 / 10.0);
        let mut best: Option<(f64, Phases, Ledger)> = None;
        for offloaded in tenths(10) {
            // Without phase III first, so that nothing is deleted for no gain.
            let beginnings = (0..16).flat_map(|i| tenths(10).skip(1).map(move |d| (i, d)));
            for (i, deleted) in std::iter::once((16, 0.0)).chain(beginnings) {
                if deleted > offloaded {
                    continue;
                }
                let third = second + i * (tokens + 1).saturating_sub(second) / 16;
                let phases = Phases {
                    second,
                    third,
                    offloaded,
                    deleted,
                };
                let ledger = Ledger::new(steps, &phases);
                let seconds = ledger.seconds(cost);
                let better = best.as_ref().is_none_or(|b| seconds < b.0);
                if ledger.peak() <= capacity && better {
                    best = Some((seconds, phases, ledger));
                }
            }
        }
        best.map(|(_, phases, ledger)| (phases, ledger))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    fn rows(heads: usize, seed: u64) -> impl Fn(usize) -> Vec<Vec<f64>> {
        move |i| {
            let row = |h: usize| {
                let mut random = Random::new(seed + (1000 * h + i) as u64);
                let weights: Vec<f64> = (0..=i).map(|_| random.uniform().powi(6)).collect();
                let sum: f64 = weights.iter().sum();
                weights.into_iter().map(|w| w / sum).collect()
            };
            (0..heads).map(row).collect()
        }
    }

    /// Algorithm 1 as it stands, with every sum made anew.
    fn by_definition(tokens: usize, ratio: f64, refreshed: bool) -> Vec<Vec<usize>> {
        let rows = rows(2, 7);
        let mut weights: Vec<Vec<f64>> = Vec::new();
        let mut sets = Vec::new();
        for n in 1..=tokens {
            let k = ((n as f64 * ratio / 2.0).round() as usize).max(1);
            let mut set: Vec<usize> = (n.saturating_sub(k)..n).collect();
            let mut others: Vec<usize> = (0..n.saturating_sub(k)).collect();
            let sum = |j: usize| -> f64 {
                let last = weights.iter().rev().take(k);
                last.map(|row| row.get(j).copied().unwrap_or(0.0)).sum()
            };
            others.sort_by(|&a, &b| sum(b).total_cmp(&sum(a)).then(a.cmp(&b)));
            set.extend(others.iter().take(k));
            set.sort_unstable();
            let mut total = vec![0.0; n];
            for row in rows(n - 1) {
                let kept: f64 = set.iter().map(|&j| row[j]).sum();
                for j in 0..n {
                    total[j] += if refreshed {
                        row[j]
                    } else if set.contains(&j) {
                        row[j] / kept
                    } else {
                        0.0
                    };
                }
            }
            weights.push(total);
            sets.push(set);
        }
        sets
    }

    #[test]
    fn algorithm_1() {
        for refreshed in [false, true] {
            let steps = read(60, 0.4, refreshed, rows(2, 7));
            for (i, want) in by_definition(60, 0.4, refreshed).iter().enumerate() {
                let mut got = steps.global[i].clone();
                got.extend(steps.local[i]..=i);
                assert_eq!(&got, want, "step {i}, refreshed {refreshed}");
            }
        }
    }

    #[test]
    fn scores_keep_the_last_and_the_most_read() {
        let steps = read(40, 0.5, false, rows(3, 1));
        let scores: Vec<f32> = steps.scores.iter().map(|&s| s as f32).collect();
        let kept = ranking::highest(&scores, 20);
        assert_eq!(kept[10..], (30..40).collect::<Vec<_>>());
        assert!(read(0, 0.5, false, rows(1, 1)).scores.is_empty());
        assert_eq!(read(1, 0.0, true, rows(1, 1)).local, [0]);
        assert!(read(9, f64::NAN, false, rows(1, 1)).scores.len() == 9);
    }

    #[test]
    fn the_ledger_moves_the_oldest_in_three_phases() {
        let steps = read(50, 0.2, false, rows(1, 4));
        let phases = Phases {
            second: 20,
            third: 40,
            offloaded: 0.5,
            deleted: 0.25,
        };
        let ledger = Ledger::new(&steps, &phases);
        let phase_of: Vec<u8> = ledger.entries.iter().map(|e| e.phase).collect();
        assert_eq!(phase_of, [[1; 19].as_slice(), &[2; 20], &[3; 11]].concat());
        for (i, e) in ledger.entries.iter().enumerate() {
            // Each token has one place, and what is read of each place is counted.
            let global = &steps.global[i];
            let count = |place| global.iter().filter(|&&t| e.place(t) == place).count();
            assert_eq!(e.loaded, count(Place::Slow));
            assert_eq!(e.recomputed, count(Place::Deleted));
            assert!((steps.local[i]..=i).all(|t| e.place(t) == Place::Fast));
            let outside = (0..=i).filter(|&t| e.place(t) != Place::Fast).count();
            let want = if i + 1 < 20 {
                0.0
            } else {
                0.5 * steps.local[i] as f64
            };
            assert_eq!(outside, want.round() as usize);
        }
        let stored: usize = ledger.entries.iter().map(|e| e.stored).sum();
        assert_eq!(stored, ledger.entries[49].fast_from);
    }

    #[test]
    fn the_cheapest_phases_fit_the_memory() {
        let steps = read(64, 0.25, false, rows(1, 9));
        let cheap_to_load = Cost {
            store: 1.0,
            load: 1.0,
            recompute: 100.0,
        };
        let (phases, ledger) = Ledger::cheapest(&steps, 32, &cheap_to_load).unwrap();
        assert!(ledger.peak() <= 32, "{}", ledger.peak());
        assert_eq!(phases.deleted, 0.0);
        // Nothing cheaper was passed over: a smaller share does not fit.
        let less = Phases {
            offloaded: phases.offloaded - 0.1,
            ..phases
        };
        assert!(Ledger::new(&steps, &less).peak() > 32);
        let cheap_to_make = Cost {
            store: 1.0,
            load: 100.0,
            recompute: 1.0,
        };
        let (phases, _) = Ledger::cheapest(&steps, 32, &cheap_to_make).unwrap();
        assert!(phases.deleted > 0.0);
        // All fits: nothing moves.
        let (_, ledger) = Ledger::cheapest(&steps, 64, &cheap_to_load).unwrap();
        assert_eq!(ledger.seconds(&cheap_to_load), 0.0);
        assert!(Ledger::cheapest(&steps, 3, &cheap_to_load).is_none());
    }
}
