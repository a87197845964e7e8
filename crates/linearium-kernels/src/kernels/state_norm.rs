//! Caps the Frobenius norm of each head's state: if `n = |S| > cap` then `S <- S * cap / n`.
//! Stuffed Mamba (arXiv 2410.07145), mitigation 2. The released code
//! (`passkey-retrieval/mamba2/modeling_mamba2.py`) multiplies by n / cap, the inverse; this is the
//! rule of the paper.

use bytemuck::{Pod, Zeroable};
use fearless_simd::{Level, Simd, dispatch};

use super::simd_math::dot;
use crate::random::Random;
use crate::recording::{Call, Kernel, Params, Stage};

/// Parameters.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct StateNorm {
    /// Heads H.
    pub heads: u32,
    /// State elements of a head.
    pub size: u32,
}

fn canary(seed: u64) -> Call {
    let mut random = Random::new(seed);
    let (heads, size) = (5, 143);
    let params = StateNorm {
        heads: heads as u32,
        size: size as u32,
    };
    Call {
        params: Params::pack(&params),
        // A norm is about 12: some heads are capped and some are not.
        reads: vec![random.uniforms(heads, 6.0, 18.0)],
        writes: vec![random.normals(heads * size, 1.0)],
    }
}

/// Reads `cap [H]`; writes `state [H, size]`.
pub static KERNEL: Kernel = Kernel {
    name: "state_norm",
    reads: 1,
    writes: 1,
    wgsl: include_str!(concat!(env!("OUT_DIR"), "/state_norm.wgsl")),
    canary,
    // One workgroup a head, folded over two dimensions (S6 has a head for each channel).
    stages: &[Stage {
        entry: "state_norm",
        workgroups: |p| {
            let p: StateNorm = p.unpack();
            match p.heads {
                0 => [0, 1, 1],
                1..=65_535 => [p.heads, 1, 1],
                _ => [65_535, p.heads.div_ceil(65_535), 1],
            }
        },
    }],
    cpu,
}
.of_this_build();

fn cpu(level: Level, params: &Params, reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    dispatch!(level, simd => state_norm(simd, &params.unpack(), reads, writes));
}

#[inline(always)]
fn state_norm<S: Simd>(simd: S, p: &StateNorm, reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let [cap] = reads else { unreachable!() };
    let [state] = writes else { unreachable!() };
    for h in 0..p.heads as usize {
        let s = &mut state[h * p.size as usize..][..p.size as usize];
        let norm = dot(simd, s, s).sqrt();
        if norm > cap[h] {
            for x in s {
                *x *= cap[h] / norm;
            }
        }
    }
}
