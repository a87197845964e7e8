//! The elementwise scan: S6 (Mamba) and every diagonal state-space model. For channel d and state
//! index n
//!
//! `h_t = exp(dt_t A + s) h_{t-1} + m exp(w_t A) u_t B_t`, `y_t = sum_n C_t[n] h_t[n]`
//!
//! where `u = dt * x` is given, `s` is the log of a decay factor and `w` an optional extra decay
//! of the write (used by the sliding window). `mamba_ssm/ops/selective_scan_interface.py`,
//! `selective_scan_ref`.

use bytemuck::{Pod, Zeroable};
use fearless_simd::{Level, Simd, SimdBase, SimdFloat, dispatch};

use super::simd_math::{exp, load, store};
use crate::random::Random;
use crate::recording::{Call, Kernel, Params, Stage};

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

    fn chunks(&self) -> u32 {
        self.t.div_ceil(CHUNK as u32)
    }
}

fn canary(seed: u64) -> Call {
    let mut random = Random::new(seed);
    // Three chunks, the last one ragged; or a single one.
    let t = [150, 40][(seed % 2) as usize];
    let (channels, states, bc_stride, b_offset, c_offset) = (23, 11, 31, 3, 17);
    let params = ScanElementwise {
        t: t as u32,
        channels: channels as u32,
        states: states as u32,
        bc_stride: bc_stride as u32,
        b_offset,
        c_offset,
        has_write_decay: 1,
        log_shift: -0.003,
        write_factor: 0.9,
        write_shift: -0.05,
    };
    Call {
        params: Params::pack(&params),
        reads: vec![
            random.uniforms(t * channels, 0.001, 0.2),
            random.uniforms(channels * states, -16.0, -0.5),
            random.normals(t * channels, 0.3),
            random.normals(t * bc_stride, 1.0),
            random.uniforms(t * channels, 0.0, 0.3),
        ],
        writes: vec![
            vec![f32::NAN; t * channels],
            random.normals(channels * states, 1.0),
            vec![f32::NAN; ScanElementwise::scratch_len(t, channels, states)],
        ],
    }
}

/// Reads `dt [T, D]`, `a [D, N]` (negative), `u [T, D]`, `bc` (strided rows with B and C, N each),
/// `w [T, D]`; writes `y [T, D]`, `state [D, N]`, `scratch` ([`ScanElementwise::scratch_len`]).
pub static KERNEL: Kernel = Kernel {
    name: "scan_elementwise",
    reads: 5,
    writes: 3,
    wgsl: include_str!(concat!(env!("OUT_DIR"), "/scan_elementwise.wgsl")),
    canary,
    stages: &[
        Stage {
            entry: "single_chunk",
            workgroups: |p| {
                let p: ScanElementwise = p.unpack();
                if p.chunks() == 1 {
                    [p.channels.div_ceil(256 / p.states), 1, 1]
                } else {
                    [0, 1, 1]
                }
            },
        },
        Stage {
            entry: "chunk_state",
            workgroups: |p| {
                let p: ScanElementwise = p.unpack();
                if p.chunks() < 2 {
                    return [0, 1, 1];
                }
                [(p.channels * p.states).div_ceil(256), p.chunks(), 1]
            },
        },
        Stage {
            entry: "chunk_pass",
            workgroups: |p| {
                let p: ScanElementwise = p.unpack();
                if p.chunks() < 2 {
                    return [0, 1, 1];
                }
                super::linear_workgroups((p.channels * p.states) as usize)
            },
        },
        Stage {
            entry: "chunk_out",
            workgroups: |p| {
                let p: ScanElementwise = p.unpack();
                if p.chunks() < 2 {
                    return [0, 1, 1];
                }
                [p.channels.div_ceil(256 / p.states), p.chunks(), 1]
            },
        },
    ],
    cpu,
}
.of_this_build();

fn cpu(level: Level, params: &Params, reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    dispatch!(level, simd => scan_elementwise(simd, &params.unpack(), reads, writes));
}

/// Vectors of channels that are taken together: they share the loads of B, C and constants.
const VECTORS: usize = 2;

#[inline(always)]
fn scan_elementwise<S: Simd>(
    simd: S,
    p: &ScanElementwise,
    reads: &[&[f32]],
    writes: &mut [&mut [f32]],
) {
    let [dt, a, u, bc, w] = reads else {
        unreachable!()
    };
    let [y, state, _] = writes else {
        unreachable!()
    };
    let (channels, n, lanes) = (p.channels as usize, p.states as usize, S::f32s::LEN);
    let block = VECTORS * lanes;
    // A block of channels at a time, their states and decay rates side by side, so that the sum
    // over the states needs no sum over the lanes. Zeros where a block has no channel.
    let mut tile = vec![0.0; 2 * n * block];
    let (a_tile, h_tile) = tile.split_at_mut(n * block);
    for first in (0..channels).step_by(block) {
        let here = block.min(channels - first);
        if here < block {
            a_tile.fill(0.0);
            h_tile.fill(0.0);
        }
        for d in 0..here {
            for i in 0..n {
                a_tile[i * block + d] = a[(first + d) * n + i];
                h_tile[i * block + d] = state[(first + d) * n + i];
            }
        }
        for t in 0..p.t as usize {
            let columns = t * channels + first..t * channels + first + here;
            let vectors = |x: &[f32]| -> [S::f32s; VECTORS] {
                std::array::from_fn(|m| load(simd, x, here.min(m * lanes)))
            };
            let step = vectors(&dt[columns.clone()]);
            let input = vectors(&u[columns.clone()]).map(|u| u * p.write_factor);
            let row = t * p.bc_stride as usize;
            let b = &bc[row + p.b_offset as usize..][..n];
            let c = &bc[row + p.c_offset as usize..][..n];
            let mut sums = [S::f32s::splat(simd, 0.0); VECTORS];
            let tiles = a_tile
                .chunks_exact(block)
                .zip(h_tile.chunks_exact_mut(block));
            let states = tiles.zip(b.iter().zip(c));
            if p.has_write_decay == 1 {
                let wait = vectors(&w[columns.clone()]);
                for ((a, h), (&b, &c)) in states {
                    for m in 0..VECTORS {
                        let a = S::f32s::from_slice(simd, &a[m * lanes..][..lanes]);
                        let h = &mut h[m * lanes..][..lanes];
                        let late = exp(simd, wait[m].mul_add(a, p.write_shift));
                        let decay = exp(simd, step[m].mul_add(a, p.log_shift));
                        let new = decay.mul_add(S::f32s::from_slice(simd, h), late * input[m] * b);
                        new.store_slice(h);
                        sums[m] = new.mul_add(c, sums[m]);
                    }
                }
            } else {
                for ((a, h), (&b, &c)) in states {
                    for m in 0..VECTORS {
                        let a = S::f32s::from_slice(simd, &a[m * lanes..][..lanes]);
                        let h = &mut h[m * lanes..][..lanes];
                        let decay = exp(simd, step[m].mul_add(a, p.log_shift));
                        let new = decay.mul_add(S::f32s::from_slice(simd, h), input[m] * b);
                        new.store_slice(h);
                        sums[m] = new.mul_add(c, sums[m]);
                    }
                }
            }
            let y = &mut y[columns];
            for m in 0..VECTORS {
                store::<S>(sums[m], y, here.min(m * lanes));
            }
        }
        for d in 0..here {
            for i in 0..n {
                state[(first + d) * n + i] = h_tile[i * block + d];
            }
        }
    }
}
