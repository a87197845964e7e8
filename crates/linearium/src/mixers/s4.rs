//! S4 (arXiv 2111.00396): a state-space model whose matrix is diagonal plus a term of low rank, so
//! that it can be HiPPO-LegS, which remembers its input as a polynomial.
//!
//! `x'(t) = (diag(Lambda) - P P^*) x(t) + B u(t)`, `y = 2 Re(C x) + D u`, discretised by the bilinear
//! rule with a step dt of the channel's own; `out = GLU(W gelu(y) + bias)`. The discrete matrix is
//! again diagonal plus low rank, with which a token costs O(N); its eigenvectors are of no use, since
//! those of HiPPO-LegS are as good as parallel. The same layer as one long convolution is
//! [`S4::convolution`]. Official code: state-spaces/s4, `models/s4/s4.py` (SSMKernelDPLR).

use rustfft::num_complex::Complex64;

use super::s4d::{S4d, clipped, complex, each_channel};
use super::{Context, Definition, Mixer, NO_STEPS, Planner, Shape, Size, StepState, Taps, Weights};
use crate::kernels::scan_complex::MAX_RANK;
use crate::model::tensors::Tensors;
use crate::parts::fft_convolution::{FftConvolution, from_generating_function};
use crate::parts::hippo::legs;
use crate::plan::complex_scan::{Coupling, Mode, StateSpace};
use crate::random::Random;

/// The registry's entry.
pub static DEFINITION: Definition = Definition {
    id: "s4",
    name: "S4",
    glossary: &[
        ("u", "[T, D] normalised input of the layer"),
        ("dt", "[D] step size of each channel"),
        ("Lambda", "[D, N] complex rates, real part below 0"),
        ("P", "[R, D, N] what couples the states"),
        ("B", "[D, N] where to write"),
        ("C", "[D, N] where to read"),
        ("x", "[D, N] complex state"),
        ("D", "[D] skip"),
    ],
    ignores: &[NO_STEPS],
    size: |width| Size {
        width,
        heads: width,
        key: 64,
        value: 1,
    },
    random,
};

/// Weights of one layer.
#[derive(Clone)]
pub struct S4 {
    /// Everything that S4D has too; its rates are Lambda.
    pub diagonal: S4d,
    /// P, `[R, D, N, 2]`.
    pub p: Weights,
}

/// HiPPO-LegS in every channel.
fn random(size: &Size, random: &mut Random) -> Box<dyn Mixer> {
    let legs = legs((size.key / 2).max(1));
    let diagonal = S4d::with_rates(&legs.lambda, &clipped(&legs.b), size.width, random);
    let p: Vec<f32> = legs
        .p
        .iter()
        .flat_map(|p| [p.re as f32, p.im as f32])
        .collect();
    let p = p.repeat(size.width).into();
    Box::new(S4 { diagonal, p })
}

/// Solves `M x = y` in place for a small matrix, with pivots.
fn solve(mut m: Vec<Vec<Complex64>>, mut y: Vec<Complex64>) -> Vec<Complex64> {
    let n = y.len();
    for i in 0..n {
        let pivot = (i..n).max_by(|&a, &b| m[a][i].norm().total_cmp(&m[b][i].norm()));
        let pivot = pivot.unwrap_or(i);
        m.swap(i, pivot);
        y.swap(i, pivot);
        for row in i + 1..n {
            let factor = m[row][i] / m[i][i];
            for column in i..n {
                let above = m[i][column];
                m[row][column] -= factor * above;
            }
            let above = y[i];
            y[row] -= factor * above;
        }
    }
    for i in (0..n).rev() {
        let known: Complex64 = (i + 1..n).map(|j| m[i][j] * y[j]).sum();
        y[i] = (y[i] - known) / m[i][i];
    }
    y
}

impl S4 {
    /// The layer from the official tensors of `S4Block` as they are before its first call (after it,
    /// the place of C holds `C (I - A^L)`).
    ///
    /// # Errors
    /// A sentence if a tensor is missing, has another shape, or the rank is more than the kernel
    /// takes.
    pub fn load(
        t: &mut Tensors<'_>,
        channels: usize,
        states: usize,
        n_ssm: usize,
        rank: usize,
    ) -> Result<S4, String> {
        if rank > MAX_RANK {
            return Err(format!(
                "S4 with a term of rank {rank} is not supported: {MAX_RANK} at most"
            ));
        }
        let p = t.take("layer.kernel.P", &[rank, n_ssm, states, 2])?;
        let p = p
            .chunks_exact(n_ssm * states * 2)
            .flat_map(|p| each_channel(p, channels, n_ssm).to_vec())
            .collect();
        Ok(S4 {
            diagonal: S4d::load(t, channels, states, n_ssm, true)?,
            p,
        })
    }

    fn rank(&self) -> usize {
        self.p.len() / self.diagonal.b.len().max(1)
    }

    /// P_r of a channel.
    fn p(&self, r: usize, channel: usize) -> Vec<Complex64> {
        let S4d {
            channels, states, ..
        } = self.diagonal;
        (0..states)
            .map(|n| complex(&self.p, (r * channels + channel) * states + n))
            .collect()
    }

    /// The discrete system, in f64. With `E = I - dt/2 diag(Lambda)` and both of each conjugate pair
    /// in every sum, `(I - dt/2 A)^-1 = E^-1 - dt/2 E^-1 P G^-1 P^* E^-1` with
    /// `G = I + dt/2 P^* E^-1 P` (Woodbury); the discrete matrix is twice that, less the identity.
    pub fn system(&self) -> StateSpace {
        let S4d {
            channels, states, ..
        } = self.diagonal;
        let rank = self.rank();
        let mut modes = Vec::new();
        let mut couplings = vec![Vec::new(); rank];
        for d in 0..channels {
            let half = self.diagonal.dt(d) / 2.0;
            let e: Vec<Complex64> = (0..states)
                .map(|n| 1.0 - self.diagonal.rate(d * states + n) * half)
                .collect();
            let p: Vec<Vec<Complex64>> = (0..rank).map(|r| self.p(r, d)).collect();
            // m_r = 2 conj(P_r) / E reads P_r^* E^-1 x as a real part.
            let m: Vec<Vec<Complex64>> = p
                .iter()
                .map(|p| p.iter().zip(&e).map(|(p, e)| 2.0 * p.conj() / e).collect())
                .collect();
            let read = |m: &[Complex64], x: &[Complex64]| -> Complex64 {
                m.iter().zip(x).map(|(m, x)| (m * x).re).sum::<f64>().into()
            };
            let g: Vec<Vec<Complex64>> = (0..rank)
                .map(|r| {
                    let unit = |q| f64::from(u8::from(r == q));
                    (0..rank)
                        .map(|q| unit(q) + half * read(&m[r], &p[q]))
                        .collect()
                })
                .collect();
            let b: Vec<Complex64> = (0..states)
                .map(|n| complex(&self.diagonal.b, d * states + n))
                .collect();
            let weights = solve(g.clone(), m.iter().map(|m| read(m, &b)).collect());
            for n in 0..states {
                let correction: Complex64 = (0..rank).map(|r| p[r][n] * weights[r]).sum();
                modes.push(Mode {
                    a: 2.0 / e[n] - 1.0,
                    b: 2.0 * half * (b[n] - half * correction) / e[n],
                    c: 2.0 * complex(&self.diagonal.c, d * states + n),
                });
            }
            for (r, coupling) in couplings.iter_mut().enumerate() {
                let unit = (0..rank).map(|q| f64::from(u8::from(q == r)).into());
                let column = solve(g.clone(), unit.collect());
                coupling.extend((0..states).map(|n| {
                    let l: Complex64 = (0..rank).map(|q| p[q][n] * column[q]).sum();
                    Coupling {
                        l: -2.0 * half * l / e[n],
                        m: m[r][n],
                    }
                }));
            }
        }
        StateSpace {
            channels,
            states,
            modes,
            couplings,
            pairs: false,
        }
    }

    /// What each channel gives `0..len` tokens after an input of 1, without the skip: `[D, len]`, by
    /// the generating function at the roots of unity and its Cauchy sums (section 3.2, algorithm 1).
    ///
    /// With `w_n = 2 / (2/dt (1 - z) - Lambda_n (1 + z))`, which has no pole at z = -1, and
    /// `k(a, b) = sum a_n b_n w_n` over both of each conjugate pair, it is
    /// `k(C~, B) - (1 + z) k(C~, P) (2 I + (1 + z) k(P^*, P))^-1 k(P^*, B)` with `C~ = C (I - A^len)`.
    pub fn kernel(&self, len: usize) -> Vec<Vec<f64>> {
        let S4d {
            channels, states, ..
        } = self.diagonal;
        let later = self.system().read_later(len);
        (0..channels)
            .map(|d| {
                let here = d * states..(d + 1) * states;
                let rates: Vec<Complex64> = here.clone().map(|i| self.diagonal.rate(i)).collect();
                let b: Vec<Complex64> =
                    here.clone().map(|i| complex(&self.diagonal.b, i)).collect();
                // What is read later has the factor of 2 for conjugate pairs in it.
                let c: Vec<Complex64> = here
                    .map(|i| complex(&self.diagonal.c, i) - later[i] / 2.0)
                    .collect();
                let p: Vec<Vec<Complex64>> = (0..self.rank()).map(|r| self.p(r, d)).collect();
                let conjugate = |x: &[Complex64]| x.iter().map(Complex64::conj).collect();
                let p_star: Vec<Vec<Complex64>> = p.iter().map(|p| conjugate(p)).collect();
                let dt = self.diagonal.dt(d);
                from_generating_function(len, |z| {
                    let weight =
                        |rate: Complex64| 2.0 / ((1.0 - z) * (2.0 / dt) - rate * (1.0 + z));
                    let sum = |x: &[Complex64], y: &[Complex64]| -> Complex64 {
                        (x.iter().zip(y).zip(&rates))
                            .map(|((x, y), &rate)| {
                                let product = x * y;
                                product * weight(rate) + product.conj() * weight(rate.conj())
                            })
                            .sum()
                    };
                    let inner = p_star
                        .iter()
                        .enumerate()
                        .map(|(r, row)| {
                            let unit = |q| 2.0 * f64::from(u8::from(r == q));
                            let entry = |(q, p): (usize, &Vec<Complex64>)| {
                                unit(q) + (1.0 + z) * sum(row, p)
                            };
                            p.iter().enumerate().map(entry).collect()
                        })
                        .collect();
                    let solved = solve(inner, p_star.iter().map(|p| sum(p, &b)).collect());
                    let coupled: Complex64 =
                        p.iter().zip(solved).map(|(p, x)| sum(&c, p) * x).sum();
                    sum(&c, &b) - (1.0 + z) * coupled
                })
            })
            .collect()
    }

    /// The system as one convolution with a kernel of `len` taps, exact for texts of up to `len`
    /// tokens; longer ones are seen through a window of `len` tokens.
    pub fn convolution(&self, len: usize) -> FftConvolution {
        FftConvolution::new(self.kernel(len))
    }
}

impl Mixer for S4 {
    fn definition(&self) -> &'static Definition {
        &DEFINITION
    }

    fn shape(&self) -> Shape {
        self.diagonal.shape()
    }

    fn weights(&self) -> Vec<&Weights> {
        let mut all = self.diagonal.all_weights();
        all.push(&self.p);
        all
    }

    fn step(&self, state: &mut StepState, u: &[f64], context: &Context<'_>) -> Vec<f64> {
        self.diagonal.step_with(&self.system(), state, u, context)
    }

    fn plan(&self, p: &mut Planner) -> Taps {
        self.diagonal.plan_with(&self.system(), p)
    }
}
