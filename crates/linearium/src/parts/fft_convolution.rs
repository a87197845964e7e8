//! Long convolutions by the fast Fourier transform: the other form of a time-invariant state-space
//! model, whose outputs are its inputs convolved with its kernel (S4, arXiv 2111.00396, section 3).

use std::sync::Arc;

use rustfft::num_complex::Complex64;
use rustfft::{Fft, FftPlanner};

/// A sequence of L values whose discrete Fourier transform is `at(z)` at each of the L roots of
/// unity `z = e^(-2 pi i k / L)`; real ones.
pub fn from_generating_function(len: usize, at: impl Fn(Complex64) -> Complex64) -> Vec<f64> {
    let mut values: Vec<Complex64> = (0..len)
        .map(|k| {
            at(Complex64::cis(
                -std::f64::consts::TAU * k as f64 / len as f64,
            ))
        })
        .collect();
    FftPlanner::new().plan_fft_inverse(len).process(&mut values);
    values.iter().map(|v| v.re / len as f64).collect()
}

/// Causal convolution of D channels with a kernel of L taps each, in pieces of any length: what a
/// piece adds to later outputs is kept (overlap-add), so that no cut changes anything.
pub struct FftConvolution {
    kernels: Vec<Vec<f64>>,
    /// What inputs so far add to the next L - 1 outputs, `[D, L - 1]`.
    tails: Vec<Vec<f64>>,
    planner: FftPlanner<f64>,
}

impl FftConvolution {
    /// Kernels `[D, L]` of equal length.
    pub fn new(kernels: Vec<Vec<f64>>) -> FftConvolution {
        let tails = kernels
            .iter()
            .map(|k| vec![0.0; k.len().saturating_sub(1)])
            .collect();
        FftConvolution {
            kernels,
            tails,
            planner: FftPlanner::new(),
        }
    }

    /// Outputs `[T, D]` for the next inputs `[T, D]`.
    pub fn feed(&mut self, u: &[f64]) -> Vec<f64> {
        let channels = self.kernels.len();
        let t = u.len() / channels.max(1);
        let mut out = vec![0.0; u.len()];
        let taps = self.kernels.first().map_or(0, Vec::len);
        if t == 0 || taps == 0 {
            return out;
        }
        let len = (t + taps - 1).next_power_of_two();
        let forward = self.planner.plan_fft_forward(len);
        let inverse = self.planner.plan_fft_inverse(len);
        for d in 0..channels {
            let input = u.iter().skip(d).step_by(channels);
            let mut sums = convolve(&forward, &inverse, input, &self.kernels[d]);
            let tail = &mut self.tails[d];
            sums.iter_mut().zip(tail.iter()).for_each(|(s, t)| *s += t);
            for (at, y) in sums[..t].iter().enumerate() {
                out[at * channels + d] = *y;
            }
            // The old tail may reach behind everything that this piece adds to.
            let kept = tail.len();
            tail.copy_from_slice(&sums[t..t + kept]);
        }
        out
    }
}

/// The whole convolution, by transforms of a length that holds it.
fn convolve<'a>(
    forward: &Arc<dyn Fft<f64>>,
    inverse: &Arc<dyn Fft<f64>>,
    u: impl Iterator<Item = &'a f64>,
    kernel: &[f64],
) -> Vec<f64> {
    let len = forward.len();
    let spectrum = |x: &mut dyn Iterator<Item = f64>| {
        let mut values: Vec<Complex64> = x.map(Complex64::from).collect();
        values.resize(len, Complex64::default());
        forward.process(&mut values);
        values
    };
    let mut product = spectrum(&mut u.copied());
    let taps = spectrum(&mut kernel.iter().copied());
    product.iter_mut().zip(taps).for_each(|(p, k)| *p *= k);
    inverse.process(&mut product);
    product.iter().map(|p| p.re / len as f64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The sum as it is defined, for pieces shorter and longer than the kernel.
    #[test]
    fn pieces_give_the_sum() {
        let value = |i: usize| ((i * 37 + i * i * 11) % 101) as f64 / 50.0 - 1.0;
        let t = 60;
        for taps in [1, 2, 7, 60, 100] {
            let kernels: Vec<Vec<f64>> = (0..3)
                .map(|d| (0..taps).map(|i| value(i + 7 * d)).collect())
                .collect();
            let u: Vec<f64> = (0..t * 3).map(value).collect();
            let want = |at: usize, d: usize| -> f64 {
                let reach = at.min(taps - 1);
                (0..=reach)
                    .map(|l| kernels[d][l] * u[(at - l) * 3 + d])
                    .sum()
            };
            for piece in [1, 3, 59, 60] {
                let mut convolution = FftConvolution::new(kernels.clone());
                let got: Vec<f64> = u
                    .chunks(piece * 3)
                    .flat_map(|u| convolution.feed(u))
                    .collect();
                assert_eq!(got.len(), u.len());
                for at in 0..t {
                    for d in 0..3 {
                        let error = (got[at * 3 + d] - want(at, d)).abs();
                        assert!(error < 1e-12, "{taps} taps, pieces of {piece}: {error:e}");
                    }
                }
            }
        }
        assert!(FftConvolution::new(Vec::new()).feed(&[]).is_empty());
    }
}
