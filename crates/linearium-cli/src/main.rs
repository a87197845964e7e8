//! `linearium`: the lab without a browser, one file for each command.

mod arguments;
mod backend;
mod bench;
mod canary;
mod claims;
mod exhibit;
mod files;
mod generate;
mod logits;
mod mixers;
mod models;
mod picture;
mod probe;
mod prune;
mod prune_image;
mod safetensors;
mod scaling;

use std::io::{self, Write};
use std::process::ExitCode;

use arguments::{Arguments, Flag};

/// Why a command ended without its result.
#[derive(Debug)]
enum Failure {
    /// The command line cannot be understood: status 2.
    Usage(String),
    /// Anything else: status 1.
    Other(String),
    /// Whoever read the output has had enough: status 0, nothing is said.
    Closed,
}

type Outcome = Result<(), Failure>;

impl From<String> for Failure {
    fn from(sentence: String) -> Failure {
        Failure::Other(sentence)
    }
}

impl From<io::Error> for Failure {
    /// Of the standard output; files have sentences of their own.
    fn from(e: io::Error) -> Failure {
        match e.kind() {
            io::ErrorKind::BrokenPipe => Failure::Closed,
            _ => Failure::Other(format!("the output cannot be written: {e}")),
        }
    }
}

/// A command.
struct Command {
    name: &'static str,
    operand: Option<Operand>,
    about: &'static str,
    flags: fn() -> Vec<Flag>,
    run: fn(&Arguments) -> Outcome,
}

/// What stands behind the name of a command, before the flags.
struct Operand {
    name: &'static str,
    /// What it may be.
    choices: fn() -> Vec<&'static str>,
    /// True if there may be any number of them, also none.
    many: bool,
}

static COMMANDS: &[Command] = &[
    Command {
        name: "logits",
        operand: None,
        about: "Writes the logits and the losses of a model over a text as safetensors.",
        flags: logits::flags,
        run: logits::run,
    },
    Command {
        name: "probe",
        operand: Some(Operand {
            name: "PANEL",
            choices: probe::panels,
            many: false,
        }),
        about: "Writes what a panel of the lab draws: the same numbers as on the page.",
        flags: probe::flags,
        run: probe::run,
    },
    Command {
        name: "prune",
        operand: None,
        about: "Drops tokens of a text or an image and tells what that costs and saves.",
        flags: prune::flags,
        run: prune::run,
    },
    Command {
        name: "generate",
        operand: None,
        about: "Continues a prompt with a model that reads bytes; prints the text as it comes.",
        flags: generate::flags,
        run: generate::run,
    },
    Command {
        name: "bench",
        operand: None,
        about: "Measures tokens a second of prefill and milliseconds a token of decoding.",
        flags: bench::flags,
        run: bench::run,
    },
    Command {
        name: "scaling",
        operand: None,
        about: "Measures time and memory of every mixer from 1,024 tokens to a million.",
        flags: scaling::flags,
        run: scaling::run,
    },
    Command {
        name: "mixers",
        operand: None,
        about: "Compares all mixers: state, decay, what each can erase, reach, measured time.",
        flags: mixers::flags,
        run: mixers::run,
    },
    Command {
        name: "exhibit",
        operand: Some(Operand {
            name: "SLUG",
            choices: exhibit::slugs,
            many: false,
        }),
        about: "Runs a paper: the same views and numbers as on its page.",
        flags: exhibit::flags,
        run: exhibit::run,
    },
    Command {
        name: "claims",
        operand: Some(Operand {
            name: "SLUG",
            choices: exhibit::slugs,
            many: true,
        }),
        about: "Measures what the papers claim; status 1 if one that must hold here does not.",
        flags: claims::flags,
        run: claims::run,
    },
    Command {
        name: "canary",
        operand: None,
        about: "Checks every kernel on the GPU against its CPU twin.",
        flags: canary::flags,
        run: canary::run,
    },
];

fn main() -> ExitCode {
    let (sentence, status) = match dispatch() {
        Ok(()) | Err(Failure::Closed) => return ExitCode::SUCCESS,
        Err(Failure::Usage(sentence)) => (sentence, 2),
        Err(Failure::Other(sentence)) => (sentence, 1),
    };
    note(&sentence);
    ExitCode::from(status)
}

/// Says something on stderr, on one line whatever is in it.
fn note(sentence: &str) {
    let line: String = sentence
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    // There is nobody left to tell if stderr is closed.
    let _ = writeln!(io::stderr(), "linearium: {line}");
}

/// Prints a line.
fn say(line: &str) -> Outcome {
    Ok(writeln!(io::stdout(), "{line}")?)
}

fn dispatch() -> Outcome {
    let mut arguments = std::env::args_os().skip(1);
    let name = arguments.next().unwrap_or_default();
    let name = name.to_string_lossy();
    match name.as_ref() {
        "--help" | "-h" | "help" => return say(&overview()),
        "--version" | "-V" => return say(concat!("linearium ", env!("CARGO_PKG_VERSION"))),
        _ => {}
    }
    let Some(command) = COMMANDS.iter().find(|c| c.name == name) else {
        let known: Vec<&str> = COMMANDS.iter().map(|c| c.name).collect();
        let wrong = match name.as_ref() {
            "" => "no command is given".to_owned(),
            name => format!("there is no command “{name}”"),
        };
        return Err(Failure::Usage(format!(
            "{wrong}: give one of {}, or --help",
            known.join(", ")
        )));
    };
    match Arguments::read(command, arguments)? {
        Some(arguments) => (command.run)(&arguments),
        None => say(&arguments::help(command)),
    }
}

fn overview() -> String {
    let mut out = "Linear-time sequence mixers, seen from inside as their context grows.\n\n\
                   usage: linearium COMMAND [--flag value ...]\n"
        .to_owned();
    for c in COMMANDS {
        out += &format!("\n  {:<10} {}", c.name, c.about);
    }
    out + "\n\nlinearium COMMAND --help lists the flags of a command; --version gives the version."
}
