//! JSON from strangers: bounded in depth and in number of values, with duplicate keys found.
//!
//! `serde_json` alone keeps the last of two equal keys in silence, so that two readers of one
//! file may see two different models; here the second one is an error that names the key.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

/// A JSON value; an object keeps the order of its keys, which are all different.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Json {
    Null,
    Bool(bool),
    /// A whole number from 0 to 2⁶⁴-1, exactly.
    Count(u64),
    /// Every other number.
    Number(f64),
    Text(String),
    List(Vec<Json>),
    Object(Vec<(String, Json)>),
}

impl Json {
    /// What the value is, for a sentence about it.
    pub(super) fn describe(&self) -> String {
        match self {
            Json::Null => "null".to_owned(),
            Json::Bool(b) => b.to_string(),
            Json::Count(n) => n.to_string(),
            Json::Number(x) => x.to_string(),
            Json::Text(s) => format!("the text {}", quote(s)),
            Json::List(_) => "a list".to_owned(),
            Json::Object(_) => "an object".to_owned(),
        }
    }
}

/// A name or value out of a file as it may stand in a sentence: quoted, of one line, of at most
/// 80 characters.
pub(super) fn quote(s: &str) -> String {
    let mut out = String::from("“");
    for (i, c) in s.chars().enumerate() {
        if i == 80 {
            out.push('…');
            break;
        }
        // Newlines and direction marks in a name must not reshape the message around it.
        match c {
            '\'' | '"' | '\\' => out.push(c),
            c => out.extend(c.escape_debug()),
        }
    }
    out.push('”');
    out
}

/// Words in a sentence: `a, b or c`.
pub(super) fn listed(words: &[&str], conjunction: &str) -> String {
    match words {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [first @ .., last] => format!("{} {conjunction} {last}", first.join(", ")),
    }
}

/// Reads one JSON value of at most `depth` nested lists and objects and as many values in all as
/// `budget` still holds. The seed of a value inside a larger document; see [`parse`] for a whole
/// document.
pub(super) struct Bounded<'a> {
    pub(super) depth: usize,
    pub(super) budget: &'a Cell<usize>,
}

impl<'de> DeserializeSeed<'de> for Bounded<'_> {
    type Value = Json;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Json, D::Error> {
        match self.budget.get().checked_sub(1) {
            Some(left) => self.budget.set(left),
            None => {
                return Err(de::Error::custom(
                    "there are more values than any model needs",
                ));
            }
        }
        deserializer.deserialize_any(self)
    }
}

impl Bounded<'_> {
    fn inner<E: de::Error>(&self) -> Result<Bounded<'_>, E> {
        match self.depth.checked_sub(1) {
            Some(depth) => Ok(Bounded {
                depth,
                budget: self.budget,
            }),
            None => Err(E::custom(
                "lists and objects are nested deeper than any model needs",
            )),
        }
    }
}

impl<'de> Visitor<'de> for Bounded<'_> {
    type Value = Json;
    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a JSON value")
    }
    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }
    fn visit_bool<E>(self, v: bool) -> Result<Json, E> {
        Ok(Json::Bool(v))
    }
    fn visit_u64<E>(self, v: u64) -> Result<Json, E> {
        Ok(Json::Count(v))
    }
    fn visit_i64<E>(self, v: i64) -> Result<Json, E> {
        Ok(u64::try_from(v).map_or(Json::Number(v as f64), Json::Count))
    }
    fn visit_f64<E>(self, v: f64) -> Result<Json, E> {
        Ok(Json::Number(v))
    }
    fn visit_str<E>(self, v: &str) -> Result<Json, E> {
        Ok(Json::Text(v.to_owned()))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Json, A::Error> {
        let mut list = Vec::new();
        while let Some(value) = seq.next_element_seed(self.inner()?)? {
            list.push(value);
        }
        Ok(Json::List(list))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Json, A::Error> {
        let mut object = Vec::new();
        let mut seen = BTreeSet::new();
        while let Some(key) = map.next_key::<String>()? {
            if !seen.insert(key.clone()) {
                return Err(duplicate(&key));
            }
            let value = map.next_value_seed(self.inner()?)?;
            object.push((key, value));
        }
        Ok(Json::Object(object))
    }
}

/// The error for a key that stands twice in one object.
pub(super) fn duplicate<E: de::Error>(key: &str) -> E {
    E::custom(format_args!("the key {} stands there twice", quote(key)))
}

/// Reads a whole document.
pub(super) fn parse(text: &str, depth: usize, values: usize) -> Result<Json, String> {
    let budget = Cell::new(values);
    parse_with(
        text,
        Bounded {
            depth,
            budget: &budget,
        },
    )
}

/// Reads a whole document with any seed. The error says what is wrong and at which byte of
/// `text`, without naming the file.
pub(super) fn parse_with<'de, S: DeserializeSeed<'de>>(
    text: &'de str,
    seed: S,
) -> Result<S::Value, String> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let result = seed.deserialize(&mut deserializer);
    result
        .and_then(|value| deserializer.end().map(|()| value))
        .map_err(|e| {
            let full = e.to_string();
            let place = format!(" at line {} column {}", e.line(), e.column());
            let message = full.strip_suffix(&place).unwrap_or(&full);
            let at = offset(text, e.line(), e.column());
            if e.is_eof() {
                format!("the JSON stops in the middle, at byte {at}")
            } else if e.is_data() {
                format!("{message}, at byte {at}")
            } else {
                format!("it is not valid JSON at byte {at}: {message}")
            }
        })
}

/// Byte offset of a line and column as `serde_json` counts them (lines from 1, bytes from 1).
fn offset(text: &str, line: usize, column: usize) -> usize {
    let before: usize = text
        .split_inclusive('\n')
        .take(line.saturating_sub(1))
        .map(str::len)
        .sum();
    (before + column.saturating_sub(1)).min(text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_keep_their_kind() {
        let text = r#"{"a":[0,18446744073709551615,-3,1.5,true,null,"x"],"b":{}}"#;
        let list = vec![
            Json::Count(0),
            Json::Count(u64::MAX),
            Json::Number(-3.0),
            Json::Number(1.5),
            Json::Bool(true),
            Json::Null,
            Json::Text("x".into()),
        ];
        let expected = Json::Object(vec![
            ("a".into(), Json::List(list)),
            ("b".into(), Json::Object(Vec::new())),
        ]);
        assert_eq!(parse(text, 2, 20).unwrap(), expected);
    }

    #[test]
    fn bounds_are_exact() {
        assert!(parse("[[1]]", 2, 3).is_ok());
        assert!(parse("[[1]]", 1, 3).unwrap_err().contains("deeper"));
        assert!(parse("[[1]]", 2, 2).unwrap_err().contains("more values"));
        assert!(parse("3", 0, 1).is_ok());
    }

    #[test]
    fn an_error_tells_its_byte() {
        assert_eq!(
            parse("{\"a\":1,\n\"a\":2}", 4, 9).unwrap_err(),
            "the key “a” stands there twice, at byte 10"
        );
        assert!(parse("[1,\n 2 3]", 4, 9).unwrap_err().contains("at byte 7"));
        assert!(
            parse("{\"é\":", 4, 9)
                .unwrap_err()
                .contains("stops in the middle")
        );
    }

    #[test]
    fn a_quoted_name_stays_on_one_line() {
        assert_eq!(quote("a\nb\u{202e}c"), "“a\\nb\\u{202e}c”");
        assert_eq!(quote(&"x".repeat(1000)).chars().count(), 83);
    }
}
