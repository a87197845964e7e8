//! Gated activation of a feed-forward layer: `out = silu(gate) * up`.

use bytemuck::{Pod, Zeroable};
use fearless_simd::{Level, Simd, SimdBase, dispatch};

use super::linear_workgroups;
use super::simd_math::{load, silu, store};
use crate::random::Random;
use crate::recording::{Call, Kernel, Params, Stage};

/// Parameters.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct Swiglu {
    /// Rows T.
    pub t: u32,
    /// Columns.
    pub width: u32,
    /// Row stride of the gate.
    pub gate_stride: u32,
    /// First column of the gate.
    pub gate_offset: u32,
    /// Row stride of the other factor.
    pub up_stride: u32,
    /// First column of the other factor.
    pub up_offset: u32,
}

fn canary(seed: u64) -> Call {
    let mut random = Random::new(seed);
    let (t, width, gate_stride, gate_offset, up_stride, up_offset) = (9, 37, 50, 6, 41, 3);
    let params = Swiglu {
        t,
        width,
        gate_stride,
        gate_offset,
        up_stride,
        up_offset,
    };
    Call {
        params: Params::pack(&params),
        reads: vec![
            random.normals((gate_offset + t * gate_stride) as usize, 3.0),
            random.normals((up_offset + t * up_stride) as usize, 1.0),
        ],
        writes: vec![vec![f32::NAN; (t * width) as usize]],
    }
}

/// Reads `gate [T, width]`, `up [T, width]` (strided); writes `out [T, width]`.
pub static KERNEL: Kernel = Kernel {
    name: "swiglu",
    reads: 2,
    writes: 1,
    wgsl: include_str!(concat!(env!("OUT_DIR"), "/swiglu.wgsl")),
    canary,
    stages: &[Stage {
        entry: "swiglu",
        workgroups: |p| {
            let p: Swiglu = p.unpack();
            linear_workgroups((p.t * p.width) as usize)
        },
    }],
    cpu,
}
.of_this_build();

fn cpu(level: Level, params: &Params, reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    dispatch!(level, simd => swiglu(simd, &params.unpack(), reads, writes));
}

#[inline(always)]
fn swiglu<S: Simd>(simd: S, p: &Swiglu, reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let [gate, up] = reads else { unreachable!() };
    let [out] = writes else { unreachable!() };
    let width = p.width as usize;
    for t in 0..p.t as usize {
        let gate = &gate[p.gate_offset as usize + t * p.gate_stride as usize..][..width];
        let up = &up[p.up_offset as usize + t * p.up_stride as usize..][..width];
        let out = &mut out[t * width..][..width];
        for c in (0..width).step_by(S::f32s::LEN) {
            store::<S>(silu(simd, load(simd, gate, c)) * load(simd, up, c), out, c);
        }
    }
}
