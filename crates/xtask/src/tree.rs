//! Where things lie in the repository, and whether what was built from them is still good.

use crate::process::Outcome;
use std::hash::{DefaultHasher, Hasher};
use std::path::{Path, PathBuf};

/// The repository this program was started from.
pub struct Tree {
    root: PathBuf,
}

impl Tree {
    /// Finds the root two levels above this crate.
    pub fn find() -> Outcome<Self> {
        let manifest = std::env::var_os("CARGO_MANIFEST_DIR")
            .map(PathBuf::from)
            .unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")));
        let root = manifest
            .ancestors()
            .nth(2)
            .filter(|root| root.join("Cargo.lock").is_file())
            .ok_or_else(|| {
                format!(
                    "no workspace found above {}; start this with `cargo xtask` inside the repository",
                    manifest.display()
                )
            })?;
        Ok(Self {
            root: root.to_path_buf(),
        })
    }

    /// The repository itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A path in the repository.
    pub fn at(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    /// Whether `product` was made by [`Tree::stamp`] from the same inputs and has not been touched since.
    pub fn is_current(&self, product: &str, inputs: u64, outputs: &[PathBuf]) -> bool {
        if !outputs.iter().all(|output| output.exists()) {
            return false;
        }
        let Ok(made) = fingerprint(outputs, &[]) else {
            return false;
        };
        std::fs::read_to_string(self.stamp_file(product))
            .is_ok_and(|stamp| stamp == format!("{inputs:016x} {made:016x}"))
    }

    /// Notes that `outputs` are now what follows from `inputs`.
    pub fn stamp(&self, product: &str, inputs: u64, outputs: &[PathBuf]) -> Outcome<()> {
        let made = fingerprint(outputs, &[])?;
        let file = self.stamp_file(product);
        write(&file, &format!("{inputs:016x} {made:016x}"))
    }

    /// The folder for what these commands write for themselves, made if need be.
    pub fn own_folder(&self) -> Outcome<PathBuf> {
        let folder = self.at("target/xtask");
        std::fs::create_dir_all(&folder)
            .map_err(|error| format!("{} cannot be made: {error}", folder.display()))?;
        Ok(folder)
    }

    fn stamp_file(&self, product: &str) -> PathBuf {
        self.root
            .join("target/xtask")
            .join(format!("{product}.stamp"))
    }
}

/// Writes a file and the folders that it needs.
pub fn write(file: &Path, text: &str) -> Outcome<()> {
    let told = |error: std::io::Error| format!("{} cannot be written: {error}", file.display());
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder).map_err(told)?;
    }
    std::fs::write(file, text).map_err(told)
}

/// Reads a text file.
pub fn read(file: &Path) -> Outcome<String> {
    std::fs::read_to_string(file)
        .map_err(|error| format!("{} cannot be read: {error}", file.display()))
}

/// Every file below `path` (or `path` itself), sorted; folders and files whose name is in `skipped` are left out.
pub fn files(path: &Path, skipped: &[&str]) -> Outcome<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut open = vec![path.to_path_buf()];
    while let Some(next) = open.pop() {
        if next
            .file_name()
            .is_some_and(|name| skipped.iter().any(|skip| name == *skip))
        {
            continue;
        }
        if next.is_dir() {
            let entries = std::fs::read_dir(&next)
                .map_err(|error| format!("{} cannot be listed: {error}", next.display()))?;
            open.extend(entries.flatten().map(|entry| entry.path()));
        } else if next.is_file() {
            found.push(next);
        }
    }
    found.sort();
    Ok(found)
}

/// A hash of the names and contents of every file below `paths`; a path that does not exist counts as absent.
pub fn fingerprint(paths: &[PathBuf], skipped: &[&str]) -> Outcome<u64> {
    let mut hasher = DefaultHasher::new();
    for path in paths {
        for file in files(path, skipped)? {
            let bytes = std::fs::read(&file)
                .map_err(|error| format!("{} cannot be read: {error}", file.display()))?;
            hasher.write(file.as_os_str().as_encoded_bytes());
            hasher.write_usize(bytes.len());
            hasher.write(&bytes);
        }
    }
    Ok(hasher.finish())
}

/// A hash of a text.
pub fn text_fingerprint(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(text.as_bytes());
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("xtask-{name}-{}", std::process::id()));
        std::fs::create_dir_all(folder.join("kept/deep")).expect("scratch folder");
        folder
    }

    #[test]
    fn a_fingerprint_follows_names_and_contents_but_not_what_is_skipped() {
        let folder = scratch("fingerprint");
        let file = folder.join("kept/deep/a.txt");
        std::fs::write(&file, "one").expect("write");
        let of = || fingerprint(std::slice::from_ref(&folder), &["dist"]).expect("fingerprint");
        let first = of();
        std::fs::create_dir_all(folder.join("dist")).expect("dist");
        std::fs::write(folder.join("dist/b.txt"), "ignored").expect("write");
        assert_eq!(first, of());
        std::fs::write(&file, "two").expect("write");
        let second = of();
        assert_ne!(first, second);
        std::fs::rename(&file, folder.join("kept/deep/c.txt")).expect("rename");
        assert_ne!(second, of());
        std::fs::remove_dir_all(&folder).expect("remove");
    }

    #[test]
    fn a_product_is_current_until_its_inputs_or_outputs_change() {
        let folder = scratch("stamp");
        let tree = Tree {
            root: folder.clone(),
        };
        let output = folder.join("kept/out.wasm");
        let outputs = [output.clone()];
        assert!(!tree.is_current("wasm", 7, &outputs));
        std::fs::write(&output, "built").expect("write");
        tree.stamp("wasm", 7, &outputs).expect("stamp");
        assert!(tree.is_current("wasm", 7, &outputs));
        assert!(!tree.is_current("wasm", 8, &outputs));
        std::fs::write(&output, "built by hand").expect("write");
        assert!(!tree.is_current("wasm", 7, &outputs));
        std::fs::remove_dir_all(&folder).expect("remove");
    }
}
