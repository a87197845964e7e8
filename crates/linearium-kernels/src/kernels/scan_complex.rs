//! Linear systems with complex states and constant coefficients (S4D, S5, S4). For channel d and
//! state n
//!
//! `h_t = a h_{t-1} + sum_r l_r Re(sum_m m_r[m] h_{t-1}[m]) + b u_t`, `y_t = Re(sum_n c h_t)`
//!
//! where the sum over r (S4's low rank) couples the states of a channel. With pairs, u and y are
//! complex and y is the sum itself (S5, one state a channel).
//!
//! The coefficients are constants of the layer, made in f64. What is left of the rounding of `a` to
//! f32 is given beside it: a phase that is off by half a unit in the last place is off by a hundred
//! of them a hundred tokens later, where a state of a slow channel still counts.

use bytemuck::{Pod, Zeroable};
use fearless_simd::{Level, Simd, SimdBase, SimdFloat, dispatch};

use super::simd_math::{load, store};
use crate::random::Random;
use crate::recording::{Call, Kernel, Params, Stage};

/// Parameters.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct ScanComplex {
    /// Tokens T.
    pub t: u32,
    /// Channels D.
    pub channels: u32,
    /// Complex states N a channel, 256 at most.
    pub states: u32,
    /// Terms R that couple the states, [`MAX_RANK`] at most.
    pub rank: u32,
    /// 1 if inputs and outputs are complex: D real parts, then D imaginary parts.
    pub pairs: u32,
    /// Row stride of u.
    pub u_stride: u32,
    /// First column of u.
    pub u_offset: u32,
}

/// Tokens in a chunk on the GPU; the same constant stands in the shader.
pub const CHUNK: usize = 64;

/// The most terms that couple the states.
pub const MAX_RANK: usize = 4;

/// Coefficients of a state that every system has, as real and imaginary part: a, what rounding
/// took from it, a^[`CHUNK`], b, c.
pub const FIELDS: usize = 10;

impl ScanComplex {
    /// Length of the scratch buffer that a recording of `t` tokens needs: a state a chunk.
    pub fn scratch_len(t: usize, channels: usize, states: usize) -> usize {
        t.div_ceil(CHUNK) * channels * states * 2
    }

    /// Coefficients of a state: [`FIELDS`], then l and m of each coupling term.
    pub fn fields(rank: usize) -> usize {
        FIELDS + 4 * rank
    }

    fn chunks(&self) -> u32 {
        self.t.div_ceil(CHUNK as u32)
    }

    /// The chunks that run side by side: states that are coupled go on token by token.
    fn parallel_chunks(&self) -> u32 {
        if self.rank == 0 && self.chunks() > 1 {
            self.chunks()
        } else {
            0
        }
    }

    fn groups(&self) -> u32 {
        self.channels.div_ceil(256 / self.states)
    }
}

fn canary(seed: u64) -> Call {
    let mut random = Random::new(seed);
    // Three chunks, the last one ragged; or a single one.
    let t = [150, 40][(seed % 2) as usize];
    let (channels, states, u_stride, u_offset) = (23, 11, 51, 3);
    let (rank, pairs) = [(0, 0), (0, 1), (2, 0)][(seed % 3) as usize];
    let params = ScanComplex {
        t: t as u32,
        channels: channels as u32,
        states: states as u32,
        rank: rank as u32,
        pairs,
        u_stride: u_stride as u32,
        u_offset: u_offset as u32,
    };
    let size = channels * states;
    let mut system = vec![0.0f32; ScanComplex::fields(rank) * size];
    let (constants, couplings) = system.split_at_mut(FIELDS * size);
    for i in 0..size {
        let (log_decay, angle) = (
            -0.1 * random.uniform(),
            std::f64::consts::PI * random.normal(),
        );
        let power = |n: f64| {
            let size = (n * log_decay).exp();
            [size * (n * angle).cos(), size * (n * angle).sin()]
        };
        let (a, p) = (power(1.0), power(CHUNK as f64));
        for part in 0..2 {
            let rounded = a[part] as f32;
            constants[part * size + i] = rounded;
            constants[(2 + part) * size + i] = (a[part] - f64::from(rounded)) as f32;
            constants[(4 + part) * size + i] = p[part] as f32;
        }
    }
    constants[6 * size..].copy_from_slice(&random.normals(4 * size, 1.0));
    couplings.copy_from_slice(&random.normals(4 * rank * size, 0.05));
    Call {
        params: Params::pack(&params),
        reads: vec![random.normals(u_offset + t * u_stride, 1.0), system],
        writes: vec![
            vec![f32::NAN; t * channels * (1 + pairs as usize)],
            random.normals(size * 2, 1.0),
            vec![f32::NAN; ScanComplex::scratch_len(t, channels, states)],
        ],
    }
}

/// Reads `u [T, D]` (strided), `system [F, N, D]` (see [`ScanComplex::fields`]); writes `y [T, D]`,
/// `state [D, N, 2]`, `scratch` ([`ScanComplex::scratch_len`]).
pub static KERNEL: Kernel = Kernel {
    name: "scan_complex",
    reads: 2,
    writes: 3,
    wgsl: include_str!(concat!(env!("OUT_DIR"), "/scan_complex.wgsl")),
    canary,
    stages: &[
        Stage {
            entry: "in_order",
            workgroups: |p| {
                let p: ScanComplex = p.unpack();
                if p.t == 0 || p.parallel_chunks() > 0 {
                    return [0, 1, 1];
                }
                [p.groups(), 1, 1]
            },
        },
        Stage {
            entry: "chunk_state",
            workgroups: |p| {
                let p: ScanComplex = p.unpack();
                [
                    (p.channels * p.states).div_ceil(256),
                    p.parallel_chunks(),
                    1,
                ]
            },
        },
        Stage {
            entry: "chunk_pass",
            workgroups: |p| {
                let p: ScanComplex = p.unpack();
                let groups = (p.channels * p.states).div_ceil(256);
                [groups * p.parallel_chunks().min(1), 1, 1]
            },
        },
        Stage {
            entry: "chunk_out",
            workgroups: |p| {
                let p: ScanComplex = p.unpack();
                [p.groups(), p.parallel_chunks(), 1]
            },
        },
    ],
    cpu,
};

fn cpu(level: Level, params: &Params, reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    dispatch!(level, simd => scan_complex(simd, &params.unpack(), reads, writes));
}

#[inline(always)]
fn scan_complex<S: Simd>(simd: S, p: &ScanComplex, reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let [u, system] = reads else { unreachable!() };
    let [y, state, _] = writes else {
        unreachable!()
    };
    let (channels, n, rank) = (p.channels as usize, p.states as usize, p.rank as usize);
    let (lanes, zero) = (S::f32s::LEN, S::f32s::splat(simd, 0.0));
    let fields = ScanComplex::fields(rank);
    let y_width = channels * (1 + p.pairs as usize);
    // A vector of channels at a time, their states and coefficients side by side, so that no sum
    // goes over the lanes. Zeros where there is no channel.
    let mut coefficients = vec![0.0; n * fields * lanes];
    let mut tile = vec![0.0; n * 2 * lanes];
    for first in (0..channels).step_by(lanes) {
        let here = lanes.min(channels - first);
        tile.fill(0.0);
        for i in 0..n {
            for f in 0..fields {
                let row = &system[(f * n + i) * channels..][..channels];
                load(simd, row, first)
                    .store_slice(&mut coefficients[(i * fields + f) * lanes..][..lanes]);
            }
            for part in 0..2 {
                for d in 0..here {
                    tile[(i * 2 + part) * lanes + d] = state[((first + d) * n + i) * 2 + part];
                }
            }
        }
        for t in 0..p.t as usize {
            let row = &u[p.u_offset as usize + t * p.u_stride as usize..];
            let u_re = load(simd, &row[..channels], first);
            let u_im = if p.pairs == 1 {
                load(simd, &row[channels..][..channels], first)
            } else {
                zero
            };
            let mut coupled = [zero; MAX_RANK];
            let states = coefficients.chunks_exact(fields * lanes);
            for (k, h) in states.clone().zip(tile.chunks_exact(2 * lanes)) {
                let k = |f: usize| S::f32s::from_slice(simd, &k[f * lanes..][..lanes]);
                let (re, im) = (load(simd, h, 0), load(simd, h, lanes));
                for (r, sum) in coupled.iter_mut().enumerate().take(rank) {
                    let f = FIELDS + 4 * r;
                    *sum = k(f + 2).mul_add(re, (-k(f + 3)).mul_add(im, *sum));
                }
            }
            let (mut y_re, mut y_im) = (zero, zero);
            for (k, h) in states.zip(tile.chunks_exact_mut(2 * lanes)) {
                let k = |f: usize| S::f32s::from_slice(simd, &k[f * lanes..][..lanes]);
                let (re, im) = (load(simd, h, 0), load(simd, h, lanes));
                // Small terms first.
                let mut add_re = k(2) * re - k(3) * im + k(6) * u_re;
                let mut add_im = k(2) * im + k(3) * re + k(7) * u_re;
                if p.pairs == 1 {
                    add_re = (-k(7)).mul_add(u_im, add_re);
                    add_im = k(6).mul_add(u_im, add_im);
                }
                for (r, sum) in coupled.iter().enumerate().take(rank) {
                    let f = FIELDS + 4 * r;
                    add_re = k(f).mul_add(*sum, add_re);
                    add_im = k(f + 1).mul_add(*sum, add_im);
                }
                let new_re = k(0).mul_add(re, (-k(1)).mul_add(im, add_re));
                let new_im = k(0).mul_add(im, k(1).mul_add(re, add_im));
                y_re = k(8).mul_add(new_re, (-k(9)).mul_add(new_im, y_re));
                if p.pairs == 1 {
                    y_im = k(8).mul_add(new_im, k(9).mul_add(new_re, y_im));
                }
                new_re.store_slice(&mut h[..lanes]);
                new_im.store_slice(&mut h[lanes..]);
            }
            let row = &mut y[t * y_width..][..y_width];
            store::<S>(y_re, &mut row[..channels], first);
            if p.pairs == 1 {
                store::<S>(y_im, &mut row[channels..], first);
            }
        }
        for i in 0..n {
            for part in 0..2 {
                for d in 0..here {
                    state[((first + d) * n + i) * 2 + part] = tile[(i * 2 + part) * lanes + d];
                }
            }
        }
    }
}
