//! Builds the wasm into pkg/ and the page into web/dist, each only when something it is made from has changed.

use crate::process::{self, Outcome};
use crate::setup;
use crate::tree::{self, Tree};
use std::path::PathBuf;
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

/// The wasm of the first load.
pub const FIRST_WASM: &str = "pkg/linearium_first_bg.wasm";

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
    setup::wasm_target(tree)?;
    setup::npm_packages(tree)?;
    wasm(tree)?;
    page(tree)
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

fn wasm(tree: &Tree) -> Outcome<()> {
    let inputs = wasm_inputs(tree)?;
    let mut outputs = vec![tree.at("pkg/package.json")];
    for Engine { name, .. } in ENGINES {
        outputs.push(tree.at(&format!("pkg/{name}.js")));
        outputs.push(tree.at(&format!("pkg/{name}_bg.wasm")));
    }
    if tree.is_current("wasm", inputs, &outputs) {
        println!("wasm: unchanged");
        return Ok(());
    }
    let tools = setup::wasm_tools(tree)?;
    for engine in ENGINES {
        let name = engine.name;
        println!("wasm: building pkg/{name} from crates/linearium-web");
        let started = Instant::now();
        let mut wasm_pack = tools.wasm_pack(tree.root())?;
        wasm_pack.args([
            "--log-level",
            "error",
            "build",
            "crates/linearium-web",
            "--target",
            "web",
        ]);
        wasm_pack.args([
            "--profile",
            "wasm",
            "--mode",
            "no-install",
            "--out-dir",
            "../../pkg",
            "--out-name",
            name,
        ]);
        wasm_pack.args(engine.features);
        process::run(&mut wasm_pack)?;
        optimise(tree, &engine)?;
        println!(
            "wasm: {name} built in {:.0} s",
            started.elapsed().as_secs_f64()
        );
    }
    tree.stamp("wasm", inputs, &outputs)
}

fn optimise(tree: &Tree, engine: &Engine) -> Outcome<()> {
    let wasm = tree.at(&format!("pkg/{}_bg.wasm", engine.name));
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
        .args(WASM_FEATURES);
    wasm_opt.arg(&wasm).arg("-o").arg(&smaller);
    process::run(&mut wasm_opt)?;
    std::fs::copy(&smaller, &wasm).map(|_| ()).map_err(|error| {
        format!(
            "{} cannot be replaced by its optimised form: {error}",
            wasm.display()
        )
    })
}

/// The page itself, on the wasm in pkg/.
fn page(tree: &Tree) -> Outcome<()> {
    vite(tree, "page", "build", "web/dist", &["web", "pkg"])
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
    let inputs = tree::fingerprint(&sources, &["node_modules", "dist", "dist-gallery"])?;
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
