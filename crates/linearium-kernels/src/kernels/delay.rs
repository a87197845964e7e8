//! Delays rows by r tokens: `out[t] = x[t - r]`, zeros before the first token. The last r rows
//! are kept in a ring, so that a delay of any length crosses any cut of the input.

use bytemuck::{Pod, Zeroable};
use fearless_simd::Level;

use super::linear_workgroups;
use crate::random::Random;
use crate::recording::{Call, Kernel, Params, Stage};

/// Parameters.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct Delay {
    /// Rows T.
    pub t: u32,
    /// Columns.
    pub width: u32,
    /// Row stride of x.
    pub x_stride: u32,
    /// First column of x.
    pub x_offset: u32,
    /// r; 0 copies.
    pub delay: u32,
    /// Position of the first row modulo r (0 if r is 0).
    pub phase: u32,
    /// Width of a row of `out`.
    pub out_stride: u32,
    /// First column of `out`.
    pub out_offset: u32,
}

fn canary(seed: u64) -> Call {
    let mut random = Random::new(seed);
    let (width, x_stride, x_offset, out_stride, out_offset) = (21, 30, 4, 25, 3);
    // Fewer rows than the delay, or more.
    let (t, delay) = [(9, 13), (19, 5)][(seed % 2) as usize];
    let params = Delay {
        t,
        width,
        x_stride,
        x_offset,
        delay,
        phase: 3,
        out_stride,
        out_offset,
    };
    Call {
        params: Params::pack(&params),
        reads: vec![random.normals((x_offset + t * x_stride) as usize, 1.0)],
        writes: vec![
            random.normals((out_offset + t * out_stride) as usize, 1.0),
            random.normals((delay * width) as usize, 1.0),
        ],
    }
}

/// Reads `x [T, width]` (strided); writes `out [T, width]` (strided), `ring [r, width]`.
pub static KERNEL: Kernel = Kernel {
    name: "delay",
    reads: 1,
    writes: 2,
    wgsl: include_str!(concat!(env!("OUT_DIR"), "/delay.wgsl")),
    canary,
    stages: &[
        Stage {
            entry: "take_out",
            workgroups: |p| {
                let p: Delay = p.unpack();
                linear_workgroups((p.t * p.width) as usize)
            },
        },
        Stage {
            entry: "put_in",
            workgroups: |p| {
                let p: Delay = p.unpack();
                linear_workgroups((p.t.min(p.delay) * p.width) as usize)
            },
        },
    ],
    cpu,
}
.of_this_build();

fn cpu(_: Level, params: &Params, reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let p: Delay = params.unpack();
    let [x] = reads else { unreachable!() };
    let [out, ring] = writes else { unreachable!() };
    let (t_len, width, delay) = (p.t as usize, p.width as usize, p.delay as usize);
    let row = |t: usize| &x[p.x_offset as usize + t * p.x_stride as usize..][..width];
    let slot = |t: usize| (p.phase as usize + t) % delay * width;
    for t in 0..t_len {
        let out = &mut out[p.out_offset as usize + t * p.out_stride as usize..][..width];
        let from = if t >= delay {
            row(t - delay)
        } else {
            &ring[slot(t)..][..width]
        };
        out.copy_from_slice(from);
    }
    for t in t_len.saturating_sub(delay)..t_len {
        ring[slot(t)..][..width].copy_from_slice(row(t));
    }
}
