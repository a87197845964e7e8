//! Kernels: one piece of arithmetic each, as `<name>.rs` (descriptor and CPU twin) beside
//! `<name>.wgsl` (GPU), with the same argument order and the same constants.
//!
//! Common to all: buffers are f32; a matrix is row-major; where a parameter list has `x_stride`
//! and `x_offset`, row `t` of `x` starts at `x_offset + t * x_stride`, so that a kernel reads its
//! columns out of a wider packed buffer. Zero rows are allowed everywhere and change nothing.

pub mod activate;
#[cfg(feature = "zoo")]
pub mod bonus;
pub mod causal_conv;
pub mod cross_entropy;
pub mod delay;
pub mod embed;
pub mod exp_multiply;
pub mod matmul;
#[cfg(feature = "zoo")]
pub mod matmul_half;
#[cfg(feature = "zoo")]
pub mod matmul_l_mul;
#[cfg(feature = "zoo")]
pub mod mix;
#[cfg(feature = "zoo")]
pub mod normalise;
#[cfg(feature = "zoo")]
pub mod pointwise;
#[cfg(feature = "zoo")]
pub mod reorder;
pub mod rms_norm;
pub mod rotary;
#[cfg(feature = "zoo")]
pub mod route;
#[cfg(feature = "zoo")]
pub mod routed_conv;
#[cfg(feature = "zoo")]
pub mod running_softmax;
pub mod scaled_add;
#[cfg(feature = "zoo")]
pub mod scan_complex;
#[cfg(feature = "zoo")]
pub mod scan_delta;
pub mod scan_elementwise;
pub mod scan_outer;
#[cfg(feature = "zoo")]
pub mod scan_wkv;
#[cfg(feature = "zoo")]
pub mod score_attention;
mod simd_math;
pub mod softmax_attention;
#[cfg(feature = "zoo")]
pub mod spike;
pub mod state_norm;
pub mod swiglu;
mod tile;
pub mod window_sum;

use crate::recording::Kernel;

/// Every kernel, for the conformance suite and the start-up canary.
pub static ALL: &[&Kernel] = &[
    &activate::KERNEL,
    #[cfg(feature = "zoo")]
    &bonus::KERNEL,
    &causal_conv::KERNEL,
    &cross_entropy::KERNEL,
    &delay::KERNEL,
    &embed::KERNEL,
    &exp_multiply::KERNEL,
    &matmul::KERNEL,
    #[cfg(feature = "zoo")]
    &matmul_half::KERNEL,
    #[cfg(feature = "zoo")]
    &matmul_l_mul::KERNEL,
    #[cfg(feature = "zoo")]
    &mix::KERNEL,
    #[cfg(feature = "zoo")]
    &normalise::KERNEL,
    #[cfg(feature = "zoo")]
    &pointwise::KERNEL,
    #[cfg(feature = "zoo")]
    &reorder::KERNEL,
    &rms_norm::KERNEL,
    &rotary::KERNEL,
    #[cfg(feature = "zoo")]
    &route::KERNEL,
    #[cfg(feature = "zoo")]
    &routed_conv::KERNEL,
    #[cfg(feature = "zoo")]
    &running_softmax::KERNEL,
    &scaled_add::KERNEL,
    #[cfg(feature = "zoo")]
    &scan_complex::KERNEL,
    #[cfg(feature = "zoo")]
    &scan_delta::KERNEL,
    &scan_elementwise::KERNEL,
    &scan_outer::KERNEL,
    #[cfg(feature = "zoo")]
    &scan_wkv::KERNEL,
    #[cfg(feature = "zoo")]
    &score_attention::KERNEL,
    &softmax_attention::KERNEL,
    #[cfg(feature = "zoo")]
    &spike::KERNEL,
    &state_norm::KERNEL,
    &swiglu::KERNEL,
    &window_sum::KERNEL,
];

/// Workgroups for one thread per element, 256 threads a group, folded over two dimensions so that
/// none exceeds 65,535. The shader's index is `(y * 65535 + x) * 256 + local`.
pub(crate) fn linear_workgroups(elements: usize) -> [u32; 3] {
    let groups = elements.div_ceil(256) as u32;
    match groups {
        0 => [0, 1, 1],
        1..=65_535 => [groups, 1, 1],
        _ => [65_535, groups.div_ceil(65_535), 1],
    }
}
