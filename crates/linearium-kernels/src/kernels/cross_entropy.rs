//! What a prediction cost: `loss[t] = logsumexp(logits[t]) - logits[t, target[t]]` in nats, and
//! the most likely token (the first one of equals), as two columns.

use bytemuck::{Pod, Zeroable};
use fearless_simd::{Level, Simd, dispatch};

use super::simd_math::exp_sum;
use crate::random::Random;
use crate::recording::{Call, Kernel, Params, Stage};

/// Parameters.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct CrossEntropy {
    /// Rows T.
    pub t: u32,
    /// Vocabulary V.
    pub vocab: u32,
}

fn canary(seed: u64) -> Call {
    let mut random = Random::new(seed);
    let (t, vocab) = (7, 301);
    let mut targets: Vec<f32> = (0..t).map(|_| random.below(vocab) as f32).collect();
    targets[3] = -1.0;
    let params = CrossEntropy {
        t: t as u32,
        vocab: vocab as u32,
    };
    Call {
        params: Params::pack(&params),
        reads: vec![random.normals(t * vocab, 3.0), targets],
        writes: vec![vec![f32::NAN; t * 2]],
    }
}

/// Reads `logits [T, V]`, `targets [T]` (whole numbers; below 0 for none, whose loss is 0);
/// writes `out [T, 2]` (loss, argmax).
pub static KERNEL: Kernel = Kernel {
    name: "cross_entropy",
    reads: 2,
    writes: 1,
    wgsl: include_str!(concat!(env!("OUT_DIR"), "/cross_entropy.wgsl")),
    canary,
    // One workgroup a row; T is a segment's, far below 65,535.
    stages: &[Stage {
        entry: "cross_entropy",
        workgroups: |p| {
            let p: CrossEntropy = p.unpack();
            [p.t, 1, 1]
        },
    }],
    cpu,
}
.of_this_build();

fn cpu(level: Level, params: &Params, reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    dispatch!(level, simd => cross_entropy(simd, &params.unpack(), reads, writes));
}

#[inline(always)]
fn cross_entropy<S: Simd>(simd: S, p: &CrossEntropy, reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let [logits, targets] = reads else {
        unreachable!()
    };
    let [out] = writes else { unreachable!() };
    let vocab = p.vocab as usize;
    let mut shares = vec![0.0; vocab];
    for t in 0..p.t as usize {
        let row = &logits[t * vocab..][..vocab];
        let mut best = 0;
        for j in 1..vocab {
            if row[j] > row[best] {
                best = j;
            }
        }
        out[t * 2] = match targets[t] {
            target if target >= 0.0 => {
                shares.copy_from_slice(row);
                // The largest share is 1. Left out of the sum, it cannot swallow the others, so
                // that a small loss keeps its digits.
                let (before, rest) = shares.split_at_mut(best);
                let others =
                    exp_sum(simd, before, row[best]) + exp_sum(simd, &mut rest[1..], row[best]);
                others.ln_1p() + (row[best] - row[target as usize])
            }
            _ => 0.0,
        };
        out[t * 2 + 1] = best as f32;
    }
}
