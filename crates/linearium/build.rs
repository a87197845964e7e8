//! Writes the registry: the list of the definitions in `src/mixers/`, and the list of all models
//! with random weights, which a build with few mixers has too, so that it can say what there is.

use std::fmt::Write as _;
use std::path::Path;
use std::{env, fs, io};

/// The mixers of a build without the feature `zoo`, which are all that the page needs on its first
/// load; the modules of all others are declared with `#[cfg(feature = "zoo")]`.
const FIRST_LOAD: [&str; 5] = ["attention", "gla", "retnet", "s6", "ssd"];

fn main() -> io::Result<()> {
    let folder = Path::new("src/mixers");
    println!("cargo::rerun-if-changed={}", folder.display());
    let variable = |name| env::var(name).map_err(|e| io::Error::other(format!("{name}: {e}")));
    let zoo = env::var_os("CARGO_FEATURE_ZOO").is_some();
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == "rs") {
            files.push(path);
        }
    }
    files.sort();
    let (mut all, mut names) = (String::new(), String::new());
    for path in &files {
        println!("cargo::rerun-if-changed={}", path.display());
        let text = fs::read_to_string(path)?;
        let id = field(path, &text, "id")?;
        let name = field(path, &text, "name")?;
        if path.file_stem().is_none_or(|stem| stem != id.as_str()) {
            return Err(io::Error::other(format!(
                "{} holds the mixer {id}: give the file the name of its id",
                path.display()
            )));
        }
        let _ = writeln!(names, "    (\"random-{id}\", \"Random weights: {name}\"),");
        if zoo || FIRST_LOAD.contains(&id.as_str()) {
            let _ = writeln!(all, "    &{id}::DEFINITION,");
        }
    }
    let text = format!(
        "/// Every mixer of this build, by id.\n\
         pub static ALL: &[&Definition] = &[\n{all}];\n\n\
         /// Every mixer there is, whether this build has it or not: id and label of the model\n\
         /// that has random weights.\n\
         pub const RANDOM_MODELS: [(&str, &str); {}] = [\n{names}];\n",
        files.len()
    );
    fs::write(Path::new(&variable("OUT_DIR")?).join("mixers.rs"), text)
}

/// The text of a field of the file's `DEFINITION`.
fn field(path: &Path, text: &str, name: &str) -> io::Result<String> {
    let start = format!("    {name}: \"");
    text.lines()
        .find_map(|line| line.strip_prefix(&start)?.strip_suffix("\","))
        .map(str::to_owned)
        .ok_or_else(|| {
            io::Error::other(format!(
                "{} has no line `{start}...\",`: a mixer has a DEFINITION with an id and a name",
                path.display()
            ))
        })
}
