//! Softmax attention with its cache.

use linearium::kernels::softmax_attention::{KERNEL, SoftmaxAttention};

use crate::harness::{LENGTHS, ROUNDING, Rng, assert_close, call, levels, output};

fn attention_f64(p: &SoftmaxAttention, q: &[f32], k_cache: &[f32], v_cache: &[f32]) -> Vec<f64> {
    let (heads, kv_heads, key) = (p.heads as usize, p.kv_heads as usize, p.key as usize);
    let mut out = Vec::new();
    for t in 0..p.t as usize {
        let now = p.position as usize + t;
        let first = if p.window == 0 {
            0
        } else {
            (now + 1).saturating_sub(p.window as usize)
        };
        for h in 0..heads {
            let head = h / (heads / kv_heads);
            let at = |cache: &[f32], j: usize, c: usize| {
                f64::from(cache[(j * kv_heads + head) * key + c])
            };
            let scores: Vec<f64> = (first..=now)
                .map(|j| {
                    let dot: f64 = (0..key)
                        .map(|c| {
                            f64::from(
                                q[p.q_offset as usize + t * p.q_stride as usize + h * key + c],
                            ) * at(k_cache, j, c)
                        })
                        .sum();
                    dot * f64::from(p.scale)
                })
                .collect();
            let max = scores.iter().fold(f64::NEG_INFINITY, |a, &b| a.max(b));
            let weights: Vec<f64> = scores.iter().map(|s| (s - max).exp()).collect();
            let sum: f64 = weights.iter().sum();
            for c in 0..key {
                out.push(
                    (first..=now)
                        .zip(&weights)
                        .map(|(j, w)| w * at(v_cache, j, c))
                        .sum::<f64>()
                        / sum,
                );
            }
        }
    }
    out
}

#[test]
fn softmax_attention_equals_f64_across_every_cut() {
    let mut rng = Rng::new(31);
    for t in LENGTHS {
        for (index, (heads, kv_heads, key)) in
            [(1, 1, 2), (4, 2, 32), (3, 1, 10), (2, 2, 64), (1, 1, 70)]
                .into_iter()
                .enumerate()
        {
            let window = [0, 1, 10, 100][(index + t) % 4];
            let before = [0, 5][t % 2];
            let (q_stride, q_offset) = (heads * key + rng.below(9), rng.below(5));
            let (k_stride, k_offset) = (kv_heads * key + rng.below(9), rng.below(5));
            let (v_stride, v_offset) = (kv_heads * key + rng.below(9), rng.below(5));
            let p = SoftmaxAttention {
                t: t as u32,
                heads: heads as u32,
                kv_heads: kv_heads as u32,
                key: key as u32,
                position: before as u32,
                q_stride: q_stride as u32,
                q_offset: q_offset as u32,
                k_stride: k_stride as u32,
                k_offset: k_offset as u32,
                v_stride: v_stride as u32,
                v_offset: v_offset as u32,
                window: window as u32,
                scale: if index == 2 {
                    40.0
                } else {
                    1.0 / (key as f32).sqrt()
                },
                write_factor: if index == 1 { 0.5 } else { 1.0 },
            };
            let q = rng.rows(t, heads * key, q_stride, q_offset);
            let k = rng.rows(t, kv_heads * key, k_stride, k_offset);
            let v = rng.rows(t, kv_heads * key, v_stride, v_offset);
            let width = kv_heads * key;
            let mut first_k = rng.values(before * width, -1.0, 1.0);
            let mut first_v = rng.values(before * width, -1.0, 1.0);
            first_k.resize((before + t) * width, f32::NAN);
            first_v.resize((before + t) * width, f32::NAN);
            let (mut want_k, mut want_v) = (first_k.clone(), first_v.clone());
            for row in 0..t {
                for c in 0..width {
                    want_k[(before + row) * width + c] = k[k_offset + row * k_stride + c];
                    want_v[(before + row) * width + c] =
                        v[v_offset + row * v_stride + c] * p.write_factor;
                }
            }
            let want = attention_f64(&p, &q, &want_k, &want_v);
            for level in levels() {
                for cut in rng.cuts(t) {
                    let mut out = output(t * heads * key);
                    let (mut k_cache, mut v_cache) = (first_k.clone(), first_v.clone());
                    let mut start = 0;
                    for n in cut {
                        let piece = SoftmaxAttention {
                            t: n as u32,
                            position: (before + start) as u32,
                            ..p
                        };
                        let reads: [&[f32]; 3] = [
                            &q[start * q_stride..],
                            &k[start * k_stride..],
                            &v[start * v_stride..],
                        ];
                        let o = &mut out[start * heads * key..];
                        call(
                            &KERNEL,
                            level,
                            &piece,
                            &reads,
                            &mut [o, &mut k_cache, &mut v_cache],
                        );
                        start += n;
                    }
                    let what = format!("softmax_attention {level:?} {p:?}");
                    assert_eq!(k_cache, want_k, "{what}");
                    assert_eq!(v_cache, want_v, "{what}");
                    // A score's rounding (sqrt(K) of them, times the size of the score, up to
                    // 40 * 3 in one shape) is an error of the exponent, hence of the weight.
                    let score = f64::from(p.scale) * (key as f64 / 9.0).sqrt();
                    let tolerance = ROUNDING * (12.0 + score * (4.0 + (key as f64).sqrt()));
                    assert_close(&what, &out, &want, 0.1, tolerance);
                }
            }
        }
    }
}

#[test]
fn one_large_score_takes_everything() {
    // Scores of +-1e4: the exponentials of all others are zero, none is infinite.
    let p = SoftmaxAttention {
        t: 20,
        heads: 1,
        kv_heads: 1,
        key: 4,
        position: 0,
        q_stride: 4,
        q_offset: 0,
        k_stride: 4,
        k_offset: 0,
        v_stride: 4,
        v_offset: 0,
        window: 0,
        scale: 100.0,
        write_factor: 1.0,
    };
    let q = [10.0; 80];
    let mut k = [-10.0; 80];
    k[8..12].fill(10.0);
    let v: Vec<f32> = (0..80).map(|i| i as f32).collect();
    for level in levels() {
        let mut out = [f32::NAN; 80];
        let (mut k_cache, mut v_cache) = ([0.0; 80], [0.0; 80]);
        call(
            &KERNEL,
            level,
            &p,
            &[&q, &k, &v],
            &mut [&mut out, &mut k_cache, &mut v_cache],
        );
        for t in 2..20 {
            assert_eq!(out[t * 4..][..4], v[8..12], "{level:?} t={t}");
        }
    }
}
