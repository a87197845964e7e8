//! The state of the lab as one list of typed properties. The list gives the controls of the page,
//! the keys of the URL, the attributes of the element, the flags of the command line, and the
//! tests. Nothing else knows which settings there are.

use std::fmt::Write as _;

use serde::Serialize;

use crate::by_id::ById;
use crate::mixers::RANDOM_MODELS;

/// One setting.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Property {
    /// Key in the URL and flag on the command line, kebab-case.
    pub id: &'static str,
    /// Name of the control.
    pub label: &'static str,
    /// Where the control stands: `model`, `input`, `look`, `intervene` or `run`.
    pub group: &'static str,
    /// Type and bounds.
    #[serde(flatten)]
    pub kind: Kind,
    /// Value when nothing is said, as it stands in a URL.
    pub default: &'static str,
    /// Unit, or empty.
    pub unit: &'static str,
    /// One sentence of help; for an intervention the published rule, its source and what differs.
    pub help: &'static str,
    /// True if run B of a comparison may have a value of its own (key `b.<id>`).
    pub comparable: bool,
    /// Conditions `id=value`, any of which makes this setting matter; a value that ends in `*`
    /// stands for all that begin so; none means that the setting always matters. A setting that does not matter keeps its value and is not shown.
    pub when: &'static [&'static str],
    /// Value to begin with when a setting that is off at its default is switched on, or empty.
    pub suggest: &'static str,
}

/// Type and bounds of a setting.
#[derive(Clone, Debug, Serialize)]
#[serde(
    rename_all = "camelCase",
    rename_all_fields = "camelCase",
    tag = "type"
)]
pub enum Kind {
    /// One of a list.
    Choice {
        /// The allowed values.
        choices: &'static [Choice],
    },
    /// A whole number.
    Integer {
        /// Lowest value.
        min: i64,
        /// Highest value.
        max: i64,
        /// A slider moves by equal ratios.
        log: bool,
    },
    /// A number.
    Number {
        /// Lowest value.
        min: f64,
        /// Highest value.
        max: f64,
        /// A slider moves by equal ratios of `1 - value` where the range ends at 1 (decay
        /// factors), of the value otherwise.
        log: bool,
    },
    /// Free text.
    Text {
        /// Longest value in bytes of UTF-8.
        max_bytes: usize,
    },
}

/// An allowed value.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Choice {
    /// As it stands in a URL.
    pub id: &'static str,
    /// As a person reads it.
    pub label: &'static str,
}

/// An allowed value.
pub const fn choice(id: &'static str, label: &'static str) -> Choice {
    Choice { id, label }
}

/// The models of the lab: those with random weights stand between the shipped ones and a file.
const MODELS: [Choice; 4 + RANDOM_MODELS.len()] = {
    let mut all = [choice("file", "Your own file"); 4 + RANDOM_MODELS.len()];
    all[0] = choice(
        "mamba2-passkey-t128",
        "Mamba-2, passkey, trained at 128 tokens",
    );
    all[1] = choice(
        "mamba2-text-t1024",
        "Mamba-2, text, trained at 1,024 tokens",
    );
    all[2] = choice(
        "llama-text-t256",
        "Transformer (softmax attention), trained at 256 tokens",
    );
    let mut i = 0;
    while i < RANDOM_MODELS.len() {
        all[3 + i] = choice(RANDOM_MODELS[i].0, RANDOM_MODELS[i].1);
        i += 1;
    }
    all
};

/// The longest context that the lab offers, in tokens.
pub const MAX_CONTEXT: usize = 65_536;
/// The shortest context that the lab offers, in tokens.
pub const MIN_CONTEXT: usize = 64;

/// Every setting of the lab.
pub static PROPERTIES: &[Property] = &[
    Property {
        id: "model",
        label: "Model",
        group: "model",
        kind: Kind::Choice { choices: &MODELS },
        default: "mamba2-passkey-t128",
        unit: "",
        help: "Three trained checkpoints come with the page; a file of yours never leaves this machine.",
        comparable: true,
        when: &[],
        suggest: "",
    },
    Property {
        id: "equal",
        label: "Size of random models",
        group: "model",
        kind: Kind::Choice {
            choices: &[
                choice("off", "Usual"),
                choice("state", "Equal state bytes"),
                choice("parameters", "Equal parameters"),
                choice("operations", "Equal operations"),
            ],
        },
        default: "off",
        unit: "",
        help: "Heads and widths of a model with random weights are chosen so that a layer comes as near as it can to what GLA has with 4 heads of 64 keys and 64 values at width 128: in bytes of state, in parameters or in operations a token (attention at 1,024 tokens).",
        comparable: false,
        when: &["model=random-*"],
        suggest: "",
    },
    Property {
        id: "input",
        label: "Input",
        group: "input",
        kind: Kind::Choice {
            choices: &[
                choice("sample", "Sample text"),
                choice("heldout", "Held-out text"),
                choice("text", "Your own text"),
                choice("repeat", "Your text, repeated"),
                choice("newlines", "Newlines only"),
                choice("noise", "Random bytes"),
                choice("passkey", "Passkey in text"),
                choice("file", "Your own text file"),
            ],
        },
        default: "sample",
        unit: "",
        help: "What the model reads. Newlines carry no information: whatever moves there is caused by length alone (Stuffed Mamba, arXiv 2410.07145).",
        comparable: false,
        when: &[],
        suggest: "",
    },
    Property {
        id: "text",
        label: "Text",
        group: "input",
        kind: Kind::Text { max_bytes: 2000 },
        default: "The state of a recurrent model is all that it remembers. ",
        unit: "",
        help: "Read as UTF-8 bytes. A longer text can be opened as a file.",
        comparable: false,
        when: &["input=text", "input=repeat"],
        suggest: "",
    },
    Property {
        id: "offset",
        label: "Start in text",
        group: "input",
        kind: Kind::Integer {
            min: 0,
            max: 10_000_000,
            log: false,
        },
        default: "0",
        unit: "bytes",
        help: "Where in the text to begin; the sample and the held-out text wrap around at the end.",
        comparable: false,
        when: &["input=sample", "input=heldout", "input=file"],
        suggest: "",
    },
    Property {
        id: "depth",
        label: "Passkey depth",
        group: "input",
        kind: Kind::Number {
            min: 0.0,
            max: 1.0,
            log: false,
        },
        default: "0.5",
        unit: "",
        help: "Where the passkey stands: 0 at the beginning, 1 right before the question.",
        comparable: false,
        when: &["input=passkey"],
        suggest: "",
    },
    Property {
        id: "seed",
        label: "Seed",
        group: "input",
        kind: Kind::Integer {
            min: 0,
            max: 1_000_000,
            log: false,
        },
        default: "0",
        unit: "",
        help: "Seed of random weights, random bytes and passkeys.",
        comparable: false,
        when: &["input=noise", "input=passkey", "model=random-*"],
        suggest: "",
    },
    Property {
        id: "context",
        label: "Context length",
        group: "input",
        kind: Kind::Integer {
            min: MIN_CONTEXT as i64,
            max: MAX_CONTEXT as i64,
            log: true,
        },
        default: "4096",
        unit: "tokens",
        help: "How much the model has read. The state has the same size at every length.",
        comparable: false,
        when: &[],
        suggest: "",
    },
    Property {
        id: "layer",
        label: "Layer",
        group: "look",
        kind: Kind::Integer {
            min: 0,
            max: 1000,
            log: false,
        },
        default: "0",
        unit: "",
        help: "Layer whose heads are shown, from 0.",
        comparable: false,
        when: &[],
        suggest: "",
    },
    Property {
        id: "head",
        label: "Head",
        group: "look",
        kind: Kind::Integer {
            min: 0,
            max: 1_000_000,
            log: false,
        },
        default: "0",
        unit: "",
        help: "Head (for S6: channel) shown strong, from 0.",
        comparable: false,
        when: &[],
        suggest: "",
    },
    Property {
        id: "position",
        label: "Position",
        group: "look",
        kind: Kind::Integer {
            min: -1,
            max: MAX_CONTEXT as i64 - 1,
            log: false,
        },
        default: "-1",
        unit: "tokens",
        help: "The output whose receptive field is shown; -1 is the last position of the context.",
        comparable: false,
        when: &[],
        suggest: "",
    },
    Property {
        id: "decay-factor",
        label: "Multiply decays by",
        group: "intervene",
        kind: Kind::Number {
            min: 0.5,
            max: 1.0,
            log: true,
        },
        default: "1",
        unit: "",
        help: "Every per-token decay becomes c times itself: forget more (Stuffed Mamba, arXiv 2410.07145, mitigation 1).",
        comparable: true,
        when: &[],
        suggest: "0.99",
    },
    Property {
        id: "write-factor",
        label: "Multiply writes by",
        group: "intervene",
        kind: Kind::Number {
            min: 0.0,
            max: 2.0,
            log: false,
        },
        default: "1",
        unit: "",
        help: "What each token writes into the state (its key B) is scaled: insert less (Stuffed Mamba, mitigation 1).",
        comparable: true,
        when: &[],
        suggest: "0.75",
    },
    Property {
        id: "window",
        label: "Keep the last tokens only",
        group: "intervene",
        kind: Kind::Integer {
            min: 0,
            max: MAX_CONTEXT as i64,
            log: true,
        },
        default: "0",
        unit: "tokens",
        help: "The state holds exactly the last r tokens, by state difference (Stuffed Mamba, mitigation 3); 0 is off.",
        comparable: true,
        when: &[],
        suggest: "512",
    },
    Property {
        id: "normalise-at",
        label: "Cap the state at its norm after",
        group: "intervene",
        kind: Kind::Integer {
            min: 0,
            max: MAX_CONTEXT as i64,
            log: true,
        },
        default: "0",
        unit: "tokens",
        help: "Each head's state is scaled down to the norm that it had after this many tokens whenever it is larger, every 128 tokens (Stuffed Mamba, mitigation 2; calibrated on this very input); 0 is off.",
        comparable: true,
        when: &[],
        suggest: "128",
    },
    Property {
        id: "filter",
        label: "Filter global heads for length",
        group: "intervene",
        kind: Kind::Integer {
            min: 0,
            max: MAX_CONTEXT as i64,
            log: true,
        },
        default: "0",
        unit: "tokens",
        help: "On global heads, tokens with a small step are skipped so that the decay over this length is what it was over the training length (LongMamba, arXiv 2504.16053); 0 is off.",
        comparable: true,
        when: &[],
        suggest: "4096",
    },
    Property {
        id: "backend",
        label: "Back end",
        group: "run",
        kind: Kind::Choice {
            choices: &[
                choice("auto", "Automatic"),
                choice("cpu", "CPU (SIMD)"),
                choice("gpu", "GPU (WebGPU)"),
            ],
        },
        default: "auto",
        unit: "",
        help: "Automatic measures both and takes the faster one.",
        comparable: false,
        when: &[],
        suggest: "",
    },
];

/// Values of all settings, as they stand in a URL; run B has keys `b.<id>`.
///
/// Only values that differ from the default are held, so that equality is equality of states and
/// a link is as short as can be.
#[derive(Clone, Debug)]
pub struct Settings {
    list: &'static [Property],
    values: ById<String>,
}

impl Default for Settings {
    /// The settings of the lab, all at their defaults.
    fn default() -> Settings {
        Settings::of(PROPERTIES)
    }
}

impl PartialEq for Settings {
    fn eq(&self, other: &Settings) -> bool {
        self.values == other.values
    }
}

impl Eq for Settings {}

/// The property with this id.
pub fn property(id: &str) -> Option<&'static Property> {
    PROPERTIES.iter().find(|p| p.id == id)
}

impl Property {
    /// The value as it is kept, or a sentence that says why it cannot be and what can.
    pub fn check(&self, value: &str) -> Result<String, String> {
        let bounded = |v: f64, min: f64, max: f64| {
            if v >= min && v <= max {
                Ok(())
            } else {
                Err(format!(
                    "{} = {} is out of range: give a value from {min} to {max}",
                    self.id,
                    shorten(value)
                ))
            }
        };
        match &self.kind {
            Kind::Choice { choices } => {
                if choices.iter().any(|c| c.id == value) {
                    return Ok(value.to_owned());
                }
                let ids: Vec<&str> = choices.iter().map(|c| c.id).collect();
                Err(format!(
                    "{} = {} is not known: give one of {}",
                    self.id,
                    shorten(value),
                    ids.join(", ")
                ))
            }
            Kind::Integer { min, max, .. } => {
                let v: i64 = value.trim().parse().map_err(|_| {
                    format!("{} = {} is not a whole number", self.id, shorten(value))
                })?;
                bounded(v as f64, *min as f64, *max as f64)?;
                Ok(v.to_string())
            }
            Kind::Number { min, max, .. } => {
                let v: f64 = value
                    .trim()
                    .parse()
                    .map_err(|_| format!("{} = {} is not a number", self.id, shorten(value)))?;
                bounded(v, *min, *max)?;
                // "-0" and "0" are one state.
                Ok(if v == 0.0 {
                    "0".to_owned()
                } else {
                    v.to_string()
                })
            }
            Kind::Text { max_bytes } => {
                if value.len() <= *max_bytes {
                    return Ok(value.to_owned());
                }
                Err(format!(
                    "{} is {} bytes long: at most {max_bytes} fit, open a longer text as a file",
                    self.id,
                    value.len()
                ))
            }
        }
    }
}

/// At most 40 characters of a value, quoted, for a sentence about it.
fn shorten(value: &str) -> String {
    let mut out: String = value.chars().take(40).collect();
    if out.len() < value.len() {
        out.push('…');
    }
    format!("“{out}”")
}

impl Settings {
    /// All at their defaults, for a list of properties: the lab's, or an exhibit's.
    pub fn of(list: &'static [Property]) -> Settings {
        Settings {
            list,
            values: ById::default(),
        }
    }

    /// The property with this id.
    pub fn property(&self, id: &str) -> Option<&'static Property> {
        self.list.iter().find(|p| p.id == id)
    }

    /// The value of `id` for run A (`b.<id>` for run B), its default if nothing was said.
    ///
    /// # Panics
    /// If `id` is not the id of a property: that is a mistake in the program, not in its input.
    pub fn get(&self, id: &str) -> &str {
        if let Some(value) = self.values.get(id) {
            return value;
        }
        let plain = id.strip_prefix("b.").unwrap_or(id);
        if plain != id {
            return self.get(plain);
        }
        self.property(plain).expect("a setting in the list").default
    }

    /// A whole-number setting.
    pub fn integer(&self, id: &str) -> i64 {
        self.get(id).parse().unwrap_or_default()
    }

    /// A number setting.
    pub fn number(&self, id: &str) -> f64 {
        self.get(id).parse().unwrap_or_default()
    }

    /// True if run B differs from run A, so that two runs are compared.
    pub fn compares(&self) -> bool {
        self.values.iter().any(|(id, _)| id.starts_with("b."))
    }

    /// The settings of one run alone: of run B with its own values in the places of run A's.
    pub fn run(&self, b: bool) -> Settings {
        let mut out = Settings::of(self.list);
        for p in self.list {
            let id = if b {
                format!("b.{}", p.id)
            } else {
                p.id.to_owned()
            };
            let value = self.get(&id);
            if value != p.default {
                out.values.insert(p.id, value.to_owned());
            }
        }
        out
    }

    /// Sets one value. On an unknown name or impossible value nothing changes and the sentence
    /// says what is wrong and what is possible.
    pub fn set(&mut self, id: &str, value: &str) -> Result<(), String> {
        let plain = id.strip_prefix("b.").unwrap_or(id);
        let Some(p) = self.property(plain) else {
            return Err(format!("there is no setting {}", shorten(id)));
        };
        if plain != id && !p.comparable {
            return Err(format!(
                "{plain} is common to both runs: set it without “b.”"
            ));
        }
        let value = p.check(value)?;
        let base = if plain == id {
            p.default
        } else {
            self.get(plain)
        };
        if value == base {
            self.values.remove(id);
        } else {
            self.values.insert(id, value);
        }
        Ok(())
    }

    /// Reads the query part of a URL (with or without `?`). What cannot be used is left at its
    /// default and named in a sentence. Bounded: at most 64 keys and 16 KiB are read.
    pub fn from_query(query: &str) -> (Settings, Vec<String>) {
        Settings::read(PROPERTIES, query)
    }

    /// The same for any list of properties.
    pub fn read(list: &'static [Property], query: &str) -> (Settings, Vec<String>) {
        let mut settings = Settings::of(list);
        let mut notices = Vec::new();
        let query = query.strip_prefix('?').unwrap_or(query);
        if query.len() > 16 * 1024 {
            notices.push("the link is longer than 16 KiB: nothing of it was used".to_owned());
            return (settings, notices);
        }
        let mut pairs: Vec<(String, String)> = Vec::new();
        for (i, part) in query.split('&').filter(|s| !s.is_empty()).enumerate() {
            if i == 64 {
                notices.push("the link has more than 64 keys: the rest was not used".to_owned());
                break;
            }
            let (key, value) = part.split_once('=').unwrap_or((part, ""));
            match (decode(key), decode(value)) {
                (Some(k), Some(v)) => pairs.push((k, v)),
                _ => notices.push(format!(
                    "{} is not UTF-8 text and was not used",
                    shorten(part)
                )),
            }
        }
        // Run A first: a value of run B is kept only where it differs from run A's.
        let (b, a): (Vec<_>, Vec<_>) = pairs.into_iter().partition(|(k, _)| k.starts_with("b."));
        for (k, v) in a.into_iter().chain(b) {
            if let Err(sentence) = settings.set(&k, &v) {
                let kept = k.strip_prefix("b.").unwrap_or(&k);
                match settings.property(kept) {
                    Some(_) => notices.push(format!(
                        "{sentence}; {} is used instead",
                        shorten(settings.get(&k))
                    )),
                    None => notices.push(format!("{sentence}; it was left out")),
                }
            }
        }
        (settings, notices)
    }

    /// The query part of a URL, without `?`; empty if every value is the default.
    pub fn to_query(&self) -> String {
        let mut out = String::new();
        for (k, v) in self.values.iter() {
            if !out.is_empty() {
                out.push('&');
            }
            encode(k, &mut out);
            out.push('=');
            encode(v, &mut out);
        }
        out
    }
}

fn decode(s: &str) -> Option<String> {
    let bytes = s.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut i = 0;
    while i < bytes.len() {
        match bytes[i] {
            b'+' => out.push(b' '),
            b'%' => {
                let hex = s.get(i + 1..i + 3)?;
                // `from_str_radix` would take a sign.
                if !hex.bytes().all(|b| b.is_ascii_hexdigit()) {
                    return None;
                }
                out.push(u8::from_str_radix(hex, 16).ok()?);
                i += 2;
            }
            b => out.push(b),
        }
        i += 1;
    }
    String::from_utf8(out).ok()
}

fn encode(s: &str, out: &mut String) {
    for &b in s.as_bytes() {
        if b.is_ascii_alphanumeric() || b"-._~".contains(&b) {
            out.push(b as char);
        } else {
            let _ = write!(out, "%{b:02X}");
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn defaults_are_possible_values() {
        for p in PROPERTIES {
            assert_eq!(p.check(p.default).as_deref(), Ok(p.default), "{}", p.id);
        }
    }

    #[test]
    fn conditions_and_suggestions_are_possible_values() {
        for p in PROPERTIES {
            for condition in p.when {
                let (id, value) = condition.split_once('=').expect("id=value");
                let other = property(id).unwrap_or_else(|| panic!("{}: no setting {id}", p.id));
                let Some(start) = value.strip_suffix('*') else {
                    assert_eq!(other.check(value).as_deref(), Ok(value), "{}", p.id);
                    continue;
                };
                let Kind::Choice { choices } = &other.kind else {
                    panic!("{}: only a choice has values that begin so", p.id);
                };
                assert!(choices.iter().any(|c| c.id.starts_with(start)), "{}", p.id);
            }
            if !p.suggest.is_empty() {
                assert_eq!(p.check(p.suggest).as_deref(), Ok(p.suggest), "{}", p.id);
                assert_ne!(p.suggest, p.default, "{}", p.id);
            }
        }
    }

    #[test]
    fn unknown_and_impossible_values_are_named_and_replaced() {
        let (s, notices) = Settings::from_query(
            "?context=9&model=gpt&colour=red&decay-factor=NaN&layer=1e3&b.seed=3&text=%ff&depth=.25",
        );
        assert_eq!(s.get("context"), "4096");
        assert_eq!(s.number("depth"), 0.25);
        assert_eq!(notices.len(), 7, "{notices:?}");
        for (notice, word) in notices.iter().zip(["text", "context", "model", "colour"]) {
            assert!(notice.contains(word), "{notice} should name {word}");
        }
    }

    #[test]
    fn run_b_falls_back_on_run_a() {
        let (s, _) = Settings::from_query("b.decay-factor=0.99&window=512&model=random-gla");
        assert!(s.compares());
        assert_eq!(s.run(true).get("window"), "512");
        assert_eq!(s.run(true).number("decay-factor"), 0.99);
        assert_eq!(s.run(false).number("decay-factor"), 1.0);
        assert!(!s.run(true).compares());
    }

    proptest! {
        #[test]
        fn any_query_is_read_and_comes_back(q in "\\PC{0,200}") {
            let (s, _) = Settings::from_query(&q);
            let (again, notices) = Settings::from_query(&s.to_query());
            prop_assert_eq!(&again, &s);
            prop_assert!(notices.is_empty(), "{:?}", notices);
        }

        #[test]
        fn possible_states_come_back(
            context in MIN_CONTEXT as i64..=MAX_CONTEXT as i64,
            factor in 0.5f64..=1.0,
            b_factor in 0.5f64..=1.0,
            text in "\\PC{0,100}",
        ) {
            let mut s = Settings::default();
            s.set("context", &context.to_string()).unwrap();
            s.set("decay-factor", &factor.to_string()).unwrap();
            s.set("b.decay-factor", &b_factor.to_string()).unwrap();
            s.set("text", &text).unwrap();
            let (again, notices) = Settings::from_query(&s.to_query());
            prop_assert_eq!(again, s);
            prop_assert!(notices.is_empty());
        }
    }
}
