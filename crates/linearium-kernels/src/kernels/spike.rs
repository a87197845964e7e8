//! Leaky integrate-and-fire neurons over the token axis: the membrane takes in
//! `v <- v + (x_t - v) / tau`, gives `s_t = 1` and goes back to 0 where it reached the threshold,
//! else `s_t = 0`. What one token leaves behind depends on whether it fired, so that no two tokens
//! can be taken at once. `spikingjelly/clock_driven/neuron.py`, `LIFNode` with a hard reset.

use bytemuck::{Pod, Zeroable};
use fearless_simd::{Level, Simd, SimdBase, dispatch, prelude::*};

use super::linear_workgroups;
use super::simd_math::{load, store};
use crate::random::Random;
use crate::recording::{Call, Kernel, Params, Stage};

/// Parameters.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct Spike {
    /// Rows T.
    pub t: u32,
    /// Columns, a neuron each.
    pub width: u32,
    /// 1 / tau.
    pub rate: f32,
    /// The threshold.
    pub threshold: f32,
}

fn canary(seed: u64) -> Call {
    let mut random = Random::new(seed);
    let (t, width) = (100, 37);
    let params = Spike {
        t: t as u32,
        width: width as u32,
        rate: 0.5,
        threshold: 1.0,
    };
    // Multiples of 2^-6: no rounding in some forty steps of halving would be too much to ask, but
    // between two spikes every membrane stays a sum of few enough bits to be the same on both.
    let currents = random
        .normals(t * width, 1.2)
        .iter()
        .map(|x| (x * 64.0).round() / 64.0)
        .collect();
    Call {
        params: Params::pack(&params),
        reads: vec![currents],
        writes: vec![vec![f32::NAN; t * width], random.uniforms(width, -1.0, 1.0)],
    }
}

/// Reads `x [T, width]`; writes the spikes `out [T, width]` and the membranes `state [width]`.
pub static KERNEL: Kernel = Kernel {
    name: "spike",
    reads: 1,
    writes: 2,
    wgsl: include_str!(concat!(env!("OUT_DIR"), "/spike.wgsl")),
    canary,
    stages: &[Stage {
        entry: "spike",
        workgroups: |p| {
            let p: Spike = p.unpack();
            linear_workgroups(p.width as usize)
        },
    }],
    cpu,
};

fn cpu(level: Level, params: &Params, reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    dispatch!(level, simd => spike(simd, &params.unpack(), reads, writes));
}

#[inline(always)]
fn spike<S: Simd>(simd: S, p: &Spike, reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let [x] = reads else { unreachable!() };
    let [out, state] = writes else { unreachable!() };
    let width = p.width as usize;
    let (zero, one) = (S::f32s::splat(simd, 0.0), S::f32s::splat(simd, 1.0));
    for t in 0..p.t as usize {
        let (x, out) = (&x[t * width..][..width], &mut out[t * width..][..width]);
        for c in (0..width).step_by(S::f32s::LEN) {
            let v = load(simd, &state[..width], c);
            let v = v + (load(simd, x, c) - v) * p.rate;
            let fires = v.simd_ge(p.threshold);
            store::<S>(fires.select(one, zero), out, c);
            store::<S>(fires.select(zero, v), &mut state[..width], c);
        }
    }
}
