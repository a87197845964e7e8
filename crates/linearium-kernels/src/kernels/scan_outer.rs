//! The outer-product scan: linear attention, RetNet, SSD (Mamba-2), GLA. For each head
//!
//! `S_t = diag(exp(g_t)) S_{t-1} + w_t k_t v_t^T`, `o_t = scale * S_t^T q_t`
//!
//! with S in R^{K x V}, a log-decay g that is one number or K numbers a head, and an optional
//! write scale w (the step size of Mamba-2); or the output reads S_{t-1} (RWKV-6). `fla/ops/gla/naive.py::naive_recurrent_gla`,
//! `fla/ops/simple_gla/naive.py`, `mamba_ssm/modules/ssd_minimal.py`.
//!
//! The CPU keeps the recurrence, four tokens at a time: what they read of the state that they find,
//! and what they write, is one pass over it; what they read of one another is a triangle of scores.
//! The GPU works in chunks: what each chunk gives by itself, the walk
//! over chunks (one thread for 4 state elements), then the outputs; or all of it in one workgroup
//! for each head and 64 columns, where that is faster ([`Crossover`]). Inside a chunk decays are
//! sums of log-decays between two tokens, never `exp(+L)`. A few tokens are the recurrence.

use std::ops::Range;

use bytemuck::{Pod, Zeroable};
use fearless_simd::{Level, Simd, SimdBase, SimdFloat, dispatch};

use super::simd_math::{exp, load, store};
use super::tile::transpose;
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

/// Tokens that pass over the state together: it is loaded and stored once for all of them.
const TOGETHER: usize = 4;

/// Groups of tokens that pass over one block of state columns before the next block is taken.
const GROUPS: usize = 8;

/// Keys whose factors are computed together.
const KEYS: usize = 16;

/// What C tokens do to a head's state, S being what they find: the state becomes
/// `decay S + sum_j k_j v_j^T`, and token i reads `q_i^T S` and its share of what the group writes.
#[derive(Clone)]
struct Group<const C: usize, const W: usize> {
    /// For each key the W = 2 C + 1 factors of its row of the state: q of each token, with the
    /// decays between S and the read and the output's scale; k of each token, with the decays
    /// between the write and the end of the group and the write's scale; the decay of the group.
    factors: Vec<[f32; W]>,
    /// The weights with which token i reads what token j of the group writes.
    scores: [[f32; C]; C],
}

/// The values from `at` on, KEYS at most; behind the end of `row` there are zeros.
#[inline(always)]
fn keys(row: &[f32], at: usize) -> [f32; KEYS] {
    match row[at..].first_chunk() {
        Some(full) => *full,
        None => {
            let mut part = [0.0; KEYS];
            for (to, &from) in part.iter_mut().zip(&row[at..]) {
                *to = from;
            }
            part
        }
    }
}

impl<const C: usize, const W: usize> Group<C, W> {
    fn new(key: usize) -> Group<C, W> {
        Group {
            factors: vec![[0.0; W]; key.next_multiple_of(KEYS)],
            scores: [[0.0; C]; C],
        }
    }

    /// Fills it for the tokens from t on, which read the state before (BEFORE) or after they have
    /// changed it. There are products of decays only: nothing is divided by one.
    #[inline(always)]
    fn fill<S: Simd, const BEFORE: bool>(
        &mut self,
        simd: S,
        p: &ScanOuter,
        reads: &[&[f32]],
        (h, t): (usize, usize),
    ) {
        let [q, k, _, g, w] = reads else {
            unreachable!()
        };
        let (heads, key, lanes) = (p.heads as usize, p.key as usize, S::f32s::LEN);
        let column = h / (heads / p.groups as usize) * key;
        let q: [&[f32]; C] = std::array::from_fn(|i| {
            &q[p.q_offset as usize + (t + i) * p.q_stride as usize + column..][..key]
        });
        let k: [&[f32]; C] = std::array::from_fn(|i| {
            &k[p.k_offset as usize + (t + i) * p.k_stride as usize + column..][..key]
        });
        let head = |i| (t + i) * heads + h;
        let writes: [f32; C] = std::array::from_fn(|i| {
            let w = if p.has_write_scale == 1 {
                w[head(i)]
            } else {
                1.0
            };
            w * p.write_factor
        });
        let mut decays = [[0.0; KEYS]; C];
        if p.per_key == 0 {
            let of_token: [f32; C] = std::array::from_fn(|i| g[head(i)]);
            decays = of_token.map(|g| {
                let mut decay = [g; KEYS];
                exp_keys(simd, &mut decay);
                decay
            });
        }
        let zero = S::f32s::splat(simd, 0.0);
        let mut scores = [[zero; C]; C];
        let mut columns = [[0.0; KEYS]; W];
        for (b, factors) in self.factors.chunks_exact_mut(KEYS).enumerate() {
            let at = b * KEYS;
            let q: [[f32; KEYS]; C] = std::array::from_fn(|i| keys(q[i], at));
            let k: [[f32; KEYS]; C] = std::array::from_fn(|i| keys(k[i], at));
            if p.per_key == 1 {
                for i in 0..C {
                    decays[i] = keys(&g[head(i) * key..][..key], at);
                    exp_keys(simd, &mut decays[i]);
                }
            }
            for l in (0..KEYS).step_by(lanes) {
                let vector = |x: &[f32; KEYS]| S::f32s::from_slice(simd, &x[l..l + lanes]);
                let decays: [S::f32s; C] = std::array::from_fn(|i| vector(&decays[i]));
                let q: [S::f32s; C] = std::array::from_fn(|i| vector(&q[i]) * p.scale);
                let mut decay = S::f32s::splat(simd, 1.0);
                for i in 0..C {
                    let before = decay;
                    decay *= decays[i];
                    let until = if BEFORE { before } else { decay };
                    (q[i] * until).store_slice(&mut columns[i][l..l + lanes]);
                }
                decay.store_slice(&mut columns[2 * C][l..l + lanes]);
                for j in 0..C {
                    let mut k = vector(&k[j]) * writes[j];
                    if !BEFORE {
                        scores[j][j] = q[j].mul_add(k, scores[j][j]);
                    }
                    for i in j + 1..C {
                        let before = k;
                        k *= decays[i];
                        let until = if BEFORE { before } else { k };
                        scores[i][j] = q[i].mul_add(until, scores[i][j]);
                    }
                    k.store_slice(&mut columns[C + j][l..l + lanes]);
                }
            }
            let fours = W / 4 * 4;
            for r in (0..fours).step_by(4) {
                let rows = std::array::from_fn(|i| columns[r + i].as_slice());
                transpose(simd, rows, &mut factors.as_flattened_mut()[r..], W);
            }
            for (factors, c) in factors.iter_mut().zip(0..KEYS) {
                for r in fours..W {
                    factors[r] = columns[r][c];
                }
            }
        }
        for i in 0..C {
            for j in 0..=i {
                self.scores[i][j] = scores[i][j].reduce_sum();
            }
        }
    }
}

#[inline(always)]
fn exp_keys<S: Simd>(simd: S, x: &mut [f32; KEYS]) {
    let lanes = S::f32s::LEN;
    for l in (0..KEYS).step_by(lanes) {
        let row = &mut x[l..l + lanes];
        exp(simd, S::f32s::from_slice(simd, row)).store_slice(row);
    }
}

#[inline(always)]
fn scan_outer<S: Simd>(simd: S, p: &ScanOuter, reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let t_len = p.t as usize;
    if p.key == 0 || p.value == 0 {
        return;
    }
    let together = t_len / TOGETHER * TOGETHER;
    for h in 0..p.heads as usize {
        scan_head::<S, TOGETHER, 9>(simd, p, reads, writes, h, 0..together);
        scan_head::<S, 1, 3>(simd, p, reads, writes, h, together..t_len);
    }
}

/// Tokens of one head, C at a time; their number is a multiple of C.
#[inline(always)]
fn scan_head<S: Simd, const C: usize, const W: usize>(
    simd: S,
    p: &ScanOuter,
    reads: &[&[f32]],
    writes: &mut [&mut [f32]],
    h: usize,
    tokens: Range<usize>,
) {
    let [out, state, _] = writes else {
        unreachable!()
    };
    let (heads, key, value) = (p.heads as usize, p.key as usize, p.value as usize);
    let state = &mut state[h * key * value..][..key * value];
    let mut groups = vec![Group::<C, W>::new(key); GROUPS.min(tokens.len() / C)];
    for first in tokens.clone().step_by(GROUPS * C) {
        let starts = (first..tokens.end.min(first + GROUPS * C)).step_by(C);
        for (group, t) in groups.iter_mut().zip(starts.clone()) {
            if p.read_before == 1 {
                group.fill::<S, true>(simd, p, reads, (h, t));
            } else {
                group.fill::<S, false>(simd, p, reads, (h, t));
            }
        }
        let mut column = 0;
        while column < value {
            // Sums and values of four tokens fill 8 registers for each vector: of 32 there are
            // only with AVX-512.
            let most = if S::f32s::LEN == 16 { 2 } else { 1 };
            let vectors_of_pass = ((value - column) / S::f32s::LEN).min(most);
            for (group, t) in groups.iter().zip(starts.clone()) {
                let columns = Columns {
                    width: value,
                    first: column,
                    v: &reads[2]
                        [p.v_offset as usize + t * p.v_stride as usize + h * value + column..],
                    v_stride: p.v_stride as usize,
                    out: &mut out[(t * heads + h) * value + column..],
                    out_stride: heads * value,
                };
                match vectors_of_pass {
                    0 => pass::<S, C, W, 1, false>(simd, state, group, columns),
                    1 => pass::<S, C, W, 1, true>(simd, state, group, columns),
                    _ => pass::<S, C, W, 2, true>(simd, state, group, columns),
                }
            }
            column += S::f32s::LEN * vectors_of_pass.max(1);
        }
    }
}

/// Some columns of a state, and the values and outputs of a group's tokens in them.
struct Columns<'a> {
    /// All columns of the state.
    width: usize,
    /// The first one.
    first: usize,
    v: &'a [f32],
    v_stride: usize,
    out: &'a mut [f32],
    out_stride: usize,
}

/// C tokens over N vectors of columns, or over the last ones, fewer than a vector (not FULL). The
/// outputs stay in registers.
#[inline(always)]
fn pass<S: Simd, const C: usize, const W: usize, const N: usize, const FULL: bool>(
    simd: S,
    state: &mut [f32],
    group: &Group<C, W>,
    columns: Columns,
) {
    let lanes = S::f32s::LEN;
    let width = if FULL {
        N * lanes
    } else {
        columns.width - columns.first
    };
    let v: [[S::f32s; N]; C] = std::array::from_fn(|j| {
        let v = &columns.v[j * columns.v_stride..][..width];
        std::array::from_fn(|n| load(simd, v, n * lanes))
    });
    let mut sums = [[S::f32s::splat(simd, 0.0); N]; C];
    for i in 0..C {
        for j in 0..=i {
            let score = S::f32s::splat(simd, group.scores[i][j]);
            for n in 0..N {
                sums[i][n] = score.mul_add(v[j][n], sums[i][n]);
            }
        }
    }
    let (first, end) = (columns.first, columns.first + width);
    // Said once, so that it is not asked for every row.
    assert!(first <= end && end <= columns.width, "columns of the state");
    let rows = state.chunks_exact_mut(columns.width);
    for (row, f) in rows.zip(&group.factors) {
        let row = &mut row[first..end];
        let old: [S::f32s; N] = std::array::from_fn(|n| {
            if FULL {
                S::f32s::from_slice(simd, &row[n * lanes..][..lanes])
            } else {
                load(simd, row, 0)
            }
        });
        // All that the write needs, then all that the reads need: registers are few.
        let decay = S::f32s::splat(simd, f[2 * C]);
        let mut new = old.map(|s| decay * s);
        for i in 0..C {
            let k = S::f32s::splat(simd, f[C + i]);
            for n in 0..N {
                new[n] = k.mul_add(v[i][n], new[n]);
            }
        }
        for n in 0..N {
            if FULL {
                new[n].store_slice(&mut row[n * lanes..][..lanes]);
            } else {
                store::<S>(new[n], row, 0);
            }
        }
        for i in 0..C {
            let q = S::f32s::splat(simd, f[i]);
            for n in 0..N {
                sums[i][n] = q.mul_add(old[n], sums[i][n]);
            }
        }
    }
    for (i, sums) in sums.into_iter().enumerate() {
        let out = &mut columns.out[i * columns.out_stride..][..width];
        for n in 0..N {
            store::<S>(sums[n], out, n * lanes);
        }
    }
}
