//! The small checkpoint of every family, damaged in every tensor and contradicted by its
//! configuration: each gets one sentence, within the bounds of all others.

use std::fs;

use linearium::model::checkpoint::Checkpoint;
use linearium::model::load::{Files, load_files};
use serde_json::{Value, json};

use super::hostile::File;
use super::{allowed, peak};

const MODELS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden/models");
const FAMILIES: [&str; 14] = [
    "falcon_mamba",
    "jamba",
    "bamba",
    "gla",
    "gla-conv",
    "gla-hybrid",
    "retnet",
    "delta_net",
    "gated_delta_net",
    "gated_delta_net-hybrid",
    "hgrn2",
    "linear_attention",
    "rwkv7",
    "rwkv7-native",
];

/// A tensor: name, element type, shape, bytes.
type Tensor = (String, &'static str, Vec<usize>, Vec<u8>);

struct Model {
    name: &'static str,
    config: Option<Value>,
    tensors: Vec<Tensor>,
}

impl Model {
    fn open(name: &'static str) -> Model {
        let config = fs::read(format!("{MODELS}/{name}/config.json")).ok();
        let bytes = fs::read(format!("{MODELS}/{name}/model.safetensors")).unwrap();
        let file = Checkpoint::read(bytes).unwrap();
        let tensors = file.names().map(|n| {
            let shape = file.shape(n).unwrap().to_vec();
            let dtype = file.dtype(n).unwrap().name();
            (n.to_owned(), dtype, shape, file.raw(n).unwrap().to_vec())
        });
        Model {
            name,
            config: config.map(|c| serde_json::from_slice(&c).unwrap()),
            tensors: tensors.collect(),
        }
    }

    /// What the loader says about these tensors with this configuration.
    fn refused(&self, config: Option<&Value>, tensors: &[Tensor], what: &str) -> String {
        let mut file = File::new();
        for (name, dtype, shape, bytes) in tensors {
            file.push(name, dtype, shape, bytes);
        }
        let (weights, config) = (file.bytes(), config.map(|c| c.to_string().into_bytes()));
        let allowed = allowed(config.as_ref().map_or(0, Vec::len), weights.len());
        let files = Files {
            config,
            weights: vec![("model.safetensors".to_owned(), weights)],
            ..Files::default()
        };
        let (result, held) = peak(|| load_files(files).map(drop));
        let name = self.name;
        let Err(sentence) = result else {
            panic!("{name}, {what}: was loaded");
        };
        assert!(
            sentence.lines().count() == 1 && sentence.contains(": "),
            "{name}, {what}: {sentence}"
        );
        assert!(held <= allowed, "{name}, {what}: held {held} of {allowed}");
        sentence
    }
}

#[test]
fn a_missing_tensor_a_wrong_shape_and_a_stranger_are_named() {
    for family in FAMILIES {
        let model = Model::open(family);
        let config = model.config.as_ref();
        for (i, (name, ..)) in model.tensors.iter().enumerate() {
            if family == "rwkv7-native" && name.starts_with("blocks.0.att.v") && name.len() == 15 {
                continue;
            }
            let mut without = model.tensors.clone();
            without.remove(i);
            let sentence = model.refused(config, &without, name);
            // Sizes follow from the native tensors themselves; the only layer that shows which
            // family this is may be gone.
            assert!(
                config.is_none() || sentence.contains(name) || sentence.contains("those of a"),
                "{family} without {name}: {sentence}"
            );
            let mut reshaped = model.tensors.clone();
            reshaped[i].2.push(1);
            let sentence = model.refused(config, &reshaped, name);
            assert!(
                sentence.contains(name) || config.is_none(),
                "{family} with another {name}: {sentence}"
            );
        }
        let mut more = model.tensors.clone();
        more.push(("stranger".to_owned(), "F32", vec![0], Vec::new()));
        let sentence = model.refused(config, &more, "stranger");
        assert!(sentence.contains("“stranger”"), "{family}: {sentence}");
        let mut broken = model.tensors.clone();
        let (name, _, _, bytes) = &mut broken[3];
        bytes.fill(0xff);
        let name = name.clone();
        let sentence = model.refused(config, &broken, "NaN");
        assert!(
            sentence.contains("NaN") && sentence.contains(&name),
            "{sentence}"
        );
    }
}

#[test]
fn a_configuration_that_contradicts_is_named() {
    let attn = |layers: Value, heads: Value| json!({"layers": layers, "num_heads": heads});
    for (family, key, value, words) in [
        (
            "falcon_mamba",
            "mixer_rms_eps",
            json!(2),
            "2 under mixer_rms_eps",
        ),
        ("falcon_mamba", "state_size", json!(9), "x_proj.weight"),
        ("falcon_mamba", "time_step_rank", json!(4), "x_proj.weight"),
        (
            "jamba",
            "attn_layer_offset",
            json!(4),
            "less than attn_layer_period",
        ),
        (
            "jamba",
            "attn_layer_period",
            json!(0),
            "under attn_layer_period",
        ),
        ("jamba", "attn_layer_offset", json!(1), "self_attn."),
        ("jamba", "expert_layer_offset", json!(0), "feed_forward."),
        ("jamba", "num_experts", json!(4), "router.weight"),
        (
            "jamba",
            "num_experts",
            json!(1_000_000),
            "num_experts × intermediate_size",
        ),
        ("jamba", "num_experts_per_tok", json!(4), "from 1 to 3"),
        (
            "jamba",
            "mamba_dt_rank",
            json!("wide"),
            "“wide” under mamba_dt_rank",
        ),
        ("jamba", "num_attention_heads", json!(3), "do not divide"),
        (
            "bamba",
            "attn_layer_indices",
            json!([3]),
            "each from 0 to 2",
        ),
        ("bamba", "attn_layer_indices", json!([0]), "self_attn."),
        (
            "bamba",
            "attn_layer_indices",
            json!("all"),
            "under attn_layer_indices",
        ),
        (
            "bamba",
            "mamba_n_heads",
            json!(7),
            "mamba_n_heads × mamba_d_head = 56",
        ),
        (
            "bamba",
            "mamba_n_groups",
            json!(3),
            "3 mamba_n_groups do not divide",
        ),
        (
            "bamba",
            "rope_parameters",
            json!({"partial_rotary_factor": 0.25}),
            "0.25 under partial_rotary_factor",
        ),
        ("gla", "num_heads", json!(3), "do not divide expand_k"),
        ("gla", "num_heads", json!("two"), "under num_heads"),
        (
            "gla",
            "num_kv_heads",
            json!(3),
            "3 num_kv_heads do not divide",
        ),
        ("gla", "expand_k", json!(0.3), "0.3 under expand_k"),
        ("gla", "expand_v", json!(-1), "-1 under expand_v"),
        (
            "gla",
            "feature_map",
            json!("gelu"),
            "“gelu” under feature_map",
        ),
        (
            "gla",
            "attnres_block_size",
            json!(2),
            "2 under attnres_block_size",
        ),
        ("gla", "clamp_min", json!("low"), "under clamp_min"),
        (
            "gla",
            "hidden_act",
            json!("powlu"),
            "“powlu” under hidden_act",
        ),
        ("gla", "use_short_conv", json!(true), "q_conv1d.weight"),
        ("gla", "use_output_gate", json!(false), "g_norm.weight"),
        ("gla", "fuse_norm", json!(false), "g_norm.weight"),
        ("gla", "intermediate_size", json!(null), "[256, 32]"),
        (
            "gla-hybrid",
            "attn",
            attn(json!([7]), json!(4)),
            "attn.layers",
        ),
        (
            "gla-hybrid",
            "attn",
            attn(json!([0]), json!(4)),
            "layers.0.attn.",
        ),
        (
            "gla-hybrid",
            "attn",
            attn(json!([1]), json!(5)),
            "must divide",
        ),
        (
            "gla-hybrid",
            "attn",
            attn(json!([1]), json!(0)),
            "0 under attn.num_heads",
        ),
        (
            "gla-hybrid",
            "attn",
            json!({"layers": [1]}),
            "no num_heads in attn",
        ),
        ("gla-hybrid", "attn", json!([3]), "3 under attn"),
        ("retnet", "num_heads", json!(32), "heads of 1 keys"),
        ("retnet", "use_output_gate", json!(false), "g_norm.weight"),
        ("retnet", "elementwise_affine", json!(false), "no use for"),
        ("delta_net", "qk_norm", json!("max"), "“max” under qk_norm"),
        (
            "delta_net",
            "qk_activation",
            json!("tanh"),
            "“tanh” under qk_activation",
        ),
        ("delta_net", "use_gate", json!(true), "g_proj.weight"),
        ("delta_net", "use_beta", json!(false), "b_proj.weight"),
        ("delta_net", "conv_size", json!(65), "65 under conv_size"),
        (
            "gated_delta_net",
            "num_v_heads",
            json!(3),
            "2 num_heads do not divide",
        ),
        (
            "gated_delta_net",
            "output_gate_activation",
            json!("sigmoid"),
            "“sigmoid”",
        ),
        (
            "gated_delta_net",
            "expand_v",
            json!(0.3),
            "0.3 under expand_v",
        ),
        (
            "gated_delta_net",
            "head_dim",
            json!(1_000_000),
            "under head_dim",
        ),
        ("hgrn2", "expand_ratio", json!(33), "0 heads"),
        ("hgrn2", "use_lower_bound", json!(false), "lower_bounds"),
        (
            "hgrn2",
            "elementwise_affine",
            json!(false),
            "elementwise_affine",
        ),
        (
            "linear_attention",
            "feature_map",
            json!("cosine"),
            "“cosine” under feature_map",
        ),
        (
            "linear_attention",
            "feature_map",
            json!("hedgehog"),
            "feature_map_q",
        ),
        (
            "rwkv7",
            "head_dim",
            json!(5),
            "heads of 5 channels do not divide",
        ),
        ("rwkv7", "value_dim", json!(33), "value_dim of 33"),
        (
            "rwkv7",
            "value_dim",
            json!([32, 64]),
            "the same number for all layers",
        ),
        ("rwkv7", "norm_bias", json!(false), "norm_bias"),
        ("rwkv7", "norm_first", json!(false), "pre_norm"),
        (
            "rwkv7",
            "hidden_act",
            json!("silu"),
            "“silu” under hidden_act",
        ),
        ("rwkv7", "decay_low_rank_dim", json!(7), "w_lora"),
        ("rwkv7", "attn", attn(json!([0]), json!(4)), "attn.layers"),
    ] {
        let model = Model::open(family);
        let mut config = model.config.clone().unwrap();
        config[key] = value;
        let sentence = model.refused(Some(&config), &model.tensors, key);
        assert!(
            sentence.contains(words),
            "{family}, {key}: no {words} in: {sentence}"
        );
    }
}

#[test]
fn a_configuration_of_another_family_is_named() {
    let of = |name| Model::open(name);
    for (config, tensors) in [
        ("gla", "falcon_mamba"),
        ("rwkv7", "gla"),
        ("bamba", "jamba"),
        ("hgrn2", "delta_net"),
    ] {
        let model = of(tensors);
        let config = of(config).config;
        let sentence = model.refused(config.as_ref(), &model.tensors, "another family");
        assert!(sentence.contains("those of a"), "{sentence}");
    }
}

/// The files of the sharded checkpoint.
fn sharded() -> Files {
    let read = |f: &str| fs::read(format!("{MODELS}/mamba-sharded/{f}")).unwrap();
    let weights = (1..=2).map(|n| {
        let name = format!("model-0000{n}-of-00002.safetensors");
        (name.clone(), read(&name))
    });
    Files {
        config: Some(read("config.json")),
        index: Some(read("model.safetensors.index.json")),
        weights: weights.collect(),
        tokenizer: None,
    }
}

#[test]
fn a_sharded_checkpoint_that_does_not_fit_its_index_is_named() {
    assert!(load_files(sharded()).is_ok());
    let index: Value = serde_json::from_slice(&sharded().index.unwrap()).unwrap();
    let tensor = "backbone.layers.1.mixer.D";
    let first = "model-00001-of-00002.safetensors";
    let changed = |change: &dyn Fn(&mut Value)| {
        let mut index = index.clone();
        change(&mut index);
        Some(index.to_string().into_bytes())
    };
    let with_index = |index: Option<Vec<u8>>| Files { index, ..sharded() };
    let mut missing = sharded();
    missing.weights.pop();
    let mut twice = sharded();
    twice.weights.push(twice.weights[0].clone());
    let mut stranger = sharded();
    let bytes = stranger.weights[0].1.clone();
    stranger
        .weights
        .push(("other.safetensors".to_owned(), bytes));
    let mut cut = sharded();
    cut.weights[1].1.truncate(100);
    let cases = [
        (missing, "“model-00002-of-00002.safetensors” is missing"),
        (twice, "given twice"),
        (stranger, "“other.safetensors” is not one of those"),
        (cut, "model-00002-of-00002.safetensors: "),
        (with_index(None), "no model.safetensors.index.json"),
        (
            with_index(Some(b"[]".to_vec())),
            "a list instead of an object",
        ),
        (with_index(Some(b"{}".to_vec())), "no weight_map"),
        (with_index(Some(b"\xff".to_vec())), "not UTF-8"),
        (
            with_index(changed(&|i| i["weight_map"] = json!(5))),
            "5 under weight_map",
        ),
        (
            with_index(changed(&|i| {
                i["weight_map"][tensor] = json!("../x.safetensors")
            })),
            "not the name of a file",
        ),
        (
            with_index(changed(&|i| i["weight_map"][tensor] = json!(first))),
            "does not say",
        ),
        (
            with_index(changed(&|i| i["weight_map"]["new"] = json!(first))),
            "“new” is missing",
        ),
        (
            Files {
                weights: Vec::new(),
                index: None,
                ..sharded()
            },
            "no weights",
        ),
        (
            Files {
                config: None,
                ..sharded()
            },
            "config.json is missing",
        ),
    ];
    for (files, words) in cases {
        let sentence = load_files(files).map(drop).unwrap_err();
        assert!(sentence.contains(words), "no {words} in: {sentence}");
        assert!(
            sentence.lines().count() == 1 && sentence.contains(": "),
            "{sentence}"
        );
    }
}
