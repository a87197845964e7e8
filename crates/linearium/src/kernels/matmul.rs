//! Linear layer: `y[t, n] = sum_k x[t, k] w[n, k] (+ bias[n]) (+ residual[t, n])`.

use bytemuck::{Pod, Zeroable};
use fearless_simd::Level;

use crate::recording::{Kernel, Params, Stage};

/// Parameters.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct Matmul {
    /// Rows T.
    pub t: u32,
    /// Inner width.
    pub k: u32,
    /// Outer width.
    pub n: u32,
    /// Row stride of x.
    pub x_stride: u32,
    /// First column of x.
    pub x_offset: u32,
    /// 1 if there is a bias.
    pub has_bias: u32,
    /// 1 if there is a residual.
    pub has_residual: u32,
}

/// Reads `x [T, K]` (strided), `w [N, K]`, `bias [N]`, `residual [T, N]`; writes `y [T, N]`.
pub static KERNEL: Kernel = Kernel {
    name: "matmul",
    reads: 4,
    writes: 1,
    wgsl: include_str!("matmul.wgsl"),
    stages: &[Stage {
        entry: "matmul",
        workgroups: |p| {
            let p: Matmul = p.unpack();
            if p.t == 0 {
                [0, 1, 1]
            } else {
                [p.n.div_ceil(64), p.t.div_ceil(64), 1]
            }
        },
    }],
    cpu,
};

fn cpu(_: Level, params: &Params, reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let p: Matmul = params.unpack();
    let [x, w, bias, residual] = reads else {
        unreachable!()
    };
    let [y] = writes else { unreachable!() };
    let (k, n) = (p.k as usize, p.n as usize);
    for t in 0..p.t as usize {
        let row = &x[p.x_offset as usize + t * p.x_stride as usize..][..k];
        for j in 0..n {
            let dot: f32 = row.iter().zip(&w[j * k..][..k]).map(|(a, b)| a * b).sum();
            let b = if p.has_bias == 1 { bias[j] } else { 0.0 };
            let r = if p.has_residual == 1 {
                residual[t * n + j]
            } else {
                0.0
            };
            y[t * n + j] = dot + b + r;
        }
    }
}
