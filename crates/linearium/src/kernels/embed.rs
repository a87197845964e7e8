//! Embedding: `out[t] = table[tokens[t]]`.

use bytemuck::{Pod, Zeroable};
use fearless_simd::Level;

use super::linear_workgroups;
use crate::recording::{Kernel, Params, Stage};

/// Parameters.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct Embed {
    /// Tokens.
    pub t: u32,
    /// Width D.
    pub width: u32,
}

/// Reads `table [V, D]`, `tokens [T]` (whole numbers below V); writes `out [T, D]`.
pub static KERNEL: Kernel = Kernel {
    name: "embed",
    reads: 2,
    writes: 1,
    wgsl: include_str!("embed.wgsl"),
    stages: &[Stage {
        entry: "embed",
        workgroups: |p| {
            let p: Embed = p.unpack();
            linear_workgroups((p.t * p.width) as usize)
        },
    }],
    cpu,
};

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
