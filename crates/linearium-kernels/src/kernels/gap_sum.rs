//! Sums over the rows between kept ones: with the kept rows `b_0 < b_1 < ...` of x
//!
//! `out[k] = sum of x[t] for b_{k-1} < t < b_k`
//!
//! The sum of the rows after the last kept one is carried on, so that a gap crosses any cut of the
//! input. Log-decays of dropped tokens are added up with it (decay-true). Compensated (Neumaier),
//! because a gap may be as long as the text.

use bytemuck::{Pod, Zeroable};
use fearless_simd::Level;

use super::linear_workgroups;
use crate::random::Random;
use crate::recording::{Call, Kernel, Params, Stage};

/// Parameters.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct GapSum {
    /// Kept rows K.
    pub t: u32,
    /// Columns.
    pub width: u32,
    /// Row stride of x.
    pub x_stride: u32,
    /// First column of x.
    pub x_offset: u32,
}

fn canary(seed: u64) -> Call {
    let mut random = Random::new(seed);
    let (rows, width, x_stride, x_offset) = (80, 37, 50, 6);
    // A gap before the first, none, long ones, one behind the last; or the first row alone.
    let rows_kept: &[f32] = if seed.is_multiple_of(2) {
        &[2.0, 3.0, 40.0, 71.0]
    } else {
        &[0.0]
    };
    let kept = [rows_kept, &[rows as f32]].concat();
    let params = GapSum {
        t: kept.len() as u32 - 1,
        width,
        x_stride,
        x_offset,
    };
    Call {
        params: Params::pack(&params),
        reads: vec![
            random.uniforms((x_offset + rows * x_stride) as usize, -0.2, 0.0),
            kept,
        ],
        writes: vec![
            vec![f32::NAN; (params.t * width) as usize],
            random.uniforms(width as usize, -3.0, 0.0),
        ],
    }
}

/// Reads `x [.., width]` (strided), `kept [K + 1]` (rows of x, then their number); writes
/// `out [K, width]`, `carried [width]`.
pub static KERNEL: Kernel = Kernel {
    name: "gap_sum",
    reads: 2,
    writes: 2,
    wgsl: include_str!(concat!(env!("OUT_DIR"), "/gap_sum.wgsl")),
    canary,
    stages: &[
        Stage {
            entry: "gap_sum",
            workgroups: |p| {
                let p: GapSum = p.unpack();
                linear_workgroups((p.t * p.width) as usize)
            },
        },
        // After the first row has read what was carried.
        Stage {
            entry: "carry",
            workgroups: |p| {
                let p: GapSum = p.unpack();
                linear_workgroups(p.width as usize)
            },
        },
    ],
    cpu,
};

fn cpu(_: Level, params: &Params, reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let p: GapSum = params.unpack();
    let [x, kept] = reads else { unreachable!() };
    let [out, carried] = writes else {
        unreachable!()
    };
    let (k_len, width) = (p.t as usize, p.width as usize);
    let mut lost = vec![0.0; width];
    let mut sums = vec![0.0; width];
    for k in 0..=k_len {
        let end = kept[k] as usize;
        let first = match k {
            0 => 0,
            _ => kept[k - 1] as usize + 1,
        };
        lost.fill(0.0);
        if k == 0 {
            sums.copy_from_slice(&carried[..width]);
        } else {
            sums.fill(0.0);
        }
        for t in first..end {
            let x = &x[p.x_offset as usize + t * p.x_stride as usize..][..width];
            for c in 0..width {
                let sum = sums[c] + x[c];
                lost[c] += if sums[c].abs() >= x[c].abs() {
                    (sums[c] - sum) + x[c]
                } else {
                    (x[c] - sum) + sums[c]
                };
                sums[c] = sum;
            }
        }
        let out = if k < k_len {
            &mut out[k * width..][..width]
        } else {
            &mut carried[..width]
        };
        for c in 0..width {
            out[c] = sums[c] + lost[c];
        }
    }
}
