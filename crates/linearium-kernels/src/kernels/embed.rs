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
}

fn canary(seed: u64) -> Call {
    let mut random = Random::new(seed);
    let (t, width, vocab) = (11, 37, 50);
    let tokens = (0..t).map(|_| random.below(vocab) as f32).collect();
    let params = Embed {
        t: t as u32,
        width: width as u32,
    };
    Call {
        params: Params::pack(&params),
        reads: vec![random.normals(vocab * width, 1.0), tokens],
        writes: vec![vec![f32::NAN; t * width]],
    }
}

/// Reads `table [V, D]`, `tokens [T]` (whole numbers below V); writes `out [T, D]`.
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
    let Embed { t, width } = params.unpack();
    let [table, tokens] = reads else {
        unreachable!()
    };
    let [out] = writes else { unreachable!() };
    let d = width as usize;
    for i in 0..t as usize {
        let row = tokens[i] as usize * d;
        out[i * d..][..d].copy_from_slice(&table[row..row + d]);
    }
}
