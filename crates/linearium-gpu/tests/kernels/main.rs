//! Every kernel on the GPU against its CPU twin: canaries, then shapes around every edge of the
//! shaders' tiles with each flag on and off. Without an adapter these tests fail.

#[cfg(feature = "zoo")]
mod delta;
mod gates;
mod linear;
mod scans;

use std::cell::RefCell;

use bytemuck::Pod;
use linearium::random::Random;
use linearium::recording::{Call, Kernel, Params};
use linearium_gpu::{Gpu, TOLERANCE};

/// Token counts: nothing, one, around a chunk of 64, and several chunks.
pub const LENGTHS: [u32; 8] = [0, 1, 2, 63, 64, 65, 100, 257];

/// The device that tests run on.
pub fn gpu() -> Gpu {
    pollster::block_on(Gpu::new()).expect("a test machine has a Vulkan adapter")
}

/// Calls that are collected and then played in one recording.
#[derive(Default)]
pub struct Calls {
    calls: Vec<(&'static Kernel, Call)>,
    names: Vec<String>,
}

impl Calls {
    /// Adds one call.
    pub fn push<P: Pod + std::fmt::Debug>(
        &mut self,
        kernel: &'static Kernel,
        params: &P,
        reads: Vec<Vec<f32>>,
        writes: Vec<Vec<f32>>,
    ) {
        self.names.push(format!("{kernel:?} {params:?}"));
        let params = Params::pack(params);
        let call = Call {
            params,
            reads,
            writes,
        };
        self.calls.push((kernel, call));
    }

    /// Plays them and fails with every call of which an output differs by more than `tolerance`.
    pub fn check(self, tolerance: f64) {
        let ratios = pollster::block_on(gpu().compare(&self.calls)).unwrap();
        let worst = ratios.iter().flatten().fold(0.0f64, |a, &b| a.max(b));
        eprintln!("{} calls, worst RMS ratio {worst:.1e}", ratios.len());
        let wrong: Vec<String> = self
            .names
            .iter()
            .zip(&ratios)
            .filter(|(_, ratios)| !ratios.iter().all(|r| *r <= tolerance))
            .map(|(name, ratios)| format!("{ratios:?} for {name}"))
            .collect();
        assert!(
            wrong.is_empty(),
            "{} of {} calls beyond {tolerance}:\n{}",
            wrong.len(),
            ratios.len(),
            wrong.join("\n")
        );
    }
}

thread_local! {
    static RANDOM: RefCell<Random> = RefCell::new(Random::new(2024));
}

/// `len` normal values.
pub fn normals(len: u32, deviation: f64) -> Vec<f32> {
    RANDOM.with_borrow_mut(|r| r.normals(len as usize, deviation))
}

/// `len` uniform values.
pub fn uniforms(len: u32, low: f64, high: f64) -> Vec<f32> {
    RANDOM.with_borrow_mut(|r| r.uniforms(len as usize, low, high))
}

/// A whole number below `end`.
pub fn below(end: u32) -> u32 {
    RANDOM.with_borrow_mut(|r| r.below(end as usize)) as u32
}

/// `t` rows of `width` normal values; NaN between them, so that a read from elsewhere shows.
pub fn rows(t: u32, width: u32, stride: u32, offset: u32) -> Vec<f32> {
    let mut buffer = vec![f32::NAN; (offset + t * stride + width) as usize];
    for row in 0..t {
        let start = (offset + row * stride) as usize;
        buffer[start..start + width as usize].copy_from_slice(&normals(width, 1.0));
    }
    buffer
}

/// Memory that nothing has been written to.
pub fn unwritten(len: u32) -> Vec<f32> {
    vec![f32::NAN; len as usize]
}

#[test]
fn every_canary_gives_what_the_cpu_gives() {
    let report = pollster::block_on(gpu().self_check()).unwrap();
    for row in &report.rows {
        eprintln!("{:20} {:.2e}", row.kernel, row.rms_ratio);
    }
    assert_eq!(report.rows.len(), linearium::kernels::ALL.len());
    assert!(report.ok, "{report:?}");
    assert!(report.worst <= TOLERANCE);
}

#[test]
fn canaries_of_other_seeds_agree_too() {
    let mut calls = Calls::default();
    for &kernel in linearium::kernels::ALL {
        for seed in 3..15 {
            calls.names.push(format!("{kernel:?} seed {seed}"));
            calls.calls.push((kernel, (kernel.canary)(seed)));
        }
    }
    calls.check(TOLERANCE);
}

/// A canary that no shader can fail would be worthless: each must write something, its values must
/// be finite and not all zero, and it must be small enough for every start of the page.
#[test]
fn canaries_are_small_and_say_something() {
    for kernel in linearium::kernels::ALL {
        for seed in 0..4 {
            let call = (kernel.canary)(seed);
            assert_eq!(call.reads.len(), kernel.reads, "{kernel:?}");
            assert_eq!(call.writes.len(), kernel.writes, "{kernel:?}");
            let buffers = call.reads.iter().chain(&call.writes).flatten();
            // Scratch is filled in one go.
            let len = buffers.filter(|x| !x.is_nan()).count();
            assert!(len < 20_000, "{kernel:?} has {len} values");
            assert!(
                call.reads.iter().flatten().all(|x| x.is_finite()),
                "{kernel:?}"
            );
            let reads: Vec<&[f32]> = call.reads.iter().map(Vec::as_slice).collect();
            let mut after = call.writes.clone();
            let mut writes: Vec<&mut [f32]> = after.iter_mut().map(Vec::as_mut_slice).collect();
            (kernel.cpu)(
                fearless_simd::Level::new(),
                &call.params,
                &reads,
                &mut writes,
            );
            assert!(
                after[0].iter().all(|x| x.is_finite()) && after[0] != call.writes[0],
                "{kernel:?}"
            );
        }
    }
}
