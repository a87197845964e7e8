//! The elementwise scan: S6 (Mamba) and every diagonal state-space model. For channel d and state
//! index n
//!
//! `h_t = exp(dt_t A + s) h_{t-1} + m exp(w_t A) u_t B_t`, `y_t = sum_n C_t[n] h_t[n]`
//!
//! where `u = dt * x` is given, `s` is the log of a decay factor and `w` an optional extra decay
//! of the write (used by the sliding window). `mamba_ssm/ops/selective_scan_interface.py`,
//! `selective_scan_ref`.

use bytemuck::{Pod, Zeroable};
use fearless_simd::Level;

use crate::recording::{Kernel, Params, Stage};

/// Parameters.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct ScanElementwise {
    /// Tokens T.
    pub t: u32,
    /// Channels D.
    pub channels: u32,
    /// States N a channel, 256 at most.
    pub states: u32,
    /// Row stride of the buffer with B and C.
    pub bc_stride: u32,
    /// First column of B.
    pub b_offset: u32,
    /// First column of C.
    pub c_offset: u32,
    /// 1 if there is an extra decay of the write.
    pub has_write_decay: u32,
    /// s.
    pub log_shift: f32,
    /// m.
    pub write_factor: f32,
    /// Tokens over which the extra decay reaches: its log is `w A + write_shift`.
    pub write_shift: f32,
}

/// Tokens in a chunk on the GPU; the same constant stands in the shader.
pub const CHUNK: usize = 64;

impl ScanElementwise {
    /// Length of the scratch buffer that a recording of `t` tokens needs: a state a chunk, and
    /// the sum of step sizes over each chunk.
    pub fn scratch_len(t: usize, channels: usize, states: usize) -> usize {
        t.div_ceil(CHUNK) * channels * (states + 1)
    }
}

/// Reads `dt [T, D]`, `a [D, N]` (negative), `u [T, D]`, `bc` (strided rows with B and C, N each),
/// `w [T, D]`; writes `y [T, D]`, `state [D, N]`, `scratch` ([`ScanElementwise::scratch_len`]).
pub static KERNEL: Kernel = Kernel {
    name: "scan_elementwise",
    reads: 5,
    writes: 3,
    wgsl: include_str!("scan_elementwise.wgsl"),
    stages: &[
        Stage {
            entry: "chunk_state",
            workgroups: |p| {
                let p: ScanElementwise = p.unpack();
                let chunks = (p.t as usize).div_ceil(CHUNK) as u32;
                if chunks == 0 {
                    return [0, 1, 1];
                }
                [(p.channels * p.states).div_ceil(256), chunks, 1]
            },
        },
        Stage {
            entry: "chunk_pass",
            workgroups: |p| {
                let p: ScanElementwise = p.unpack();
                if p.t == 0 {
                    return [0, 1, 1];
                }
                super::linear_workgroups((p.channels * p.states) as usize)
            },
        },
        Stage {
            entry: "chunk_out",
            workgroups: |p| {
                let p: ScanElementwise = p.unpack();
                let chunks = (p.t as usize).div_ceil(CHUNK) as u32;
                if chunks == 0 {
                    return [0, 1, 1];
                }
                [p.channels.div_ceil(64), chunks, 1]
            },
        },
    ],
    cpu,
};

fn cpu(_: Level, params: &Params, reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let p: ScanElementwise = params.unpack();
    let [dt, a, u, bc, w] = reads else {
        unreachable!()
    };
    let [y, state, _] = writes else {
        unreachable!()
    };
    let (channels, n) = (p.channels as usize, p.states as usize);
    for t in 0..p.t as usize {
        let row = t * p.bc_stride as usize;
        let b = &bc[row + p.b_offset as usize..][..n];
        let c = &bc[row + p.c_offset as usize..][..n];
        for d in 0..channels {
            let step = dt[t * channels + d];
            let input = u[t * channels + d] * p.write_factor;
            let a = &a[d * n..][..n];
            let h = &mut state[d * n..][..n];
            let mut sum = 0.0;
            for i in 0..n {
                let late = if p.has_write_decay == 1 {
                    (w[t * channels + d] * a[i] + p.write_shift).exp()
                } else {
                    1.0
                };
                h[i] = (step * a[i] + p.log_shift).exp() * h[i] + late * input * b[i];
                sum += c[i] * h[i];
            }
            y[t * channels + d] = sum;
        }
    }
}
