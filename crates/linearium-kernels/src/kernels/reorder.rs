//! Rows in another order: `out[t] = x[order[t]]`, or from the last to the first.

use bytemuck::{Pod, Zeroable};
use fearless_simd::Level;

use super::linear_workgroups;
use crate::random::Random;
use crate::recording::{Call, Kernel, Params, Stage};

/// Parameters.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct Reorder {
    /// Rows T.
    pub t: u32,
    /// Columns.
    pub width: u32,
    /// Row stride of x.
    pub x_stride: u32,
    /// First column of x.
    pub x_offset: u32,
    /// 1 if there is an order; otherwise it is the reverse.
    pub has_order: u32,
}

fn canary(seed: u64) -> Call {
    let mut random = Random::new(seed);
    let (t, width, x_stride, x_offset) = (19, 21, 30, 4);
    let params = Reorder {
        t,
        width,
        x_stride,
        x_offset,
        has_order: (seed % 2) as u32,
    };
    // Some rows twice, others never.
    let order = (0..t).map(|_| random.below(t as usize) as f32).collect();
    Call {
        params: Params::pack(&params),
        reads: vec![
            random.normals((x_offset + t * x_stride) as usize, 1.0),
            order,
        ],
        writes: vec![vec![f32::NAN; (t * width) as usize]],
    }
}

/// Reads `x [T, width]` (strided), `order [T]` (whole numbers below T); writes `out [T, width]`.
pub static KERNEL: Kernel = Kernel {
    name: "reorder",
    reads: 2,
    writes: 1,
    wgsl: include_str!(concat!(env!("OUT_DIR"), "/reorder.wgsl")),
    canary,
    stages: &[Stage {
        entry: "reorder",
        workgroups: |p| {
            let p: Reorder = p.unpack();
            linear_workgroups((p.t * p.width) as usize)
        },
    }],
    cpu,
};

fn cpu(_: Level, params: &Params, reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let p: Reorder = params.unpack();
    let [x, order] = reads else { unreachable!() };
    let [out] = writes else { unreachable!() };
    let (t_len, width) = (p.t as usize, p.width as usize);
    for t in 0..t_len {
        let row = if p.has_order == 1 {
            order[t] as usize
        } else {
            t_len - 1 - t
        };
        let x = &x[p.x_offset as usize + row * p.x_stride as usize..][..width];
        out[t * width..][..width].copy_from_slice(x);
    }
}
