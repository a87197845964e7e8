//! One head with drawn inputs, in f64: what each mitigation makes of its state, and how many random
//! keys it holds.

use crate::exhibit::axis;
use crate::exhibit::declared::curve;
use crate::random::Random;
use crate::views::{Lines, Scale};

/// Tokens between two applications of the cap, as in the released code.
const EVERY: usize = 128;
/// Points of a curve.
const POINTS: usize = 128;
/// Step of the drawn head.
const STEP: f64 = 0.02;

/// A head whose decay is the same at every token.
#[derive(Clone, Copy)]
pub struct Head {
    pub decay: f64,
    pub key: usize,
    pub value: usize,
    pub length: usize,
    /// Tokens after which the norm is taken for the cap.
    pub cap_at: usize,
    pub window: usize,
}

/// Norms over the text.
pub struct Norms {
    pub at: Vec<usize>,
    pub plain: Vec<f64>,
    /// Capped as described: to the norm at `cap_at`.
    pub described: Vec<f64>,
    /// As released: the state is multiplied by norm over cap instead of cap over norm.
    pub released: Vec<f64>,
    /// The state of the last `window` tokens, as a difference of two states.
    pub window: Vec<f64>,
    /// Relative difference of that and the state of these tokens alone, in f32, at the end.
    pub window_error: f64,
}

fn norm(s: &[f64]) -> f64 {
    s.iter().map(|x| x * x).sum::<f64>().sqrt()
}

impl Head {
    /// Inputs `[T, N]` and `[T, P]` that are 1 on average, so that the state grows where nothing is
    /// forgotten.
    fn inputs(&self) -> Vec<(Vec<f64>, Vec<f64>)> {
        let mut random = Random::new(5);
        let mut of = |n: usize, deviation: f64| -> Vec<f64> {
            (0..n).map(|_| 0.3 + deviation * random.normal()).collect()
        };
        (0..self.length)
            .map(|_| (of(self.key, 1.0), of(self.value, 1.0)))
            .collect()
    }

    fn write(&self, s: &mut [f64], (b, x): &(Vec<f64>, Vec<f64>)) {
        for (b, row) in b.iter().zip(s.chunks_exact_mut(self.value)) {
            for (s, x) in row.iter_mut().zip(x) {
                *s = self.decay * *s + STEP * b * x;
            }
        }
    }

    /// Runs all four.
    pub fn run(&self) -> Norms {
        let inputs = self.inputs();
        let empty = vec![0.0; self.key * self.value];
        let mut states = [empty.clone(), empty.clone(), empty.clone()];
        let mut caps = [0.0; 2];
        let every = self.length.div_ceil(POINTS);
        let mut out = Norms {
            at: Vec::new(),
            plain: Vec::new(),
            described: Vec::new(),
            released: Vec::new(),
            window: Vec::new(),
            window_error: 0.0,
        };
        let mut past: Vec<Vec<f32>> = Vec::new();
        for (t, input) in inputs.iter().enumerate() {
            states.iter_mut().for_each(|s| self.write(s, input));
            let read = t + 1;
            for (i, cap) in caps.iter_mut().enumerate() {
                let n = norm(&states[i + 1]);
                if read == self.cap_at {
                    *cap = n;
                } else if read > self.cap_at && read.is_multiple_of(EVERY) && n > *cap {
                    let factor = if i == 0 { *cap / n } else { n / *cap };
                    states[i + 1]
                        .iter_mut()
                        .for_each(|s| *s = (*s * factor).clamp(-1e30, 1e30));
                }
            }
            past.push(states[0].iter().map(|&s| s as f32).collect());
            if read % every == 0 || read == self.length {
                out.at.push(read);
                out.plain.push(norm(&states[0]));
                out.described.push(norm(&states[1]));
                out.released.push(norm(&states[2]));
                out.window.push(norm(&self.difference(&past, t)));
            }
            if past.len() > self.window + 1 {
                let old = past.len() - self.window - 2;
                past[old] = Vec::new();
            }
        }
        let mut alone = empty;
        let first = self.length.saturating_sub(self.window);
        inputs[first..]
            .iter()
            .for_each(|input| self.write(&mut alone, input));
        let got = self.difference(&past, self.length - 1);
        let off: Vec<f64> = got.iter().zip(&alone).map(|(a, b)| a - b).collect();
        out.window_error = norm(&off) / norm(&alone);
        out
    }

    /// `S_t - decay^r S_(t-r)` of states in f32.
    fn difference(&self, past: &[Vec<f32>], t: usize) -> Vec<f64> {
        let now = past[t].iter().map(|&s| f64::from(s));
        if t < self.window {
            return now.collect();
        }
        let left = self.decay.powi(self.window as i32);
        let old = past[t - self.window].iter();
        now.zip(old)
            .map(|(s, &o)| s - left * f64::from(o))
            .collect()
    }
}

impl Norms {
    /// The four curves.
    pub fn lines(&self) -> Lines {
        let of = |name: &str, values: &[f64], strong| {
            let points = self.at.iter().zip(values);
            curve(name, points.map(|(&t, &v)| (t as f64, v)), strong)
        };
        Lines {
            x: axis("position", "tokens", Scale::Linear),
            y: axis("Frobenius norm", "", Scale::Log),
            series: vec![
                of("unchanged", &self.plain, true),
                of("capped as described", &self.described, false),
                of("as released", &self.released, false),
                of("window", &self.window, false),
            ],
            ..Lines::default()
        }
    }
}

/// Codewords of the values.
const WORDS: usize = 10;
/// Widths of key whose capacity is measured.
const KEYS: [usize; 4] = [16, 32, 64, 128];
const VALUE: usize = 32;
const TRIALS: usize = 24;
const COUNTS: [usize; 10] = [2, 4, 8, 12, 16, 24, 32, 48, 64, 96];

/// The largest number of random keys of which 95 % are recalled without forgetting, for each width.
pub fn capacities() -> Vec<(f64, f64)> {
    let mut random = Random::new(7);
    let capacity = |key: usize, random: &mut Random| {
        let mut right = [0usize; COUNTS.len()];
        for _ in 0..TRIALS {
            let words = random.normals(WORDS * VALUE, 1.0);
            let mut state = vec![0f32; key * VALUE];
            let mut stored: Vec<(Vec<f32>, usize)> = Vec::new();
            for (i, &count) in COUNTS.iter().enumerate() {
                while stored.len() < count {
                    let k = random.normals(key, (key as f64).sqrt().recip());
                    let word = random.below(WORDS);
                    for (k, row) in k.iter().zip(state.chunks_exact_mut(VALUE)) {
                        let v = &words[word * VALUE..][..VALUE];
                        row.iter_mut().zip(v).for_each(|(s, v)| *s += k * v);
                    }
                    stored.push((k, word));
                }
                for (k, word) in &stored {
                    let mut read = [0f32; VALUE];
                    for (k, row) in k.iter().zip(state.chunks_exact(VALUE)) {
                        read.iter_mut().zip(row).for_each(|(r, s)| *r += k * s);
                    }
                    let score = |w: usize| -> f32 {
                        let v = &words[w * VALUE..][..VALUE];
                        let off = read.iter().zip(v).map(|(r, v)| (r - v) * (r - v));
                        off.sum()
                    };
                    let best = (0..WORDS).fold(0, |b, w| if score(w) < score(b) { w } else { b });
                    right[i] += usize::from(best == *word);
                }
            }
        }
        let shares = right
            .iter()
            .zip(COUNTS)
            .map(|(&r, n)| r as f64 / (n * TRIALS) as f64);
        super::laws::crossing(&COUNTS, &shares.collect::<Vec<_>>(), 0.95).unwrap_or(1.0)
    };
    KEYS.iter()
        .map(|&key| (key as f64, capacity(key, &mut random)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: Head = Head {
        decay: 0.999,
        key: 16,
        value: 8,
        length: 2048,
        cap_at: 256,
        window: 128,
    };

    #[test]
    fn caps_and_windows_do_what_they_say() {
        let n = HEAD.run();
        let cap = n.described[n.at.iter().position(|&t| t == 256).unwrap()];
        // It may grow between two applications, by what 128 tokens write.
        assert!(n.described.iter().all(|&d| d < 2.0 * cap), "{cap}");
        assert!(*n.plain.last().unwrap() > 2.0 * cap);
        assert!(n.released.last().unwrap() > n.plain.last().unwrap());
        assert!(n.window_error < 1e-4, "{}", n.window_error);
        // A window longer than the text is the state itself.
        let long = Head {
            window: 5000,
            ..HEAD
        }
        .run();
        assert!((long.window.last().unwrap() / long.plain.last().unwrap() - 1.0).abs() < 1e-6);
    }

    /// A head that forgets saturates, one that does not grows with the text.
    #[test]
    fn the_norm_grows_where_nothing_is_forgotten() {
        let at = |decay, t| {
            let n = Head {
                decay,
                length: 4096,
                ..HEAD
            }
            .run();
            n.plain[n.at.iter().position(|&x| x >= t).unwrap()]
        };
        assert!(at(0.99, 4096) < 2.0 * at(0.99, 512));
        assert!(at(0.99999, 4096) > 5.0 * at(0.99999, 512));
    }

    #[test]
    fn random_keys_fit_in_proportion_to_their_width() {
        let c = capacities();
        assert!(c.windows(2).all(|w| w[1].1 > w[0].1), "{c:?}");
        let times = c[3].1 / c[0].1;
        assert!((3.0..20.0).contains(&times), "{c:?}");
    }
}
