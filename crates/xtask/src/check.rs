//! `cargo xtask check`: everything about the source that needs no test run.

use crate::audit;
use crate::build;
use crate::process::{self, Outcome};
use crate::setup;
use crate::size;
use crate::tree::{self, Tree};
use std::time::Instant;

type Step = (&'static str, fn(&Tree) -> Outcome<()>);

/// In the order of how soon each has an answer; the build stands before what reads its result.
const STEPS: [Step; 11] = [
    ("format", format),
    ("lock file origins", audit::lock_origins),
    ("crate licences", audit::crates),
    ("clippy", clippy),
    ("clippy for wasm", clippy_wasm),
    ("npm licences", npm_licences),
    ("advisories", audit::advisories),
    ("build", build::all),
    ("types", |tree| npm_script(tree, "typecheck")),
    ("lint and format of the page", lint_page),
    ("size budget", size::measure),
];

/// Runs every step, whatever the others say, and fails if one did.
pub fn run(tree: &Tree, arguments: &[String]) -> Outcome<()> {
    if let Some(word) = arguments.first() {
        return Err(format!(
            "check does not know `{word}`: it takes no arguments"
        ));
    }
    let mut failed = Vec::new();
    for (name, step) in STEPS {
        println!("\n=== {name}");
        let started = Instant::now();
        let result = step(tree);
        let seconds = started.elapsed().as_secs_f64();
        match result {
            Ok(()) => println!("=== {name}: good in {seconds:.0} s"),
            Err(error) => {
                eprintln!("error: {error}");
                println!("=== {name}: FAILED in {seconds:.0} s");
                failed.push(name);
            }
        }
    }
    println!();
    if failed.is_empty() {
        println!("check: all {} steps are good", STEPS.len());
        Ok(())
    } else {
        Err(format!(
            "check failed in {} of {} steps: {}",
            failed.len(),
            STEPS.len(),
            failed.join(", ")
        ))
    }
}

fn format(tree: &Tree) -> Outcome<()> {
    process::run(process::cargo(tree.root()).args(["fmt", "--all", "--check"]))
        .map_err(|error| format!("{error}: `cargo fmt --all` mends it"))?;
    // The build declares these modules, so `cargo fmt` does not know of them.
    let mut rustfmt = process::in_directory("rustfmt", tree.root());
    rustfmt.args(["--edition", "2024", "--check"]);
    let files = tree::files(&tree.at("crates/linearium/src/exhibits"), &[])?;
    process::run(rustfmt.args(files)).map_err(|error| {
        format!("{error}: `rustfmt --edition 2024 crates/linearium/src/exhibits/*.rs` mends it")
    })
}

fn clippy(tree: &Tree) -> Outcome<()> {
    let words = [
        "clippy",
        "--quiet",
        "--locked",
        "--workspace",
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ];
    process::run(process::cargo(tree.root()).args(words))
}

fn clippy_wasm(tree: &Tree) -> Outcome<()> {
    setup::wasm_target(tree)?;
    // The engine of the first load and the complete one are different code.
    for features in ["", "complete"] {
        let mut cargo = process::cargo(tree.root());
        cargo.args([
            "clippy",
            "--quiet",
            "--locked",
            "--package",
            "linearium-web",
        ]);
        cargo.args(["--lib", "--features", features]);
        if features == "complete" {
            cargo.arg("--all-targets");
        }
        cargo.args(["--target", "wasm32-unknown-unknown", "--", "-D", "warnings"]);
        process::run(&mut cargo)?;
    }
    Ok(())
}

fn npm_licences(tree: &Tree) -> Outcome<()> {
    setup::npm_packages(tree)?;
    audit::npm(tree)
}

fn lint_page(tree: &Tree) -> Outcome<()> {
    npm_script(tree, "lint")?;
    npm_script(tree, "format:check")
        .map_err(|error| format!("{error}: `npm run format` in web/ mends it"))
}

fn npm_script(tree: &Tree, script: &str) -> Outcome<()> {
    process::run(process::in_directory("npm", &tree.at("web")).args(["run", "--silent", script]))
}
