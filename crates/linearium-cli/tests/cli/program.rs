//! Runs the program.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

pub const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// The folder of a shipped model.
pub fn model(name: &str) -> String {
    format!("{ROOT}/web/public/models/{name}")
}

/// The text that no model was trained on.
pub fn heldout() -> String {
    model("heldout.txt")
}

/// What the program gave.
#[derive(Debug)]
pub struct Run {
    pub status: i32,
    pub stdout: String,
    pub stderr: String,
    pub time: Duration,
}

/// No command of these tests may take longer.
const LIMIT: Duration = Duration::from_secs(300);

/// Runs `linearium` to its end.
pub fn run(arguments: &[&str]) -> Run {
    run_with(arguments, &[])
}

/// The same in another environment; the outputs of these tests fit into a pipe.
pub fn run_with(arguments: &[&str], environment: &[(&str, &str)]) -> Run {
    let start = Instant::now();
    let mut child = Command::new(env!("CARGO_BIN_EXE_linearium"))
        .args(arguments)
        .envs(environment.iter().copied())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    while child.try_wait().unwrap().is_none() {
        if start.elapsed() > LIMIT {
            child.kill().unwrap();
            panic!("{arguments:?} did not end");
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    let out = child.wait_with_output().unwrap();
    Run {
        status: out.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&out.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&out.stderr).into_owned(),
        time: start.elapsed(),
    }
}

/// Runs a command that must succeed.
pub fn succeed(arguments: &[&str]) -> Run {
    let run = run(arguments);
    assert_eq!(run.status, 0, "{arguments:?}: {}", run.stderr);
    run
}

/// Runs a command that must fail with this status and one line that contains each of the words.
pub fn fail(status: i32, arguments: &[&str], words: &[&str]) -> Run {
    let run = run(arguments);
    assert_eq!(run.status, status, "{arguments:?}: {}", run.stderr);
    let lines: Vec<&str> = run.stderr.lines().collect();
    assert_eq!(lines.len(), 1, "{arguments:?}: {}", run.stderr);
    assert!(lines[0].starts_with("linearium: "), "{}", lines[0]);
    for word in words {
        assert!(lines[0].contains(word), "{} should say {word}", lines[0]);
    }
    run
}

/// A folder of its own that goes away.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Folder {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = Path::new(env!("CARGO_TARGET_TMPDIR"))
            .join(format!("linearium-{}-{n}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    /// A path in it.
    pub fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }

    /// Writes a file into it.
    pub fn file(&self, name: &str, bytes: impl AsRef<[u8]>) -> String {
        let path = self.path(name);
        fs::create_dir_all(Path::new(&path).parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        path
    }

    /// The names of what is in it.
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(&self.0)
            .unwrap()
            .map(|e| e.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Runs a probe and gives the panel that it writes.
pub fn probe(panel: &str, arguments: &[&str]) -> Value {
    let folder = Folder::new();
    let json = folder.path("panel.json");
    let all = [&["probe", panel, "--json", &json], arguments].concat();
    let run = succeed(&all);
    let value: Value = serde_json::from_slice(&fs::read(&json).unwrap()).unwrap();
    assert!(run.stdout.starts_with(value["summary"].as_str().unwrap()));
    assert_eq!(folder.names(), ["panel.json"]);
    value
}

/// The view with this id.
pub fn view<'a>(panel: &'a Value, id: &str) -> &'a Value {
    let views = panel["views"].as_array().unwrap();
    views.iter().find(|v| v["id"] == id).unwrap_or_else(|| {
        panic!(
            "no view {id} in {:?}",
            views.iter().map(|v| &v["id"]).collect::<Vec<_>>()
        )
    })
}

/// A list of numbers; null is not a number.
pub fn numbers(list: &Value) -> Vec<f64> {
    list.as_array()
        .unwrap()
        .iter()
        .map(|v| v.as_f64().unwrap_or(f64::NAN))
        .collect()
}
