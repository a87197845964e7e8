//! Shaders as the GPU gets them: without the comments and the indentation that are for people, so
//! that the page downloads less.

use std::path::Path;
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let folder = Path::new("src/kernels");
    let out = env::var_os("OUT_DIR").ok_or_else(|| io::Error::other("cargo sets OUT_DIR"))?;
    println!("cargo::rerun-if-changed={}", folder.display());
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_none_or(|e| e != "wgsl") {
            continue;
        }
        println!("cargo::rerun-if-changed={}", path.display());
        // WGSL has no strings, so `//` always begins a comment.
        let short: String = fs::read_to_string(&path)?
            .lines()
            .map(|line| line.split("//").next().unwrap_or_default().trim())
            .filter(|line| !line.is_empty())
            .flat_map(|line| [line, "\n"])
            .collect();
        fs::write(
            Path::new(&out).join(path.file_name().unwrap_or_default()),
            short,
        )?;
    }
    Ok(())
}
