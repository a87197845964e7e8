//! Attention over a choice of tokens, softmax over time, routers and what they lead to.

use linearium::kernels::mix::{self, Mix};
use linearium::kernels::route::{self, Route};
use linearium::kernels::routed_conv::{self, RoutedConv};
use linearium::kernels::running_softmax::{self, RunningSoftmax};
use linearium::kernels::score_attention::{self, ScoreAttention};

use crate::harness::{
    LENGTHS, ROUNDING, Rng, assert_close, assert_state_close, call, levels, output,
};

/// Every token against every token, as the formula says. `active` for all tokens from the first.
fn attention_f64(
    p: &ScoreAttention,
    [q, k, v, bias, active]: [&[f32]; 5],
    t: usize,
) -> (Vec<f64>, Vec<usize>) {
    let (heads, groups) = (p.heads as usize, p.kv_heads as usize);
    let (key, value) = (p.key as usize, p.value as usize);
    let has = |flag| p.flags & flag != 0;
    let awake = |t: usize| !has(ScoreAttention::ROUTED) || active[t] != 0.0;
    // Active tokens before each.
    let mut ranks = vec![0];
    for t in 0..t {
        ranks.push(ranks[t] + usize::from(awake(t)));
    }
    let mut out = Vec::new();
    for i in 0..t {
        for h in 0..heads {
            let group = h / (heads / groups);
            let mut weights = Vec::new();
            for j in (0..=i).filter(|&j| awake(i) && awake(j)) {
                let rank = ranks[i] - ranks[j];
                let window = (p.window * p.dilation) as usize;
                if rank % p.dilation as usize != 0
                    || (window > 0 && rank >= window)
                    || (p.reach > 0 && i - j >= p.reach as usize)
                {
                    continue;
                }
                let dot: f64 = (0..key)
                    .map(|c| {
                        let q = f64::from(q[(i * heads + h) * key + c]);
                        q * f64::from(k[(j * groups + group) * key + c])
                    })
                    .sum();
                let by = if has(ScoreAttention::BIAS_BY_RANK) {
                    rank
                } else {
                    i - j
                };
                let bias = match p.bias_len as usize {
                    0 => 0.0,
                    n => f64::from(bias[by.min(n - 1)]),
                };
                weights.push((j, f64::from(p.scale) * dot + bias));
            }
            let largest = weights
                .iter()
                .map(|w| w.1)
                .fold(f64::NEG_INFINITY, f64::max);
            let sum: f64 = weights.iter().map(|w| (w.1 - largest).exp()).sum();
            for c in 0..value {
                let term = |&(j, score): &(usize, f64)| {
                    let weight = if has(ScoreAttention::SQUARED_RELU) {
                        score.max(0.0).powi(2)
                    } else {
                        (score - largest).exp() / sum
                    };
                    let v = v[(j * groups + group) * value + c] * p.write_factor;
                    weight * f64::from(v)
                };
                out.push(weights.iter().map(term).sum());
            }
        }
    }
    (out, ranks)
}

#[test]
fn score_attention_equals_f64_across_every_cut() {
    let mut rng = Rng::new(61);
    for t in LENGTHS {
        for (index, (heads, groups, key, value)) in
            [(1, 1, 2, 3), (4, 2, 16, 20), (3, 1, 9, 5), (2, 2, 7, 33)]
                .into_iter()
                .enumerate()
        {
            for flags in 0..8 {
                let n = index + flags + t;
                let (window, dilation) = [(0, 1), (1, 1), (9, 3), (40, 2)][n % 4];
                let p = ScoreAttention {
                    t: 0,
                    heads: heads as u32,
                    kv_heads: groups as u32,
                    key: key as u32,
                    value: value as u32,
                    position: 0,
                    // As few as will do: what is seen before a piece, and the longest piece.
                    rows: match window {
                        0 => t.max(1) as u32,
                        _ => (window - 1) * dilation + t.max(1) as u32,
                    },
                    window,
                    dilation,
                    reach: [0, 7][n / 2 % 2],
                    flags: flags as u32,
                    bias_len: [0, 5][n / 3 % 2],
                    scale: 0.4,
                    write_factor: 0.5,
                };
                let q = rng.values(t * heads * key, -1.0, 1.0);
                let k = rng.values(t * groups * key, -1.0, 1.0);
                let v = rng.values(t * groups * value, -1.0, 1.0);
                let bias = rng.values(5, -1.0, 1.0);
                let active: Vec<f32> = (0..t).map(|_| rng.below(3).min(1) as f32).collect();
                let (want, ranks) = attention_f64(&p, [&q, &k, &v, &bias, &active], t);
                for level in levels() {
                    for cut in rng.cuts(t) {
                        let mut out = output(t * heads * value);
                        let mut ring = vec![f32::NAN; p.ring_len()];
                        let mut rank = vec![f32::NAN; t + 1];
                        rank[0] = 0.0;
                        let mut start = 0;
                        for n in cut {
                            let piece = ScoreAttention {
                                t: n as u32,
                                position: start as u32,
                                ..p
                            };
                            let reads: [&[f32]; 5] = [
                                &q[start * heads * key..],
                                &k[start * groups * key..],
                                &v[start * groups * value..],
                                &bias,
                                &active[start..],
                            ];
                            let o = &mut out[start * heads * value..];
                            let writes: &mut [&mut [f32]] = &mut [o, &mut ring, &mut rank];
                            call(&score_attention::KERNEL, level, &piece, &reads, writes);
                            start += n;
                        }
                        let what = format!("score_attention {level:?} T={t} {p:?}");
                        if p.flags & ScoreAttention::ROUTED != 0 {
                            assert_eq!(rank[0] as usize, ranks[t], "{what}");
                        }
                        // Scores below 10 with K products each; their error is that of the weight.
                        assert_close(&what, &out, &want, 0.1, ROUNDING * 60.0);
                    }
                }
            }
        }
    }
}

#[test]
fn running_softmax_equals_f64_across_every_cut() {
    let mut rng = Rng::new(62);
    for t in LENGTHS {
        // The last in jumps that leave nothing of what was before, and back.
        for (width, size) in [(1, 1.0), (7, 5.0), (19, 100.0)] {
            let (stride, offset) = (width + rng.below(5), rng.below(4));
            let mut x = rng.rows(t, width, stride, offset);
            x.iter_mut().for_each(|x| *x *= size);
            let p = RunningSoftmax {
                t: 0,
                width: width as u32,
                x_stride: stride as u32,
                x_offset: offset as u32,
                shift: -0.25,
            };
            let (mut want_weight, mut want_decay) = (vec![0.0; t * width], vec![0.0; t * width]);
            for c in 0..width {
                let mut z = f64::NEG_INFINITY;
                for row in 0..t {
                    let x = f64::from(x[offset + row * stride + c]);
                    let largest = f64::max(z, x);
                    let new = largest + ((z - largest).exp() + (x - largest).exp()).ln();
                    want_weight[row * width + c] = (x - new).exp();
                    want_decay[row * width + c] = if row == 0 { 0.0 } else { z - new } - 0.25;
                    z = new;
                }
            }
            for level in levels() {
                for cut in rng.cuts(t) {
                    let (mut weight, mut decay) = (output(t * width), output(t * width));
                    let mut state = vec![0.0; 2 * width];
                    let mut start = 0;
                    for n in cut {
                        let piece = RunningSoftmax { t: n as u32, ..p };
                        let (w, g) = (&mut weight[start * width..], &mut decay[start * width..]);
                        let writes: &mut [&mut [f32]] = &mut [w, g, &mut state];
                        call(
                            &running_softmax::KERNEL,
                            level,
                            &piece,
                            &[&x[start * stride..]],
                            writes,
                        );
                        start += n;
                    }
                    let what = format!("running_softmax {level:?} T={t} {width} x {size}");
                    // A logit of size 100 has an error of 4e-6, which is one of the weight; the sum
                    // gathers one rounding a token.
                    let tolerance = ROUNDING * (4.0 + f64::from(size) + t as f64);
                    assert_close(&what, &weight, &want_weight, 0.1, tolerance);
                    assert_close(&what, &decay, &want_decay, 0.1, tolerance);
                }
            }
        }
    }
}

#[test]
fn a_small_share_has_an_exact_small_decay() {
    // After 2^20 equal tokens the next has a share of 2^-20 and leaves 1 - 2^-20.
    let p = RunningSoftmax {
        t: 1,
        width: 1,
        x_stride: 1,
        x_offset: 0,
        shift: 0.0,
    };
    for level in levels() {
        let (mut weight, mut decay) = ([f32::NAN], [f32::NAN]);
        let mut state = [0.5, 1_048_576.0 - 1.0];
        let writes: &mut [&mut [f32]] = &mut [&mut weight, &mut decay, &mut state];
        call(&running_softmax::KERNEL, level, &p, &[&[0.5]], writes);
        let share = 1.0 / 1_048_576.0f64;
        assert!(
            (f64::from(weight[0]) / share - 1.0).abs() < 1e-7,
            "{weight:?}"
        );
        assert!(
            (f64::from(decay[0]) / (-share).ln_1p() - 1.0).abs() < 2e-7,
            "{decay:?}"
        );
    }
}

#[test]
fn route_equals_f64() {
    let mut rng = Rng::new(63);
    for t in LENGTHS {
        for (width, top) in [(1, 1), (2, 1), (5, 2), (8, 8)] {
            for renormalise in 0..2 {
                let (stride, offset) = (width + rng.below(5), rng.below(4));
                let mut x = rng.rows(t, width, stride, offset);
                // Rows with equal values: of two the first counts as the larger.
                for row in (0..t).step_by(3) {
                    let first = offset + row * stride;
                    x[first + width - 1] = x[first];
                }
                let p = Route {
                    t: t as u32,
                    width: width as u32,
                    x_stride: stride as u32,
                    x_offset: offset as u32,
                    top: top as u32,
                    renormalise,
                    multiplier: 3.0,
                };
                let (mut want, mut want_chosen) = (Vec::new(), Vec::new());
                for row in 0..t {
                    let x: Vec<f64> = x[offset + row * stride..][..width]
                        .iter()
                        .map(|&x| x.into())
                        .collect();
                    let mut order: Vec<usize> = (0..width).collect();
                    order.sort_by(|&a, &b| x[b].total_cmp(&x[a]));
                    let kept = &order[..top];
                    let sum: f64 = (0..width)
                        .filter(|c| renormalise == 0 || kept.contains(c))
                        .map(|c| (3.0 * x[c]).exp())
                        .sum();
                    for c in 0..width {
                        let kept = f64::from(u8::from(kept.contains(&c)));
                        want.push(kept * (3.0 * x[c]).exp() / sum);
                        want_chosen.push(kept);
                    }
                }
                for level in levels() {
                    let (mut weight, mut chosen) = (output(t * width), output(t * width));
                    let writes: &mut [&mut [f32]] = &mut [&mut weight, &mut chosen];
                    call(&route::KERNEL, level, &p, &[&x], writes);
                    let what = format!("route {level:?} T={t} {p:?}");
                    assert_close(&what, &weight, &want, 0.0, 10.0 * ROUNDING);
                    assert_close(&what, &chosen, &want_chosen, 0.0, 0.0);
                }
            }
        }
    }
}

#[test]
fn routed_conv_equals_f64_across_every_cut() {
    let mut rng = Rng::new(64);
    for t in LENGTHS {
        for (memories, routed, channels, width) in
            [(1, 0, 3, 4), (4, 3, 5, 4), (3, 3, 2, 1), (2, 1, 7, 16)]
        {
            for shared in 0..2 {
                let columns = if shared == 1 {
                    channels
                } else {
                    memories * channels
                };
                let (stride, offset) = (columns + rng.below(5), rng.below(4));
                let x = rng.rows(t, columns, stride, offset);
                let weight = rng.values(channels * width, -1.0, 1.0);
                let chosen: Vec<f32> = (0..t * routed).map(|_| rng.below(2) as f32).collect();
                let all = memories * channels;
                let mut want = vec![0.0; t * all];
                let mut want_tail = vec![0.0; (width - 1) * all];
                for m in 0..memories {
                    let mine = |t: usize| m >= routed || chosen[t * routed + m] != 0.0;
                    let rows: Vec<usize> = (0..t).filter(|&t| mine(t)).collect();
                    for c in 0..channels {
                        let column = if shared == 1 { c } else { m * channels + c };
                        let input = |n: usize| f64::from(x[offset + rows[n] * stride + column]);
                        for n in 0..rows.len() {
                            let taps = (0..width.min(n + 1)).map(|back| {
                                f64::from(weight[c * width + width - 1 - back]) * input(n - back)
                            });
                            let sum: f64 = taps.sum();
                            want[rows[n] * all + m * channels + c] = sum / (1.0 + (-sum).exp());
                        }
                        for back in 0..(width - 1).min(rows.len()) {
                            want_tail[(width - 2 - back) * all + m * channels + c] =
                                input(rows.len() - 1 - back);
                        }
                    }
                }
                for level in levels() {
                    for cut in rng.cuts(t) {
                        let mut y = output(t * all);
                        let mut tail = vec![0.0; (width - 1) * all];
                        let mut start = 0;
                        for n in cut {
                            let p = RoutedConv {
                                t: n as u32,
                                memories: memories as u32,
                                channels: channels as u32,
                                width: width as u32,
                                x_stride: stride as u32,
                                x_offset: offset as u32,
                                shared,
                                routed: routed as u32,
                            };
                            let reads: [&[f32]; 3] =
                                [&x[start * stride..], &weight, &chosen[start * routed..]];
                            let writes: &mut [&mut [f32]] = &mut [&mut y[start * all..], &mut tail];
                            call(&routed_conv::KERNEL, level, &p, &reads, writes);
                            start += n;
                        }
                        let what = format!(
                            "routed_conv {level:?} T={t} {memories} {channels} {width} {shared}"
                        );
                        assert_close(&what, &y, &want, 0.1, ROUNDING * (4.0 + width as f64));
                        assert_state_close(&what, &tail, &want_tail, 0.0, 0.0);
                    }
                }
            }
        }
    }
}

#[test]
fn mix_equals_f64() {
    let mut rng = Rng::new(65);
    for t in LENGTHS {
        for (memories, weighted, width) in [(1, 0, 3), (1, 1, 5), (5, 4, 17), (3, 3, 8)] {
            let x = rng.values(t * memories * width, -1.0, 1.0);
            let w = rng.values(t * weighted, -1.0, 1.0);
            let p = Mix {
                t: t as u32,
                width: width as u32,
                memories: memories as u32,
                weighted: weighted as u32,
            };
            let mut want = vec![0.0; t * width];
            for row in 0..t {
                for m in 0..memories {
                    let weight = if m < weighted {
                        w[row * weighted + m]
                    } else {
                        1.0
                    };
                    for c in 0..width {
                        let x = x[(row * memories + m) * width + c];
                        want[row * width + c] += f64::from(weight) * f64::from(x);
                    }
                }
            }
            for level in levels() {
                let mut out = output(t * width);
                call(&mix::KERNEL, level, &p, &[&x, &w], &mut [&mut out]);
                let what = format!("mix {level:?} T={t} {p:?}");
                assert_close(&what, &out, &want, 0.1, ROUNDING * (2.0 + memories as f64));
            }
        }
    }
}
