//! Layers with random factors of every kind, and their hidden attention by products of dense
//! matrices in f64: what the scores are tested against.

use super::{LogDecay, Seen};
use crate::random::Random;

pub struct Example {
    pub name: &'static str,
    pub tokens: usize,
    heads: usize,
    key: usize,
    value: usize,
    groups: usize,
    arrays: Vec<(&'static str, Vec<f32>)>,
    softmax: bool,
    in_logs: bool,
    window: usize,
    scale: f32,
}

const WIDTH: usize = 5;

impl Example {
    fn new(name: &'static str, tokens: usize, [heads, key, value, groups]: [usize; 4]) -> Example {
        let mut random = Random::new(tokens as u64 + name.len() as u64);
        let mut part = |name, len| (name, random.normals(len, 1.0));
        let arrays = vec![
            part("stream", tokens * WIDTH),
            part("u", tokens * WIDTH),
            part("out", tokens * WIDTH),
            part("y", tokens * 2 * WIDTH),
            part("q", tokens * groups * key),
            part("k", tokens * groups * key),
            part("v", tokens * heads * value),
            part("draft", tokens),
            part("router", 2 * tokens),
        ];
        Example {
            name,
            tokens,
            heads,
            key,
            value,
            groups,
            arrays,
            softmax: false,
            in_logs: false,
            window: 0,
            scale: 1.0,
        }
    }

    /// Adds an array of values between two ends.
    fn with(mut self, name: &'static str, len: usize, ends: [f64; 2]) -> Example {
        let mut random = Random::new(len as u64 + name.len() as u64);
        let values = (0..len).map(|_| (ends[0] + (ends[1] - ends[0]) * random.uniform()) as f32);
        self.arrays.push((name, values.collect()));
        self
    }

    /// S6: channels that share key and query.
    pub fn shared_keys(t: usize) -> Example {
        Example::new("shared keys", t, [3, 4, 1, 1])
            .with("steps", t * 3, [0.01, 1.0])
            .with("rates", 12, [-0.5, -0.02])
    }

    /// GLA.
    pub fn per_key(t: usize) -> Example {
        Example::new("per key", t, [2, 4, 3, 2]).with("per key", t * 8, [-0.5, 0.0])
    }

    /// Mamba-2.
    fn per_head(t: usize) -> Example {
        Example::new("per head", t, [4, 2, 3, 2])
            .with("per head", t * 4, [-0.5, 0.0])
            .with("write", t * 4, [0.1, 2.0])
    }

    /// A gated delta rule.
    fn delta(t: usize) -> Example {
        Example::new("delta", t, [2, 3, 2, 2])
            .with("per head", t * 2, [-0.2, 0.0])
            .with("b", t * 6, [-0.6, 0.6])
            .with("a", t * 6, [-0.6, 0.6])
    }

    /// S4D.
    pub fn turning(t: usize) -> Example {
        Example::new("turning", t, [2, 4, 1, 1])
            .with("constant", 8, [-0.3, -0.01])
            .with("turn", 4, [0.1, 2.0])
    }

    /// RWKV-6.
    fn bonus(t: usize) -> Example {
        Example::new("bonus", t, [2, 3, 3, 2])
            .with("per key", t * 6, [-0.8, -0.1])
            .with("bonus", 6, [-1.0, 1.0])
    }

    /// RWKV-4: write scales and normalisers whose exponentials leave every range.
    fn logs(t: usize) -> Example {
        let mut example = Example::new("logs", t, [2, 1, 1, 2])
            .with("constant", 2, [-0.8, -0.1])
            .with("bonus", 2, [0.5, 2.0])
            .with("write", t * 2, [897.0, 903.0])
            .with("normaliser", t * 2, [900.0, 905.0]);
        example.in_logs = true;
        example
    }

    /// Linear attention, in a window.
    fn normalised(t: usize) -> Example {
        let mut example =
            Example::new("normalised", t, [2, 3, 2, 2]).with("normaliser", t * 2, [1.0, 3.0]);
        example.window = 7;
        example.scale = 0.5;
        example
    }

    pub fn attention(t: usize) -> Example {
        let mut example = Example::new("attention", t, [4, 3, 2, 2]);
        example.softmax = true;
        example.scale = 0.7;
        example
    }

    /// One of each kind.
    pub fn all(t: usize) -> Vec<Example> {
        vec![
            Example::shared_keys(t),
            Example::per_key(t),
            Example::per_head(t),
            Example::delta(t),
            Example::turning(t),
            Example::bonus(t),
            Example::logs(t),
            Example::normalised(t),
            Example::attention(t),
        ]
    }

    fn array(&self, name: &str) -> Option<&[f32]> {
        let found = self.arrays.iter().find(|a| a.0 == name);
        found.map(|a| &a.1[..])
    }

    /// Changes an array.
    pub fn array_mut(&mut self, name: &str) -> Option<&mut Vec<f32>> {
        let found = self.arrays.iter_mut().find(|a| a.0 == name);
        found.map(|a| &mut a.1)
    }

    /// Other values for the last tokens.
    pub fn change_last(&mut self, count: usize) {
        for (name, array) in &mut self.arrays {
            if ["rates", "constant", "turn", "bonus"].contains(name) {
                continue;
            }
            let len = array.len();
            let row = len / self.tokens;
            array[len - count * row..]
                .iter_mut()
                .for_each(|x| *x *= 0.5);
        }
    }

    pub fn seen(&self) -> Seen<'_> {
        let array = |name| self.array(name).unwrap_or(&[]);
        let log_decay = match (self.array("per head"), self.array("per key")) {
            (Some(g), _) => LogDecay::PerHead(g),
            (_, Some(g)) => LogDecay::PerKey(g),
            _ => match (self.array("rates"), self.array("constant")) {
                (Some(rates), _) => LogDecay::Rates {
                    steps: array("steps"),
                    rates,
                    shift: -0.01,
                },
                (_, Some(g)) => LogDecay::Constant(g),
                _ => LogDecay::None,
            },
        };
        Seen {
            tokens: self.tokens,
            keep: self.tokens / 2,
            width: WIDTH,
            heads: self.heads,
            key: self.key,
            value: self.value,
            stream: array("stream"),
            u: array("u"),
            q: array("q"),
            k: array("k"),
            v: array("v"),
            log_decay,
            write_scale: self.array("write").or(self.array("steps")),
            steps: self.array("steps"),
            scale: self.scale,
            softmax: self.softmax,
            erases: self.array("a").is_some(),
            read_before: self.array("bonus").is_some(),
            window: self.window,
            erase: self.array("b").zip(self.array("a")).map(|(b, a)| [b, a]),
            bonus: self.array("bonus"),
            normaliser: self.array("normaliser"),
            in_logs: self.in_logs,
            turn: self.array("turn"),
            weighing: None,
            router: self.array("router"),
            draft: self.array("draft"),
            readout: None,
            lookahead: 2,
            y: self.array("y"),
            out: array("out"),
            seed: 5,
        }
    }

    /// M of a head, `[T, T]`, by products of dense factors.
    pub fn matrix(&self, head: usize) -> Vec<Vec<f64>> {
        let (t, key) = (self.tokens, self.key);
        let group = head * self.groups / self.heads;
        let row = |name: &str, i: usize| -> Vec<f64> {
            let row = &self.array(name).unwrap()[(i * self.groups + group) * key..][..key];
            row.iter().map(|&x| x.into()).collect()
        };
        let of_head = |name: &str, i: usize| -> Option<f64> {
            self.array(name)
                .map(|a| f64::from(a[i * self.heads + head]))
        };
        let mut m = vec![vec![0.0; t]; t];
        for i in 0..t {
            let q = row("q", i);
            let dot = |k: &[f64]| -> f64 { q.iter().zip(k).map(|(q, k)| q * k).sum() };
            let first = match self.window {
                0 => 0,
                window => (i + 1).saturating_sub(window),
            };
            for j in first..=i {
                let mut k = row("k", j);
                if self.softmax {
                    m[i][j] = (f64::from(self.scale) * dot(&k)).exp();
                    continue;
                }
                let write = of_head("write", j).or(of_head("steps", j));
                let z = of_head("normaliser", i);
                let factor = if self.in_logs {
                    (write.unwrap() - z.unwrap()).exp()
                } else {
                    write.unwrap_or(1.0) / z.unwrap_or(1.0)
                };
                let bonus = self.array("bonus");
                if let (Some(bonus), true) = (bonus, i == j) {
                    for (k, &u) in k.iter_mut().zip(&bonus[head * key..]) {
                        *k *= f64::from(u);
                    }
                } else {
                    let last = if bonus.is_some() { i } else { i + 1 };
                    for l in j + 1..last {
                        k = multiply(&self.factor(head, l), &k);
                    }
                }
                m[i][j] = f64::from(self.scale) * factor * dot(&k);
            }
            if self.softmax {
                let sum: f64 = m[i].iter().sum();
                m[i].iter_mut().for_each(|p| *p /= sum);
            }
        }
        m
    }

    /// F of token l, `[K, K]`.
    fn factor(&self, head: usize, l: usize) -> Vec<Vec<f64>> {
        let key = self.key;
        let mut f = vec![vec![0.0; key]; key];
        let at = l * self.heads + head;
        for n in 0..key {
            let g = match (self.array("per head"), self.array("per key")) {
                (Some(g), _) => g[at].into(),
                (_, Some(g)) => g[at * key + n].into(),
                _ => match (self.array("rates"), self.array("constant")) {
                    (Some(rates), _) => {
                        let step = f64::from(self.array("steps").unwrap()[at]);
                        step * f64::from(rates[head * key + n]) + f64::from(-0.01f32)
                    }
                    (_, Some(g)) => g[head * key + n].into(),
                    _ => 0.0,
                },
            };
            let decay = f64::exp(g);
            f[n][n] = decay;
            if let Some(turn) = self.array("turn") {
                let angle = f64::from(turn[(head * key + n) / 2]);
                f[n][n] = decay * angle.cos();
                f[n][n ^ 1] = if n % 2 == 0 { -decay } else { decay } * angle.sin();
            }
        }
        if let Some((b, a)) = self.array("b").zip(self.array("a")) {
            for (row, &b) in f.iter_mut().zip(&b[at * key..]) {
                for (f, &a) in row.iter_mut().zip(&a[at * key..]) {
                    *f += f64::from(b) * f64::from(a);
                }
            }
        }
        f
    }
}

fn multiply(f: &[Vec<f64>], k: &[f64]) -> Vec<f64> {
    let dot = |row: &Vec<f64>| row.iter().zip(k).map(|(f, k)| f * k).sum();
    f.iter().map(dot).collect()
}
