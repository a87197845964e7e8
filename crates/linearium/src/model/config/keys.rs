//! The keys of `config.json`: each read with its default, its type and its bounds.

use super::super::json::{self, Json, quote};
use super::{
    LlamaConfig, MAX_CONFIG_BYTES, MAX_HIDDEN_SIZE, MAX_LAYERS, MAX_VOCABULARY, MAX_WIDTH,
    Mamba2Config, MambaConfig, Tokenizer,
};

/// The most values in `config.json`, and how deep they may be nested.
const MAX_VALUES: usize = 4_000;
const MAX_DEPTH: usize = 16;
/// The most taps of a causal convolution; the published models have four.
const MAX_CONV_KERNEL: usize = 64;
/// The longest training length that can be believed, in tokens.
const MAX_TRAIN_CONTEXT: usize = 1 << 30;

/// The top-level keys of `config.json`.
pub(super) struct Keys(Vec<(String, Json)>);

impl Keys {
    /// Parses the text; nothing is known of its keys yet.
    pub(super) fn read(json: &[u8]) -> Result<Keys, String> {
        if json.is_empty() {
            return Err("config.json is empty: choose or download it again".to_owned());
        }
        if json.len() > MAX_CONFIG_BYTES {
            return Err(format!(
                "config.json is {} bytes long where at most {MAX_CONFIG_BYTES} are read: choose the config.json of the model, not its tokenizer or weights",
                json.len()
            ));
        }
        let text = std::str::from_utf8(json).map_err(|e| {
            format!(
                "config.json is not UTF-8 text at byte {}: choose or download it again",
                e.valid_up_to()
            )
        })?;
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        match json::parse(&quote_infinity(text), MAX_DEPTH, MAX_VALUES) {
            Ok(Json::Object(keys)) => Ok(Keys(keys)),
            Ok(other) => Err(format!(
                "config.json holds {} instead of an object: choose the config.json of the model",
                other.describe()
            )),
            Err(e) => Err(format!(
                "in config.json {e}: correct it or download it again"
            )),
        }
    }

    fn get(&self, key: &str) -> Option<&Json> {
        self.0.iter().find(|(k, _)| k == key).map(|(_, v)| v)
    }

    /// As [`Keys::get`], where null says the same as no key.
    fn given(&self, key: &str) -> Option<&Json> {
        self.get(key).filter(|v| **v != Json::Null)
    }

    /// The `model_type`, which is one of the three that are known.
    pub(super) fn architecture(&self) -> Result<&'static str, String> {
        const KNOWN: [(&str, &str); 3] = [
            ("mamba2", "Mamba2ForCausalLM"),
            ("mamba", "MambaForCausalLM"),
            ("llama", "LlamaForCausalLM"),
        ];
        let named = match self.given("architectures") {
            None => None,
            Some(Json::List(list)) if list.is_empty() => None,
            Some(Json::List(list)) => match &list[0] {
                Json::Text(class) => Some(class),
                other => return Err(wrong("architectures", other, "a list of class names")),
            },
            Some(other) => return Err(wrong("architectures", other, "a list of class names")),
        };
        let known = "mamba2, mamba or llama in the layout of the transformers library";
        let by_type = match self.given("model_type") {
            None => None,
            Some(Json::Text(t)) => Some(
                KNOWN.iter().find(|(m, _)| m == t).map(|(m, _)| *m).ok_or_else(|| {
                    format!("config.json has model_type {}, which is not known here: use a checkpoint of {known}", quote(t))
                })?,
            ),
            Some(other) => return Err(wrong("model_type", other, "a text")),
        };
        let by_class = match named {
            None => None,
            Some(class) => Some(
                KNOWN.iter().find(|(_, c)| c == class).map(|(m, _)| *m).ok_or_else(|| {
                    format!("config.json has the architecture {}, which is not known here: use a checkpoint of {known}", quote(class))
                })?,
            ),
        };
        match (by_type, by_class) {
            (Some(a), Some(b)) if a != b => Err(format!(
                "config.json has model_type {a} but its architectures name a {b} model: correct one of the two keys"
            )),
            (Some(a), _) | (None, Some(a)) => Ok(a),
            (None, None) if self.get("d_model").is_some() => Err(
                "config.json has d_model and no model_type, the layout of the original Mamba files: convert the model to the layout of the transformers library".to_owned(),
            ),
            (None, None) => Err(format!(
                "config.json has neither model_type nor architectures: use a checkpoint of {known}"
            )),
        }
    }

    /// A whole number from 1 to `max`.
    fn count(&self, key: &str, default: usize, max: usize) -> Result<usize, String> {
        let Some(value) = self.get(key) else {
            return Ok(default);
        };
        let n = match value {
            Json::Count(n) => *n,
            // 192.0 is what some writers make of 192; the cast keeps its value.
            Json::Number(x) if x.fract() == 0.0 && (0.0..1e15).contains(x) => *x as u64,
            other => {
                return Err(wrong(
                    key,
                    other,
                    &format!("a whole number from 1 to {max}"),
                ));
            }
        };
        match usize::try_from(n) {
            Ok(n) if (1..=max).contains(&n) => Ok(n),
            _ => Err(wrong(
                key,
                value,
                &format!("a whole number from 1 to {max}"),
            )),
        }
    }

    /// As [`Keys::count`], where null or no key say that there is none.
    fn optional_count(&self, key: &str, max: usize) -> Result<Option<usize>, String> {
        match self.given(key) {
            None => Ok(None),
            Some(_) => self.count(key, 1, max).map(Some),
        }
    }

    fn flag(&self, key: &str, default: bool) -> Result<bool, String> {
        match self.get(key) {
            None => Ok(default),
            Some(Json::Bool(b)) => Ok(*b),
            Some(other) => Err(wrong(key, other, "true or false")),
        }
    }

    /// The epsilon of a norm: a number from 0 to 1.
    fn epsilon(&self, key: &str, default: f32) -> Result<f32, String> {
        let Some(value) = self.get(key) else {
            return Ok(default);
        };
        match number(value) {
            Some(x) if (0.0..=1.0).contains(&x) => Ok(x as f32),
            _ => Err(wrong(key, value, "a number from 0 to 1")),
        }
    }

    /// Whatever the forward pass does not have must not be asked for.
    fn refuse_variants(&self) -> Result<(), String> {
        match self.get("hidden_act") {
            None => {}
            Some(Json::Text(act)) if act == "silu" || act == "swish" => {}
            Some(other) => {
                return Err(format!(
                    "config.json has {} under hidden_act where only “silu” can be computed: use another checkpoint",
                    other.describe()
                ));
            }
        }
        if self.given("quantization_config").is_some() {
            return Err("config.json has a quantization_config, and quantised weights cannot be read: convert the model to F32, F16 or BF16".to_owned());
        }
        Ok(())
    }

    fn vocab_size(&self, default: usize) -> Result<usize, String> {
        self.count("vocab_size", default, MAX_VOCABULARY)
    }

    fn layers(&self, default: usize) -> Result<usize, String> {
        self.count("num_hidden_layers", default, MAX_LAYERS)
    }

    fn hidden_size(&self, default: usize) -> Result<usize, String> {
        self.count("hidden_size", default, MAX_HIDDEN_SIZE)
    }

    fn train_context_length(&self) -> Result<Option<usize>, String> {
        self.optional_count("train_context_length", MAX_TRAIN_CONTEXT)
    }

    fn tokenizer(&self, vocab_size: usize) -> Result<Tokenizer, String> {
        match self.given("tokenizer") {
            None if vocab_size == 256 => Ok(Tokenizer::Bytes),
            None => Ok(Tokenizer::Unknown),
            Some(Json::Text(t)) if t == "bytes" && vocab_size >= 256 => Ok(Tokenizer::Bytes),
            Some(Json::Text(t)) if t == "bytes" => Err(format!(
                "config.json has the tokenizer “bytes” but a vocab_size of {vocab_size}, less than the 256 values of a byte: correct one of the two keys"
            )),
            Some(other) => Err(wrong("tokenizer", other, "“bytes” or no such key")),
        }
    }

    /// `expand · hidden_size`, which must be whole; `expand` itself may be a fraction.
    fn expanded(&self, hidden_size: usize) -> Result<usize, String> {
        let Some(value) = self.get("expand") else {
            return Ok(2 * hidden_size);
        };
        let width = number(value).map_or(0.0, |x| x * hidden_size as f64);
        if width.fract() == 0.0 && (1.0..=MAX_WIDTH as f64).contains(&width) {
            return Ok(width as usize);
        }
        Err(wrong(
            "expand",
            value,
            &format!(
                "a number whose product with the hidden_size of {hidden_size} is whole and from 1 to {MAX_WIDTH}"
            ),
        ))
    }

    pub(super) fn mamba2(&self) -> Result<Mamba2Config, String> {
        self.refuse_variants()?;
        let vocab_size = self.vocab_size(32_768)?;
        let hidden_size = self.hidden_size(4096)?;
        let num_heads = self.count("num_heads", 128, MAX_WIDTH)?;
        let head_dim = self.count("head_dim", 64, MAX_WIDTH)?;
        let state_size = self.count("state_size", 128, MAX_HIDDEN_SIZE)?;
        let n_groups = self.count("n_groups", 8, MAX_WIDTH)?;
        let mixer = width("num_heads × head_dim", num_heads, head_dim)?;
        width("n_groups × state_size", n_groups, state_size)?;
        let expanded = self.expanded(hidden_size)?;
        if expanded != mixer {
            return Err(format!(
                "config.json has num_heads × head_dim = {mixer} but expand × hidden_size = {expanded}: correct one of the four keys"
            ));
        }
        if num_heads % n_groups != 0 {
            return Err(format!(
                "config.json has {num_heads} num_heads, which {n_groups} n_groups do not divide: correct one of the two keys"
            ));
        }
        Ok(Mamba2Config {
            vocab_size,
            hidden_size,
            num_hidden_layers: self.layers(64)?,
            state_size,
            head_dim,
            num_heads,
            n_groups,
            conv_kernel: self.count("conv_kernel", 4, MAX_CONV_KERNEL)?,
            use_conv_bias: self.flag("use_conv_bias", true)?,
            use_bias: self.flag("use_bias", false)?,
            tie_word_embeddings: self.flag("tie_word_embeddings", false)?,
            layer_norm_epsilon: self.epsilon("layer_norm_epsilon", 1e-5)?,
            time_step_limit: self.time_step_limit()?,
            train_context_length: self.train_context_length()?,
            tokenizer: self.tokenizer(vocab_size)?,
        })
    }

    /// A pair of numbers; the upper one may be infinite, for which JSON has no number: writers
    /// put null, a bare `Infinity` or `{"__float__": "Infinity"}`.
    fn time_step_limit(&self) -> Result<[f32; 2], String> {
        let Some(value) = self.get("time_step_limit") else {
            return Ok([0.0, f32::INFINITY]);
        };
        if let Json::List(pair) = value
            && let [low, high] = &pair[..]
            && let Some(low) = number(low)
            && let Some(high) = if *high == Json::Null {
                Some(f64::INFINITY)
            } else {
                number(high)
            }
            && low >= 0.0
            && low.is_finite()
            && high > 0.0
            && high >= low
        {
            return Ok([low as f32, high as f32]);
        }
        Err("config.json has a time_step_limit that is not a list of two numbers, of which the first is from 0 and the second larger or null: correct it".to_owned())
    }

    pub(super) fn mamba(&self) -> Result<MambaConfig, String> {
        self.refuse_variants()?;
        let vocab_size = self.vocab_size(50_280)?;
        let hidden_size = self.hidden_size(768)?;
        // A stored intermediate_size wins over expand, as in the library.
        let intermediate_size = match self.optional_count("intermediate_size", MAX_WIDTH)? {
            Some(e) => e,
            None => self.expanded(hidden_size)?,
        };
        let time_step_rank = match self.get("time_step_rank") {
            Some(Json::Text(t)) if t == "auto" => hidden_size.div_ceil(16),
            None => hidden_size.div_ceil(16),
            Some(other @ Json::Text(_)) => {
                return Err(wrong("time_step_rank", other, "“auto” or a whole number"));
            }
            Some(_) => self.count("time_step_rank", 1, MAX_HIDDEN_SIZE)?,
        };
        Ok(MambaConfig {
            vocab_size,
            hidden_size,
            intermediate_size,
            num_hidden_layers: self.layers(32)?,
            state_size: self.count("state_size", 16, MAX_HIDDEN_SIZE)?,
            time_step_rank,
            conv_kernel: self.count("conv_kernel", 4, MAX_CONV_KERNEL)?,
            use_conv_bias: self.flag("use_conv_bias", true)?,
            use_bias: self.flag("use_bias", false)?,
            tie_word_embeddings: self.flag("tie_word_embeddings", true)?,
            layer_norm_epsilon: self.epsilon("layer_norm_epsilon", 1e-5)?,
            train_context_length: self.train_context_length()?,
            tokenizer: self.tokenizer(vocab_size)?,
        })
    }

    pub(super) fn llama(&self) -> Result<LlamaConfig, String> {
        self.refuse_variants()?;
        let vocab_size = self.vocab_size(32_000)?;
        let hidden_size = self.hidden_size(4096)?;
        let heads = self.count("num_attention_heads", 32, MAX_HIDDEN_SIZE)?;
        let kv_heads = self.optional_count("num_key_value_heads", MAX_HIDDEN_SIZE)?;
        let kv_heads = kv_heads.unwrap_or(heads);
        if !heads.is_multiple_of(kv_heads) {
            return Err(format!(
                "config.json has {heads} num_attention_heads, which {kv_heads} num_key_value_heads do not divide: correct one of the two keys"
            ));
        }
        let head_dim = match self.optional_count("head_dim", MAX_HIDDEN_SIZE)? {
            Some(p) => p,
            None if hidden_size.is_multiple_of(heads) => hidden_size / heads,
            None => {
                return Err(format!(
                    "config.json has a hidden_size of {hidden_size}, which {heads} num_attention_heads do not divide, and no head_dim: correct one of the keys"
                ));
            }
        };
        if head_dim % 2 != 0 {
            return Err(format!(
                "config.json has a head_dim of {head_dim}, but rotary positions turn pairs of channels: give an even one"
            ));
        }
        width("num_attention_heads × head_dim", heads, head_dim)?;
        Ok(LlamaConfig {
            vocab_size,
            hidden_size,
            intermediate_size: self.count("intermediate_size", 11_008, MAX_WIDTH)?,
            num_hidden_layers: self.layers(32)?,
            num_attention_heads: heads,
            num_key_value_heads: kv_heads,
            head_dim,
            rms_norm_eps: self.epsilon("rms_norm_eps", 1e-6)?,
            rope_theta: self.rope_theta()?,
            attention_bias: self.flag("attention_bias", false)?,
            mlp_bias: self.flag("mlp_bias", false)?,
            tie_word_embeddings: self.flag("tie_word_embeddings", false)?,
            train_context_length: self.train_context_length()?,
            tokenizer: self.tokenizer(vocab_size)?,
        })
    }

    /// The base of plain rotary positions, wherever the library looks for it: `rope_scaling`
    /// before `rope_parameters`, and the key inside before the one at the top.
    fn rope_theta(&self) -> Result<f64, String> {
        let (name, nested) = match (self.given("rope_scaling"), self.given("rope_parameters")) {
            (Some(v), _) => ("rope_scaling", Some(v)),
            (None, v) => ("rope_parameters", v),
        };
        let nested: &[(String, Json)] = match nested {
            None => &[],
            Some(Json::Object(keys)) => keys,
            Some(other) => return Err(wrong(name, other, "an object")),
        };
        let inside = |key: &str| nested.iter().find(|(k, _)| k == key).map(|(_, v)| v);
        match inside("rope_type").or(inside("type")) {
            None => {}
            Some(Json::Text(kind)) if kind == "default" => {}
            Some(other) => {
                return Err(format!(
                    "config.json has rotary positions of type {} under {name}, of which only “default” can be computed: use another checkpoint",
                    other.describe()
                ));
            }
        }
        let top = self.given("partial_rotary_factor");
        if let Some(factor) = inside("partial_rotary_factor").or(top)
            && number(factor) != Some(1.0)
        {
            return Err(wrong("partial_rotary_factor", factor, "1 or no such key"));
        }
        match inside("rope_theta").or(self.given("rope_theta")) {
            None => Ok(10_000.0),
            Some(value) => match number(value) {
                Some(theta) if theta > 0.0 && theta <= 1e30 => Ok(theta),
                _ => Err(wrong(
                    "rope_theta",
                    value,
                    "a number above 0 and up to 1e30",
                )),
            },
        }
    }
}

/// The sentence for a value that a key cannot have.
fn wrong(key: &str, value: &Json, possible: &str) -> String {
    format!(
        "config.json has {} under {key}: give {possible}",
        value.describe()
    )
}

/// A product of two bounded numbers that must be bounded itself.
fn width(name: &str, a: usize, b: usize) -> Result<usize, String> {
    match a.checked_mul(b) {
        Some(w) if w <= MAX_WIDTH => Ok(w),
        _ => Err(format!(
            "config.json has {name} = {a} × {b} where at most {MAX_WIDTH} are possible: correct the two keys or choose a smaller model"
        )),
    }
}

/// A number, or one of the two ways to write infinity that are valid JSON once
/// [`quote_infinity`] has been through.
fn number(value: &Json) -> Option<f64> {
    match value {
        Json::Count(n) => Some(*n as f64),
        Json::Number(x) => Some(*x),
        Json::Text(s) if s == "∞" => Some(f64::INFINITY),
        Json::Object(keys) => match &keys[..] {
            [(key, Json::Text(v))] if key == "__float__" && v == "Infinity" => Some(f64::INFINITY),
            _ => None,
        },
        _ => None,
    }
}

/// Python writes infinity as a bare `Infinity`, which is not JSON. Outside of texts it becomes
/// the text “∞”, escaped so that it has the same eight bytes and every later place stays right.
fn quote_infinity(text: &str) -> std::borrow::Cow<'_, str> {
    const BARE: &str = "Infinity";
    if !text.contains(BARE) {
        return text.into();
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let mut inside = false;
    let mut escaped = false;
    while let Some(c) = rest.chars().next() {
        if !inside && rest.starts_with(BARE) {
            out.push_str("\"\\u221e\"");
            rest = &rest[BARE.len()..];
            continue;
        }
        if escaped {
            escaped = false;
        } else if inside && c == '\\' {
            escaped = true;
        } else if c == '"' {
            inside = !inside;
        }
        out.push(c);
        rest = &rest[c.len_utf8()..];
    }
    out.into()
}
