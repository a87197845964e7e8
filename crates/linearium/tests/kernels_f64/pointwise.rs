//! Kernels of the zoo's gates: pointwise, normalise, and bonus.

use std::f64::consts::{PI, TAU};

use linearium::kernels::{bonus, normalise, pointwise};

use crate::harness::{LENGTHS, ROUNDING, Rng, assert_close, call, levels, output};

const FUNCTIONS: [u32; 11] = [
    pointwise::IDENTITY,
    pointwise::SIGMOID,
    pointwise::TANH,
    pointwise::EXP,
    pointwise::RELU,
    pointwise::ELU_PLUS_ONE,
    pointwise::SQUARED_RELU,
    pointwise::SILU,
    pointwise::GELU,
    pointwise::GELU_TANH,
    pointwise::POSITIVE,
];

/// The integral of the normal density from 0 to x by Simpson's rule, which errs by less than 1e-12
/// with this step.
fn normal_distribution_f64(x: f64) -> f64 {
    let x = x.clamp(-12.0, 12.0);
    let n = 4000;
    let step = x / f64::from(n);
    let density = |i: i32| (-(f64::from(i) * step).powi(2) / 2.0).exp();
    let odd: f64 = (0..n / 2).map(|i| density(2 * i + 1)).sum();
    let even: f64 = (1..n / 2).map(|i| density(2 * i)).sum();
    0.5 + step / 3.0 * (1.0 + 4.0 * odd + 2.0 * even + density(n)) / TAU.sqrt()
}

fn function_f64(function: u32, u: f64) -> f64 {
    let sigmoid = 1.0 / (1.0 + (-u).exp());
    match function {
        pointwise::SIGMOID => sigmoid,
        pointwise::TANH => u.tanh(),
        pointwise::EXP => u.min(80.0).exp(),
        pointwise::RELU => u.max(0.0),
        pointwise::ELU_PLUS_ONE if u > 0.0 => u + 1.0,
        pointwise::ELU_PLUS_ONE => u.exp(),
        pointwise::SQUARED_RELU => u.max(0.0).powi(2),
        pointwise::SILU => u * sigmoid,
        pointwise::GELU => u * normal_distribution_f64(u),
        pointwise::GELU_TANH => {
            0.5 * u * (1.0 + ((2.0 / PI).sqrt() * (u + 0.044715 * u.powi(3))).tanh())
        }
        pointwise::POSITIVE if u >= 0.0 => u + 0.5,
        pointwise::POSITIVE => sigmoid,
        _ => u,
    }
}

fn pointwise_f64(p: &pointwise::Pointwise, [x, y, b, d]: [&[f32]; 4]) -> Vec<f64> {
    let column = |c: u32, block: u32, repeat: u32| c / (block * repeat) * block + c % block;
    let mut out = Vec::new();
    for t in 0..p.t {
        for c in 0..p.width {
            let at = p.x_offset + t * p.x_stride + column(c, p.x_block, p.x_repeat);
            let mut u = f64::from(p.inner) * f64::from(x[at as usize]);
            if p.form & pointwise::HAS_BIAS != 0 {
                u += f64::from(b[c as usize]);
            }
            let mut f = function_f64(p.form & 15, u);
            let at = p.y_offset + t * p.y_stride + column(c, p.y_block, p.y_repeat);
            match p.form & (pointwise::MULTIPLY | pointwise::DIVIDE) {
                pointwise::MULTIPLY => f *= f64::from(y[at as usize]),
                pointwise::DIVIDE => f /= f64::from(y[at as usize]),
                _ => {}
            }
            let mut s = f64::from(p.multiplier);
            if p.form & pointwise::HAS_SCALE != 0 {
                s *= f64::from(d[c as usize]);
            }
            out.push(s * f + f64::from(p.shift));
        }
    }
    out
}

#[test]
fn pointwise_equals_f64() {
    let mut rng = Rng::new(61);
    // Width, block and repetitions of x, of y.
    let shapes: [(u32, [u32; 2], [u32; 2]); 5] = [
        (1, [1, 1], [1, 1]),
        (6, [2, 3], [1, 6]),
        (16, [16, 1], [1, 4]),
        (36, [6, 2], [1, 12]),
        (37, [1, 37], [37, 1]),
    ];
    for t in [0u32, 1, 5, 19] {
        for (width, [x_block, x_repeat], [y_block, y_repeat]) in shapes {
            for function in FUNCTIONS {
                for operation in [pointwise::ALONE, pointwise::MULTIPLY, pointwise::DIVIDE] {
                    let flags = rng.below(4) as u32 * pointwise::HAS_BIAS;
                    let repeats = rng.below(4) == 0;
                    let p = pointwise::Pointwise {
                        t,
                        width,
                        x_stride: if repeats { 0 } else { width / x_repeat + 3 },
                        x_offset: rng.below(5) as u32,
                        x_block,
                        x_repeat,
                        y_stride: width / y_repeat + 2,
                        y_offset: rng.below(5) as u32,
                        y_block,
                        y_repeat,
                        out_stride: width,
                        out_offset: 0,
                        form: function | operation | flags,
                        inner: rng.value(-1.5, 1.5),
                        multiplier: rng.value(0.1, 2.0),
                        shift: rng.value(-1.0, 1.0),
                    };
                    let len = |offset: u32, stride: u32| (offset + t * stride + width) as usize;
                    let x = rng.values(len(p.x_offset, p.x_stride), -6.0, 6.0);
                    let y = rng.values(len(p.y_offset, p.y_stride), 0.5, 2.0);
                    let [b, d] = [0, 1].map(|_| rng.values(width as usize, -1.0, 1.0));
                    let want = pointwise_f64(&p, [&x, &y, &b, &d]);
                    for level in levels() {
                        let mut out = output((t * width) as usize);
                        let reads: [&[f32]; 4] = [&x, &y, &b, &d];
                        call(&pointwise::KERNEL, level, &p, &reads, &mut [&mut out]);
                        // An exponential magnifies the rounding of its argument, up to 10, by it.
                        let tolerance = ROUNDING * 20.0;
                        assert_close(&format!("{level:?} {p:?}"), &out, &want, 0.1, tolerance);
                    }
                }
            }
        }
    }
}

/// Values near 0 keep all their digits, large ones reach their limits, and the exponential stays
/// finite.
#[test]
fn functions_hold_at_their_ends() {
    let x: Vec<f32> = (-40..=40)
        .flat_map(|i| [2f32.powi(i / 2), -(2f32.powi(i / 2))])
        .chain([0.0, 0.6249, 0.6251, -0.6249, -0.6251, 1e4, -1e4])
        .collect();
    for function in FUNCTIONS {
        let p = pointwise::Pointwise {
            t: x.len() as u32,
            width: 1,
            x_stride: 1,
            x_offset: 0,
            x_block: 1,
            x_repeat: 1,
            y_stride: 0,
            y_offset: 0,
            y_block: 1,
            y_repeat: 1,
            out_stride: 1,
            out_offset: 0,
            form: function,
            inner: 1.0,
            multiplier: 1.0,
            shift: 0.0,
        };
        for level in levels() {
            let mut out = output(x.len());
            let reads: [&[f32]; 4] = [&x, &[0.0], &[0.0], &[0.0]];
            call(&pointwise::KERNEL, level, &p, &reads, &mut [&mut out]);
            for (&x, &got) in x.iter().zip(&out) {
                let want = function_f64(function, x.into());
                let error = (f64::from(got) - want).abs();
                // An approximation of Phi; and an exponential of a large argument, whose error is
                // relative to the argument.
                let approximated = match function {
                    pointwise::GELU | pointwise::GELU_TANH => 2e-7 * f64::from(x).abs(),
                    _ => 0.0,
                };
                // Below the smallest normal number there is 0.
                assert!(
                    error <= 8.0 * ROUNDING * want.abs() + approximated + 1e-37,
                    "function {function} of {x} at {level:?}: {got} for {want}"
                );
            }
        }
    }
}

#[test]
fn results_go_into_some_columns_only() {
    let mut rng = Rng::new(62);
    let (t, width, stride, offset) = (4, 5, 9, 3);
    let x = rng.values(t * width, -1.0, 1.0);
    let p = pointwise::Pointwise {
        t: t as u32,
        width: width as u32,
        x_stride: width as u32,
        x_offset: 0,
        x_block: width as u32,
        x_repeat: 1,
        y_stride: 0,
        y_offset: 0,
        y_block: 1,
        y_repeat: 1,
        out_stride: stride as u32,
        out_offset: offset as u32,
        form: pointwise::IDENTITY,
        inner: 1.0,
        multiplier: 2.0,
        shift: 0.0,
    };
    for level in levels() {
        let mut out = vec![7.0; t * stride];
        let reads: [&[f32]; 4] = [&x, &[0.0], &[0.0], &[0.0]];
        call(&pointwise::KERNEL, level, &p, &reads, &mut [&mut out]);
        for (i, &got) in out.iter().enumerate() {
            let c = i % stride;
            let inside = (offset..offset + width).contains(&c);
            let want = if inside {
                2.0 * x[i / stride * width + c - offset]
            } else {
                7.0
            };
            assert_eq!(got, want, "{level:?} {i}");
        }
    }
}

fn normalise_f64(p: &normalise::Normalise, [x, weight, bias]: [&[f32]; 3]) -> Vec<f64> {
    let (width, group) = (p.width as usize, p.group as usize);
    let (mut out, eps) = (Vec::new(), f64::from(p.eps));
    for t in 0..p.t as usize {
        let row = &x[p.x_offset as usize + t * p.x_stride as usize..][..width];
        for part in row.chunks_exact(group) {
            let part: Vec<f64> = part.iter().map(|&x| x.into()).collect();
            let sum: f64 = part.iter().sum();
            let mean = sum / group as f64;
            let variance = part.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / group as f64;
            let exponentials: f64 = part.iter().map(|x| x.exp()).sum();
            for x in part {
                let c = out.len() % width;
                let normalised = match p.kind {
                    normalise::LAYER => (x - mean) / (variance + eps).sqrt(),
                    normalise::SUM => x / (sum + eps),
                    _ => x.exp() / exponentials,
                };
                let w = if p.has_weight == 1 { weight[c] } else { 1.0 };
                let b = if p.has_bias == 1 { bias[c] } else { 0.0 };
                out.push(normalised * f64::from(w) + f64::from(b));
            }
        }
    }
    out
}

#[test]
fn normalise_equals_f64() {
    let mut rng = Rng::new(63);
    for t in LENGTHS {
        for (width, group) in [(6, 6), (12, 3), (37, 37), (64, 16), (150, 75)] {
            for kind in [normalise::LAYER, normalise::SUM, normalise::SOFTMAX] {
                let flags = rng.below(4) as u32;
                let p = normalise::Normalise {
                    t: t as u32,
                    width,
                    group,
                    x_stride: width + rng.below(9) as u32,
                    x_offset: rng.below(5) as u32,
                    kind,
                    eps: 1e-5,
                    has_weight: flags & 1,
                    has_bias: flags >> 1,
                };
                let len = (p.x_offset + p.t * p.x_stride + width) as usize;
                // For sums none of which is near 0; for the others of either sign.
                let low = if kind == normalise::SUM { 0.0 } else { -2.0 };
                let x = rng.values(len, low, 2.0);
                let [weight, bias] = [0, 1].map(|_| rng.values(width as usize, -1.0, 1.0));
                let want = normalise_f64(&p, [&x, &weight, &bias]);
                for level in levels() {
                    let mut out = output(t * width as usize);
                    let reads: [&[f32]; 3] = [&x, &weight, &bias];
                    call(&normalise::KERNEL, level, &p, &reads, &mut [&mut out]);
                    let what = format!("{level:?} {p:?}");
                    let tolerance = ROUNDING * (8.0 + f64::from(group).sqrt());
                    assert_close(&what, &out, &want, 0.0, tolerance);
                }
            }
        }
    }
}

/// Softmax subtracts before it exponentiates.
#[test]
fn softmax_stays_finite() {
    let p = normalise::Normalise {
        t: 1,
        width: 3,
        group: 3,
        x_stride: 3,
        x_offset: 0,
        kind: normalise::SOFTMAX,
        eps: 0.0,
        has_weight: 0,
        has_bias: 0,
    };
    for level in levels() {
        let mut out = output(3);
        let reads: [&[f32]; 3] = [&[1e4, -1e4, 1e4], &[0.0], &[0.0]];
        call(&normalise::KERNEL, level, &p, &reads, &mut [&mut out]);
        assert_eq!(out[..3], [0.5, 0.0, 0.5], "{level:?}");
    }
}

#[test]
fn bonus_equals_f64() {
    let mut rng = Rng::new(64);
    for t in LENGTHS {
        for (heads, key, value) in [(1, 1, 1), (3, 5, 7), (2, 64, 40)] {
            let strides = [key, key, value].map(|n| heads * n + rng.below(6));
            let offsets = [0, 1, 2].map(|_| rng.below(5));
            let p = bonus::Bonus {
                t: t as u32,
                heads: heads as u32,
                key: key as u32,
                value: value as u32,
                q_stride: strides[0] as u32,
                q_offset: offsets[0] as u32,
                k_stride: strides[1] as u32,
                k_offset: offsets[1] as u32,
                v_stride: strides[2] as u32,
                v_offset: offsets[2] as u32,
                multiplier: rng.value(-2.0, 2.0),
            };
            let widths = [key, key, value];
            let [q, k, v] =
                [0, 1, 2].map(|i| rng.rows(t, heads * widths[i], strides[i], offsets[i]));
            let x = rng.values(t * heads * value, -1.0, 1.0);
            let d = rng.values(heads * key, -1.0, 1.0);
            let mut want = Vec::new();
            for row in 0..t {
                for h in 0..heads {
                    let at = |i: usize| offsets[i] + row * strides[i] + h * widths[i];
                    let weight: f64 = (0..key)
                        .map(|n| {
                            let q = f64::from(q[at(0) + n]) * f64::from(k[at(1) + n]);
                            q * f64::from(d[h * key + n])
                        })
                        .sum();
                    for j in 0..value {
                        let x = f64::from(x[(row * heads + h) * value + j]);
                        let v = f64::from(v[at(2) + j]);
                        want.push(x + f64::from(p.multiplier) * weight * v);
                    }
                }
            }
            for level in levels() {
                let mut out = output(t * heads * value);
                let reads: [&[f32]; 5] = [&x, &q, &k, &v, &d];
                call(&bonus::KERNEL, level, &p, &reads, &mut [&mut out]);
                let tolerance = ROUNDING * (4.0 + (key as f64).sqrt());
                assert_close(&format!("{level:?} {p:?}"), &out, &want, 0.5, tolerance);
            }
        }
    }
}
