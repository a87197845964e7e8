//! Kernels of one thread an element, and those that sum over a row.

use linearium::kernels::activate::{self, Activate};
use linearium::kernels::causal_conv::{self, CausalConv};
use linearium::kernels::cross_entropy::{self, CrossEntropy};
use linearium::kernels::delay::{self, Delay};
use linearium::kernels::exp_multiply::{self, ExpMultiply};
use linearium::kernels::rms_norm::{self, RmsNorm};
use linearium::kernels::rotary::{self, Rotary};
use linearium::kernels::scaled_add::{self, ScaledAdd};
use linearium::kernels::state_norm::{self, StateNorm};
use linearium::kernels::swiglu::{self, Swiglu};
use linearium::kernels::window_sum::{self, WindowSum};

use crate::{Calls, LENGTHS, below, normals, rows, uniforms, unwritten};

/// Pointwise arithmetic: a few roundings, and those that WGSL allows `exp`, 3 + 2|x| units in the
/// last place, of which a gate near 0 or 1 sees the first few.
const POINTWISE: f64 = 2e-6;

#[test]
fn activations_with_each_flag() {
    let mut calls = Calls::default();
    for t in LENGTHS {
        for function in [
            activate::IDENTITY,
            activate::SOFTPLUS,
            activate::LOG_SIGMOID,
            activate::SILU,
        ] {
            for flags in 0..8u32 {
                let (width, x_stride, x_offset) = (19, 27, 5);
                let params = Activate {
                    t,
                    width,
                    x_stride,
                    x_offset,
                    function,
                    has_bias: flags & 1,
                    has_scale: flags >> 1 & 1,
                    has_threshold: flags >> 2,
                    min: if flags & 1 == 1 { -0.5 } else { f32::MIN },
                    max: if flags & 2 == 2 { f32::INFINITY } else { 1.5 },
                    multiplier: 0.3,
                    shift: if flags & 4 == 4 { 0.0 } else { -0.2 },
                };
                calls.push(
                    &activate::KERNEL,
                    &params,
                    vec![
                        rows(t, width, x_stride, x_offset),
                        normals(width, 1.0),
                        normals(width, 1.0),
                        uniforms(width, 0.0, 0.5),
                    ],
                    vec![unwritten(t * width)],
                );
            }
        }
    }
    calls.check(POINTWISE);
}

/// Where softplus is as small as e^-80 and as large as its argument: element by element, because
/// beside large values a small one is lost in a sum of squares.
#[test]
fn softplus_keeps_its_digits_at_both_ends() {
    let mut calls = Calls::default();
    for u in -80..=40 {
        for function in [activate::SOFTPLUS, activate::LOG_SIGMOID, activate::SILU] {
            let params = Activate {
                t: 1,
                width: 1,
                x_stride: 1,
                x_offset: 0,
                function,
                has_bias: 0,
                has_scale: 0,
                has_threshold: 0,
                min: f32::MIN,
                max: f32::MAX,
                multiplier: 1.0,
                shift: 0.0,
            };
            calls.push(
                &activate::KERNEL,
                &params,
                vec![vec![u as f32 + 0.37], vec![0.0], vec![0.0], vec![0.0]],
                vec![unwritten(1)],
            );
        }
    }
    // e^x far from 0 has the error of x log2(e): 80 * 1.44 * 2^-24 = 7e-6.
    calls.check(1e-5);
}

#[test]
fn one_row_repeats_where_the_stride_is_zero() {
    let mut calls = Calls::default();
    let params = Activate {
        t: 70,
        width: 6,
        x_stride: 0,
        x_offset: 2,
        function: activate::IDENTITY,
        has_bias: 0,
        has_scale: 0,
        has_threshold: 0,
        min: f32::MIN,
        max: f32::MAX,
        multiplier: 1.5,
        shift: 0.0,
    };
    calls.push(
        &activate::KERNEL,
        &params,
        vec![normals(8, 1.0), vec![0.0], vec![0.0], vec![0.0]],
        vec![unwritten(70 * 6)],
    );
    calls.check(POINTWISE);
}

#[test]
fn products_and_sums() {
    let mut calls = Calls::default();
    for t in LENGTHS {
        for flags in 0..4u32 {
            let (width, per, stride, offset) = (24, 4, 31, 3);
            let params = ScaledAdd {
                t,
                width,
                y_stride: stride,
                y_offset: offset,
                per,
                has_d: flags & 1,
                multiply: flags >> 1,
                multiplier: -1.0,
            };
            calls.push(
                &scaled_add::KERNEL,
                &params,
                vec![
                    normals(t * width, 1.0),
                    rows(t, width, stride, offset),
                    normals(width / per, 1.0),
                ],
                vec![unwritten(t * width)],
            );
        }
        let (width, stride, offset) = (29, 40, 7);
        let params = ExpMultiply {
            t,
            width,
            x_stride: stride,
            x_offset: offset,
        };
        calls.push(
            &exp_multiply::KERNEL,
            &params,
            vec![
                rows(t, width, stride, offset),
                uniforms(t * width, -20.0, 0.0),
            ],
            vec![unwritten(t * width)],
        );
        let params = Swiglu {
            t,
            width,
            gate_stride: stride,
            gate_offset: offset,
            up_stride: width,
            up_offset: 0,
        };
        calls.push(
            &swiglu::KERNEL,
            &params,
            vec![rows(t, width, stride, offset), rows(t, width, width, 0)],
            vec![unwritten(t * width)],
        );
        for rotated in [10, 4] {
            let (heads, key) = (3, 10);
            let params = Rotary {
                t,
                heads,
                key,
                rotated,
                x_stride: 40,
                x_offset: 4,
            };
            let angles = uniforms(t * rotated / 2, -3.1, 3.1);
            calls.push(
                &rotary::KERNEL,
                &params,
                vec![
                    rows(t, heads * key, 40, 4),
                    angles.iter().flat_map(|a| [a.cos(), a.sin()]).collect(),
                ],
                vec![unwritten(t * heads * key)],
            );
        }
    }
    calls.check(POINTWISE);
}

#[test]
fn convolutions_of_each_width_with_their_tails() {
    let mut calls = Calls::default();
    for t in LENGTHS {
        for width in [1, 2, 4, 16] {
            for flags in 0..4u32 {
                let (channels, stride, offset) = (21, 30, 6);
                let params = CausalConv {
                    t,
                    channels,
                    width,
                    x_stride: stride,
                    x_offset: offset,
                    has_bias: flags & 1,
                    silu: flags >> 1,
                };
                calls.push(
                    &causal_conv::KERNEL,
                    &params,
                    vec![
                        rows(t, channels, stride, offset),
                        normals(channels * width, 1.0),
                        normals(channels, 1.0),
                    ],
                    vec![
                        unwritten(t * channels),
                        normals((width - 1) * channels, 1.0),
                    ],
                );
            }
        }
    }
    calls.check(POINTWISE);
}

#[test]
fn norms_with_each_gate() {
    let mut calls = Calls::default();
    for t in LENGTHS {
        for gate in [
            rms_norm::NO_GATE,
            rms_norm::GATE_THEN_NORM,
            rms_norm::NORM_THEN_GATE,
        ] {
            for (width, group, weight_len) in [(1, 1, 1), (64, 64, 64), (130, 65, 65), (90, 9, 90)]
            {
                let params = RmsNorm {
                    t,
                    width,
                    group,
                    weight_len,
                    eps: 1e-5,
                    gate,
                    z_stride: width + 7,
                    z_offset: 3,
                };
                calls.push(
                    &rms_norm::KERNEL,
                    &params,
                    vec![
                        normals(t * width, 2.0),
                        normals(weight_len, 1.0),
                        rows(t, width, width + 7, 3),
                    ],
                    vec![unwritten(t * width)],
                );
            }
        }
    }
    calls.check(POINTWISE);
}

#[test]
fn states_are_capped_head_by_head() {
    let mut calls = Calls::default();
    for (heads, size) in [(1, 1), (3, 64), (70, 257), (2, 5000)] {
        let params = StateNorm { heads, size };
        let norm = f64::from(size).sqrt();
        calls.push(
            &state_norm::KERNEL,
            &params,
            vec![uniforms(heads, 0.5 * norm, 1.5 * norm)],
            vec![normals(heads * size, 1.0)],
        );
    }
    // A norm that is larger than its cap by less than the error of its sum of 5,000 squares may be
    // capped on one side only; then the factor is 1 within that error.
    calls.check(POINTWISE);
}

#[test]
fn more_heads_than_a_dimension_has_workgroups() {
    let mut calls = Calls::default();
    let (heads, size) = (65_600, 2);
    calls.push(
        &state_norm::KERNEL,
        &StateNorm { heads, size },
        vec![uniforms(heads, 0.5, 2.0)],
        vec![normals(heads * size, 1.0)],
    );
    let (t, width) = (65_600, 2);
    let params = RmsNorm {
        t,
        width,
        group: width,
        weight_len: width,
        eps: 1e-5,
        gate: rms_norm::NO_GATE,
        z_stride: 0,
        z_offset: 0,
    };
    calls.push(
        &rms_norm::KERNEL,
        &params,
        vec![normals(t * width, 1.0), normals(width, 1.0), vec![0.0]],
        vec![unwritten(t * width)],
    );
    calls.check(POINTWISE);
}

#[test]
fn delays_shorter_and_longer_than_the_segment() {
    let mut calls = Calls::default();
    for t in LENGTHS {
        for delay in [1, 2, 64, 65, 300] {
            let width = 5;
            let params = Delay {
                t,
                width,
                x_stride: 8,
                x_offset: 2,
                delay,
                phase: below(delay),
                out_stride: 9,
                out_offset: 4,
            };
            calls.push(
                &delay::KERNEL,
                &params,
                vec![rows(t, width, 8, 2)],
                vec![normals(4 + t * 9 + width, 1.0), normals(delay * width, 1.0)],
            );
        }
    }
    // Copies: nothing is rounded.
    calls.check(0.0);
}

/// 1e4 enters and leaves 30,000 times, beside values of size 1. A plain f32 sum would drift by
/// some 0.1; compensated on both sides, the two differ by a rounding at most.
#[test]
fn window_sums_do_not_drift() {
    let mut calls = Calls::default();
    for t in LENGTHS {
        let width = 3;
        calls.push(
            &window_sum::KERNEL,
            &WindowSum { t, width },
            vec![normals(t * width, 1.0), normals(t * width, 1.0)],
            vec![unwritten(t * width), normals(2 * width, 1.0)],
        );
    }
    let (t, width) = (60_000u32, 2);
    let mut x = normals(t * width, 1.0);
    let mut late = vec![0.0f32; (t * width) as usize];
    for i in (0..t as usize - 1).step_by(2) {
        for c in 0..width as usize {
            x[i * 2 + c] *= 1e4;
            late[(i + 1) * 2 + c] = x[i * 2 + c];
        }
    }
    calls.push(
        &window_sum::KERNEL,
        &WindowSum { t, width },
        vec![x, late],
        vec![unwritten(t * width), vec![0.0; 4]],
    );
    calls.check(1e-7);
}

#[test]
fn losses_and_the_first_of_equal_maxima() {
    for vocab in [1, 2, 255, 256, 1000] {
        let mut calls = Calls::default();
        let mut columns = Vec::new();
        for t in LENGTHS {
            let mut logits = normals(t * vocab, 3.0);
            // Ties: the same largest value in several columns.
            for row in logits.chunks_exact_mut(vocab as usize).step_by(2) {
                let largest = row.iter().copied().fold(f32::MIN, f32::max);
                for _ in 0..3 {
                    row[below(vocab) as usize] = largest;
                }
            }
            let targets: Vec<f32> = (0..t)
                .map(|i| {
                    if i % 5 == 3 {
                        -1.0
                    } else {
                        below(vocab) as f32
                    }
                })
                .collect();
            columns.push((logits.clone(), targets.clone()));
            calls.push(
                &cross_entropy::KERNEL,
                &CrossEntropy { t, vocab },
                vec![logits, targets],
                vec![unwritten(t * 2)],
            );
        }
        calls.check(POINTWISE);
        // The index is larger than the loss and would hide it: here it is 0 in every row. The
        // target is another column, since the loss of a near certainty is all rounding.
        let mut calls = Calls::default();
        for (mut logits, mut targets) in columns {
            for target in targets.iter_mut().filter(|t| **t == 0.0) {
                *target = vocab as f32 - 1.0;
            }
            for row in logits.chunks_exact_mut(vocab as usize) {
                row[0] = 20.0;
            }
            calls.push(
                &cross_entropy::KERNEL,
                &CrossEntropy {
                    t: targets.len() as u32,
                    vocab,
                },
                vec![logits, targets.clone()],
                vec![unwritten(targets.len() as u32 * 2)],
            );
        }
        calls.check(POINTWISE);
    }
}
