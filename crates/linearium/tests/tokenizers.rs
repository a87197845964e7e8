//! `tokenizer.json` against the tokenizers library, and against strangers.

use linearium::model::tokenizer::Tokenizer;
use serde_json::{Value, json};

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden");
/// Both vocabularies are smaller.
const SIZE: usize = 500;

fn read(path: &str) -> Value {
    serde_json::from_slice(&std::fs::read(format!("{GOLDEN}/{path}")).unwrap()).unwrap()
}

fn tokenizer(json: &Value) -> Result<Tokenizer, String> {
    Tokenizer::read(json.to_string().as_bytes(), SIZE)
}

/// Ids of every text, and the text back, as `tests/golden/make/vocabularies.py` recorded them.
#[test]
fn texts_have_the_ids_of_the_library() {
    // The decoder of the second one leaves out a first space.
    for (folder, strips, least) in [
        ("models/mamba-tokenizer", false, 14),
        ("tokenizers/byte_fallback", true, 14),
    ] {
        let tokenizer = tokenizer(&read(&format!("{folder}/tokenizer.json"))).unwrap();
        let recorded = read(&format!("{folder}/tokenized.json"));
        let cases = recorded["texts"].as_array().unwrap();
        assert!(cases.len() >= least);
        for case in cases {
            let text = case[0].as_str().unwrap();
            let ids: Vec<u32> = serde_json::from_value(case[1].clone()).unwrap();
            assert_eq!(tokenizer.encode(text), ids, "{folder}: {text:?}");
            let bytes: Vec<u8> = ids
                .iter()
                .flat_map(|&id| tokenizer.bytes_of(id))
                .copied()
                .collect();
            let got = String::from_utf8_lossy(&bytes);
            let want = case[2].as_str().unwrap();
            if strips {
                // What the template put in front comes before that space.
                let got = got.strip_prefix("<s>").unwrap_or(&got);
                let want = want.strip_prefix("<s>").unwrap_or(want);
                assert_eq!(
                    got.strip_prefix(' ').unwrap_or(got),
                    want.strip_prefix(' ').unwrap_or(want),
                    "{text:?}"
                );
            } else {
                assert_eq!(got, want, "{text:?}");
            }
        }
    }
}

/// Each with the words that its sentence must have.
#[test]
fn strange_tokenizers_get_a_sentence() {
    let base = read("models/mamba-tokenizer/tokenizer.json");
    let changed = |path: &str, value: Value| {
        let mut json = base.clone();
        *json.pointer_mut(path).unwrap() = value;
        json
    };
    for (json, words) in [
        (json!([]), "holds a list"),
        (json!({}), "has no model"),
        (
            changed("/model/type", json!("WordPiece")),
            "model “WordPiece”",
        ),
        (changed("/model/vocab", json!(7)), "has no vocabulary"),
        (
            changed("/model/vocab/!", json!("x")),
            "gives the token “!” the text",
        ),
        (
            changed("/model/vocab/!", json!(5000)),
            "the model has 500 tokens",
        ),
        (
            changed("/model/vocab/!", json!(-1)),
            "gives the token “!” -1",
        ),
        (changed("/model/merges/0", json!("x y z")), "merge 0"),
        (changed("/model/merges/1", json!(["x"])), "merge 1"),
        (changed("/model/unk_token", json!("nobody")), "“nobody”"),
        (
            changed("/model/byte_fallback", json!(true)),
            "lacks a token",
        ),
        (
            changed("/model/end_of_word_suffix", json!("</w>")),
            "end_of_word_suffix",
        ),
        (
            changed("/normalizer", json!({"type": "BertNormalizer"})),
            "“BertNormalizer”",
        ),
        (changed("/normalizer", json!(3)), "3 under normalizer"),
        (
            changed(
                "/pre_tokenizer",
                json!({"type": "Split", "pattern": {"Regex": "(a+)+$"}, "behavior": "Isolated"}),
            ),
            "(a+)+$",
        ),
        (
            changed("/post_processor", json!({"type": "BertProcessing"})),
            "“BertProcessing”",
        ),
        (
            changed(
                "/post_processor",
                json!({"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "?"}}]}),
            ),
            "“?”",
        ),
        (changed("/added_tokens/0/id", json!(9_999)), "9999"),
        (changed("/added_tokens/0/lstrip", json!(true)), "lstrip"),
        (changed("/added_tokens/0", json!(null)), "added_tokens"),
    ] {
        let sentence = tokenizer(&json).unwrap_err();
        assert!(sentence.contains(words), "no {words} in: {sentence}");
        assert!(
            sentence.lines().count() == 1 && sentence.contains(": "),
            "{sentence}"
        );
    }
    for bytes in [&b""[..], b"\xff", b"{\"model\": ", b"{\"a\":1,\"a\":2}"] {
        assert!(
            Tokenizer::read(bytes, SIZE)
                .unwrap_err()
                .starts_with("tokenizer.json")
        );
    }
}

/// Time grows with the text, not with its square: a megabyte without any space is one piece.
#[test]
fn a_long_text_without_spaces_is_read_in_time() {
    for folder in ["models/mamba-tokenizer", "tokenizers/byte_fallback"] {
        let tokenizer = tokenizer(&read(&format!("{folder}/tokenizer.json"))).unwrap();
        let start = std::time::Instant::now();
        assert!(tokenizer.encode(&"statestep".repeat(100_000)).len() > 100_000);
        assert!(start.elapsed().as_secs() < 10);
    }
}
