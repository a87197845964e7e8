//! Decays what is given: `out[t, c] = x[t, c] * exp(w[t, c])`.

use bytemuck::{Pod, Zeroable};
use fearless_simd::{Level, Simd, SimdBase, dispatch};

use super::linear_workgroups;
use super::simd_math::{exp, load, store};
use crate::random::Random;
use crate::recording::{Call, Kernel, Params, Stage};

/// Parameters.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct ExpMultiply {
    /// Rows T.
    pub t: u32,
    /// Columns of w and of the result.
    pub width: u32,
    /// Row stride of x.
    pub x_stride: u32,
    /// First column of x.
    pub x_offset: u32,
}

fn canary(seed: u64) -> Call {
    let mut random = Random::new(seed);
    let (t, width, x_stride, x_offset) = (9, 37, 50, 6);
    let params = ExpMultiply {
        t,
        width,
        x_stride,
        x_offset,
    };
    Call {
        params: Params::pack(&params),
        reads: vec![
            random.normals((x_offset + t * x_stride) as usize, 1.0),
            random.uniforms((t * width) as usize, -6.0, 0.0),
        ],
        writes: vec![vec![f32::NAN; (t * width) as usize]],
    }
}

/// Reads `x [T, width]` (strided), `w [T, width]`; writes `out [T, width]`.
pub static KERNEL: Kernel = Kernel {
    name: "exp_multiply",
    reads: 2,
    writes: 1,
    wgsl: include_str!(concat!(env!("OUT_DIR"), "/exp_multiply.wgsl")),
    canary,
    stages: &[Stage {
        entry: "exp_multiply",
        workgroups: |p| {
            let p: ExpMultiply = p.unpack();
            linear_workgroups((p.t * p.width) as usize)
        },
    }],
    cpu,
}
.of_this_build();

fn cpu(level: Level, params: &Params, reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    dispatch!(level, simd => exp_multiply(simd, &params.unpack(), reads, writes));
}

#[inline(always)]
fn exp_multiply<S: Simd>(simd: S, p: &ExpMultiply, reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let [x, w] = reads else { unreachable!() };
    let [out] = writes else { unreachable!() };
    let width = p.width as usize;
    for t in 0..p.t as usize {
        let x = &x[p.x_offset as usize + t * p.x_stride as usize..][..width];
        let w = &w[t * width..][..width];
        let out = &mut out[t * width..][..width];
        for c in (0..width).step_by(S::f32s::LEN) {
            store::<S>(load(simd, x, c) * exp(simd, load(simd, w, c)), out, c);
        }
    }
}
