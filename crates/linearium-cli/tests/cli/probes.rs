//! Every probe, every flag: what is written has the shape that the page draws, and every setting
//! of the lab is a flag.

use std::fs;

use linearium::lab::Lab;
use linearium::model::load::Files;
use linearium::settings::{Kind, PROPERTIES, Property};
use linearium_gpu::LabHost;
use pollster::block_on;
use serde_json::Value;

use crate::program::{fail, heldout, model, numbers, probe, succeed, view};

const PANELS: [(&str, &str); 5] = [
    ("decay", "decay"),
    ("receptive-field", "receptive-field"),
    ("state", "state"),
    ("loss", "cost"),
    ("passkey", "recall"),
];

/// Every view has arrays that fit together and only numbers where there must be.
fn check(panel: &Value) {
    for key in ["id", "title", "summary", "settings", "model", "version"] {
        assert!(!panel[key].as_str().unwrap().is_empty(), "{key}");
    }
    let provenance = &panel["provenance"];
    for key in ["backend", "formula", "source", "tolerance", "selfCheck"] {
        assert!(!provenance[key].as_str().unwrap().is_empty(), "{key}");
    }
    assert_eq!(provenance["coveredTokens"], provenance["contextTokens"]);
    let finite = |list: &Value| {
        let list = numbers(list);
        assert!(list.iter().all(|x| x.is_finite()), "{list:?}");
        list.len()
    };
    for view in panel["views"].as_array().unwrap() {
        match view["kind"].as_str().unwrap() {
            "lines" => {
                for s in view["series"].as_array().unwrap() {
                    assert_eq!(finite(&s["x"]), finite(&s["y"]), "{}", view["id"]);
                    assert!(finite(&s["x"]) > 0, "{}", view["id"]);
                }
            }
            "heatmap" => {
                let cells = view["rows"].as_u64().unwrap() * view["columns"].as_u64().unwrap();
                assert_eq!(finite(&view["values"]) as u64, cells);
            }
            "histogram" => {
                for s in view["series"].as_array().unwrap() {
                    assert_eq!(finite(&s["counts"]) + 1, finite(&view["edges"]));
                }
            }
            "tokens" => {
                let tokens = view["tokens"].as_array().unwrap().len();
                assert_eq!(tokens, finite(&view["values"]));
            }
            "table" => {
                let columns = view["columns"].as_array().unwrap().len();
                for row in view["rows"].as_array().unwrap() {
                    assert_eq!(row.as_array().unwrap().len(), columns);
                }
            }
            other => panic!("a view of kind {other}"),
        }
    }
}

#[test]
fn every_probe_writes_its_panel_for_every_kind_of_model() {
    for model in [
        model("mamba2-passkey-t128"),
        model("llama-text-t256"),
        "random-ssd".to_owned(),
        "random-s6".to_owned(),
        "random-gla".to_owned(),
        "random-retnet".to_owned(),
        "random-attention".to_owned(),
    ] {
        for (command, id) in PANELS {
            let mut arguments = vec![
                "--model",
                &model,
                "--context",
                "128",
                "--layer",
                "1",
                "--head",
                "2",
            ];
            let text = heldout();
            match command {
                "passkey" => arguments.extend(["--text", &text, "--samples", "5"]),
                "state" => arguments.extend(["--input", "newlines"]),
                _ => arguments.extend(["--text", &text, "--offset", "1000"]),
            }
            let panel = probe(command, &arguments);
            assert_eq!(panel["id"], id);
            check(&panel);
            let keeps_cache = model.contains("attention") || model.contains("llama");
            let empty = panel["views"].as_array().unwrap().is_empty();
            // What has neither decay nor state says so in words.
            let without = keeps_cache && matches!(command, "decay" | "state");
            assert_eq!(empty, without, "{command} of {model}");
            assert!(
                panel["provenance"]["backend"]
                    .as_str()
                    .unwrap()
                    .starts_with("cpu (")
            );
        }
    }
}

#[test]
fn every_intervention_is_said_and_changes_the_loss() {
    let (model, text) = (model("mamba2-passkey-t128"), heldout());
    let plain = [
        "--model",
        &model,
        "--text",
        &text,
        "--context",
        "512",
        "--offset",
        "65536",
    ];
    let losses = |panel: &Value| {
        let rows = view(panel, "loss-table")["rows"].as_array().unwrap();
        rows.iter()
            .map(|r| r[3].as_f64().unwrap())
            .collect::<Vec<f64>>()
    };
    let before = losses(&probe("loss", &plain));
    for (flag, value, said) in [
        ("--decay-factor", "0.99", "every decay × 0.99"),
        ("--write-factor", "0.5", "every write × 0.5"),
        ("--window", "64", "only the last 64 tokens"),
        ("--normalise-at", "128", "after 128 tokens"),
        ("--filter", "512", "LongMamba"),
    ] {
        let panel = probe("loss", &[&plain[..], &[flag, value]].concat());
        check(&panel);
        let interventions = panel["provenance"]["interventions"].as_array().unwrap();
        assert_eq!(interventions.len(), 1, "{flag}");
        let entry = interventions[0].as_str().unwrap();
        assert!(entry.contains(said), "{entry}");
        let after = losses(&panel);
        let moved = before.iter().zip(&after).any(|(a, b)| (a - b).abs() > 1e-4);
        assert!(moved, "{flag} changes nothing: {after:?}");
    }
}

#[test]
fn a_second_run_is_drawn_beside_the_first() {
    let panel = probe(
        "decay",
        &[
            "--model",
            "random-ssd",
            "--input",
            "repeat",
            "--context",
            "100",
            "--b.decay-factor",
            "0.9",
        ],
    );
    check(&panel);
    let series = view(&panel, "cumulative")["series"].as_array().unwrap();
    let of_run = |run: &str| series.iter().filter(|s| s["run"] == run).count();
    assert_eq!((of_run("a"), of_run("b")), (4, 4));
    assert!(
        panel["settings"]
            .as_str()
            .unwrap()
            .contains("b.decay-factor=0.9")
    );
}

#[test]
fn two_models_are_drawn_on_the_same_axes() {
    let (text, a, b) = (
        heldout(),
        model("mamba2-passkey-t128"),
        model("mamba2-text-t1024"),
    );
    let panel = probe(
        "loss",
        &[
            "--model",
            &a,
            "--b.model",
            &b,
            "--text",
            &text,
            "--context",
            "128",
        ],
    );
    check(&panel);
    let loss = |run: &str| {
        let rows = view(&panel, "loss-table")["rows"].as_array().unwrap();
        let row = rows.iter().find(|r| r[0] == run).unwrap();
        row[3].as_f64().unwrap()
    };
    let alone = probe(
        "loss",
        &["--model", &b, "--text", &text, "--context", "128"],
    );
    let rows = view(&alone, "loss-table")["rows"].as_array().unwrap();
    assert_eq!(Some(loss("B")), rows[0][3].as_f64());
    assert_ne!(loss("A"), loss("B"));
}

#[test]
fn the_settings_that_are_written_give_the_same_panel_in_the_lab() {
    let (name, text) = (model("mamba2-passkey-t128"), heldout());
    let panel = probe(
        "receptive-field",
        &[
            "--model",
            &name,
            "--text",
            &text,
            "--context",
            "300",
            "--window",
            "90",
            "--offset",
            "77",
        ],
    );
    let mut lab = Lab::new(LabHost::new(|| 0.0));
    let configured = lab.configure(panel["settings"].as_str().unwrap());
    assert!(configured.notices.is_empty(), "{:?}", configured.notices);
    let config = fs::read(format!("{name}/config.json")).unwrap();
    let weights = fs::read(format!("{name}/model.safetensors")).unwrap();
    // A folder of a shipped model's name is that model to the page.
    lab.provide_model("mamba2-passkey-t128", Files::pair(config, weights))
        .unwrap();
    lab.provide_text("file", fs::read(&text).unwrap()).unwrap();
    while block_on(lab.advance(1e9)).state == "working" {}
    let drawn = lab.panel("receptive-field").unwrap();
    // Through text, as the file went: f32 and f64 print differently inside of a `Value`.
    let drawn: Value = serde_json::from_str(&serde_json::to_string(&drawn.views).unwrap()).unwrap();
    assert_eq!(drawn, panel["views"]);
}

#[test]
fn the_gpu_draws_what_the_cpu_draws() {
    let (model, text) = (model("mamba2-passkey-t128"), heldout());
    let on = |backend: &str| {
        probe(
            "receptive-field",
            &[
                "--model",
                &model,
                "--text",
                &text,
                "--context",
                "256",
                "--backend",
                backend,
            ],
        )
    };
    let (cpu, gpu) = (on("cpu"), on("gpu"));
    let provenance = &gpu["provenance"];
    assert!(
        provenance["backend"].as_str().unwrap().starts_with("gpu ("),
        "{provenance}"
    );
    assert!(provenance["selfCheck"].as_str().unwrap().contains("passed"));
    let curve = |panel: &Value| numbers(&view(panel, "influence")["series"][0]["y"]);
    let (cpu, gpu) = (curve(&cpu), curve(&gpu));
    let difference: f64 = cpu.iter().zip(&gpu).map(|(a, b)| (a - b).powi(2)).sum();
    let size: f64 = cpu.iter().map(|a| a.powi(2)).sum();
    assert!((difference / size).sqrt() < 1e-4);
}

/// A value that the lab cannot take.
fn impossible(property: &Property) -> &'static str {
    match property.kind {
        Kind::Choice { .. } => "nothing-like-it",
        Kind::Integer { .. } | Kind::Number { .. } => "1e99",
        Kind::Text { .. } => "",
    }
}

#[test]
fn every_setting_of_the_lab_is_a_flag_and_no_other() {
    let help = succeed(&["probe", "--help"]).stdout;
    let listed: Vec<&str> = help
        .lines()
        .filter_map(|line| line.strip_prefix("  --")?.split_whitespace().next())
        .collect();
    let mut expected: Vec<String> = PROPERTIES.iter().map(|p| p.id.to_owned()).collect();
    let comparable = PROPERTIES.iter().filter(|p| p.comparable);
    expected.extend(comparable.map(|p| format!("b.{}", p.id)));
    expected.extend(["samples".to_owned(), "json".to_owned()]);
    expected.sort();
    let mut sorted = listed.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, expected);
    let plain = [
        "probe",
        "loss",
        "--model",
        "random-retnet",
        "--context",
        "64",
    ];
    for p in PROPERTIES {
        let flag = format!("--{}", p.id);
        if matches!(p.id, "model" | "text" | "input" | "context") {
            continue;
        }
        let given = [&plain[..], &["--input", "newlines", &flag]].concat();
        succeed(&[&given[..], &[p.default]].concat());
        fail(2, &[&given[..], &[impossible(p)]].concat(), &[p.id]);
    }
    fail(
        2,
        &[&plain[..], &["--input", "nothing-like-it"]].concat(),
        &["input", "newlines"],
    );
}
