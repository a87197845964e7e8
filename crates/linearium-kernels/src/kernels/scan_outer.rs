//! The outer-product scan: linear attention, RetNet, SSD (Mamba-2), GLA. For each head
//!
//! `S_t = diag(exp(g_t)) S_{t-1} + w_t k_t v_t^T`, `o_t = scale * S_t^T q_t`
//!
//! with S in R^{K x V}, a log-decay g that is one number or K numbers a head, and an optional
//! write scale w (the step size of Mamba-2); or the output reads S_{t-1} (RWKV-6). `fla/ops/gla/naive.py::naive_recurrent_gla`,
//! `fla/ops/simple_gla/naive.py`, `mamba_ssm/modules/ssd_minimal.py`.
//!
//! The CPU keeps the recurrence. The GPU works in chunks: what each chunk gives by itself, the walk
//! over chunks (one thread for 4 state elements), then the outputs; or all of it in one workgroup
//! for each head and 64 columns, where that is faster ([`Crossover`]). Inside a chunk decays are
//! sums of log-decays between two tokens, never `exp(+L)`. A few tokens are the recurrence.

use bytemuck::{Pod, Zeroable};
use fearless_simd::{Level, Simd, SimdBase, SimdFloat, dispatch};

use super::simd_math::{exp, load, store};
use crate::random::Random;
use crate::recording::{Call, Crossover, Kernel, Params, Stage};

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
    /// 1 if a token reads the state that it found, `o_t = scale * S_{t-1}^T q_t`, neither decayed
    /// by g_t nor written to (`fla/ops/rwkv6/recurrent_naive.py`); 0 if it reads S_t.
    pub read_before: u32,
}

/// Tokens in a chunk on the GPU; the same constant stands in the shader.
pub const CHUNK: usize = 64;

/// How the GPU goes about a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// The recurrence.
    FewTokens,
    /// One workgroup walks over all chunks.
    Fused,
    /// Chunks side by side, in three passes.
    Passes,
}

impl ScanOuter {
    /// Length of the scratch buffer that a recording of `t` tokens needs: for each chunk a state,
    /// its decays, the scores of 64 x 64 tokens, and the queries.
    pub fn scratch_len(t: usize, heads: usize, key: usize, value: usize) -> usize {
        let slot = CHUNK * (CHUNK + key);
        let chunk = key * value.next_multiple_of(64) + key.next_multiple_of(4) + slot;
        // In one pass there is a slot for each 64 columns of values and nothing else.
        heads * (t.div_ceil(CHUNK) * chunk).max(value.div_ceil(64) * slot)
    }

    fn chunks(&self) -> u32 {
        self.t.div_ceil(CHUNK as u32)
    }

    fn form(&self, crossover: Crossover) -> Form {
        match self.t {
            0..=4 => Form::FewTokens,
            _ if crossover.walks(self.heads * self.value.div_ceil(64), self.chunks()) => {
                Form::Fused
            }
            _ => Form::Passes,
        }
    }
}

/// The workgroups of a stage, none if the call takes another form.
fn workgroups(params: &Params, form: Form, of_form: fn(ScanOuter) -> [u32; 3]) -> [u32; 3] {
    let p: ScanOuter = params.unpack();
    if p.form(params.crossover()) == form {
        of_form(p)
    } else {
        [0; 3]
    }
}

fn canary(seed: u64) -> Call {
    let mut random = Random::new(seed);
    // Each form: three chunks, the last one ragged; a single one, whose state has two tiles, so that
    // what the first leaves behind must not reach the second; a few tokens.
    let (t, key) = [(150, 13), (40, 70), (3, 13)][(seed % 3) as usize];
    let per_key = (seed % 2) as usize;
    let (heads, groups, value) = (2, 1, 11);
    let (q_stride, k_stride, v_stride) = (key + 8, key + 4, 30);
    let params = ScanOuter {
        t: t as u32,
        heads: heads as u32,
        key: key as u32,
        value: value as u32,
        groups: groups as u32,
        q_stride: q_stride as u32,
        q_offset: 5,
        k_stride: k_stride as u32,
        k_offset: 3,
        v_stride: v_stride as u32,
        v_offset: 2,
        per_key: per_key as u32,
        has_write_scale: 1,
        scale: 0.28,
        write_factor: 0.9,
        read_before: (seed / 6 % 2) as u32,
    };
    Call {
        params: Params::pack(&params),
        reads: vec![
            random.normals(5 + t * q_stride, 1.0),
            random.normals(3 + t * k_stride, 1.0),
            random.normals(2 + t * v_stride, 1.0),
            random.uniforms(t * heads * [1, key][per_key], -0.2, 0.0),
            random.uniforms(t * heads, 0.01, 0.5),
        ],
        writes: vec![
            vec![f32::NAN; t * heads * value],
            random.normals(heads * key * value, 1.0),
            vec![f32::NAN; ScanOuter::scratch_len(t, heads, key, value)],
        ],
    }
}

/// Reads `q [T, G, K]`, `k [T, G, K]`, `v [T, H, V]` (strided), `g`, `w`; writes `o [T, H, V]`,
/// `state [H, K, V]`, `scratch` ([`ScanOuter::scratch_len`]).
pub static KERNEL: Kernel = Kernel {
    name: "scan_outer",
    reads: 5,
    writes: 3,
    wgsl: include_str!(concat!(env!("OUT_DIR"), "/scan_outer.wgsl")),
    canary,
    stages: &[
        Stage {
            entry: "few_tokens",
            workgroups: |p| {
                workgroups(p, Form::FewTokens, |p| {
                    [p.value.div_ceil(16), p.heads, p.t.min(1)]
                })
            },
        },
        Stage {
            entry: "fused",
            workgroups: |p| workgroups(p, Form::Fused, |p| [p.value.div_ceil(64), p.heads, 1]),
        },
        Stage {
            entry: "chunk_parts",
            workgroups: |p| {
                // The tiles of the state, and the scores.
                workgroups(p, Form::Passes, |p| {
                    let tiles = p.key.div_ceil(64) * p.value.div_ceil(64);
                    [tiles + 1, p.heads, p.chunks()]
                })
            },
        },
        Stage {
            entry: "chunk_pass",
            workgroups: |p| {
                workgroups(p, Form::Passes, |p| {
                    let vectors = p.heads * p.key * p.value.div_ceil(64) * 16;
                    // 64 threads a group, for which there would be 256 elements.
                    super::linear_workgroups(4 * vectors as usize)
                })
            },
        },
        Stage {
            entry: "chunk_out",
            workgroups: |p| {
                workgroups(p, Form::Passes, |p| {
                    [p.value.div_ceil(64), p.heads, p.chunks()]
                })
            },
        },
    ],
    cpu,
}
.of_this_build();

fn cpu(level: Level, params: &Params, reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    dispatch!(level, simd => scan_outer(simd, &params.unpack(), reads, writes));
}

/// Tokens that pass over one block of state columns before the next block is taken.
const BLOCK_T: usize = 32;

/// What a token does to the rows of a head's state, K values each: decay, write, read.
struct Token<'a> {
    decay: &'a [f32],
    k: &'a [f32],
    q: &'a [f32],
    v: &'a [f32],
}

#[inline(always)]
fn scan_outer<S: Simd>(simd: S, p: &ScanOuter, reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let [q, k, v_rows, g, w] = reads else {
        unreachable!()
    };
    let [out, state, _] = writes else {
        unreachable!()
    };
    let (heads, key, value) = (p.heads as usize, p.key as usize, p.value as usize);
    let (t_len, per_group) = (p.t as usize, heads / p.groups as usize);
    let read_before = p.read_before == 1;
    if key == 0 || value == 0 {
        return;
    }
    // exp(g), k with the write's scale, q with the output's, for the tokens of a block.
    let mut factors = vec![0.0; 3 * BLOCK_T * key];
    let (decays, rest) = factors.split_at_mut(BLOCK_T * key);
    let (ks, qs) = rest.split_at_mut(BLOCK_T * key);
    for h in 0..heads {
        let s = &mut state[h * key * value..][..key * value];
        for first in (0..t_len).step_by(BLOCK_T) {
            let block = first..t_len.min(first + BLOCK_T);
            for t in block.clone() {
                let at = (t - first) * key..(t - first + 1) * key;
                let decay = &mut decays[at.clone()];
                if p.per_key == 1 {
                    let g = &g[(t * heads + h) * key..][..key];
                    for i in (0..key).step_by(S::f32s::LEN) {
                        store::<S>(exp(simd, load(simd, g, i)), decay, i);
                    }
                } else {
                    decay.fill(exp(simd, S::f32s::splat(simd, g[t * heads + h])).as_slice()[0]);
                }
                let write = if p.has_write_scale == 1 {
                    w[t * heads + h]
                } else {
                    1.0
                };
                let column = h / per_group * key;
                let k = &k[p.k_offset as usize + t * p.k_stride as usize + column..][..key];
                scale::<S>(simd, k, write * p.write_factor, &mut ks[at.clone()]);
                let q = &q[p.q_offset as usize + t * p.q_stride as usize + column..][..key];
                scale::<S>(simd, q, p.scale, &mut qs[at]);
            }
            let mut column = 0;
            while column < value {
                let vectors = (value - column) / S::f32s::LEN;
                let columns = match vectors {
                    0 => value - column,
                    1 => S::f32s::LEN,
                    2 | 3 => 2 * S::f32s::LEN,
                    _ => 4 * S::f32s::LEN,
                };
                for t in block.clone() {
                    let at = (t - first) * key..(t - first + 1) * key;
                    let v = p.v_offset as usize + t * p.v_stride as usize + h * value + column;
                    let token = Token {
                        decay: &decays[at.clone()],
                        k: &ks[at.clone()],
                        q: &qs[at],
                        v: &v_rows[v..v + columns],
                    };
                    let out = &mut out[(t * heads + h) * value + column..][..columns];
                    match vectors {
                        0 => step_rest(s, value, column, token, read_before, out),
                        1 => step::<S, 1>(simd, s, value, column, token, read_before, out),
                        2 | 3 => step::<S, 2>(simd, s, value, column, token, read_before, out),
                        _ => step::<S, 4>(simd, s, value, column, token, read_before, out),
                    }
                }
                column += columns;
            }
        }
    }
}

#[inline(always)]
fn scale<S: Simd>(simd: S, x: &[f32], factor: f32, out: &mut [f32]) {
    for i in (0..x.len()).step_by(S::f32s::LEN) {
        store::<S>(load(simd, x, i) * factor, out, i);
    }
}

/// One token over N vectors of columns from `column` on; the outputs stay in registers.
#[inline(always)]
fn step<S: Simd, const N: usize>(
    simd: S,
    state: &mut [f32],
    value: usize,
    column: usize,
    token: Token,
    read_before: bool,
    out: &mut [f32],
) {
    let lanes = S::f32s::LEN;
    let v: [S::f32s; N] =
        std::array::from_fn(|n| S::f32s::from_slice(simd, &token.v[n * lanes..][..lanes]));
    let mut sums = [S::f32s::splat(simd, 0.0); N];
    let factors = token.decay.iter().zip(token.k).zip(token.q);
    for (row, ((&decay, &k), &q)) in state.chunks_exact_mut(value).zip(factors) {
        let row = &mut row[column..column + N * lanes];
        let decay = S::f32s::splat(simd, decay);
        let k = S::f32s::splat(simd, k);
        let q = S::f32s::splat(simd, q);
        for n in 0..N {
            let s = &mut row[n * lanes..][..lanes];
            let old = S::f32s::from_slice(simd, s);
            let new = k.mul_add(v[n], decay * old);
            new.store_slice(s);
            sums[n] = q.mul_add(if read_before { old } else { new }, sums[n]);
        }
    }
    for n in 0..N {
        sums[n].store_slice(&mut out[n * lanes..][..lanes]);
    }
}

/// [`step`] for the last columns, fewer than a vector.
#[inline(always)]
fn step_rest(
    state: &mut [f32],
    value: usize,
    column: usize,
    token: Token,
    read_before: bool,
    out: &mut [f32],
) {
    out.fill(0.0);
    let factors = token.decay.iter().zip(token.k).zip(token.q);
    for (row, ((decay, k), q)) in state.chunks_exact_mut(value).zip(factors) {
        for ((s, v), out) in row[column..].iter_mut().zip(token.v).zip(out.iter_mut()) {
            let old = *s;
            *s = decay * old + k * v;
            *out += q * if read_before { old } else { *s };
        }
    }
}
