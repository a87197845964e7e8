//! The two chunked scans against the recurrence.

use linearium::kernels::scan_elementwise::{self, ScanElementwise};
use linearium::kernels::scan_outer::{self, ScanOuter};
use linearium::recording::Crossover;

use crate::{Calls, LENGTHS, below, normals, rows, uniforms, unwritten};

/// A chunk's sums in another order than the recurrence, and e^(sum of up to 64 log-decays) for a
/// product of 64 exponentials: some ten roundings, more where a state remembers hundreds of tokens.
const SCAN: f64 = 5e-6;

/// Shapes of a call of `scan_outer`.
#[derive(Clone, Copy)]
struct Outer {
    t: u32,
    heads: u32,
    groups: u32,
    key: u32,
    value: u32,
}

fn outer(calls: &mut Calls, shape: Outer, flags: u32, log_decay: impl Fn(u32) -> Vec<f32>) {
    let Outer {
        t,
        heads,
        groups,
        key,
        value,
    } = shape;
    let per_key = flags & 1;
    let params = ScanOuter {
        t,
        heads,
        key,
        value,
        groups,
        q_stride: groups * key + 3,
        q_offset: 1,
        k_stride: groups * key + 4,
        k_offset: 2,
        v_stride: heads * value + 5,
        v_offset: 3,
        per_key,
        has_write_scale: flags >> 1 & 1,
        scale: 0.7,
        write_factor: 0.9,
        read_before: flags >> 2,
    };
    let gates = t * heads * if per_key == 1 { key } else { 1 };
    let scratch = ScanOuter::scratch_len(t as usize, heads as usize, key as usize, value as usize);
    calls.push(
        &scan_outer::KERNEL,
        &params,
        vec![
            rows(t, groups * key, groups * key + 3, 1),
            rows(t, groups * key, groups * key + 4, 2),
            rows(t, heads * value, heads * value + 5, 3),
            log_decay(gates),
            uniforms(t * heads, 0.01, 0.5),
        ],
        vec![
            unwritten(t * heads * value),
            normals(heads * key * value, 1.0),
            unwritten(scratch as u32),
        ],
    );
}

#[test]
fn outer_scan_for_each_length_and_flag() {
    let mut calls = Calls::default();
    for t in LENGTHS {
        for flags in 0..8 {
            for (heads, groups, key, value) in [(1, 1, 1, 16), (4, 2, 13, 11), (2, 1, 64, 64)] {
                let shape = Outer {
                    t,
                    heads,
                    groups,
                    key,
                    value,
                };
                outer(&mut calls, shape, flags, |n| uniforms(n, -0.3, 0.0));
            }
        }
    }
    calls.check(SCAN);
}

#[test]
fn outer_scan_for_each_width() {
    let mut calls = Calls::default();
    for (key, value) in [
        (128, 64),
        (64, 128),
        (65, 63),
        (70, 130),
        (3, 200),
        (256, 256),
    ] {
        for t in [1, 40, 130] {
            for flags in 0..8 {
                let shape = Outer {
                    t,
                    heads: 2,
                    groups: 1,
                    key,
                    value,
                };
                outer(&mut calls, shape, flags, |n| uniforms(n, -0.3, 0.0));
            }
        }
    }
    calls.check(SCAN);
}

/// Gates that forget nothing, everything, and almost everything, side by side in one chunk. A
/// difference of cumulative sums would have lost the weak ones behind the strong ones.
#[test]
fn outer_scan_with_extreme_gates() {
    let kinds: [fn() -> f32; 6] = [
        || 0.0,
        || -1e4,
        || f32::NEG_INFINITY,
        || uniforms(1, -1e-4, 0.0)[0],
        || uniforms(1, -0.1, 0.0)[0],
        || uniforms(1, -40.0, 0.0)[0],
    ];
    let mut calls = Calls::default();
    for t in LENGTHS {
        for flags in 0..8 {
            let shape = Outer {
                t,
                heads: 2,
                groups: 2,
                key: 9,
                value: 7,
            };
            for kind in kinds {
                outer(&mut calls, shape, flags, |n| {
                    (0..n).map(|_| kind()).collect()
                });
            }
            // Mostly weak, now and then one of the others.
            outer(&mut calls, shape, flags, |n| {
                (0..n)
                    .map(|_| kinds[if below(8) == 0 { below(6) } else { 4 } as usize]())
                    .collect()
            });
        }
    }
    calls.check(SCAN);
}

/// Both forms of the same calls, wherever the crossover may lie; also with several chunks to a
/// workgroup, which begins at 4,096 tiles.
#[test]
fn outer_scan_in_each_form() {
    let mut calls = Calls::default();
    for form in [Crossover([u32::MAX; 4]), Crossover([0; 4])] {
        let first = calls.calls.len();
        for t in [5, 63, 64, 65, 257] {
            for flags in 0..8 {
                for (heads, groups, key, value) in [(4, 2, 13, 11), (2, 1, 70, 130)] {
                    let shape = Outer {
                        t,
                        heads,
                        groups,
                        key,
                        value,
                    };
                    outer(&mut calls, shape, flags, |n| uniforms(n, -0.3, 0.0));
                }
            }
        }
        for (_, call) in &mut calls.calls[first..] {
            call.params.1 = Some(form);
        }
    }
    for flags in [0, 1, 4] {
        let shape = Outer {
            t: 64 * 8 + 7,
            heads: 512,
            groups: 128,
            key: 2,
            value: 3,
        };
        outer(&mut calls, shape, flags, |n| uniforms(n, -0.1, 0.0));
    }
    calls.check(SCAN);
}

/// Without decay a state remembers all 4,096 tokens; the recurrence on the CPU adds them one by
/// one, which is the larger error of the two: sqrt(4096) roundings of a growing sum.
#[test]
fn outer_scan_over_many_chunks() {
    let mut calls = Calls::default();
    for flags in [0, 1, 4, 5] {
        for low in [0.0, -1e-3, -0.05] {
            let shape = Outer {
                t: 4_096,
                heads: 2,
                groups: 1,
                key: 16,
                value: 16,
            };
            outer(&mut calls, shape, flags, |n| uniforms(n, low, 0.0));
        }
    }
    calls.check(2e-5);
}

fn elementwise(
    calls: &mut Calls,
    (t, channels, states): (u32, u32, u32),
    has_write_decay: u32,
    log_shift: f32,
    step: (f64, f64),
) {
    let params = ScanElementwise {
        t,
        channels,
        states,
        bc_stride: 2 * states + 7,
        b_offset: 4,
        c_offset: states + 6,
        has_write_decay,
        log_shift,
        write_factor: 1.1,
        write_shift: -0.02,
    };
    let mut bc = rows(t, states, 2 * states + 7, 4);
    let c = rows(t, states, 2 * states + 7, states + 6);
    bc.resize(c.len(), f32::NAN);
    for (b, c) in bc.iter_mut().zip(c) {
        if !c.is_nan() {
            *b = c;
        }
    }
    let scratch = ScanElementwise::scratch_len(t as usize, channels as usize, states as usize);
    calls.push(
        &scan_elementwise::KERNEL,
        &params,
        vec![
            uniforms(t * channels, step.0, step.1),
            uniforms(channels * states, -16.0, -0.1),
            normals(t * channels, 0.5),
            bc,
            uniforms(t * channels, 0.0, 0.2),
        ],
        vec![
            unwritten(t * channels),
            normals(channels * states, 1.0),
            unwritten(scratch as u32),
        ],
    );
}

/// At least 16 states: of a single one the terms may cancel, and what is left is all rounding.
#[test]
fn elementwise_scan_for_each_length_and_width() {
    let mut calls = Calls::default();
    for t in LENGTHS {
        for (channels, states) in [(1, 16), (23, 11), (40, 16), (300, 1), (3, 100), (2, 256)] {
            for has_write_decay in [0, 1] {
                elementwise(
                    &mut calls,
                    (t, channels, states),
                    has_write_decay,
                    -0.001,
                    (0.001, 0.1),
                );
            }
        }
    }
    calls.check(SCAN);
}

/// Steps so large that everything is forgotten at once, and so small that nothing is. In a chunk
/// the shader multiplies up to 64 decays, each of which may be off by two roundings in the same
/// direction: 64 * 1.2e-7 at worst.
#[test]
fn elementwise_scan_with_extreme_steps() {
    let mut calls = Calls::default();
    for t in LENGTHS {
        for step in [(0.0, 0.0), (1e-6, 1e-5), (1e3, 1e4), (0.0, 20.0)] {
            for log_shift in [0.0, -50.0] {
                elementwise(&mut calls, (t, 20, 16), 0, log_shift, step);
            }
        }
    }
    calls.check(1e-5);
}
