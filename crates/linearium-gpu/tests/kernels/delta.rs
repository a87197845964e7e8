//! The delta-rule scan against the recurrence on the CPU.

use linearium::kernels::scan_delta::{self, ScanDelta};

use crate::{Calls, below, normals, rows, uniforms, unwritten};

/// What a chunk writes comes out of a triangular solve and products of up to 64 terms in another
/// order than the recurrence's; both err by some ten roundings of the state's size, more where
/// nothing decays.
const SCAN: f64 = 5e-6;

/// Nothing, one, around a chunk of 32, and several chunks.
const LENGTHS: [u32; 8] = [0, 1, 2, 31, 32, 33, 100, 257];

const RULES: [u32; 6] = [
    0,
    ScanDelta::DECAY_PER_HEAD,
    ScanDelta::DECAY_PER_KEY,
    ScanDelta::DPLR,
    ScanDelta::DPLR | ScanDelta::DECAY_PER_HEAD,
    ScanDelta::DPLR | ScanDelta::DECAY_PER_KEY,
];

/// Tokens, heads, groups, key and value width.
type Shape = (u32, u32, u32, u32, u32);

/// Makes each run of `width` values in every row a unit vector.
fn normalise(buffer: &mut [f32], t: u32, runs: u32, width: u32, stride: u32, offset: u32) {
    for row in 0..t {
        for run in 0..runs {
            let start = (offset + row * stride + run * width) as usize;
            let x = &mut buffer[start..start + width as usize];
            let norm = x.iter().map(|x| x * x).sum::<f32>().sqrt().max(1e-6);
            x.iter_mut().for_each(|x| *x /= norm);
        }
    }
}

fn delta(
    calls: &mut Calls,
    (t, heads, groups, key, value): Shape,
    flags: u32,
    log_decay: impl Fn() -> f32,
    beta: impl Fn() -> f32,
) {
    let dplr = flags & ScanDelta::DPLR != 0;
    let erase_width = if dplr { 2 * heads * key } else { heads };
    let params = ScanDelta {
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
        flags,
        erase_stride: erase_width + 2,
        erase_offset: 4,
        scale: 0.7,
        write_factor: 0.9,
    };
    let mut k = rows(t, groups * key, params.k_stride, 2);
    normalise(&mut k, t, groups, key, params.k_stride, 2);
    let mut erase = rows(t, erase_width, params.erase_stride, 4);
    if dplr {
        normalise(&mut erase, t, heads, key, params.erase_stride, 4);
    }
    for row in 0..t {
        let row = &mut erase[(4 + row * params.erase_stride) as usize..][..erase_width as usize];
        if dplr {
            let (a, b) = row.split_at_mut((heads * key) as usize);
            for (a, b) in a.iter().zip(b) {
                *b = -a * beta();
            }
        } else {
            row.iter_mut().for_each(|x| *x = beta());
        }
    }
    let gates = match flags & 3 {
        0 => 1,
        ScanDelta::DECAY_PER_HEAD => t * heads,
        _ => t * heads * key,
    };
    calls.push(
        &scan_delta::KERNEL,
        &params,
        vec![
            rows(t, groups * key, params.q_stride, 1),
            k,
            rows(t, heads * value, params.v_stride, 3),
            (0..gates.max(1)).map(|_| log_decay()).collect(),
            erase,
        ],
        vec![
            unwritten(t * heads * value),
            normals(heads * key * value, 1.0),
            unwritten(params.scratch_len() as u32),
        ],
    );
}

fn between(low: f64, high: f64) -> impl Fn() -> f32 {
    move || uniforms(1, low, high)[0]
}

#[test]
fn delta_scan_for_each_length_and_rule() {
    let mut calls = Calls::default();
    for t in LENGTHS {
        for flags in RULES {
            for (heads, groups, key, value) in [(1, 1, 1, 16), (4, 2, 13, 11), (2, 1, 64, 64)] {
                let shape = (t, heads, groups, key, value);
                delta(
                    &mut calls,
                    shape,
                    flags,
                    between(-0.3, 0.0),
                    between(0.0, 1.0),
                );
            }
        }
    }
    calls.check(SCAN);
}

/// Widths around every edge of the shader's tiles, up to the widest key.
#[test]
fn delta_scan_for_each_width() {
    let mut calls = Calls::default();
    for (key, value) in [
        (128, 64),
        (64, 128),
        (65, 63),
        (129, 9),
        (17, 130),
        (3, 200),
        (33, 1),
        (256, 40),
    ] {
        for t in [1, 20, 70] {
            for flags in RULES {
                let shape = (t, 2, 1, key, value);
                delta(
                    &mut calls,
                    shape,
                    flags,
                    between(-0.3, 0.0),
                    between(0.0, 1.0),
                );
            }
        }
    }
    calls.check(SCAN);
}

/// So many heads that a workgroup takes 16 columns of the state.
#[test]
fn delta_scan_with_many_heads() {
    let mut calls = Calls::default();
    for (heads, key, value) in [(128, 5, 7), (64, 20, 20), (64, 128, 17), (16, 129, 128)] {
        for flags in [0, ScanDelta::DECAY_PER_HEAD] {
            let shape = (75, heads, heads / 4, key, value);
            delta(
                &mut calls,
                shape,
                flags,
                between(-0.3, 0.0),
                between(0.0, 1.0),
            );
        }
    }
    calls.check(SCAN);
}

/// Gates that forget nothing, everything, and almost everything, side by side in one chunk, with
/// an erasure of nothing (beta 0), of all that a key recalls (1), and a reflection (2). Where beta is
/// 0 nothing is written: the state is a product of 257 exponentials, each of which may be off by a
/// unit in the last place, on either side in the same direction: 257 * 1.2e-7.
#[test]
fn delta_scan_with_extreme_gates() {
    let kinds: [fn() -> f32; 6] = [
        || 0.0,
        || -1e4,
        || f32::NEG_INFINITY,
        || uniforms(1, -1e-4, 0.0)[0],
        || uniforms(1, -0.1, 0.0)[0],
        || uniforms(1, -40.0, 0.0)[0],
    ];
    let betas: [fn() -> f32; 4] = [|| 0.0, || 1.0, || 2.0, || below(3) as f32];
    let mut calls = Calls::default();
    for t in [1, 33, 100, 257] {
        for flags in RULES {
            let shape = (t, 2, 2, 9, 7);
            for beta in betas {
                for kind in kinds {
                    delta(&mut calls, shape, flags, kind, beta);
                }
                // Mostly weak, now and then one of the others.
                let mixed = || kinds[if below(8) == 0 { below(6) } else { 4 } as usize]();
                delta(&mut calls, shape, flags, mixed, beta);
            }
        }
    }
    calls.check(4e-5);
}

/// Few keys that come again and again, so that the triangular system is far from the identity.
/// With one key and beta 2 the inverse is 4 and -4 in turns all over and a chunk's writes cancel but
/// for the last: 32 * 32 / 2 products in a random walk, eight chunks long.
#[test]
fn delta_scan_with_repeated_keys() {
    let mut calls = Calls::default();
    for flags in [0, ScanDelta::DECAY_PER_HEAD] {
        for key in [1, 2, 3] {
            for beta in [0.5, 1.0, 1.5, 2.0] {
                delta(
                    &mut calls,
                    (300, 2, 1, key, 40),
                    flags,
                    between(-1e-3, 0.0),
                    || beta,
                );
            }
        }
    }
    calls.check(5e-5);
}

#[test]
fn delta_scan_over_many_chunks() {
    let mut calls = Calls::default();
    for flags in RULES {
        for low in [0.0, -1e-3, -0.05] {
            let shape = (4_096, 2, 1, 16, 16);
            delta(
                &mut calls,
                shape,
                flags,
                between(low, 0.0),
                between(0.0, 1.0),
            );
        }
    }
    calls.check(2e-5);
}

/// A key too wide for the shader is refused, not computed wrongly.
#[test]
fn delta_scan_refuses_keys_above_its_width() {
    let mut calls = Calls::default();
    let key = scan_delta::MAX_KEY as u32 + 1;
    delta(
        &mut calls,
        (3, 1, 1, key, 4),
        0,
        between(-0.3, 0.0),
        between(0.0, 1.0),
    );
    let error = pollster::block_on(crate::gpu().compare(&calls.calls)).unwrap_err();
    assert!(error.contains("the kernel scan_delta"), "{error}");
}
