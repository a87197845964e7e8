//! The self-check: every kernel's canary on the GPU and on the CPU.

use fearless_simd::Level;
use linearium::kernels;
use linearium::player::Player;
use linearium::recording::{BufferId, Call, Kernel, Layout, Pass, Recording};

use crate::{Gpu, GpuPlayer};

/// The largest RMS(GPU - CPU) / RMS(CPU) that passes: about three hundred roundings of f32. WGSL
/// itself allows `exp(x)` an error of 3 + 2|x| units in the last place, 1e-6 where the canaries'
/// decays matter, and a dozen such factors may meet in a state; a wrong index or a missing barrier
/// shows as 1e-2 and more.
pub const TOLERANCE: f64 = 2e-5;

/// Seeds of the canaries: they vary the flags, and one chunk or several.
const SEEDS: [u64; 3] = [0, 1, 2];

/// What a self-check found.
#[derive(Clone, Debug)]
pub struct Report {
    /// The adapter's name.
    pub adapter: String,
    /// One row a kernel.
    pub rows: Vec<Row>,
    /// The largest ratio.
    pub worst: f64,
    /// Whether all passed.
    pub ok: bool,
}

/// One kernel in a [`Report`].
#[derive(Clone, Debug)]
pub struct Row {
    /// The kernel's name.
    pub kernel: &'static str,
    /// RMS(GPU - CPU) / RMS(CPU) of the worst output; NaN if the GPU gave something not finite.
    pub rms_ratio: f64,
    /// Whether that is at most [`TOLERANCE`].
    pub ok: bool,
}

impl Gpu {
    /// Plays the canaries of all kernels here and on the CPU.
    ///
    /// # Errors
    /// If a kernel is refused or the device is lost. A wrong result is not an error but a row.
    pub async fn self_check(&self) -> Result<Report, String> {
        self.self_check_of(kernels::ALL).await
    }

    /// The same for some kernels, those that are in use.
    pub async fn self_check_of(&self, kernels: &[&'static Kernel]) -> Result<Report, String> {
        let calls: Vec<(&'static Kernel, Call)> = kernels
            .iter()
            .flat_map(|&k| SEEDS.map(|seed| (k, (k.canary)(seed))))
            .collect();
        let ratios = self.compare(&calls).await?;
        let rows: Vec<Row> = kernels
            .iter()
            .zip(ratios.chunks(SEEDS.len()))
            .map(|(kernel, ratios)| {
                let rms_ratio = worst(ratios.iter().flatten().copied());
                Row {
                    kernel: kernel.name,
                    rms_ratio,
                    ok: rms_ratio <= TOLERANCE,
                }
            })
            .collect();
        Ok(Report {
            adapter: self.adapter(),
            worst: worst(rows.iter().map(|r| r.rms_ratio)),
            ok: rows.iter().all(|r| r.ok),
            rows,
        })
    }

    /// Plays calls in one recording here and on the CPU; for each call and each buffer that it
    /// writes RMS(GPU - CPU) / RMS(CPU).
    ///
    /// # Errors
    /// As [`Gpu::self_check`].
    pub async fn compare(
        &self,
        calls: &[(&'static Kernel, Call)],
    ) -> Result<Vec<Vec<f64>>, String> {
        let mut layout = Layout::default();
        let mut recording = Recording::default();
        let mut parts = Vec::new();
        let mut kernels = Vec::new();
        for (kernel, call) in calls {
            let bindings: Vec<BufferId> = call
                .reads
                .iter()
                .chain(&call.writes)
                .map(|data| layout.weight(kernel.name, data.as_slice().into()))
                .collect();
            for (id, data) in bindings[kernel.reads..].iter().zip(&call.writes) {
                parts.push((*id, 0..data.len()));
            }
            recording.passes.push(Pass {
                kernel,
                bindings,
                params: call.params,
            });
            kernels.push(*kernel);
        }
        self.prepare(&kernels).await?;
        let mut player = GpuPlayer::new(self, &layout).await?;
        player.play(&recording)?;
        let mut results = player.read(&parts).await?.into_iter();

        let level = Level::new();
        let mut ratios = Vec::new();
        for (kernel, call) in calls {
            let reads: Vec<&[f32]> = call.reads.iter().map(Vec::as_slice).collect();
            let mut expected = call.writes.clone();
            let mut writes: Vec<&mut [f32]> = expected.iter_mut().map(Vec::as_mut_slice).collect();
            (kernel.cpu)(level, &call.params, &reads, &mut writes);
            ratios.push(
                expected
                    .iter()
                    .zip(results.by_ref())
                    .map(|(expected, found)| rms_ratio(expected, &found))
                    .collect(),
            );
        }
        Ok(ratios)
    }
}

/// RMS(found - expected) / RMS(expected) over the elements that the CPU twin has written: what it
/// leaves NaN is the shader's own. Zero if both are all zeros.
fn rms_ratio(expected: &[f32], found: &[f32]) -> f64 {
    let (mut difference, mut reference) = (0.0, 0.0);
    for (&e, &f) in expected.iter().zip(found) {
        if !e.is_nan() {
            difference += (f64::from(f) - f64::from(e)).powi(2);
            reference += f64::from(e).powi(2);
        }
    }
    if difference == 0.0 {
        0.0
    } else {
        (difference / reference).sqrt()
    }
}

/// The largest, NaN if there is one.
fn worst(ratios: impl Iterator<Item = f64>) -> f64 {
    ratios.fold(0.0, |worst, ratio| {
        if ratio.is_nan() || worst.is_nan() {
            f64::NAN
        } else {
            worst.max(ratio)
        }
    })
}
