//! `cargo xtask test`: every test there is, stage by stage, and one closing line for them all.

use crate::build;
use crate::notebook;
use crate::process::{self, Outcome};
use crate::setup::{self, TestMachine, WasmTools};
use crate::test_report::{self, Counts};
use crate::tree::{self, Tree};
use serde_json::json;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

/// Where tests run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Every crate but the engine on this machine's processor, golden files and command line included.
    Native,
    /// The engine on lavapipe, a Vulkan device in software.
    Gpu,
    /// The wasm in Chromium, without and with a WebGPU adapter.
    Wasm,
    /// The page in Chromium, by Playwright.
    Browser,
    /// The packed npm package in Node, in Vite, and in pages without a bundler.
    Package,
    /// The Python package in Python, JupyterLab and marimo.
    Notebook,
}

const STAGES: [(&str, Stage); 6] = [
    ("native", Stage::Native),
    ("gpu", Stage::Gpu),
    ("wasm", Stage::Wasm),
    ("browser", Stage::Browser),
    ("package", Stage::Package),
    ("notebook", Stage::Notebook),
];

/// What was asked for: the stages in their order, and parts of test names.
#[derive(Debug, PartialEq, Eq)]
struct Choice {
    stages: Vec<(&'static str, Stage)>,
    filters: Vec<String>,
}

fn choose(arguments: &[String]) -> Outcome<Choice> {
    if let Some(option) = arguments.iter().find(|word| word.starts_with('-')) {
        return Err(format!(
            "test does not know `{option}`: it takes stages (native, gpu, wasm, browser, package, notebook) and parts of test names"
        ));
    }
    let named = |name: &str| arguments.iter().any(|word| word == name);
    let mut stages: Vec<_> = STAGES.into_iter().filter(|(name, _)| named(name)).collect();
    if stages.is_empty() {
        stages = STAGES.to_vec();
    }
    let is_stage = |word: &str| STAGES.iter().any(|(name, _)| *name == word);
    let filters = arguments
        .iter()
        .filter(|word| !is_stage(word))
        .cloned()
        .collect();
    Ok(Choice { stages, filters })
}

/// Runs the chosen stages; fails unless every test of each ran and passed.
pub fn run(tree: &Tree, arguments: &[String]) -> Outcome<()> {
    let choice = choose(arguments)?;
    let mut total = Counts::default();
    match Bench::set_up(tree, &choice) {
        Ok(bench) => {
            for (name, stage) in &choice.stages {
                println!("\n=== {name}");
                let started = Instant::now();
                let counts = bench.play(*stage).unwrap_or_else(|error| {
                    eprintln!("error: {error}");
                    Counts {
                        failed: 1,
                        ..Counts::default()
                    }
                });
                println!(
                    "=== {name}: {counts} in {:.0} s",
                    started.elapsed().as_secs_f64()
                );
                total = total + counts;
            }
        }
        Err(error) => {
            eprintln!("error: {error}");
            total.failed += 1;
        }
    }
    let verdict = verdict(total, choice.filters.is_empty());
    if let Err(reason) = &verdict
        && !reason.is_empty()
    {
        eprintln!("error: {reason}");
    }
    // Nothing may follow the closing line, so what is wrong has been said before it.
    println!("\n{} passed, {} failed", total.passed, total.failed);
    verdict.map_err(|_| String::new())
}

/// Whether `total` is good; a test left out is as bad as one that failed, unless a filter left it out.
fn verdict(total: Counts, whole: bool) -> Outcome<()> {
    if total.failed > 0 {
        return Err(String::new());
    }
    if total.skipped > 0 {
        return Err(format!(
            "{} tests were skipped: every test there is must run",
            total.skipped
        ));
    }
    if total.passed == 0 {
        let why = if whole {
            "there was no test to run"
        } else {
            "no test has such a name"
        };
        return Err(why.to_owned());
    }
    Ok(())
}

/// The machine and tools that the stages share.
struct Bench<'a> {
    tree: &'a Tree,
    machine: TestMachine,
    wasm_tools: Option<WasmTools>,
    filters: &'a [String],
}

impl<'a> Bench<'a> {
    fn set_up(tree: &'a Tree, choice: &'a Choice) -> Outcome<Self> {
        let machine = setup::test_machine()?;
        let has = |stage: Stage| choice.stages.iter().any(|(_, chosen)| *chosen == stage);
        let wasm_tools = if has(Stage::Wasm) {
            setup::wasm_target(tree)?;
            Some(setup::wasm_tools(tree)?)
        } else {
            None
        };
        if has(Stage::Browser) || has(Stage::Package) {
            build::all(tree)?;
        }
        if has(Stage::Browser) {
            build::gallery(tree)?;
        }
        if has(Stage::Notebook) {
            build::engines(tree)?;
        }
        Ok(Self {
            tree,
            machine,
            wasm_tools,
            filters: &choice.filters,
        })
    }

    fn play(&self, stage: Stage) -> Outcome<Counts> {
        match stage {
            Stage::Native => self.native(&["--workspace", "--exclude", "linearium-gpu"]),
            Stage::Gpu => self.native(&["--package", "linearium-gpu"]),
            Stage::Wasm => {
                let [plain, relaxed] = &build::BUILDS;
                let cpu = self.wasm("cpu", plain)?;
                let relaxed_cpu = self.wasm("cpu", relaxed)?;
                let gpu = self.wasm("gpu", plain)?;
                Ok(cpu + relaxed_cpu + gpu)
            }
            Stage::Browser => self.playwright("tests/browser/playwright.config.ts", &[]),
            Stage::Package => self.playwright("tests/package/playwright.config.ts", &[]),
            Stage::Notebook => self.notebook(),
        }
    }

    fn native(&self, packages: &[&str]) -> Outcome<Counts> {
        let mut cargo = process::cargo(self.tree.root());
        cargo
            .args(["test", "--locked", "--no-fail-fast"])
            .args(packages);
        // The command line has a GPU back end too, so the device is the same in both native stages.
        cargo.env("VK_DRIVER_FILES", &self.machine.lavapipe);
        cargo.env("VK_ICD_FILENAMES", &self.machine.lavapipe);
        // The Vulkan drivers complain about every device when this is unset, as it is in a container.
        if std::env::var_os("XDG_RUNTIME_DIR").is_none() {
            cargo.env("XDG_RUNTIME_DIR", self.tree.own_folder()?);
        }
        cargo.arg("--").args(self.filters);
        let run = process::tee(&mut cargo)?;
        self.judged("cargo test", test_report::rust(&run.output), run.success)
    }

    /// The tests of linearium-web, told at compile time by `LINEARIUM_EXPECTED_BACKEND` which back end they have.
    fn wasm(&self, backend: &str, build: &build::Build) -> Outcome<Counts> {
        println!("--- wasm{}, back end {backend}", build.words());
        let tools = self
            .wasm_tools
            .as_ref()
            .ok_or("the wasm tools were not set up")?;
        let capabilities = self
            .tree
            .at(&format!("target/xtask/webdriver-{backend}.json"));
        tree::write(&capabilities, &webdriver(&self.machine.chromium, backend))?;
        let mut wasm_pack = tools.wasm_pack(self.tree.root())?;
        wasm_pack.args([
            "--log-level",
            "error",
            "test",
            "--headless",
            "--chrome",
            "--mode",
            "no-install",
        ]);
        wasm_pack
            .arg("--chromedriver")
            .arg(&self.machine.chromedriver);
        wasm_pack
            .args(["crates/linearium-web", "--locked"])
            .args(["--features", "complete", "--"])
            .args(self.filters);
        wasm_pack
            .env("LINEARIUM_EXPECTED_BACKEND", backend)
            .env("WASM_BINDGEN_TEST_WEBDRIVER_JSON", &capabilities)
            // Seconds; a shader on a software device compiles for longer than the 20 that are the default.
            .env("WASM_BINDGEN_TEST_TIMEOUT", "600")
            .env("WASM_BINDGEN_TEST_DRIVER_TIMEOUT", "60");
        build.set(&mut wasm_pack);
        let run = process::tee(&mut wasm_pack)?;
        self.judged(
            "wasm-pack test",
            test_report::rust(&run.output),
            run.success,
        )
    }

    /// Installs the wheel where its tests are, which are those of Python and those in a browser.
    fn notebook(&self) -> Outcome<Counts> {
        let python = setup::notebook_python(self.tree)?;
        let wheel = notebook::wheel(self.tree, &python)?;
        let mut pip = Command::new(&python);
        pip.args(["-m", "pip", "install", "--quiet", "--no-deps"])
            .args(["--force-reinstall", "--disable-pip-version-check"])
            .arg(&wheel);
        process::run(&mut pip)?;
        let mut pytest = process::in_directory(&python, self.tree.root());
        pytest
            .args(["-B", "-m", "pytest", "-p", "no:cacheprovider", "-q"])
            .arg("tests/notebook");
        if !self.filters.is_empty() {
            pytest.arg("-k").arg(self.filters.join(" or "));
        }
        let run = process::tee(&mut pytest)?;
        let counts = test_report::pytest(&run.output)
            .ok_or("pytest ended without its closing line: its output above says why")?;
        // With a filter it may have nothing to run, which it calls a failure.
        let nothing = !self.filters.is_empty() && counts == Counts::default();
        let of_python = self.judged("pytest", counts, run.success || nothing)?;
        let of_pages = self.playwright(
            "tests/notebook/playwright.config.ts",
            &[("LINEARIUM_PYTHON", &python)],
        )?;
        Ok(of_python + of_pages)
    }

    fn playwright(&self, config: &str, more: &[(&str, &Path)]) -> Outcome<Counts> {
        let web = self.tree.at("web");
        let report = self.tree.at("target/xtask/playwright.json");
        tree::write(&report, "")?;
        let mut playwright = playwright_command(&web, &self.machine.chromium, &report);
        playwright.env("LINEARIUM_PORT", process::free_ports()?.to_string());
        playwright.envs(more.iter().copied());
        playwright
            .args(["test", "--config"])
            .arg(self.tree.at(config));
        playwright.args(["--reporter", "list,json"]);
        playwright
            .arg("--output")
            .arg(self.tree.at("target/xtask/playwright"));
        if !self.filters.is_empty() {
            playwright
                .args(["--pass-with-no-tests", "--grep"])
                .arg(self.filters.join("|"));
        }
        let run = process::tee(&mut playwright)?;
        let counts = test_report::playwright(&tree::read(&report)?)
            .ok_or("Playwright ended without a report: its output above says why")?;
        self.judged("Playwright", counts, run.success)
    }

    /// A stage that ran nothing, or failed without a failed test, has a failure all the same.
    fn judged(&self, program: &str, mut counts: Counts, success: bool) -> Outcome<Counts> {
        if !success && counts.failed == 0 {
            eprintln!("error: {program} failed outside its tests: its output above says why");
            counts.failed += 1;
        } else if counts.passed + counts.failed == 0 && self.filters.is_empty() {
            eprintln!("error: {program} ran no test: a stage without tests proves nothing");
            counts.failed += 1;
        }
        Ok(counts)
    }
}

fn playwright_command(web: &Path, chromium: &Path, report: &Path) -> Command {
    let mut command = process::in_directory("npx", web);
    command.args(["--no-install", "playwright"]);
    command
        .env("LINEARIUM_CHROMIUM", chromium)
        .env("PLAYWRIGHT_JSON_OUTPUT_NAME", report)
        .env("PLAYWRIGHT_SKIP_BROWSER_DOWNLOAD", "1");
    command
}

/// The browser that wasm tests run in. The sandbox is off because a container's root cannot have it.
fn webdriver(chromium: &Path, backend: &str) -> String {
    let mut arguments = vec![
        "--headless",
        "--no-sandbox",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-dev-shm-usage",
        "--disable-sync",
    ];
    if backend == "gpu" {
        arguments.extend(["--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader"]);
    } else {
        arguments.extend(["--disable-gpu", "--disable-features=WebGPU"]);
    }
    json!({ "goog:chromeOptions": { "binary": chromium, "args": arguments } }).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    fn counts(passed: u64, failed: u64, skipped: u64) -> Counts {
        Counts {
            passed,
            failed,
            skipped,
        }
    }

    #[test]
    fn no_word_means_every_stage() {
        let choice = choose(&[]).expect("valid");
        assert_eq!(choice.stages, STAGES);
        assert!(choice.filters.is_empty());
    }

    #[test]
    fn stages_keep_their_order_and_other_words_are_filters() {
        let choice = choose(&words("browser decay native")).expect("valid");
        assert_eq!(
            choice.stages,
            [("native", Stage::Native), ("browser", Stage::Browser)]
        );
        assert_eq!(choice.filters, ["decay"]);
        assert!(choose(&words("--nocapture")).is_err());
    }

    #[test]
    fn only_a_run_in_which_every_test_passed_is_good() {
        assert!(verdict(counts(3, 0, 0), true).is_ok());
        assert!(verdict(counts(3, 1, 0), true).is_err());
        assert!(verdict(counts(3, 0, 1), true).is_err());
        assert!(verdict(counts(0, 0, 0), true).is_err());
        assert!(verdict(counts(0, 0, 0), false).is_err());
    }

    #[test]
    fn a_stage_that_ran_nothing_or_broke_outside_its_tests_has_a_failure() {
        let tree = Tree::find().expect("repository");
        let path = std::path::PathBuf::new;
        let machine = TestMachine {
            chromium: path(),
            chromedriver: path(),
            lavapipe: path(),
        };
        let mut bench = Bench {
            tree: &tree,
            machine,
            wasm_tools: None,
            filters: &[],
        };
        let failures = |bench: &Bench<'_>, ran: Counts, success: bool| {
            bench.judged("p", ran, success).expect("counts").failed
        };
        assert_eq!(failures(&bench, counts(0, 0, 0), true), 1);
        assert_eq!(failures(&bench, counts(0, 0, 0), false), 1);
        assert_eq!(failures(&bench, counts(9, 0, 0), false), 1);
        assert_eq!(failures(&bench, counts(9, 2, 0), false), 2);
        assert_eq!(failures(&bench, counts(9, 0, 0), true), 0);
        let filters = words("decay");
        bench.filters = &filters;
        assert_eq!(failures(&bench, counts(0, 0, 0), true), 0);
        assert_eq!(failures(&bench, counts(0, 0, 0), false), 1);
    }

    #[test]
    fn only_the_gpu_run_has_an_adapter() {
        let with = webdriver(Path::new("/usr/bin/chromium"), "gpu");
        let without = webdriver(Path::new("/usr/bin/chromium"), "cpu");
        assert!(with.contains("swiftshader") && !without.contains("swiftshader"));
        assert!(without.contains("/usr/bin/chromium"));
    }
}
