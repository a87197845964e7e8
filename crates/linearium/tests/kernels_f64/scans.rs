//! Kernels with a state: scan_outer, scan_elementwise, window_sum, delay, state_norm.

use linearium::kernels::{delay, scan_elementwise, scan_outer, state_norm, window_sum};

use crate::harness::{
    LENGTHS, ROUNDING, Rng, assert_close, assert_state_close, call, levels, output,
};

/// Outputs and final state of the outer-product scan.
fn scan_outer_f64(
    p: &scan_outer::ScanOuter,
    reads: [&[f32]; 5],
    state: &[f32],
) -> (Vec<f64>, Vec<f64>) {
    let [q, k, v, g, w] = reads;
    let (heads, key, value) = (p.heads as usize, p.key as usize, p.value as usize);
    let mut state: Vec<f64> = state.iter().map(|&s| f64::from(s)).collect();
    let mut out = vec![0.0; p.t as usize * heads * value];
    for t in 0..p.t as usize {
        for h in 0..heads {
            let column = h / (heads / p.groups as usize) * key;
            let write = if p.has_write_scale == 1 {
                f64::from(w[t * heads + h])
            } else {
                1.0
            };
            let write = write * f64::from(p.write_factor);
            for i in 0..key {
                let g = if p.per_key == 1 {
                    g[(t * heads + h) * key + i]
                } else {
                    g[t * heads + h]
                };
                let q = f64::from(q[p.q_offset as usize + t * p.q_stride as usize + column + i]);
                let k = f64::from(k[p.k_offset as usize + t * p.k_stride as usize + column + i]);
                for j in 0..value {
                    let v = v[p.v_offset as usize + t * p.v_stride as usize + h * value + j];
                    let s = &mut state[(h * key + i) * value + j];
                    let before = *s;
                    *s = f64::from(g).exp() * before + write * k * f64::from(v);
                    let read = if p.read_before == 1 { before } else { *s };
                    out[(t * heads + h) * value + j] += f64::from(p.scale) * q * read;
                }
            }
        }
    }
    (out, state)
}

/// Runs the kernel over every cut at every level and compares.
fn check_scan_outer(
    rng: &mut Rng,
    p: scan_outer::ScanOuter,
    reads: [&[f32]; 5],
    first: &[f32],
    tolerance: f64,
) {
    let [q, k, v, g, w] = reads;
    let (t, heads, key, value) = (
        p.t as usize,
        p.heads as usize,
        p.key as usize,
        p.value as usize,
    );
    let g_width = if p.per_key == 1 { heads * key } else { heads };
    let w_width = if p.has_write_scale == 1 { heads } else { 0 };
    let (want, want_state) = scan_outer_f64(&p, reads, first);
    for level in levels() {
        let what = format!("scan_outer {level:?} {p:?}");
        for cut in rng.cuts(t) {
            let mut out = output(t * heads * value);
            let mut state = first.to_vec();
            let mut start = 0;
            for n in cut {
                let piece = scan_outer::ScanOuter { t: n as u32, ..p };
                let mut scratch =
                    vec![f32::NAN; scan_outer::ScanOuter::scratch_len(n, heads, key, value)];
                let reads: [&[f32]; 5] = [
                    &q[start * p.q_stride as usize..],
                    &k[start * p.k_stride as usize..],
                    &v[start * p.v_stride as usize..],
                    &g[start * g_width..],
                    &w[start * w_width..],
                ];
                let o = &mut out[start * heads * value..];
                call(
                    &scan_outer::KERNEL,
                    level,
                    &piece,
                    &reads,
                    &mut [o, &mut state, &mut scratch],
                );
                start += n;
            }
            assert_close(&what, &out, &want, 0.3, tolerance);
            assert_state_close(&what, &state, &want_state, 0.3, tolerance);
        }
    }
}

#[test]
fn scan_outer_equals_f64_across_every_cut() {
    let mut rng = Rng::new(21);
    // (heads, groups, K, V)
    let shapes = [
        (1, 1, 1, 1),
        (2, 1, 3, 5),
        (4, 2, 16, 17),
        (2, 2, 33, 40),
        (1, 1, 64, 64),
        (1, 1, 7, 131),
    ];
    for t in LENGTHS {
        for (index, (heads, groups, key, value)) in shapes.into_iter().enumerate() {
            let flags = (index + t) % 8;
            let mut stride = |width: usize| (width + rng.below(9)) as u32;
            let (q_stride, k_stride, v_stride) = (
                stride(groups * key),
                stride(groups * key),
                stride(heads * value),
            );
            let p = scan_outer::ScanOuter {
                t: t as u32,
                heads: heads as u32,
                key: key as u32,
                value: value as u32,
                groups: groups as u32,
                q_stride,
                q_offset: rng.below(5) as u32,
                k_stride,
                k_offset: rng.below(5) as u32,
                v_stride,
                v_offset: rng.below(5) as u32,
                per_key: flags as u32 & 1,
                has_write_scale: flags as u32 >> 1 & 1,
                scale: 1.0 / (key as f32).sqrt(),
                write_factor: if index == 2 { 0.7 } else { 1.0 },
                read_before: flags as u32 >> 2,
            };
            let q = rng.rows(t, groups * key, q_stride as usize, p.q_offset as usize);
            let k = rng.rows(t, groups * key, k_stride as usize, p.k_offset as usize);
            let v = rng.rows(t, heads * value, v_stride as usize, p.v_offset as usize);
            let g_width = if p.per_key == 1 { heads * key } else { heads };
            let g = rng.values(t * g_width + 1, -0.3, 0.0);
            let w = rng.values(t * heads + 1, 0.0, 1.0);
            let first = rng.values(heads * key * value, -1.0, 1.0);
            // A decay of up to 0.3 a token leaves about ten tokens in the state; each adds four
            // roundings, and the output sums over K.
            let tolerance = ROUNDING * (12.0 + (key as f64).sqrt());
            check_scan_outer(&mut rng, p, [&q, &k, &v, &g, &w], &first, tolerance);
        }
    }
}

fn plain_scan_outer(t: usize, [per_key, read_before]: [u32; 2]) -> scan_outer::ScanOuter {
    scan_outer::ScanOuter {
        t: t as u32,
        heads: 2,
        key: 6,
        value: 21,
        groups: 1,
        q_stride: 6,
        q_offset: 0,
        k_stride: 6,
        k_offset: 0,
        v_stride: 42,
        v_offset: 0,
        per_key,
        has_write_scale: 0,
        scale: 1.0,
        write_factor: 1.0,
        read_before,
    }
}

#[test]
fn scan_outer_holds_and_forgets_at_the_ends_of_the_gate() {
    let mut rng = Rng::new(22);
    for t in [1, 2, 65, 257] {
        for [per_key, read_before] in [[0, 0], [1, 0], [0, 1], [1, 1]] {
            for gate in [0.0, -1e-7, -87.0, -1e4, f32::NEG_INFINITY] {
                let p = plain_scan_outer(t, [per_key, read_before]);
                let q = rng.values(t * 6, -1.0, 1.0);
                let k = rng.values(t * 6, -1.0, 1.0);
                let v = rng.values(t * 42, -1.0, 1.0);
                let mut g = vec![gate; t * if per_key == 1 { 12 } else { 2 }];
                // Not all tokens alike: a hold between two resets.
                for (i, g) in g.iter_mut().enumerate() {
                    if i % 7 == 3 {
                        *g = 0.0;
                    }
                }
                let first = rng.values(2 * 6 * 21, -1.0, 1.0);
                // With a gate of 0 nothing is forgotten: the state is a sum of t terms.
                let tolerance = ROUNDING * (12.0 + 2.0 * (t as f64).sqrt());
                check_scan_outer(&mut rng, p, [&q, &k, &v, &g, &[0.0]], &first, tolerance);
            }
        }
    }
}

/// Outputs and final state of the elementwise scan.
fn scan_elementwise_f64(
    p: &scan_elementwise::ScanElementwise,
    reads: [&[f32]; 5],
    state: &[f32],
) -> (Vec<f64>, Vec<f64>) {
    let [dt, a, u, bc, w] = reads;
    let (channels, n) = (p.channels as usize, p.states as usize);
    let mut state: Vec<f64> = state.iter().map(|&s| f64::from(s)).collect();
    let mut y = Vec::new();
    for t in 0..p.t as usize {
        for d in 0..channels {
            let step = f64::from(dt[t * channels + d]);
            let mut sum = 0.0;
            for i in 0..n {
                let a = f64::from(a[d * n + i]);
                let late = if p.has_write_decay == 1 {
                    (f64::from(w[t * channels + d]) * a + f64::from(p.write_shift)).exp()
                } else {
                    1.0
                };
                let row = t * p.bc_stride as usize;
                let b = f64::from(bc[row + p.b_offset as usize + i]);
                let c = f64::from(bc[row + p.c_offset as usize + i]);
                let write = f64::from(p.write_factor) * late * f64::from(u[t * channels + d]) * b;
                let h = &mut state[d * n + i];
                *h = (step * a + f64::from(p.log_shift)).exp() * *h + write;
                sum += c * *h;
            }
            y.push(sum);
        }
    }
    (y, state)
}

#[test]
fn scan_elementwise_equals_f64_across_every_cut() {
    let mut rng = Rng::new(23);
    for t in LENGTHS {
        for (index, (channels, n)) in [(1, 1), (5, 16), (37, 16), (16, 3), (33, 8), (2, 256)]
            .into_iter()
            .enumerate()
        {
            let decay_of_writes = (index + t) % 2 == 1;
            let b_offset = rng.below(5);
            let c_offset = b_offset + n + rng.below(3);
            let stride = c_offset + n + rng.below(4);
            let p = scan_elementwise::ScanElementwise {
                t: t as u32,
                channels: channels as u32,
                states: n as u32,
                bc_stride: stride as u32,
                b_offset: b_offset as u32,
                c_offset: c_offset as u32,
                has_write_decay: u32::from(decay_of_writes),
                log_shift: if index == 2 { -0.01 } else { 0.0 },
                write_factor: if index == 3 { 0.7 } else { 1.0 },
                write_shift: if decay_of_writes { -0.25 } else { 0.0 },
            };
            let dt = rng.values(t * channels, 0.001, 0.5);
            let mut a = rng.values(channels * n, -8.0, -0.1);
            // The ends of the gate: a state that never decays, two that are forgotten at once.
            for (state, extreme) in [0.0, -1e5, f32::NEG_INFINITY].into_iter().enumerate() {
                if n > 4 {
                    a[(state * 7 + 3) % (channels * n)] = extreme;
                }
            }
            let u = rng.values(t * channels, -1.0, 1.0);
            let bc = rng.rows(t, stride, stride, 0);
            let w = rng.values(
                if decay_of_writes { t * channels } else { 0 } + 1,
                0.01,
                1.0,
            );
            let first = rng.values(channels * n, -1.0, 1.0);
            let reads: [&[f32]; 5] = [&dt, &a, &u, &bc, &w];
            let (want, want_state) = scan_elementwise_f64(&p, reads, &first);
            // The decay's exponent is rounded in f32: at most 4 * 2^-24 absolute where the decay
            // still matters; about ten tokens are in a state, all of them where A = 0.
            let tolerance = ROUNDING * (24.0 + (t as f64).sqrt());
            for level in levels() {
                let what = format!("scan_elementwise {level:?} {p:?}");
                for cut in rng.cuts(t) {
                    let mut y = output(t * channels);
                    let mut state = first.clone();
                    let mut start = 0;
                    for piece in cut {
                        let p = scan_elementwise::ScanElementwise {
                            t: piece as u32,
                            ..p
                        };
                        let len =
                            scan_elementwise::ScanElementwise::scratch_len(piece, channels, n);
                        let mut scratch = vec![f32::NAN; len];
                        let w_start = if decay_of_writes { start * channels } else { 0 };
                        let reads: [&[f32]; 5] = [
                            &dt[start * channels..],
                            &a,
                            &u[start * channels..],
                            &bc[start * stride..],
                            &w[w_start..],
                        ];
                        let out = &mut y[start * channels..];
                        let writes: &mut [&mut [f32]] = &mut [out, &mut state, &mut scratch];
                        call(&scan_elementwise::KERNEL, level, &p, &reads, writes);
                        start += piece;
                    }
                    assert_close(&what, &y, &want, 0.3, tolerance);
                    assert_state_close(&what, &state, &want_state, 0.3, tolerance);
                }
            }
        }
    }
}

#[test]
fn window_sum_equals_f64_across_every_cut() {
    let mut rng = Rng::new(24);
    for t in LENGTHS {
        for width in [1, 6, 37] {
            let x = rng.values(t * width, 0.0, 100.0);
            let r = 10 * width;
            let late: Vec<f32> = (0..t * width)
                .map(|i| if i < r { 0.0 } else { x[i - r] })
                .collect();
            let want: Vec<f64> = (0..t * width)
                .map(|i| {
                    (0..=i / width)
                        .rev()
                        .take(10)
                        .map(|row| f64::from(x[row * width + i % width]))
                        .sum()
                })
                .collect();
            for level in levels() {
                for cut in rng.cuts(t) {
                    let mut out = output(t * width);
                    let mut state = vec![0.0; width * 2];
                    let mut start = 0;
                    for n in cut {
                        let p = window_sum::WindowSum {
                            t: n as u32,
                            width: width as u32,
                        };
                        let reads: [&[f32]; 2] = [&x[start * width..], &late[start * width..]];
                        let o = &mut out[start * width..];
                        call(&window_sum::KERNEL, level, &p, &reads, &mut [o, &mut state]);
                        start += n;
                    }
                    // Compensated: what is left is the last rounding and the compensation's own.
                    assert_close(
                        &format!("window_sum {level:?} T={t}"),
                        &out,
                        &want,
                        0.0,
                        2.0 * ROUNDING,
                    );
                }
            }
        }
    }
}

#[test]
fn window_sum_does_not_drift_over_a_long_context() {
    let t = 65_536;
    let mut rng = Rng::new(25);
    let x = rng.values(t, 0.0, 1.0);
    let late: Vec<f32> = (0..t)
        .map(|i| if i < 64 { 0.0 } else { x[i - 64] })
        .collect();
    let want: Vec<f64> = (0..t)
        .map(|i| {
            x[(i + 1).saturating_sub(64)..=i]
                .iter()
                .map(|&v| f64::from(v))
                .sum()
        })
        .collect();
    let p = window_sum::WindowSum {
        t: t as u32,
        width: 1,
    };
    for level in levels() {
        let mut out = output(t);
        call(
            &window_sum::KERNEL,
            level,
            &p,
            &[&x, &late],
            &mut [&mut out, &mut [0.0; 2]],
        );
        assert_close(
            &format!("window_sum {level:?}"),
            &out,
            &want,
            0.0,
            2.0 * ROUNDING,
        );
    }
}

#[test]
fn delay_equals_a_shift_across_every_cut() {
    let mut rng = Rng::new(26);
    for t in LENGTHS {
        for (width, r) in [(1, 1), (5, 3), (16, 64), (7, 100), (3, 300)] {
            let (stride, offset) = (width + rng.below(9), rng.below(5));
            let (out_stride, out_offset) = (width + rng.below(3), rng.below(3));
            let x = rng.rows(t, width, stride, offset);
            for level in levels() {
                for cut in rng.cuts(t) {
                    let mut out = vec![12345.0; out_offset + t * out_stride + width];
                    let mut ring = vec![0.0; r * width];
                    let mut start = 0;
                    for n in cut {
                        let p = delay::Delay {
                            t: n as u32,
                            width: width as u32,
                            x_stride: stride as u32,
                            x_offset: offset as u32,
                            delay: r as u32,
                            phase: (start % r) as u32,
                            out_stride: out_stride as u32,
                            out_offset: out_offset as u32,
                        };
                        let o = &mut out[start * out_stride..];
                        call(
                            &delay::KERNEL,
                            level,
                            &p,
                            &[&x[start * stride..]],
                            &mut [o, &mut ring],
                        );
                        start += n;
                    }
                    for (i, &got) in out.iter().enumerate() {
                        let at = i
                            .checked_sub(out_offset)
                            .map(|i| (i / out_stride, i % out_stride));
                        let want = match at {
                            Some((row, c)) if row < t && c < width => match row.checked_sub(r) {
                                Some(from) => x[offset + from * stride + c],
                                None => 0.0,
                            },
                            _ => 12345.0,
                        };
                        assert_eq!(got, want, "delay {level:?} T={t} r={r} element {i}");
                    }
                }
            }
        }
    }
}

#[test]
fn state_norm_caps_each_head() {
    let mut rng = Rng::new(27);
    for (heads, size) in [(1, 1), (3, 37), (2, 4096)] {
        let first = rng.values(heads * size, -1.0, 1.0);
        let norms: Vec<f64> = (0..heads)
            .map(|h| {
                first[h * size..][..size]
                    .iter()
                    .map(|&v| f64::from(v).powi(2))
                    .sum::<f64>()
                    .sqrt()
            })
            .collect();
        // Head 0 is above its cap, head 1 below, head 2 far above.
        let cap: Vec<f32> = norms
            .iter()
            .enumerate()
            .map(|(h, n)| (*n * [0.5, 2.0, 1e-3][h]) as f32)
            .collect();
        let want: Vec<f64> = (0..heads * size)
            .map(|i| {
                let h = i / size;
                f64::from(first[i]) * (f64::from(cap[h]) / norms[h]).min(1.0)
            })
            .collect();
        for level in levels() {
            let mut state = first.clone();
            let p = state_norm::StateNorm {
                heads: heads as u32,
                size: size as u32,
            };
            call(&state_norm::KERNEL, level, &p, &[&cap], &mut [&mut state]);
            // A sum of squares of one sign over up to 4,096 terms, a root, a quotient, a product.
            assert_state_close("state_norm", &state, &want, 0.0, 16.0 * ROUNDING);
        }
    }
}
