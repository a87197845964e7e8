//! Malformed and hostile models, made in code: each a `config.json` and a `model.safetensors`
//! with the words that the sentence about them must contain.
//!
//! Used by the tests of this crate and, written to disk by the example `hostile_files`, by those
//! of the command line and of the page.

mod config_cases;
mod file_cases;
mod other_config_cases;
mod tensor_cases;

/// One model that must be refused.
pub struct Case {
    /// Name of the case and of its folder.
    pub name: String,
    /// The bytes of `config.json`.
    pub config: Vec<u8>,
    /// The bytes of `model.safetensors`.
    pub model: Vec<u8>,
    /// What the sentence must contain.
    pub expected: Vec<String>,
}

/// Every case; the names are all different.
pub fn cases() -> Vec<Case> {
    let mut out = file_cases::cases();
    out.extend(tensor_cases::cases());
    out.extend(config_cases::cases());
    out.extend(other_config_cases::cases());
    out
}

/// A safetensors file in the making; nothing in it needs to be true.
#[derive(Clone)]
pub struct File {
    /// `__metadata__` as JSON text, or empty.
    pub metadata: String,
    /// The entries of the header, in the order of the file.
    pub tensors: Vec<Entry>,
    /// The data part.
    pub data: Vec<u8>,
}

/// One entry of the header, as JSON text.
#[derive(Clone)]
pub struct Entry {
    /// Name of the tensor, not yet escaped.
    pub name: String,
    /// The JSON text behind the name.
    pub json: String,
    /// Where its bytes truly lie in the data part.
    pub place: std::ops::Range<usize>,
}

impl File {
    /// No tensors yet.
    pub fn new() -> File {
        File {
            metadata: String::new(),
            tensors: Vec::new(),
            data: Vec::new(),
        }
    }

    /// Appends a tensor with its true entry.
    pub fn push(&mut self, name: &str, dtype: &str, shape: &[usize], bytes: &[u8]) {
        let begin = self.data.len();
        self.data.extend_from_slice(bytes);
        let end = self.data.len();
        let json =
            format!(r#"{{"dtype":"{dtype}","shape":{shape:?},"data_offsets":[{begin},{end}]}}"#);
        self.tensors.push(Entry {
            name: name.to_owned(),
            json,
            place: begin..end,
        });
    }

    /// Appends a tensor of small finite values in F16.
    pub fn push_f16(&mut self, name: &str, shape: &[usize]) {
        let n: usize = shape.iter().product();
        let bytes: Vec<u8> = (0..n)
            .flat_map(|i| (0x2c00 + (i % 512) as u16).to_le_bytes())
            .collect();
        self.push(name, "F16", shape, &bytes);
    }

    /// The entry of a tensor.
    pub fn entry(&mut self, name: &str) -> &mut Entry {
        self.tensors
            .iter_mut()
            .find(|t| t.name == name)
            .expect("a tensor of the base model")
    }

    /// The header as text.
    pub fn header(&self) -> String {
        let mut parts = Vec::new();
        if !self.metadata.is_empty() {
            parts.push(format!(r#""__metadata__":{}"#, self.metadata));
        }
        for t in &self.tensors {
            parts.push(format!(
                "{}:{}",
                serde_json::to_string(&t.name).expect("text"),
                t.json
            ));
        }
        format!("{{{}}}", parts.join(","))
    }

    /// The whole file.
    pub fn bytes(&self) -> Vec<u8> {
        with_header(self.header().as_bytes(), &self.data)
    }
}

/// A file of any header text and data, with the true length in front.
pub fn with_header(header: &[u8], data: &[u8]) -> Vec<u8> {
    let mut out = (header.len() as u64).to_le_bytes().to_vec();
    out.extend_from_slice(header);
    out.extend_from_slice(data);
    out
}

/// The `config.json` of [`mamba2`]: two layers, two groups, tied head.
pub const MAMBA2: &str = r#"{"model_type": "mamba2", "architectures": ["Mamba2ForCausalLM"],
 "vocab_size": 256, "hidden_size": 8, "num_hidden_layers": 2, "state_size": 3, "head_dim": 4,
 "num_heads": 4, "expand": 2, "n_groups": 2, "conv_kernel": 4, "use_conv_bias": true,
 "use_bias": false, "tie_word_embeddings": true, "layer_norm_epsilon": 1e-05,
 "time_step_limit": [0.0, null], "hidden_act": "silu", "train_context_length": 128,
 "tokenizer": "bytes"}"#;

/// A checkpoint that belongs to [`MAMBA2`].
pub fn mamba2() -> File {
    let mut file = File::new();
    file.metadata = r#"{"format":"pt"}"#.to_owned();
    file.push_f16("backbone.embeddings.weight", &[256, 8]);
    for i in 0..2 {
        for (name, shape) in [
            ("norm.weight", &[8][..]),
            ("mixer.in_proj.weight", &[48, 8]),
            ("mixer.conv1d.weight", &[28, 1, 4]),
            ("mixer.conv1d.bias", &[28]),
            ("mixer.dt_bias", &[4]),
            ("mixer.A_log", &[4]),
            ("mixer.D", &[4]),
            ("mixer.norm.weight", &[16]),
            ("mixer.out_proj.weight", &[8, 16]),
        ] {
            file.push_f16(&format!("backbone.layers.{i}.{name}"), shape);
        }
    }
    file.push_f16("backbone.norm_f.weight", &[8]);
    file
}

/// The `config.json` of [`llama`]: one layer, grouped-query heads, own head.
pub const LLAMA: &str = r#"{"model_type": "llama", "vocab_size": 256, "hidden_size": 8,
 "intermediate_size": 12, "num_hidden_layers": 1, "num_attention_heads": 4,
 "num_key_value_heads": 2, "rms_norm_eps": 1e-06, "rope_theta": 10000.0}"#;

/// A checkpoint that belongs to [`LLAMA`].
pub fn llama() -> File {
    let mut file = File::new();
    file.push_f16("model.embed_tokens.weight", &[256, 8]);
    for (name, shape) in [
        ("input_layernorm.weight", &[8][..]),
        ("self_attn.q_proj.weight", &[8, 8]),
        ("self_attn.k_proj.weight", &[4, 8]),
        ("self_attn.v_proj.weight", &[4, 8]),
        ("self_attn.o_proj.weight", &[8, 8]),
        ("post_attention_layernorm.weight", &[8]),
        ("mlp.gate_proj.weight", &[12, 8]),
        ("mlp.up_proj.weight", &[12, 8]),
        ("mlp.down_proj.weight", &[8, 12]),
    ] {
        file.push_f16(&format!("model.layers.0.{name}"), shape);
    }
    file.push_f16("model.norm.weight", &[8]);
    file.push_f16("lm_head.weight", &[256, 8]);
    file
}

/// The `config.json` of [`mamba`]: one layer, every default that can be left out.
pub const MAMBA: &str = r#"{"architectures": ["MambaForCausalLM"], "vocab_size": 256,
 "hidden_size": 8, "num_hidden_layers": 1, "state_size": 3}"#;

/// A checkpoint that belongs to [`MAMBA`].
pub fn mamba() -> File {
    let mut file = File::new();
    file.push_f16("backbone.embeddings.weight", &[256, 8]);
    for (name, shape) in [
        ("norm.weight", &[8][..]),
        ("mixer.in_proj.weight", &[32, 8]),
        ("mixer.conv1d.weight", &[16, 1, 4]),
        ("mixer.conv1d.bias", &[16]),
        ("mixer.x_proj.weight", &[7, 16]),
        ("mixer.dt_proj.weight", &[16, 1]),
        ("mixer.dt_proj.bias", &[16]),
        ("mixer.A_log", &[16, 3]),
        ("mixer.D", &[16]),
        ("mixer.out_proj.weight", &[8, 16]),
    ] {
        file.push_f16(&format!("backbone.layers.0.{name}"), shape);
    }
    file.push_f16("backbone.norm_f.weight", &[8]);
    file
}

/// A case from its parts.
fn case(name: &str, config: impl Into<Vec<u8>>, model: Vec<u8>, expected: &[&str]) -> Case {
    Case {
        name: name.to_owned(),
        config: config.into(),
        model,
        expected: expected.iter().map(|s| (*s).to_owned()).collect(),
    }
}
