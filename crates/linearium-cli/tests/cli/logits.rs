//! `linearium logits` against `transformers`, in one piece and in many, on both back ends.

use std::fs;

use linearium::model::checkpoint::Checkpoint;

use crate::program::{Folder, ROOT, fail, heldout, model, succeed};

struct Expected {
    ids: Vec<u8>,
    positions: Vec<usize>,
    /// `[10, 256]`
    logits: Vec<f32>,
    losses: Vec<f32>,
}

fn integers(file: &Checkpoint, name: &str) -> Vec<i32> {
    file.raw(name)
        .unwrap()
        .chunks_exact(4)
        .map(|b| i32::from_le_bytes(b.try_into().unwrap()))
        .collect()
}

fn expected(name: &str) -> Expected {
    let path = format!("{ROOT}/tests/golden/models/{name}.safetensors");
    let mut file = Checkpoint::read(fs::read(path).unwrap()).unwrap();
    let ids = integers(&file, "input_ids");
    let positions = integers(&file, "positions");
    Expected {
        ids: ids.iter().map(|&id| id as u8).collect(),
        positions: positions.iter().map(|&p| p as usize).collect(),
        logits: file.take("logits", &[10, 256]).unwrap().data.to_vec(),
        losses: file
            .take("loss_per_position", &[599])
            .unwrap()
            .data
            .to_vec(),
    }
}

/// RMS difference over RMS value.
fn rms_ratio(got: &[f32], want: &[f32]) -> f64 {
    assert_eq!(got.len(), want.len());
    let (mut difference, mut size) = (0.0, 0.0);
    for (&g, &w) in got.iter().zip(want) {
        difference += f64::from(g - w).powi(2);
        size += f64::from(w).powi(2);
    }
    (difference / size).sqrt()
}

fn check(name: &str, backend: &str, pieces: &[&str], tolerance: f64) {
    let (want, folder) = (expected(name), Folder::new());
    let text = folder.file("text.bin", &want.ids);
    for piece in pieces {
        let out = folder.path("out.safetensors");
        let run = succeed(&[
            "logits",
            "--model",
            &model(name),
            "--text",
            &text,
            "--piece",
            piece,
            "--backend",
            backend,
            "--out",
            &out,
        ]);
        assert!(
            run.stdout.contains(&format!("on {backend} (")),
            "{}",
            run.stdout
        );
        let mut file = Checkpoint::read(fs::read(&out).unwrap()).unwrap();
        let about = file.metadata();
        assert_eq!(about["model"], name);
        assert!(about["backend"].starts_with(backend), "{about:?}");
        assert_eq!(about["version"], env!("CARGO_PKG_VERSION"));
        let ids: Vec<u8> = integers(&file, "input_ids")
            .iter()
            .map(|&i| i as u8)
            .collect();
        assert_eq!(ids, want.ids);
        let logits = file.take("logits", &[600, 256]).unwrap().data;
        for (row, &p) in want.logits.chunks_exact(256).zip(&want.positions) {
            let ratio = rms_ratio(&logits[p * 256..][..256], row);
            assert!(
                ratio <= tolerance,
                "{name} in pieces of {piece} at {p}: {ratio:.1e}"
            );
        }
        let losses = file.take("loss_per_position", &[599]).unwrap().data;
        for (p, (got, want)) in losses.iter().zip(&want.losses).enumerate() {
            let off = (got - want).abs();
            assert!(
                off <= 1e-3,
                "{name} in pieces of {piece}, loss at {p}: off by {off}"
            );
        }
    }
    assert_eq!(folder.names(), ["out.safetensors", "text.bin"]);
}

const MODELS: [&str; 3] = [
    "mamba2-passkey-t128",
    "mamba2-text-t1024",
    "llama-text-t256",
];

const PIECES: [&str; 4] = ["600", "64", "7", "1"];

#[test]
fn the_cpu_gives_the_logits_of_transformers_in_any_pieces() {
    for name in MODELS {
        check(name, "cpu", &PIECES, 1e-4);
    }
}

#[test]
fn the_gpu_gives_the_logits_of_the_passkey_model_in_any_pieces() {
    check(MODELS[0], "gpu", &PIECES, 2e-4);
}

#[test]
fn the_gpu_gives_the_logits_of_the_text_model_in_any_pieces() {
    check(MODELS[1], "gpu", &PIECES, 2e-4);
}

#[test]
fn the_gpu_gives_the_logits_of_softmax_attention_in_any_pieces() {
    check(MODELS[2], "gpu", &PIECES, 2e-4);
}

#[test]
fn a_limit_reads_the_beginning_only() {
    let folder = Folder::new();
    // 10 MB, with a two-byte character across the limit.
    let text = folder.file("long.txt", "é".repeat(5_000_000));
    let out = folder.path("out.safetensors");
    let model = model("mamba2-passkey-t128");
    let run = succeed(&[
        "logits", "--model", &model, "--text", &text, "--limit", "9", "--out", &out,
    ]);
    assert_eq!(run.stderr, "");
    let file = Checkpoint::read(fs::read(&out).unwrap()).unwrap();
    assert_eq!(file.shape("logits"), Some(&[9, 256][..]));
    assert_eq!(integers(&file, "input_ids")[7..], [0xA9, 0xC3]);
}

#[test]
fn texts_of_one_byte_and_of_no_encoding_are_read() {
    let folder = Folder::new();
    let out = folder.path("out.safetensors");
    let model = model("mamba2-passkey-t128");
    for (bytes, notes) in [(&b"a"[..], 0), (b"\xff\xfe\x00", 1)] {
        let text = folder.file("text", bytes);
        let run = succeed(&["logits", "--model", &model, "--text", &text, "--out", &out]);
        assert_eq!(run.stderr.lines().count(), notes, "{}", run.stderr);
        assert_eq!(run.stderr.contains("UTF-8"), notes > 0);
        let mut file = Checkpoint::read(fs::read(&out).unwrap()).unwrap();
        let losses = file.take("loss_per_position", &[bytes.len() - 1]).unwrap();
        assert!(losses.data.iter().all(|l| l.is_finite() && *l > 0.0));
    }
}

#[test]
fn a_file_that_was_there_stays_when_the_run_fails() {
    let folder = Folder::new();
    let out = folder.file("out.safetensors", "precious");
    let empty = folder.file("empty.txt", "");
    let model = model("mamba2-passkey-t128");
    fail(
        1,
        &["logits", "--model", &model, "--text", &empty, "--out", &out],
        &["empty.txt", "is empty"],
    );
    fail(
        1,
        &[
            "logits",
            "--model",
            "nowhere",
            "--text",
            &heldout(),
            "--out",
            &out,
        ],
        &["nowhere", "does not exist"],
    );
    assert_eq!(fs::read(&out).unwrap(), b"precious");
    assert_eq!(folder.names(), ["empty.txt", "out.safetensors"]);
}

/// The small random checkpoint of every family, against the library that made it.
#[test]
fn every_family_gives_the_logits_of_its_library() {
    let folder = Folder::new();
    let mut families = 0;
    for entry in fs::read_dir(format!("{ROOT}/tests/golden/models")).unwrap() {
        let dir = entry.unwrap().path();
        let name = dir.file_name().unwrap().to_str().unwrap().to_owned();
        // Golden files of the shipped models, and families that are not read yet.
        if dir.is_file() || NOT_READ.contains(&name.as_str()) {
            continue;
        }
        families += 1;
        let path = dir.join("expected.safetensors");
        let expected = Checkpoint::read(fs::read(path).unwrap()).unwrap();
        let ids = integers(&expected, "input_ids");
        let text = match fs::read(dir.join("text.txt")) {
            Ok(text) => text,
            Err(_) => ids.iter().map(|&id| id as u8).collect(),
        };
        let text = folder.file(&format!("{name}.txt"), text);
        let out = folder.path("out.safetensors");
        let model = dir.to_str().unwrap();
        let run = [
            "logits",
            "--model",
            model,
            "--text",
            &text,
            "--backend",
            "cpu",
            "--out",
            &out,
        ];
        succeed(&run);
        let mut got = Checkpoint::read(fs::read(&out).unwrap()).unwrap();
        assert_eq!(integers(&got, "input_ids"), ids, "{name}");
        let shape = got.shape("logits").unwrap().to_vec();
        let logits = got.take("logits", &shape).unwrap().data;
        let (want, _) = expected.raw("logits").unwrap().as_chunks::<8>();
        let want: Vec<f32> = want.iter().map(|&b| f64::from_le_bytes(b) as f32).collect();
        let rows = integers(&expected, "positions");
        for (row, want) in rows.iter().zip(want.chunks_exact(shape[1])) {
            let ratio = rms_ratio(&logits[*row as usize * shape[1]..][..shape[1]], want);
            assert!(ratio <= 2e-5, "{name} at {row}: {ratio:.1e}");
        }
    }
    assert_eq!(families, 19);
}

/// Whose mixers have no loader yet.
const NOT_READ: [&str; 3] = ["gsa", "light_net", "rwkv6"];
