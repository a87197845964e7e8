//! Cases in which `model.safetensors` breaks a rule of the format in its header.

use super::{Case, MAMBA2, case, mamba2, with_header};

const A_LOG: &str = "backbone.layers.0.mixer.A_log";

/// The base model with one entry of its header replaced by any JSON text.
fn entry(json: &str) -> Vec<u8> {
    let mut file = mamba2();
    file.entry(A_LOG).json = json.to_owned();
    file.bytes()
}

/// The base model with some text of the entry of `A_log` replaced.
fn replaced(from: &str, to: &str) -> Vec<u8> {
    let mut file = mamba2();
    let json = &mut file.entry(A_LOG).json;
    assert!(json.contains(from), "{json} has no {from}");
    *json = json.replacen(from, to, 1);
    file.bytes()
}

/// The base model with any header text in place of its own.
fn header(text: &str) -> Vec<u8> {
    with_header(text.as_bytes(), &mamba2().data)
}

/// All of them.
pub(super) fn cases() -> Vec<Case> {
    let mut out = Vec::new();
    let mut add = |name: &str, model: Vec<u8>, expected: &[&str]| {
        out.push(case(name, MAMBA2, model, expected));
    };
    let whole = mamba2().bytes();
    let text = mamba2().header();

    // The length in front.
    add(
        "no-bytes",
        Vec::new(),
        &["safetensors file is empty", "download"],
    );
    add("one-byte", vec![b'{'], &["only 1 bytes long", "too short"]);
    add(
        "seven-bytes",
        whole[..7].to_vec(),
        &["only 7 bytes long", "too short"],
    );
    add(
        "eight-bytes",
        whole[..8].to_vec(),
        &["claims a header", "only 0 bytes follow", "truncated"],
    );
    add(
        "eight-zero-bytes",
        vec![0; 8],
        &["does not begin with “{”", "byte 8"],
    );
    let claim = |n: u64| [&n.to_le_bytes()[..], &whole[8..]].concat();
    add(
        "claims-100-mb",
        claim(100_000_000),
        &["claims a header of 100000000 bytes", "truncated"],
    );
    add(
        "claims-over-100-mb",
        claim(100_000_001),
        &["100000001 bytes", "at most 100000000"],
    );
    add(
        "claims-4-gib",
        claim(1 << 32),
        &["4294967296 bytes", "at most 100000000"],
    );
    add(
        "claims-u64-max",
        claim(u64::MAX),
        &["18446744073709551615 bytes", "at most 100000000"],
    );
    add(
        "claims-i64-min",
        claim(1 << 63),
        &["9223372036854775808 bytes", "not a safetensors file"],
    );
    add(
        "claims-one-too-few",
        claim(text.len() as u64 - 1),
        &["header", "JSON stops in the middle"],
    );
    add(
        "claims-one-too-many",
        claim(text.len() as u64 + 1),
        &["header", "byte"],
    );
    add(
        "claims-the-whole-file",
        claim(whole.len() as u64 - 8),
        &["header", "UTF-8"],
    );

    // Other kinds of files.
    add(
        "pytorch-zip",
        b"PK\x03\x04\x14\0\x08\x08archive/data.pkl".to_vec(),
        &["PyTorch archive", "convert"],
    );
    add(
        "pytorch-pickle",
        b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.".to_vec(),
        &["PyTorch archive"],
    );
    add(
        "gguf",
        b"GGUF\x03\0\0\0\x10\0\0\0".to_vec(),
        &["GGUF", "model.safetensors"],
    );
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n";
    add(
        "git-lfs-pointer",
        pointer.into(),
        &["Git LFS pointer", "download"],
    );
    add(
        "web-page",
        "<!DOCTYPE html><html>404</html>".into(),
        &["web page", "download"],
    );
    add(
        "config-as-model",
        MAMBA2.into(),
        &["JSON text", "config.json beside it"],
    );
    add(
        "noise",
        (0..4096u32)
            .map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8)
            .collect(),
        &["safetensors file"],
    );

    // The header as text.
    add(
        "header-begins-with-space",
        header(&format!(" {text}")),
        &["does not begin with “{”"],
    );
    add(
        "header-is-a-list",
        header("[]"),
        &["does not begin with “{”"],
    );
    let mut bad = text.clone().into_bytes();
    bad[30] = 0xff;
    add(
        "header-not-utf8",
        with_header(&bad, &mamba2().data),
        &["not UTF-8", "byte 38"],
    );
    add(
        "header-trailing-comma",
        header(&text.replacen("]},", "]},,", 1)),
        &["not valid JSON at byte"],
    );
    add(
        "header-stops",
        header(&text[..text.len() / 2]),
        &["JSON stops in the middle"],
    );
    add(
        "header-two-objects",
        header(&format!("{text}{text}")),
        &["not valid JSON", "trailing"],
    );
    add(
        "header-nul-padding",
        header(&format!("{text}\0\0")),
        &["not valid JSON", "trailing"],
    );
    add(
        "header-control-character",
        header(&text.replacen("F16", "F\n16", 1)),
        &["not valid JSON", "control"],
    );
    add(
        "header-bad-escape",
        header(&text.replacen("F16", "\\ud800", 1)),
        &["not valid JSON at byte"],
    );
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    add("header-deep-lists", entry(&deep), &["nested deeper"]);
    add(
        "header-deep-objects",
        entry(&r#"{"a":"#.repeat(50_000)),
        &["nested deeper"],
    );
    let mut file = mamba2();
    file.metadata = format!(r#"{{"a":{deep}}}"#);
    add("metadata-deep", file.bytes(), &["nested deeper"]);
    add(
        "tensor-twice",
        header(&text.replacen(A_LOG, "backbone.layers.0.mixer.D", 1)),
        &["backbone.layers.0.mixer.D", "twice"],
    );
    add(
        "key-twice",
        replaced("\"dtype\":\"F16\"", "\"dtype\":\"F16\",\"dtype\":\"F32\""),
        &["“dtype” stands there twice"],
    );
    let meta = |json: &str| {
        let mut file = mamba2();
        file.metadata = json.to_owned();
        file.bytes()
    };
    add(
        "metadata-twice",
        header(&text.replacen('{', r#"{"__metadata__":{},"#, 1)),
        &["__metadata__", "twice"],
    );
    add(
        "metadata-key-twice",
        meta(r#"{"a":"1","a":"2"}"#),
        &["“a” stands there twice"],
    );
    add(
        "metadata-number",
        meta(r#"{"a":1}"#),
        &["__metadata__", "“a”", "only texts"],
    );
    add("metadata-list", meta("[]"), &["__metadata__", "byte"]);
    add("metadata-null", meta("null"), &["__metadata__", "byte"]);

    // One entry.
    for (name, json, expected) in [
        ("entry-number", "7", "described by 7 instead of an object"),
        ("entry-null", "null", "described by null"),
        ("entry-text", r#""F16""#, "described by the text"),
        ("entry-empty", "{}", "has no dtype"),
        (
            "no-dtype",
            r#"{"shape":[4],"data_offsets":[0,8]}"#,
            "has no dtype",
        ),
        (
            "no-shape",
            r#"{"dtype":"F16","data_offsets":[0,8]}"#,
            "has no shape",
        ),
        (
            "no-offsets",
            r#"{"dtype":"F16","shape":[4]}"#,
            "has no data_offsets",
        ),
        (
            "unknown-key",
            r#"{"dtype":"F16","shape":[4],"data_offsets":[0,8],"x":1}"#,
            "unknown key “x”",
        ),
        (
            "shape-text",
            r#"{"dtype":"F16","shape":"4","data_offsets":[0,8]}"#,
            "instead of a list",
        ),
    ] {
        add(name, entry(json), &[A_LOG, expected]);
    }
    for (name, from, to, expected) in [
        ("unknown-dtype", "F16", "F17", "unknown dtype “F17”"),
        ("dtype-lower-case", "F16", "f16", "unknown dtype “f16”"),
        ("dtype-number", "\"F16\"", "16", "16 as its dtype"),
        ("shape-negative", "[4]", "[-4]", "-4 in its shape"),
        ("shape-fraction", "[4]", "[4.5]", "4.5 in its shape"),
        ("shape-of-text", "[4]", "[\"4\"]", "in its shape"),
        ("shape-of-lists", "[4]", "[[4]]", "in its shape"),
        ("shape-too-large", "[4]", "[5]", "needs 10 bytes"),
        ("shape-too-small", "[4]", "[3]", "needs 6 bytes"),
        ("shape-zero", "[4]", "[4,0]", "needs 0 bytes"),
        (
            "shape-overflows",
            "[4]",
            "[4294967296,4294967296]",
            "larger than any file",
        ),
        (
            "shape-wraps-to-fit",
            "[4]",
            "[9223372036854775808,2,4]",
            "larger than any file",
        ),
        (
            "shape-beyond-u64",
            "[4]",
            "[99999999999999999999]",
            "in its shape",
        ),
        (
            "nine-dimensions",
            "[4]",
            "[1,1,1,1,1,1,1,1,4]",
            "9 dimensions",
        ),
        ("dtype-wider", "F16", "F32", "needs 16 bytes"),
        (
            "half-a-byte",
            "\"F16\",\"shape\":[4]",
            "\"F4\",\"shape\":[15]",
            "needs 8 bytes",
        ),
        (
            "offsets-not-a-list",
            "\"data_offsets\":[",
            "\"data_offsets\":0,\"x\":[",
            "instead of a list",
        ),
    ] {
        add(name, replaced(from, to), &[A_LOG, expected]);
    }
    add(
        "many-dimensions",
        replaced("[4]", &format!("[{}4]", "1,".repeat(100_000))),
        &["more values than any model needs"],
    );
    let offsets = |to: &str| {
        let mut file = mamba2();
        let entry = file.entry(A_LOG);
        let head = entry
            .json
            .split("\"data_offsets\"")
            .next()
            .expect("offsets")
            .to_owned();
        entry.json = format!("{head}\"data_offsets\":{to}}}");
        file.bytes()
    };
    add(
        "one-offset",
        offsets("[8]"),
        &[A_LOG, "1 data_offsets instead of two"],
    );
    add(
        "three-offsets",
        offsets("[0,4,8]"),
        &[A_LOG, "3 data_offsets instead of two"],
    );
    add(
        "offsets-backwards",
        offsets("[16,8]"),
        &[A_LOG, "before it begins"],
    );
    add(
        "offsets-negative",
        offsets("[-8,0]"),
        &[A_LOG, "-8 in its data_offsets"],
    );
    add(
        "offsets-at-u64-max",
        offsets("[18446744073709551607,18446744073709551615]"),
        &["belong to no tensor"],
    );
    add(
        "offsets-overlap",
        offsets("[0,8]"),
        &[A_LOG, "inside the tensor"],
    );

    out
}
