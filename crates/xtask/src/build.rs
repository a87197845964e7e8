//! Builds the wasm into pkg/, the page into web/dist and the rest of the npm package into pkg/, each only when
//! something it is made from has changed.

use crate::process::{self, Outcome};
use crate::setup::{self, WasmTools};
use crate::tree::{self, Tree};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

/// The engines that wasm-pack writes: that of the first load, and the complete one, which has the
/// GPU and every mixer and is fetched when one of them is wanted.
const ENGINES: [Engine; 2] = [
    Engine {
        name: "linearium_first",
        features: &[],
        // Takes half a minute and saves four kilobytes, which only the first load is worth.
        optimise: &["-Os", "--converge"],
    },
    Engine {
        name: "linearium",
        features: &["--features", "complete"],
        optimise: &["-Os"],
    },
];

struct Engine {
    name: &'static str,
    features: &'static [&'static str],
    optimise: &'static [&'static str],
}

/// An engine for every browser, or the same for those that have relaxed SIMD.
pub struct Build {
    /// Follows the name of the engine's wasm file.
    pub suffix: &'static str,
    /// Takes the place of the flags in `.cargo/config.toml`.
    flags: Option<&'static str>,
    /// What the optimiser may use beside [`WASM_FEATURES`].
    features: &'static [&'static str],
}

/// The builds of each engine; in the second one a product and a sum are one instruction. The page
/// fetches one of them.
pub const BUILDS: [Build; 2] = [
    Build {
        suffix: "_bg",
        flags: None,
        features: &[],
    },
    Build {
        suffix: "_relaxed_bg",
        flags: Some("-Ctarget-feature=+simd128,+relaxed-simd"),
        features: &["--enable-relaxed-simd"],
    },
];

impl Build {
    /// Has `command`, which builds for wasm, make this build.
    pub fn set(&self, command: &mut Command) {
        if let Some(flags) = self.flags {
            command.env("RUSTFLAGS", flags);
        }
    }

    /// What is said behind the word wasm.
    pub fn words(&self) -> &'static str {
        match self.flags {
            None => "",
            Some(_) => " with relaxed SIMD",
        }
    }

    /// The wasm of the first load.
    pub fn first_wasm(&self) -> String {
        format!("pkg/{}{}.wasm", ENGINES[0].name, self.suffix)
    }
}

/// What the optimiser may use: SIMD, and what Rust's wasm target turns on by itself.
const WASM_FEATURES: [&str; 7] = [
    "--enable-simd",
    "--enable-bulk-memory",
    "--enable-nontrapping-float-to-int",
    "--enable-sign-ext",
    "--enable-mutable-globals",
    "--enable-reference-types",
    "--enable-multivalue",
];

/// Sets the machine up for building, then builds the wasm and the page.
pub fn all(tree: &Tree) -> Outcome<()> {
    engines(tree)?;
    page(tree)?;
    package(tree)
}

/// Sets the machine up for building, then builds the wasm.
pub fn engines(tree: &Tree) -> Outcome<()> {
    setup::wasm_target(tree)?;
    setup::npm_packages(tree)?;
    wasm(tree)
}

/// What the wasm is made from.
fn wasm_inputs(tree: &Tree) -> Outcome<u64> {
    let paths = [
        "Cargo.toml",
        "Cargo.lock",
        ".cargo/config.toml",
        "crates/linearium",
        "crates/linearium-kernels",
        "crates/linearium-gpu",
        "crates/linearium-web",
        "crates/xtask/src/build.rs",
        "web/node_modules/binaryen/package.json",
    ];
    let paths: Vec<PathBuf> = paths.iter().map(|path| tree.at(path)).collect();
    let compiler = process::read(Command::new("rustc").arg("-vV"))?;
    let sources = tree::fingerprint(&paths, &["target"])?;
    Ok(sources ^ tree::text_fingerprint(&compiler))
}

/// Everything that wasm-pack makes and something is built from.
pub fn engine_files() -> Vec<String> {
    let mut files = Vec::new();
    for Engine { name, .. } in ENGINES {
        files.push(format!("pkg/{name}.js"));
        files.push(format!("pkg/{name}.d.ts"));
        for Build { suffix, .. } in BUILDS {
            files.push(format!("pkg/{name}{suffix}.wasm"));
        }
    }
    files
}

fn wasm(tree: &Tree) -> Outcome<()> {
    let inputs = wasm_inputs(tree)?;
    let outputs: Vec<PathBuf> = engine_files().iter().map(|file| tree.at(file)).collect();
    if tree.is_current("wasm", inputs, &outputs) {
        println!("wasm: unchanged");
        return Ok(());
    }
    let tools = setup::wasm_tools(tree)?;
    // Build by build, so that what both engines are made of is compiled once for each.
    for build in BUILDS {
        for engine in ENGINES {
            let started = Instant::now();
            let name = format!("{}{}", engine.name, build.suffix);
            println!("wasm: building pkg/{name}.wasm from crates/linearium-web");
            wasm_pack(tree, &tools, &engine, &build)?;
            println!(
                "wasm: {name} built in {:.0} s",
                started.elapsed().as_secs_f64()
            );
        }
    }
    tree.stamp("wasm", inputs, &outputs)
}

/// What a module does: its comments count the functions of the build that it was made with.
fn said(module: &str) -> impl Iterator<Item = &str> {
    let lines = module.lines().map(str::trim);
    lines.filter(|line| !line.starts_with("//"))
}

/// One build of an engine. The first build of it brings the module with the verbs, and every other
/// one must be of the same verbs: the page loads any of them with that module.
fn wasm_pack(tree: &Tree, tools: &WasmTools, engine: &Engine, build: &Build) -> Outcome<()> {
    let first = build.suffix == BUILDS[0].suffix;
    let folder = if first {
        tree.at("pkg")
    } else {
        tree.own_folder()?.join("pkg")
    };
    let mut wasm_pack = tools.wasm_pack(tree.root())?;
    wasm_pack.args(["--log-level", "error", "build", "crates/linearium-web"]);
    wasm_pack.args(["--target", "web", "--profile", "wasm"]);
    wasm_pack.args(["--mode", "no-install", "--out-name", engine.name]);
    wasm_pack.arg("--out-dir").arg(&folder);
    wasm_pack.args(engine.features);
    build.set(&mut wasm_pack);
    process::run(&mut wasm_pack)?;
    let verbs = format!("{}.js", engine.name);
    let same = || -> Outcome<bool> {
        let [a, b] = [&folder, &tree.at("pkg")].map(|folder| tree::read(&folder.join(&verbs)));
        Ok(said(&a?).eq(said(&b?)))
    };
    if !first && !same()? {
        return Err(format!(
            "the builds of {} have different verbs: {} is not as pkg/{verbs}",
            engine.name,
            folder.join(&verbs).display()
        ));
    }
    let wasm = folder.join(format!("{}_bg.wasm", engine.name));
    let product = tree.at(&format!("pkg/{}{}.wasm", engine.name, build.suffix));
    optimise(tree, engine, build, &wasm, &product)
}

fn optimise(
    tree: &Tree,
    engine: &Engine,
    build: &Build,
    wasm: &Path,
    product: &Path,
) -> Outcome<()> {
    let smaller = tree.own_folder()?.join("optimised.wasm");
    let mut wasm_opt = process::in_directory("node", tree.root());
    wasm_opt.arg(tree.at("web/node_modules/binaryen/bin/wasm-opt"));
    wasm_opt
        .args(engine.optimise)
        // The lowest 1,024 bytes are the very end of the stack: who gets there traps, as anyone
        // who needs more stack than there is.
        .arg("--low-memory-unused")
        // Neighbours by name are alike, which gzip likes.
        .args(["--reorder-functions-by-name"])
        .args([
            "--strip-debug",
            "--strip-producers",
            "--strip-target-features",
        ])
        .args(WASM_FEATURES)
        .args(build.features);
    wasm_opt.arg(wasm).arg("-o").arg(&smaller);
    process::run(&mut wasm_opt)?;
    std::fs::copy(&smaller, product)
        .map(|_| ())
        .map_err(|error| {
            format!(
                "{} cannot be made from its optimised form: {error}",
                product.display()
            )
        })
}

/// Folders of web/ that the page and the npm package are not made from.
const NOT_OF_THE_PAGE: [&str; 4] = ["node_modules", "dist", "dist-gallery", "notebook"];

/// The page itself, on the wasm in pkg/.
fn page(tree: &Tree) -> Outcome<()> {
    let engines = engine_files();
    let mut sources = vec!["web"];
    sources.extend(engines.iter().map(String::as_str));
    vite(tree, "page", "build", "web/dist", &sources)
}

/// What wasm-pack cannot write of the npm package.
fn package(tree: &Tree) -> Outcome<()> {
    let mut sources: Vec<PathBuf> = engine_files().iter().map(|file| tree.at(file)).collect();
    sources
        .extend(["web", "Cargo.toml", "LICENSE-MIT", "LICENSE-APACHE"].map(|path| tree.at(path)));
    let inputs = tree::fingerprint(&sources, &NOT_OF_THE_PAGE)?;
    let outputs = ["pkg/lib", "pkg/elements", "pkg/package.json"].map(|path| tree.at(path));
    if tree.is_current("package", inputs, &outputs) {
        println!("package: unchanged");
        return Ok(());
    }
    println!("package: writing what wasm-pack does not write of pkg/");
    process::run(process::in_directory("node", &tree.at("web")).arg("build/package.js"))?;
    tree.stamp("package", inputs, &outputs)
}

/// The page on a test double of the engine, for browser tests that are about the page alone.
pub fn gallery(tree: &Tree) -> Outcome<()> {
    setup::npm_packages(tree)?;
    vite(
        tree,
        "gallery",
        "build:gallery",
        "web/dist-gallery",
        &["web"],
    )
}

fn vite(tree: &Tree, product: &str, script: &str, output: &str, sources: &[&str]) -> Outcome<()> {
    let sources: Vec<PathBuf> = sources.iter().map(|path| tree.at(path)).collect();
    let inputs = tree::fingerprint(&sources, &NOT_OF_THE_PAGE)?;
    let outputs = [tree.at(output)];
    if tree.is_current(product, inputs, &outputs) {
        println!("{product}: unchanged");
        return Ok(());
    }
    println!("{product}: building {output} with Vite");
    let started = Instant::now();
    process::run(process::in_directory("npm", &tree.at("web")).args(["run", "--silent", script]))?;
    println!(
        "{product}: built in {:.0} s",
        started.elapsed().as_secs_f64()
    );
    tree.stamp(product, inputs, &outputs)
}
