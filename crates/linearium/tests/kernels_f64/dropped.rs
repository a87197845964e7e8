//! Rows that are taken, dropped, held and summed over gaps.

use linearium::kernels::gap_sum::{self, GapSum};
use linearium::kernels::hold_input::{self, HoldInput};
use linearium::kernels::reorder::{self, CARRIED, CHOICE, FILL, Reorder, STAYS};

use crate::harness::{
    LENGTHS, ROUNDING, Rng, assert_close, assert_state_close, call, levels, output,
};

#[test]
fn reorder_takes_rows_as_they_are() {
    let mut rng = Rng::new(66);
    for t in LENGTHS {
        for has_order in 0..3 {
            let (width, stride, offset) = (5, 5 + rng.below(5), rng.below(4));
            let x = rng.rows(t, width, stride, offset);
            let mut order: Vec<f32> = (0..t).map(|_| rng.below(t) as f32).collect();
            let mut carried = rng.values(width, -1.0, 1.0);
            let others: &[f32] = match has_order {
                0 => &[],
                CHOICE => &[FILL, CARRIED, STAYS],
                _ => &[FILL, STAYS],
            };
            for (n, entry) in order.iter_mut().enumerate() {
                *entry = *others.get(n % 5).unwrap_or(entry);
            }
            if has_order == CHOICE {
                // The last row goes on, or none.
                order.push(t as f32 - 1.0);
            }
            let p = Reorder {
                t: t as u32,
                width: width as u32,
                x_stride: stride as u32,
                x_offset: offset as u32,
                has_order,
                fill: 0.75,
            };
            let row = |row: usize| x[offset + row * stride..][..width].to_vec();
            let before = rng.values(t * width, -1.0, 1.0);
            let mut want = Vec::new();
            for n in 0..t {
                want.extend(match order[n] {
                    _ if has_order == 0 => row(t - 1 - n),
                    FILL => vec![0.75; width],
                    CARRIED => carried.clone(),
                    STAYS => before[n * width..][..width].to_vec(),
                    from => row(from as usize),
                });
            }
            let goes_on = match has_order {
                CHOICE if t > 0 => row(t - 1),
                _ => carried.clone(),
            };
            let f64s = |x: &[f32]| -> Vec<f64> { x.iter().map(|&x| x.into()).collect() };
            let at_first = carried.clone();
            for level in levels() {
                let mut out = output(t * width);
                out[..t * width].copy_from_slice(&before);
                carried.copy_from_slice(&at_first);
                let writes: &mut [&mut [f32]] = &mut [&mut out, &mut carried];
                call(&reorder::KERNEL, level, &p, &[&x, &order], writes);
                let what = format!("reorder {p:?}");
                assert_close(&what, &out, &f64s(&want), 0.0, 0.0);
                assert_state_close(&what, &carried, &f64s(&goes_on), 0.0, 0.0);
            }
        }
    }
}

/// Within a call the sum loses nothing; what is carried on is rounded at every cut, 257 at most.
#[test]
fn gaps_are_summed_across_every_cut() {
    let mut rng = Rng::new(67);
    for t in LENGTHS {
        for every in [1, 2, 9, 1000] {
            let (width, stride, offset) = (5, 5 + rng.below(5), rng.below(4));
            let x = rng.rows(t, width, stride, offset);
            let kept: Vec<usize> = (0..t).filter(|_| rng.below(every) == 0).collect();
            let mut want = Vec::new();
            let mut sums = vec![0.0; width];
            for row in 0..t {
                if kept.contains(&row) {
                    want.append(&mut sums);
                    sums = vec![0.0; width];
                    continue;
                }
                let x = &x[offset + row * stride..][..width];
                sums.iter_mut()
                    .zip(x)
                    .for_each(|(s, x)| *s += f64::from(*x));
            }
            for cut in rng.cuts(t) {
                let mut carried = vec![0.0; width];
                let (mut got, mut done) = (Vec::new(), 0);
                for rows in cut {
                    let here = kept.iter().filter(|k| (done..done + rows).contains(k));
                    let mut bounds: Vec<f32> = here.map(|k| (k - done) as f32).collect();
                    let p = GapSum {
                        t: bounds.len() as u32,
                        width: width as u32,
                        x_stride: stride as u32,
                        x_offset: offset as u32,
                    };
                    bounds.push(rows as f32);
                    let mut out = vec![f32::NAN; bounds.len() * width - width];
                    let reads: &[&[f32]] = &[&x[done * stride..], &bounds];
                    let writes: &mut [&mut [f32]] = &mut [&mut out, &mut carried];
                    call(&gap_sum::KERNEL, levels()[0], &p, reads, writes);
                    got.extend(out);
                    done += rows;
                }
                let what = format!("gap_sum T={t}");
                assert_state_close(&what, &got, &want, 0.1, 16.0 * ROUNDING);
                if t > 0 {
                    assert_state_close(&what, &carried, &sums, 0.1, 16.0 * ROUNDING);
                }
            }
        }
    }
}

/// The sum is of 12 doublings at most, each a few roundings.
#[test]
fn a_held_input_is_its_token_repeated() {
    let mut rng = Rng::new(68);
    let (width, stride, offset) = (7, 11, 2);
    let n: Vec<f32> = [1, 2, 3, 4, 5, 8, 31, 64, 100, 4095]
        .map(|n| n as f32)
        .to_vec();
    for low in [-1e-6, -1e-2, -1.0, -50.0, 0.0] {
        let g = rng.values(n.len() * width, low, 0.0);
        let x = rng.rows(n.len(), width, stride, offset);
        let p = HoldInput {
            t: n.len() as u32,
            width: width as u32,
            x_stride: stride as u32,
            x_offset: offset as u32,
        };
        let (mut decays, mut written) = (Vec::new(), Vec::new());
        for (t, n) in n.iter().enumerate() {
            for c in 0..width {
                let g = f64::from(g[t * width + c]);
                // Token by token, as it is meant.
                let (mut log_decay, mut weight) = (0.0, 0.0);
                for _ in 0..*n as usize {
                    log_decay += g;
                    weight = weight * g.exp() + 1.0;
                }
                decays.push(log_decay);
                written.push(f64::from(x[offset + t * stride + c]) * weight);
            }
        }
        for level in levels() {
            let [mut log_decay, mut out] = [output(decays.len()), output(decays.len())];
            let reads: &[&[f32]] = &[&g, &n, &x];
            let writes: &mut [&mut [f32]] = &mut [&mut log_decay, &mut out];
            call(&hold_input::KERNEL, level, &p, reads, writes);
            let what = format!("hold_input, g from {low}");
            assert_close(&what, &log_decay, &decays, 0.0, 2.0 * ROUNDING);
            assert_close(&what, &out, &written, 0.0, 12.0 * ROUNDING);
        }
    }
}
