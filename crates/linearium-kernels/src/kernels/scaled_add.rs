//! `out[t, c] = x[t, c] + m * d[c / per] * y[t, c]`: the skip `D x` of Mamba (per = head width,
//! or 1), and the difference of two scans (m = -1, no d). With `multiply` it is the product
//! `x[t, c] * y[t, c]` instead (the step size times the input of S6).

use bytemuck::{Pod, Zeroable};
use fearless_simd::{Level, Simd, dispatch};

use super::linear_workgroups;
use crate::random::Random;
use crate::recording::{Call, Kernel, Params, Stage};

/// Parameters.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct ScaledAdd {
    /// Rows T.
    pub t: u32,
    /// Columns.
    pub width: u32,
    /// Row stride of y.
    pub y_stride: u32,
    /// First column of y.
    pub y_offset: u32,
    /// Columns that share an element of d.
    pub per: u32,
    /// 1 if there is a d.
    pub has_d: u32,
    /// 1 for the product instead of the sum.
    pub multiply: u32,
    /// m.
    pub multiplier: f32,
}

fn canary(seed: u64) -> Call {
    let mut random = Random::new(seed);
    let (t, width, per, y_stride, y_offset) = (9, 36, 4, 50, 6);
    let params = ScaledAdd {
        t,
        width,
        y_stride,
        y_offset,
        per,
        has_d: 1,
        multiply: (seed % 2) as u32,
        multiplier: -0.8,
    };
    Call {
        params: Params::pack(&params),
        reads: vec![
            random.normals((t * width) as usize, 1.0),
            random.normals((y_offset + t * y_stride) as usize, 1.0),
            random.normals((width / per) as usize, 1.0),
        ],
        writes: vec![vec![f32::NAN; (t * width) as usize]],
    }
}

/// Reads `x [T, width]`, `y [T, width]` (strided), `d [width / per]`; writes `out [T, width]`.
pub static KERNEL: Kernel = Kernel {
    name: "scaled_add",
    reads: 3,
    writes: 1,
    wgsl: include_str!(concat!(env!("OUT_DIR"), "/scaled_add.wgsl")),
    canary,
    stages: &[Stage {
        entry: "scaled_add",
        workgroups: |p| {
            let p: ScaledAdd = p.unpack();
            linear_workgroups((p.t * p.width) as usize)
        },
    }],
    cpu,
}
.of_this_build();

fn cpu(level: Level, params: &Params, reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    dispatch!(level, simd => scaled_add(simd, &params.unpack(), reads, writes));
}

#[inline(always)]
fn scaled_add<S: Simd>(_: S, p: &ScaledAdd, reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let [x, y, d] = reads else { unreachable!() };
    let [out] = writes else { unreachable!() };
    let (width, per) = (p.width as usize, p.per as usize);
    // The factor of every column: `per` divides no vector in general.
    let factors: Vec<f32> = (0..width)
        .map(|c| p.multiplier * if p.has_d == 1 { d[c / per] } else { 1.0 })
        .collect();
    for t in 0..p.t as usize {
        let row = t * width..(t + 1) * width;
        let y = &y[p.y_offset as usize + t * p.y_stride as usize..][..width];
        let both = x[row.clone()].iter().zip(y);
        let out = out[row].iter_mut().zip(both);
        if p.multiply == 1 {
            for (out, (x, y)) in out {
                *out = x * y;
            }
        } else {
            for ((out, (x, y)), factor) in out.zip(&factors) {
                *out = x + factor * y;
            }
        }
    }
}
