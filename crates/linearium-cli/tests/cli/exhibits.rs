//! `linearium exhibit` and `linearium claims`.

use std::fs;

use linearium::exhibits::ALL;
use serde_json::Value;

use crate::program::{Folder, fail, model, succeed};

/// The folder of the shipped models.
fn models() -> String {
    model("")
}

#[test]
fn every_exhibit_is_written_with_its_pictures() {
    for exhibit in ALL {
        let folder = Folder::new();
        let json = folder.path("panel.json");
        let png = folder.path("pictures");
        let out = succeed(&[
            "exhibit",
            exhibit.slug,
            "--models",
            &models(),
            "--json",
            &json,
            "--png",
            &png,
        ]);
        let panel: Value = serde_json::from_str(&fs::read_to_string(&json).unwrap()).unwrap();
        assert_eq!(panel["id"], exhibit.slug);
        let summary = panel["summary"].as_str().unwrap();
        assert!(out.stdout.contains(summary), "{}", out.stdout);
        assert!(!panel["values"].as_array().unwrap().is_empty());
        let pictures = panel["views"].as_array().unwrap().iter();
        let pictures: Vec<String> = pictures
            .filter(|v| ["lines", "heatmap", "histogram"].contains(&v["kind"].as_str().unwrap()))
            .map(|v| format!("{}_{}.png", exhibit.slug, v["id"].as_str().unwrap()))
            .collect();
        assert!(!pictures.is_empty(), "{}", exhibit.slug);
        for name in pictures {
            let bytes = fs::read(format!("{png}/{name}")).unwrap();
            assert!(bytes.starts_with(b"\x89PNG\r\n\x1a\n"), "{name}");
            assert_eq!(
                bytes[16..24],
                [0, 0, 3, 192, 0, 0, 2, 88],
                "{name}: 960 x 600"
            );
            // A white page packs into a few hundred bytes.
            assert!(bytes.len() > 2500, "{name} is empty");
        }
    }
}

#[test]
fn controls_are_set_by_name() {
    let folder = Folder::new();
    let json = folder.path("panel.json");
    let arguments = [
        "exhibit",
        "l_mul",
        "--set",
        "bits=3",
        "--set",
        "product=described",
    ];
    succeed(&[&arguments[..], &["--json", &json]].concat());
    let panel: Value = serde_json::from_str(&fs::read_to_string(&json).unwrap()).unwrap();
    assert_eq!(panel["settings"], "bits=3&product=described");
    let bits = panel["values"].as_array().unwrap().iter();
    let bits = bits.filter(|v| v["symbol"] == "bits").map(|v| &v["value"]);
    assert_eq!(bits.collect::<Vec<_>>(), [&Value::from(3.0)]);
    let listed = succeed(&["exhibit", "l_mul", "--set", "help="]).stdout;
    assert!(listed.contains("bits 1..10") && listed.contains("described|adder"));
}

#[test]
fn what_cannot_be_is_said_in_one_sentence() {
    fail(2, &["exhibit", "nothing"], &["SLUG", "l_mul"]);
    fail(2, &["exhibit"], &["needs a SLUG"]);
    fail(
        2,
        &["exhibit", "l_mul", "--set", "bits=11"],
        &["bits", "1 to 10"],
    );
    fail(
        2,
        &["exhibit", "l_mul", "--set", "colour=red"],
        &["colour", "bits"],
    );
    fail(2, &["exhibit", "l_mul", "--set", "bits"], &["NAME=VALUE"]);
    fail(
        2,
        &["exhibit", "l_mul", "--set", "backend=gpu"],
        &["--backend"],
    );
    fail(
        2,
        &["exhibit", "l_mul", "--backend", "auto"],
        &["auto", "cpu, gpu"],
    );
    fail(2, &["claims", "l_mul", "nothing"], &["nothing", "l_mul"]);
}

/// The ledger has a line for every claim, and all that must hold do: a status of 0 says so.
#[test]
fn the_ledger_is_complete_and_holds() {
    let folder = Folder::new();
    let json = folder.path("claims.json");
    let out = succeed(&["claims", "--models", &models(), "--json", &json]);
    let rows: Vec<Value> = serde_json::from_str(&fs::read_to_string(&json).unwrap()).unwrap();
    let all: Vec<(&str, &str)> = ALL
        .iter()
        .flat_map(|e| e.claims.iter().map(|c| (e.slug, c.id)))
        .collect();
    assert_eq!(rows.len(), all.len());
    for (row, (slug, claim)) in rows.iter().zip(all) {
        assert_eq!(
            (&row["exhibit"], &row["claim"]),
            (&slug.into(), &claim.into())
        );
        assert!(row["value"].is_number(), "{row}");
        let holds = row["holds"].as_bool().unwrap();
        assert!(holds || row["reproducible"] == false, "{row}");
        assert!(holds || !row["why"].as_str().unwrap().is_empty(), "{row}");
        assert!(out.stdout.contains(row["statement"].as_str().unwrap()));
    }
    let one = succeed(&["claims", "l_mul"]).stdout;
    assert!(one.contains("L-Mul, ") && !one.contains("LightNet, "));
}
