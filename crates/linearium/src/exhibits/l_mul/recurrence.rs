//! `h = a h + b x` with L-Mul for the products.

use super::products::Product;
use super::{series, size_axis};
use crate::exhibit::axis;
use crate::random::Random;
use crate::views::{Lines, Scale};

/// Channels with inputs of their own.
const CHANNELS: usize = 64;
/// Points of a curve, at most.
const POINTS: usize = 512;
/// A half-life that is longer is said to be none.
const LONGEST: usize = 100_000;

/// RMS over the channels after every step that is drawn.
pub struct Sizes {
    pub at: Vec<f32>,
    pub exact: Vec<f32>,
    pub approximate: Vec<f32>,
}

/// Runs the recurrence over normal inputs times a normal weight for each channel. The weight and
/// the input are multiplied by L-Mul, and if `decay` is set so are the gain and the state.
pub fn sizes(product: Product, gain: f32, decay: bool, length: usize, seed: u64) -> Sizes {
    let mut random = Random::new(seed ^ 0x5EED);
    let weights = random.normals(CHANNELS, 1.0);
    let (mut exact, mut approximate) = ([0f64; CHANNELS], [0f32; CHANNELS]);
    let every = length.div_ceil(POINTS).max(1);
    let mut out = Sizes {
        at: Vec::new(),
        exact: Vec::new(),
        approximate: Vec::new(),
    };
    for t in 1..=length {
        for c in 0..CHANNELS {
            let x = random.normal() as f32;
            exact[c] = f64::from(gain) * exact[c] + f64::from(weights[c]) * f64::from(x);
            let kept = if decay {
                product.of(gain, approximate[c])
            } else {
                gain * approximate[c]
            };
            let sum = kept + product.of(weights[c], x);
            approximate[c] = sum.clamp(f32::MIN, f32::MAX);
        }
        if t % every == 0 || t == length {
            let rms = |sum: f64| (sum / CHANNELS as f64).sqrt() as f32;
            out.at.push(t as f32);
            out.exact.push(rms(exact.iter().map(|h| h * h).sum()));
            let squares = approximate.iter().map(|&h| f64::from(h) * f64::from(h));
            out.approximate.push(rms(squares.sum()));
        }
    }
    out
}

impl Sizes {
    pub fn lines(&self) -> Lines {
        let curve = |label, values: &[f32], strong| {
            let points = self.at.iter().zip(values);
            series(label, points.map(|(&t, &v)| (t.into(), v.into())), strong)
        };
        Lines {
            x: axis("step", "tokens", Scale::Linear),
            y: size_axis(),
            series: vec![
                curve("exact", &self.exact, false),
                curve("L-Mul", &self.approximate, true),
            ],
            ..Lines::default()
        }
    }
}

/// Steps until a state of 1 is at or below one half; infinite if it does not get there.
pub fn half_life(product: Product, gain: f32) -> f64 {
    let mut h = 1.0;
    for t in 1..=LONGEST {
        let next = product.of(gain, h);
        if next <= 0.5 {
            return t as f64;
        }
        // It stands still or grows, for good: the same product follows.
        if next >= h {
            break;
        }
        h = next;
    }
    f64::INFINITY
}
