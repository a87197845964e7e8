//! What every mixer must keep, on whichever player. The CPU's tests and the GPU's walk the
//! registry with it, so that a new mixer is tested by existing.

use std::rc::Rc;

use linearium::mixers::{self, Change, Size};
use linearium::model::session::{Options, Session};
use linearium::model::stack::Stack;
use linearium::player::Player;
use pollster::block_on;

/// Tokens in a chunk of every chunked kernel.
const CHUNK: usize = 64;

/// A text of bytes that repeats nothing for long.
pub fn tokens(len: usize) -> Vec<u32> {
    (0..len as u32)
        .map(|i| (i * 37 + i * i * 11) % 256)
        .collect()
}

/// Root mean square of the difference over root mean square of the reference.
pub fn rms_ratio(a: &[f64], reference: &[f64]) -> f64 {
    assert_eq!(a.len(), reference.len());
    let square = |v: f64| v * v;
    let difference: f64 = a.iter().zip(reference).map(|(a, b)| square(a - b)).sum();
    let size: f64 = reference.iter().map(|b| square(*b)).sum();
    (difference / size).sqrt()
}

/// The logits of every position, fed in pieces of these lengths, the last one repeated.
pub fn logits<P: Player>(
    session: &mut Session<P>,
    tokens: &[u32],
    pieces: &[usize],
) -> Vec<Vec<f64>> {
    let vocab = session.plan.vocab;
    let (mut out, mut rest, mut n) = (Vec::new(), tokens, 0);
    while !rest.is_empty() {
        let piece = pieces[n.min(pieces.len() - 1)].min(rest.len());
        n += 1;
        let (now, later) = rest.split_at(piece);
        rest = later;
        block_on(session.feed(now, None)).unwrap();
        let range = 0..now.len() * vocab;
        let read = block_on(session.player.read(&[(session.plan.logits, range)])).unwrap();
        if now.is_empty() {
            continue;
        }
        let rows = read[0].chunks_exact(vocab);
        out.extend(rows.map(|r| r.iter().map(|&x| x.into()).collect::<Vec<f64>>()));
    }
    out
}

/// The change that leaves nothing but the present token. What is read is then one product `q . k`
/// times a value, and where that almost vanishes the norm behind it magnifies its rounding: four
/// times the tolerance.
const ALONE: &str = "a decay of 0, so that nothing but the present token is left";

/// Changes of a running model by name: none, and each kind with its neighbours.
pub fn changes(heads: usize) -> [(&'static str, Change); 6] {
    let some: Vec<f32> = (0..heads)
        .map(|h| if h % 2 == 0 { 0.02 } else { -1.0 })
        .collect();
    let plain = Change::default();
    [
        ("no change", plain.clone()),
        (
            "faster decay, weaker writes",
            Change {
                log_decay_shift: 0.97f32.ln(),
                write_factor: 0.75,
                ..plain.clone()
            },
        ),
        (
            "a window of 5",
            Change {
                window: 5,
                ..plain.clone()
            },
        ),
        (
            "a window of 16, faster decay, weaker writes",
            Change {
                window: 16,
                log_decay_shift: 0.9f32.ln(),
                write_factor: 0.5,
                thresholds: None,
            },
        ),
        (
            "a filter",
            Change {
                thresholds: Some(vec![some.into(); 2]),
                ..plain.clone()
            },
        ),
        (
            ALONE,
            Change {
                log_decay_shift: -1e4,
                ..plain
            },
        ),
    ]
}

/// Models of every mixer: of its usual size, and a small one of odd dimensions.
pub fn models() -> Vec<(&'static str, Rc<Stack>)> {
    let odd = Size {
        width: 20,
        heads: 3,
        key: 10,
        value: 7,
    };
    mixers::ALL
        .iter()
        .flat_map(|d| {
            let small = Stack::random_of(d, &odd, 5);
            [Stack::random(d, 7), small].map(|stack| (d.id, Rc::new(stack)))
        })
        .collect()
}

/// The logits of the definition, in f64.
pub fn defined(stack: &Stack, tokens: &[u32], change: &Change) -> Vec<Vec<f64>> {
    let mut states = Vec::new();
    tokens
        .iter()
        .map(|&id| stack.step(&mut states, id, change))
        .collect()
}

fn options(tokens: usize, change: &Change) -> Options {
    Options {
        capacity: tokens,
        change: change.clone(),
        ..Options::default()
    }
}

fn hold(got: &[Vec<f64>], want: &[Vec<f64>], tolerance: f64, what: &str) {
    assert_eq!(got.len(), want.len(), "{what}");
    if want.is_empty() {
        return;
    }
    // Over the whole text: a norm behind a read-out that almost vanishes magnifies the rounding of
    // that one token. One wrong token in 1,000 would still be a ratio of a hundredth.
    let ratio = rms_ratio(&got.concat(), &want.concat());
    assert!(ratio <= tolerance, "{what}: {ratio:.2e}");
}

/// The recording gives what the definition gives: every change, in pieces, and every cut of
/// `cuts` with the state carried over.
pub fn recordings_equal_definitions<P: Player>(
    open: impl Fn(&Rc<Stack>, &Options, usize) -> Session<P>,
    cuts: &[usize],
    tolerance: f64,
) {
    let t = CHUNK + 6;
    let text = tokens(t);
    for (id, stack) in models() {
        let heads = stack.blocks[0].mixer.shape().heads;
        for (name, change) in changes(heads) {
            let want = defined(&stack, &text, &change);
            let tolerance = tolerance * if name == ALONE { 4.0 } else { 1.0 };
            for piece in [1, 3, CHUNK, t] {
                let mut session = open(&stack, &options(t, &change), piece);
                let got = logits(&mut session, &text, &[piece]);
                let what = format!("{id} in pieces of {piece} with {name}");
                hold(&got, &want, tolerance, &what);
            }
        }
        let change = Change::default();
        let want = defined(&stack, &text, &change);
        for &cut in cuts {
            let mut session = open(&stack, &options(t, &change), t);
            let got = logits(&mut session, &text, &[cut, t]);
            hold(&got, &want, tolerance, &format!("{id} cut at {cut}"));
        }
    }
}

/// The same for whole texts of 0, 1, 2, C - 1, C, C + 1 and 1,000 tokens.
pub fn every_length_is_read<P: Player>(
    open: impl Fn(&Rc<Stack>, &Options, usize) -> Session<P>,
    tolerance: f64,
) {
    let text = tokens(1000);
    for (id, stack) in models().into_iter().skip(1).step_by(2) {
        let change = Change::default();
        let want = defined(&stack, &text, &change);
        for t in [0, 1, 2, CHUNK - 1, CHUNK, CHUNK + 1, 1000] {
            let mut session = open(&stack, &options(t, &change), t);
            let got = logits(&mut session, &text[..t], &[t]);
            hold(&got, &want[..t], tolerance, &format!("{id}, {t} tokens"));
        }
    }
}

/// A changed token changes nothing before it, to the last bit, and something after it.
pub fn nothing_reaches_back<P: Player>(open: impl Fn(&Rc<Stack>, &Options, usize) -> Session<P>) {
    let t = CHUNK + 6;
    let text = tokens(t);
    for (id, stack) in models() {
        let read = |text: &[u32]| {
            let mut session = open(&stack, &options(t, &Change::default()), t);
            logits(&mut session, text, &[t])
        };
        let plain = read(&text);
        for at in [1, 31, CHUNK - 1, CHUNK, t - 1] {
            let mut other = text.clone();
            other[at] = (other[at] + 128) % 256;
            let changed = read(&other);
            assert_eq!(changed[..at], plain[..at], "{id}, token {at}");
            assert_ne!(changed[at], plain[at], "{id}, token {at}");
        }
    }
}

/// What a mixer says that it ignores changes nothing, to the last bit; what it does not name
/// changes what the model says.
pub fn changes_act_or_are_ignored<P: Player>(
    open: impl Fn(&Rc<Stack>, &Options, usize) -> Session<P>,
) {
    let t = 24;
    let text = tokens(t);
    for (id, stack) in models() {
        let mixer = &stack.blocks[0].mixer;
        let read = |change: &Change| {
            let mut session = open(&stack, &options(t, change), t);
            logits(&mut session, &text, &[t])
        };
        let plain = read(&Change::default());
        // Every step size is below this.
        let all = vec![f32::MAX; mixer.shape().heads];
        let named = [
            (
                "decay-factor",
                Change {
                    log_decay_shift: -0.5,
                    ..Change::default()
                },
            ),
            (
                "write-factor",
                Change {
                    write_factor: 0.25,
                    ..Change::default()
                },
            ),
            (
                "window",
                Change {
                    window: 4,
                    ..Change::default()
                },
            ),
            (
                "filter",
                Change {
                    thresholds: Some(vec![all.into(); 2]),
                    ..Change::default()
                },
            ),
        ];
        for (setting, change) in named {
            let ignored = mixer.definition().ignores.iter().any(|i| i.0 == setting);
            let same = read(&change) == plain;
            assert_eq!(same, ignored, "{id}: {setting}");
        }
    }
}
