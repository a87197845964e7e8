//! What the commands compute on: the host that the page has too, natively.

use std::sync::LazyLock;
use std::time::Instant;

use linearium_gpu::LabHost;

use crate::arguments::{Arguments, Flag};
use crate::{Failure, note};

/// What was asked for with `--backend`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// The CPU.
    Cpu,
    /// The GPU, or an error.
    Gpu,
    /// Those that there are.
    Auto,
}

/// The flag `--backend`. On the page nothing said means `auto`; a script wants the same numbers
/// to the last digit on every machine, and no search for a GPU.
pub fn flag() -> Flag {
    Flag::new(
        "backend",
        "cpu|gpu|auto",
        "What computes: the CPU, the GPU (Vulkan; LINEARIUM_ADAPTER chooses one by a part of its name), or the faster one of both. Default: cpu.",
    )
}

/// The value of `--backend`.
pub fn choice(arguments: &Arguments) -> Result<Choice, Failure> {
    match arguments.text("backend")? {
        None | Some("cpu") => Ok(Choice::Cpu),
        Some("gpu") => Ok(Choice::Gpu),
        Some("auto") => Ok(Choice::Auto),
        Some(other) => Err(Failure::Usage(format!(
            "--backend = “{other}” is not known: give cpu, gpu or auto"
        ))),
    }
}

/// A host, and whether there is a GPU that may be used.
///
/// # Errors
/// With [`Choice::Gpu`] the sentence of what is wrong with the GPU; with [`Choice::Auto`] that
/// sentence is a note and the CPU runs.
pub async fn host(choice: Choice) -> Result<(LabHost, bool), String> {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    let host = LabHost::new(|| START.elapsed().as_secs_f64() * 1e3);
    if choice == Choice::Cpu {
        return Ok((host, false));
    }
    match host.start_gpu().await {
        Ok(()) => Ok((host, true)),
        Err(sentence) if choice == Choice::Gpu => Err(sentence),
        Err(sentence) => {
            note(&sentence);
            Ok((host, false))
        }
    }
}
