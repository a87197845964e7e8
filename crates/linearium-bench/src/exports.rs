//! The wasm module's functions, called from JavaScript as they are, without generated glue.
//!
//! `reserve` gives memory for the files of a case, `open` prepares it, `run` does the work,
//! `output` and `output_len` say where the result lies. Numbers are pointers and lengths; 0 is
//! success, and after anything else `output` holds the sentence that says what is wrong.

use std::sync::Mutex;

use fearless_simd::Level;

use crate::{Case, Files, NAMES, open};

struct Module {
    files: [Vec<u8>; 3],
    case: Option<Box<dyn Case>>,
    error: String,
}

// A wasm module of one thread: what is in the lock never crosses to another.
struct Single(Module);
#[expect(unsafe_code, reason = "the module has one thread")]
unsafe impl Send for Single {}

static MODULE: Mutex<Single> = Mutex::new(Single(Module {
    files: [Vec::new(), Vec::new(), Vec::new()],
    case: None,
    error: String::new(),
}));

fn with<T>(f: impl FnOnce(&mut Module) -> T) -> T {
    let mut module = MODULE
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner());
    f(&mut module.0)
}

/// The result of the last run, if there is a case and it can be read.
fn result(module: &mut Module) -> Option<&[f32]> {
    module.case.as_mut().and_then(|case| case.output().ok())
}

/// Memory for file 0 (config), 1 (weights) or 2 (text) of `len` bytes.
#[expect(unsafe_code, reason = "an export needs an unmangled name")]
#[unsafe(no_mangle)]
pub extern "C" fn reserve(file: usize, len: usize) -> usize {
    with(|m| {
        m.files[file] = vec![0; len];
        m.files[file].as_ptr() as usize
    })
}

/// Prepares the case of this number, with the reserved files if any.
#[expect(unsafe_code, reason = "an export needs an unmangled name")]
#[unsafe(no_mangle)]
pub extern "C" fn open_case(index: usize) -> u32 {
    with(|m| {
        let [config, weights, text] = std::mem::take(&mut m.files);
        let files = (!config.is_empty()).then_some(Files {
            config,
            weights,
            text,
        });
        let name = NAMES.get(index).copied().unwrap_or("of that number");
        match open(name, Level::new(), files) {
            Ok(case) => {
                m.case = Some(case);
                0
            }
            Err(error) => {
                m.error = error;
                1
            }
        }
    })
}

/// Does the work once.
#[expect(unsafe_code, reason = "an export needs an unmangled name")]
#[unsafe(no_mangle)]
pub extern "C" fn run_case() -> u32 {
    with(|m| {
        let done = match &mut m.case {
            Some(case) => case.run(),
            None => Err("no case is open".to_owned()),
        };
        match done {
            Ok(()) => 0,
            Err(error) => {
                m.error = error;
                1
            }
        }
    })
}

/// Where the result lies, as f32.
#[expect(unsafe_code, reason = "an export needs an unmangled name")]
#[unsafe(no_mangle)]
pub extern "C" fn output() -> usize {
    with(|m| result(m).map_or(0, |o| o.as_ptr() as usize))
}

/// Number of f32 in the result.
#[expect(unsafe_code, reason = "an export needs an unmangled name")]
#[unsafe(no_mangle)]
pub extern "C" fn output_len() -> usize {
    with(|m| result(m).map_or(0, <[f32]>::len))
}

/// Where the last error's sentence lies, in UTF-8.
#[expect(unsafe_code, reason = "an export needs an unmangled name")]
#[unsafe(no_mangle)]
pub extern "C" fn error() -> usize {
    with(|m| m.error.as_ptr() as usize)
}

/// Its length in bytes.
#[expect(unsafe_code, reason = "an export needs an unmangled name")]
#[unsafe(no_mangle)]
pub extern "C" fn error_len() -> usize {
    with(|m| m.error.len())
}
