//! The delta-rule scan: DeltaNet, Gated DeltaNet, Kimi Delta Attention, RWKV-7. For each head, with
//! S in R^{K x V} and a log-decay g that is one number or K numbers a head, or none, either
//!
//! `S' = diag(exp(g_t)) S_{t-1}`, `S_t = S' + beta_t k_t (f v_t - S'^T k_t)^T`
//!
//! (the delta rule: what the key recalls is replaced by the value) or
//!
//! `S_t = diag(exp(g_t)) S_{t-1} + b_t (a_t^T S_{t-1}) + f k_t v_t^T`
//!
//! ([`ScanDelta::DPLR`]: diagonal plus low rank; RWKV-7 has `a = -kk`, `b = kk * iclr`), and
//! `o_t = scale * S_t^T q_t`. f is [`ScanDelta::write_factor`].
//! `fla/ops/delta_rule/naive.py::delta_rule_recurrence`,
//! `fla/ops/gated_delta_rule/naive.py::naive_recurrent_gated_delta_rule`,
//! `fla/ops/kda/naive.py::naive_recurrent_kda`,
//! `fla/ops/generalized_delta_rule/dplr/naive.py::dplr_recurrence`.
//!
//! The CPU keeps the recurrence. The GPU keeps it for short inputs, for DPLR and for a decay a key
//! channel; the delta rule with a decay a head goes in chunks, whose tokens are untangled by a
//! triangular solve (the UT transform of arXiv 2406.06484, section 3.2, and 2412.06464,
//! section 3.3) for all chunks at once, before one workgroup a head and block of value columns
//! walks over the chunks.

use bytemuck::{Pod, Zeroable};
use fearless_simd::{Level, Simd, SimdBase, SimdFloat, dispatch};

use super::simd_math::{exp, load, store};
use crate::random::Random;
use crate::recording::{Call, Kernel, Params, Stage};

/// Parameters. The buffers are those of [`KERNEL`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct ScanDelta {
    /// Tokens T.
    pub t: u32,
    /// Heads H.
    pub heads: u32,
    /// Key width K; the GPU takes up to [`MAX_KEY`].
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
    /// Which rule: 0, or a sum of [`ScanDelta::DECAY_PER_HEAD`] or [`ScanDelta::DECAY_PER_KEY`],
    /// and [`ScanDelta::DPLR`].
    pub flags: u32,
    /// Row stride of `erase`.
    pub erase_stride: u32,
    /// First column of `erase`.
    pub erase_offset: u32,
    /// Multiplies the output (K^-1/2 in most of the family, 1 in RWKV-7).
    pub scale: f32,
    /// Multiplies every write, not the erasure (an intervention; 1 otherwise).
    pub write_factor: f32,
}

/// Tokens in a chunk on the GPU; the same constant stands in the shader.
pub const CHUNK: usize = 32;

/// Largest key width on the GPU.
pub const MAX_KEY: usize = 256;

impl ScanDelta {
    /// There is a log-decay a head, `g [T, H]`.
    pub const DECAY_PER_HEAD: u32 = 1;
    /// There is a log-decay a key channel, `g [T, H, K]`.
    pub const DECAY_PER_KEY: u32 = 2;
    /// `erase` has the vectors a and b of the diagonal-plus-low-rank rule.
    pub const DPLR: u32 = 4;

    /// Length of the scratch buffer that these tokens need: the longest recording's is enough for
    /// all shorter ones.
    pub fn scratch_len(&self) -> usize {
        if !self.chunked() {
            return 4;
        }
        let key = self.key as usize;
        // For every chunk and head k and q, the two triangular maps, and decays, four a vector.
        let a_chunk = 2 * CHUNK * key + 2 * CHUNK * CHUNK + 4 * CHUNK;
        (self.t as usize).div_ceil(CHUNK) * self.heads as usize * a_chunk
    }

    /// Whether the GPU works in chunks.
    fn chunked(&self) -> bool {
        self.t as usize > CHUNK
            && self.key as usize <= MAX_KEY
            && self.flags & (ScanDelta::DECAY_PER_KEY | ScanDelta::DPLR) == 0
    }

    /// Value columns of a workgroup of the stage `tokens`: 128 threads of up to 32 keys each.
    fn token_columns(&self) -> u32 {
        128 / self.key.div_ceil(16).clamp(1, 8).next_power_of_two()
    }

    /// Value columns of a workgroup of the stage `chunk_pass`: more where that still gives every
    /// processor of a large GPU something to do.
    fn pass_columns(&self) -> u32 {
        if self.key <= 128 && self.heads * self.value.div_ceil(16) >= 128 {
            16
        } else {
            8
        }
    }

    fn decays(&self) -> bool {
        self.flags & (ScanDelta::DECAY_PER_HEAD | ScanDelta::DECAY_PER_KEY) != 0
    }

    fn per_key(&self) -> bool {
        self.flags & ScanDelta::DECAY_PER_KEY != 0
    }

    fn dplr(&self) -> bool {
        self.flags & ScanDelta::DPLR != 0
    }
}

fn canary(seed: u64) -> Call {
    let mut random = Random::new(seed);
    // The recurrence on the GPU, chunks (the last one ragged), and every rule.
    let (t, flags) = [
        (40, ScanDelta::DPLR | ScanDelta::DECAY_PER_KEY),
        (45, ScanDelta::DECAY_PER_HEAD),
        (40, ScanDelta::DECAY_PER_KEY),
        (50, 0),
        (20, ScanDelta::DPLR | ScanDelta::DECAY_PER_HEAD),
        (20, ScanDelta::DECAY_PER_HEAD),
    ][(seed % 6) as usize];
    let (heads, groups, key, value) = (2, 1, 13, 11);
    let (q_stride, k_stride, v_stride) = (21, 17, 30);
    let per_key = flags & ScanDelta::DECAY_PER_KEY != 0;
    let dplr = flags & ScanDelta::DPLR != 0;
    let erase_width = if dplr { 2 * heads * key } else { heads };
    let erase_stride = erase_width + 3;
    let params = ScanDelta {
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
        flags,
        erase_stride: erase_stride as u32,
        erase_offset: 2,
        scale: 0.28,
        write_factor: 0.9,
    };
    let erase_len = 2 + t * erase_stride;
    Call {
        params: Params::pack(&params),
        reads: vec![
            random.normals(5 + t * q_stride, 1.0),
            // About unit length, so that erasing shrinks.
            random.normals(3 + t * k_stride, 0.25),
            random.normals(2 + t * v_stride, 1.0),
            random.uniforms(t * heads * if per_key { key } else { 1 }, -0.2, 0.0),
            if dplr {
                random.normals(erase_len, 0.15)
            } else {
                random.uniforms(erase_len, 0.0, 1.0)
            },
        ],
        writes: vec![
            vec![f32::NAN; t * heads * value],
            random.normals(heads * key * value, 1.0),
            vec![f32::NAN; params.scratch_len()],
        ],
    }
}

/// More workgroups than any device takes, so that the player refuses a key width above
/// [`MAX_KEY`] in a sentence that names the stage.
const TOO_WIDE: [u32; 3] = [u32::MAX, 1, 1];

/// Reads `q [T, G, K]`, `k [T, G, K]`, `v [T, H, V]` (strided), `g` (log-decays, packed), and
/// `erase` (strided): `beta [T, H]`, or with [`ScanDelta::DPLR`] rows of `a [H, K]` followed by
/// `b [H, K]`. Writes `o [T, H, V]`, `state [H, K, V]`, `scratch` ([`ScanDelta::scratch_len`]).
pub static KERNEL: Kernel = Kernel {
    name: "scan_delta",
    reads: 5,
    writes: 3,
    wgsl: concat!(
        include_str!(concat!(env!("OUT_DIR"), "/scan_delta.wgsl")),
        include_str!(concat!(env!("OUT_DIR"), "/scan_delta_chunks.wgsl")),
    ),
    canary,
    stages: &[
        Stage {
            entry: "tokens",
            workgroups: |p| {
                let p: ScanDelta = p.unpack();
                if p.chunked() {
                    return [0, 1, 1];
                }
                if p.key as usize > MAX_KEY {
                    return TOO_WIDE;
                }
                // Without tokens there is nothing to do, and without keys there are outputs.
                [p.value.div_ceil(p.token_columns()) * p.t.min(1), p.heads, 1]
            },
        },
        Stage {
            entry: "chunk_solve",
            workgroups: |p| {
                let p: ScanDelta = p.unpack();
                if !p.chunked() {
                    return [0, 1, 1];
                }
                [p.t.div_ceil(CHUNK as u32), p.heads, 1]
            },
        },
        Stage {
            entry: "chunk_pass",
            workgroups: |p| {
                let p: ScanDelta = p.unpack();
                if !p.chunked() {
                    return [0, 1, 1];
                }
                [p.value.div_ceil(p.pass_columns()), p.heads, 1]
            },
        },
    ],
    cpu,
}
.of_this_build();

fn cpu(level: Level, params: &Params, reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    dispatch!(level, simd => scan_delta(simd, &params.unpack(), reads, writes));
}

/// Tokens that pass over one block of state columns before the next block is taken.
const BLOCK_T: usize = 32;

/// What the tokens of a block do to the rows of a head's state: `[tokens, K]` each, but for beta.
struct Block {
    tokens: usize,
    key: usize,
    /// exp(g).
    decay: Vec<f32>,
    /// With which the state before a token is read: a, or for the delta rule exp(g) k.
    a: Vec<f32>,
    /// Where what was read is added; only for DPLR.
    b: Vec<f32>,
    /// Times the write factor with DPLR.
    k: Vec<f32>,
    /// Times the scale.
    q: Vec<f32>,
    /// `[tokens]`; only for the delta rule.
    beta: Vec<f32>,
    write_factor: f32,
}

impl Block {
    fn new(p: &ScanDelta) -> Block {
        let rows = || vec![0.0; BLOCK_T * p.key as usize];
        Block {
            tokens: 0,
            key: p.key as usize,
            decay: rows(),
            a: rows(),
            b: rows(),
            k: rows(),
            q: rows(),
            beta: vec![0.0; BLOCK_T],
            write_factor: p.write_factor,
        }
    }

    /// Reads up to [`BLOCK_T`] tokens of a head from token `first` on.
    #[inline(always)]
    fn fill<S: Simd>(&mut self, simd: S, p: &ScanDelta, reads: &[&[f32]], first: usize, h: usize) {
        let [q, k, _, g, erase] = reads else {
            unreachable!()
        };
        let (heads, key) = (p.heads as usize, p.key as usize);
        let column = h / (heads / p.groups as usize) * key;
        self.tokens = BLOCK_T.min(p.t as usize - first);
        for j in 0..self.tokens {
            let t = first + j;
            let at = j * key..(j + 1) * key;
            let decay = &mut self.decay[at.clone()];
            if p.per_key() {
                let g = &g[(t * heads + h) * key..][..key];
                for i in (0..key).step_by(S::f32s::LEN) {
                    store::<S>(exp(simd, load(simd, g, i)), decay, i);
                }
            } else if p.decays() {
                decay.fill(exp(simd, S::f32s::splat(simd, g[t * heads + h])).as_slice()[0]);
            } else {
                decay.fill(1.0);
            }
            let q = &q[p.q_offset as usize + t * p.q_stride as usize + column..][..key];
            let k = &k[p.k_offset as usize + t * p.k_stride as usize + column..][..key];
            let erase = &erase[p.erase_offset as usize + t * p.erase_stride as usize..];
            let k_factor = if p.dplr() { p.write_factor } else { 1.0 };
            if p.dplr() {
                self.a[at.clone()].copy_from_slice(&erase[h * key..][..key]);
                self.b[at.clone()].copy_from_slice(&erase[(heads + h) * key..][..key]);
            } else {
                self.beta[j] = erase[h];
            }
            for i in (0..key).step_by(S::f32s::LEN) {
                let k = load::<S>(simd, k, i);
                store::<S>(load(simd, q, i) * p.scale, &mut self.q[at.clone()], i);
                store::<S>(k * k_factor, &mut self.k[at.clone()], i);
                if !p.dplr() {
                    let decayed = k * load(simd, decay, i);
                    store::<S>(decayed, &mut self.a[at.clone()], i);
                }
            }
        }
    }
}

/// Some columns of a head: of its state `[K, V]`, and where its values and outputs lie.
struct Columns<'a> {
    state: &'a mut [f32],
    value: usize,
    first: usize,
    width: usize,
    /// The values from the block's first token and this head's first column on.
    v: &'a [f32],
    v_stride: usize,
    /// The outputs, likewise.
    out: &'a mut [f32],
    out_stride: usize,
}

#[inline(always)]
fn scan_delta<S: Simd>(simd: S, p: &ScanDelta, reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let v = reads[2];
    let [out, state, _] = writes else {
        unreachable!()
    };
    let (heads, key, value) = (p.heads as usize, p.key as usize, p.value as usize);
    if key == 0 || value == 0 {
        out[..p.t as usize * heads * value].fill(0.0);
        return;
    }
    let mut block = Block::new(p);
    for h in 0..heads {
        for first in (0..p.t as usize).step_by(BLOCK_T) {
            block.fill(simd, p, reads, first, h);
            let mut column = 0;
            while column < value {
                let vectors = (value - column) / S::f32s::LEN;
                let mut columns = Columns {
                    state: &mut state[h * key * value..][..key * value],
                    value,
                    first: column,
                    width: 0,
                    v: &v[p.v_offset as usize + first * p.v_stride as usize + h * value..],
                    v_stride: p.v_stride as usize,
                    out: &mut out[(first * heads + h) * value..],
                    out_stride: heads * value,
                };
                let width = match vectors {
                    0 => value - column,
                    1 => S::f32s::LEN,
                    2 | 3 => 2 * S::f32s::LEN,
                    _ => 4 * S::f32s::LEN,
                };
                columns.width = width;
                match (vectors, p.dplr()) {
                    (0, false) => scan_columns::<S, 1, false, false>(simd, &block, &mut columns),
                    (1, false) => scan_columns::<S, 1, true, false>(simd, &block, &mut columns),
                    (2 | 3, false) => scan_columns::<S, 2, true, false>(simd, &block, &mut columns),
                    (_, false) => scan_columns::<S, 4, true, false>(simd, &block, &mut columns),
                    (0, true) => scan_columns::<S, 1, false, true>(simd, &block, &mut columns),
                    (1, true) => scan_columns::<S, 1, true, true>(simd, &block, &mut columns),
                    (2 | 3, true) => scan_columns::<S, 2, true, true>(simd, &block, &mut columns),
                    (_, true) => scan_columns::<S, 4, true, true>(simd, &block, &mut columns),
                }
                column += width;
            }
        }
    }
}

/// Vector `n` of a row of columns; only where the row is not FULL, N whole vectors, may it end
/// within the vector.
#[inline(always)]
fn load_vector<S: Simd, const FULL: bool>(simd: S, row: &[f32], n: usize) -> S::f32s {
    let at = n * S::f32s::LEN;
    if FULL {
        S::f32s::from_slice(simd, &row[at..at + S::f32s::LEN])
    } else {
        load(simd, row, at)
    }
}

#[inline(always)]
fn store_vector<S: Simd, const FULL: bool>(x: S::f32s, row: &mut [f32], n: usize) {
    let at = n * S::f32s::LEN;
    if FULL {
        x.store_slice(&mut row[at..at + S::f32s::LEN]);
    } else {
        store::<S>(x, row, at);
    }
}

/// A block of tokens over N vectors of columns. One walk over the state does a token's write and
/// output and the next token's reading.
#[inline(always)]
fn scan_columns<S: Simd, const N: usize, const FULL: bool, const LOW_RANK: bool>(
    simd: S,
    block: &Block,
    columns: &mut Columns,
) {
    let (key, value) = (block.key, columns.value);
    let width = if FULL {
        N * S::f32s::LEN
    } else {
        columns.width
    };
    let range = columns.first..columns.first + width;
    let zeros = [S::f32s::splat(simd, 0.0); N];
    // What the first token reads of the state before it, a^T S.
    let mut read = zeros;
    for (row, &a) in columns.state.chunks_exact(value).zip(&block.a[..key]) {
        let row = &row[range.clone()];
        let a = S::f32s::splat(simd, a);
        for n in 0..N {
            read[n] = a.mul_add(load_vector::<S, FULL>(simd, row, n), read[n]);
        }
    }
    for j in 0..block.tokens {
        // What is written along k, and along b.
        let mut new = zeros;
        let old = read;
        let v = &columns.v[j * columns.v_stride..][range.clone()];
        for n in 0..N {
            new[n] = load_vector::<S, FULL>(simd, v, n);
            if !LOW_RANK {
                new[n] = (new[n] * block.write_factor - read[n]) * block.beta[j];
            }
        }
        // The block's last token reads for itself; what it reads is dropped.
        let next = (j + 1).min(block.tokens - 1);
        let at = j * key..(j + 1) * key;
        let factors = block.decay[at.clone()]
            .iter()
            .zip(&block.k[at.clone()])
            .zip(&block.q[at.clone()])
            .zip(&block.a[next * key..(next + 1) * key])
            .zip(&block.b[at]);
        let mut sums = zeros;
        read = zeros;
        let rows = columns.state.chunks_exact_mut(value);
        for (row, ((((&decay, &k), &q), &a), &b)) in rows.zip(factors) {
            let row = &mut row[range.clone()];
            let decay = S::f32s::splat(simd, decay);
            let k = S::f32s::splat(simd, k);
            let q = S::f32s::splat(simd, q);
            let a = S::f32s::splat(simd, a);
            let b = S::f32s::splat(simd, b);
            for n in 0..N {
                let mut s = decay * load_vector::<S, FULL>(simd, row, n);
                if LOW_RANK {
                    s = b.mul_add(old[n], s);
                }
                s = k.mul_add(new[n], s);
                store_vector::<S, FULL>(s, row, n);
                sums[n] = q.mul_add(s, sums[n]);
                read[n] = a.mul_add(s, read[n]);
            }
        }
        let out = &mut columns.out[j * columns.out_stride..][range.clone()];
        for n in 0..N {
            store_vector::<S, FULL>(sums[n], out, n);
        }
    }
}
