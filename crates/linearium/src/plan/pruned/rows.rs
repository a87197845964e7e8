//! Which rows a pass of a pruned plan has in one recording, and what is written before it.

use super::Note;
use crate::kernels::reorder::{CARRIED, FILL, STAYS};
use crate::plan::rotary_angles;
use crate::pruning::Pruning;
use crate::recording::BufferId;

/// The set of all tokens.
pub(super) const ALL: usize = 0;

/// The tokens that are kept after so many prunings.
pub(super) fn kept_set(prunings: usize) -> usize {
    match prunings {
        0 => ALL,
        n => 2 * n - 1,
    }
}

/// The same, and behind each one that a gap follows a row that stands for the gap.
pub(super) fn held_set(prunings: usize) -> usize {
    2 * prunings
}

/// What is written before a recording that depends on which tokens it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum List {
    /// For each row of a set its row in another one, which holds it; with rows from the last to the
    /// first if asked.
    Take {
        from: usize,
        to: usize,
        backwards: bool,
    },
    /// For each token its row in this set, nothing for others.
    Back { from: usize, others: Others },
    /// The same from rows of all tokens, of which those in the set count.
    Choose { kept: usize, others: Others },
    /// The rows of a set among all tokens, and how many tokens there are.
    Bounds { kept: usize, backwards: bool },
    /// For each row of a set how many tokens were dropped right before it.
    Gaps { kept: usize, backwards: bool },
    /// For each row of a set with gap rows how many tokens it stands for.
    Repeats { held: usize },
    /// 1 for each token of a set, 0 for others.
    Mask { kept: usize },
}

/// What stands in rows that were dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Others {
    Fill,
    /// The last kept row before it.
    LastKept,
    /// What the row held before.
    Stays,
}

/// A row of a set in one recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Row {
    /// Token, counted from the first of the recording.
    token: usize,
    /// How many tokens a row stands for that stands for a gap.
    gap: Option<usize>,
}

/// The rows of a plan that drops tokens.
pub struct PrunedRows {
    /// The set that reaches the head.
    pub(super) last: usize,
    /// True if dropped tokens are masked, so that all rows reach the head.
    pub(super) masks: bool,
    pub(super) lists: Vec<(List, BufferId)>,
    pub(super) angles: Vec<(f64, usize, usize, BufferId)>,
    /// Where a layer does something else about gaps than the mode says.
    pub notes: Vec<Note>,
}

/// What is to be known of the rows of one recording.
pub struct Segment {
    /// For each set how many rows it has here, and how many it had before.
    pub counts: Vec<(usize, usize)>,
    /// The rows that reach the head: tokens, counted from the first of the segment; and whether each
    /// is kept.
    pub last: Vec<(usize, bool)>,
    /// What is to be written into which buffer.
    pub inputs: Vec<(BufferId, Vec<f32>)>,
}

impl PrunedRows {
    /// For the tokens `from..to` of a text of which `pruning` keeps some.
    pub fn segment(&self, pruning: &Pruning, from: usize, to: usize) -> Segment {
        let t = to - from;
        let every = |tokens: std::ops::Range<usize>| -> Vec<Row> {
            tokens.map(|token| Row { token, gap: None }).collect()
        };
        let mut sets = vec![every(0..t)];
        let mut counts = vec![(t, from)];
        let mut gaps_before = vec![Vec::new()];
        for (_, kept) in pruning.steps() {
            let first = kept.partition_point(|k| *k < from);
            let end = kept.partition_point(|k| *k < to);
            let rows = kept[first..end].iter();
            let rows: Vec<Row> = rows
                .map(|k| Row {
                    token: k - from,
                    gap: None,
                })
                .collect();
            let gap_after = |n: usize| kept.get(n + 1).map_or(0, |next| next - kept[n] - 1);
            let mut held = Vec::new();
            for (n, row) in (first..end).zip(&rows) {
                held.push(*row);
                if gap_after(n) > 0 {
                    held.push(Row {
                        gap: Some(gap_after(n)),
                        ..*row
                    });
                }
            }
            let before = |n: usize| match n {
                0 => kept[0],
                n => gap_after(n - 1),
            };
            gaps_before.push((first..end).map(before).collect());
            gaps_before.push(Vec::new());
            let held_before = first + (0..first).filter(|n| gap_after(*n) > 0).count();
            counts.push((rows.len(), first));
            counts.push((held.len(), held_before));
            sets.push(rows);
            sets.push(held);
        }
        let inputs = self.lists.iter().map(|(list, buffer)| {
            let values = list.values(&sets, &counts, &gaps_before, t);
            (*buffer, values)
        });
        let angles = self.angles.iter().map(|&(theta, key, set, buffer)| {
            let positions = sets[set].iter().map(|row| from + row.token);
            let values = positions.flat_map(|p| rotary_angles(theta, key, p, 1));
            (buffer, values.collect())
        });
        let inputs = inputs.chain(angles).collect();
        let kept: Vec<usize> = match pruning.steps() {
            [] => (0..t).collect(),
            steps => sets[kept_set(steps.len())]
                .iter()
                .map(|r| r.token)
                .collect(),
        };
        let is_kept = |token: usize| !self.masks || kept.binary_search(&token).is_ok();
        let last = sets[self.last].iter();
        Segment {
            last: last.map(|row| (row.token, is_kept(row.token))).collect(),
            counts,
            inputs,
        }
    }

    /// The index of the set that reaches the head.
    pub fn last(&self) -> usize {
        self.last
    }
}

impl List {
    fn values(
        self,
        sets: &[Vec<Row>],
        counts: &[(usize, usize)],
        gaps: &[Vec<usize>],
        t: usize,
    ) -> Vec<f32> {
        let places = |places: Vec<(usize, usize)>, set: usize, others| {
            places_in(&places, others, counts[set].1 > 0, t)
        };
        match self {
            List::Take {
                from,
                to,
                backwards,
            } => {
                // Both are in the order of tokens, and every row of the one is in the other.
                let mut at = 0;
                let rows = sets[to].iter().map(|row| {
                    while sets[from].get(at).is_some_and(|r| r.token < row.token) {
                        at += 1;
                    }
                    at as f32
                });
                let mut order: Vec<f32> = rows.collect();
                if backwards {
                    let rows = sets[from].len() as f32;
                    order.reverse();
                    order.iter_mut().for_each(|row| *row = rows - 1.0 - *row);
                }
                order.push(-1.0);
                order
            }
            List::Back { from, others } => {
                let rows = sets[from].iter().enumerate();
                places(
                    rows.map(|(at, row)| (row.token, at)).collect(),
                    from,
                    others,
                )
            }
            List::Choose { kept, others } => {
                let rows = sets[kept].iter();
                places(rows.map(|r| (r.token, r.token)).collect(), kept, others)
            }
            List::Bounds { kept, backwards } => {
                let mut rows: Vec<usize> = sets[kept].iter().map(|row| row.token).collect();
                if backwards {
                    rows.reverse();
                    rows.iter_mut().for_each(|row| *row = t - 1 - *row);
                }
                rows.push(t);
                rows.into_iter().map(|row| row as f32).collect()
            }
            List::Gaps { kept, backwards } => {
                let gaps = gaps[kept].iter().map(|&gap| gap as f32);
                if backwards {
                    // Read from the end, the gap before a token is the one that follows it.
                    let mut tokens: Vec<usize> = sets[kept].iter().map(|r| r.token).collect();
                    tokens.push(t);
                    let after = tokens.windows(2).rev();
                    return after.map(|pair| (pair[1] - pair[0] - 1) as f32).collect();
                }
                gaps.collect()
            }
            List::Repeats { held } => {
                let rows = sets[held].iter();
                rows.map(|row| row.gap.unwrap_or(1) as f32).collect()
            }
            List::Mask { kept } => {
                let mut mask = vec![0.0; t];
                sets[kept].iter().for_each(|row| mask[row.token] = 1.0);
                mask
            }
        }
    }
}

/// For each of t tokens the row that holds it, and at the end the row that is carried on.
fn places_in(places: &[(usize, usize)], others: Others, any_before: bool, t: usize) -> Vec<f32> {
    let mut order = vec![
        match others {
            Others::Stays => STAYS,
            Others::LastKept if any_before => CARRIED,
            Others::LastKept | Others::Fill => FILL,
        };
        t
    ];
    for (token, row) in places {
        order[*token] = *row as f32;
    }
    if others == Others::LastKept {
        for token in 1..t {
            if order[token] < 0.0 {
                order[token] = order[token - 1];
            }
        }
    }
    order.push(places.last().map_or(-1.0, |(_, row)| *row as f32));
    order
}
