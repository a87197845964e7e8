//! `cargo xtask size`: what a first visit downloads as code, gzipped, against its budget.
//!
//! Models and texts are data, not code: they are left out, as is what the page loads only when asked to.

use crate::build;
use crate::process::Outcome;
use crate::tree::{self, Tree};
use flate2::Compression;
use flate2::write::GzEncoder;
use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Largest gzipped wasm, in bytes.
const WASM_BUDGET_BYTES: u64 = 250_000;
/// Largest gzipped sum of html, css, js and wasm of the first load, in bytes.
const FIRST_LOAD_BUDGET_BYTES: u64 = 400_000;

/// Builds what is not current and measures it.
pub fn run(tree: &Tree, arguments: &[String]) -> Outcome<()> {
    if let Some(word) = arguments.first() {
        return Err(format!(
            "size does not know `{word}`: it takes no arguments"
        ));
    }
    build::all(tree)?;
    measure(tree)
}

/// Prints the sizes of what is built; an error when one is over its budget.
pub fn measure(tree: &Tree) -> Outcome<()> {
    let mut code_bytes = 0;
    let mut over = Vec::new();
    let dist = tree.at("web/dist");
    let load = FirstLoad::of(&dist)?;
    for file in &load.files {
        let bytes = gzipped_bytes(file)?;
        // Of the builds of the engine a browser fetches the one that it can run.
        if !is_wasm(file) {
            code_bytes += bytes;
        }
        println!("{bytes:>9} bytes  {}", shown(file, &dist));
    }
    for file in &load.later {
        println!(
            "    later, {:>9} bytes  {}",
            gzipped_bytes(file)?,
            shown(file, &dist)
        );
    }
    for build in build::BUILDS {
        let wasm_bytes = gzipped_bytes(&tree.at(&build.first_wasm()))?;
        let words = build.words();
        over.extend(over_budget(
            &format!("the wasm{words} of the first load"),
            wasm_bytes,
            WASM_BUDGET_BYTES,
        ));
        over.extend(over_budget(
            &format!("code of the first load, wasm{words}"),
            code_bytes + wasm_bytes,
            FIRST_LOAD_BUDGET_BYTES,
        ));
    }
    if over.is_empty() {
        Ok(())
    } else {
        Err(over.join("; "))
    }
}

/// Prints one line of the budget; the sentence to fail with when `bytes` is over it.
fn over_budget(what: &str, bytes: u64, budget: u64) -> Option<String> {
    println!("{bytes:>9} bytes gzipped of {budget}: {what}");
    (bytes > budget).then(|| {
        format!("{what} is {bytes} bytes gzipped, {} over its budget of {budget}: make it smaller or load it later", bytes - budget)
    })
}

fn shown(file: &Path, dist: &Path) -> String {
    file.strip_prefix(dist)
        .unwrap_or(file)
        .display()
        .to_string()
}

fn gzipped_bytes(file: &Path) -> Outcome<u64> {
    let bytes = std::fs::read(file)
        .map_err(|error| format!("{} cannot be read: {error}", file.display()))?;
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    let packed = encoder.write_all(&bytes).and_then(|()| encoder.finish());
    packed
        .map(|packed| packed.len() as u64)
        .map_err(|error| format!("{} cannot be gzipped: {error}", file.display()))
}

/// The code files of a built page.
#[derive(Debug, PartialEq, Eq)]
struct FirstLoad {
    /// Those that opening the page fetches.
    files: BTreeSet<PathBuf>,
    /// Those that something on the page fetches afterwards.
    later: BTreeSet<PathBuf>,
}

impl FirstLoad {
    /// Follows the names from index.html: through markup, static imports, workers and asset addresses, not through
    /// `import()`. The page opens with a result, so a first load without wasm means that start-up itself uses
    /// `import()`; then everything reachable counts.
    fn of(dist: &Path) -> Outcome<Self> {
        let index = dist.join("index.html");
        if !index.is_file() {
            return Err(format!(
                "{} is missing: build the page first",
                index.display()
            ));
        }
        let code: BTreeSet<PathBuf> = tree::files(dist, &[])?
            .into_iter()
            .filter(|file| is_code(file))
            .collect();
        let mut files = reachable(dist, &index, &code, false)?;
        if !files.iter().any(|file| is_wasm(file)) {
            files = reachable(dist, &index, &code, true)?;
        }
        if !files.iter().any(|file| is_wasm(file)) {
            return Err(format!(
                "nothing that {} loads names a wasm file: the page cannot show a result",
                index.display()
            ));
        }
        let later = code.difference(&files).cloned().collect();
        Ok(Self { files, later })
    }
}

fn is_wasm(file: &Path) -> bool {
    file.extension().is_some_and(|ending| ending == "wasm")
}

fn is_code(file: &Path) -> bool {
    file.extension()
        .and_then(|ending| ending.to_str())
        .is_some_and(|ending| ["html", "css", "js", "mjs", "wasm"].contains(&ending))
}

fn reachable(
    dist: &Path,
    index: &Path,
    code: &BTreeSet<PathBuf>,
    dynamic: bool,
) -> Outcome<BTreeSet<PathBuf>> {
    let mut found = BTreeSet::from([index.to_path_buf()]);
    let mut open = vec![index.to_path_buf()];
    while let Some(file) = open.pop() {
        // What a service worker keeps for later visits is fetched when the page has loaded.
        if is_wasm(&file) || file.ends_with("service-worker.js") {
            continue;
        }
        let text = tree::read(&file)?;
        let folder = file.parent().unwrap_or(dist);
        for name in quoted(&text, dynamic) {
            let name = name.split(['?', '#']).next().unwrap_or(name);
            let from_root = dist.join(name.trim_start_matches('/'));
            for candidate in [normal(&folder.join(name)), normal(&from_root)] {
                if code.contains(&candidate) && found.insert(candidate.clone()) {
                    open.push(candidate);
                }
            }
        }
    }
    Ok(found)
}

/// Resolves `.` and `..` by name alone.
fn normal(path: &Path) -> PathBuf {
    use std::path::Component;
    let mut parts = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                parts.pop();
            }
            other => parts.push(other),
        }
    }
    parts
}

/// Every quoted name of a code file in `text`; those of `import()` and of Vite's list of what `import()` needs only if
/// `dynamic`.
fn quoted(text: &str, dynamic: bool) -> Vec<&str> {
    let mut names = Vec::new();
    for (end, _) in text.match_indices(['"', '\'', '`', ')', ' ', '>']) {
        let before = &text[..end];
        if ![".js", ".mjs", ".css", ".wasm"]
            .iter()
            .any(|ending| before.ends_with(ending))
        {
            continue;
        }
        let Some(start) = before.rfind(['"', '\'', '`', '(', ' ', '=']) else {
            continue;
        };
        let lead = before[..start].trim_end();
        if !dynamic && (lead.ends_with("import(") || in_list_of_later(&before[..start])) {
            continue;
        }
        names.push(&before[start + 1..]);
    }
    names
}

/// Whether `before` ends inside the array literal that Vite names `__vite__mapDeps` dependencies of.
fn in_list_of_later(before: &str) -> bool {
    before
        .rfind("m.f=[")
        .or_else(|| before.rfind("m.f||(m.f=["))
        .is_some_and(|start| before.contains("__vite__mapDeps") && !before[start..].contains(']'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(name: &str, files: &[(&str, &str)]) -> PathBuf {
        let dist = std::env::temp_dir().join(format!("xtask-size-{name}-{}", std::process::id()));
        for (file, text) in files {
            tree::write(&dist.join(file), text).expect("write");
        }
        dist
    }

    fn names(files: &BTreeSet<PathBuf>, dist: &Path) -> Vec<String> {
        files.iter().map(|file| shown(file, dist)).collect()
    }

    const INDEX: &str = r#"<link rel="stylesheet" href="./assets/a.css"><script type="module" src="./assets/main.js"></script>"#;

    #[test]
    fn the_first_load_is_what_start_up_names() {
        let dist = page(
            "static",
            &[
                ("index.html", INDEX),
                ("assets/a.css", "body{}"),
                (
                    "assets/main.js",
                    "import{x}from'./part.js';new Worker(new URL(`worker.js`,import.meta.url));const __vite__mapDeps=(i,m=__vite__mapDeps,d=(m.f||(m.f=[\"assets/late.js\"])))=>0;import(`./late.js`)",
                ),
                (
                    "assets/part.js",
                    "export const x=1;navigator.serviceWorker.register(new URL('/service-worker.js',base))",
                ),
                ("service-worker.js", "const FILES={'assets/late.js':''}"),
                (
                    "assets/worker.js",
                    "new URL('/assets/core.wasm',import.meta.url)",
                ),
                ("assets/core.wasm", "\0asm"),
                ("assets/late.js", "1"),
                ("models/sample.txt", "data"),
            ],
        );
        let load = FirstLoad::of(&dist).expect("page");
        let files = [
            "assets/a.css",
            "assets/core.wasm",
            "assets/main.js",
            "assets/part.js",
            "assets/worker.js",
            "index.html",
            "service-worker.js",
        ];
        assert_eq!(names(&load.files, &dist), files);
        assert_eq!(names(&load.later, &dist), ["assets/late.js"]);
        std::fs::remove_dir_all(&dist).expect("remove");
    }

    #[test]
    fn a_wasm_behind_a_dynamic_import_counts_with_all_that_leads_to_it() {
        let dist = page(
            "dynamic",
            &[
                ("index.html", INDEX),
                ("assets/a.css", "body{}"),
                ("assets/main.js", "import(\"./engine.js\")"),
                ("assets/engine.js", "new URL(\"core.wasm\",import.meta.url)"),
                ("assets/core.wasm", "\0asm"),
            ],
        );
        assert_eq!(FirstLoad::of(&dist).expect("page").files.len(), 5);
        std::fs::write(dist.join("assets/engine.js"), "").expect("write");
        assert!(
            FirstLoad::of(&dist).is_err(),
            "a page that names no wasm is refused"
        );
        std::fs::remove_dir_all(&dist).expect("remove");
    }

    #[test]
    fn a_byte_over_the_budget_is_over() {
        assert_eq!(over_budget("x", 10, 10), None);
        assert!(over_budget("x", 11, 10).is_some_and(|sentence| sentence.contains("1 over")));
    }

    #[test]
    fn gzip_sizes_follow_the_contents() {
        let dist = page(
            "gzip",
            &[("zeros.js", &"0".repeat(100_000)), ("one.js", "1")],
        );
        let zeros = gzipped_bytes(&dist.join("zeros.js")).expect("size");
        assert!((50..1_000).contains(&zeros), "{zeros}");
        assert!(gzipped_bytes(&dist.join("one.js")).expect("size") < zeros);
        assert!(gzipped_bytes(&dist.join("absent.js")).is_err());
        std::fs::remove_dir_all(&dist).expect("remove");
    }
}
