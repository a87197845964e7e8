//! Writes every hostile model as a folder of `config.json`, `model.safetensors` and
//! `expected.txt`, whose lines must all stand in the sentence about it, for the tests of the
//! command line and of the page: `cargo run -p linearium --example hostile_files -- DIR`.

#[path = "../tests/checkpoints/hostile/mod.rs"]
mod hostile;

use std::{env, fs, path::PathBuf, process::ExitCode};

fn main() -> ExitCode {
    let Some(dir) = env::args_os().nth(1).map(PathBuf::from) else {
        eprintln!(
            "give the directory to write into: cargo run -p linearium --example hostile_files -- DIR"
        );
        return ExitCode::FAILURE;
    };
    let cases = hostile::cases();
    for case in &cases {
        let folder = dir.join(&case.name);
        let written = fs::create_dir_all(&folder)
            .and_then(|()| fs::write(folder.join("config.json"), &case.config))
            .and_then(|()| fs::write(folder.join("model.safetensors"), &case.model))
            .and_then(|()| fs::write(folder.join("expected.txt"), case.expected.join("\n")));
        if let Err(e) = written {
            eprintln!("{} cannot be written: {e}", folder.display());
            return ExitCode::FAILURE;
        }
    }
    println!("{} hostile models in {}", cases.len(), dir.display());
    ExitCode::SUCCESS
}
