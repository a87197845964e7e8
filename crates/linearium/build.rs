//! Writes the registries: the list of the definitions in `src/mixers/`, the list of all models with
//! random weights, which a build with few mixers has too, so that it can say what there is, and the
//! modules and the list of the exhibits in `src/exhibits/`.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

/// The mixers of a build without the feature `zoo`, which are all that the page needs on its first
/// load; the modules of all others are declared with `#[cfg(feature = "zoo")]`.
const FIRST_LOAD: [&str; 5] = ["attention", "gla", "retnet", "s6", "ssd"];

fn main() -> io::Result<()> {
    let out = variable("OUT_DIR")?;
    let out = Path::new(&out);
    fs::write(out.join("mixers.rs"), mixers()?)?;
    fs::write(out.join("exhibits.rs"), exhibits()?)
}

fn variable(name: &str) -> io::Result<String> {
    env::var(name).map_err(|e| io::Error::other(format!("{name}: {e}")))
}

/// The Rust files of a folder with their texts, by name; the build runs again when one changes.
fn sources(folder: &str) -> io::Result<Vec<(PathBuf, String)>> {
    let folder = Path::new(folder);
    println!("cargo::rerun-if-changed={}", folder.display());
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == "rs") {
            println!("cargo::rerun-if-changed={}", path.display());
            let text = fs::read_to_string(&path)?;
            files.push((path, text));
        }
    }
    files.sort();
    Ok(files)
}

/// That a file has the name of what it holds.
fn named(path: &Path, what: &str, id: &str) -> io::Result<()> {
    if path.file_stem().is_some_and(|stem| stem == id) {
        return Ok(());
    }
    Err(io::Error::other(format!(
        "{} holds the {what} {id}: give the file the name of its id",
        path.display()
    )))
}

fn mixers() -> io::Result<String> {
    let zoo = env::var_os("CARGO_FEATURE_ZOO").is_some();
    let files = sources("src/mixers")?;
    let (mut all, mut names) = (String::new(), String::new());
    for (path, text) in &files {
        let id = field(path, text, "id")?;
        let name = field(path, text, "name")?;
        named(path, "mixer", &id)?;
        let _ = writeln!(names, "    (\"random-{id}\", \"Random weights: {name}\"),");
        if zoo || FIRST_LOAD.contains(&id.as_str()) {
            let _ = writeln!(all, "    &{id}::DEFINITION,");
        }
    }
    Ok(format!(
        "/// Every mixer of this build, by id.\n\
         pub static ALL: &[&Definition] = &[\n{all}];\n\n\
         /// Every mixer there is, whether this build has it or not: id and label of the model\n\
         /// that has random weights.\n\
         pub const RANDOM_MODELS: [(&str, &str); {}] = [\n{names}];\n",
        files.len()
    ))
}

fn exhibits() -> io::Result<String> {
    let root = variable("CARGO_MANIFEST_DIR")?;
    let (mut modules, mut all) = (String::new(), String::new());
    for (path, text) in sources("src/exhibits")? {
        let slug = field(&path, &text, "slug")?;
        named(&path, "exhibit", &slug)?;
        // What is included has no folder of its own to look for modules in.
        let file = Path::new(&root).join(&path);
        let _ = writeln!(
            modules,
            "#[path = {:?}]\npub mod {slug};",
            file.display().to_string()
        );
        let _ = writeln!(all, "    &{slug}::EXHIBIT,");
    }
    Ok(format!(
        "{modules}\n/// Every exhibit, by slug.\npub static ALL: &[&Exhibit] = &[\n{all}];\n"
    ))
}

/// The text of a field of the file's `DEFINITION`.
fn field(path: &Path, text: &str, name: &str) -> io::Result<String> {
    let start = format!("    {name}: \"");
    text.lines()
        .find_map(|line| line.strip_prefix(&start)?.strip_suffix("\","))
        .map(str::to_owned)
        .ok_or_else(|| {
            io::Error::other(format!(
                "{} has no line `{start}...\",`: a mixer has a DEFINITION with an id and a name, an exhibit an EXHIBIT with a slug",
                path.display()
            ))
        })
}
