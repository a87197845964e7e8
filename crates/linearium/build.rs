//! Writes the registry: a module for every file in `src/mixers/`, the list of their definitions,
//! and the list of all ids and names, which a build with few mixers has too, so that it can say
//! what there is.

use std::fmt::Write as _;
use std::path::Path;
use std::{env, fs, io};

/// The mixers of a build without the feature `zoo`: what the page needs on its first load.
const FIRST_LOAD: [&str; 5] = ["attention", "gla", "retnet", "s6", "ssd"];

fn main() -> io::Result<()> {
    let folder = Path::new("src/mixers");
    println!("cargo::rerun-if-changed={}", folder.display());
    let variable = |name| env::var(name).map_err(|e| io::Error::other(format!("{name}: {e}")));
    let root = variable("CARGO_MANIFEST_DIR")?;
    let zoo = env::var_os("CARGO_FEATURE_ZOO").is_some();
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == "rs") {
            files.push(path);
        }
    }
    files.sort();
    let (mut modules, mut all, mut names) = (String::new(), String::new(), String::new());
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
        let _ = writeln!(names, "    ({id:?}, {name:?}),");
        if zoo || FIRST_LOAD.contains(&id.as_str()) {
            let file = Path::new(&root).join(path);
            let _ = writeln!(modules, "#[path = {file:?}]\npub mod {id};");
            let _ = writeln!(all, "    &{id}::DEFINITION,");
        }
    }
    let text = format!(
        "{modules}\n/// Every mixer of this build, by id.\n\
         pub static ALL: &[&Definition] = &[\n{all}];\n\n\
         /// Id and name of every mixer there is, whether this build has it or not.\n\
         pub static NAMES: &[(&str, &str)] = &[\n{names}];\n"
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
