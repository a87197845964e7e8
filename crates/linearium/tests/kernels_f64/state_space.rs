//! Kernels of state-space models and gated networks: spike, scan_wkv, scan_complex.

use linearium::kernels::scan_complex::{self, CHUNK, FIELDS, ScanComplex};
use linearium::kernels::scan_wkv::{self, ScanWkv};
use linearium::kernels::spike;

use crate::harness::{
    LENGTHS, ROUNDING, Rng, assert_close, assert_state_close, call, levels, output,
};

/// Currents in multiples of 1/16 and a first membrane of 0: no rounding until a membrane has gone
/// twenty tokens without a spike, and then far below the distance to the threshold, so that f32 must
/// give every spike of f64.
#[test]
fn spikes_equal_f64_across_every_cut() {
    let mut rng = Rng::new(82);
    for t in LENGTHS {
        for width in [1, 7, 16, 33] {
            let x: Vec<f32> = (0..t * width)
                .map(|_| (rng.value(-1.0, 3.0) * 16.0).round() / 16.0)
                .collect();
            let (mut v, mut want) = (vec![0.0f64; width], Vec::new());
            for (i, &x) in x.iter().enumerate() {
                let v = &mut v[i % width];
                *v += (f64::from(x) - *v) * 0.5;
                want.push(f64::from(u8::from(*v >= 1.0)));
                *v = if *v >= 1.0 { 0.0 } else { *v };
            }
            let rate = want.iter().sum::<f64>() / (t * width).max(1) as f64;
            assert!(t * width < 60 || (0.1..0.9).contains(&rate), "{rate}");
            for level in levels() {
                for cut in rng.cuts(t) {
                    let (mut out, mut state, mut start) = (output(t * width), vec![0.0; width], 0);
                    for n in cut {
                        let p = spike::Spike {
                            t: n as u32,
                            width: width as u32,
                            rate: 0.5,
                            threshold: 1.0,
                        };
                        let out = &mut out[start * width..];
                        call(
                            &spike::KERNEL,
                            level,
                            &p,
                            &[&x[start * width..]],
                            &mut [out, &mut state],
                        );
                        start += n;
                    }
                    let what = format!("{level:?} {t} {width}");
                    assert_close(&what, &out, &want, 0.3, 0.0);
                    assert_state_close(&what, &state, &v, 0.3, ROUNDING);
                }
            }
        }
    }
}

/// The sums as they stand in the formula, each divided by the largest term of its own token.
fn wkv_f64(t: usize, d: usize, k: &[f32], v: &[f32], w: &[f32], u: &[f32]) -> [Vec<f64>; 2] {
    let (mut out, mut logs) = (Vec::new(), Vec::new());
    for at in 0..t {
        for c in 0..d {
            let terms: Vec<(f64, f64)> = (0..=at)
                .map(|i| {
                    let (k, v) = (f64::from(k[i * d + c]), f64::from(v[i * d + c]));
                    let ago = at as f64 - 1.0 - i as f64;
                    let bonus = f64::from(u[c]);
                    let log = k + if i == at {
                        bonus
                    } else {
                        ago * f64::from(w[c])
                    };
                    (log, v)
                })
                .collect();
            let most = terms.iter().fold(f64::NEG_INFINITY, |m, t| m.max(t.0));
            let sum: f64 = terms.iter().map(|t| (t.0 - most).exp()).sum();
            let weighted: f64 = terms.iter().map(|t| (t.0 - most).exp() * t.1).sum();
            out.push(weighted / sum);
            logs.push(most + sum.ln());
        }
    }
    [out, logs]
}

/// Keys of a few units, of a few hundred (without the maximum they overflow), and all far below 0
/// (without it their sum vanishes). A difference of exponents is rounded where it is large, and then
/// the term does not count for much.
#[test]
fn wkv_equals_f64_across_every_cut() {
    let mut rng = Rng::new(83);
    for (low, high, tolerance) in [
        (-3.0, 3.0, 2e-6),
        (-300.0, 300.0, 2e-6),
        (-300.0, -200.0, 2e-6),
    ] {
        for t in LENGTHS {
            for d in [1, 7, 16, 33] {
                let k = rng.values(t * d, low, high);
                let v = rng.values(t * d, -1.0, 1.0);
                let w: Vec<f32> = (0..d).map(|c| [-0.001, -0.3, -5.0][c % 3]).collect();
                let u = rng.values(d, -2.0, 2.0);
                let [want, logs] = wkv_f64(t, d, &k, &v, &w, &u);
                for level in levels() {
                    for cut in rng.cuts(t) {
                        let mut out = output(t * d);
                        let mut got_logs = output(t * d);
                        let (mut state, mut start) = (vec![0.0; 4 * d], 0);
                        for n in cut {
                            let p = ScanWkv {
                                t: n as u32,
                                channels: d as u32,
                                k_stride: d as u32,
                                k_offset: (start * d) as u32,
                                v_stride: d as u32,
                                v_offset: (start * d) as u32,
                                has_log_sum: 1,
                            };
                            call(
                                &scan_wkv::KERNEL,
                                level,
                                &p,
                                &[&k, &v, &w, &u],
                                &mut [
                                    &mut out[start * d..],
                                    &mut got_logs[start * d..],
                                    &mut state,
                                    &mut [],
                                ],
                            );
                            start += n;
                        }
                        let what = format!("{level:?} {t} {d} keys {low} to {high}");
                        assert_close(&what, &out, &want, 0.3, tolerance);
                        assert_close(&what, &got_logs, &logs, 1.0, 2e-6);
                    }
                }
            }
        }
    }
}

/// A system in f64 and its coefficients as the kernel reads them.
struct System {
    channels: usize,
    states: usize,
    pairs: bool,
    /// a, b, c for each channel and state.
    modes: Vec<[[f64; 2]; 3]>,
    /// l and m of each term, for each channel and state.
    couplings: Vec<Vec<[[f64; 2]; 2]>>,
}

fn times(a: [f64; 2], b: [f64; 2]) -> [f64; 2] {
    [a[0] * b[0] - a[1] * b[1], a[0] * b[1] + a[1] * b[0]]
}

impl System {
    /// Decay rates and angles a token up to these.
    fn random(
        rng: &mut Rng,
        (channels, states, rank): (usize, usize, usize),
        decay: f32,
        angle: f32,
    ) -> System {
        let size = channels * states;
        let exact = |x: f32| f64::from(x);
        let modes = (0..size)
            .map(|_| {
                let size = exact(rng.value(-decay, 0.0)).exp();
                let angle = exact(rng.value(-angle, angle));
                let mut pair = || [exact(rng.value(-1.0, 1.0)), exact(rng.value(-1.0, 1.0))];
                [[size * angle.cos(), size * angle.sin()], pair(), pair()]
            })
            .collect();
        let couplings = (0..rank)
            .map(|_| {
                let mut pair = || [exact(rng.value(-0.1, 0.1)), exact(rng.value(-0.1, 0.1))];
                (0..size).map(|_| [pair(), pair()]).collect()
            })
            .collect();
        System {
            channels,
            states,
            pairs: false,
            modes,
            couplings,
        }
    }

    fn coefficients(&self) -> Vec<f32> {
        let size = self.channels * self.states;
        let mut out = vec![0.0; ScanComplex::fields(self.couplings.len()) * size];
        for d in 0..self.channels {
            for n in 0..self.states {
                let mut put = |field: usize, x: [f64; 2]| {
                    for part in 0..2 {
                        out[((field + part) * self.states + n) * self.channels + d] =
                            x[part] as f32;
                    }
                };
                let [a, b, c] = self.modes[d * self.states + n];
                put(0, a);
                put(2, a.map(|x| x - f64::from(x as f32)));
                put(4, (0..CHUNK).fold([1.0, 0.0], |p, _| times(p, a)));
                put(6, b);
                put(8, c);
                for (r, terms) in self.couplings.iter().enumerate() {
                    let [l, m] = terms[d * self.states + n];
                    put(FIELDS + 4 * r, l);
                    put(FIELDS + 4 * r + 2, m);
                }
            }
        }
        out
    }

    /// Outputs and last state.
    fn run(&self, u: &[f32], t: usize, first: &[f32]) -> (Vec<f64>, Vec<f64>) {
        let (d, n) = (self.channels, self.states);
        let width = d * (1 + usize::from(self.pairs));
        let mut h: Vec<[f64; 2]> = first
            .chunks_exact(2)
            .map(|h| [h[0].into(), h[1].into()])
            .collect();
        let mut y = vec![0.0; t * width];
        for at in 0..t {
            for d in 0..d {
                let here = d * n..(d + 1) * n;
                let u: Vec<f64> = u[at * width..].iter().map(|&u| u.into()).collect();
                let u = [
                    u[d],
                    if self.pairs {
                        u[self.channels + d]
                    } else {
                        0.0
                    },
                ];
                let mut new: Vec<[f64; 2]> = here
                    .clone()
                    .map(|i| {
                        let [a, b, _] = self.modes[i];
                        let (old, write) = (times(a, h[i]), times(b, u));
                        [old[0] + write[0], old[1] + write[1]]
                    })
                    .collect();
                for terms in &self.couplings {
                    let sum: f64 = here.clone().map(|i| times(terms[i][1], h[i])[0]).sum();
                    for (new, term) in new.iter_mut().zip(&terms[here.clone()]) {
                        new[0] += term[0][0] * sum;
                        new[1] += term[0][1] * sum;
                    }
                }
                h[here.clone()].copy_from_slice(&new);
                for i in here {
                    let read = times(self.modes[i][2], h[i]);
                    y[at * width + d] += read[0];
                    if self.pairs {
                        y[at * width + self.channels + d] += read[1];
                    }
                }
            }
        }
        (y, h.concat())
    }

    /// Holds the kernel against it for every cut; the same bits wherever the input is cut.
    fn check(&self, rng: &mut Rng, t: usize, tolerance: f64) {
        let width = self.channels * (1 + usize::from(self.pairs));
        let u = rng.values(t * width, -1.0, 1.0);
        let first = rng.values(2 * self.channels * self.states, -1.0, 1.0);
        let (want, want_state) = self.run(&u, t, &first);
        let coefficients = self.coefficients();
        for level in levels() {
            let mut whole: Option<Vec<f32>> = None;
            for cut in rng.cuts(t) {
                let (mut out, mut state, mut start) = (output(t * width), first.clone(), 0);
                for n in cut {
                    let p = ScanComplex {
                        t: n as u32,
                        channels: self.channels as u32,
                        states: self.states as u32,
                        rank: self.couplings.len() as u32,
                        pairs: self.pairs.into(),
                        u_stride: width as u32,
                        u_offset: (start * width) as u32,
                    };
                    call(
                        &scan_complex::KERNEL,
                        level,
                        &p,
                        &[&u, &coefficients],
                        &mut [&mut out[start * width..], &mut state, &mut []],
                    );
                    start += n;
                }
                let what = format!(
                    "{level:?} T {t} D {} N {} R {} pairs {}",
                    self.channels,
                    self.states,
                    self.couplings.len(),
                    self.pairs
                );
                assert_close(&what, &out, &want, 0.3, tolerance);
                assert_state_close(&what, &state, &want_state, 0.3, tolerance);
                assert_eq!(*whole.get_or_insert_with(|| out.clone()), out, "{what}");
            }
        }
    }
}

#[test]
fn complex_scan_equals_f64_across_every_cut() {
    let mut rng = Rng::new(84);
    for t in LENGTHS {
        for (shape, pairs) in [
            ((1, 1, 0), false),
            ((7, 3, 0), false),
            ((17, 16, 0), false),
            ((33, 1, 0), true),
            ((5, 4, 0), true),
            ((9, 4, 1), false),
            ((8, 5, 3), false),
        ] {
            let mut system = System::random(&mut rng, shape, 0.5, 3.0);
            system.pairs = pairs;
            system.check(&mut rng, t, 2e-6);
        }
    }
}

/// States that forget over thousands of tokens while they turn by up to a radian a token. With `a`
/// rounded to f32 and nothing beside it the outputs were off by 3e-5.
#[test]
fn phases_stay_right_over_thousands_of_tokens() {
    let mut rng = Rng::new(85);
    let system = System::random(&mut rng, (8, 4, 0), 2e-3, 1.0);
    system.check(&mut rng, 8000, 5e-6);
}

#[test]
fn complex_scan_forgets_all_with_a_of_zero() {
    let mut rng = Rng::new(86);
    let mut system = System::random(&mut rng, (5, 3, 0), 0.5, 3.0);
    system.modes.iter_mut().for_each(|mode| mode[0] = [0.0; 2]);
    system.check(&mut rng, 70, 1e-6);
}
