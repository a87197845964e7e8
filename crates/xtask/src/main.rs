//! `cargo xtask`: the project's own commands, one file each.

mod audit;
mod bench;
mod bench_drag;
mod bench_setup;
mod build;
mod check;
mod licence;
mod new;
mod notebook;
mod process;
mod serve;
mod setup;
mod size;
mod test;
mod test_report;
mod tree;

use process::Outcome;
use std::process::ExitCode;
use tree::Tree;

const USAGE: &str = "\
usage: cargo xtask COMMAND

  serve [--port N] [--no-open]   set up, build the wasm and the page, and serve it
  test [STAGE...] [FILTER...]    run every test there is, or some: native, gpu, wasm, browser, package, notebook
  check                          format, lints, types, licences and advisories, size budget
  new exhibit SLUG               the two files of an exhibit, which pass the suite as they are
  notebook                       the Python package of the notebook widget, as a wheel
  size                           gzipped size of the wasm and of the first load, against its budget
  bench [CASE...] [--rounds N] [--seconds S] [--json FILE]
                                 our code against its peers in the same run, as ratios,
                                 and how soon the page answers a drag";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match dispatch(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            // A command that has said everything already fails with an empty message.
            if !message.is_empty() {
                eprintln!("error: {message}");
            }
            ExitCode::FAILURE
        }
    }
}

fn dispatch(arguments: &[String]) -> Outcome<()> {
    let Some((command, rest)) = arguments.split_first() else {
        return Err(format!("no command given\n\n{USAGE}"));
    };
    let tree = Tree::find()?;
    match command.as_str() {
        "serve" => serve::run(&tree, rest),
        "test" => test::run(&tree, rest),
        "check" => check::run(&tree, rest),
        "size" => size::run(&tree, rest),
        "bench" => bench::run(&tree, rest),
        "notebook" => notebook::run(&tree, rest),
        "new" => new::run(&tree, rest),
        "help" | "--help" | "-h" => {
            println!("{USAGE}");
            Ok(())
        }
        unknown => Err(format!("there is no command `{unknown}`\n\n{USAGE}")),
    }
}
