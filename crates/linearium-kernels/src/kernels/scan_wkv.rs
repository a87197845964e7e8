//! The WKV scan of RWKV-4: for each channel
//!
//! `y_t = (sum_{i<t} e^{(t-1-i) w + k_i} v_i + e^{u + k_t} v_t) / (the same with v = 1)`
//!
//! with the log-decay w < 0 and the bonus u of the present token. Both sums are kept divided by
//! their largest term, so that keys of any size neither overflow nor vanish
//! (`RWKV-v4/cuda/wkv_cuda.cu`, `kernel_forward`). Its exponent is kept as the key o of that term and
//! the number n of tokens since, `o + n w`: a sum to which w is added at every token collects the
//! rounding of a number as large as the keys.

use bytemuck::{Pod, Zeroable};
use fearless_simd::{Level, Simd, SimdBase, SimdFloat, dispatch, prelude::*};

use super::simd_math::{exp, load, store};
use crate::random::Random;
use crate::recording::{Call, Kernel, Params, Stage};

/// Parameters.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct ScanWkv {
    /// Tokens T.
    pub t: u32,
    /// Channels D.
    pub channels: u32,
    /// Row stride of k.
    pub k_stride: u32,
    /// First column of k.
    pub k_offset: u32,
    /// Row stride of v.
    pub v_stride: u32,
    /// First column of v.
    pub v_offset: u32,
    /// 1 if the logarithm of the denominator is wanted.
    pub has_log_sum: u32,
}

/// Tokens in a chunk on the GPU; the same constant stands in the shader.
pub const CHUNK: usize = 64;

impl ScanWkv {
    /// Length of the scratch buffer that a recording of `t` tokens needs: a state a chunk.
    pub fn scratch_len(t: usize, channels: usize) -> usize {
        t.div_ceil(CHUNK) * 4 * channels
    }

    fn groups(&self) -> u32 {
        self.channels.div_ceil(CHUNK as u32)
    }

    fn chunks(&self) -> u32 {
        self.t.div_ceil(CHUNK as u32)
    }
}

fn canary(seed: u64) -> Call {
    let mut random = Random::new(seed);
    // Three chunks, the last one ragged; or a single one. A sequence that begins, or goes on.
    let t = [150, 40][(seed % 2) as usize];
    let (channels, k_stride, k_offset, v_stride, v_offset) = (23, 29, 3, 31, 5);
    let params = ScanWkv {
        t: t as u32,
        channels: channels as u32,
        k_stride: k_stride as u32,
        k_offset: k_offset as u32,
        v_stride: v_stride as u32,
        v_offset: v_offset as u32,
        has_log_sum: 1,
    };
    let mut state = vec![0.0; 4 * channels];
    if seed % 3 < 2 {
        state[..channels].copy_from_slice(&random.normals(channels, 1.0));
        state[channels..2 * channels].copy_from_slice(&random.uniforms(channels, 1.0, 2.0));
        state[2 * channels..3 * channels].copy_from_slice(&random.normals(channels, 1.0));
        state[3 * channels..].fill(3.0);
    }
    Call {
        params: Params::pack(&params),
        reads: vec![
            random.normals(k_offset + t * k_stride, 2.0),
            random.normals(v_offset + t * v_stride, 1.0),
            random.uniforms(channels, -1.0, -0.001),
            random.normals(channels, 1.0),
        ],
        writes: vec![
            vec![f32::NAN; t * channels],
            vec![f32::NAN; t * channels],
            state,
            vec![f32::NAN; ScanWkv::scratch_len(t, channels)],
        ],
    }
}

/// Reads `k`, `v` (strided rows `[T, D]`), `w [D]`, `u [D]`; writes `y [T, D]`, `log_sum [T, D]` if
/// wanted, `state [4, D]` (both sums, o and n; all 0 at the start of a sequence),
/// `scratch` ([`ScanWkv::scratch_len`]).
pub static KERNEL: Kernel = Kernel {
    name: "scan_wkv",
    reads: 4,
    writes: 4,
    wgsl: include_str!(concat!(env!("OUT_DIR"), "/scan_wkv.wgsl")),
    canary,
    stages: &[
        Stage {
            entry: "chunk_state",
            workgroups: |p| {
                let p: ScanWkv = p.unpack();
                if p.chunks() < 2 {
                    return [0, 1, 1];
                }
                [p.groups(), p.chunks(), 1]
            },
        },
        Stage {
            entry: "chunk_pass",
            workgroups: |p| {
                let p: ScanWkv = p.unpack();
                if p.chunks() < 2 {
                    return [0, 1, 1];
                }
                [p.groups(), 1, 1]
            },
        },
        Stage {
            entry: "chunk_out",
            workgroups: |p| {
                let p: ScanWkv = p.unpack();
                [p.groups(), p.chunks(), 1]
            },
        },
    ],
    cpu,
};

fn cpu(level: Level, params: &Params, reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    dispatch!(level, simd => scan_wkv(simd, &params.unpack(), reads, writes));
}

#[inline(always)]
fn scan_wkv<S: Simd>(simd: S, p: &ScanWkv, reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let [k, v, w, u] = reads else { unreachable!() };
    let [y, log_sum, state, _] = writes else {
        unreachable!()
    };
    let d = p.channels as usize;
    let zero = S::f32s::splat(simd, 0.0);
    for c in (0..d).step_by(S::f32s::LEN) {
        let (w, u) = (load(simd, &w[..d], c), load(simd, &u[..d], c));
        let [mut a, mut b, o, mut n]: [S::f32s; 4] =
            std::array::from_fn(|row| load(simd, &state[row * d..][..d], c));
        // A sum that holds anything is at least 1, its largest term. An empty one has no maximum.
        let mut o = b.simd_gt(0.0).select(o, S::f32s::splat(simd, -1e38));
        for t in 0..p.t as usize {
            let k = &k[p.k_offset as usize + t * p.k_stride as usize..][..d];
            let v = &v[p.v_offset as usize + t * p.v_stride as usize..][..d];
            let (k, v) = (load(simd, k, c), load(simd, v, c));
            let (old, new) = shares(simd, n.mul_add(w, o - (u + k)));
            let sum = old.mul_add(b, new);
            store::<S>(old.mul_add(a, new * v) / sum, &mut y[t * d..][..d], c);
            if p.has_log_sum == 1 {
                let most = n.mul_add(w, o).max(u + k);
                let logs = &mut log_sum[t * d..][..d];
                for (i, log) in logs[c..].iter_mut().take(S::f32s::LEN).enumerate() {
                    *log = most.as_slice()[i] + sum.as_slice()[i].ln();
                }
            }
            n += 1.0;
            let ahead = n.mul_add(w, o - k);
            let (old, new) = shares(simd, ahead);
            a = old.mul_add(a, new * v);
            b = old.mul_add(b, new);
            let stays = ahead.simd_ge(0.0);
            o = stays.select(o, k);
            n = stays.select(n, zero);
        }
        if p.t > 0 {
            for (row, value) in [a, b, o, n].into_iter().enumerate() {
                store::<S>(value, &mut state[row * d..][..d], c);
            }
        }
    }
}

/// What two numbers are multiplied with that stand for multiples of e^x and of 1, so that they
/// stand for multiples of the larger of both.
#[inline(always)]
fn shares<S: Simd>(simd: S, x: S::f32s) -> (S::f32s, S::f32s) {
    let (small, one) = (exp(simd, -x.abs()), S::f32s::splat(simd, 1.0));
    let first = x.simd_ge(0.0);
    (first.select(one, small), first.select(small, one))
}
