//! The small trained checkpoints of the exhibits: they load, and lose and recall what PyTorch
//! measured.

use std::rc::Rc;

use linearium::model::load::{Files, load_files};
use linearium::model::session::{Options, Session};
use linearium::player::CpuPlayer;
use linearium::probes::passkey;
use linearium::random::Random;
use pollster::block_on;
use serde_json::Value;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

fn read(path: &str) -> Vec<u8> {
    std::fs::read(format!("{ROOT}/{path}")).unwrap_or_else(|e| panic!("{path}: {e}"))
}

fn session(name: &str) -> Session<CpuPlayer> {
    let file = |f: &str| read(&format!("web/public/models/{name}/{f}"));
    let files = Files::pair(file("config.json"), file("model.safetensors"));
    assert!(files.weights[0].1.len() < 1 << 20, "{name} is over 1 MB");
    let stack = Rc::new(load_files(files).unwrap_or_else(|e| panic!("{name}: {e}")));
    let options = Options {
        capacity: usize::MAX,
        ..Options::default()
    };
    let player = |layout| async move { Ok(CpuPlayer::new(&layout)) };
    block_on(Session::new(stack, &options, 256, player)).unwrap()
}

fn golden() -> Value {
    serde_json::from_slice(&read("tests/golden/trained_families.json")).unwrap()
}

fn numbers(value: &Value) -> Vec<f64> {
    let list = value.as_array().expect("a list");
    list.iter().map(|x| x.as_f64().expect("a number")).collect()
}

/// Octave means of the loss on the held-out text, against transformers.
pub fn the_family_loses_what_transformers_says() {
    let golden = golden();
    let octaves = numbers(&golden["octaves"]);
    let text = read("web/public/models/heldout.txt");
    let tokens: Vec<u32> = text[..1024].iter().map(|&b| b.into()).collect();
    let models = golden["mamba2"].as_object().unwrap();
    assert_eq!(models.len(), 25);
    for (name, want) in models {
        let (losses, _) = block_on(session(name).read_text(&tokens)).unwrap();
        for (span, want) in octaves.windows(2).zip(numbers(want)) {
            let part = &losses[span[0] as usize..span[1] as usize];
            let mean = part.iter().map(|&l| f64::from(l)).sum::<f64>() / part.len() as f64;
            assert!(
                (mean - want).abs() < 1e-3,
                "{name} from {}: {mean}, {want}",
                span[0]
            );
        }
    }
}

/// Recall at 128 tokens, against the table that the training wrote: 500 digits there and 250 here,
/// whose difference has a standard error of at most 0.04.
pub fn the_family_recalls_what_its_table_says() {
    let text = read("web/public/models/heldout.txt");
    let table = String::from_utf8(read("web/public/models/mamba2-family.txt")).unwrap();
    let mut seen = 0;
    for line in table.lines().filter(|l| !l.starts_with('#')) {
        let columns: Vec<f64> = line.split(' ').map(|x| x.parse().unwrap()).collect();
        if columns[2] != 0.0 {
            continue;
        }
        seen += 1;
        let name = format!("mamba2-n{}-t{}", columns[0], columns[1]);
        let mut session = session(&name);
        assert_eq!(
            session.stack.state_bytes(0) / 4,
            columns[3] as usize,
            "{name}"
        );
        let mut random = Random::new(4);
        let mut found = passkey::Recall::default();
        for depth in passkey::DEPTHS {
            for _ in 0..10 {
                let text = passkey::text(&text, 128, depth, &mut random);
                let tokens: Vec<u32> = text.iter().map(|&b| b.into()).collect();
                found.digits += block_on(passkey::ask(&mut session, &tokens)).unwrap();
                found.samples += 1;
            }
        }
        let (share, want) = (found.share(), columns[12]);
        assert!((share - want).abs() < 0.12, "{name}: {share}, {want}");
    }
    assert_eq!(seen, 25);
}

/// Every loss of a text of pairs, against the rule token by token in f64.
pub fn recall_models_lose_what_the_rule_says() {
    let golden = golden();
    let models = golden["recall"].as_object().unwrap();
    assert_eq!(models.len(), 6);
    for (name, want) in models {
        let tokens: Vec<u32> = numbers(&want["tokens"]).iter().map(|&x| x as u32).collect();
        let (losses, _) = block_on(session(name).read_text(&tokens)).unwrap();
        let want = numbers(&want["losses"]);
        assert_eq!(losses.len(), want.len());
        for (t, (got, want)) in losses.iter().zip(want).enumerate() {
            let off = (f64::from(*got) - want).abs();
            assert!(off < 1e-3, "{name} at {t}: off by {off}");
        }
    }
}
