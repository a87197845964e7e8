//! `linearium prune`.

use std::fs;

use linearium::probes::passkey;
use linearium::random::Random;
use serde_json::Value;

use crate::program::{Folder, fail, heldout, model, run, succeed};

fn prune(mode: &str, more: &[&str]) -> Value {
    let folder = Folder::new();
    let json = folder.path("prune.json");
    let (model, text) = (model("mamba2-passkey-t128"), heldout());
    let rest = ["prune", "--model", &model, "--text", &text, "--mode", mode];
    let rest = [&rest[..], &["--limit", "300", "--json", &json], more].concat();
    let told = succeed(&rest);
    assert!(told.stdout.contains("multiply-adds"), "{}", told.stdout);
    serde_json::from_slice(&fs::read(&json).unwrap()).unwrap()
}

#[test]
fn a_pruned_run_is_told_in_numbers() {
    let half = prune(
        "decay-true",
        &["--score", "stride", "--layers", "1:0.5,2:0.5"],
    );
    assert_eq!(half["layers"], serde_json::json!([[1, 150], [2, 75]]));
    let positions = half["positions"].as_array().unwrap();
    assert_eq!(positions.len(), 75);
    assert!(positions.iter().all(|p| p.as_u64().unwrap() % 4 == 0));
    // The last kept token is not the last of the text.
    assert_eq!(half["losses_after"].as_array().unwrap().len(), 75);
    assert_eq!(half["split"]["shifted_decay"], 0.0);
    assert_eq!(half["split"]["lost_content"], half["error"]);
    let operations = |part: &str| half[part]["all"].as_u64().unwrap();
    assert!(operations("operations_after") < operations("operations_before"));
    for time in ["time_before", "time_after"] {
        assert!(half[time]["scan_ms"].as_f64().unwrap() > 0.0);
        assert!(half[time]["whole_ms"].as_f64() >= half[time]["scan_ms"].as_f64());
    }
    let all = prune("hold", &["--keep", "1"]);
    assert_eq!(all["loss_before"], all["loss_after"]);
    assert_eq!(all["error"], 0.0);
}

/// A text that ends by asking for a passkey is counted by its digits: with the whole question kept
/// and everything else dropped none of what was said is left.
#[test]
fn digits_of_a_passkey_are_counted() {
    let folder = Folder::new();
    let (text, json) = (folder.path("passkey.txt"), folder.path("out.json"));
    let said = passkey::text(&fs::read(heldout()).unwrap(), 128, 0.5, &mut Random::new(1));
    fs::write(&text, said).unwrap();
    let model = model("mamba2-passkey-t128");
    let digits = |more: &[&str]| -> Value {
        let plain = ["prune", "--model", &model, "--text", &text, "--json", &json];
        succeed(&[&plain[..], more].concat());
        let out: Value = serde_json::from_slice(&fs::read(&json).unwrap()).unwrap();
        out["passkey_digits"].clone()
    };
    assert_eq!(digits(&["--keep", "1"]), serde_json::json!([5, 5]));
    let asked = digits(&["--score", "recency", "--keep", "0", "--protect-last", "30"]);
    assert_eq!(asked[0], 5);
    assert!(asked[1].as_u64().unwrap() < 5, "{asked}");
    assert_eq!(digits(&["--limit", "100"]), Value::Null);
}

/// A smaller checkpoint says what the larger one is to keep.
#[test]
fn a_draft_model_is_asked() {
    let draft = model("mamba2-n16-t512");
    for score in ["spec_kv", "spec_pc"] {
        let out = prune("gather", &["--score", score, "--draft", &draft]);
        assert_eq!(out["positions"].as_array().unwrap().len(), 150);
        assert_eq!(out["draft"]["model"], "mamba2-n16-t512");
        let guessed = out["draft"]["guessed"].as_str().unwrap();
        assert!(guessed.chars().all(|c| c.is_ascii_graphic() || c == ' '));
        assert!(out["choice_ms"].as_f64().unwrap() > 0.0);
    }
    assert_eq!(
        prune("gather", &["--score", "stride"])["draft"],
        Value::Null
    );
    let (model, text) = (model("mamba2-passkey-t128"), heldout());
    let plain = ["prune", "--model", &model, "--text", &text, "--limit", "20"];
    let refused = |more: &[&str], words: &[&str]| fail(2, &[&plain[..], more].concat(), words);
    refused(&["--score", "spec_kv"], &["spec_kv", "--draft DIR"]);
    refused(
        &["--score", "stride", "--draft", &draft],
        &["--draft", "spec_kv and spec_pc"],
    );
    let missing = ["--score", "spec_pc", "--draft", "nowhere"];
    fail(1, &[&plain[..], &missing].concat(), &["nowhere"]);
}

/// One token, and no token left, have operations and times but no loss.
#[test]
fn hardly_anything_is_pruned_too() {
    for more in [["--limit", "1"], ["--keep", "0"]] {
        let folder = Folder::new();
        let json = folder.path("prune.json");
        let (model, text) = (model("mamba2-passkey-t128"), heldout());
        let plain = ["prune", "--model", &model, "--text", &text, "--json", &json];
        let limit = match more[0] {
            "--limit" => &[][..],
            _ => &["--limit", "30"],
        };
        let told = succeed(&[&plain[..], limit, &more].concat()).stdout;
        assert!(told.contains("there is no loss"), "{told}");
        assert!(told.contains("million multiply-adds"), "{told}");
        let out: Value = serde_json::from_slice(&fs::read(&json).unwrap()).unwrap();
        assert_eq!(out["loss_after"], Value::Null);
        assert!(out["operations_before"]["all"].as_u64().unwrap() > 0);
    }
}

#[test]
fn what_cannot_be_pruned_is_said() {
    let (model, text) = (model("mamba2-passkey-t128"), heldout());
    let text_args = ["--text", &text, "--limit", "20"];
    let fail = |name: &str, more: &[&str], words: &str| {
        let arguments = [&["prune", "--model", name][..], &text_args, more].concat();
        let run = run(&arguments);
        assert!(run.status != 0, "{more:?}");
        assert!(run.stderr.contains(words), "{}", run.stderr);
        assert_eq!(run.stderr.lines().count(), 1, "{}", run.stderr);
    };
    fail(&model, &["--keep", "1.5"], "from 0 to 1");
    fail(&model, &["--keep", "-1"], "from 0 to 1");
    fail(&model, &["--mode", "burn"], "there is no drop mode");
    fail(&model, &["--score", "taste"], "there is no score");
    fail(&model, &["--conv", "none"], "'original' or 'condensed'");
    fail(&model, &["--layers", "99"], "there is no layer 99");
    fail(&model, &["--layers", "1,x"], "the part");
    fail(
        "random-delta_net",
        &["--mode", "carry"],
        "does not erase either",
    );
    fail(
        "random-attention",
        &["--mode", "decay-true"],
        "no state that decays",
    );
    let nothing = [
        "prune", "--model", &model, "--text", &text, "--limit", "20", "--keep", "0",
    ];
    assert!(succeed(&nothing).stdout.contains("there is no loss"));
}
