//! What cannot be done is said in one line on stderr with a status, in bounded time, and nothing
//! half-written stays.

use std::fs;
use std::time::Duration;

use crate::hostile;
use crate::program::{Folder, fail, heldout, model, run_with, succeed};

/// More than any refusal takes, even on a busy machine.
const SOON: Duration = Duration::from_secs(20);

#[test]
fn every_hostile_model_gets_its_sentence() {
    let cases = hostile::cases();
    assert!(cases.len() >= 60);
    let folder = Folder::new();
    let text = folder.file("text.txt", "abc");
    for case in &cases {
        folder.file("m/config.json", &case.config);
        folder.file("m/model.safetensors", &case.model);
        let (dir, out) = (folder.path("m"), folder.path("out.safetensors"));
        let words: Vec<&str> = case.expected.iter().map(String::as_str).collect();
        let run = fail(
            1,
            &["logits", "--model", &dir, "--text", &text, "--out", &out],
            &[&words[..], &[&dir]].concat(),
        );
        assert!(run.time < SOON, "{}: {:?}", case.name, run.time);
        assert_eq!(folder.names(), ["m", "text.txt"], "{}", case.name);
    }
}

#[test]
fn files_that_cannot_be_read_or_written_are_named() {
    let folder = Folder::new();
    let good = model("mamba2-passkey-t128");
    let (text, out) = (heldout(), folder.path("o"));
    let empty = folder.file("empty.txt", "");
    folder.file("only-config/config.json", "{}");
    let only_config = folder.path("only-config");
    let dir = folder.path("");
    let logits = |model: &str, text: &str, out: &str, words: &[&str]| {
        let run = fail(
            1,
            &["logits", "--model", model, "--text", text, "--out", out],
            words,
        );
        assert!(run.time < SOON);
    };
    logits(
        "nowhere",
        &text,
        &out,
        &["nowhere", "does not exist", "config.json"],
    );
    logits(&text, &text, &out, &["is a file", "folder"]);
    logits(&dir, &text, &out, &["has no config.json"]);
    logits(&only_config, &text, &out, &["has no model.safetensors"]);
    logits(&good, "no.txt", &out, &["no.txt", "does not exist"]);
    logits(&good, &dir, &out, &["is a folder"]);
    logits(&good, &empty, &out, &["empty.txt", "is empty"]);
    logits(
        &good,
        &text,
        &dir,
        &["is a folder, give the name of a file"],
    );
    logits(
        &good,
        &text,
        &folder.path("no/o"),
        &["its folder does not exist"],
    );
    let probe = |more: &[&str], words: &[&str]| {
        let plain = ["probe", "loss", "--model", &good, "--context", "64"];
        let run = fail(1, &[&plain[..], more].concat(), words);
        assert!(run.time < SOON);
    };
    probe(&["--text", &text, "--json", &dir], &["is a folder"]);
    probe(
        &["--text", &text, "--json", &folder.path("no/j")],
        &["its folder does not exist"],
    );
    probe(&["--text", &empty], &["is empty"]);
    probe(
        &["--text", &text, "--offset", "999999"],
        &["196608 bytes", "999999"],
    );
    probe(
        &["--text", &text, "--layer", "3"],
        &["--layer = 3", "has 3"],
    );
    probe(&["--text", &text, "--head", "6"], &["--head = 6", "has 6"]);
    assert_eq!(folder.names(), ["empty.txt", "only-config"]);
}

#[test]
fn a_position_that_was_not_read_is_said() {
    let folder = Folder::new();
    let (short, json) = (
        folder.file("short.txt", "only a few words"),
        folder.path("j.json"),
    );
    let good = model("mamba2-passkey-t128");
    let plain = [
        "--model",
        &good,
        "--text",
        &short,
        "--context",
        "64",
        "--json",
        &json,
    ];
    let run =
        crate::program::run(&[&["probe", "decay"], &plain[..], &["--position", "16"]].concat());
    assert_eq!(run.status, 1);
    assert!(
        run.stderr.contains("--position 16 was not read"),
        "{}",
        run.stderr
    );
    assert_eq!(folder.names(), ["short.txt"]);
    // A text shorter than the context is read to its end, and that is said.
    let run = succeed(&[&["probe", "decay"], &plain[..], &["--position", "15"]].concat());
    assert!(
        run.stderr.contains("16 tokens: the context ends there"),
        "{}",
        run.stderr
    );
}

#[test]
fn texts_of_any_bytes_and_size_are_read() {
    let folder = Folder::new();
    let good = model("mamba2-passkey-t128");
    let bytes: Vec<u8> = (0..100u8).chain(150..250).collect();
    let text = folder.file("bytes.bin", bytes);
    let run = succeed(&[
        "probe",
        "loss",
        "--model",
        &good,
        "--text",
        &text,
        "--context",
        "64",
    ]);
    assert!(run.stderr.contains("not UTF-8"), "{}", run.stderr);
    let long = folder.file("long.txt", "ä".repeat(5_000_000));
    let run = succeed(&[
        "probe",
        "loss",
        "--model",
        &good,
        "--text",
        &long,
        "--context",
        "64",
        "--offset",
        "9000000",
    ]);
    assert_eq!(run.stderr, "");
    let run = succeed(&[
        "probe",
        "passkey",
        "--model",
        &good,
        "--text",
        &long,
        "--context",
        "64",
        "--samples",
        "5",
    ]);
    assert_eq!(run.stderr, "");
    assert!(run.time < SOON);
    let repeated = folder.file("small.txt", "ab");
    let text = succeed(&[
        "probe",
        "loss",
        "--model",
        &good,
        "--text",
        &repeated,
        "--input",
        "repeat",
        "--context",
        "64",
    ]);
    assert_eq!(text.stderr, "");
    for (file, words) in [
        (&long, "at most 2000 fit"),
        (&folder.path("bytes.bin"), "not UTF-8"),
    ] {
        let plain = ["probe", "loss", "--model", &good, "--context", "64"];
        let more = ["--text", file, "--input", "text"];
        let run = crate::program::run(&[&plain[..], &more].concat());
        assert!(
            run.status != 0 && run.stderr.contains(words),
            "{}",
            run.stderr
        );
    }
}

#[test]
fn what_is_not_understood_is_named_with_what_is_possible() {
    let m = "random-ssd";
    for (arguments, words) in [
        (
            &[][..],
            &["no command", "logits, probe, prune, generate, bench"][..],
        ),
        (&["sing"], &["“sing”", "logits, probe"]),
        (
            &["logits", "--colour", "red"],
            &["--colour", "--model", "--piece"],
        ),
        (&["logits", "here"], &["“here”", "--"]),
        (&["logits", "--model"], &["--model needs a value"]),
        (&["logits", "--model", m, "--model", m], &["twice"]),
        (&["logits", "--model", m], &["--text is missing"]),
        (
            &["logits", "--model", m, "--text", "t"],
            &["--out is missing"],
        ),
        (
            &[
                "logits",
                "--model",
                "random-rwkv",
                "--text",
                "t",
                "--out",
                "o",
            ],
            &["random-rwkv", "random-gla"],
        ),
        (
            &[
                "logits", "--model", m, "--text", "t", "--out", "o", "--limit", "0",
            ],
            &["--limit", "from 1 to"],
        ),
        (
            &[
                "logits", "--model", m, "--text", "t", "--out", "o", "--piece", "x",
            ],
            &["--piece", "“x”"],
        ),
        (
            &[
                "logits",
                "--model",
                m,
                "--text",
                "t",
                "--out",
                "o",
                "--backend",
                "tpu",
            ],
            &["tpu", "cpu, gpu"],
        ),
        (
            &["probe"],
            &[
                "needs a PANEL",
                "decay, receptive-field, state, loss, passkey",
            ],
        ),
        (
            &["probe", "smell", "--model", m],
            &["“smell”", "receptive-field"],
        ),
        (
            &["probe", "decay", "--model", m],
            &["--text is missing", "newlines"],
        ),
        (
            &[
                "probe",
                "decay",
                "--model",
                m,
                "--input",
                "newlines",
                "--context",
                "63",
            ],
            &["--context", "from 64 to 65536"],
        ),
        (
            &[
                "probe",
                "decay",
                "--model",
                m,
                "--input",
                "newlines",
                "--context=65537",
            ],
            &["--context", "65536"],
        ),
        (
            &[
                "probe", "decay", "--model", m, "--input", "newlines", "--text", "t",
            ],
            &["--text is not read"],
        ),
        (
            &[
                "probe",
                "decay",
                "--model",
                m,
                "--input",
                "newlines",
                "--samples",
                "5",
            ],
            &["--samples", "passkey"],
        ),
        (
            &["probe", "decay", "--model", m, "--input", "sample"],
            &["--text is missing"],
        ),
        (
            &["probe", "passkey", "--model", m, "--input", "newlines"],
            &["--text is missing"],
        ),
        (
            &[
                "probe",
                "decay",
                "--model",
                "one",
                "--b.model",
                "two",
                "--input",
                "newlines",
            ],
            &["--b.model", "two folders"],
        ),
        (&["generate", "--model", m], &["--prompt is missing"]),
        (
            &["generate", "--model", m, "--prompt", ""],
            &["--prompt is empty"],
        ),
        (
            &[
                "generate",
                "--model",
                m,
                "--prompt",
                "a",
                "--temperature",
                "-1",
            ],
            &["--temperature", "from 0 to 10"],
        ),
        (&["bench", "--context", "9"], &["--context", "from 64"]),
    ] {
        let run = fail(2, arguments, words);
        assert!(run.time < SOON);
    }
    fail(
        1,
        &[
            "generate",
            "--model",
            "random-attention",
            "--prompt",
            "a",
            "--tokens",
            "70000",
        ],
        &["random-attention", "65536"],
    );
}

#[test]
fn help_and_version_are_there() {
    assert!(
        succeed(&["--version"])
            .stdout
            .contains(env!("CARGO_PKG_VERSION"))
    );
    let overview = succeed(&["--help"]).stdout;
    for command in ["logits", "probe", "generate", "bench", "canary"] {
        assert!(overview.contains(command));
        let help = succeed(&[command, "--help"]).stdout;
        assert!(
            help.contains(&format!("usage: linearium {command}")),
            "{help}"
        );
    }
}

#[test]
fn a_machine_without_a_gpu_says_so_or_goes_on() {
    let arguments = |backend| {
        [
            "probe",
            "loss",
            "--model",
            "random-ssd",
            "--input",
            "newlines",
            "--context",
            "64",
            "--backend",
            backend,
        ]
    };
    let without = [("LINEARIUM_ADAPTER", "no such adapter")];
    let run = run_with(&arguments("gpu"), &without);
    assert_eq!(run.status, 1);
    assert!(run.stderr.contains("no such adapter"), "{}", run.stderr);
    let run = run_with(&arguments("auto"), &without);
    assert_eq!(run.status, 0, "{}", run.stderr);
    assert!(run.stderr.contains("no such adapter"), "{}", run.stderr);
    assert!(run.stdout.contains("cpu ("), "{}", run.stdout);
}

#[test]
fn a_file_is_whole_or_absent() {
    let folder = Folder::new();
    let json = folder.file("panel.json", "old");
    succeed(&[
        "probe",
        "state",
        "--model",
        "random-gla",
        "--input",
        "noise",
        "--context",
        "64",
        "--json",
        &json,
    ]);
    let text = fs::read_to_string(&json).unwrap();
    assert!(text.starts_with('{') && text.ends_with("}\n"));
    assert_eq!(folder.names(), ["panel.json"]);
}
