//! Checkpoints against the libraries that made them: the shipped ones, and a small random one of
//! every family.

use std::rc::Rc;

use linearium::mixers::Change;
use linearium::model::checkpoint::Checkpoint;
use linearium::model::load::{Files, load, load_files};
use linearium::model::session::{Options, Session};
use linearium::model::stack::Stack;
use linearium::player::{CpuPlayer, Player};
use pollster::block_on;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

fn model(name: &str) -> Rc<Stack> {
    let file = |f: &str| std::fs::read(format!("{ROOT}/web/public/models/{name}/{f}")).unwrap();
    Rc::new(load(&file("config.json"), file("model.safetensors")).unwrap())
}

fn session(stack: &Rc<Stack>, options: &Options, segment: usize) -> Session<CpuPlayer> {
    block_on(Session::new(
        stack.clone(),
        options,
        segment,
        |layout| async move { Ok(CpuPlayer::new(&layout)) },
    ))
    .unwrap()
}

/// Root mean square of the difference over root mean square of the reference.
fn rms_ratio(a: &[f64], reference: &[f64]) -> f64 {
    assert_eq!(a.len(), reference.len());
    let square = |v: f64| v * v;
    let difference: f64 = a.iter().zip(reference).map(|(a, b)| square(a - b)).sum();
    let size: f64 = reference.iter().map(|b| square(*b)).sum();
    (difference / size).sqrt()
}

/// Logits of every position, fed in pieces.
fn logits(session: &mut Session<CpuPlayer>, tokens: &[u32], piece: usize) -> Vec<Vec<f64>> {
    let vocab = session.plan.vocab;
    let mut out = Vec::new();
    for tokens in tokens.chunks(piece) {
        block_on(session.feed(tokens, None)).unwrap();
        let range = 0..tokens.len() * vocab;
        let read = block_on(session.player.read(&[(session.plan.logits, range)])).unwrap();
        out.extend(
            read[0]
                .chunks_exact(vocab)
                .map(|r| r.iter().map(|&x| x.into()).collect()),
        );
    }
    out
}

struct Expected {
    ids: Vec<u32>,
    positions: Vec<usize>,
    logits: Vec<Vec<f64>>,
    losses: Vec<f64>,
}

fn expected(name: &str) -> Expected {
    let bytes = std::fs::read(format!("{ROOT}/tests/golden/models/{name}.safetensors")).unwrap();
    let mut file = Checkpoint::read(bytes).unwrap();
    let int = |f: &Checkpoint, n: &str| -> Vec<u32> {
        let raw = f.raw(n).unwrap();
        raw.chunks_exact(4)
            .map(|b| u32::from_le_bytes(b.try_into().unwrap()))
            .collect()
    };
    let ids = int(&file, "input_ids");
    let positions = int(&file, "positions")
        .iter()
        .map(|&p| p as usize)
        .collect();
    let logits = file.take("logits", &[10, 256]).unwrap().data;
    let losses = file.take("loss_per_position", &[599]).unwrap().data;
    Expected {
        ids,
        positions,
        logits: logits
            .chunks(256)
            .map(|r| r.iter().map(|&x| x.into()).collect())
            .collect(),
        losses: losses.iter().map(|&x| x.into()).collect(),
    }
}

/// `transformers` in f32 against ours in f32: two roundings of some 1e-6 each through 3 to 4
/// layers; the issue asks for 1e-4.
#[test]
fn shipped_checkpoints_give_the_logits_of_transformers() {
    for name in [
        "mamba2-passkey-t128",
        "mamba2-text-t1024",
        "llama-text-t256",
    ] {
        let (stack, want) = (model(name), expected(name));
        for piece in [600, 64, 7, 1] {
            let options = Options {
                capacity: 600,
                ..Options::default()
            };
            let mut s = session(&stack, &options, piece);
            let got = logits(&mut s, &want.ids, piece);
            for (p, want) in want.positions.iter().zip(&want.logits) {
                let ratio = rms_ratio(&got[*p], want);
                assert!(ratio <= 1e-4, "{name} in pieces of {piece} at {p}: {ratio}");
            }
            let mut s = session(&stack, &options, piece);
            let (losses, _) = block_on(s.read_text(&want.ids)).unwrap();
            for (p, (got, want)) in losses.iter().zip(&want.losses).enumerate() {
                let off = (f64::from(*got) - want).abs();
                assert!(
                    off <= 1e-3,
                    "{name} in pieces of {piece}, loss at {p}: off by {off}"
                );
            }
            assert_eq!(losses.len(), want.losses.len());
        }
    }
}

/// The families, and whether a layer of theirs keeps a cache.
const FAMILIES: [(&str, bool); 19] = [
    ("mamba", false),
    ("mamba-sharded", false),
    ("mamba-tokenizer", false),
    ("mamba2", false),
    ("mamba2-bf16", false),
    ("falcon_mamba", false),
    ("jamba", true),
    ("bamba", true),
    ("gla", false),
    ("gla-conv", false),
    ("gla-hybrid", true),
    ("retnet", false),
    ("delta_net", false),
    ("gated_delta_net", false),
    ("gated_delta_net-hybrid", true),
    ("rwkv7", false),
    ("rwkv7-native", false),
    ("hgrn2", false),
    ("linear_attention", false),
];

/// The logits of the library, in f64, against the definition in f64 and the recording in f32. The
/// definition is as exact as f64 and an epsilon that is rounded to f32 let it be, behind some
/// layers; the issue asks for 2e-4 of the recording.
#[test]
fn every_family_gives_the_logits_of_its_library() {
    for (name, cached) in FAMILIES {
        let folder = format!("{ROOT}/tests/golden/models/{name}");
        let stack = load_files(files(&folder));
        let stack = Rc::new(stack.unwrap_or_else(|e| panic!("{name}: {e}")));
        assert_eq!(stack.has_cache(), cached, "{name}");
        let want = library(&format!("{folder}/expected.safetensors"), stack.vocab);
        if let Ok(text) = std::fs::read(format!("{folder}/text.txt")) {
            assert_eq!(stack.encode(&text), want.ids, "{name}");
        }
        let mut states = Vec::new();
        let change = Change::default();
        let mut worst = [0.0f64; 2];
        let defined: Vec<Vec<f64>> = want
            .ids
            .iter()
            .map(|&id| stack.step(&mut states, id, &change))
            .collect();
        for piece in [want.ids.len(), 7, 1] {
            let options = Options {
                capacity: want.ids.len(),
                ..Options::default()
            };
            let mut s = session(&stack, &options, piece);
            let got = logits(&mut s, &want.ids, piece);
            for (p, want) in want.positions.iter().zip(&want.logits) {
                let exact = rms_ratio(&defined[*p], want);
                let ratio = rms_ratio(&got[*p], want);
                worst = [worst[0].max(exact), worst[1].max(ratio)];
                assert!(exact <= 1e-6, "{name}, definition at {p}: {exact:.1e}");
                assert!(
                    ratio <= 2e-5,
                    "{name} in pieces of {piece} at {p}: {ratio:.1e}"
                );
            }
            let mut s = session(&stack, &options, piece);
            let (losses, _) = block_on(s.read_text(&want.ids)).unwrap();
            assert_eq!(losses.len(), want.losses.len());
            for (p, (got, want)) in losses.iter().zip(&want.losses).enumerate() {
                let off = (f64::from(*got) - want).abs();
                assert!(
                    off <= 1e-3,
                    "{name} in pieces of {piece}, loss at {p}: off by {off}"
                );
            }
        }
        eprintln!(
            "{name}: definition {:.1e}, recording {:.1e}",
            worst[0], worst[1]
        );
    }
}

/// The files of a model's folder.
fn files(folder: &str) -> Files {
    let mut files = Files::default();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let bytes = std::fs::read(&path).unwrap();
        match name.as_str() {
            "config.json" => files.config = Some(bytes),
            "model.safetensors.index.json" => files.index = Some(bytes),
            "tokenizer.json" => files.tokenizer = Some(bytes),
            _ if name.starts_with("model") => files.weights.push((name, bytes)),
            _ => {}
        }
    }
    files
}

/// What `tests/golden/make/checkpoints.py` recorded.
fn library(path: &str, vocab: usize) -> Expected {
    let file = Checkpoint::read(std::fs::read(path).unwrap()).unwrap();
    for key in ["repository", "commit", "path", "command"] {
        assert!(!file.metadata()[key].is_empty(), "{path} names no {key}");
    }
    let whole = |name: &str| -> Vec<u32> {
        let (values, _) = file.raw(name).unwrap().as_chunks::<4>();
        values.iter().map(|&b| u32::from_le_bytes(b)).collect()
    };
    let exact = |name: &str| -> Vec<f64> {
        let (values, _) = file.raw(name).unwrap().as_chunks::<8>();
        values.iter().map(|&b| f64::from_le_bytes(b)).collect()
    };
    let positions = whole("positions").into_iter().map(|p| p as usize);
    Expected {
        ids: whole("input_ids"),
        positions: positions.collect(),
        logits: exact("logits")
            .chunks_exact(vocab)
            .map(<[f64]>::to_vec)
            .collect(),
        losses: exact("loss_per_position"),
    }
}
