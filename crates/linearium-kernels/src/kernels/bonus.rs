//! What a token adds of its own value to what it read, for each head:
//! `out = x + m (sum_i q_i d_i k_i) v`. In RWKV-6 that is the present token, which the state does
//! not hold yet (`fla/ops/rwkv6/recurrent_naive.py`, d is its bonus u); RWKV-7 adds it behind the
//! norm (`fla/ops/rwkv7/gate_output_correction.py`, d is r_k).

use bytemuck::{Pod, Zeroable};
use fearless_simd::Level;

use super::linear_workgroups;
use crate::random::Random;
use crate::recording::{Call, Kernel, Params, Stage};

/// Parameters.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct Bonus {
    /// Rows T.
    pub t: u32,
    /// Heads H.
    pub heads: u32,
    /// Key width K.
    pub key: u32,
    /// Value width V.
    pub value: u32,
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
    /// m.
    pub multiplier: f32,
}

fn canary(seed: u64) -> Call {
    let mut random = Random::new(seed);
    let (t, heads, key, value) = [(7, 3, 13, 11), (9, 2, 64, 40)][(seed % 2) as usize];
    let (q_stride, k_stride, v_stride) = (heads * key + 3, heads * key + 8, heads * value + 5);
    let params = Bonus {
        t,
        heads,
        key,
        value,
        q_stride,
        q_offset: 2,
        k_stride,
        k_offset: 1,
        v_stride,
        v_offset: 4,
        multiplier: 0.8,
    };
    Call {
        params: Params::pack(&params),
        reads: vec![
            random.normals((t * heads * value) as usize, 1.0),
            random.normals((2 + t * q_stride) as usize, 1.0),
            random.normals((1 + t * k_stride) as usize, 1.0),
            random.normals((4 + t * v_stride) as usize, 1.0),
            random.normals((heads * key) as usize, 1.0),
        ],
        writes: vec![vec![f32::NAN; (t * heads * value) as usize]],
    }
}

/// Reads `x [T, H, V]`, `q [T, H, K]`, `k [T, H, K]`, `v [T, H, V]` (the last three strided),
/// `d [H, K]`; writes `out [T, H, V]`.
pub static KERNEL: Kernel = Kernel {
    name: "bonus",
    reads: 5,
    writes: 1,
    wgsl: include_str!(concat!(env!("OUT_DIR"), "/bonus.wgsl")),
    canary,
    // One workgroup a token and head, folded over two dimensions.
    stages: &[Stage {
        entry: "bonus",
        workgroups: |p| {
            let p: Bonus = p.unpack();
            linear_workgroups((p.t * p.heads) as usize * 256)
        },
    }],
    cpu,
};

fn cpu(_: Level, params: &Params, reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let p: Bonus = params.unpack();
    let [x, q, k, v, d] = reads else {
        unreachable!()
    };
    let [out] = writes else { unreachable!() };
    let (heads, key, value) = (p.heads as usize, p.key as usize, p.value as usize);
    for t in 0..p.t as usize {
        for h in 0..heads {
            let q = &q[p.q_offset as usize + t * p.q_stride as usize + h * key..][..key];
            let k = &k[p.k_offset as usize + t * p.k_stride as usize + h * key..][..key];
            let v = &v[p.v_offset as usize + t * p.v_stride as usize + h * value..][..value];
            let products = q.iter().zip(k).zip(&d[h * key..]);
            let weight: f32 = products.map(|((q, k), d)| q * k * d).sum();
            let at = (t * heads + h) * value;
            let x = &x[at..at + value];
            for ((out, x), v) in out[at..at + value].iter_mut().zip(x).zip(v) {
                *out = x + p.multiplier * weight * v;
            }
        }
    }
}
