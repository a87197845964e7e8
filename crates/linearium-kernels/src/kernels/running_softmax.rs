//! A softmax over time that is never over: for each column, with `z_t = ln sum_{i<=t} e^{x_i}`,
//! the weight of the present token `w_t = e^{x_t - z_t}` and the log-decay of all before it
//! `g_t = z_{t-1} - z_t + shift` (0 for the first), so that `S_t = e^{g_t} S_{t-1} + w_t v_t` is
//! the mean of all v so far under a softmax of x (LightNet, arXiv 2405.21022;
//! `fla/ops/lightnet/gate.py`).
//!
//! Carried are the largest x so far and the sum of `e^{x_i - largest}`; a sum of 0 is that of no
//! token. As `1 - w_t = e^{g_t}`, a small weight gives an exact small log-decay.

use bytemuck::{Pod, Zeroable};
use fearless_simd::Level;

use super::linear_workgroups;
use crate::random::Random;
use crate::recording::{Call, Kernel, Params, Stage};

/// Parameters.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct RunningSoftmax {
    /// Rows T.
    pub t: u32,
    /// Columns.
    pub width: u32,
    /// Row stride of x.
    pub x_stride: u32,
    /// First column of x.
    pub x_offset: u32,
    /// Added to every log-decay (an intervention; 0 otherwise).
    pub shift: f32,
}

fn canary(seed: u64) -> Call {
    let mut random = Random::new(seed);
    let (t, width, x_stride, x_offset) = (90, 37, 50, 6);
    let params = RunningSoftmax {
        t,
        width,
        x_stride,
        x_offset,
        shift: -0.03,
    };
    // At the start of a sequence, or after it.
    let state = match seed % 2 {
        0 => vec![0.0; 2 * width as usize],
        _ => random.uniforms(2 * width as usize, 1.0, 4.0),
    };
    Call {
        params: Params::pack(&params),
        reads: vec![random.normals((x_offset + t * x_stride) as usize, 3.0)],
        writes: vec![
            vec![f32::NAN; (t * width) as usize],
            vec![f32::NAN; (t * width) as usize],
            state,
        ],
    }
}

/// Reads `x [T, width]` (strided); writes `weight [T, width]`, `log_decay [T, width]`,
/// `state [width, 2]` (largest x, sum).
pub static KERNEL: Kernel = Kernel {
    name: "running_softmax",
    reads: 1,
    writes: 3,
    wgsl: include_str!(concat!(env!("OUT_DIR"), "/running_softmax.wgsl")),
    canary,
    // One thread a column walks over the tokens.
    stages: &[Stage {
        entry: "running_softmax",
        workgroups: |p| {
            let p: RunningSoftmax = p.unpack();
            linear_workgroups(p.width as usize)
        },
    }],
    cpu,
};

fn cpu(_: Level, params: &Params, reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let p: RunningSoftmax = params.unpack();
    let [x] = reads else { unreachable!() };
    let [weight, log_decay, state] = writes else {
        unreachable!()
    };
    let width = p.width as usize;
    for t in 0..p.t as usize {
        let row = p.x_offset as usize + t * p.x_stride as usize;
        for c in 0..width {
            let x = x[row + c];
            let [largest, sum] = [state[2 * c], state[2 * c + 1]];
            let first = sum == 0.0;
            let new = if first { x } else { largest.max(x) };
            let shrink = largest - new;
            // Of the first token it may be infinite.
            let kept = if first { 0.0 } else { sum * shrink.exp() };
            let own = (x - new).exp();
            let w = own / (kept + own);
            let g = if first {
                0.0
            } else if w < 0.5 {
                (-w).ln_1p()
            } else {
                // All before it may have shrunk to nothing; their logarithm has not.
                shrink + (sum / (kept + own)).ln()
            };
            weight[t * width + c] = w;
            log_decay[t * width + c] = g + p.shift;
            state[2 * c] = new;
            state[2 * c + 1] = kept + own;
        }
    }
}
