//! `linearium generate`, `bench`, `scaling` and `canary`.

use std::fs;

use serde_json::Value;

use crate::program::{Folder, model, succeed};

#[test]
fn the_passkey_model_finds_a_passkey() {
    let prompt = "The borrow checker tracks every reference.\nRemember the pass key: 48213\nA value has one owner.\nWhat is the pass key? ";
    assert!(prompt.len() < 123);
    let name = model("mamba2-passkey-t128");
    for backend in ["cpu", "gpu"] {
        let run = succeed(&[
            "generate",
            "--model",
            &name,
            "--prompt",
            prompt,
            "--tokens",
            "5",
            "--backend",
            backend,
        ]);
        assert_eq!(run.stdout, "48213", "{backend}");
    }
}

#[test]
fn the_seed_decides_what_is_written() {
    for name in [model("llama-text-t256"), "random-gla".to_owned()] {
        let generate = |temperature: &str, seed: &str| {
            let run = succeed(&[
                "generate",
                "--model",
                &name,
                "--prompt",
                "In Rust, ",
                "--tokens",
                "40",
                "--temperature",
                temperature,
                "--seed",
                seed,
            ]);
            run.stdout
        };
        assert_eq!(generate("0", "1"), generate("0", "2"));
        assert_eq!(generate("1", "1"), generate("1", "1"));
        assert_ne!(generate("1", "1"), generate("1", "2"));
    }
    let text = succeed(&[
        "generate",
        "--model",
        &model("mamba2-text-t1024"),
        "--prompt",
        "The compiler ",
        "--tokens",
        "60",
    ]);
    assert_eq!(text.stdout.len(), 60);
}

#[test]
fn bench_measures_every_back_end() {
    let folder = Folder::new();
    let json = folder.path("bench.json");
    let models = ["--model", "random-s6", "--model", &model("llama-text-t256")];
    let rest = ["bench", "--context", "64", "--rounds", "1", "--json", &json];
    let run = succeed(&[&rest[..], &models].concat());
    let written: Value = serde_json::from_slice(&fs::read(&json).unwrap()).unwrap();
    assert!(run.stdout.starts_with(written["machine"].as_str().unwrap()));
    let rows = written["rows"].as_array().unwrap();
    let backends: Vec<&str> = rows
        .iter()
        .map(|r| &r["backend"].as_str().unwrap()[..3])
        .collect();
    assert_eq!(backends, ["cpu", "gpu", "cpu", "gpu"]);
    for row in rows {
        for figure in ["prefill_tokens_per_second", "decode_ms_per_token"] {
            for which in ["best", "median"] {
                let value = row[figure][which].as_f64().unwrap();
                assert!(value > 0.0 && value.is_finite(), "{row}");
            }
        }
    }
}

#[test]
fn canary_checks_every_kernel() {
    let run = succeed(&["canary"]);
    for kernel in linearium::kernels::ALL {
        let line = run
            .stdout
            .lines()
            .find(|l| l.trim_start().starts_with(kernel.name));
        assert!(line.unwrap().ends_with("ok"), "{}", run.stdout);
    }
}

/// What does not depend on how busy the machine is: memory, finite numbers, and which mixers.
#[test]
fn scaling_holds_memory_constant() {
    let folder = Folder::new();
    let json = folder.path("scaling.json");
    succeed(&[
        "scaling",
        "--model",
        "random-ssd",
        "--model",
        "random-s6",
        "--width",
        "16",
        "--longest",
        "16384",
        "--json",
        &json,
    ]);
    let rows: Value = serde_json::from_slice(&fs::read(&json).unwrap()).unwrap();
    let rows = rows.as_array().unwrap();
    assert_eq!(rows.len(), 2);
    for row in rows {
        let passes = row["passes"].as_array().unwrap();
        let tokens: Vec<u64> = passes
            .iter()
            .map(|p| p["tokens"].as_u64().unwrap())
            .collect();
        assert_eq!(tokens, [1024, 4096, 16_384]);
        for pass in passes {
            assert_eq!(pass["finite"], true, "{row}");
            assert_eq!(pass["buffer_bytes"], passes[0]["buffer_bytes"], "{row}");
        }
        let slope = row["slope"].as_f64().unwrap();
        assert!(slope.is_finite() && slope > 0.0, "{row}");
    }
}
