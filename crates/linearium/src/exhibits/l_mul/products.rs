//! Products of random numbers, and attention made of them.

use super::series;
use crate::exhibit::{Bench, axis};
use crate::formats::fp8::Fp8;
use crate::formats::l_mul::{Variant, multiply, offset_word};
use crate::formats::{Reduce, bf16, keep_mantissa};
use crate::kernels::matmul_l_mul::{self, MatmulLMul};
use crate::mixers::{Change, Columns, Planner};
use crate::random::Random;
use crate::views::{Lines, Scale};

/// A multiplication.
#[derive(Clone, Copy)]
pub struct Product {
    pub bits: u32,
    pub reduce: Reduce,
    pub variant: Variant,
    pub offset: bool,
}

impl Product {
    /// The usual one: truncated factors, one adder.
    pub fn adder(bits: u32) -> Product {
        Product {
            bits,
            reduce: Reduce::Truncate,
            variant: Variant::Adder,
            offset: true,
        }
    }

    pub fn offset_word(self) -> u32 {
        if self.offset {
            offset_word(self.bits)
        } else {
            0
        }
    }

    pub fn reduced(self, x: f32) -> f32 {
        keep_mantissa(x, self.bits, self.reduce)
    }

    pub fn of(self, x: f32, y: f32) -> f32 {
        multiply(
            self.reduced(x),
            self.reduced(y),
            self.offset_word(),
            self.variant,
        )
    }
}

/// Pairs of normal numbers.
pub struct Pairs(Vec<[f32; 2]>);

impl Pairs {
    pub fn new(count: usize, seed: u64) -> Pairs {
        let mut random = Random::new(seed);
        let mut next = || random.normal() as f32;
        Pairs((0..count).map(|_| [next(), next()]).collect())
    }

    /// RMS of what is wrong over RMS of what is right: the exact product of the whole numbers.
    pub fn error(&self, product: impl Fn(f32, f32) -> f32) -> f64 {
        let (mut wrong, mut right) = (0.0, 0.0);
        for &[x, y] in &self.0 {
            let exact = f64::from(x) * f64::from(y);
            wrong += (f64::from(product(x, y)) - exact).powi(2);
            right += exact * exact;
        }
        (wrong / right).sqrt()
    }

    /// The same with factors rounded to fp8, multiplied exactly.
    pub fn fp8(&self, format: Fp8) -> f64 {
        self.error(|x, y| format.round(x) * format.round(y))
    }

    /// RMS of the difference of equation and adder over RMS of the exact products.
    pub fn difference(&self, product: Product) -> f64 {
        let (mut apart, mut right) = (0.0, 0.0);
        for &[x, y] in &self.0 {
            let [a, b] = [Variant::Formula, Variant::Adder]
                .map(|variant| f64::from(Product { variant, ..product }.of(x, y)));
            apart += (a - b).powi(2);
            right += (f64::from(x) * f64::from(y)).powi(2);
        }
        (apart / right).sqrt()
    }
}

/// Tokens and width of the head.
const TOKENS: usize = 128;
const KEY: usize = 64;

/// Attention with several multiplications.
pub struct Attention {
    pub names: Vec<String>,
    /// Relative RMS errors of logits and output; the chosen multiplication first.
    pub errors: Vec<[f64; 2]>,
    /// Weights of the last token.
    pub weights: Lines,
}

/// How a dot product is made.
enum Dot {
    /// By the kernel, on the bench.
    LMul(Product),
    /// Exactly, of factors that were rounded before.
    Rounded(fn(f32) -> f32),
}

/// Causal softmax attention of random q, k and v, as its logits and its output.
async fn attend(
    bench: &Bench<'_>,
    [q, k, v]: [&[f32]; 3],
    dot: &Dot,
) -> Result<[Vec<f64>; 3], String> {
    let logits = matrix(bench, dot, q, k, KEY).await?;
    let scale = (KEY as f64).sqrt().recip();
    let mut weights = vec![0.0; TOKENS * TOKENS];
    for t in 0..TOKENS {
        let row = &logits[t * TOKENS..][..=t];
        let largest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let exps: Vec<f64> = row.iter().map(|l| ((l - largest) * scale).exp()).collect();
        let sum: f64 = exps.iter().sum();
        for (w, e) in weights[t * TOKENS..].iter_mut().zip(exps) {
            *w = e / sum;
        }
    }
    let narrow: Vec<f32> = weights.iter().map(|&w| w as f32).collect();
    let columns: Vec<f32> = (0..KEY * TOKENS)
        .map(|i| v[i % TOKENS * KEY + i / TOKENS])
        .collect();
    let out = matrix(bench, dot, &narrow, &columns, TOKENS).await?;
    Ok([logits, weights, out])
}

/// `x w^T` for rows of length k.
async fn matrix(
    bench: &Bench<'_>,
    dot: &Dot,
    x: &[f32],
    w: &[f32],
    k: usize,
) -> Result<Vec<f64>, String> {
    match dot {
        Dot::LMul(product) => l_mul_matrix(bench, *product, x, w, k).await,
        Dot::Rounded(round) => {
            let [x, w]: [Vec<f64>; 2] =
                [x, w].map(|m| m.iter().map(|&v| round(v).into()).collect());
            let rows = x.chunks_exact(k);
            Ok(rows
                .flat_map(|x| {
                    let sum = move |w: &[f64]| x.iter().zip(w).map(|(a, b)| a * b).sum();
                    w.chunks_exact(k).map(sum)
                })
                .collect())
        }
    }
}

/// The same by the kernel.
pub async fn l_mul_matrix(
    bench: &Bench<'_>,
    product: Product,
    x: &[f32],
    w: &[f32],
    k: usize,
) -> Result<Vec<f64>, String> {
    let (t, n) = (x.len() / k, w.len() / k);
    let reduced = |m: &[f32]| -> Vec<f32> { m.iter().map(|&v| product.reduced(v)).collect() };
    let mut p = Planner::new(t, t, Change::default(), None);
    let input = Columns::all(p.layout.input("x", t * k), k);
    let matrix = p.weight("w", &reduced(w).into());
    let out = p.rows("out", n);
    p.push(
        &matmul_l_mul::KERNEL,
        &MatmulLMul {
            t: 0,
            n: n as u32,
            k: k as u32,
            x_stride: k as u32,
            x_offset: 0,
            w_stride: 0,
            offset: product.offset_word(),
            formula: (product.variant == Variant::Formula).into(),
        },
        &[input.buffer, matrix],
        &[out.buffer],
    );
    let read = bench.play(&p, t, &[(input, &reduced(x))], &[out]).await?;
    Ok(read[0].iter().map(|&v| v.into()).collect())
}

fn relative(got: &[f64], want: &[f64]) -> f64 {
    let squares = |x: &mut dyn Iterator<Item = f64>| x.map(|v| v * v).sum::<f64>();
    let wrong = squares(&mut got.iter().zip(want).map(|(g, w)| g - w));
    (wrong / squares(&mut want.iter().copied())).sqrt()
}

/// Attention with this multiplication, beside others.
pub async fn attention(
    bench: &Bench<'_>,
    product: Product,
    seed: u64,
) -> Result<Attention, String> {
    let mut random = Random::new(seed ^ 0xA77E);
    let [q, k, v] = [(); 3].map(|()| random.normals(TOKENS * KEY, 1.0));
    let inputs = [&q[..], &k[..], &v[..]];
    let exact = attend(bench, inputs, &Dot::Rounded(|x| x)).await?;
    let others: [(&str, Dot); 5] = [
        ("L-Mul, 3 bits", Dot::LMul(Product::adder(3))),
        ("L-Mul, 4 bits", Dot::LMul(Product::adder(4))),
        ("fp8 e4m3", Dot::Rounded(|x| Fp8::E4M3.round(x))),
        ("fp8 e5m2", Dot::Rounded(|x| Fp8::E5M2.round(x))),
        ("bf16", Dot::Rounded(bf16::round)),
    ];
    let mut names = vec!["L-Mul as set".to_owned()];
    let chosen = attend(bench, inputs, &Dot::LMul(product)).await?;
    let error = |got: &[Vec<f64>; 3]| [relative(&got[0], &exact[0]), relative(&got[2], &exact[2])];
    let mut errors = vec![error(&chosen)];
    let mut last = vec![
        last_weights("exact", &exact, false),
        last_weights("L-Mul as set", &chosen, true),
    ];
    for (name, dot) in others {
        let got = attend(bench, inputs, &dot).await?;
        names.push(name.to_owned());
        errors.push(error(&got));
        if name == "fp8 e5m2" {
            last.push(last_weights(name, &got, false));
        }
    }
    Ok(Attention {
        names,
        errors,
        weights: Lines {
            x: axis("token", "", Scale::Linear),
            y: axis("attention weight", "", Scale::Linear),
            series: last,
            ..Lines::default()
        },
    })
}

fn last_weights(name: &str, got: &[Vec<f64>; 3], strong: bool) -> crate::views::Series {
    let last = &got[1][(TOKENS - 1) * TOKENS..];
    let points = last.iter().enumerate().map(|(t, &w)| (t as f64, w));
    series(name, points, strong)
}
