//! Running sum over a window: `out[t] = out[t-1] + x[t] - late[t]` where `late` is x delayed by
//! the window. Compensated (Neumaier), because over 65,536 tokens a plain f32 sum drifts by more
//! than the sum over the window is allowed to err.

use bytemuck::{Pod, Zeroable};
use fearless_simd::Level;

use super::linear_workgroups;
use crate::random::Random;
use crate::recording::{Call, Kernel, Params, Stage};

/// Parameters.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct WindowSum {
    /// Rows T.
    pub t: u32,
    /// Columns.
    pub width: u32,
}

fn canary(seed: u64) -> Call {
    let mut random = Random::new(seed);
    let (t, width) = (100, 37);
    let params = WindowSum {
        t: t as u32,
        width: width as u32,
    };
    // Large values enter and leave again: without compensation their rounding would stay.
    let mut x = random.normals(t * width, 1.0);
    let mut late = random.normals(t * width, 1.0);
    for c in 0..width {
        let large = (random.normal() * 3e4) as f32;
        x[10 * width + c] = large;
        late[90 * width + c] = large;
    }
    let state = (0..width)
        .flat_map(|_| [random.normal() as f32, (random.normal() * 1e-8) as f32])
        .collect();
    Call {
        params: Params::pack(&params),
        reads: vec![x, late],
        writes: vec![vec![f32::NAN; t * width], state],
    }
}

/// Reads `x [T, width]`, `late [T, width]`; writes `out [T, width]`, `state [width, 2]` (sum and
/// its compensation).
pub static KERNEL: Kernel = Kernel {
    name: "window_sum",
    reads: 2,
    writes: 2,
    wgsl: include_str!(concat!(env!("OUT_DIR"), "/window_sum.wgsl")),
    canary,
    stages: &[Stage {
        entry: "window_sum",
        workgroups: |p| {
            let p: WindowSum = p.unpack();
            linear_workgroups(p.width as usize)
        },
    }],
    cpu,
}
.of_this_build();

/// Adds without losing what rounding drops: the dropped part goes to `lost`.
fn add(sum: &mut f32, lost: &mut f32, x: f32) {
    let s = *sum + x;
    *lost += if sum.abs() >= x.abs() {
        (*sum - s) + x
    } else {
        (x - s) + *sum
    };
    *sum = s;
}

fn cpu(_: Level, params: &Params, reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let p: WindowSum = params.unpack();
    let [x, late] = reads else { unreachable!() };
    let [out, state] = writes else { unreachable!() };
    let width = p.width as usize;
    for c in 0..width {
        let (mut sum, mut lost) = (state[c * 2], state[c * 2 + 1]);
        for t in 0..p.t as usize {
            add(&mut sum, &mut lost, x[t * width + c]);
            add(&mut sum, &mut lost, -late[t * width + c]);
            out[t * width + c] = sum + lost;
        }
        state[c * 2] = sum;
        state[c * 2 + 1] = lost;
    }
}
