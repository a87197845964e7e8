//! Cases in which the `config.json` of a Mamba-2 model is to blame; the checkpoint is right.

use super::{Case, MAMBA2, case, mamba2};

/// The text of a base with one key given another value, or added to it.
pub(super) fn with(base: &str, key: &str, value: &str) -> String {
    let mut keys: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(base).expect("the base is JSON");
    keys.remove(key);
    let rest = serde_json::to_string(&keys).expect("JSON");
    format!("{{\"{key}\": {value},{}", &rest[1..])
}

/// The text of a base without one key.
fn without(base: &str, key: &str) -> String {
    let mut keys: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(base).expect("the base is JSON");
    keys.remove(key).expect("a key of the base");
    serde_json::to_string(&keys).expect("JSON")
}

/// All of them.
pub(super) fn cases() -> Vec<Case> {
    let mut out = Vec::new();
    let model = mamba2().bytes();
    let mut add = |name: &str, config: &[u8], expected: &[&str]| {
        out.push(case(
            &format!("config-{name}"),
            config,
            model.clone(),
            expected,
        ));
    };

    // The text as a whole.
    add("empty", b"", &["config.json is empty"]);
    add("spaces", b"   \n", &["config.json", "stops in the middle"]);
    add(
        "not-json",
        b"model_type: mamba2\n",
        &["config.json", "not valid JSON at byte 0"],
    );
    add(
        "not-utf8",
        b"{\"model_type\": \"\xff\xfe\"}",
        &["config.json", "not UTF-8", "byte 16"],
    );
    add("utf16", b"\xff\xfe{\0}\0", &["config.json", "not UTF-8"]);
    add("list", b"[]", &["config.json holds a list"]);
    add("text", b"\"mamba2\"", &["config.json holds the text"]);
    add("number", b"42", &["config.json holds 42"]);
    add("null", b"null", &["config.json holds null"]);
    add(
        "empty-object",
        b"{}",
        &["neither model_type nor architectures"],
    );
    add(
        "stops",
        &MAMBA2.as_bytes()[..200],
        &["config.json", "stops in the middle"],
    );
    add(
        "trailing",
        format!("{MAMBA2}]").as_bytes(),
        &["config.json", "not valid JSON"],
    );
    add(
        "comment",
        format!("// mine\n{MAMBA2}").as_bytes(),
        &["not valid JSON at byte 0"],
    );
    add(
        "nan",
        with(MAMBA2, "layer_norm_epsilon", "NaN").as_bytes(),
        &["not valid JSON at byte"],
    );
    let deep = format!("{}{}", "[".repeat(200_000), "]".repeat(200_000));
    add(
        "deep",
        with(MAMBA2, "x", &deep).as_bytes(),
        &["config.json", "nested deeper"],
    );
    add(
        "deep-unclosed",
        "{\"a\":".repeat(100_000).as_bytes(),
        &["nested deeper"],
    );
    let many = format!("[{}0]", "0,".repeat(30_000));
    add(
        "many-values",
        with(MAMBA2, "x", &many).as_bytes(),
        &["more values than any model needs"],
    );
    let keys: String = (0..100_000).map(|i| format!("\"{i:x}\":0,")).collect();
    let keys = MAMBA2.replacen('{', &format!("{{{keys}"), 1);
    add(
        "many-keys",
        keys.as_bytes(),
        &["more values than any model needs"],
    );
    let long = with(MAMBA2, "x", &format!("\"{}\"", "y".repeat(1 << 20)));
    add(
        "over-a-mebibyte",
        long.as_bytes(),
        &["at most 1048576", "not its tokenizer"],
    );
    let twice = MAMBA2.replacen('{', "{\"hidden_size\": 16, ", 1);
    add(
        "key-twice",
        twice.as_bytes(),
        &["config.json", "“hidden_size” stands there twice"],
    );
    let nested = with(MAMBA2, "x", r#"{"a": 1, "a": 2}"#);
    add(
        "nested-key-twice",
        nested.as_bytes(),
        &["“a” stands there twice"],
    );
    add(
        "safetensors-as-config",
        &mamba2().bytes(),
        &["config.json is not UTF-8"],
    );

    // One key of the Mamba-2 base: name, key, value, words.
    for (name, key, value, expected) in [
        (
            "hidden-size-zero",
            "hidden_size",
            "0",
            "0 under hidden_size: give a whole number from 1",
        ),
        (
            "hidden-size-negative",
            "hidden_size",
            "-8",
            "-8 under hidden_size",
        ),
        (
            "hidden-size-fraction",
            "hidden_size",
            "8.5",
            "8.5 under hidden_size",
        ),
        (
            "hidden-size-huge",
            "hidden_size",
            "65537",
            "65537 under hidden_size",
        ),
        (
            "hidden-size-1e300",
            "hidden_size",
            "1e300",
            "under hidden_size",
        ),
        (
            "hidden-size-1e999",
            "hidden_size",
            "1e999",
            "not valid JSON",
        ),
        (
            "hidden-size-u64-max",
            "hidden_size",
            "18446744073709551615",
            "under hidden_size",
        ),
        (
            "hidden-size-beyond-u64",
            "hidden_size",
            "18446744073709551616",
            "under hidden_size",
        ),
        (
            "hidden-size-infinity",
            "hidden_size",
            "Infinity",
            "under hidden_size",
        ),
        (
            "hidden-size-text",
            "hidden_size",
            "\"8\"",
            "the text “8” under hidden_size",
        ),
        (
            "hidden-size-null",
            "hidden_size",
            "null",
            "null under hidden_size",
        ),
        (
            "hidden-size-true",
            "hidden_size",
            "true",
            "true under hidden_size",
        ),
        (
            "hidden-size-list",
            "hidden_size",
            "[8]",
            "a list under hidden_size",
        ),
        (
            "hidden-size-contradicts",
            "hidden_size",
            "16",
            "expand × hidden_size = 32",
        ),
        ("vocabulary-zero", "vocab_size", "0", "0 under vocab_size"),
        ("vocabulary-huge", "vocab_size", "1e15", "under vocab_size"),
        ("vocabulary-contradicts", "vocab_size", "257", "[256, 8]"),
        (
            "layers-zero",
            "num_hidden_layers",
            "0",
            "0 under num_hidden_layers",
        ),
        ("layers-1001", "num_hidden_layers", "1001", "from 1 to 1000"),
        (
            "layers-too-many",
            "num_hidden_layers",
            "3",
            "backbone.layers.2.norm.weight",
        ),
        (
            "layers-thousand",
            "num_hidden_layers",
            "1000",
            "describes 1000 layers",
        ),
        ("layers-too-few", "num_hidden_layers", "1", "no use for"),
        (
            "heads-contradict",
            "num_heads",
            "8",
            "num_heads × head_dim = 32",
        ),
        (
            "heads-overflow",
            "num_heads",
            "1048576",
            "num_heads × head_dim = 1048576 × 4",
        ),
        ("head-dim-zero", "head_dim", "0", "0 under head_dim"),
        ("groups-zero", "n_groups", "0", "0 under n_groups"),
        (
            "groups-do-not-divide",
            "n_groups",
            "3",
            "3 n_groups do not divide",
        ),
        ("groups-contradict", "n_groups", "4", "in_proj.weight"),
        (
            "state-size-contradicts",
            "state_size",
            "4",
            "in_proj.weight",
        ),
        (
            "state-size-huge",
            "state_size",
            "4294967296",
            "under state_size",
        ),
        (
            "groups-times-state-overflow",
            "state_size",
            "65536",
            "in_proj.weight",
        ),
        (
            "convolution-zero",
            "conv_kernel",
            "0",
            "0 under conv_kernel",
        ),
        ("convolution-65", "conv_kernel", "65", "from 1 to 64"),
        ("convolution-contradicts", "conv_kernel", "3", "[28, 1, 3]"),
        (
            "convolution-bias-contradicts",
            "use_conv_bias",
            "false",
            "conv1d.bias",
        ),
        ("bias-contradicts", "use_bias", "true", "in_proj.bias"),
        (
            "bias-text",
            "use_bias",
            "\"false\"",
            "under use_bias: give true or false",
        ),
        (
            "tied-number",
            "tie_word_embeddings",
            "1",
            "1 under tie_word_embeddings",
        ),
        (
            "untied-contradicts",
            "tie_word_embeddings",
            "false",
            "lm_head.weight",
        ),
        ("expand-zero", "expand", "0", "0 under expand"),
        ("expand-fraction", "expand", "2.01", "2.01 under expand"),
        ("expand-negative", "expand", "-2", "-2 under expand"),
        ("expand-huge", "expand", "1e308", "under expand"),
        ("expand-text", "expand", "\"2\"", "under expand"),
        (
            "epsilon-negative",
            "layer_norm_epsilon",
            "-1e-5",
            "under layer_norm_epsilon",
        ),
        (
            "epsilon-large",
            "layer_norm_epsilon",
            "2",
            "2 under layer_norm_epsilon",
        ),
        (
            "epsilon-text",
            "layer_norm_epsilon",
            "\"small\"",
            "under layer_norm_epsilon",
        ),
        (
            "epsilon-infinite",
            "layer_norm_epsilon",
            "Infinity",
            "under layer_norm_epsilon",
        ),
        (
            "limit-one-number",
            "time_step_limit",
            "[0.0]",
            "time_step_limit",
        ),
        (
            "limit-backwards",
            "time_step_limit",
            "[1.0, 0.5]",
            "time_step_limit",
        ),
        (
            "limit-negative",
            "time_step_limit",
            "[-1.0, 1.0]",
            "time_step_limit",
        ),
        (
            "limit-of-text",
            "time_step_limit",
            "[\"a\", 1.0]",
            "time_step_limit",
        ),
        ("limit-number", "time_step_limit", "3", "time_step_limit"),
        (
            "limit-infinite-below",
            "time_step_limit",
            "[Infinity, Infinity]",
            "time_step_limit",
        ),
        (
            "activation",
            "hidden_act",
            "\"gelu\"",
            "“gelu” under hidden_act",
        ),
        ("activation-number", "hidden_act", "7", "7 under hidden_act"),
        (
            "quantised",
            "quantization_config",
            "{\"bits\": 4}",
            "quantization_config",
        ),
        (
            "tokenizer-unknown",
            "tokenizer",
            "\"gpt2\"",
            "“gpt2” under tokenizer",
        ),
        (
            "tokenizer-number",
            "tokenizer",
            "256",
            "256 under tokenizer",
        ),
        (
            "trained-at-zero",
            "train_context_length",
            "0",
            "0 under train_context_length",
        ),
        (
            "trained-at-text",
            "train_context_length",
            "\"long\"",
            "under train_context_length",
        ),
        (
            "trained-at-negative",
            "train_context_length",
            "-1",
            "-1 under train_context_length",
        ),
        (
            "type-unknown",
            "model_type",
            "\"rwkv99\"",
            "model_type “rwkv99”, which is not known",
        ),
        ("type-number", "model_type", "2", "2 under model_type"),
        (
            "type-contradicts",
            "model_type",
            "\"llama\"",
            "architectures name a mamba2 model",
        ),
        (
            "class-unknown",
            "architectures",
            "[\"BertModel\"]",
            "“BertModel”, which is not known",
        ),
        (
            "class-number",
            "architectures",
            "[5]",
            "5 under architectures",
        ),
        (
            "classes-text",
            "architectures",
            "\"Mamba2ForCausalLM\"",
            "under architectures",
        ),
    ] {
        add(name, with(MAMBA2, key, value).as_bytes(), &[expected]);
    }
    let bytes_of_100 = with(MAMBA2, "vocab_size", "100");
    add(
        "bytes-of-100-tokens",
        bytes_of_100.as_bytes(),
        &["“bytes”", "vocab_size of 100"],
    );
    let no_heads = without(MAMBA2, "num_heads");
    add(
        "default-contradicts",
        no_heads.as_bytes(),
        &["num_heads × head_dim = 512"],
    );
    let original = r#"{"d_model": 768, "n_layer": 24, "vocab_size": 50277, "ssm_cfg": {}}"#;
    add(
        "original-layout",
        original.as_bytes(),
        &["d_model", "convert"],
    );
    let groups = with(&with(MAMBA2, "n_groups", "1048576"), "state_size", "65536");
    add(
        "groups-times-state",
        groups.as_bytes(),
        &["n_groups × state_size = 1048576 × 65536"],
    );
    let large = r#"{"model_type": "mamba", "vocab_size": 1048576, "hidden_size": 65536}"#;
    add(
        "too-many-parameters",
        large.as_bytes(),
        &["parameters where at most"],
    );

    out
}
