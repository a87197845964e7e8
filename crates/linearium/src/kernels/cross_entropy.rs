//! What a prediction cost: `loss[t] = logsumexp(logits[t]) - logits[t, target[t]]` in nats, and
//! the most likely token (the first one of equals), as two columns.

use bytemuck::{Pod, Zeroable};
use fearless_simd::Level;

use crate::recording::{Kernel, Params, Stage};

/// Parameters.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct CrossEntropy {
    /// Rows T.
    pub t: u32,
    /// Vocabulary V.
    pub vocab: u32,
}

/// Reads `logits [T, V]`, `targets [T]` (whole numbers; below 0 for none, whose loss is 0);
/// writes `out [T, 2]` (loss, argmax).
pub static KERNEL: Kernel = Kernel {
    name: "cross_entropy",
    reads: 2,
    writes: 1,
    wgsl: include_str!("cross_entropy.wgsl"),
    // One workgroup a row; T is a segment's, far below 65,535.
    stages: &[Stage {
        entry: "cross_entropy",
        workgroups: |p| {
            let p: CrossEntropy = p.unpack();
            [p.t, 1, 1]
        },
    }],
    cpu,
};

fn cpu(_: Level, params: &Params, reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let p: CrossEntropy = params.unpack();
    let [logits, targets] = reads else {
        unreachable!()
    };
    let [out] = writes else { unreachable!() };
    let vocab = p.vocab as usize;
    for t in 0..p.t as usize {
        let row = &logits[t * vocab..][..vocab];
        let mut best = 0;
        for j in 1..vocab {
            if row[j] > row[best] {
                best = j;
            }
        }
        let sum: f32 = row.iter().map(|x| (x - row[best]).exp()).sum();
        out[t * 2] = match targets[t] {
            target if target >= 0.0 => sum.ln() + (row[best] - row[target as usize]),
            _ => 0.0,
        };
        out[t * 2 + 1] = best as f32;
    }
}
