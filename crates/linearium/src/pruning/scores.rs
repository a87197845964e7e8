//! Scores: what is important. Each file is one or a family of them, pure functions from the arrays
//! of a layer of an unpruned run to one number a token; the build puts every `impl Score` that is
//! in these files into [`ALL`].

/// The fields that make a hidden attention, behind those named.
macro_rules! needs_hidden_attention {
    ($($field:literal),*) => {
        &[
            $($field,)* "tokens", "heads", "key",  "q", "k",  "log_decay",
            "write_scale", "scale", "softmax", "window", "erase", "bonus", "normaliser", "in_logs",
            "turn", "weighing",
        ]
    };
}

pub mod activation;
pub mod alisa;
pub mod gradient;
pub mod gumbel_mask;
pub mod heavy_hitters;
pub mod hidden_attention;
pub mod long_mamba;
pub mod merging;
pub mod norm;
pub mod oracle;
pub mod random;
pub mod recency;
pub mod retained_mass;
pub mod router;
pub mod spec_pc;
pub mod step_size;
pub mod stride;
pub mod window_vote;

use super::Score;

include!(concat!(env!("OUT_DIR"), "/scores.rs"));

/// The score with this id.
///
/// # Errors
/// A sentence with the ids that there are.
pub fn by_id(id: &str) -> Result<&'static dyn Score, String> {
    let found = ALL.iter().find(|score| score.id() == id);
    found.copied().ok_or_else(|| {
        let ids: Vec<&str> = ALL.iter().map(|score| score.id()).collect();
        format!("there is no score '{id}': choose one of {}", ids.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pruning::example::Example;
    use crate::pruning::{LogDecay, Seen, When};

    /// The fields of [`Seen`], by name.
    fn without<'a>(seen: &Seen<'a>, field: &str) -> Seen<'a> {
        let mut less = *seen;
        match field {
            "tokens" | "heads" | "key" | "value" | "width" | "scale" | "softmax" | "window"
            | "in_logs" | "weighing" => {}
            "keep" => less.keep = 3,
            "stream" => less.stream = &[],
            "u" => less.u = &[],
            "q" => less.q = &[],
            "k" => less.k = &[],
            "v" => less.v = &[],
            "log_decay" => less.log_decay = LogDecay::None,
            "write_scale" => less.write_scale = None,
            "steps" => less.steps = None,
            "erase" => less.erase = None,
            "bonus" => less.bonus = None,
            "normaliser" => less.normaliser = None,
            "turn" => less.turn = None,
            "router" => less.router = None,
            "draft" => less.draft = None,
            "lookahead" => less.lookahead = 0,
            "readout" => less.readout = Some(3),
            "y" => less.y = None,
            "out" => less.out = &[],
            "seed" => less.seed += 1,
            other => panic!("Seen has no field {other}"),
        }
        less
    }

    const FIELDS: [&str; 30] = [
        "tokens",
        "heads",
        "key",
        "value",
        "width",
        "scale",
        "softmax",
        "window",
        "in_logs",
        "weighing",
        "keep",
        "stream",
        "u",
        "q",
        "k",
        "v",
        "log_decay",
        "write_scale",
        "steps",
        "erase",
        "bonus",
        "normaliser",
        "turn",
        "router",
        "draft",
        "lookahead",
        "readout",
        "y",
        "out",
        "seed",
    ];

    #[test]
    fn ids_are_unique_and_found() {
        let mut ids: Vec<&str> = ALL.iter().map(|score| score.id()).collect();
        for id in &ids {
            assert_eq!(by_id(id).unwrap().id(), *id);
            assert!(
                id.chars()
                    .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
            );
        }
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), ALL.len());
        assert!(ids.len() >= 26, "{ids:?}");
        assert!(by_id("no").err().unwrap().contains("choose one of"));
    }

    /// A score says what it reads: it is the same when all else is missing, and every layer that has
    /// that gives it a number a token, or a sentence.
    #[test]
    fn scores_read_what_they_say() {
        let mut told = vec![false; ALL.len()];
        // With and without a router: then the mask is learned.
        for (example, routed) in Example::all(24)
            .iter()
            .flat_map(|e| [(e, true), (e, false)])
        {
            let mut seen = example.seen();
            seen.router = seen.router.filter(|_| routed);
            for (score, told) in ALL.iter().zip(&mut told) {
                let Ok(all) = score.score(&seen) else {
                    continue;
                };
                *told = true;
                assert_eq!(all.len(), 24, "{}", score.id());
                assert!(all.iter().all(|s| !s.is_nan()), "{}", score.id());
                let needs = score.needs();
                assert!(needs.iter().all(|n| FIELDS.contains(n)), "{needs:?}");
                let others = FIELDS.iter().filter(|f| !needs.contains(f));
                let less = others.fold(seen, |seen, field| without(&seen, field));
                let again = score.score(&less);
                assert_eq!(
                    again.as_ref(),
                    Ok(&all),
                    "{} of {}",
                    score.id(),
                    example.name
                );
            }
        }
        let silent: Vec<_> = ALL
            .iter()
            .zip(told)
            .filter(|(_, told)| !told)
            .map(|(s, _)| s.id())
            .collect();
        assert!(
            silent.is_empty(),
            "no example has what these need: {silent:?}"
        );
    }

    /// What is told on arrival does not change when later tokens do.
    #[test]
    fn scores_of_arriving_tokens_do_not_look_ahead() {
        for (example, mut changed) in Example::all(24).into_iter().zip(Example::all(24)) {
            changed.change_last(6);
            for score in ALL.iter().filter(|s| s.when() == When::Arriving) {
                let [a, b] = [&example, &changed].map(|e| score.score(&e.seen()));
                let (Ok(a), Ok(b)) = (a, b) else { continue };
                assert_eq!(a[..18], b[..18], "{}", score.id());
            }
        }
    }

    #[test]
    fn no_tokens_and_one_token() {
        for tokens in [0, 1] {
            for example in Example::all(tokens) {
                let mut seen = example.seen();
                seen.lookahead = seen.lookahead.min(tokens);
                for keep in [0, 1, 2] {
                    seen.keep = keep;
                    for score in ALL {
                        match score.score(&seen) {
                            Ok(scores) => assert_eq!(scores.len(), tokens, "{}", score.id()),
                            Err(e) => assert!(e.len() > 20, "{}: {e}", score.id()),
                        }
                    }
                }
            }
        }
    }

    /// A value that is not a number is told in a sentence, unless the score does not look at it.
    #[test]
    fn what_is_not_a_number_is_told() {
        let fields = [
            "stream", "q", "k", "v", "y", "out", "per key", "per head", "steps", "write", "b",
            "router", "draft",
        ];
        for field in fields {
            for (whole, mut broken) in Example::all(16).into_iter().zip(Example::all(16)) {
                let Some(array) = broken.array_mut(field) else {
                    continue;
                };
                let at = array.len() / 2;
                array[at] = f32::NAN;
                for score in ALL {
                    if let Ok(scores) = score.score(&broken.seen()) {
                        let whole = score.score(&whole.seen());
                        assert_eq!(whole, Ok(scores), "{}: {field}", score.id());
                    }
                }
            }
        }
    }
}
