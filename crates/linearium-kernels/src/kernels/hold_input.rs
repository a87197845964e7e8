//! Rows that stand for a token repeated n times: its log-decay n times, and its write with the
//! weight of a held input,
//!
//! `log_decay[t, c] = n g[t, c]`, `out[t, c] = x[t, c] (1 + e^g + ... + e^((n-1) g))`.
//!
//! The sum is doubled as many times as n has binary digits, `S(2m) = S(m) (1 + e^(m g))`: all terms
//! have one sign, where `(1 - e^(n g)) / (1 - e^g)` cancels for small g.

use bytemuck::{Pod, Zeroable};
use fearless_simd::Level;

use super::linear_workgroups;
use crate::random::Random;
use crate::recording::{Call, Kernel, Params, Stage};

/// Parameters.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct HoldInput {
    /// Rows T.
    pub t: u32,
    /// Columns of g.
    pub width: u32,
    /// Row stride of x.
    pub x_stride: u32,
    /// First column of x.
    pub x_offset: u32,
}

fn canary(seed: u64) -> Call {
    let mut random = Random::new(seed);
    let (t, width, x_stride, x_offset) = (9, 37, 50, 6);
    let params = HoldInput {
        t,
        width,
        x_stride,
        x_offset,
    };
    Call {
        params: Params::pack(&params),
        reads: vec![
            random.uniforms((t * width) as usize, -0.3, 0.0),
            vec![1.0, 2.0, 3.0, 7.0, 8.0, 100.0, 1.0, 4095.0, 65.0],
            random.normals((x_offset + t * x_stride) as usize, 1.0),
        ],
        writes: vec![vec![f32::NAN; (t * width) as usize]; 2],
    }
}

/// Reads `g [T, width]`, `n [T]` (whole numbers from 1), `x [T, width]` (strided); writes
/// `log_decay [T, width]`, `out [T, width]`.
pub static KERNEL: Kernel = Kernel {
    name: "hold_input",
    reads: 3,
    writes: 2,
    wgsl: include_str!(concat!(env!("OUT_DIR"), "/hold_input.wgsl")),
    canary,
    stages: &[Stage {
        entry: "hold_input",
        workgroups: |p| {
            let p: HoldInput = p.unpack();
            linear_workgroups((p.t * p.width) as usize)
        },
    }],
    cpu,
};

/// `1 + e^g + ... + e^((n-1) g)`. A power of a rounded `e^g` would collect its rounding.
fn held(g: f32, n: u32) -> f32 {
    let (mut sum, mut m) = (0.0, 0.0f32);
    for bit in (0..u32::BITS - n.leading_zeros()).rev() {
        sum *= 1.0 + (m * g).exp();
        m *= 2.0;
        if n >> bit & 1 == 1 {
            sum += (m * g).exp();
            m += 1.0;
        }
    }
    sum
}

fn cpu(_: Level, params: &Params, reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let p: HoldInput = params.unpack();
    let [g, n, x] = reads else { unreachable!() };
    let [log_decay, out] = writes else {
        unreachable!()
    };
    let width = p.width as usize;
    for t in 0..p.t as usize {
        let x = &x[p.x_offset as usize + t * p.x_stride as usize..][..width];
        for c in 0..width {
            let i = t * width + c;
            log_decay[i] = n[t] * g[i];
            out[i] = x[c] * held(g[i], n[t] as u32);
        }
    }
}
