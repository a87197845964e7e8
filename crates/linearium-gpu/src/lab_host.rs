//! What a lab runs on where there may be a GPU: players of either back end, and a fresh device
//! after a loss.

use std::cell::RefCell;
use std::ops::Range;

use linearium::lab::{CPU_CHECK, CPU_REPORT, CPU_SEGMENT, CPU_SEGMENT_PRODUCTS, Host};
use linearium::number::short;
use linearium::player::{CpuPlayer, Player};
use linearium::recording::{BufferId, Layout, Recording};

use crate::{Gpu, GpuPlayer, Report};

/// A player of either back end.
pub enum AnyPlayer {
    /// On the CPU.
    Cpu(CpuPlayer),
    /// On the GPU; boxed, since it is much larger.
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

/// A host with both back ends.
pub struct LabHost {
    now_ms: fn() -> f64,
    gpu: RefCell<Option<Gpu>>,
    check: RefCell<Option<Report>>,
}

/// Tokens in a recording on the GPU: a dispatch costs as much for few tokens as for many.
const GPU_SEGMENT: usize = 1024;

/// Products in a recording on a GPU: 30 ms at a trillion a second, far from the two seconds after
/// which drivers take a GPU to hang.
const GPU_SEGMENT_PRODUCTS: u64 = 32_000_000_000;

impl LabHost {
    /// A host whose clock gives milliseconds and never goes back. It has no GPU until
    /// [`LabHost::start_gpu`].
    pub fn new(now_ms: fn() -> f64) -> LabHost {
        LabHost {
            now_ms,
            gpu: RefCell::new(None),
            check: RefCell::new(None),
        }
    }

    /// Whether there is a device that passed its self-check and was not lost since.
    pub fn has_gpu(&self) -> bool {
        self.gpu.borrow().as_ref().is_some_and(|gpu| !gpu.is_lost())
    }

    /// Makes a device and checks every kernel on it against the CPU.
    ///
    /// # Errors
    /// A sentence if there is no adapter, a kernel is refused, or a result is wrong; the GPU is
    /// not used then.
    pub async fn start_gpu(&self) -> Result<(), String> {
        let gpu = Gpu::new().await?;
        let report = gpu.self_check().await?;
        let verdict = if report.ok {
            gpu.measure_crossover(self.now_ms).await.map(|_| ())
        } else {
            let wrong: Vec<&str> = report
                .rows
                .iter()
                .filter(|r| !r.ok)
                .map(|r| r.kernel)
                .collect();
            Err(format!(
                "the GPU {} computes {} wrongly (self-check against the CPU): the lab stays on the CPU",
                report.adapter,
                wrong.join(", ")
            ))
        };
        *self.check.borrow_mut() = Some(report);
        *self.gpu.borrow_mut() = verdict.is_ok().then_some(gpu);
        verdict
    }

    /// Gives the device up, as a driver does that is reset: a hook for tests of what follows.
    pub fn lose_gpu(&self) {
        if let Some(gpu) = &*self.gpu.borrow() {
            gpu.lose();
        }
    }

    /// The last self-check, one row a kernel, to be copied into a report of a fault.
    pub fn report(&self) -> String {
        let check = self.check.borrow();
        let Some(report) = &*check else {
            return CPU_REPORT.to_owned();
        };
        let mut out = format!("adapter: {}\n", report.adapter);
        for row in &report.rows {
            let verdict = if row.ok { "ok" } else { "WRONG" };
            out += &format!(
                "{}: RMS ratio {:.1e} {verdict}\n",
                row.kernel, row.rms_ratio
            );
        }
        out
    }
}

impl Host for LabHost {
    type Player = AnyPlayer;

    async fn player(&self, gpu: bool, layout: Layout) -> Result<AnyPlayer, String> {
        if !gpu {
            return Ok(AnyPlayer::Cpu(CpuPlayer::new(&layout)));
        }
        let usable = self.gpu.borrow().clone().filter(|gpu| !gpu.is_lost());
        let device = match usable {
            Some(device) => device,
            None => {
                // A driver that was reset may be another one than was checked before.
                self.start_gpu().await?;
                self.gpu.borrow().clone().ok_or("there is no GPU")?
            }
        };
        Ok(AnyPlayer::Gpu(Box::new(
            GpuPlayer::new(&device, &layout).await?,
        )))
    }

    fn segment_tokens(&self, gpu: bool) -> usize {
        if gpu { GPU_SEGMENT } else { CPU_SEGMENT }
    }

    fn segment_products(&self, gpu: bool) -> u64 {
        let hardware = self.gpu.borrow().as_ref().is_some_and(|g| !g.is_software());
        if gpu && hardware {
            GPU_SEGMENT_PRODUCTS
        } else {
            CPU_SEGMENT_PRODUCTS
        }
    }

    fn now_ms(&self) -> f64 {
        (self.now_ms)()
    }

    fn self_check(&self) -> String {
        match &*self.check.borrow() {
            None => CPU_CHECK.to_owned(),
            Some(r) => format!(
                "{} kernels checked on {} against the CPU, worst RMS ratio {}: {}",
                r.rows.len(),
                r.adapter,
                short(r.worst),
                if r.ok {
                    "passed"
                } else {
                    "FAILED, the CPU is used"
                }
            ),
        }
    }
}
