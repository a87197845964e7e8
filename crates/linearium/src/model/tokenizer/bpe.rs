//! Byte-pair encoding: characters, merged pair by pair in the order of the list of merges.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

/// A vocabulary and its merges.
#[derive(Debug, Default)]
pub(super) struct Bpe {
    pub(super) ids: HashMap<String, u32>,
    /// For two neighbours the place in the list of merges and the merged token.
    pub(super) merges: HashMap<(u32, u32), (u32, u32)>,
    /// What stands for a character that the vocabulary lacks.
    pub(super) unknown: Option<u32>,
    /// One unknown token for several unknown characters in a row.
    pub(super) fuse_unknown: bool,
    /// The token of each byte, for characters that the vocabulary lacks.
    pub(super) bytes: Option<Vec<u32>>,
    /// A piece that is a token as a whole is not taken apart.
    pub(super) whole_first: bool,
}

/// A token in the making and its neighbours; `NONE` where there is none.
#[derive(Clone, Copy)]
struct Symbol {
    id: u32,
    before: usize,
    after: usize,
    /// False when it has become part of the one before it.
    alive: bool,
}

const NONE: usize = usize::MAX;

impl Bpe {
    /// Appends the ids of a piece.
    pub(super) fn encode(&self, piece: &str, out: &mut Vec<u32>) {
        if self.whole_first
            && let Some(&id) = self.ids.get(piece)
        {
            out.push(id);
            return;
        }
        let mut symbols = self.symbols(piece);
        let mut queue = BinaryHeap::new();
        for at in 0..symbols.len() {
            self.note(&symbols, at, &mut queue);
        }
        while let Some(Reverse((rank, at, id))) = queue.pop() {
            let first = symbols[at];
            // What was noted may be gone.
            if !first.alive || first.after == NONE {
                continue;
            }
            let second = symbols[first.after];
            if self.merges.get(&(first.id, second.id)) != Some(&(rank, id)) {
                continue;
            }
            symbols[first.after].alive = false;
            symbols[at].id = id;
            symbols[at].after = second.after;
            if second.after != NONE {
                symbols[second.after].before = at;
            }
            self.note(&symbols, at, &mut queue);
            if first.before != NONE {
                self.note(&symbols, first.before, &mut queue);
            }
        }
        out.extend(symbols.iter().filter(|s| s.alive).map(|s| s.id));
    }

    /// Notes the merge of a symbol with the one behind it, if there is one.
    fn note(
        &self,
        symbols: &[Symbol],
        at: usize,
        queue: &mut BinaryHeap<Reverse<(u32, usize, u32)>>,
    ) {
        let Symbol { id, after, .. } = symbols[at];
        if after != NONE
            && let Some(&(rank, merged)) = self.merges.get(&(id, symbols[after].id))
        {
            queue.push(Reverse((rank, at, merged)));
        }
    }

    /// The characters of a piece as tokens.
    fn symbols(&self, piece: &str) -> Vec<Symbol> {
        let mut ids = Vec::with_capacity(piece.len());
        let mut was_unknown = false;
        let mut buffer = [0; 4];
        for c in piece.chars() {
            let text = c.encode_utf8(&mut buffer);
            let known = self.ids.get(&*text).copied();
            let is_unknown = known.is_none() && self.bytes.is_none();
            match (known, &self.bytes, self.unknown) {
                (Some(id), ..) => ids.push(id),
                (None, Some(bytes), _) => {
                    ids.extend(text.bytes().map(|b| bytes[usize::from(b)]));
                }
                (None, None, Some(_)) if was_unknown && self.fuse_unknown => {}
                (None, None, Some(unknown)) => ids.push(unknown),
                // The library leaves such a character out.
                (None, None, None) => {}
            }
            was_unknown = is_unknown;
        }
        let last = ids.len().wrapping_sub(1);
        ids.into_iter()
            .enumerate()
            .map(|(i, id)| Symbol {
                id,
                before: i.wrapping_sub(1),
                after: if i == last { NONE } else { i + 1 },
                alive: true,
            })
            .collect()
    }
}
