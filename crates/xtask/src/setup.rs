//! Everything that must be on a machine before the project builds or is tested.
//!
//! A step that finds its thing says nothing. One that installs says what and why in a line; one that may not
//! fails with the sentence that tells the person what to do.

use crate::process::{self, Outcome};
use crate::tree::{self, Tree};
use std::path::{Path, PathBuf};
use std::process::Command;

const WASM_TARGET: &str = "wasm32-unknown-unknown";
const WASM_PACK_VERSION: &str = "0.15.1";
/// What Vite and Playwright ask for.
const OLDEST_NODE: u32 = 20;

/// Where the wasm tools were found.
pub struct WasmTools {
    wasm_bindgen: PathBuf,
    wasm_pack: PathBuf,
}

impl WasmTools {
    /// A command for wasm-pack, in `directory`, that finds the wasm-bindgen of the same set-up.
    pub fn wasm_pack(&self, directory: &Path) -> Outcome<Command> {
        let mut command = process::in_directory(self.wasm_pack.join("wasm-pack"), directory);
        command.env("PATH", process::path_with(&self.wasm_bindgen)?);
        Ok(command)
    }
}

/// The browser and the software drivers that tests run on.
pub struct TestMachine {
    /// Chromium.
    pub chromium: PathBuf,
    /// The driver of the same version.
    pub chromedriver: PathBuf,
    /// The Vulkan driver description of lavapipe.
    pub lavapipe: PathBuf,
}

fn say(what: &str, why: &str) {
    println!("set-up: installing {what}, because {why}");
}

/// The wasm target of the Rust in use.
pub fn wasm_target(tree: &Tree) -> Outcome<()> {
    let installed = || -> Outcome<bool> {
        let mut rustc = process::in_directory("rustc", tree.root());
        let folder =
            process::read(rustc.args(["--print", "target-libdir", "--target", WASM_TARGET]))?;
        Ok(Path::new(folder.trim()).is_dir())
    };
    if installed()? {
        return Ok(());
    }
    let by_hand = format!(
        "install the {WASM_TARGET} target of this Rust (`rustup target add {WASM_TARGET}`, or the package of your distribution) and run this again"
    );
    if process::program_on_path("rustup").is_none() {
        return Err(format!(
            "the wasm target of Rust is missing and there is no rustup to add it: {by_hand}"
        ));
    }
    say(
        &format!("the Rust target {WASM_TARGET}"),
        "the page runs the core as wasm",
    );
    let mut rustup = process::in_directory("rustup", tree.root());
    process::run(rustup.args(["target", "add", WASM_TARGET]))
        .map_err(|error| format!("{error}: {by_hand}"))?;
    if installed()? {
        Ok(())
    } else {
        Err(format!(
            "rustup added the wasm target to another Rust than the one in use: {by_hand}"
        ))
    }
}

/// wasm-pack, and the wasm-bindgen that matches the crate's.
pub fn wasm_tools(tree: &Tree) -> Outcome<WasmTools> {
    let bindgen_version = locked_version(&tree::read(&tree.at("Cargo.lock"))?, "wasm-bindgen")
        .ok_or("Cargo.lock names no wasm-bindgen: linearium-web must depend on it")?;
    let wasm_bindgen = cargo_tool(
        tree,
        "wasm-bindgen-cli",
        &["wasm-bindgen", "wasm-bindgen-test-runner"],
        &bindgen_version,
        "wasm-pack makes the JavaScript side of the wasm with it, and its version must be that of the crate",
    )?;
    let wasm_pack = cargo_tool(
        tree,
        "wasm-pack",
        &["wasm-pack"],
        WASM_PACK_VERSION,
        "it builds the npm package in pkg/ and runs the wasm tests in a browser",
    )?;
    Ok(WasmTools {
        wasm_bindgen,
        wasm_pack,
    })
}

/// The folder that holds `programs` at `version`: ours, one on `PATH`, or ours after installing `package`.
fn cargo_tool(
    tree: &Tree,
    package: &str,
    programs: &[&str],
    version: &str,
    why: &str,
) -> Outcome<PathBuf> {
    let root = tree.at("target/tools");
    let own = root.join("bin");
    let on_path = process::directory_on_path(programs);
    for folder in std::iter::once(own.clone()).chain(on_path) {
        if programs
            .iter()
            .all(|program| folder.join(program).is_file())
            && process::capture(Command::new(folder.join(programs[0])).arg("--version")).is_ok_and(
                |said| said.success && said.output.split_whitespace().nth(1) == Some(version),
            )
        {
            return Ok(folder);
        }
    }
    say(
        &format!("{package} {version} into target/tools (about a minute)"),
        why,
    );
    // An unoptimised build without debug information compiles several times faster, and the tools stay quick enough.
    // The dependencies are left to cargo: the lock file that wasm-bindgen-cli ships holds versions taken back since.
    let mut cargo = process::cargo(tree.root());
    cargo
        .args([
            "install",
            package,
            "--version",
            &format!("={version}"),
            "--debug",
            "--force",
            "--quiet",
            "--root",
        ])
        .arg(&root)
        .arg("--target-dir")
        .arg(root.join("build"))
        .env("CARGO_PROFILE_DEV_DEBUG", "0");
    process::run(&mut cargo).map_err(|error| {
        format!("{error}: install {package} {version} yourself where the network allows it (`cargo install {package} --version {version}`), put it on PATH and run this again")
    })?;
    Ok(own)
}

/// The version of `package` in the text of a Cargo.lock.
fn locked_version(lock: &str, package: &str) -> Option<String> {
    let name = format!("name = \"{package}\"");
    let mut lines = lock.lines().skip_while(|line| *line != name).skip(1);
    let version = lines.next()?.strip_prefix("version = \"")?;
    Some(version.trim_end_matches('"').to_owned())
}

/// Node and the npm packages of web/, those of the lock file and no others.
pub fn npm_packages(tree: &Tree) -> Outcome<()> {
    let web = tree.at("web");
    if !web.join("package.json").is_file() {
        return Err(format!(
            "{} is missing: there is no page to build",
            web.join("package.json").display()
        ));
    }
    node()?;
    let lock = web.join("package-lock.json");
    let inputs = tree::fingerprint(&[web.join("package.json"), lock.clone()], &[])?;
    let stamp = web.join("node_modules/.set-up");
    let mark = format!("{inputs:016x}");
    if std::fs::read_to_string(&stamp).is_ok_and(|found| found == mark) {
        return Ok(());
    }
    let verb = if lock.is_file() { "ci" } else { "install" };
    say(
        "the npm packages of web/",
        "Vite builds the page with them, and Playwright tests it",
    );
    let mut npm = process::in_directory("npm", &web);
    npm.args([verb, "--no-audit", "--no-fund", "--loglevel=error"])
        .env("PLAYWRIGHT_SKIP_BROWSER_DOWNLOAD", "1");
    process::run(&mut npm)
        .map_err(|error| format!("{error}: see that this machine reaches an npm registry and that package-lock.json fits package.json, and run this again"))?;
    let inputs = tree::fingerprint(&[web.join("package.json"), lock], &[])?;
    tree::write(&stamp, &format!("{inputs:016x}"))
}

fn node() -> Outcome<()> {
    let by_hand = format!(
        "install Node {OLDEST_NODE} or newer with npm (packages nodejs and npm, or nodejs.org) and run this again"
    );
    let said = process::read(Command::new("node").arg("--version"))
        .map_err(|_| format!("there is no node on PATH: {by_hand}"))?;
    match node_major(&said) {
        Some(major) if major >= OLDEST_NODE => {}
        _ => return Err(format!("node is version {}: {by_hand}", said.trim())),
    }
    if process::program_on_path("npm").is_none() {
        return Err(format!("there is no npm on PATH: {by_hand}"));
    }
    Ok(())
}

fn node_major(said: &str) -> Option<u32> {
    said.trim()
        .strip_prefix('v')?
        .split('.')
        .next()?
        .parse()
        .ok()
}

/// The Python of target/notebook, with what builds and tries the package of the notebook widget.
pub fn notebook_python(tree: &Tree) -> Outcome<PathBuf> {
    let folder = tree.at("target/notebook/venv");
    let python = folder.join("bin/python");
    let list = tree.at("tests/notebook/requirements.txt");
    let mark = format!(
        "{:016x}",
        tree::fingerprint(std::slice::from_ref(&list), &[])?
    );
    let stamp = folder.join(".set-up");
    if python.is_file() && std::fs::read_to_string(&stamp).is_ok_and(|found| found == mark) {
        return Ok(python);
    }
    let has_venv = || {
        let words = ["-c", "import ensurepip, venv"];
        process::capture(Command::new("python3").args(words)).is_ok_and(|said| said.success)
    };
    if !has_venv() {
        apt_install(&[(
            "python3-venv",
            "the Python package of the notebook widget is built and tried with it",
        )])?;
    }
    say(
        "JupyterLab, marimo and anywidget into target/notebook (half a minute)",
        "the notebook widget is built for them and tried in them",
    );
    process::run(
        Command::new("python3")
            .args(["-m", "venv", "--clear"])
            .arg(&folder),
    )?;
    let mut pip = Command::new(&python);
    pip.args([
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
    ])
    .arg("--requirement")
    .arg(&list);
    process::run(&mut pip).map_err(|error| {
        format!("{error}: see that this machine reaches a Python package index and that python3 is 3.11 or newer, and run this again")
    })?;
    tree::write(&stamp, &mark)?;
    Ok(python)
}

/// Chromium, its driver and lavapipe, through apt where they are missing.
pub fn test_machine() -> Outcome<TestMachine> {
    let mut missing = Vec::new();
    if chromium().is_none() {
        missing.push(("chromium", "wasm and page tests run in a real browser"));
    }
    if chromedriver().is_none() {
        missing.push(("chromium-driver", "wasm tests steer the browser through it"));
    }
    if lavapipe().is_none() {
        missing.push((
            "mesa-vulkan-drivers",
            "GPU tests run on its software driver lavapipe",
        ));
    }
    if !missing.is_empty() {
        apt_install(&missing)?;
    }
    let absent = |what: &str| {
        format!(
            "{what} was installed but is not where it was expected: put it on PATH and run this again"
        )
    };
    Ok(TestMachine {
        chromium: chromium().ok_or_else(|| absent("chromium"))?,
        chromedriver: chromedriver().ok_or_else(|| absent("chromedriver"))?,
        lavapipe: lavapipe().ok_or_else(|| absent("lavapipe's lvp_icd.json"))?,
    })
}

fn chromium() -> Option<PathBuf> {
    process::program_on_path("chromium")
}

fn chromedriver() -> Option<PathBuf> {
    process::program_on_path("chromedriver")
}

/// Lavapipe's driver description: its name carries the architecture on some distributions.
fn lavapipe() -> Option<PathBuf> {
    [
        "/usr/share/vulkan/icd.d",
        "/usr/local/share/vulkan/icd.d",
        "/etc/vulkan/icd.d",
    ]
    .iter()
    .filter_map(|folder| std::fs::read_dir(folder).ok())
    .flat_map(|entries| entries.flatten())
    .map(|entry| entry.path())
    .find(|path| {
        path.file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with("lvp_icd."))
    })
}

fn apt_install(missing: &[(&str, &str)]) -> Outcome<()> {
    let names: Vec<&str> = missing.iter().map(|(name, _)| *name).collect();
    let list = names.join(" ");
    let by_hand =
        format!("install {list} (on Debian: `sudo apt-get install {list}`) and run this again");
    if process::program_on_path("apt-get").is_none() {
        return Err(format!(
            "the tests need what is not on this machine, and there is no apt-get: {by_hand}"
        ));
    }
    let root = process::read(Command::new("id").arg("-u")).is_ok_and(|id| id.trim() == "0");
    if !root
        && !process::capture(Command::new("sudo").args(["-n", "true"]))
            .is_ok_and(|said| said.success)
    {
        return Err(format!(
            "the tests need what only root may install here: {by_hand}"
        ));
    }
    for (name, why) in missing {
        say(&format!("the Debian package {name}"), why);
    }
    let apt = |words: &[&str]| {
        let mut command = if root {
            Command::new("env")
        } else {
            let mut sudo = Command::new("sudo");
            sudo.args(["-n", "env"]);
            sudo
        };
        command
            .args(["DEBIAN_FRONTEND=noninteractive", "apt-get", "-qq"])
            .args(words);
        process::run(&mut command).map_err(|error| format!("{error}: {by_hand}"))
    };
    apt(&["update"])?;
    let words: Vec<&str> = ["install", "-y", "--no-install-recommends"]
        .into_iter()
        .chain(names.iter().copied())
        .collect();
    apt(&words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_locked_version_is_that_of_the_package_itself() {
        let lock = "[[package]]\nname = \"wasm-bindgen-shared\"\nversion = \"0.2.99\"\n\n[[package]]\nname = \"wasm-bindgen\"\nversion = \"0.2.130\"\nsource = \"x\"\n";
        assert_eq!(
            locked_version(lock, "wasm-bindgen").as_deref(),
            Some("0.2.130")
        );
        assert_eq!(locked_version(lock, "wasm-bindgen-cli"), None);
        assert_eq!(
            locked_version("name = \"wasm-bindgen\"\n", "wasm-bindgen"),
            None
        );
    }

    #[test]
    fn the_version_of_node_is_its_first_number() {
        assert_eq!(node_major("v20.20.2\n"), Some(20));
        assert_eq!(node_major("v9.1.0"), Some(9));
        assert_eq!(node_major("not node"), None);
    }
}
