//! `cargo xtask serve`: the page, built and served on this machine.

use crate::build;
use crate::process::{self, Outcome};
use crate::tree::Tree;
use std::io::IsTerminal;
use std::net::TcpListener;

const DEFAULT_PORT: u16 = 4173;

struct Options {
    port: u16,
    open: bool,
}

/// Builds what is not current and serves it until stopped.
pub fn run(tree: &Tree, arguments: &[String]) -> Outcome<()> {
    let options = parse(arguments)?;
    // Asked before the build, which may take minutes.
    TcpListener::bind(("127.0.0.1", options.port)).map_err(|error| {
        format!(
            "port {} cannot be served on ({error}): choose another with `cargo xtask serve --port N`",
            options.port
        )
    })?;
    build::all(tree)?;
    let mut vite = process::in_directory("node", &tree.at("web"));
    vite.args([
        "node_modules/vite/bin/vite.js",
        "preview",
        "--host",
        "127.0.0.1",
        "--strictPort",
        "--port",
    ]);
    vite.arg(options.port.to_string());
    if options.open {
        vite.arg("--open");
    }
    println!(
        "serving http://127.0.0.1:{}/ (Ctrl+C stops it)",
        options.port
    );
    process::run(&mut vite)
}

fn parse(arguments: &[String]) -> Outcome<Options> {
    // A server or a test has no browser to open.
    let desktop = std::io::stdout().is_terminal()
        && (cfg!(target_os = "macos")
            || ["DISPLAY", "WAYLAND_DISPLAY"]
                .iter()
                .any(|name| std::env::var_os(name).is_some()));
    let mut options = Options {
        port: DEFAULT_PORT,
        open: desktop,
    };
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--no-open" => options.open = false,
            "--port" => {
                options.port = words
                    .next()
                    .and_then(|port| port.parse().ok())
                    .filter(|port| *port != 0)
                    .ok_or("--port needs a number from 1 to 65535 after it")?;
            }
            unknown => {
                return Err(format!(
                    "serve does not know `{unknown}`: it takes --port N and --no-open"
                ));
            }
        }
    }
    Ok(options)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn port_and_no_open_are_read() {
        let options = parse(&words("--port 8080 --no-open")).expect("valid");
        assert_eq!((options.port, options.open), (8080, false));
        assert_eq!(parse(&[]).expect("valid").port, DEFAULT_PORT);
    }

    #[test]
    fn what_cannot_be_a_port_is_refused() {
        for wrong in [
            "--port",
            "--port 0",
            "--port 70000",
            "--port web",
            "--prot 80",
        ] {
            assert!(parse(&words(wrong)).is_err(), "{wrong}");
        }
    }
}
