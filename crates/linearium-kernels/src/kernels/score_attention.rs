//! Attention over a bounded or routed choice of earlier tokens:
//! `o_t = sum_j f(s_tj) v_j`, `s_tj = scale q_t . k_j + bias[distance]`, where f is a softmax over
//! the tokens seen, or `relu(s)^2`.
//!
//! A token sees those whose distance is a multiple of `dilation`, at most `window` of them, itself
//! included. With routing only active tokens see and are seen, and distances are counted in active
//! tokens: sleeping ones take no room (`renll/SeqBoat`, `standalone_seqboat.py`). The bias belongs
//! to the distance in tokens or, on demand, in active tokens. Keys and values stay in a ring that
//! holds no more rows than a window and a recording need.

use bytemuck::{Pod, Zeroable};
use fearless_simd::{Level, Simd, SimdBase, SimdFloat, dispatch};

use super::linear_workgroups;
use super::simd_math::{dot, exp_sum, load, store};
use crate::random::Random;
use crate::recording::{Call, Kernel, Params, Stage};

/// Parameters.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct ScoreAttention {
    /// New tokens T.
    pub t: u32,
    /// Query heads H.
    pub heads: u32,
    /// Heads of keys and values; divides H.
    pub kv_heads: u32,
    /// Width of a query and a key, K.
    pub key: u32,
    /// Width of a value, V.
    pub value: u32,
    /// Tokens before these.
    pub position: u32,
    /// Rows of the ring: at least T and what a token sees before itself.
    pub rows: u32,
    /// The most tokens that one sees; 0 for all.
    pub window: u32,
    /// Distance from one token that is seen to the next.
    pub dilation: u32,
    /// Tokens at this distance or further are not seen, whatever the window; 0 for no such end.
    pub reach: u32,
    /// A sum of [`ScoreAttention::SQUARED_RELU`], [`ScoreAttention::ROUTED`] and
    /// [`ScoreAttention::BIAS_BY_RANK`].
    pub flags: u32,
    /// Length of the bias; a distance beyond it has the last one. 0 for none.
    pub bias_len: u32,
    /// Multiplies the products.
    pub scale: f32,
    /// Multiplies every value that is written (an intervention; 1 otherwise).
    pub write_factor: f32,
}

impl ScoreAttention {
    /// Weights are `relu(s)^2`, not a softmax.
    pub const SQUARED_RELU: u32 = 1;
    /// There is an `active`.
    pub const ROUTED: u32 = 2;
    /// The distance of the bias is counted in active tokens.
    pub const BIAS_BY_RANK: u32 = 4;

    fn has(&self, flag: u32) -> bool {
        self.flags & flag != 0
    }

    /// Width of a row of the ring: keys, values, position.
    fn row(&self) -> usize {
        (self.kv_heads * (self.key + self.value)) as usize + 1
    }

    /// Length of the ring.
    pub fn ring_len(&self) -> usize {
        self.rows as usize * self.row()
    }
}

fn canary(seed: u64) -> Call {
    let mut random = Random::new(seed);
    let (heads, kv_heads, key, value) = (4, 2, 9, 11);
    let (t, position) = [(75, 0), (19, 90)][(seed % 2) as usize];
    let flags = [
        ScoreAttention::ROUTED,
        ScoreAttention::SQUARED_RELU,
        ScoreAttention::ROUTED | ScoreAttention::SQUARED_RELU | ScoreAttention::BIAS_BY_RANK,
        0,
    ][(seed % 4) as usize];
    let (window, dilation) = [(70, 1), (7, 3), (0, 2)][(seed % 3) as usize];
    let p = ScoreAttention {
        t: t as u32,
        heads: heads as u32,
        kv_heads: kv_heads as u32,
        key: key as u32,
        value: value as u32,
        position,
        // With the small window as few as will do, so that the ring goes round.
        rows: if window == 7 { 18 + t as u32 } else { 128 },
        window,
        dilation,
        reach: [0, 20][(seed / 4 % 2) as usize],
        flags,
        bias_len: [6, 0][(seed / 2 % 2) as usize],
        scale: 0.3,
        write_factor: 0.9,
    };
    let active: Vec<f32> = (0..t)
        .map(|_| f32::from(u8::from(random.uniform() < 0.6)))
        .collect();
    // With routing every other token before these was active.
    let apart = if p.has(ScoreAttention::ROUTED) { 2 } else { 1 };
    let before = position / apart;
    let mut ring = random.normals(p.ring_len(), 1.0);
    for rank in 0..before {
        let row = (rank % p.rows) as usize * p.row();
        ring[row + p.row() - 1] = (rank * apart) as f32;
    }
    let mut ranks = vec![f32::NAN; t + 1];
    ranks[0] = before as f32;
    Call {
        params: Params::pack(&p),
        reads: vec![
            random.normals(t * heads * key, 1.0),
            random.normals(t * kv_heads * key, 1.0),
            random.normals(t * kv_heads * value, 1.0),
            random.normals(p.bias_len.max(1) as usize, 1.0),
            active,
        ],
        writes: vec![vec![f32::NAN; t * heads * value], ring, ranks],
    }
}

/// Reads `q [T, H, K]`, `k [T, G, K]`, `v [T, G, V]`, `bias [bias_len]`, `active [T]` (0 or 1);
/// writes `o [T, H, V]` (zeros where a token is not active), `ring [rows, G (K + V) + 1]` and, with
/// routing, `ranks [T + 1]`: active tokens before these, then up to and with each of them. Its
/// first value is carried on.
pub static KERNEL: Kernel = Kernel {
    name: "score_attention",
    reads: 5,
    writes: 3,
    wgsl: include_str!(concat!(env!("OUT_DIR"), "/score_attention.wgsl")),
    canary,
    stages: &[
        Stage {
            entry: "count",
            workgroups: |p| {
                let p: ScoreAttention = p.unpack();
                let needed = p.t > 0 && p.has(ScoreAttention::ROUTED);
                [u32::from(needed), 1, 1]
            },
        },
        Stage {
            entry: "append",
            workgroups: |p| {
                let p: ScoreAttention = p.unpack();
                linear_workgroups(p.t as usize * p.row())
            },
        },
        // One workgroup a token, head and 256 columns of the values.
        Stage {
            entry: "attend",
            workgroups: |p| {
                let p: ScoreAttention = p.unpack();
                let [x, y, _] = fold(p.t * p.heads);
                [x, y, p.value.div_ceil(256)]
            },
        },
        Stage {
            entry: "carry",
            workgroups: |p| {
                let p: ScoreAttention = p.unpack();
                let needed = p.t > 0 && p.has(ScoreAttention::ROUTED);
                [u32::from(needed), 1, 1]
            },
        },
    ],
    cpu,
};

/// `groups` workgroups over two dimensions, none above 65,535.
fn fold(groups: u32) -> [u32; 3] {
    match groups {
        0 => [0, 1, 1],
        1..=65_535 => [groups, 1, 1],
        _ => [65_535, groups.div_ceil(65_535), 1],
    }
}

fn cpu(level: Level, params: &Params, reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    dispatch!(level, simd => score_attention(simd, &params.unpack(), reads, writes));
}

#[inline(always)]
fn score_attention<S: Simd>(
    simd: S,
    p: &ScoreAttention,
    reads: &[&[f32]],
    writes: &mut [&mut [f32]],
) {
    let [q, k, v, bias, active] = reads else {
        unreachable!()
    };
    let [out, ring, ranks] = writes else {
        unreachable!()
    };
    let (heads, groups, t_len) = (p.heads as usize, p.kv_heads as usize, p.t as usize);
    let (key, value, row, rows) = (p.key as usize, p.value as usize, p.row(), p.rows as usize);
    let routed = p.has(ScoreAttention::ROUTED);
    let mut count = if routed { ranks[0] } else { p.position as f32 } as usize;
    // The rows of the ring that a token sees, and the distance of each.
    let (mut seen, mut weights) = (Vec::new(), Vec::new());
    for t in 0..t_len {
        let awake = !routed || active[t] != 0.0;
        count += usize::from(awake);
        if routed {
            ranks[t + 1] = count as f32;
        }
        if !awake {
            out[t * heads * value..][..heads * value].fill(0.0);
            continue;
        }
        let now = p.position as usize + t;
        let slot = &mut ring[(count - 1) % rows * row..][..row];
        slot[..groups * key].copy_from_slice(&k[t * groups * key..][..groups * key]);
        let values = &v[t * groups * value..][..groups * value];
        for (to, from) in slot[groups * key..].iter_mut().zip(values) {
            *to = from * p.write_factor;
        }
        slot[row - 1] = now as f32;
        seen.clear();
        let mut distance = 0;
        while distance < count && (p.window == 0 || seen.len() < p.window as usize) {
            let at = (count - 1 - distance) % rows * row;
            let tokens = now - ring[at + row - 1] as usize;
            if p.reach != 0 && tokens >= p.reach as usize {
                break;
            }
            let by_rank = p.has(ScoreAttention::BIAS_BY_RANK);
            seen.push((at, if by_rank { distance } else { tokens }));
            distance += p.dilation as usize;
        }
        for h in 0..heads {
            let group = h / (heads / groups);
            let q = &q[(t * heads + h) * key..][..key];
            weights.clear();
            weights.extend(seen.iter().map(|&(at, distance)| {
                let score = dot(simd, q, &ring[at + group * key..][..key]) * p.scale;
                match p.bias_len as usize {
                    0 => score,
                    len => score + bias[distance.min(len - 1)],
                }
            }));
            let sum = if p.has(ScoreAttention::SQUARED_RELU) {
                for w in &mut weights {
                    *w = w.max(0.0) * w.max(0.0);
                }
                1.0
            } else {
                let largest = weights.iter().fold(f32::NEG_INFINITY, |a, &b| a.max(b));
                exp_sum(simd, &mut weights, largest)
            };
            let out = &mut out[(t * heads + h) * value..][..value];
            for c in (0..value).step_by(S::f32s::LEN) {
                let mut mean = S::f32s::splat(simd, 0.0);
                for (&(at, _), &w) in seen.iter().zip(&weights) {
                    let values = &ring[at + groups * key + group * value..][..value];
                    mean = load(simd, values, c).mul_add(S::f32s::splat(simd, w), mean);
                }
                store::<S>(mean / sum, out, c);
            }
        }
    }
    if routed && t_len > 0 {
        ranks[0] = count as f32;
    }
}
