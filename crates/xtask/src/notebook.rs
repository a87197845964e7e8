//! `cargo xtask notebook`: the Python package of the notebook widget, as a wheel.

use crate::build;
use crate::process::{self, Outcome};
use crate::setup;
use crate::tree::{self, Tree};
use std::path::{Path, PathBuf};
use std::process::Command;

/// What the package is made from, beside the engines in pkg/.
const SOURCES: [&str; 10] = [
    "web/src",
    "web/content",
    "web/build",
    "web/fixtures/no-wasm.ts",
    "web/public/models",
    "web/package-lock.json",
    "web/vite.notebook.config.ts",
    "web/notebook/linearium",
    "web/notebook/pyproject.toml",
    "web/notebook/README.md",
];
const FOLDER: &str = "target/notebook/wheel";

/// Builds the wheel and says where it is.
pub fn run(tree: &Tree, arguments: &[String]) -> Outcome<()> {
    if let Some(word) = arguments.first() {
        return Err(format!(
            "notebook does not know `{word}`: it takes no arguments"
        ));
    }
    build::engines(tree)?;
    let wheel = wheel(tree, &setup::notebook_python(tree)?)?;
    let bytes = std::fs::metadata(&wheel).map_or(0, |file| file.len());
    println!(
        "notebook: {} has {:.1} MB; `pip install` takes it",
        wheel.display(),
        bytes as f64 / 1e6
    );
    Ok(())
}

/// The wheel, built with `python` unless nothing has changed; the engines in pkg/ must be there.
pub fn wheel(tree: &Tree, python: &Path) -> Outcome<PathBuf> {
    let mut sources: Vec<PathBuf> = build::engine_files()
        .iter()
        .map(|file| tree.at(file))
        .collect();
    sources.extend(SOURCES.map(|path| tree.at(path)));
    let inputs = tree::fingerprint(&sources, &["static", "__pycache__"])?;
    let folder = tree.at(FOLDER);
    if tree.is_current("notebook", inputs, std::slice::from_ref(&folder)) {
        println!("notebook: unchanged");
        return only_wheel(&folder);
    }
    println!("notebook: building the Python package of web/notebook");
    let web = tree.at("web");
    process::run(process::in_directory("npm", &web).args(["run", "--silent", "build:notebook"]))?;
    if folder.exists() {
        std::fs::remove_dir_all(&folder)
            .map_err(|error| format!("{} cannot be emptied: {error}", folder.display()))?;
    }
    let mut pip = Command::new(python);
    // The build back end is among what was set up, so nothing is fetched here.
    pip.args(["-m", "pip", "wheel", "--quiet", "--no-deps"])
        .args(["--no-build-isolation", "--disable-pip-version-check"])
        .arg("--wheel-dir")
        .arg(&folder)
        .arg(tree.at("web/notebook"));
    process::run(&mut pip)?;
    let wheel = only_wheel(&folder)?;
    tree.stamp("notebook", inputs, &[folder])?;
    Ok(wheel)
}

fn only_wheel(folder: &Path) -> Outcome<PathBuf> {
    let files = tree::files(folder, &[])?;
    match files.as_slice() {
        [wheel] => Ok(wheel.clone()),
        _ => Err(format!(
            "{} has {} files where one wheel was built: remove it and run this again",
            folder.display(),
            files.len()
        )),
    }
}
