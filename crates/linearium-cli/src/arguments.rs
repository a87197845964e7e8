//! The command line: a list of flags for each command, from which it is read and explained.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};

use linearium::settings::{Kind, Property};

use crate::{Command, Failure, Operand};

/// A flag of a command; every flag takes a value.
pub struct Flag {
    /// Its name without the dashes.
    pub name: String,
    /// What the value is, for `--help`.
    pub value: String,
    /// One sentence.
    pub help: String,
    /// True if it may be given more than once.
    pub many: bool,
}

impl Flag {
    /// A flag that may be given once.
    pub fn new(name: &str, value: &str, help: &str) -> Flag {
        Flag {
            name: name.to_owned(),
            value: value.to_owned(),
            help: help.to_owned(),
            many: false,
        }
    }

    /// The flag of a setting of the lab.
    pub fn of(property: &Property) -> Flag {
        let value = match &property.kind {
            Kind::Choice { choices } => {
                let ids: Vec<&str> = choices.iter().map(|c| c.id).collect();
                ids.join("|")
            }
            Kind::Integer { min, max, .. } => format!("{min}..{max}"),
            Kind::Number { min, max, .. } => format!("{min}..{max}"),
            Kind::Text { .. } => "TEXT".to_owned(),
        };
        let help = format!("{} Default: {}.", property.help, property.default);
        Flag::new(property.id, &value, &help)
    }
}

/// What was given.
#[derive(Debug)]
pub struct Arguments {
    /// What stood behind the name of the command: one word, or as many as its operand allows.
    pub operands: Vec<String>,
    values: BTreeMap<String, Vec<OsString>>,
}

impl Arguments {
    /// Reads what stands behind the name of a command; nothing if help is asked for.
    pub fn read(
        command: &Command,
        given: impl Iterator<Item = OsString>,
    ) -> Result<Option<Arguments>, Failure> {
        let name = command.name;
        let flags = (command.flags)();
        let mut out = Arguments {
            operands: Vec::new(),
            values: BTreeMap::new(),
        };
        let mut given = given.peekable();
        while let Some(argument) = given.next() {
            let text = argument.to_string_lossy();
            if matches!(text.as_ref(), "--help" | "-h") {
                return Ok(None);
            }
            let Some(flag) = text.strip_prefix("--") else {
                if command
                    .operand
                    .as_ref()
                    .is_some_and(|o| o.many || out.operands.is_empty())
                {
                    out.operands.push(text.into_owned());
                    continue;
                }
                return Err(Failure::Usage(format!(
                    "“{text}” is not a flag of `linearium {name}`: flags begin with --, see `linearium {name} --help`"
                )));
            };
            let (flag, inline) = split(flag, &argument);
            let Some(known) = flags.iter().find(|f| f.name == flag) else {
                let names: Vec<String> = flags.iter().map(|f| format!("--{}", f.name)).collect();
                return Err(Failure::Usage(format!(
                    "`linearium {name}` has no flag --{flag}: it has {}",
                    names.join(", ")
                )));
            };
            let Some(value) = inline.or_else(|| given.next()) else {
                return Err(Failure::Usage(format!(
                    "--{flag} needs a value: {}",
                    known.value
                )));
            };
            let values = out.values.entry(flag.to_owned()).or_default();
            if !values.is_empty() && !known.many {
                return Err(Failure::Usage(format!("--{flag} is given twice")));
            }
            values.push(value);
        }
        let Some(Operand {
            name: operand,
            choices,
            many,
        }) = &command.operand
        else {
            return Ok(Some(out));
        };
        let choices = choices();
        let unknown = out.operands.iter().find(|o| !choices.contains(&o.as_str()));
        let wrong = match unknown {
            Some(given) => format!("there is no {operand} “{given}”"),
            None if out.operands.is_empty() && !many => {
                format!("`linearium {name}` needs a {operand}")
            }
            None => return Ok(Some(out)),
        };
        Err(Failure::Usage(format!(
            "{wrong}: give one of {}",
            choices.join(", ")
        )))
    }

    /// The one word behind the name of the command, or nothing.
    pub fn operand(&self) -> &str {
        self.operands.first().map_or("", String::as_str)
    }

    /// The value of a flag as it was given, if it was.
    pub fn raw(&self, flag: &str) -> Option<&OsStr> {
        self.all(flag).first().map(OsString::as_os_str)
    }

    /// All values of a flag.
    pub fn all(&self, flag: &str) -> &[OsString] {
        self.values.get(flag).map_or(&[], Vec::as_slice)
    }

    /// The value of a flag that must be there.
    pub fn required(&self, flag: &str, what: &str) -> Result<&OsStr, Failure> {
        self.raw(flag)
            .ok_or_else(|| Failure::Usage(format!("--{flag} is missing: give {what}")))
    }

    /// The value of a flag as text.
    pub fn text(&self, flag: &str) -> Result<Option<&str>, Failure> {
        self.raw(flag)
            .map(|v| {
                v.to_str()
                    .ok_or_else(|| Failure::Usage(format!("--{flag} is not UTF-8 text")))
            })
            .transpose()
    }

    /// The value of a flag as a whole number from `min` to `max`.
    pub fn integer(&self, flag: &str, min: usize, max: usize) -> Result<Option<usize>, Failure> {
        self.number_in(flag, "a whole number", min, max)
    }

    /// The value of a flag as a number from `min` to `max`.
    pub fn number(&self, flag: &str, min: f64, max: f64) -> Result<Option<f64>, Failure> {
        self.number_in(flag, "a number", min, max)
    }

    fn number_in<N: std::str::FromStr + PartialOrd + std::fmt::Display>(
        &self,
        flag: &str,
        what: &str,
        min: N,
        max: N,
    ) -> Result<Option<N>, Failure> {
        let Some(text) = self.text(flag)? else {
            return Ok(None);
        };
        match text.trim().parse::<N>() {
            Ok(n) if n >= min && n <= max => Ok(Some(n)),
            _ => Err(Failure::Usage(format!(
                "--{flag} = “{text}” cannot be: give {what} from {min} to {max}"
            ))),
        }
    }
}

/// `name=value`, whose value may be anything, or `name` alone.
fn split<'a>(flag: &'a str, argument: &OsString) -> (&'a str, Option<OsString>) {
    match flag.split_once('=') {
        None => (flag, None),
        Some((name, lossy)) => {
            let exact = argument
                .to_str()
                .and_then(|a| a.split_once('='))
                .map(|(_, value)| value.into());
            (name, Some(exact.unwrap_or_else(|| lossy.into())))
        }
    }
}

/// The flags of a command with what they mean.
pub fn help(command: &Command) -> String {
    let operand = match &command.operand {
        Some(o) if o.many => {
            format!(" [{} ...] (any of {})", o.name, (o.choices)().join(", "))
        }
        Some(o) => format!(" {} (one of {})", o.name, (o.choices)().join(", ")),
        None => String::new(),
    };
    let mut out = format!(
        "{}\n\nusage: linearium {}{operand} [--flag value ...]\n",
        command.about, command.name
    );
    for f in (command.flags)() {
        let more = if f.many { " (may be repeated)" } else { "" };
        out += &format!("\n  --{} {}{more}\n      {}", f.name, f.value, f.help);
    }
    out
}
