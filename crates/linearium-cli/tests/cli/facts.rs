//! The facts that were measured when the shipped models were trained, reproduced by
//! `linearium probe loss` and `linearium probe passkey`.

use serde_json::Value;

use crate::program::{ROOT, heldout, model, numbers, probe, view};

fn facts() -> Value {
    let path = format!("{ROOT}/tests/golden/model_facts.json");
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// A column of a table.
fn column(table: &Value, index: usize) -> Vec<f64> {
    let rows = table["rows"].as_array().unwrap();
    rows.iter().map(|r| r[index].as_f64().unwrap()).collect()
}

/// Mean loss by octave of position, averaged over windows of the held-out text.
fn losses(name: &str, factor: &str, facts: &Value) -> Vec<f64> {
    let offsets = facts["offsets"].as_array().unwrap();
    let mut mean = vec![0.0; 8];
    for offset in offsets {
        let panel = probe(
            "loss",
            &[
                "--model",
                &model(name),
                "--text",
                &heldout(),
                "--offset",
                &offset.to_string(),
                "--context",
                &facts["context"].to_string(),
                "--decay-factor",
                factor,
            ],
        );
        let table = view(&panel, "loss-table");
        // The loss behind the last token is not known.
        let mut ends = numbers(&facts["position_ends"]);
        ends[7] -= 1.0;
        assert_eq!(column(table, 2), ends);
        for (mean, loss) in mean.iter_mut().zip(column(table, 3)) {
            *mean += loss / offsets.len() as f64;
        }
    }
    mean
}

fn check_losses(name: &str, factor: f64) {
    let facts = &facts()["loss"];
    let tolerance = facts["tolerance"].as_f64().unwrap();
    let rows = facts["rows"].as_array().unwrap();
    let row = rows
        .iter()
        .find(|r| r["model"] == name && r["decay_factor"] == factor)
        .unwrap();
    let got = losses(name, &factor.to_string(), facts);
    let want = numbers(&row["loss"]);
    assert_eq!(got.len(), want.len());
    for (i, (got, want)) in got.iter().zip(&want).enumerate() {
        let off = (got - want).abs();
        assert!(
            off <= tolerance,
            "{name} decay × {factor}, octave {i}: {got:.4}, not {want}"
        );
    }
}

#[test]
fn loss_of_the_text_model() {
    check_losses("mamba2-text-t1024", 1.0);
}

#[test]
fn loss_of_the_passkey_model() {
    check_losses("mamba2-passkey-t128", 1.0);
}

#[test]
fn loss_with_decays_times_0_9999() {
    check_losses("mamba2-passkey-t128", 0.9999);
}

#[test]
fn loss_with_decays_times_0_999() {
    check_losses("mamba2-passkey-t128", 0.999);
}

#[test]
fn loss_with_decays_times_0_99() {
    check_losses("mamba2-passkey-t128", 0.99);
}

#[test]
fn loss_with_decays_times_0_98() {
    check_losses("mamba2-passkey-t128", 0.98);
}

fn check_recall(factor: f64) {
    let facts = &facts()["recall"];
    let (tolerance, longest) = (facts["tolerance"].as_f64().unwrap(), 2048.0);
    assert_eq!(facts["tested_up_to"], longest);
    let rows = facts["rows"].as_array().unwrap();
    let row = rows.iter().find(|r| r["decay_factor"] == factor).unwrap();
    let panel = probe(
        "passkey",
        &[
            "--model",
            &model(facts["model"].as_str().unwrap()),
            "--text",
            &heldout(),
            "--context",
            "2048",
            "--samples",
            "40",
            "--decay-factor",
            &factor.to_string(),
        ],
    );
    let table = view(&panel, "recall-table");
    assert!(column(table, 3).iter().all(|&texts| texts >= 40.0));
    let wanted: Vec<(f64, f64)> = numbers(&facts["lengths"])
        .into_iter()
        .zip(numbers(&row["recall"]))
        .filter(|(length, _)| *length <= longest)
        .collect();
    let lengths: Vec<f64> = wanted.iter().map(|w| w.0).collect();
    assert_eq!(column(table, 1), lengths);
    for ((length, want), got) in wanted.iter().zip(column(table, 2)) {
        let off = (got - want).abs();
        assert!(
            off <= tolerance,
            "decay × {factor} at {length}: {got:.3}, not {want}"
        );
    }
}

#[test]
fn recall_of_the_passkey_model() {
    check_recall(1.0);
}

#[test]
fn recall_with_decays_times_0_999() {
    check_recall(0.999);
}

#[test]
fn recall_with_decays_times_0_99() {
    check_recall(0.99);
}

/// The windows of the given numbers are not known, so their level is not held, only the cliff:
/// level up to the training length, then a rise at least two thirds as high as the given one.
#[test]
fn softmax_attention_falls_off_a_cliff_behind_its_training_length() {
    let facts = facts();
    let cliff = &facts["cliff"];
    let given = numbers(&cliff["loss"]);
    let panel = probe(
        "loss",
        &[
            "--model",
            &model(cliff["model"].as_str().unwrap()),
            "--text",
            &heldout(),
            "--context",
            "2048",
        ],
    );
    let loss = column(view(&panel, "loss-table"), 3);
    let within = loss[..3].iter().fold(0.0f64, |m, &l| m.max(l));
    assert!(within < 1.6, "{loss:?}");
    assert!(
        loss[3] - within > (given[1] - given[0]) * 2.0 / 3.0,
        "{loss:?}"
    );
    assert!(loss[4] > loss[3], "{loss:?}");
}
