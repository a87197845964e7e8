//! Weighted sum of what several memories gave: `out[t, c] = sum_m w[t, m] x[t, m, c]`. Memories
//! without a column in w count in full.

use bytemuck::{Pod, Zeroable};
use fearless_simd::{Level, Simd, SimdBase, SimdFloat, dispatch};

use super::linear_workgroups;
use super::simd_math::{load, store};
use crate::random::Random;
use crate::recording::{Call, Kernel, Params, Stage};

/// Parameters.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct Mix {
    /// Rows T.
    pub t: u32,
    /// Columns of the result.
    pub width: u32,
    /// Memories.
    pub memories: u32,
    /// Columns of w.
    pub weighted: u32,
}

fn canary(seed: u64) -> Call {
    let mut random = Random::new(seed);
    let (t, width, memories) = (9, 37, 4);
    let weighted = [3, 4][(seed % 2) as usize];
    let params = Mix {
        t,
        width,
        memories,
        weighted,
    };
    Call {
        params: Params::pack(&params),
        reads: vec![
            random.normals((t * memories * width) as usize, 1.0),
            random.uniforms((t * weighted) as usize, 0.0, 1.0),
        ],
        writes: vec![vec![f32::NAN; (t * width) as usize]],
    }
}

/// Reads `x [T, memories, width]`, `w [T, weighted]`; writes `out [T, width]`.
pub static KERNEL: Kernel = Kernel {
    name: "mix",
    reads: 2,
    writes: 1,
    wgsl: include_str!(concat!(env!("OUT_DIR"), "/mix.wgsl")),
    canary,
    stages: &[Stage {
        entry: "mix_memories",
        workgroups: |p| {
            let p: Mix = p.unpack();
            linear_workgroups((p.t * p.width) as usize)
        },
    }],
    cpu,
};

fn cpu(level: Level, params: &Params, reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    dispatch!(level, simd => mix(simd, &params.unpack(), reads, writes));
}

#[inline(always)]
fn mix<S: Simd>(simd: S, p: &Mix, reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let [x, w] = reads else { unreachable!() };
    let [out] = writes else { unreachable!() };
    let (width, memories, weighted) = (p.width as usize, p.memories as usize, p.weighted as usize);
    for t in 0..p.t as usize {
        let x = &x[t * memories * width..][..memories * width];
        let w = &w[t * weighted..][..weighted];
        let out = &mut out[t * width..][..width];
        for c in (0..width).step_by(S::f32s::LEN) {
            let mut sum = S::f32s::splat(simd, 0.0);
            for (m, x) in x.chunks_exact(width).enumerate() {
                let weight = w.get(m).copied().unwrap_or(1.0);
                sum = load(simd, x, c).mul_add(S::f32s::splat(simd, weight), sum);
            }
            store::<S>(sum, out, c);
        }
    }
}
