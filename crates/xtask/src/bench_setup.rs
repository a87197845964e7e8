//! What the benchmarks need: our programs, and the peers in `tests/peers` with their packages.

use crate::build::BUILDS;
use crate::process::{self, Outcome};
use crate::setup;
use crate::tree::{self, Tree};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Our own contestants.
pub struct Programs {
    native: PathBuf,
    wasm: PathBuf,
    wasm_relaxed: PathBuf,
}

/// Builds them.
pub fn programs(tree: &Tree) -> Outcome<Programs> {
    setup::wasm_target(tree)?;
    let build = ["build", "--quiet", "--package", "linearium-bench"];
    process::run(process::cargo(tree.root()).args(build).arg("--release"))?;
    // As the page gets it: small code, not the fastest.
    let for_wasm = [
        "--profile",
        "wasm",
        "--lib",
        "--target",
        "wasm32-unknown-unknown",
    ];
    let wasm = BUILDS.map(|made| -> Outcome<PathBuf> {
        let mut cargo = process::cargo(tree.root());
        cargo.args(build).args(for_wasm);
        made.set(&mut cargo);
        process::run(&mut cargo)?;
        let built = tree.at("target/wasm32-unknown-unknown/wasm/linearium_bench.wasm");
        let kept = tree.at(&format!("target/bench/linearium{}.wasm", made.suffix));
        std::fs::create_dir_all(tree.at("target/bench"))
            .and_then(|()| std::fs::copy(&built, &kept))
            .map_err(|error| format!("{} cannot be kept: {error}", built.display()))?;
        Ok(kept)
    });
    let [wasm, wasm_relaxed] = wasm;
    Ok(Programs {
        native: tree.at("target/release/linearium-bench"),
        wasm: wasm?,
        wasm_relaxed: wasm_relaxed?,
    })
}

/// Node, with relaxed SIMD switched on where that takes a flag.
fn node_with_relaxed_simd() -> Outcome<Command> {
    let version = process::read(Command::new("node").arg("--version"))?;
    let major = version.trim().trim_start_matches('v').split('.').next();
    let major: u32 = major.and_then(|text| text.parse().ok()).ok_or_else(|| {
        format!(
            "node --version said `{}`, which is no version",
            version.trim()
        )
    })?;
    let mut node = Command::new("node");
    if major < 21 {
        node.arg("--experimental-wasm-relaxed-simd");
    }
    Ok(node)
}

impl Programs {
    /// Writes the inputs of a case, and what a correct run gives, into `folder`.
    pub fn write_inputs(&self, case: &str, folder: &Path) -> Outcome<()> {
        process::run(
            Command::new(&self.native)
                .args(["inputs", case])
                .arg(folder),
        )
    }

    /// The native contestant; `files` are a model and a text, for the case that reads them.
    pub fn native(&self, case: &str, level: &str, files: &[PathBuf]) -> Command {
        let mut command = Command::new(&self.native);
        command.args(["contest", case, level]).args(files);
        command
    }

    /// The wasm contestant.
    pub fn wasm(&self, tree: &Tree, index: usize, files: &[PathBuf]) -> Command {
        contestant(Command::new("node"), tree, &self.wasm, index, files)
    }

    /// The one with relaxed SIMD.
    pub fn wasm_relaxed(&self, tree: &Tree, index: usize, files: &[PathBuf]) -> Outcome<Command> {
        let node = node_with_relaxed_simd()?;
        Ok(contestant(node, tree, &self.wasm_relaxed, index, files))
    }
}

fn contestant(
    mut node: Command,
    tree: &Tree,
    module: &Path,
    index: usize,
    files: &[PathBuf],
) -> Command {
    node.arg(tree.at("tests/peers/wasm.mjs"))
        .arg(module)
        .arg(index.to_string())
        .args(files);
    node
}

/// Other people's libraries, as far as they could be installed.
pub struct Peers {
    npm: Outcome<()>,
    python: Outcome<PathBuf>,
}

/// Installs them where they are missing; what cannot be had is said for the rows that need it.
pub fn peers(tree: &Tree) -> Peers {
    Peers {
        npm: npm(tree),
        python: python(tree),
    }
}

impl Peers {
    /// onnxruntime-web on the inputs in `folder`, with relaxed SIMD switched on or not.
    pub fn onnxruntime_web(
        &self,
        tree: &Tree,
        case: &str,
        folder: &Path,
        relaxed_simd: bool,
    ) -> Outcome<Command> {
        self.npm.clone()?;
        let python = self.python.clone()?;
        let model = folder.join("model.onnx");
        let decays_per_head = if case == "recurrence-per-key" {
            "64"
        } else {
            "1"
        };
        process::run(
            Command::new(python)
                .arg(tree.at("tests/peers/linear_attention_onnx.py"))
                .arg(decays_per_head)
                .arg(&model),
        )?;
        let mut command = if relaxed_simd {
            node_with_relaxed_simd()?
        } else {
            Command::new("node")
        };
        command
            .arg(tree.at("tests/peers/onnxruntime_web.mjs"))
            .arg(model)
            .arg(folder);
        Ok(command)
    }

    /// transformers with two threads.
    pub fn transformers(&self, tree: &Tree, files: &[PathBuf], tokens: usize) -> Outcome<Command> {
        let mut command = Command::new(self.python.clone()?);
        command
            .arg(tree.at("tests/peers/transformers_prefill.py"))
            .args(files)
            .args([tokens.to_string(), "2".to_owned()]);
        Ok(command)
    }
}

/// Runs `install` unless its product was made from the same file before.
fn once(product: &Path, from: &Path, install: impl FnOnce() -> Outcome<()>) -> Outcome<()> {
    let mark = tree::text_fingerprint(&tree::read(from)?).to_string();
    let stamp = product.join(".set-up");
    if std::fs::read_to_string(&stamp).is_ok_and(|found| found == mark) {
        return Ok(());
    }
    install()?;
    tree::write(&stamp, &mark)
}

fn npm(tree: &Tree) -> Outcome<()> {
    let folder = tree.at("tests/peers");
    let lock = folder.join("package-lock.json");
    once(&folder.join("node_modules"), &lock, || {
        println!(
            "set-up: installing onnxruntime-web, because the recurrence is measured against it"
        );
        let mut npm = process::in_directory("npm", &folder);
        npm.args(["ci", "--no-audit", "--no-fund", "--loglevel=error"]);
        npm.arg("--ignore-scripts");
        process::run(&mut npm).map_err(|error| {
            format!("{error}: see that this machine reaches an npm registry and run this again")
        })
    })
}

fn python(tree: &Tree) -> Outcome<PathBuf> {
    let folder = tree.at("target/peers/venv");
    let python = folder.join("bin/python");
    let requirements = tree.at("tests/peers/requirements.txt");
    once(&folder, &requirements, || {
        println!(
            "set-up: installing PyTorch, transformers and onnx into target/peers (up to 3 GB), because the model's prefill is measured against them"
        );
        process::run(Command::new("python3").args(["-m", "venv"]).arg(&folder)).map_err(
            |error| format!("{error}: install Python 3 with venv (on Debian: python3-venv) and run this again"),
        )?;
        let pip = ["-m", "pip", "install", "--quiet", "--requirement"];
        process::run(Command::new(&python).args(pip).arg(&requirements)).map_err(|error| {
            format!(
                "{error}: see that this machine reaches a Python package index and run this again"
            )
        })
    })?;
    Ok(python)
}

/// The machine, the tools and the commit in one line.
pub fn machine(tree: &Tree) -> String {
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .and_then(|rest| rest.split_once(": "))
        .map_or("unknown processor", |(_, name)| name);
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or_default().to_owned();
    let said = |program: &str, arguments: &[&str]| {
        process::read(process::in_directory(program, tree.root()).args(arguments))
            .map_or_else(|_| "unknown".to_owned(), |text| text.trim().to_owned())
    };
    format!(
        "{model}, {cores} cores, load {load}; {}; node {}; commit {}",
        said("rustc", &["--version"]),
        said("node", &["--version"]),
        said("git", &["describe", "--always", "--dirty"]),
    )
}
