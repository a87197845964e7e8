//! Valid checkpoints: the layouts of the transformers library, the values of the shipped models
//! against an independent reading, and the liberties that real files take.

use std::collections::BTreeMap;

use super::hostile::{self, File, LLAMA, MAMBA2, llama, mamba2};
use linearium::model::checkpoint::{Checkpoint, Dtype};
use linearium::model::config::{Config, Keys, Tokenizer, open};
use linearium::model::families::llama::Llama;
use linearium::model::families::mamba2::Mamba2;
use serde_json::Value;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// 60 times the `config.json` that the library saves (all keys, or those that differ from the
/// defaults) or that a person writes, with the tensors of the model that it builds: see
/// `tests/golden/make/checkpoint_layouts.py`.
#[test]
fn configurations_mean_what_they_mean_in_transformers() {
    let golden = std::fs::read(format!("{ROOT}/tests/golden/checkpoint_layouts.json")).unwrap();
    let golden: Value = serde_json::from_slice(&golden).unwrap();
    let cases = golden["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 60);
    for case in cases {
        let text = case["config"].as_str().unwrap();
        let config = Config::read(text.as_bytes()).unwrap_or_else(|e| panic!("{e} in {text}"));
        let theirs: BTreeMap<String, Vec<usize>> =
            serde_json::from_value(case["tensors"].clone()).unwrap();
        let ours: Vec<_> = config.tensors().collect();
        let first_layers: BTreeMap<String, Vec<usize>> = ours
            .iter()
            .filter(|t| match t.name.split_once(".layers.") {
                Some((_, rest)) => rest.split_once('.').unwrap().0.parse::<usize>().unwrap() < 2,
                None => true,
            })
            .map(|t| (t.name.clone(), t.shape.clone()))
            .collect();
        assert_eq!(first_layers, theirs, "{text}");
        assert_eq!(
            config.common().num_hidden_layers as u64,
            case["layers"],
            "{text}"
        );
        let tied = case["tied"].as_bool().unwrap();
        for t in &ours {
            assert_eq!(
                t.required,
                !(tied && t.name == "lm_head.weight"),
                "{} in {text}",
                t.name
            );
        }
        assert_eq!(
            config.parameters(),
            case["parameters"].as_u64().unwrap(),
            "{text}"
        );
        let numbers = &case["numbers"];
        let keys = Keys::read(text.as_bytes()).unwrap();
        let eps = |key: &str| assert_eq!(config.common().eps, number(&numbers[key]) as f32);
        match config.family().model_type {
            "mamba2" => {
                eps("layer_norm_epsilon");
                let limit = numbers["time_step_limit"].as_array().unwrap();
                assert_eq!(
                    Mamba2::read(&keys).unwrap().1.time_step_limit,
                    [number(&limit[0]), number(&limit[1])].map(|x| x as f32)
                );
            }
            "mamba" => eps("layer_norm_epsilon"),
            _ => {
                eps("rms_norm_eps");
                let layer = Llama::read(&keys).unwrap().1;
                assert_eq!(layer.attention.rope_theta, number(&numbers["rope_theta"]));
            }
        }
    }
}

/// A number of the golden file, which has null for infinity.
fn number(value: &Value) -> f64 {
    if value.is_null() {
        f64::INFINITY
    } else {
        value.as_f64().unwrap()
    }
}

/// Sums over all tensors in alphabetical order, by Python's `struct` and `math.fsum`: number of
/// tensors and elements, Σ x and Σ i·x with i from 1 in each tensor, which a wrong order changes.
#[test]
fn shipped_models_have_the_values_that_python_reads() {
    for (name, tensors, elements, sum, moment) in [
        (
            "mamba2-passkey-t128",
            29,
            875_190,
            3055.583372034511,
            19_971_668.183_809_73,
        ),
        (
            "mamba2-text-t1024",
            38,
            1_927_520,
            3022.584520187287,
            -11_483_205.085_225_329,
        ),
        (
            "llama-text-t256",
            38,
            3_180_800,
            2287.8000898957253,
            17_710_031.578_901_62,
        ),
    ] {
        let folder = format!("{ROOT}/web/public/models/{name}");
        let config = std::fs::read(format!("{folder}/config.json")).unwrap();
        let model = std::fs::read(format!("{folder}/model.safetensors")).unwrap();
        let (config, mut checkpoint) = open(&config, model).unwrap();
        assert_eq!(config.common().tokenizer, Tokenizer::Bytes);
        assert_eq!(config.parameters(), elements);
        assert_eq!(checkpoint.elements(), elements);
        let trained = config.common().train_context_length.unwrap().to_string();
        assert_eq!(checkpoint.metadata()["train_context_length"], trained);
        let specs: BTreeMap<_, _> = config
            .tensors()
            .map(|t| (t.name, (t.shape, t.required)))
            .collect();
        let (mut n, mut s, mut m) = (0, 0.0, 0.0);
        for (name, (shape, required)) in &specs {
            let tensor = checkpoint.optional(name, shape).unwrap();
            assert_eq!(tensor.is_some(), *required, "{name}");
            let Some(tensor) = tensor else { continue };
            n += 1;
            s += tensor.data.iter().map(|&x| f64::from(x)).sum::<f64>();
            m += tensor
                .data
                .iter()
                .zip(1..)
                .map(|(&x, i)| f64::from(x) * f64::from(i))
                .sum::<f64>();
        }
        assert_eq!(n, tensors);
        assert!(
            (s - sum).abs() < 1e-6 && (m - moment).abs() < 1e-2,
            "{name}: {s} {m}"
        );
        checkpoint.finish(|_| false).unwrap();
    }
}

/// The same numbers in every element type that weights can have.
#[test]
fn three_element_types_give_the_same_values() {
    let values = [0.0f32, 1.0, -2.5, 0.375];
    let halves = [0x0000u16, 0x3c00, 0xc100, 0x3600];
    let mut file = File::new();
    file.push(
        "f32",
        "F32",
        &[2, 2],
        &values.map(f32::to_le_bytes).concat(),
    );
    file.push(
        "f16",
        "F16",
        &[2, 2],
        &halves.map(u16::to_le_bytes).concat(),
    );
    let upper = values.map(|x| (x.to_bits() >> 16) as u16);
    file.push(
        "bf16",
        "BF16",
        &[2, 2],
        &upper.map(u16::to_le_bytes).concat(),
    );
    file.push("scalar", "F32", &[], &7.0f32.to_le_bytes());
    file.push("none", "F16", &[3, 0], &[]);
    file.push("ids", "I32", &[2], &[1, 0, 0, 0, 255, 255, 255, 255]);
    let mut checkpoint = Checkpoint::read(file.bytes()).unwrap();
    for name in ["f32", "f16", "bf16"] {
        let tensor = checkpoint.take(name, &[2, 2]).unwrap();
        assert_eq!(
            (&tensor.data[..], &tensor.shape[..]),
            (&values[..], &[2, 2][..]),
            "{name}"
        );
    }
    assert_eq!(checkpoint.take("scalar", &[]).unwrap().data[..], [7.0]);
    assert!(checkpoint.take("none", &[3, 0]).unwrap().data.is_empty());
    assert_eq!(checkpoint.optional("nothing", &[1]).unwrap(), None);
    assert_eq!(checkpoint.dtype("ids"), Some(Dtype::I32));
    assert_eq!(checkpoint.raw("ids").unwrap()[4..], [255; 4]);
    assert_eq!(
        checkpoint.names().collect::<Vec<_>>(),
        ["bf16", "f16", "f32", "ids", "none", "scalar"]
    );
    let sentence = checkpoint.finish(|_| false).unwrap_err();
    assert!(sentence.contains("“ids”"), "{sentence}");
}

/// Names that hold the same tensor, and tensors that nobody needs.
#[test]
fn known_variants_of_files_are_read() {
    // The embedding of the original Mamba files.
    let mut file = mamba2();
    file.entry("backbone.embeddings.weight").name = "backbone.embedding.weight".to_owned();
    let (_, mut checkpoint) = open(MAMBA2.as_bytes(), file.bytes()).unwrap();
    checkpoint
        .take("backbone.embeddings.weight", &[256, 8])
        .unwrap();
    // A tied pair stored as the head only.
    let mut file = mamba2();
    file.entry("backbone.embeddings.weight").name = "lm_head.weight".to_owned();
    let (_, mut checkpoint) = open(MAMBA2.as_bytes(), file.bytes()).unwrap();
    checkpoint
        .take("backbone.embeddings.weight", &[256, 8])
        .unwrap();
    assert_eq!(
        checkpoint.optional("lm_head.weight", &[256, 8]).unwrap(),
        None
    );
    // A tied pair stored twice: the head is there to be used.
    let mut file = mamba2();
    file.push_f16("lm_head.weight", &[256, 8]);
    let (_, mut checkpoint) = open(MAMBA2.as_bytes(), file.bytes()).unwrap();
    assert!(
        checkpoint
            .optional("lm_head.weight", &[256, 8])
            .unwrap()
            .is_some()
    );
    // Rotary frequencies of older Llama files; 8 / 4 heads / 2.
    let mut file = llama();
    file.push(
        "model.layers.0.self_attn.rotary_emb.inv_freq",
        "F32",
        &[1],
        &1f32.to_le_bytes(),
    );
    open(LLAMA.as_bytes(), file.bytes()).unwrap();
    // Spaces behind the header, and an order of entries that is not that of the data.
    let mut file = mamba2();
    file.tensors.reverse();
    let header = format!("{}   ", file.header());
    open(
        MAMBA2.as_bytes(),
        hostile::with_header(header.as_bytes(), &file.data),
    )
    .unwrap();
}

#[test]
fn the_tokenizer_follows_from_key_and_vocabulary() {
    let read = |extra: &str, vocabulary: usize| {
        let text = format!(r#"{{"model_type":"mamba","vocab_size":{vocabulary}{extra}}}"#);
        Config::read(text.as_bytes()).map(|c| c.common().tokenizer)
    };
    assert_eq!(read("", 256), Ok(Tokenizer::Bytes));
    assert_eq!(read("", 257), Ok(Tokenizer::Unknown));
    assert_eq!(read(r#","tokenizer":null"#, 256), Ok(Tokenizer::Bytes));
    assert_eq!(read(r#","tokenizer":"bytes""#, 257), Ok(Tokenizer::Bytes));
}

/// The three ways in which writers put an infinite upper limit.
#[test]
fn an_infinite_step_limit_is_read_however_it_is_written() {
    let read = |limit: &str| {
        let text = MAMBA2.replace("[0.0, null]", limit);
        let keys = Keys::read(text.as_bytes()).unwrap();
        Mamba2::read(&keys).unwrap().1.time_step_limit
    };
    for high in ["null", "Infinity", r#"{"__float__": "Infinity"}"#] {
        assert_eq!(
            read(&format!("[0.5, {high}]")),
            [0.5, f32::INFINITY],
            "{high}"
        );
    }
    assert_eq!(read("[0, 0.25]"), [0.0, 0.25]);
    // Inside a text the word is a word.
    let named = MAMBA2.replacen('{', r#"{"_name_or_path": "a \"Infinity\" b", "#, 1);
    assert!(Config::read(named.as_bytes()).is_ok());
}
