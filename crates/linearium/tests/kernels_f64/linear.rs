//! Kernels that move and mix columns: matmul, causal_conv, rms_norm, embed, rotary.

use linearium::formats::l_mul;
use linearium::kernels::{causal_conv, embed, matmul, matmul_half, matmul_l_mul, rms_norm, rotary};

use crate::harness::{
    LENGTHS, ROUNDING, Rng, assert_close, assert_state_close, call, levels, output,
};

fn matmul_f64(
    p: &matmul::Matmul,
    x: &[f32],
    w: &[f32],
    bias: &[f32],
    residual: &[f32],
) -> Vec<f64> {
    let (k, n) = (p.k as usize, p.n as usize);
    let mut y = Vec::new();
    for t in 0..p.t as usize {
        for j in 0..n {
            let mut sum = 0.0;
            for i in 0..k {
                let x = x[p.x_offset as usize + t * p.x_stride as usize + i];
                sum += f64::from(x) * f64::from(w[j * k + i]);
            }
            if p.has_bias == 1 {
                sum += f64::from(bias[j]);
            }
            if p.has_residual == 1 {
                sum += f64::from(residual[t * n + j]);
            }
            y.push(sum);
        }
    }
    y
}

#[test]
fn matmul_equals_f64() {
    let mut rng = Rng::new(1);
    let shapes = [
        (1, 1),
        (3, 5),
        (16, 16),
        (33, 7),
        (192, 50),
        (67, 129),
        (0, 4),
        (5, 0),
    ];
    for t in LENGTHS {
        for (k, n) in shapes {
            for flags in 0..4 {
                let (stride, offset) = (k + rng.below(9), rng.below(5));
                let p = matmul::Matmul {
                    t: t as u32,
                    k: k as u32,
                    n: n as u32,
                    x_stride: stride as u32,
                    x_offset: offset as u32,
                    has_bias: flags & 1,
                    has_residual: flags >> 1,
                };
                let x = rng.rows(t, k, stride, offset);
                let w = rng.values(n * k, -1.0, 1.0);
                let bias = rng.values(n * (flags & 1) as usize + 1, -1.0, 1.0);
                let residual = rng.values(t * n * (flags >> 1) as usize + 1, -1.0, 1.0);
                let want = matmul_f64(&p, &x, &w, &bias, &residual);
                for level in levels() {
                    let mut y = output(t * n);
                    let reads: [&[f32]; 4] = [&x, &w, &bias, &residual];
                    call(&matmul::KERNEL, level, &p, &reads, &mut [&mut y]);
                    // The rounding of a sum of k terms of random sign grows like sqrt(k).
                    let tolerance = ROUNDING * (4.0 + (k as f64).sqrt());
                    // A product is a third in the mean square, bias and residual a third each.
                    let size = (k as f64 / 9.0 + f64::from(flags & 1) / 3.0).sqrt();
                    let what = format!("matmul {level:?} T={t} K={k} N={n} flags={flags}");
                    assert_close(&what, &y, &want, size, tolerance);
                    // A row is the same number whatever rows it is computed with, so that a
                    // cut of the input cannot show.
                    for row in 0..t.min(9) {
                        let one = matmul::Matmul { t: 1, ..p };
                        let mut alone = output(n);
                        let residual = if flags >> 1 == 1 {
                            &residual[row * n..]
                        } else {
                            &residual
                        };
                        let reads: [&[f32]; 4] = [&x[row * stride..], &w, &bias, residual];
                        call(&matmul::KERNEL, level, &one, &reads, &mut [&mut alone]);
                        assert_eq!(alone[..n], y[row * n..][..n], "{what} row {row}");
                    }
                }
            }
        }
    }
}

fn silu(x: f64) -> f64 {
    x / (1.0 + (-x).exp())
}

fn causal_conv_f64(
    p: &causal_conv::CausalConv,
    x: &[f32],
    weight: &[f32],
    bias: &[f32],
    tail: &[f32],
) -> (Vec<f64>, Vec<f64>) {
    let (t_len, channels, width) = (p.t as usize, p.channels as usize, p.width as usize);
    // The tail and the input in one sequence of rows.
    let mut sequence: Vec<f64> = tail.iter().map(|&v| f64::from(v)).collect();
    for t in 0..t_len {
        let row = p.x_offset as usize + t * p.x_stride as usize;
        sequence.extend(x[row..row + channels].iter().map(|&v| f64::from(v)));
    }
    let mut y = Vec::new();
    for t in 0..t_len {
        for c in 0..channels {
            let mut sum = if p.has_bias == 1 {
                f64::from(bias[c])
            } else {
                0.0
            };
            for w in 0..width {
                sum += f64::from(weight[c * width + w]) * sequence[(t + w) * channels + c];
            }
            y.push(if p.silu == 1 { silu(sum) } else { sum });
        }
    }
    (y, sequence[t_len * channels..].to_vec())
}

#[test]
fn causal_conv_equals_f64_across_every_cut() {
    let mut rng = Rng::new(2);
    for t in LENGTHS {
        for (channels, width) in [(1, 1), (5, 2), (16, 4), (37, 4), (3, 16), (64, 3)] {
            let flags = rng.below(4) as u32;
            let (stride, offset) = (channels + rng.below(9), rng.below(5));
            let p = causal_conv::CausalConv {
                t: t as u32,
                channels: channels as u32,
                width: width as u32,
                x_stride: stride as u32,
                x_offset: offset as u32,
                has_bias: flags & 1,
                silu: flags >> 1,
            };
            let x = rng.rows(t, channels, stride, offset);
            let weight = rng.values(channels * width, -1.0, 1.0);
            let bias = rng.values(channels, -1.0, 1.0);
            let first_tail = rng.values((width - 1) * channels, -1.0, 1.0);
            let (want, want_tail) = causal_conv_f64(&p, &x, &weight, &bias, &first_tail);
            for level in levels() {
                for cut in rng.cuts(t) {
                    let mut y = output(t * channels);
                    let mut tail = first_tail.clone();
                    let mut start = 0;
                    for n in cut {
                        let piece = causal_conv::CausalConv { t: n as u32, ..p };
                        let reads: [&[f32]; 3] = [&x[start * stride..], &weight, &bias];
                        let out = &mut y[start * channels..];
                        call(
                            &causal_conv::KERNEL,
                            level,
                            &piece,
                            &reads,
                            &mut [out, &mut tail],
                        );
                        start += n;
                    }
                    // At most 17 terms, then silu: a few roundings.
                    let what =
                        format!("causal_conv {level:?} T={t} C={channels} W={width} {flags}");
                    assert_close(&what, &y, &want, 0.3, 16.0 * ROUNDING);
                    assert_state_close(&what, &tail, &want_tail, 0.0, 0.0);
                }
            }
        }
    }
}

fn rms_norm_f64(p: &rms_norm::RmsNorm, x: &[f32], weight: &[f32], z: &[f32]) -> Vec<f64> {
    let (width, group) = (p.width as usize, p.group as usize);
    let mut out = vec![0.0; p.t as usize * width];
    for t in 0..p.t as usize {
        let gate = |c: usize| {
            silu(f64::from(
                z[p.z_offset as usize + t * p.z_stride as usize + c],
            ))
        };
        for first in (0..width).step_by(group) {
            let u: Vec<f64> = (first..first + group)
                .map(|c| {
                    let before = if p.gate == rms_norm::GATE_THEN_NORM {
                        gate(c)
                    } else {
                        1.0
                    };
                    f64::from(x[t * width + c]) * before
                })
                .collect();
            let mean = u.iter().map(|v| v * v).sum::<f64>() / group as f64;
            let root = (mean + f64::from(p.eps)).sqrt();
            for (i, v) in u.iter().enumerate() {
                let c = first + i;
                let after = if p.gate == rms_norm::NORM_THEN_GATE {
                    gate(c)
                } else {
                    1.0
                };
                let w = f64::from(weight[c % p.weight_len as usize]);
                out[t * width + c] = v / root * w * after;
            }
        }
    }
    out
}

#[test]
fn rms_norm_equals_f64() {
    let mut rng = Rng::new(3);
    for t in LENGTHS {
        for (groups, group, weight_groups) in
            [(1, 1, 1), (1, 192, 1), (3, 7, 3), (4, 33, 1), (2, 16, 2)]
        {
            for gate in [
                rms_norm::NO_GATE,
                rms_norm::GATE_THEN_NORM,
                rms_norm::NORM_THEN_GATE,
            ] {
                let width = groups * group;
                let (stride, offset) = (width + rng.below(9), rng.below(5));
                let p = rms_norm::RmsNorm {
                    t: t as u32,
                    width: width as u32,
                    group: group as u32,
                    weight_len: (weight_groups * group) as u32,
                    eps: 1e-5,
                    gate,
                    z_stride: stride as u32,
                    z_offset: offset as u32,
                };
                let x = rng.values(t * width, -2.0, 2.0);
                let weight = rng.values(weight_groups * group, 0.5, 1.5);
                let z = if gate == rms_norm::NO_GATE {
                    vec![0.0]
                } else {
                    rng.rows(t, width, stride, offset)
                };
                let want = rms_norm_f64(&p, &x, &weight, &z);
                for level in levels() {
                    let mut out = output(t * width);
                    let reads: [&[f32]; 3] = [&x, &weight, &z];
                    call(&rms_norm::KERNEL, level, &p, &reads, &mut [&mut out]);
                    // The sum of squares has one sign: its roundings average out; five more
                    // operations follow it.
                    let what = format!("rms_norm {level:?} T={t} {groups}x{group} gate={gate}");
                    assert_close(&what, &out, &want, 0.0, 12.0 * ROUNDING);
                }
            }
        }
    }
}

#[test]
fn embed_copies_rows() {
    let mut rng = Rng::new(4);
    for t in LENGTHS {
        for d in [1, 5, 192] {
            let table = rng.values(256 * d, -1.0, 1.0);
            let tokens: Vec<f32> = (0..t).map(|_| rng.below(256) as f32).collect();
            let mut want = Vec::new();
            for &token in &tokens {
                want.extend((0..d).map(|c| f64::from(table[token as usize * d + c])));
            }
            for level in levels() {
                let mut out = output(t * d);
                let p = embed::Embed {
                    t: t as u32,
                    width: d as u32,
                    halves: 0,
                };
                call(
                    &embed::KERNEL,
                    level,
                    &p,
                    &[&table, &tokens],
                    &mut [&mut out],
                );
                assert_close("embed", &out, &want, 0.0, 0.0);
            }
        }
    }
}

/// The value of a finite half by its definition (IEEE 754-2019, 3.4), in f64.
fn half_f64(bits: u16) -> f64 {
    let (exponent, mantissa) = (i32::from(bits >> 10 & 31), f64::from(bits & 1023));
    let magnitude = match exponent {
        0 => mantissa / 1024.0 * 2f64.powi(-14),
        _ => (1.0 + mantissa / 1024.0) * 2f64.powi(exponent - 15),
    };
    if bits >> 15 == 1 {
        -magnitude
    } else {
        magnitude
    }
}

/// Halves of all magnitudes up to this exponent, subnormal ones among them, as words and by value.
fn random_halves(rng: &mut Rng, n: usize, exponents: usize) -> (Vec<f32>, Vec<f64>) {
    let bits: Vec<u16> = (0..n)
        .map(|_| (rng.below(2) << 15 | rng.below(exponents) << 10 | rng.below(1024)) as u16)
        .collect();
    let words = bits
        .chunks_exact(2)
        .map(|pair| f32::from_bits(u32::from(pair[0]) | u32::from(pair[1]) << 16))
        .collect();
    (words, bits.iter().map(|&b| half_f64(b)).collect())
}

#[test]
fn every_finite_half_is_unpacked_exactly() {
    for bits in (0..=u16::MAX).filter(|bits| bits >> 10 & 31 != 31) {
        for (word, place) in [(u32::from(bits), 0), (u32::from(bits) << 16, 1)] {
            let mut out = [f32::NAN; 2];
            matmul_half::unpack(&[f32::from_bits(word)], &mut out);
            let want = half_f64(bits) as f32;
            assert_eq!(out[place].to_bits(), want.to_bits(), "{bits:#06x}");
            assert_eq!(out[1 - place].to_bits(), 0, "{bits:#06x}");
        }
    }
}

#[test]
fn matmul_of_halves_equals_matmul_of_their_values() {
    let mut rng = Rng::new(11);
    for t in LENGTHS {
        for (k, n) in [
            (2, 1),
            (4, 5),
            (16, 16),
            (34, 7),
            (192, 50),
            (66, 129),
            (0, 4),
            (6, 0),
        ] {
            for flags in 0..4 {
                let (stride, offset) = (k + rng.below(9), rng.below(5));
                let p = matmul::Matmul {
                    t: t as u32,
                    k: k as u32,
                    n: n as u32,
                    x_stride: stride as u32,
                    x_offset: offset as u32,
                    has_bias: flags & 1,
                    has_residual: flags >> 1,
                };
                let x = rng.rows(t, k, stride, offset);
                let (words, values) = random_halves(&mut rng, n * k, 15);
                let values: Vec<f32> = values.iter().map(|&v| v as f32).collect();
                let bias = rng.values(n * (flags & 1) as usize + 1, -1.0, 1.0);
                let residual = rng.values(t * n * (flags >> 1) as usize + 1, -1.0, 1.0);
                for level in levels() {
                    let (mut y, mut want) = (output(t * n), output(t * n));
                    let reads: [&[f32]; 4] = [&x, &words, &bias, &residual];
                    call(&matmul_half::KERNEL, level, &p, &reads, &mut [&mut y]);
                    let reads: [&[f32]; 4] = [&x, &values, &bias, &residual];
                    call(&matmul::KERNEL, level, &p, &reads, &mut [&mut want]);
                    assert_eq!(y, want, "{level:?} T={t} K={k} N={n} flags={flags}");
                }
            }
        }
    }
}

#[test]
fn embedding_of_halves_equals_f64() {
    let mut rng = Rng::new(12);
    for t in LENGTHS {
        for d in [2, 6, 192] {
            let (table, values) = random_halves(&mut rng, 256 * d, 31);
            let tokens: Vec<f32> = (0..t).map(|_| rng.below(256) as f32).collect();
            let rows = tokens
                .iter()
                .map(|&token| &values[token as usize * d..][..d]);
            let want = rows.flatten().copied().collect::<Vec<f64>>();
            for level in levels() {
                let mut out = output(t * d);
                let p = embed::Embed {
                    t: t as u32,
                    width: d as u32,
                    halves: 1,
                };
                let reads: [&[f32]; 2] = [&table, &tokens];
                call(&embed::KERNEL, level, &p, &reads, &mut [&mut out]);
                assert_close("embed of halves", &out, &want, 0.0, 0.0);
            }
        }
    }
}

#[test]
fn rotary_equals_f64() {
    let mut rng = Rng::new(5);
    for t in LENGTHS {
        for (heads, key, rotated) in [(1, 2, 2), (3, 6, 6), (2, 64, 64), (4, 34, 34), (3, 37, 18)] {
            let (stride, offset) = (heads * key + rng.below(9), rng.below(5));
            let half = rotated / 2;
            let x = rng.rows(t, heads * key, stride, offset);
            let phases = rng.values(t * half, -3.0, 3.0);
            let angles: Vec<f32> = phases.iter().flat_map(|a| [a.cos(), a.sin()]).collect();
            let mut want = vec![0.0; t * heads * key];
            for row in 0..t {
                for h in 0..heads {
                    for i in 0..half {
                        let at = |c: usize| f64::from(x[offset + row * stride + h * key + c]);
                        let (a, b) = (at(i), at(i + half));
                        let cos = f64::from(angles[(row * half + i) * 2]);
                        let sin = f64::from(angles[(row * half + i) * 2 + 1]);
                        let out = &mut want[(row * heads + h) * key..];
                        out[i] = a * cos - b * sin;
                        out[i + half] = b * cos + a * sin;
                    }
                    for i in rotated..key {
                        want[(row * heads + h) * key + i] =
                            x[offset + row * stride + h * key + i].into();
                    }
                }
            }
            for level in levels() {
                let mut out = output(t * heads * key);
                let p = rotary::Rotary {
                    t: t as u32,
                    heads: heads as u32,
                    key: key as u32,
                    rotated: rotated as u32,
                    x_stride: stride as u32,
                    x_offset: offset as u32,
                };
                call(&rotary::KERNEL, level, &p, &[&x, &angles], &mut [&mut out]);
                // Two products and a sum.
                assert_close("rotary", &out, &want, 0.3, 3.0 * ROUNDING);
            }
        }
    }
}

/// The words of the kernel against the definition at the level of bits, sums in f64.
#[test]
fn matmul_l_mul_equals_its_definition() {
    let mut rng = Rng::new(21);
    for t in LENGTHS {
        for (k, n, flags) in [(1, 1, 0), (17, 5, 1), (64, 3, 2), (9, 12, 3), (0, 4, 0)] {
            let (own, formula) = (flags & 1 == 1, flags & 2 == 2);
            let (stride, offset) = (k + rng.below(5), rng.below(4));
            let p = matmul_l_mul::MatmulLMul {
                t: t as u32,
                n: n as u32,
                k: k as u32,
                x_stride: stride as u32,
                x_offset: offset as u32,
                w_stride: if own { (n * k) as u32 } else { 0 },
                offset: l_mul::offset_word(1 + rng.below(7) as u32),
                formula: formula.into(),
            };
            let x = rng.rows(t, k, stride, offset);
            let w = rng.values(n * k * if own { t.max(1) } else { 1 }, -2.0, 2.0);
            let variant = if formula {
                l_mul::Variant::Formula
            } else {
                l_mul::Variant::Adder
            };
            let (mut want, mut size) = (Vec::new(), Vec::new());
            for row in 0..t {
                for c in 0..n {
                    let products = (0..k).map(|i| {
                        let w = w[row * p.w_stride as usize + c * k + i];
                        let product =
                            l_mul::multiply(x[offset + row * stride + i], w, p.offset, variant);
                        f64::from(product)
                    });
                    want.push(products.clone().sum::<f64>());
                    size.push(products.map(f64::abs).sum::<f64>());
                }
            }
            for level in levels() {
                let mut out = output(t * n);
                call(&matmul_l_mul::KERNEL, level, &p, &[&x, &w], &mut [&mut out]);
                for (i, want) in want.iter().enumerate() {
                    // Products are the same words; sums of k of them are rounded k times.
                    let most = size[i] * k as f64 * ROUNDING;
                    let got = f64::from(out[i]);
                    assert!((got - want).abs() <= most, "t={t} k={k}: {got} for {want}");
                }
            }
        }
    }
}
