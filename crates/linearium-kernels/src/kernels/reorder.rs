//! Rows in another order: `out[t] = x[order[t]]`, or from the last to the first.
//!
//! An order may also name what is no row of x: [`FILL`] or [`STAYS`], and with [`CHOICE`] also
//! [`CARRIED`]. That is how rows are dropped, put back to their places and held across cuts of the
//! input.

use bytemuck::{Pod, Zeroable};
use fearless_simd::Level;

use super::linear_workgroups;
use crate::random::Random;
use crate::recording::{Call, Kernel, Params, Stage};

/// `has_order`: the order also has a last entry for the row to be carried on (below 0: the carried
/// row stays).
pub const CHOICE: u32 = 2;

/// An entry of an order: all columns are the fill value.
pub const FILL: f32 = -1.0;

/// An entry of an order: the row that the last call carried on, zeros before the first.
pub const CARRIED: f32 = -2.0;

/// An entry of an order: the row of `out` stays as it is.
pub const STAYS: f32 = -3.0;

/// Parameters.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct Reorder {
    /// Rows T of `out`.
    pub t: u32,
    /// Columns.
    pub width: u32,
    /// Row stride of x.
    pub x_stride: u32,
    /// First column of x.
    pub x_offset: u32,
    /// 1 if there is an order of T entries, [`CHOICE`] if it has one more; 0 for the reverse.
    pub has_order: u32,
    /// The fill value.
    pub fill: f32,
}

fn canary(seed: u64) -> Call {
    let mut random = Random::new(seed);
    let (t, width, x_stride, x_offset) = (19, 21, 30, 4);
    let has_order = (seed % 3) as u32;
    let params = Reorder {
        t,
        width,
        x_stride,
        x_offset,
        has_order,
        fill: 0.25,
    };
    // Some rows twice, others never.
    let mut order: Vec<f32> = (0..t).map(|_| random.below(t as usize) as f32).collect();
    let mut out = vec![f32::NAN; (t * width) as usize];
    if has_order > 0 {
        [order[3], order[8]] = [FILL, STAYS];
        out = random.normals(out.len(), 1.0);
    }
    if has_order == CHOICE {
        order[4] = CARRIED;
        order.push([5.0, -1.0][(seed / 3 % 2) as usize]);
    }
    Call {
        params: Params::pack(&params),
        reads: vec![
            random.normals((x_offset + t * x_stride) as usize, 1.0),
            order,
        ],
        writes: vec![out, random.normals(width as usize, 1.0)],
    }
}

/// Reads `x [.., width]` (strided), `order [T]` or `[T + 1]` (whole numbers below the rows of x);
/// writes `out [T, width]`, `carried [width]` (one value where nothing is carried).
pub static KERNEL: Kernel = Kernel {
    name: "reorder",
    reads: 2,
    writes: 2,
    wgsl: include_str!(concat!(env!("OUT_DIR"), "/reorder.wgsl")),
    canary,
    stages: &[
        Stage {
            entry: "reorder",
            workgroups: |p| {
                let p: Reorder = p.unpack();
                linear_workgroups((p.t * p.width) as usize)
            },
        },
        // After all rows that it was read for.
        Stage {
            entry: "carry",
            workgroups: |p| {
                let p: Reorder = p.unpack();
                if p.has_order == CHOICE {
                    linear_workgroups(p.width as usize)
                } else {
                    [0, 1, 1]
                }
            },
        },
    ],
    cpu,
};

fn cpu(_: Level, params: &Params, reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let p: Reorder = params.unpack();
    let [x, order] = reads else { unreachable!() };
    let [out, carried] = writes else {
        unreachable!()
    };
    let (t_len, width) = (p.t as usize, p.width as usize);
    let row = |row: usize| &x[p.x_offset as usize + row * p.x_stride as usize..][..width];
    for (t, out) in out.chunks_exact_mut(width.max(1)).take(t_len).enumerate() {
        if p.has_order == 0 {
            out.copy_from_slice(row(t_len - 1 - t));
        } else if order[t] >= 0.0 {
            out.copy_from_slice(row(order[t] as usize));
        } else if order[t] == FILL {
            out.fill(p.fill);
        } else if order[t] == CARRIED {
            out.copy_from_slice(&carried[..width]);
        }
    }
    if p.has_order == CHOICE && order[t_len] >= 0.0 {
        carried[..width].copy_from_slice(row(order[t_len] as usize));
    }
}
