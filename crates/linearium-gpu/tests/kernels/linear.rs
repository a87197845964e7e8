//! Linear layers, embeddings and attention.

use linearium::kernels::embed::{self, Embed};
use linearium::kernels::matmul::{self, Matmul};
use linearium::kernels::softmax_attention::{self, SoftmaxAttention};

use crate::{Calls, LENGTHS, below, normals, rows, unwritten};

#[test]
fn linear_layers_around_the_edges_of_a_tile() {
    let mut calls = Calls::default();
    for t in LENGTHS {
        for (k, n) in [(1, 1), (15, 63), (16, 64), (17, 65), (192, 130)] {
            for flags in 0..4u32 {
                let (stride, offset) = (k + 5, 3);
                let params = Matmul {
                    t,
                    k,
                    n,
                    x_stride: stride,
                    x_offset: offset,
                    has_bias: flags & 1,
                    has_residual: flags >> 1,
                };
                calls.push(
                    &matmul::KERNEL,
                    &params,
                    vec![
                        rows(t, k, stride, offset),
                        normals(n * k, 1.0),
                        normals(n, 1.0),
                        normals(t * n, 1.0),
                    ],
                    vec![unwritten(t * n)],
                );
            }
        }
    }
    // Two orders of a sum of 192 products of random sign: sqrt(192) roundings of 6e-8, twice.
    calls.check(2e-6);
}

#[test]
fn embeddings_are_copies() {
    let mut calls = Calls::default();
    for t in LENGTHS {
        let (width, vocab) = (37, 300);
        calls.push(
            &embed::KERNEL,
            &Embed {
                t,
                width,
                halves: 0,
            },
            vec![
                normals(vocab * width, 1.0),
                (0..t).map(|_| below(vocab) as f32).collect(),
            ],
            vec![unwritten(t * width)],
        );
    }
    calls.check(0.0);
}

fn attention(
    calls: &mut Calls,
    t: u32,
    (heads, kv_heads): (u32, u32),
    key: u32,
    position: u32,
    window: u32,
    size: f64,
) {
    let width = kv_heads * key;
    let params = SoftmaxAttention {
        t,
        heads,
        kv_heads,
        key,
        position,
        q_stride: heads * key + 3,
        q_offset: 1,
        k_stride: width + 4,
        k_offset: 2,
        v_stride: width + 5,
        v_offset: 3,
        window,
        scale: (size / f64::from(key).sqrt()) as f32,
        write_factor: 0.9,
    };
    let cache = || {
        let mut cache = normals(position * width, 1.0);
        cache.resize(((position + t + 2) * width) as usize, f32::NAN);
        cache
    };
    calls.push(
        &softmax_attention::KERNEL,
        &params,
        vec![
            rows(t, heads * key, heads * key + 3, 1),
            rows(t, width, width + 4, 2),
            rows(t, width, width + 5, 3),
        ],
        vec![unwritten(t * heads * key), cache(), cache()],
    );
}

/// Sums of a few hundred products and of up to 500 weights in two orders, and `exp`.
const ATTENTION: f64 = 5e-6;

#[test]
fn attention_for_each_length_and_window() {
    let mut calls = Calls::default();
    for t in LENGTHS {
        for position in [0, 1, 63, 200] {
            for window in [0, 1, 2, 64, 100] {
                attention(&mut calls, t, (4, 2), 12, position, window, 1.0);
            }
        }
    }
    calls.check(ATTENTION);
}

#[test]
fn attention_for_each_shape_of_heads() {
    let mut calls = Calls::default();
    for heads in [(1, 1), (3, 3), (6, 1), (20, 1), (8, 4)] {
        for key in [2, 16, 33, 64, 100, 128, 256] {
            for t in [1, 17, 65] {
                attention(&mut calls, t, heads, key, 70, 0, 1.0);
            }
        }
    }
    calls.check(ATTENTION);
}

/// Scores of some hundreds: only differences from the maximum may be exponentiated. A score's own
/// rounding, 300 * 6e-8, is an error of its weight: hence the wider bound.
#[test]
fn attention_with_sharp_scores_stays_finite() {
    let mut calls = Calls::default();
    for t in [1, 64, 257] {
        attention(&mut calls, t, (2, 1), 64, 100, 0, 100.0);
    }
    calls.check(2e-5);
}
