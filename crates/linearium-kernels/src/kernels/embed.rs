//! Embedding: `out[t] = table[tokens[t]]`.

use bytemuck::{Pod, Zeroable};
use fearless_simd::Level;

use super::linear_workgroups;
use crate::random::Random;
use crate::recording::{Call, Kernel, Params, Stage};

/// Parameters.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct Embed {
    /// Tokens.
    pub t: u32,
    /// Width D.
    pub width: u32,
    /// 1 if the table has words of two halves, the lower one first; then D is even.
    pub halves: u32,
}

fn canary(seed: u64) -> Call {
    let mut random = Random::new(seed);
    let (t, width, vocab) = (11, 36, 50);
    let halves = seed % 2;
    let tokens = (0..t).map(|_| random.below(vocab) as f32).collect();
    let params = Embed {
        t: t as u32,
        width: width as u32,
        halves: halves as u32,
    };
    let table = match halves {
        // Words of two halves between 1 and 2.
        1 => (0..vocab * width / 2)
            .map(|_| f32::from_bits(0x3c00_3c00 | random.bits() as u32 & 0x03ff_03ff))
            .collect(),
        _ => random.normals(vocab * width, 1.0),
    };
    Call {
        params: Params::pack(&params),
        reads: vec![table, tokens],
        writes: vec![vec![f32::NAN; t * width]],
    }
}

/// Reads `table [V, D]` or `[V, D / 2]`, `tokens [T]` (whole numbers below V); writes `out [T, D]`.
pub static KERNEL: Kernel = Kernel {
    name: "embed",
    reads: 2,
    writes: 1,
    wgsl: include_str!(concat!(env!("OUT_DIR"), "/embed.wgsl")),
    canary,
    stages: &[Stage {
        entry: "embed",
        workgroups: |p| {
            let p: Embed = p.unpack();
            linear_workgroups((p.t * p.width) as usize)
        },
    }],
    cpu,
}
.of_this_build();

fn cpu(_: Level, params: &Params, reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    #[cfg_attr(not(feature = "zoo"), allow(unused_variables))]
    // only checkpoints of the zoo are packed
    let Embed { t, width, halves } = params.unpack();
    let [table, tokens] = reads else {
        unreachable!()
    };
    let [out] = writes else { unreachable!() };
    let d = width as usize;
    for i in 0..t as usize {
        #[cfg(feature = "zoo")]
        if halves == 1 {
            let words = &table[tokens[i] as usize * d / 2..][..d / 2];
            super::matmul_half::unpack(words, &mut out[i * d..][..d]);
            continue;
        }
        let row = tokens[i] as usize * d;
        out[i * d..][..d].copy_from_slice(&table[row..row + d]);
    }
}
