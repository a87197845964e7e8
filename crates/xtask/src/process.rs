//! Starting other programs and reading what they say.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A result whose error is the sentence that the person reads.
pub type Outcome<T> = Result<T, String>;

/// What a program printed, and whether it ended well.
pub struct Finished {
    /// Whether the exit status was zero.
    pub success: bool,
    /// Standard output; after [`capture`] standard error follows it.
    pub output: String,
}

fn shown(command: &Command) -> String {
    let words: Vec<_> = std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| word.to_string_lossy())
        .collect();
    words.join(" ")
}

fn not_started(command: &Command, error: std::io::Error) -> String {
    format!("`{}` could not be started: {error}", shown(command))
}

/// Runs to the end with this terminal's output; an error unless it ends well.
pub fn run(command: &mut Command) -> Outcome<()> {
    let status = command
        .stdin(Stdio::null())
        .status()
        .map_err(|error| not_started(command, error))?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("`{}` failed ({status})", shown(command)))
    }
}

/// Runs to the end in silence and returns what was printed, whatever the exit status.
pub fn capture(command: &mut Command) -> Outcome<Finished> {
    let result = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| not_started(command, error))?;
    let mut output = String::from_utf8_lossy(&result.stdout).into_owned();
    output.push_str(&String::from_utf8_lossy(&result.stderr));
    Ok(Finished {
        success: result.status.success(),
        output,
    })
}

/// Runs to the end in silence and returns standard output; an error, with standard error, unless it ends well.
pub fn read(command: &mut Command) -> Outcome<String> {
    let result = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| not_started(command, error))?;
    if result.status.success() {
        Ok(String::from_utf8_lossy(&result.stdout).into_owned())
    } else {
        let said = String::from_utf8_lossy(&result.stderr);
        Err(format!("`{}` failed: {}", shown(command), said.trim()))
    }
}

/// Runs to the end, passing standard output on line by line, and returns it as well.
pub fn tee(command: &mut Command) -> Outcome<Finished> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| not_started(command, error))?;
    let mut output = String::new();
    if let Some(stdout) = child.stdout.take() {
        let mut lines = BufReader::new(stdout);
        let mut line = Vec::new();
        while let Ok(count) = lines.read_until(b'\n', &mut line) {
            if count == 0 {
                break;
            }
            let text = String::from_utf8_lossy(&line);
            print!("{text}");
            output.push_str(&text);
            line.clear();
        }
    }
    let status = child
        .wait()
        .map_err(|error| format!("`{}` could not be waited for: {error}", shown(command)))?;
    Ok(Finished {
        success: status.success(),
        output,
    })
}

/// The first directory of `PATH` that holds all of `names`.
pub fn directory_on_path(names: &[&str]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .find(|directory| names.iter().all(|name| directory.join(name).is_file()))
}

/// The program `name` on `PATH`.
pub fn program_on_path(name: &str) -> Option<PathBuf> {
    directory_on_path(&[name]).map(|directory| directory.join(name))
}

/// `PATH` with `first` before everything else.
pub fn path_with(first: &Path) -> Outcome<std::ffi::OsString> {
    let rest = std::env::var_os("PATH").unwrap_or_default();
    std::env::join_paths(std::iter::once(first.to_path_buf()).chain(std::env::split_paths(&rest)))
        .map_err(|error| format!("PATH cannot be extended by {}: {error}", first.display()))
}

/// A command for the cargo that runs this program, in `directory`.
pub fn cargo(directory: &Path) -> Command {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    in_directory(program, directory)
}

/// A command for `program`, to be run in `directory`.
pub fn in_directory(program: impl AsRef<OsStr>, directory: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir(directory);
    command
}
/// The first of two neighbouring ports of this machine that nothing listens on: a page that someone
/// else serves is not the one under test.
pub fn free_ports() -> Outcome<u16> {
    let listen = |port| TcpListener::bind(("127.0.0.1", port));
    (0..20)
        .find_map(|_| {
            let first = listen(0).ok()?.local_addr().ok()?.port();
            let both = listen(first).and(listen(first.checked_add(1)?));
            both.is_ok().then_some(first)
        })
        .ok_or_else(|| "no two neighbouring ports of this machine are free".to_owned())
}
