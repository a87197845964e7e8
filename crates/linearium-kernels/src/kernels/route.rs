//! A router: of the softmax of `m x` over all columns the `top` largest, as they are or divided by
//! their sum, and 0 for all others. Of two equal columns the first is the larger.

use bytemuck::{Pod, Zeroable};
use fearless_simd::Level;

use super::linear_workgroups;
use crate::random::Random;
use crate::recording::{Call, Kernel, Params, Stage};

/// Parameters.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct Route {
    /// Rows T.
    pub t: u32,
    /// Columns.
    pub width: u32,
    /// Row stride of x.
    pub x_stride: u32,
    /// First column of x.
    pub x_offset: u32,
    /// How many columns are kept.
    pub top: u32,
    /// 1 if they are divided by their sum.
    pub renormalise: u32,
    /// m.
    pub multiplier: f32,
}

fn canary(seed: u64) -> Call {
    let mut random = Random::new(seed);
    let (t, width, x_stride, x_offset) = (90, 6, 11, 4);
    let params = Route {
        t,
        width,
        x_stride,
        x_offset,
        top: [2, 1, 6][(seed % 3) as usize],
        renormalise: (seed % 2) as u32,
        multiplier: [1.3, -0.7][(seed / 2 % 2) as usize],
    };
    let mut x = random.normals((x_offset + t * x_stride) as usize, 2.0);
    // Two of one row are equal.
    x[x_offset as usize + 1] = x[x_offset as usize];
    Call {
        params: Params::pack(&params),
        reads: vec![x],
        writes: vec![vec![f32::NAN; (t * width) as usize]; 2],
    }
}

/// Reads `x [T, width]` (strided); writes `weight [T, width]` and `chosen [T, width]`, 1 for the
/// columns that are kept and 0 for the others.
pub static KERNEL: Kernel = Kernel {
    name: "route",
    reads: 1,
    writes: 2,
    wgsl: include_str!(concat!(env!("OUT_DIR"), "/route.wgsl")),
    canary,
    // One thread a row.
    stages: &[Stage {
        entry: "route",
        workgroups: |p| {
            let p: Route = p.unpack();
            linear_workgroups(p.t as usize)
        },
    }],
    cpu,
};

fn cpu(_: Level, params: &Params, reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let p: Route = params.unpack();
    let [x] = reads else { unreachable!() };
    let [weight, chosen] = writes else {
        unreachable!()
    };
    let width = p.width as usize;
    for t in 0..p.t as usize {
        let x = &x[p.x_offset as usize + t * p.x_stride as usize..][..width];
        let scores: Vec<f32> = x.iter().map(|x| x * p.multiplier).collect();
        let largest = scores.iter().fold(f32::NEG_INFINITY, |a, &b| a.max(b));
        let (weight, chosen) = (&mut weight[t * width..], &mut chosen[t * width..]);
        let (mut all, mut kept) = (0.0, 0.0);
        for (c, &own) in scores.iter().enumerate() {
            let ahead = scores.iter().enumerate();
            let ahead = ahead.filter(|&(i, &other)| other > own || (other == own && i < c));
            chosen[c] = f32::from(u8::from(ahead.count() < p.top as usize));
            weight[c] = (own - largest).exp();
            all += weight[c];
            kept += weight[c] * chosen[c];
        }
        let sum = if p.renormalise == 1 { kept } else { all };
        for c in 0..width {
            weight[c] = weight[c] / sum * chosen[c];
        }
    }
}
