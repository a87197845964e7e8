//! The outer-product scan: linear attention, RetNet, SSD (Mamba-2), GLA. For each head
//!
//! `S_t = diag(exp(g_t)) S_{t-1} + w_t k_t v_t^T`, `o_t = scale * S_t^T q_t`
//!
//! with S in R^{K x V}, a log-decay g that is one number or K numbers a head, and an optional
//! write scale w (the step size of Mamba-2). `fla/ops/gla/naive.py::naive_recurrent_gla`,
//! `fla/ops/simple_gla/naive.py`, `mamba_ssm/modules/ssd_minimal.py`.
//!
//! The CPU keeps the recurrence. The GPU works in chunks: each chunk's own contribution to the
//! state, the walk over chunks (one thread a state element), then the outputs; inside a chunk
//! decays are differences of cumulative log-decays, never `exp(+L)`.

use bytemuck::{Pod, Zeroable};
use fearless_simd::Level;

use crate::recording::{Kernel, Params, Stage};

/// Parameters.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct ScanOuter {
    /// Tokens T.
    pub t: u32,
    /// Heads H.
    pub heads: u32,
    /// Key width K.
    pub key: u32,
    /// Value width V.
    pub value: u32,
    /// Groups G that share q and k; head h uses group h / (H / G).
    pub groups: u32,
    /// Row stride of q.
    pub q_stride: u32,
    /// First column of q.
    pub q_offset: u32,
    /// Row stride of k.
    pub k_stride: u32,
    /// First column of k.
    pub k_offset: u32,
    /// Row stride of v.
    pub v_stride: u32,
    /// First column of v.
    pub v_offset: u32,
    /// 1 if g has a value for each key channel, `[T, H, K]`; 0 for `[T, H]`.
    pub per_key: u32,
    /// 1 if there is a write scale `w [T, H]`.
    pub has_write_scale: u32,
    /// Multiplies the output (K^-1/2 in most of the family, 1 in SSD).
    pub scale: f32,
    /// Multiplies every write (an intervention; 1 otherwise).
    pub write_factor: f32,
}

/// Tokens in a chunk on the GPU; the same constant stands in the shader.
pub const CHUNK: usize = 64;

impl ScanOuter {
    /// Length of the scratch buffer that a recording of `t` tokens needs: a state a chunk, and
    /// the chunk's cumulative log-decays.
    pub fn scratch_len(t: usize, heads: usize, key: usize, value: usize) -> usize {
        t.div_ceil(CHUNK) * heads * (key * value + key)
    }
}

/// Reads `q [T, G, K]`, `k [T, G, K]`, `v [T, H, V]` (strided), `g`, `w`; writes `o [T, H, V]`,
/// `state [H, K, V]`, `scratch` ([`ScanOuter::scratch_len`]).
pub static KERNEL: Kernel = Kernel {
    name: "scan_outer",
    reads: 5,
    writes: 3,
    wgsl: include_str!("scan_outer.wgsl"),
    stages: &[
        Stage {
            entry: "chunk_state",
            workgroups: |p| {
                let p: ScanOuter = p.unpack();
                let chunks = (p.t as usize).div_ceil(CHUNK) as u32;
                if chunks == 0 {
                    return [0, 1, 1];
                }
                [p.key.div_ceil(32) * p.value.div_ceil(32), p.heads, chunks]
            },
        },
        Stage {
            entry: "chunk_pass",
            workgroups: |p| {
                let p: ScanOuter = p.unpack();
                if p.t == 0 {
                    return [0, 1, 1];
                }
                super::linear_workgroups((p.heads * p.key * p.value) as usize)
            },
        },
        Stage {
            entry: "chunk_out",
            workgroups: |p| {
                let p: ScanOuter = p.unpack();
                let chunks = (p.t as usize).div_ceil(CHUNK) as u32;
                if chunks == 0 {
                    return [0, 1, 1];
                }
                [p.value.div_ceil(32), p.heads, chunks]
            },
        },
    ],
    cpu,
};

fn cpu(_: Level, params: &Params, reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let p: ScanOuter = params.unpack();
    let [q, k, v, g, w] = reads else {
        unreachable!()
    };
    let [out, state, _] = writes else {
        unreachable!()
    };
    let (heads, key, value) = (p.heads as usize, p.key as usize, p.value as usize);
    let per_group = heads / p.groups as usize;
    for h in 0..heads {
        let s = &mut state[h * key * value..][..key * value];
        for t in 0..p.t as usize {
            let group = h / per_group * key;
            let q = &q[p.q_offset as usize + t * p.q_stride as usize + group..][..key];
            let k = &k[p.k_offset as usize + t * p.k_stride as usize + group..][..key];
            let v = &v[p.v_offset as usize + t * p.v_stride as usize + h * value..][..value];
            let write = if p.has_write_scale == 1 {
                w[t * heads + h]
            } else {
                1.0
            };
            let write = write * p.write_factor;
            let out = &mut out[(t * heads + h) * value..][..value];
            out.fill(0.0);
            let scalar = if p.per_key == 0 {
                g[t * heads + h].exp()
            } else {
                0.0
            };
            for i in 0..key {
                let decay = if p.per_key == 1 {
                    g[(t * heads + h) * key + i].exp()
                } else {
                    scalar
                };
                let (ki, qi) = (k[i] * write, q[i] * p.scale);
                let row = &mut s[i * value..][..value];
                for j in 0..value {
                    row[j] = decay * row[j] + ki * v[j];
                    out[j] += qi * row[j];
                }
            }
        }
    }
}
