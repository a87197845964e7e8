//! Passkey recall: a fact is stated once in a text and asked for at its end.
//!
//! The protocol is that of the shipped `mamba2-passkey-t128`: a text of exactly T bytes in which,
//! at a place given by a depth from 0 to 1, `\nRemember the pass key: ` and five digits overwrite
//! the text, and whose last bytes are `\nWhat is the pass key? ` and the five digits. Recall is
//! the share of the five digits that the model finds most likely (each given the true digits
//! before it). Stuffed Mamba (arXiv 2410.07145) asks larger models in more words and counts whole
//! keys.

use crate::model::session::Session;
use crate::player::Player;
use crate::random::Random;

/// Said before the key.
pub const STATEMENT: &[u8] = b"\nRemember the pass key: ";
/// Asked at the end.
pub const QUESTION: &[u8] = b"\nWhat is the pass key? ";
/// Digits of a key.
pub const DIGITS: usize = 5;
/// The shortest text that holds both.
pub const SHORTEST: usize = STATEMENT.len() + QUESTION.len() + 2 * DIGITS;
/// The depths over which recall is averaged.
pub const DEPTHS: [f64; 5] = [0.0, 0.25, 0.5, 0.75, 1.0];

/// A text of exactly `length` bytes (at least [`SHORTEST`]) with a key at `depth`.
pub fn text(filler: &[u8], length: usize, depth: f64, random: &mut Random) -> Vec<u8> {
    let start = random.below(filler.len().max(1));
    let mut out: Vec<u8> = if filler.is_empty() {
        vec![b' '; length]
    } else {
        filler
            .iter()
            .cycle()
            .skip(start)
            .take(length)
            .copied()
            .collect()
    };
    let key: Vec<u8> = (0..DIGITS).map(|_| b'0' + random.below(10) as u8).collect();
    let said = [STATEMENT, &key].concat();
    let asked = [QUESTION, &key].concat();
    let room = length - said.len() - asked.len();
    let at = (depth * room as f64).round() as usize;
    out[at..at + said.len()].copy_from_slice(&said);
    out[length - asked.len()..].copy_from_slice(&asked);
    out
}

/// Recall at one length and depth.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Recall {
    /// Texts read.
    pub samples: usize,
    /// Digits found.
    pub digits: usize,
}

impl Recall {
    /// Share of digits found; NaN before the first sample.
    pub fn share(&self) -> f64 {
        self.digits as f64 / (self.samples * DIGITS) as f64
    }
}

/// Digits of the key that a finished reading found, from its most likely next tokens.
pub fn digits_found(text: &[u32], guesses: &[u32]) -> usize {
    let n = text.len();
    (n - DIGITS..n)
        .filter(|&i| guesses[i - 1] == text[i])
        .count()
}

/// True if this text ends with the question and the digits of a key.
pub fn is_asked(text: &[u8]) -> bool {
    let digits = text.len().saturating_sub(DIGITS);
    text.len() >= SHORTEST
        && text[..digits].ends_with(QUESTION)
        && text[digits..].iter().all(u8::is_ascii_digit)
}

/// Reads one text from an empty state and counts the digits found.
///
/// # Errors
/// The sentence of the session.
pub async fn ask<P: Player>(session: &mut Session<P>, text: &[u32]) -> Result<usize, String> {
    session.reset()?;
    let (_, guesses) = session.read_text(text).await?;
    Ok(digits_found(text, &guesses))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_has_its_length_and_its_key_twice() {
        let filler = b"all work and no play makes jack a dull boy. ".repeat(4);
        for length in [SHORTEST, 64, 500] {
            for depth in DEPTHS {
                let t = text(&filler, length, depth, &mut Random::new(length as u64));
                assert_eq!(t.len(), length);
                assert!(is_asked(&t) && !is_asked(&t[..length - 1]));
                let key = &t[length - DIGITS..];
                assert!(key.iter().all(u8::is_ascii_digit));
                let said = [STATEMENT, key].concat();
                let at = t.windows(said.len()).position(|w| w == said).unwrap();
                let room = length - SHORTEST;
                assert_eq!(at, (depth * room as f64).round() as usize);
                assert!(t[..length - DIGITS].ends_with(QUESTION));
            }
        }
    }

    #[test]
    fn digits_are_counted_where_the_key_is_asked_for() {
        let text: Vec<u32> = (0..10).collect();
        let mut guesses: Vec<u32> = (1..11).collect();
        assert_eq!(digits_found(&text, &guesses), 5);
        guesses[4] = 99;
        guesses[8] = 99;
        guesses[0] = 99;
        assert_eq!(digits_found(&text, &guesses), 3);
    }
}
