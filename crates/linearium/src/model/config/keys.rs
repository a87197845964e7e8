//! The keys of `config.json`: each read with its default, its type and its bounds.

use super::super::json::{self, Json};
use super::{
    MAX_CONFIG_BYTES, MAX_HIDDEN_SIZE, MAX_LAYERS, MAX_VOCABULARY, MAX_WIDTH,
    Common, Tokenizer,
};

/// The most values in `config.json`, and how deep they may be nested.
const MAX_VALUES: usize = 4_000;
const MAX_DEPTH: usize = 16;
/// The longest training length that can be believed, in tokens.
const MAX_TRAIN_CONTEXT: usize = 1 << 30;

/// What holds where a key is not there, and the key of the norms' epsilon.
pub(in crate::model) struct Defaults {
    pub(in crate::model) vocab_size: usize,
    pub(in crate::model) hidden_size: usize,
    pub(in crate::model) layers: usize,
    pub(in crate::model) tied: bool,
    pub(in crate::model) eps: (&'static str, f32),
}

/// The keys of `config.json` or of an object in it.
pub struct Keys {
    keys: Vec<(String, Json)>,
    /// For sentences: the objects that these keys are in, each with a point behind it.
    within: String,
}

impl Keys {
    /// Parses the text; nothing is known of its keys yet.
    ///
    /// # Errors
    /// A sentence if it is not a JSON object within bounds.
    pub fn read(json: &[u8]) -> Result<Keys, String> {
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
            Ok(Json::Object(keys)) => Ok(Keys {
                keys,
                within: String::new(),
            }),
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
        self.keys.iter().find(|(k, _)| k == key).map(|(_, v)| v)
    }

    /// As [`Keys::get`], where null says the same as no key.
    pub(in crate::model) fn given(&self, key: &str) -> Option<&Json> {
        self.get(key).filter(|v| **v != Json::Null)
    }

    /// True if there is such a key, be it null.
    pub fn has(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    /// `model_type` and the first of `architectures`, if they are there.
    pub(in crate::model) fn model_type_and_class(
        &self,
    ) -> Result<(Option<&str>, Option<&str>), String> {
        let class = match self.given("architectures") {
            None => None,
            Some(Json::List(list)) if list.is_empty() => None,
            Some(Json::List(list)) => match &list[0] {
                Json::Text(class) => Some(class.as_str()),
                other => return Err(self.wrong("architectures", other, "a list of class names")),
            },
            Some(other) => return Err(self.wrong("architectures", other, "a list of class names")),
        };
        Ok((self.text("model_type")?, class))
    }

    /// A text; null or no key say that there is none.
    pub(in crate::model) fn text(&self, key: &str) -> Result<Option<&str>, String> {
        match self.given(key) {
            None => Ok(None),
            Some(Json::Text(t)) => Ok(Some(t)),
            Some(other) => Err(self.wrong(key, other, "a text")),
        }
    }

    /// An object; null or no key say that there is none.
    pub(in crate::model) fn object(&self, key: &str) -> Result<Option<Keys>, String> {
        match self.given(key) {
            None => Ok(None),
            Some(Json::Object(keys)) => Ok(Some(Keys {
                keys: keys.clone(),
                within: format!("{}{key}.", self.within),
            })),
            Some(other) => Err(self.wrong(key, other, "an object")),
        }
    }

    /// A whole number from 1 to `max`.
    pub(in crate::model) fn count(&self, key: &str, default: usize, max: usize) -> Result<usize, String> {
        let Some(value) = self.get(key) else {
            return Ok(default);
        };
        let n = match value {
            Json::Count(n) => *n,
            // 192.0 is what some writers make of 192; the cast keeps its value.
            Json::Number(x) if x.fract() == 0.0 && (0.0..1e15).contains(x) => *x as u64,
            other => {
                return Err(self.wrong(
                    key,
                    other,
                    &format!("a whole number from 1 to {max}"),
                ));
            }
        };
        match usize::try_from(n) {
            Ok(n) if (1..=max).contains(&n) => Ok(n),
            _ => Err(self.wrong(
                key,
                value,
                &format!("a whole number from 1 to {max}"),
            )),
        }
    }

    /// The sentence for a value that a key cannot have.
    pub(in crate::model) fn wrong(&self, key: &str, value: &Json, possible: &str) -> String {
        format!(
            "config.json has {} under {}{key}: give {possible}",
            value.describe(),
            self.within
        )
    }

    /// As [`Keys::count`], where null or no key say that there is none.
    pub(in crate::model) fn optional_count(&self, key: &str, max: usize) -> Result<Option<usize>, String> {
        match self.given(key) {
            None => Ok(None),
            Some(_) => self.count(key, 1, max).map(Some),
        }
    }

    /// As [`Keys::count`], where this text or no key say that it is the default.
    pub(in crate::model) fn count_or(
        &self,
        key: &str,
        text: &str,
        default: usize,
        max: usize,
    ) -> Result<usize, String> {
        match self.get(key) {
            Some(Json::Text(t)) if t == text => Ok(default),
            Some(other @ Json::Text(_)) => {
                Err(self.wrong(key, other, &format!("“{text}” or a whole number")))
            }
            _ => self.count(key, default, max),
        }
    }

    pub(in crate::model) fn flag(&self, key: &str, default: bool) -> Result<bool, String> {
        match self.get(key) {
            None => Ok(default),
            Some(Json::Bool(b)) => Ok(*b),
            Some(other) => Err(self.wrong(key, other, "true or false")),
        }
    }

    /// The epsilon of a norm: a number from 0 to 1.
    pub(in crate::model) fn epsilon(&self, key: &str, default: f32) -> Result<f32, String> {
        let Some(value) = self.get(key) else {
            return Ok(default);
        };
        match number(value) {
            Some(x) if (0.0..=1.0).contains(&x) => Ok(x as f32),
            _ => Err(self.wrong(key, value, "a number from 0 to 1")),
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

    /// What every family has, with its defaults.
    pub(in crate::model) fn common(&self, defaults: &Defaults) -> Result<Common, String> {
        self.refuse_variants()?;
        let vocab_size = self.count("vocab_size", defaults.vocab_size, MAX_VOCABULARY)?;
        Ok(Common {
            vocab_size,
            hidden_size: self.count("hidden_size", defaults.hidden_size, MAX_HIDDEN_SIZE)?,
            num_hidden_layers: self.count("num_hidden_layers", defaults.layers, MAX_LAYERS)?,
            tie_word_embeddings: self.flag("tie_word_embeddings", defaults.tied)?,
            eps: self.epsilon(defaults.eps.0, defaults.eps.1)?,
            train_context_length: self.optional_count("train_context_length", MAX_TRAIN_CONTEXT)?,
            tokenizer: self.tokenizer(vocab_size)?,
        })
    }

    fn tokenizer(&self, vocab_size: usize) -> Result<Tokenizer, String> {
        match self.given("tokenizer") {
            None if vocab_size == 256 => Ok(Tokenizer::Bytes),
            None => Ok(Tokenizer::Unknown),
            Some(Json::Text(t)) if t == "bytes" && vocab_size >= 256 => Ok(Tokenizer::Bytes),
            Some(Json::Text(t)) if t == "bytes" => Err(format!(
                "config.json has the tokenizer “bytes” but a vocab_size of {vocab_size}, less than the 256 values of a byte: correct one of the two keys"
            )),
            Some(other) => Err(self.wrong("tokenizer", other, "“bytes” or no such key")),
        }
    }

    /// `key · hidden_size`, which must be whole; the factor itself may be a fraction.
    pub(in crate::model) fn expanded(
        &self,
        key: &str,
        default: f64,
        hidden_size: usize,
    ) -> Result<usize, String> {
        let default = Json::Number(default);
        let value = self.get(key).unwrap_or(&default);
        let width = number(value).map_or(0.0, |x| x * hidden_size as f64);
        if width.fract() == 0.0 && (1.0..=MAX_WIDTH as f64).contains(&width) {
            return Ok(width as usize);
        }
        Err(self.wrong(
            key,
            value,
            &format!(
                "a number whose product with the hidden_size of {hidden_size} is whole and from 1 to {MAX_WIDTH}"
            ),
        ))
    }

    /// A pair of numbers; the upper one may be infinite, for which JSON has no number: writers
    /// put null, a bare `Infinity` or `{"__float__": "Infinity"}`.
    pub(in crate::model) fn time_step_limit(&self) -> Result<[f32; 2], String> {
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

    /// The base of plain rotary positions and the share of a head's channels that they turn, for
    /// which there is a default; wherever the library looks for them: `rope_scaling` before
    /// `rope_parameters`, and the key inside before the one at the top.
    pub(in crate::model) fn rope(&self, share: f64) -> Result<(f64, f64), String> {
        let (name, nested) = match (self.given("rope_scaling"), self.given("rope_parameters")) {
            (Some(v), _) => ("rope_scaling", Some(v)),
            (None, v) => ("rope_parameters", v),
        };
        let nested: &[(String, Json)] = match nested {
            None => &[],
            Some(Json::Object(keys)) => keys,
            Some(other) => return Err(self.wrong(name, other, "an object")),
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
        let share = match inside("partial_rotary_factor").or(top) {
            None => share,
            Some(factor) if number(factor) == Some(share) => share,
            Some(factor) => {
                let possible = format!("{share} or no such key");
                return Err(self.wrong("partial_rotary_factor", factor, &possible));
            }
        };
        match inside("rope_theta").or(self.given("rope_theta")) {
            None => Ok((10_000.0, share)),
            Some(value) => match number(value) {
                Some(theta) if theta > 0.0 && theta <= 1e30 => Ok((theta, share)),
                _ => Err(self.wrong("rope_theta", value, "a number above 0 and up to 1e30")),
            },
        }
    }
}

/// A product of two bounded numbers that must be bounded itself.
pub(in crate::model) fn width(name: &str, a: usize, b: usize) -> Result<usize, String> {
    match a.checked_mul(b) {
        Some(w) if w <= MAX_WIDTH => Ok(w),
        _ => Err(format!(
            "config.json has {name} = {a} × {b} where at most {MAX_WIDTH} are possible: correct the two keys or choose a smaller model"
        )),
    }
}

/// A number, or one of the two ways to write infinity that are valid JSON once
/// [`quote_infinity`] has been through.
pub(in crate::model) fn number(value: &Json) -> Option<f64> {
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
