//! The host of the lab natively: players of either back end, and a clock.

use std::cell::RefCell;
use std::ops::Range;
use std::time::Instant;

use linearium::lab::Host;
use linearium::player::{CpuPlayer, Player};
use linearium::recording::{BufferId, Layout, Recording};
use linearium_gpu::{Gpu, GpuPlayer, Report, TOLERANCE};

use crate::arguments::{Arguments, Flag};
use crate::{Failure, note};

/// A player of either back end.
pub enum AnyPlayer {
    /// On the CPU.
    Cpu(CpuPlayer),
    /// On the GPU.
    Gpu(Box<GpuPlayer>),
}

impl Player for AnyPlayer {
    fn backend(&self) -> String {
        match self {
            AnyPlayer::Cpu(p) => p.backend(),
            AnyPlayer::Gpu(p) => p.backend(),
        }
    }

    fn segment_tokens(&self) -> usize {
        match self {
            AnyPlayer::Cpu(p) => p.segment_tokens(),
            AnyPlayer::Gpu(p) => p.segment_tokens(),
        }
    }

    fn write(&mut self, buffer: BufferId, start: usize, data: &[f32]) -> Result<(), String> {
        match self {
            AnyPlayer::Cpu(p) => p.write(buffer, start, data),
            AnyPlayer::Gpu(p) => p.write(buffer, start, data),
        }
    }

    fn reset(&mut self) -> Result<(), String> {
        match self {
            AnyPlayer::Cpu(p) => p.reset(),
            AnyPlayer::Gpu(p) => p.reset(),
        }
    }

    fn play(&mut self, recording: &Recording) -> Result<(), String> {
        match self {
            AnyPlayer::Cpu(p) => p.play(recording),
            AnyPlayer::Gpu(p) => p.play(recording),
        }
    }

    async fn read(&mut self, parts: &[(BufferId, Range<usize>)]) -> Result<Vec<Vec<f32>>, String> {
        match self {
            AnyPlayer::Cpu(p) => p.read(parts).await,
            AnyPlayer::Gpu(p) => p.read(parts).await,
        }
    }
}

/// What was asked for with `--backend`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// The CPU.
    Cpu,
    /// The GPU, or an error.
    Gpu,
    /// The faster one of those that there are.
    Auto,
}

/// The flag `--backend`. On the page nothing said means `auto`; a script wants the same numbers
/// to the last digit on every machine, and no search for a GPU.
pub fn flag() -> Flag {
    Flag::new(
        "backend",
        "cpu|gpu|auto",
        "What computes: the CPU, the GPU (Vulkan), or the faster one of both. Default: cpu.",
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

/// This machine as the host of a lab.
pub struct Machine {
    start: Instant,
    /// The device in use; a fresh one takes its place after a loss.
    gpu: RefCell<Option<Gpu>>,
    self_check: String,
}

impl Machine {
    /// Finds the GPU if it is asked for, and checks its kernels.
    ///
    /// # Errors
    /// With [`Choice::Gpu`] the sentence of what is wrong with it; with [`Choice::Auto`] that
    /// sentence is a note and the CPU runs.
    pub async fn new(choice: Choice) -> Result<Machine, String> {
        let mut machine = Machine {
            start: Instant::now(),
            gpu: RefCell::new(None),
            self_check: "none is needed: the CPU is what a GPU is checked against".to_owned(),
        };
        if choice == Choice::Cpu {
            return Ok(machine);
        }
        match checked_gpu().await {
            Ok((gpu, said)) => {
                machine.gpu = RefCell::new(Some(gpu));
                machine.self_check = said;
            }
            Err(sentence) if choice == Choice::Gpu => return Err(sentence),
            Err(sentence) => note(&sentence),
        }
        Ok(machine)
    }

    /// True if there is a GPU that may be used.
    pub fn has_gpu(&self) -> bool {
        self.gpu.borrow().is_some()
    }
}

async fn checked_gpu() -> Result<(Gpu, String), String> {
    let gpu = Gpu::new().await?;
    let report = gpu.self_check().await?;
    if let Some(wrong) = worst(&report) {
        return Err(wrong);
    }
    let said = format!(
        "{} kernels on {} equal the CPU, worst RMS ratio {:.1e} (at most {TOLERANCE:.0e})",
        report.rows.len(),
        report.adapter,
        report.worst
    );
    Ok((gpu, said))
}

/// A sentence about the kernels that fail their check, if any does.
pub fn worst(report: &Report) -> Option<String> {
    let names: Vec<&str> = report
        .rows
        .iter()
        .filter(|r| !r.ok)
        .map(|r| r.kernel)
        .collect();
    (!names.is_empty()).then(|| {
        format!(
            "the GPU {} computes {} wrongly (worst RMS ratio {:.1e}): use --backend cpu",
            report.adapter,
            names.join(", "),
            report.worst
        )
    })
}

impl Host for Machine {
    type Player = AnyPlayer;

    async fn player(&self, gpu: bool, layout: Layout) -> Result<AnyPlayer, String> {
        if !gpu {
            return Ok(AnyPlayer::Cpu(CpuPlayer::new(&layout)));
        }
        let device = match self.gpu.borrow().clone() {
            Some(device) if !device.is_lost() => device,
            _ => Gpu::new().await?,
        };
        *self.gpu.borrow_mut() = Some(device.clone());
        let player = GpuPlayer::new(&device, &layout).await?;
        Ok(AnyPlayer::Gpu(Box::new(player)))
    }

    fn segment_tokens(&self, gpu: bool) -> usize {
        if gpu { 512 } else { 256 }
    }

    fn now_ms(&self) -> f64 {
        self.start.elapsed().as_secs_f64() * 1e3
    }

    fn self_check(&self) -> String {
        self.self_check.clone()
    }
}
