//! Linear systems with complex states and constant coefficients, with or without a sliding window
//! (see `outer_scan.rs`): S4D, S5 and S4 after their discretisation. Since every token decays alike,
//! gaps of dropped tokens are walked over as tokens that write nothing, or a copy.

use rustfft::num_complex::Complex64;

use super::pruned::ConstantGap;
use super::{Columns, Planner};
use crate::kernels::scan_complex::{self, CHUNK, FIELDS, ScanComplex};
use crate::mixers::{Change, Decay, Taps, Weights};
use crate::recording::BufferId;
use crate::step::StepState;

/// One complex state of a channel: `h_t = a h_{t-1} + b u_t`, of which `Re(c h_t)` is read.
#[derive(Clone, Copy, Debug)]
pub struct Mode {
    /// How it decays and turns with every token.
    pub a: Complex64,
    /// How it is written.
    pub b: Complex64,
    /// How it is read.
    pub c: Complex64,
}

/// One term that couples the states of a channel: `h_t` gets `l Re(sum m h_{t-1})`.
#[derive(Clone, Copy, Debug)]
pub struct Coupling {
    /// Where the term is written.
    pub l: Complex64,
    /// Where it is read.
    pub m: Complex64,
}

/// A discrete system of D channels with N complex states each.
#[derive(Clone, Debug)]
pub struct StateSpace {
    /// D.
    pub channels: usize,
    /// N.
    pub states: usize,
    /// `[D, N]`.
    pub modes: Vec<Mode>,
    /// `[R, D, N]`, R at most [`scan_complex::MAX_RANK`].
    pub couplings: Vec<Vec<Coupling>>,
    /// True if inputs and outputs are complex: D real parts, then D imaginary parts.
    pub pairs: bool,
}

/// `(e^z - 1) / z`.
fn mean_of_exp(z: Complex64) -> Complex64 {
    if z.norm() < 1e-2 {
        // The next term is below 1e-17.
        return 1.0
            + z / 2.0
                * (1.0
                    + z / 3.0
                        * (1.0 + z / 4.0 * (1.0 + z / 5.0 * (1.0 + z / 6.0 * (1.0 + z / 7.0)))));
    }
    (z.exp() - 1.0) / z
}

/// What a state with rate `lambda` is multiplied with in a step of length dt, and its input with, if
/// the input is held for the step (zero-order hold).
pub fn hold(lambda: Complex64, dt: f64) -> (Complex64, Complex64) {
    let z = lambda * dt;
    (z.exp(), mean_of_exp(z) * dt)
}

/// The same by the bilinear rule.
pub fn bilinear(lambda: Complex64, dt: f64) -> (Complex64, Complex64) {
    let half = lambda * (dt / 2.0);
    ((1.0 + half) / (1.0 - half), dt / (1.0 - half))
}

fn real_product(a: impl Iterator<Item = Complex64>, b: &[Complex64]) -> f64 {
    a.zip(b).map(|(a, b)| (a * b).re).sum()
}

impl StateSpace {
    /// One token from `h [D, N]`, in place.
    fn advance(&self, h: &mut [Complex64], u: &[f64]) {
        let n = self.states;
        for d in 0..self.channels {
            let imaginary = if self.pairs {
                u[self.channels + d]
            } else {
                0.0
            };
            let u = Complex64::new(u[d], imaginary);
            let here = d * n..(d + 1) * n;
            let sums: Vec<f64> = self
                .couplings
                .iter()
                .map(|c| real_product(c[here.clone()].iter().map(|c| c.m), &h[here.clone()]))
                .collect();
            for i in here {
                h[i] = self.modes[i].a * h[i] + self.modes[i].b * u;
                for (coupling, sum) in self.couplings.iter().zip(&sums) {
                    h[i] += coupling[i].l * sum;
                }
            }
        }
    }

    /// The system with a change: each factor of a state times the decay factor, each write times the
    /// write factor.
    fn changed(&self, change: &Change) -> StateSpace {
        let mut out = self.clone();
        let factor = f64::from(change.log_decay_shift).exp();
        for mode in &mut out.modes {
            mode.a *= factor;
            mode.b *= f64::from(change.write_factor);
        }
        for coupling in out.couplings.iter_mut().flatten() {
            coupling.l *= factor;
        }
        out
    }

    /// One token in f64; gives what is read.
    pub fn step(&self, state: &mut StepState, u: &[f64], change: &Change) -> Vec<f64> {
        let system = self.changed(change);
        let size = self.channels * self.states;
        let mut h = vec![Complex64::default(); size];
        if change.window == 0 {
            for (h, s) in h.iter_mut().zip(state.state.chunks_exact(2)) {
                *h = Complex64::new(s[0], s[1]);
            }
            system.advance(&mut h, u);
        } else {
            let inputs = state.carried("inputs in the window", 0);
            inputs.extend(u);
            let excess = (inputs.len() / u.len()).saturating_sub(change.window);
            inputs.drain(..excess * u.len());
            for u in inputs.chunks_exact(u.len()) {
                system.advance(&mut h, u);
            }
        }
        state.state = h.iter().flat_map(|h| [h.re, h.im]).collect();
        let mut y = vec![0.0; u.len()];
        for (i, (h, mode)) in h.iter().zip(&self.modes).enumerate() {
            let (d, read) = (i / self.states, mode.c * h);
            y[d] += read.re;
            if self.pairs {
                y[self.channels + d] += read.im;
            }
        }
        y
    }

    /// The first `len` values that a channel reads after a single input of 1: by the recurrence.
    pub fn impulse_response(&self, channel: usize, len: usize) -> Vec<f64> {
        let mut h = vec![Complex64::default(); self.channels * self.states];
        let here = channel * self.states..(channel + 1) * self.states;
        let mut u = vec![0.0; self.channels * (1 + usize::from(self.pairs))];
        (0..len)
            .map(|t| {
                u[channel] = f64::from(u8::from(t == 0));
                self.advance(&mut h, &u);
                real_product(
                    self.modes[here.clone()].iter().map(|m| m.c),
                    &h[here.clone()],
                )
            })
            .collect()
    }

    /// The row `c F^len` of each channel, where F takes a state to the next one.
    pub fn read_later(&self, len: usize) -> Vec<Complex64> {
        let n = self.states;
        let mut rows: Vec<Complex64> = self.modes.iter().map(|m| m.c).collect();
        for _ in 0..len {
            for d in 0..self.channels {
                let here = d * n..(d + 1) * n;
                let sums: Vec<f64> = self
                    .couplings
                    .iter()
                    .map(|c| real_product(c[here.clone()].iter().map(|c| c.l), &rows[here.clone()]))
                    .collect();
                for i in here {
                    rows[i] *= self.modes[i].a;
                    for (coupling, sum) in self.couplings.iter().zip(&sums) {
                        rows[i] += coupling[i].m * sum;
                    }
                }
            }
        }
        rows
    }

    /// The system whose writes are those of `tokens` tokens ago.
    fn late(&self, tokens: usize) -> StateSpace {
        let mut out = self.clone();
        if self.couplings.is_empty() {
            for mode in &mut out.modes {
                mode.b *= mode.a.powu(tokens as u32);
            }
            return out;
        }
        let mut h: Vec<Complex64> = self.modes.iter().map(|m| m.b).collect();
        let silence = vec![0.0; self.channels * (1 + usize::from(self.pairs))];
        for _ in 0..tokens {
            self.advance(&mut h, &silence);
        }
        out.modes.iter_mut().zip(h).for_each(|(m, b)| m.b = b);
        out
    }

    /// The coefficients as the kernel reads them.
    fn coefficients(&self) -> Weights {
        let (d, n) = (self.channels, self.states);
        let mut out = vec![0.0; ScanComplex::fields(self.couplings.len()) * n * d];
        for i in 0..d * n {
            let mut put = |field: usize, x: Complex64| {
                for (part, x) in [x.re, x.im].into_iter().enumerate() {
                    out[((field + part) * n + i % n) * d + i / n] = x as f32;
                }
            };
            let Mode { a, b, c } = self.modes[i];
            let rounded = Complex64::new((a.re as f32).into(), (a.im as f32).into());
            put(0, a);
            put(2, a - rounded);
            put(4, a.powu(CHUNK as u32));
            put(6, b);
            put(8, c);
            for (r, coupling) in self.couplings.iter().enumerate() {
                put(FIELDS + 4 * r, coupling[i].l);
                put(FIELDS + 4 * r + 2, coupling[i].m);
            }
        }
        out.into()
    }

    /// Notes the scan of `u [T, D]` (with pairs `[T, 2 D]`); gives what is read, in the same shape,
    /// and where probes find the factors: those of a system without pairs, whose value is u.
    pub fn plan(&self, p: &mut Planner, u: Columns) -> (Columns, Taps) {
        let change = p.change.clone();
        let system = self.changed(&change);
        p.show_value(u);
        let u = match p.enter_constant_scan() {
            ConstantGap::Closed => u,
            ConstantGap::Silent => p.over_all("u of all tokens", u, false, 0.0),
            ConstantGap::Copies => p.over_all("u of all tokens", u, true, 0.0),
        };
        let (mut y, state) = system.push(p, "", u);
        let mut left_window = None;
        if change.window > 0 {
            let late = p.rows("late u", u.width);
            p.delay_into("late u", u, change.window, late);
            let (left, left_state) = system.late(change.window).push(p, "left window ", late);
            y = p.add("windowed", y, left, None, -1.0);
            left_window = Some(left_state);
        }
        p.leave_all_rows();
        let parts = |f: &dyn Fn(&Mode) -> [f64; 2]| -> Weights {
            let values = self.modes.iter().flat_map(f);
            values.map(|x| x as f32).collect()
        };
        let mut same = |name: &str, data: Weights| Columns::same(p.weight(name, &data), data.len());
        // Of a^T h for complex a the real part is read.
        let q = same("q", parts(&|m| [m.c.re, -m.c.im]));
        let k = same("k", parts(&|m| [m.b.re, m.b.im]));
        // No decay is stronger than one that leaves nothing of an f32.
        let shift = f64::from(change.log_decay_shift);
        let log_decay = parts(&|m| [m.a.norm().ln().max(-1e4) + shift; 2]);
        let angles = self.modes.iter().map(|m| m.a.arg() as f32).collect();
        let erase = (!self.couplings.is_empty()).then(|| {
            let terms = |f: &dyn Fn(&Coupling) -> [f64; 2]| -> Weights {
                // [D, R, K]
                let channels = (0..self.channels).flat_map(|d| {
                    let here = d * self.states..(d + 1) * self.states;
                    self.couplings.iter().flat_map(move |c| &c[here.clone()])
                });
                channels.flat_map(f).map(|x| x as f32).collect()
            };
            let factor = shift.exp();
            [
                same("erase b", terms(&|c| [c.l.re * factor, c.l.im * factor])),
                same("erase a", terms(&|c| [c.m.re, -c.m.im])),
            ]
        });
        let taps = Taps {
            erase,
            scale: change.write_factor,
            state: Some(state),
            left_window,
            window: change.window,
            ..Taps::new(q, k, Decay::Turning(log_decay, angles))
        };
        (y, taps)
    }

    fn push(&self, p: &mut Planner, name: &str, u: Columns) -> (Columns, BufferId) {
        let y = p.rows(&format!("{name}scanned"), u.width);
        let state = p.state(&format!("{name}state"), 2 * self.channels * self.states);
        let len = ScanComplex::scratch_len(p.segment, self.channels, self.states);
        let scratch = p.workspace(len);
        let system = p.weight(&format!("{name}system"), &self.coefficients());
        p.push(
            &scan_complex::KERNEL,
            &ScanComplex {
                t: 0,
                channels: self.channels as u32,
                states: self.states as u32,
                rank: self.couplings.len() as u32,
                pairs: self.pairs.into(),
                u_stride: u.stride as u32,
                u_offset: u.offset as u32,
            },
            &[u.buffer, system],
            &[y.buffer, state, scratch],
        );
        (y, state)
    }
}
