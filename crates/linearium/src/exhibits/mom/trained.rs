//! Small models that were trained to recall pairs (`tests/train/mom.py`), asked again here.

use crate::exhibit::{Bench, Pick};
use crate::mixers::Change;
use crate::model::session::Options;
use crate::random::Random;

/// Tokens of a sequence, as in training.
pub const LENGTH: usize = 256;
/// Keys are these bytes, values those.
const KEYS: std::ops::Range<usize> = 0..96;
const VALUES: std::ops::Range<usize> = 128..224;
/// Numbers of pairs that the models were trained with.
pub const PAIRS: [usize; 7] = [4, 8, 16, 24, 32, 48, 64];

/// A sequence: n pairs, then all of them in random order, again and again; and for each pair the
/// position of the key in its first question.
pub fn sequence(pairs: usize, random: &mut Random) -> (Vec<u32>, Vec<usize>) {
    let mut keys: Vec<usize> = KEYS.collect();
    shuffle(&mut keys, random);
    let stored: Vec<[u32; 2]> = keys[..pairs]
        .iter()
        .map(|&key| {
            let value = VALUES.start + random.below(VALUES.len());
            [key as u32, value as u32]
        })
        .collect();
    let mut tokens: Vec<u32> = stored.concat();
    let mut asked = vec![0; pairs];
    let mut order: Vec<usize> = (0..pairs).collect();
    while tokens.len() < LENGTH {
        shuffle(&mut order, random);
        for &pair in &order {
            if tokens.len() >= LENGTH {
                break;
            }
            if asked[pair] == 0 {
                asked[pair] = tokens.len();
            }
            tokens.extend(stored[pair]);
        }
    }
    (tokens, asked)
}

fn shuffle(x: &mut [usize], random: &mut Random) {
    for i in (1..x.len()).rev() {
        x.swap(i, random.below(i + 1));
    }
}

/// What a model answered.
pub struct Answers {
    /// Share of first questions answered rightly.
    pub recall: f64,
    /// For each pair, the first stored first: the share over the sequences.
    pub by_pair: Vec<f64>,
    /// Whether each token of the last sequence was sent to each routed memory, `[T, M]`; empty for a
    /// model with one memory.
    pub routes: Vec<bool>,
    /// Share of the tokens that each routed memory got, over all sequences.
    pub load: Vec<f64>,
}

/// Asks a model about `sequences` drawn sequences of `pairs` pairs; `layer` is where the routes are
/// looked at.
pub async fn ask(
    bench: &Bench<'_>,
    model: &str,
    pairs: usize,
    sequences: usize,
    layer: usize,
    seed: u64,
) -> Result<Answers, String> {
    let stack = bench.model(model)?;
    let shape = stack.blocks[layer].mixer.shape();
    let memories = shape.heads;
    let options = Options {
        capacity: usize::MAX,
        change: Change::default(),
        tapped_layer: Some(layer),
        ..Options::default()
    };
    let mut session = bench.session(&stack, &options).await?;
    let keys: Pick = |taps| Some(taps.k);
    let mut random = Random::new(seed);
    let mut by_pair = vec![0.0; pairs];
    let (mut routes, mut load) = (Vec::new(), vec![0.0; memories.saturating_sub(1)]);
    for _ in 0..sequences {
        let (tokens, asked) = sequence(pairs, &mut random);
        let read = bench
            .read(&mut session, &tokens, LENGTH, &[(layer, keys)], None)
            .await?;
        for (found, &at) in by_pair.iter_mut().zip(&asked) {
            *found += f64::from(u8::from(read.guesses[at] == tokens[at + 1])) / sequences as f64;
        }
        if memories > 1 {
            // A memory that a token is not sent to gets no key.
            let sent = |k: &[f32]| k.iter().any(|&x| x != 0.0);
            let rows = read.rows[0].chunks_exact(memories * shape.key);
            routes = rows
                .flat_map(|row| row.chunks_exact(shape.key).take(memories - 1).map(sent))
                .collect();
            for row in routes.chunks_exact(memories - 1) {
                for (l, &sent) in load.iter_mut().zip(row) {
                    *l += f64::from(u8::from(sent)) / (tokens.len() * sequences) as f64;
                }
            }
        }
    }
    Ok(Answers {
        recall: by_pair.iter().sum::<f64>() / pairs as f64,
        by_pair,
        routes,
        load,
    })
}

/// A line of the recorded table: kind, seed, pairs, recall.
pub struct Recorded {
    pub kind: String,
    pub pairs: usize,
    pub recall: f64,
}

/// Reads the table that the training wrote, `kind seed pairs recall` a line.
pub fn recorded(text: &[u8]) -> Result<Vec<Recorded>, String> {
    let text = String::from_utf8_lossy(text);
    let lines = text.lines().filter(|l| !l.starts_with('#'));
    lines
        .map(|line| {
            let mut words = line.split_whitespace();
            let mut next = || words.next().unwrap_or_default();
            let bad = |what: &str| format!("the table of recall has a line without {what}: {line}");
            let kind = next().to_owned();
            next().parse::<u64>().map_err(|_| bad("a seed"))?;
            Ok(Recorded {
                kind,
                pairs: next().parse().map_err(|_| bad("a number of pairs"))?,
                recall: next().parse().map_err(|_| bad("a recall"))?,
            })
        })
        .collect()
}

/// The recorded curve of a kind, the mean over its seeds.
pub fn curve_of(recorded: &[Recorded], kind: &str) -> Vec<(f64, f64)> {
    PAIRS
        .iter()
        .filter_map(|&pairs| {
            let own = recorded
                .iter()
                .filter(|r| r.kind == kind && r.pairs == pairs);
            let values: Vec<f64> = own.map(|r| r.recall).collect();
            let mean = values.iter().sum::<f64>() / values.len() as f64;
            (!values.is_empty()).then_some((pairs as f64, mean))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sequence_states_every_pair_once_and_asks_for_each() {
        for pairs in PAIRS {
            let (tokens, asked) = sequence(pairs, &mut Random::new(pairs as u64));
            assert_eq!(tokens.len(), LENGTH);
            for (pair, &at) in asked.iter().enumerate() {
                assert!(at >= 2 * pairs && at < 4 * pairs);
                assert_eq!(tokens[at..at + 2], tokens[2 * pair..2 * pair + 2]);
            }
            let mut keys: Vec<u32> = tokens[..2 * pairs].iter().copied().step_by(2).collect();
            keys.sort_unstable();
            keys.dedup();
            assert_eq!(keys.len(), pairs, "keys differ");
        }
    }

    #[test]
    fn the_table_is_read_by_kind() {
        let rows = recorded(b"# kind seed pairs recall\nmom 0 4 1.0\nmom 1 4 0.5\ncost 0 8 0.2\n")
            .unwrap();
        assert_eq!(curve_of(&rows, "mom"), [(4.0, 0.75)]);
        let bad = recorded(b"mom 0 4").err().unwrap();
        assert!(bad.contains("without a recall"), "{bad}");
    }
}
