//! Cases in which the data or the choice of tensors in `model.safetensors` is to blame.

use super::{Case, File, LLAMA, MAMBA2, case, llama, mamba, mamba2, with_header};

const EMBEDDING: &str = "backbone.embeddings.weight";
const A_LOG: &str = "backbone.layers.0.mixer.A_log";

/// The base model with `A_log` [4] stored in another element type.
fn stored(dtype: &str, bytes: &[u8]) -> Vec<u8> {
    let base = mamba2();
    let mut file = File::new();
    for t in &base.tensors {
        let old = &base.data[t.place.clone()];
        let shape = t
            .json
            .split("\"shape\":")
            .nth(1)
            .and_then(|s| s.split(']').next());
        let shape: Vec<usize> = serde_json::from_str(&format!("{}]", shape.expect("shape")))
            .expect("a list of numbers");
        if t.name == A_LOG {
            file.push(&t.name, dtype, &shape, bytes);
        } else {
            file.push(&t.name, "F16", &shape, old);
        }
    }
    file.bytes()
}

/// The base model without one tensor, closed up.
fn without(name: &str) -> Vec<u8> {
    let base = mamba2();
    let mut file = File::new();
    for t in base.tensors.iter().filter(|t| t.name != name) {
        let begin = file.data.len();
        file.data.extend_from_slice(&base.data[t.place.clone()]);
        let mut t = t.clone();
        let head = t
            .json
            .split("\"data_offsets\"")
            .next()
            .expect("offsets")
            .to_owned();
        t.json = format!("{head}\"data_offsets\":[{begin},{}]}}", file.data.len());
        file.tensors.push(t);
    }
    file.bytes()
}

/// The base model with a tensor more.
fn with(name: &str, shape: &[usize]) -> Vec<u8> {
    let mut file = mamba2();
    file.push_f16(name, shape);
    file.bytes()
}

/// All of them.
pub(super) fn cases() -> Vec<Case> {
    let mut out = Vec::new();
    let mut add = |name: &str, model: Vec<u8>, expected: &[&str]| {
        out.push(case(name, MAMBA2, model, expected));
    };
    let whole = mamba2().bytes();
    let data_begins = whole.len() - mamba2().data.len();

    // The data as a whole.
    let mut file = mamba2();
    file.data.insert(0, 0);
    add(
        "one-byte-more",
        file.bytes(),
        &["tensors end at byte", "goes on to byte"],
    );
    add(
        "one-byte-less",
        whole[..whole.len() - 1].to_vec(),
        &["ends at byte", "truncated"],
    );
    add(
        "no-data",
        whole[..data_begins].to_vec(),
        &["holds only 0 bytes", "truncated"],
    );
    add(
        "half-the-data",
        whole[..data_begins + mamba2().data.len() / 2].to_vec(),
        &["truncated"],
    );
    let mut file = mamba2();
    file.tensors.retain(|t| t.name != A_LOG);
    add("hole", file.bytes(), &["belong to no tensor"]);
    let mut file = mamba2();
    file.tensors.remove(0);
    add(
        "hole-at-the-start",
        file.bytes(),
        &["bytes 0 to 4096", "belong to no tensor"],
    );

    // Element types that are not weights.
    for (dtype, bytes) in [
        ("F64", 32),
        ("I64", 32),
        ("U64", 32),
        ("C64", 32),
        ("I32", 16),
        ("U32", 16),
        ("I16", 8),
        ("U16", 8),
        ("I8", 4),
        ("U8", 4),
        ("BOOL", 4),
        ("F8_E4M3", 4),
        ("F8_E5M2", 4),
        ("F8_E8M0", 4),
        ("F8_E4M3FNUZ", 4),
        ("F8_E5M2FNUZ", 4),
        ("F6_E2M3", 3),
        ("F6_E3M2", 3),
        ("F4", 2),
    ] {
        let name = format!("weights-of-{}", dtype.to_lowercase().replace('_', "-"));
        let type_words = format!("element type {dtype},");
        add(
            &name,
            stored(dtype, &vec![0; bytes]),
            &[A_LOG, &type_words, "convert"],
        );
    }

    // Values.
    let f32s = |v: [f32; 4]| v.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>();
    let u16s = |v: [u16; 4]| v.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>();
    add(
        "nan-f32",
        stored("F32", &f32s([0.0, 0.0, f32::NAN, 0.0])),
        &[A_LOG, "1 of 4", "[2]", "NaN"],
    );
    add(
        "infinity-f32",
        stored("F32", &f32s([f32::INFINITY, 0.0, 0.0, 0.0])),
        &[A_LOG, "1 of 4", "[0]", "infinite"],
    );
    add(
        "minus-infinity-f32",
        stored("F32", &f32s([0.0, f32::NEG_INFINITY, 0.0, 0.0])),
        &[A_LOG, "[1]", "infinite"],
    );
    add(
        "nan-f16",
        stored("F16", &u16s([0, 0, 0, 0x7e00])),
        &[A_LOG, "[3]", "NaN"],
    );
    add(
        "infinity-f16",
        stored("F16", &u16s([0x7c00, 0xfc00, 0, 0])),
        &[A_LOG, "2 of 4", "[0]", "infinite"],
    );
    add(
        "nan-bf16",
        stored("BF16", &u16s([0, 0x7f81, 0, 0])),
        &[A_LOG, "[1]", "NaN"],
    );
    add(
        "infinity-bf16",
        stored("BF16", &u16s([0, 0, 0xff80, 0])),
        &[A_LOG, "[2]", "infinite"],
    );
    let mut file = mamba2();
    file.data[2 * (17 * 8 + 5)..][..2].copy_from_slice(&0x7e01u16.to_le_bytes());
    add(
        "nan-in-the-embedding",
        file.bytes(),
        &[EMBEDDING, "1 of 2048", "[17, 5]", "NaN"],
    );

    // Which tensors there are.
    for name in [
        EMBEDDING,
        "backbone.norm_f.weight",
        "backbone.layers.1.mixer.dt_bias",
        "backbone.layers.1.mixer.conv1d.bias",
    ] {
        let short = name
            .rsplit("backbone.")
            .next()
            .expect("a name")
            .replace(['.', '_'], "-")
            .to_lowercase();
        add(
            &format!("missing-{short}"),
            without(name),
            &[name, "missing"],
        );
    }
    add(
        "extra-tensor",
        with("backbone.extra", &[2, 2]),
        &["backbone.extra", "no use for"],
    );
    add(
        "extra-layer",
        with("backbone.layers.2.norm.weight", &[8]),
        &["backbone.layers.2.norm.weight", "no use for"],
    );
    add(
        "extra-bias",
        with("backbone.layers.0.mixer.in_proj.bias", &[48]),
        &["in_proj.bias", "no use for"],
    );
    add(
        "own-head-of-other-shape",
        with("lm_head.weight", &[8, 256]),
        &["lm_head.weight", "[8, 256]", "[256, 8]"],
    );
    add(
        "embedding-twice",
        with("backbone.embedding.weight", &[256, 8]),
        &["backbone.embedding.weight", "no use for"],
    );
    let mut file = mamba2();
    for i in 0..20_000 {
        file.push(&format!("empty.{i}"), "F32", &[0], &[]);
    }
    add(
        "twenty-thousand-empty-tensors",
        file.bytes(),
        &["“empty.0”", "19999 more"],
    );
    let mut file = mamba2();
    file.push_f16("evil\n\u{1b}[31mname\u{202e}", &[1]);
    add(
        "name-that-reshapes-the-message",
        file.bytes(),
        &["evil\\n\\u{1b}[31mname\\u{202e}", "no use for"],
    );
    let mut file = mamba2();
    file.push_f16(&"n".repeat(100_000), &[1]);
    add("name-of-100-kb", file.bytes(), &["nnn…”", "no use for"]);
    add(
        "transposed",
        replaced_shape(
            "backbone.layers.0.mixer.in_proj.weight",
            "[48, 8]",
            "[8, 48]",
        ),
        &["in_proj.weight", "[8, 48]", "[48, 8]"],
    );
    add(
        "flattened",
        replaced_shape(
            "backbone.layers.1.mixer.conv1d.weight",
            "[28, 1, 4]",
            "[112]",
        ),
        &["conv1d.weight", "[112]", "[28, 1, 4]"],
    );
    add(
        "empty-header",
        with_header(b"{}", b""),
        &["missing", EMBEDDING],
    );
    add(
        "empty-header-with-data",
        with_header(b"{}", b"abc"),
        &["goes on to byte 3"],
    );
    add(
        "llama-tensors",
        llama().bytes(),
        &["describes a mamba2 model", "those of a llama model"],
    );
    add(
        "mamba-tensors",
        mamba().bytes(),
        &["describes a mamba2 model", "those of a mamba model"],
    );
    out.push(case(
        "mamba2-tensors-for-llama",
        LLAMA,
        mamba2().bytes(),
        &["describes a llama model", "those of a mamba2 model"],
    ));
    let mut file = llama();
    file.tensors.pop();
    file.data.truncate(file.data.len() - 4096);
    out.push(case(
        "untied-head-missing",
        LLAMA,
        file.bytes(),
        &["lm_head.weight", "missing"],
    ));
    out
}

/// The base model with the shape of one tensor rewritten to another of as many elements.
fn replaced_shape(name: &str, from: &str, to: &str) -> Vec<u8> {
    let mut file = mamba2();
    let json = &mut file.entry(name).json;
    assert!(json.contains(from), "{json} has no {from}");
    *json = json.replacen(from, to, 1);
    file.bytes()
}
