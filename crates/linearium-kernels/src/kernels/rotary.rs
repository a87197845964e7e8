//! Rotary position embedding in the half-split convention of `transformers` and of
//! `fla/modules/rotary.py` (not interleaved): of the first R channels of a head, channel i is rotated
//! with channel i + R/2; the channels behind them stay as they are.

use bytemuck::{Pod, Zeroable};
use fearless_simd::Level;

use super::linear_workgroups;
use crate::random::Random;
use crate::recording::{Call, Kernel, Params, Stage};

/// Parameters.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct Rotary {
    /// Rows T.
    pub t: u32,
    /// Heads H.
    pub heads: u32,
    /// Width K of a head.
    pub key: u32,
    /// Channels R that are rotated, even.
    pub rotated: u32,
    /// Row stride of x.
    pub x_stride: u32,
    /// First column of x.
    pub x_offset: u32,
}

fn canary(seed: u64) -> Call {
    let mut random = Random::new(seed);
    let (t, heads, key, x_stride, x_offset) = (7, 3, 18, 60, 5);
    let rotated = [key, 10][(seed % 2) as usize];
    let angles = (0..t * rotated / 2)
        .flat_map(|_| {
            let angle = random.uniform() * 1000.0;
            [angle.cos() as f32, angle.sin() as f32]
        })
        .collect();
    let params = Rotary {
        t,
        heads,
        key,
        rotated,
        x_stride,
        x_offset,
    };
    Call {
        params: Params::pack(&params),
        reads: vec![
            random.normals((x_offset + t * x_stride) as usize, 1.0),
            angles,
        ],
        writes: vec![vec![f32::NAN; (t * heads * key) as usize]],
    }
}

/// Reads `x [T, H, K]` (strided), `angles [T, R/2, 2]` (cosine, sine; made by
/// `mixers::rotary_angles` in f64, since an f32 product loses the phase of far positions); writes
/// `out [T, H, K]`.
pub static KERNEL: Kernel = Kernel {
    name: "rotary",
    reads: 2,
    writes: 1,
    wgsl: include_str!(concat!(env!("OUT_DIR"), "/rotary.wgsl")),
    canary,
    stages: &[Stage {
        entry: "rotary",
        workgroups: |p| {
            let p: Rotary = p.unpack();
            linear_workgroups((p.t * p.heads * p.key) as usize)
        },
    }],
    cpu,
}
.of_this_build();

fn cpu(_: Level, params: &Params, reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let p: Rotary = params.unpack();
    let [x, angles] = reads else { unreachable!() };
    let [out] = writes else { unreachable!() };
    let (heads, key) = (p.heads as usize, p.key as usize);
    let rotated = p.rotated as usize;
    let half = rotated / 2;
    for t in 0..p.t as usize {
        for h in 0..heads {
            let row = &x[p.x_offset as usize + t * p.x_stride as usize + h * key..][..key];
            let out = &mut out[(t * heads + h) * key..][..key];
            for i in 0..half {
                let cos = angles[(t * half + i) * 2];
                let sin = angles[(t * half + i) * 2 + 1];
                out[i] = row[i] * cos - row[i + half] * sin;
                out[i + half] = row[i + half] * cos + row[i] * sin;
            }
            out[rotated..].copy_from_slice(&row[rotated..]);
        }
    }
}
