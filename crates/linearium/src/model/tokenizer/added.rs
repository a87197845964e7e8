//! Tokens that are found in a text before it is split: leftmost, of those the longest.

use std::collections::HashMap;

/// A set of added tokens.
#[derive(Debug, Default)]
pub(super) struct Added {
    ids: HashMap<String, u32>,
    /// Lengths in bytes for each first byte, the longest first.
    lengths: HashMap<u8, Vec<usize>>,
}

/// A part of a text.
pub(super) enum Piece<'a> {
    Token(u32),
    Text(&'a str),
}

impl Added {
    pub(super) fn insert(&mut self, content: String, id: u32) {
        let Some(&first) = content.as_bytes().first() else {
            return;
        };
        let lengths = self.lengths.entry(first).or_default();
        if let Err(at) = lengths.binary_search_by(|n| content.len().cmp(n)) {
            lengths.insert(at, content.len());
        }
        self.ids.insert(content, id);
    }

    /// The token that begins the text, and its length in bytes.
    fn starts(&self, text: &str) -> Option<(u32, usize)> {
        let lengths = self.lengths.get(text.as_bytes().first()?)?;
        lengths
            .iter()
            .find_map(|&n| Some((*self.ids.get(text.get(..n)?)?, n)))
    }

    pub(super) fn pieces<'a>(&self, text: &'a str) -> Vec<Piece<'a>> {
        let mut out = Vec::new();
        let (mut from, mut at) = (0, 0);
        while at < text.len() {
            match self.starts(&text[at..]) {
                Some((id, n)) => {
                    if from < at {
                        out.push(Piece::Text(&text[from..at]));
                    }
                    out.push(Piece::Token(id));
                    at += n;
                    from = at;
                }
                None => at += text[at..].chars().next().map_or(1, char::len_utf8),
            }
        }
        if from < text.len() {
            out.push(Piece::Text(&text[from..]));
        }
        out
    }
}
