//! Causal softmax attention with a cache and grouped heads, the yardstick:
//! `o_t = sum_j softmax_j(scale q_t . k_j) v_j` over `j <= t`, and `j > t - window` if there is
//! a window.

use bytemuck::{Pod, Zeroable};
use fearless_simd::{Level, Simd, SimdBase, SimdFloat, dispatch};

use super::linear_workgroups;
use super::simd_math::{dot, exp_sum};
use crate::random::Random;
use crate::recording::{Call, Kernel, Params, Stage};

/// Parameters.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct SoftmaxAttention {
    /// New tokens T.
    pub t: u32,
    /// Query heads H.
    pub heads: u32,
    /// Key-value heads; divides H.
    pub kv_heads: u32,
    /// Width of a head, 256 at most.
    pub key: u32,
    /// Tokens in the cache before these.
    pub position: u32,
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
    /// Keys that a query sees, itself included; 0 for all.
    pub window: u32,
    /// Multiplies the scores (K^-1/2).
    pub scale: f32,
    /// Multiplies every value that is written (an intervention; 1 otherwise).
    pub write_factor: f32,
}

fn canary(seed: u64) -> Call {
    let mut random = Random::new(seed);
    let (t, heads, kv_heads, key, position) = (19, 4, 2, 20, 90);
    let (q_stride, k_stride, v_stride) = (90, 50, 47);
    let capacity = position + t + 5;
    let params = SoftmaxAttention {
        t: t as u32,
        heads: heads as u32,
        kv_heads: kv_heads as u32,
        key: key as u32,
        position: position as u32,
        q_stride: q_stride as u32,
        q_offset: 5,
        k_stride: k_stride as u32,
        k_offset: 3,
        v_stride: v_stride as u32,
        v_offset: 2,
        window: [0, 33][(seed % 2) as usize],
        scale: 0.22,
        write_factor: 0.9,
    };
    // The cache behind the last token is not yet written.
    let cache = |random: &mut Random| {
        let mut cache = random.normals(position * kv_heads * key, 1.0);
        cache.resize(capacity * kv_heads * key, f32::NAN);
        cache
    };
    Call {
        params: Params::pack(&params),
        reads: vec![
            random.normals(5 + t * q_stride, 1.0),
            random.normals(3 + t * k_stride, 1.0),
            random.normals(2 + t * v_stride, 1.0),
        ],
        writes: vec![
            vec![f32::NAN; t * heads * key],
            cache(&mut random),
            cache(&mut random),
        ],
    }
}

/// Reads `q [T, H, K]`, `k [T, kvH, K]`, `v [T, kvH, K]` (strided); writes `o [T, H, K]`,
/// `k_cache [capacity, kvH, K]`, `v_cache [capacity, kvH, K]`.
pub static KERNEL: Kernel = Kernel {
    name: "softmax_attention",
    reads: 3,
    writes: 3,
    wgsl: include_str!(concat!(env!("OUT_DIR"), "/softmax_attention.wgsl")),
    canary,
    stages: &[
        Stage {
            entry: "append",
            workgroups: |p| {
                let p: SoftmaxAttention = p.unpack();
                linear_workgroups((p.t * p.kv_heads * p.key) as usize)
            },
        },
        // One workgroup for 16 queries of a key-value head.
        Stage {
            entry: "attend",
            workgroups: |p| {
                let p: SoftmaxAttention = p.unpack();
                let queries = p.t * (p.heads / p.kv_heads);
                [queries.div_ceil(16), p.kv_heads, 1]
            },
        },
    ],
    cpu,
}
.of_this_build();

fn cpu(level: Level, params: &Params, reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    dispatch!(level, simd => softmax_attention(simd, &params.unpack(), reads, writes));
}

#[inline(always)]
fn softmax_attention<S: Simd>(
    simd: S,
    p: &SoftmaxAttention,
    reads: &[&[f32]],
    writes: &mut [&mut [f32]],
) {
    let [q, k, v] = reads else { unreachable!() };
    let [out, k_cache, v_cache] = writes else {
        unreachable!()
    };
    let (heads, key, position) = (p.heads as usize, p.key as usize, p.position as usize);
    let width = p.kv_heads as usize * key;
    for t in 0..p.t as usize {
        let k = &k[p.k_offset as usize + t * p.k_stride as usize..][..width];
        let v = &v[p.v_offset as usize + t * p.v_stride as usize..][..width];
        k_cache[(position + t) * width..][..width].copy_from_slice(k);
        for (to, from) in v_cache[(position + t) * width..][..width].iter_mut().zip(v) {
            *to = from * p.write_factor;
        }
    }
    let per_group = heads / p.kv_heads as usize;
    let mut weights = vec![0.0; position + p.t as usize];
    for t in 0..p.t as usize {
        let end = position + t + 1;
        let start = if p.window == 0 {
            0
        } else {
            end.saturating_sub(p.window as usize)
        };
        let weights = &mut weights[..end - start];
        for h in 0..heads {
            let q = &q[p.q_offset as usize + t * p.q_stride as usize + h * key..][..key];
            let column = h / per_group * key;
            let keys = k_cache[start * width..end * width].chunks_exact(width);
            let mut max = f32::NEG_INFINITY;
            for (weight, k) in weights.iter_mut().zip(keys) {
                *weight = dot(simd, q, &k[column..column + key]) * p.scale;
                max = max.max(*weight);
            }
            let sum = exp_sum(simd, weights, max);
            let out = &mut out[(t * heads + h) * key..][..key];
            let values = &v_cache[start * width..end * width];
            let mut c = 0;
            while c < key {
                c += match (key - c) / S::f32s::LEN {
                    0 => mix_rest(weights, values, width, column + c, sum, &mut out[c..]),
                    1..4 => {
                        mix::<S, 1>(simd, weights, values, width, column + c, sum, &mut out[c..])
                    }
                    _ => mix::<S, 4>(simd, weights, values, width, column + c, sum, &mut out[c..]),
                };
            }
        }
    }
}

/// The weighted mean of N vectors of columns over all rows; returns the number of columns.
#[inline(always)]
fn mix<S: Simd, const N: usize>(
    simd: S,
    weights: &[f32],
    values: &[f32],
    width: usize,
    column: usize,
    sum: f32,
    out: &mut [f32],
) -> usize {
    let lanes = S::f32s::LEN;
    let mut mean = [S::f32s::splat(simd, 0.0); N];
    for (&weight, row) in weights.iter().zip(values.chunks_exact(width)) {
        let row = &row[column..column + N * lanes];
        let weight = S::f32s::splat(simd, weight);
        for n in 0..N {
            mean[n] = weight.mul_add(
                S::f32s::from_slice(simd, &row[n * lanes..][..lanes]),
                mean[n],
            );
        }
    }
    for n in 0..N {
        (mean[n] / sum).store_slice(&mut out[n * lanes..][..lanes]);
    }
    N * lanes
}

/// [`mix`] for the last columns, fewer than a vector.
#[inline(always)]
fn mix_rest(
    weights: &[f32],
    values: &[f32],
    width: usize,
    column: usize,
    sum: f32,
    out: &mut [f32],
) -> usize {
    out.fill(0.0);
    for (weight, row) in weights.iter().zip(values.chunks_exact(width)) {
        for (out, v) in out.iter_mut().zip(&row[column..]) {
            *out += weight * v;
        }
    }
    for o in out.iter_mut() {
        *o /= sum;
    }
    out.len()
}
