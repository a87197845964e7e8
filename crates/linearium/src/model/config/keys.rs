//! The keys of `config.json`: each read with its default, its type and its bounds.

use super::super::json::{self, Json};
use super::{
    Common, MAX_CONFIG_BYTES, MAX_HIDDEN_SIZE, MAX_LAYERS, MAX_VOCABULARY, MAX_WIDTH, Tokenizer,
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
    /// What `hidden_act` may be.
    pub(in crate::model) activation: &'static [&'static str],
}

/// The two names of `x / (1 + e^-x)`.
pub(in crate::model) const SILU: &[&str] = &["silu", "swish"];

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

    /// A whole number from 1 to `max`.
    pub(in crate::model) fn count(
        &self,
        key: &str,
        default: usize,
        max: usize,
    ) -> Result<usize, String> {
        let Some(value) = self.get(key) else {
            return Ok(default);
        };
        let n = match value {
            Json::Count(n) => *n,
            // 192.0 is what some writers make of 192; the cast keeps its value.
            Json::Number(x) if x.fract() == 0.0 && (0.0..1e15).contains(x) => *x as u64,
            other => {
                return Err(self.wrong(key, other, &format!("a whole number from 1 to {max}")));
            }
        };
        match usize::try_from(n) {
            Ok(n) if (1..=max).contains(&n) => Ok(n),
            _ => Err(self.wrong(key, value, &format!("a whole number from 1 to {max}"))),
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
    pub(in crate::model) fn optional_count(
        &self,
        key: &str,
        max: usize,
    ) -> Result<Option<usize>, String> {
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
    fn refuse_variants(&self, activation: &[&str]) -> Result<(), String> {
        match self.get("hidden_act") {
            None => {}
            Some(Json::Text(act)) if activation.contains(&act.as_str()) => {}
            Some(other) => {
                return Err(format!(
                    "config.json has {} under hidden_act where only {} can be computed: use another checkpoint",
                    other.describe(),
                    json::quote(activation.first().unwrap_or(&""))
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
        self.refuse_variants(defaults.activation)?;
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
        self.expanded_of(key, default, ("hidden_size", hidden_size))
    }

    /// The same for another size.
    pub(in crate::model) fn expanded_of(
        &self,
        key: &str,
        default: f64,
        (of, size): (&str, usize),
    ) -> Result<usize, String> {
        let default = Json::Number(default);
        let value = self.get(key).unwrap_or(&default);
        let width = number(value).map_or(0.0, |x| x * size as f64);
        if width.fract() == 0.0 && (1.0..=MAX_WIDTH as f64).contains(&width) {
            return Ok(width as usize);
        }
        Err(self.wrong(
            key,
            value,
            &format!(
                "a number whose product with the {of} of {size} is whole and from 1 to {MAX_WIDTH}"
            ),
        ))
    }
}

/// Keys of the families that the first load does not have.
#[cfg(feature = "zoo")]
impl Keys {
    /// Objects: a list of them, or one; null or no key say that there is none.
    pub(in crate::model) fn objects(&self, key: &str) -> Result<Vec<Keys>, String> {
        let of = |value: &Json| match value {
            Json::Object(keys) => Ok(Keys {
                keys: keys.clone(),
                within: format!("{}{key}.", self.within),
            }),
            other => Err(self.wrong(key, other, "an object or a list of objects")),
        };
        match self.given(key) {
            None => Ok(Vec::new()),
            Some(Json::List(list)) => list.iter().map(of).collect(),
            Some(one) => Ok(vec![of(one)?]),
        }
    }

    /// A list of texts; null or no key say that there is none.
    pub(in crate::model) fn texts(&self, key: &str) -> Result<Option<Vec<String>>, String> {
        let list = match self.given(key) {
            None => return Ok(None),
            Some(Json::List(list)) => list,
            Some(other) => return Err(self.wrong(key, other, "a list of texts")),
        };
        let of = |value: &Json| match value {
            Json::Text(text) => Ok(text.clone()),
            other => Err(self.wrong(key, other, "a list of texts")),
        };
        list.iter().map(of).collect::<Result<_, _>>().map(Some)
    }

    /// A whole number from 1 to `max` that must be there.
    pub(in crate::model) fn required_count(&self, key: &str, max: usize) -> Result<usize, String> {
        if !self.has(key) {
            let within = self.within.trim_end_matches('.');
            return Err(format!(
                "config.json has no {key} in {within}: add a whole number from 1 to {max}"
            ));
        }
        self.count(key, 1, max)
    }

    /// A whole number from 0 to less than `end`.
    pub(in crate::model) fn place(
        &self,
        key: &str,
        default: usize,
        end: usize,
        possible: &str,
    ) -> Result<usize, String> {
        let place = match self.get(key) {
            None => Some(default as u64),
            Some(Json::Count(n)) => Some(*n),
            Some(_) => None,
        };
        match place.and_then(|n| usize::try_from(n).ok()) {
            Some(n) if n < end => Ok(n),
            _ => {
                let default = Json::Count(default as u64);
                let value = self.get(key).unwrap_or(&default);
                Err(self.wrong(key, value, &format!("a whole number {possible}")))
            }
        }
    }

    /// A list of numbers of layers; null or no key say that there is none.
    pub(in crate::model) fn places(&self, key: &str, layers: usize) -> Result<Vec<usize>, String> {
        let wrong = |value: &Json| {
            let possible = format!("a list of layers, each from 0 to {}", layers - 1);
            self.wrong(key, value, &possible)
        };
        match self.given(key) {
            None => Ok(Vec::new()),
            Some(Json::List(list)) => list
                .iter()
                .map(|value| match value {
                    Json::Count(n) if *n < layers as u64 => Ok(*n as usize),
                    other => Err(wrong(other)),
                })
                .collect(),
            Some(other) => Err(wrong(other)),
        }
    }

    /// A whole number, or a list of the same number again and again; null or no key say that it
    /// is the default.
    pub(in crate::model) fn same_counts(
        &self,
        key: &str,
        default: usize,
        max: usize,
    ) -> Result<usize, String> {
        match self.given(key) {
            None => Ok(default),
            Some(list @ Json::List(values)) => match &values[..] {
                [Json::Count(first), rest @ ..]
                    if (1..=max as u64).contains(first)
                        && rest.iter().all(|n| *n == Json::Count(*first)) =>
                {
                    Ok(*first as usize)
                }
                _ => Err(self.wrong(key, list, "the same number for all layers")),
            },
            Some(_) => self.count(key, default, max),
        }
    }

    /// A number above 0 and up to 1e30; null may have a default of its own.
    pub(in crate::model) fn positive(
        &self,
        key: &str,
        default: f64,
        if_null: f64,
    ) -> Result<f64, String> {
        match self.get(key) {
            None => Ok(default),
            Some(Json::Null) => Ok(if_null),
            Some(value) => match number(value) {
                Some(x) if x > 0.0 && x <= 1e30 => Ok(x),
                _ => Err(self.wrong(key, value, "a number above 0 and up to 1e30")),
            },
        }
    }

    /// A finite number; null or no key say that there is none.
    pub(in crate::model) fn optional_number(&self, key: &str) -> Result<Option<f32>, String> {
        match self.given(key) {
            None => Ok(None),
            Some(value) => match number(value) {
                Some(x) if (x as f32).is_finite() => Ok(Some(x as f32)),
                _ => Err(self.wrong(key, value, "a finite number or null")),
            },
        }
    }

    /// The sentence for a text that is none of these.
    pub(in crate::model) fn wrong_choice(&self, key: &str, known: &[&str]) -> String {
        let known: Vec<String> = known.iter().map(|k| json::quote(k)).collect();
        let known: Vec<&str> = known.iter().map(String::as_str).collect();
        let value = self.get(key).unwrap_or(&Json::Null);
        self.wrong(key, value, &json::listed(&known, "or"))
    }

    /// What cannot be computed must not be asked for.
    pub(in crate::model) fn refuse(&self, key: &str, what: &str) -> Result<(), String> {
        match self.given(key) {
            None => Ok(()),
            Some(value) => Err(format!(
                "config.json has {} under {key}, and {what} cannot be computed: use another checkpoint",
                value.describe()
            )),
        }
    }
}

impl Keys {
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
