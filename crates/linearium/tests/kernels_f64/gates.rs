//! Elementwise kernels: activate, exp_multiply, scaled_add, swiglu, and cross_entropy.

use linearium::kernels::{activate, cross_entropy, exp_multiply, scaled_add, swiglu};

use crate::harness::{LENGTHS, ROUNDING, Rng, assert_close, call, levels, output};

const FUNCTIONS: [u32; 4] = [
    activate::IDENTITY,
    activate::SOFTPLUS,
    activate::LOG_SIGMOID,
    activate::SILU,
];

/// The four functions in forms that lose nothing in f64 anywhere.
fn function_f64(function: u32, x: f64) -> f64 {
    let softplus = |x: f64| x.max(0.0) + (-x.abs()).exp().ln_1p();
    match function {
        activate::SOFTPLUS => softplus(x),
        activate::LOG_SIGMOID => -softplus(-x),
        activate::SILU => x / (1.0 + (-x).exp()),
        _ => x,
    }
}

fn activate_f64(
    p: &activate::Activate,
    x: &[f32],
    bias: &[f32],
    scale: &[f32],
    threshold: &[f32],
) -> Vec<f64> {
    let mut out = Vec::new();
    for t in 0..p.t as usize {
        for c in 0..p.width as usize {
            let x = f64::from(x[p.x_offset as usize + t * p.x_stride as usize + c]);
            let b = if p.has_bias == 1 {
                f64::from(bias[c])
            } else {
                0.0
            };
            let mut f = function_f64(p.function, x + b);
            f = f.max(f64::from(p.min)).min(f64::from(p.max));
            if p.has_threshold == 1 && f <= f64::from(threshold[c]) {
                f = 0.0;
            }
            let s = if p.has_scale == 1 {
                f64::from(scale[c])
            } else {
                1.0
            };
            out.push(s * f64::from(p.multiplier) * f + f64::from(p.shift));
        }
    }
    out
}

#[test]
fn activate_equals_f64() {
    let mut rng = Rng::new(11);
    for t in LENGTHS {
        for width in [1, 6, 16, 37] {
            for function in FUNCTIONS {
                for flags in 0..8 {
                    let repeat = rng.below(4) == 0;
                    let stride = if repeat { 0 } else { width + rng.below(9) };
                    let offset = rng.below(5);
                    let p = activate::Activate {
                        t: t as u32,
                        width: width as u32,
                        x_stride: stride as u32,
                        x_offset: offset as u32,
                        function,
                        has_bias: flags & 1,
                        has_scale: flags >> 1 & 1,
                        has_threshold: flags >> 2,
                        min: if flags == 3 { -0.2 } else { f32::NEG_INFINITY },
                        max: if flags == 5 { 0.7 } else { f32::INFINITY },
                        multiplier: rng.value(0.1, 2.0),
                        shift: rng.value(-1.0, 1.0),
                    };
                    let x = rng.rows(if repeat { 1 } else { t }, width, stride.max(width), offset);
                    let bias = rng.values(width, -3.0, 3.0);
                    let scale = rng.values(width, -2.0, 2.0);
                    // Away from any value that occurs, where one rounding would decide.
                    let threshold = vec![-10.0; width];
                    let want = activate_f64(&p, &x, &bias, &scale, &threshold);
                    for level in levels() {
                        let mut out = output(t * width);
                        let reads: [&[f32]; 4] = [&x, &bias, &scale, &threshold];
                        call(&activate::KERNEL, level, &p, &reads, &mut [&mut out]);
                        // The sum with the bias, the function (three roundings), scale,
                        // multiplier and shift.
                        let what = format!("activate {level:?} T={t} {width} f={function} {flags}");
                        assert_close(&what, &out, &want, p.shift.abs().into(), 8.0 * ROUNDING);
                    }
                }
            }
        }
    }
}

/// One call of `activate` on the given values, nothing but the function.
fn activate_plain(level: fearless_simd::Level, function: u32, x: &[f32]) -> Vec<f32> {
    let p = activate::Activate {
        t: 1,
        width: x.len() as u32,
        x_stride: x.len() as u32,
        x_offset: 0,
        function,
        has_bias: 0,
        has_scale: 0,
        has_threshold: 0,
        min: f32::NEG_INFINITY,
        max: f32::INFINITY,
        multiplier: 1.0,
        shift: 0.0,
    };
    let mut out = vec![f32::NAN; x.len()];
    let none: &[f32] = &[0.0];
    call(
        &activate::KERNEL,
        level,
        &p,
        &[x, none, none, none],
        &mut [&mut out],
    );
    out
}

#[test]
fn activations_are_accurate_at_every_size_of_input() {
    // Every magnitude from 1e-8 to 1e4, both signs, and the ends.
    let mut x: Vec<f32> = (-80..=40).map(|i| 10f32.powf(i as f32 / 10.0)).collect();
    x.extend((-2000..2000).map(|i| i as f32 * 0.05));
    x.extend(x.clone().iter().map(|v| -v));
    x.extend([
        0.0,
        19.999,
        20.0,
        20.001,
        88.0,
        -88.0,
        1e4,
        -1e4,
        f32::NEG_INFINITY,
        f32::INFINITY,
    ]);
    for level in levels() {
        for function in FUNCTIONS {
            for (&x, y) in x.iter().zip(activate_plain(level, function, &x)) {
                if function == activate::SILU && x == f32::NEG_INFINITY {
                    assert!(y.is_nan(), "-inf * 0, as in PyTorch");
                    continue;
                }
                let want = function_f64(function, f64::from(x));
                let (y, what) = (f64::from(y), format!("{level:?} f={function} x={x} y={y}"));
                if want.is_infinite() {
                    assert_eq!(y, want, "{what}");
                } else {
                    // Six roundings; below the smallest normal f32 nothing is asked for.
                    let allowed =
                        6.0 * ROUNDING * want.abs() + f64::from(f32::MIN_POSITIVE) * 100.0;
                    assert!((y - want).abs() <= allowed, "{what} instead of {want}");
                }
            }
            let nan = activate_plain(level, function, &[0.5, f32::NAN, 0.25, 1.0, 2.0]);
            assert!(
                nan[1].is_nan(),
                "{level:?} f={function}: NaN must not be hidden"
            );
            assert!(nan[0].is_finite() && nan[2].is_finite());
        }
    }
}

#[test]
fn the_threshold_takes_what_is_at_or_below_it() {
    for level in levels() {
        let x: Vec<f32> = (0..19).map(|i| i as f32 * 0.25).collect();
        let p = activate::Activate {
            t: 1,
            width: 19,
            x_stride: 19,
            x_offset: 0,
            function: activate::IDENTITY,
            has_bias: 0,
            has_scale: 0,
            has_threshold: 1,
            min: 0.0,
            max: 4.0,
            multiplier: 1.0,
            shift: 0.0,
        };
        let mut out = vec![f32::NAN; 19];
        let reads: [&[f32]; 4] = [&x, &[0.0], &[0.0], &[1.0; 19]];
        call(&activate::KERNEL, level, &p, &reads, &mut [&mut out]);
        let want: Vec<f32> = x
            .iter()
            .map(|&v| if v <= 1.0 { 0.0 } else { v.min(4.0) })
            .collect();
        assert_eq!(out, want, "{level:?}");
    }
}

#[test]
fn exp_multiply_equals_f64() {
    let mut rng = Rng::new(12);
    for t in LENGTHS {
        for width in [1, 7, 16, 50] {
            let (stride, offset) = (width + rng.below(9), rng.below(5));
            let x = rng.rows(t, width, stride, offset);
            let mut w = rng.values(t * width, -12.0, 0.0);
            for (i, extreme) in [0.0, -1e4, f32::NEG_INFINITY, -87.0]
                .into_iter()
                .enumerate()
            {
                if i < w.len() {
                    w[i] = extreme;
                }
            }
            let want: Vec<f64> = (0..t * width)
                .map(|i| {
                    let x = x[offset + i / width * stride + i % width];
                    f64::from(x) * f64::from(w[i]).exp()
                })
                .collect();
            for level in levels() {
                let mut out = output(t * width);
                let p = exp_multiply::ExpMultiply {
                    t: t as u32,
                    width: width as u32,
                    x_stride: stride as u32,
                    x_offset: offset as u32,
                };
                call(&exp_multiply::KERNEL, level, &p, &[&x, &w], &mut [&mut out]);
                // The exponential (at most three roundings) and a product. 1e-30: a decay
                // below the smallest normal number may be zero.
                let what = format!("exp_multiply {level:?} T={t} {width}");
                let finite: Vec<f64> = want
                    .iter()
                    .map(|&v| if v.abs() < 1e-30 { 0.0 } else { v })
                    .collect();
                let out: Vec<f32> = out
                    .iter()
                    .map(|&v| if v.abs() < 1e-30 { 0.0 } else { v })
                    .collect();
                assert_close(&what, &out, &finite, 0.0, 4.0 * ROUNDING);
            }
        }
    }
}

#[test]
fn scaled_add_equals_f64() {
    let mut rng = Rng::new(13);
    for t in LENGTHS {
        for (groups, per) in [(1, 1), (5, 1), (3, 64), (4, 7), (37, 1)] {
            for flags in 0..4 {
                let width = groups * per;
                let (stride, offset) = (width + rng.below(9), rng.below(5));
                let p = scaled_add::ScaledAdd {
                    t: t as u32,
                    width: width as u32,
                    y_stride: stride as u32,
                    y_offset: offset as u32,
                    per: per as u32,
                    has_d: flags & 1,
                    multiply: flags >> 1,
                    multiplier: rng.value(-2.0, 2.0),
                };
                let x = rng.values(t * width, -1.0, 1.0);
                let y = rng.rows(t, width, stride, offset);
                let d = rng.values(groups, -1.0, 1.0);
                let want: Vec<f64> = (0..t * width)
                    .map(|i| {
                        let x = f64::from(x[i]);
                        let y = f64::from(y[offset + i / width * stride + i % width]);
                        let d = if p.has_d == 1 {
                            f64::from(d[i % width / per])
                        } else {
                            1.0
                        };
                        if p.multiply == 1 {
                            x * y
                        } else {
                            x + f64::from(p.multiplier) * d * y
                        }
                    })
                    .collect();
                for level in levels() {
                    let mut out = output(t * width);
                    call(
                        &scaled_add::KERNEL,
                        level,
                        &p,
                        &[&x, &y, &d],
                        &mut [&mut out],
                    );
                    // Two products and a sum.
                    let what = format!("scaled_add {level:?} T={t} {width} {flags}");
                    assert_close(&what, &out, &want, 0.5, 3.0 * ROUNDING);
                }
            }
        }
    }
}

#[test]
fn swiglu_equals_f64() {
    let mut rng = Rng::new(14);
    for t in LENGTHS {
        for width in [1, 6, 33, 128] {
            let (gate_stride, gate_offset) = (width + rng.below(9), rng.below(5));
            let (up_stride, up_offset) = (width + rng.below(9), rng.below(5));
            let gate: Vec<f32> = rng.rows(t, width, gate_stride, gate_offset);
            let gate: Vec<f32> = gate.iter().map(|v| v * 10.0).collect();
            let up = rng.rows(t, width, up_stride, up_offset);
            let want: Vec<f64> = (0..t * width)
                .map(|i| {
                    let g = f64::from(gate[gate_offset + i / width * gate_stride + i % width]);
                    let u = f64::from(up[up_offset + i / width * up_stride + i % width]);
                    g / (1.0 + (-g).exp()) * u
                })
                .collect();
            for level in levels() {
                let mut out = output(t * width);
                let p = swiglu::Swiglu {
                    t: t as u32,
                    width: width as u32,
                    gate_stride: gate_stride as u32,
                    gate_offset: gate_offset as u32,
                    up_stride: up_stride as u32,
                    up_offset: up_offset as u32,
                };
                call(&swiglu::KERNEL, level, &p, &[&gate, &up], &mut [&mut out]);
                // silu (five roundings) and a product.
                assert_close(
                    &format!("swiglu {level:?} T={t} {width}"),
                    &out,
                    &want,
                    0.0,
                    6.0 * ROUNDING,
                );
            }
        }
    }
}

#[test]
fn cross_entropy_equals_f64() {
    let mut rng = Rng::new(15);
    for t in LENGTHS {
        for vocab in [1, 2, 17, 256, 301] {
            let logits = rng.values(t * vocab, -12.0, 12.0);
            let targets: Vec<f32> = (0..t)
                .map(|row| {
                    if row % 5 == 3 {
                        -1.0
                    } else {
                        rng.below(vocab) as f32
                    }
                })
                .collect();
            let mut want = Vec::new();
            let mut best = Vec::new();
            for row in 0..t {
                let row_logits = &logits[row * vocab..][..vocab];
                let max = row_logits.iter().fold(f32::NEG_INFINITY, |a, &b| a.max(b));
                best.push(row_logits.iter().position(|&v| v == max).unwrap() as f32);
                // Without the largest, whose share is 1, so that a small loss is exact in f64.
                let best = best[row] as usize;
                let others: f64 = (0..vocab)
                    .filter(|&j| j != best)
                    .map(|j| f64::from(row_logits[j] - max).exp())
                    .sum();
                want.push(if targets[row] < 0.0 {
                    0.0
                } else {
                    others.ln_1p() + f64::from(max - row_logits[targets[row] as usize])
                });
            }
            for level in levels() {
                let mut out = output(t * 2);
                let p = cross_entropy::CrossEntropy {
                    t: t as u32,
                    vocab: vocab as u32,
                };
                call(
                    &cross_entropy::KERNEL,
                    level,
                    &p,
                    &[&logits, &targets],
                    &mut [&mut out],
                );
                let what = format!("cross_entropy {level:?} T={t} V={vocab}");
                let losses: Vec<f32> = out[..t * 2]
                    .iter()
                    .step_by(2)
                    .copied()
                    .chain([12345.0; 40])
                    .collect();
                let found: Vec<f32> = out[1.min(t)..t * 2].iter().step_by(2).copied().collect();
                // A sum of positive terms, a logarithm, two sums.
                assert_close(&what, &losses, &want, 0.0, 6.0 * ROUNDING);
                assert_eq!(found, best, "{what}");
                assert!(out[t * 2..].iter().all(|&v| v == 12345.0), "{what}");
            }
        }
    }
}

#[test]
fn the_most_likely_token_is_the_first_of_equals() {
    for level in levels() {
        for first in 0..40 {
            for second in first..40 {
                let mut logits = vec![-1.0; 40];
                logits[first] = 3.5;
                logits[second] = 3.5;
                let mut out = [f32::NAN; 2];
                let p = cross_entropy::CrossEntropy { t: 1, vocab: 40 };
                call(
                    &cross_entropy::KERNEL,
                    level,
                    &p,
                    &[&logits, &[0.0]],
                    &mut [&mut out],
                );
                assert_eq!(out[1], first as f32, "{level:?} {first} {second}");
            }
        }
    }
}
