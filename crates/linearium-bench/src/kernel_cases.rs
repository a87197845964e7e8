//! Single kernels at the shape S of the plan: T 1024, 4 heads of 64 x 64 (or 512 channels of 16
//! states), and the widest projection of `mamba2-passkey-t128`.

use bytemuck::Pod;
use fearless_simd::Level;
use linearium::kernels::{matmul, scan_elementwise, scan_outer};
use linearium::random::Random;
use linearium::recording::{Kernel, Params};

use crate::{Case, Input};

/// One kernel call with its buffers.
struct KernelCase {
    kernel: &'static Kernel,
    level: Level,
    params: Params,
    reads: Vec<(&'static str, Vec<f32>)>,
    /// The output first, then states and scratch.
    writes: Vec<Vec<f32>>,
    /// Index of the state in `writes`; zero at the start of a run.
    state: Option<usize>,
    reference: Vec<f32>,
}

impl KernelCase {
    fn boxed<P: Pod>(
        kernel: &'static Kernel,
        level: Level,
        params: &P,
        reads: Vec<(&'static str, Vec<f32>)>,
        writes: Vec<usize>,
        state: Option<usize>,
        reference: Vec<f64>,
    ) -> Box<dyn Case> {
        Box::new(KernelCase {
            kernel,
            level,
            params: Params::pack(params),
            reads,
            writes: writes.into_iter().map(|len| vec![f32::NAN; len]).collect(),
            state,
            reference: reference.into_iter().map(|x| x as f32).collect(),
        })
    }
}

impl Case for KernelCase {
    fn inputs(&self) -> Vec<Input<'_>> {
        let named = self.reads.iter().filter(|(name, _)| *name != "none");
        named
            .map(|&(name, ref values)| Input { name, values })
            .collect()
    }

    fn reference(&self) -> Option<Vec<f32>> {
        Some(self.reference.clone())
    }

    fn run(&mut self) -> Result<(), String> {
        if let Some(state) = self.state {
            self.writes[state].fill(0.0);
        }
        let reads: Vec<&[f32]> = self.reads.iter().map(|(_, r)| r.as_slice()).collect();
        let mut writes: Vec<&mut [f32]> = self.writes.iter_mut().map(Vec::as_mut_slice).collect();
        (self.kernel.cpu)(self.level, &self.params, &reads, &mut writes);
        Ok(())
    }

    fn output(&mut self) -> Result<&[f32], String> {
        Ok(&self.writes[0])
    }
}

fn uniform(random: &mut Random, len: usize, low: f64, high: f64) -> Vec<f32> {
    let value = |_| (low + (high - low) * random.uniform()) as f32;
    (0..len).map(value).collect()
}

const NONE: (&str, Vec<f32>) = ("none", Vec::new());

/// The gated recurrence with a decay for each head or for each key channel, its exponential
/// included.
pub fn recurrence(level: Level, per_key: bool) -> Box<dyn Case> {
    let (t, heads, key, value) = (1024, 4, 64, 64);
    let mut random = Random::new(7);
    let q = uniform(&mut random, t * heads * key, -1.0, 1.0);
    let k = uniform(&mut random, t * heads * key, -1.0, 1.0);
    let v = uniform(&mut random, t * heads * value, -1.0, 1.0);
    let decays = if per_key { heads * key } else { heads };
    let g = uniform(&mut random, t * decays, -0.2, -0.001);
    let scale = 1.0 / (key as f32).sqrt();

    let mut reference = vec![0.0f64; t * heads * value];
    for h in 0..heads {
        let mut state = vec![0.0f64; key * value];
        for row in 0..t {
            for i in 0..key {
                let at = row * heads + h;
                let g = if per_key { g[at * key + i] } else { g[at] };
                let decay = f64::from(g).exp();
                for j in 0..value {
                    let s = &mut state[i * value + j];
                    *s = decay * *s + f64::from(k[at * key + i]) * f64::from(v[at * value + j]);
                    reference[at * value + j] += f64::from(scale) * f64::from(q[at * key + i]) * *s;
                }
            }
        }
    }

    let params = scan_outer::ScanOuter {
        t: t as u32,
        heads: heads as u32,
        key: key as u32,
        value: value as u32,
        groups: heads as u32,
        q_stride: (heads * key) as u32,
        q_offset: 0,
        k_stride: (heads * key) as u32,
        k_offset: 0,
        v_stride: (heads * value) as u32,
        v_offset: 0,
        per_key: u32::from(per_key),
        has_write_scale: 0,
        scale,
        write_factor: 1.0,
        read_before: 0,
    };
    KernelCase::boxed(
        &scan_outer::KERNEL,
        level,
        &params,
        vec![("query", q), ("key", k), ("value", v), ("decay", g), NONE],
        vec![
            t * heads * value,
            heads * key * value,
            scan_outer::ScanOuter::scratch_len(t, heads, key, value),
        ],
        Some(1),
        reference,
    )
}

/// The scan of Mamba: 512 channels of 16 states.
pub fn elementwise(level: Level) -> Box<dyn Case> {
    let (t, channels, states) = (1024, 512, 16);
    let mut random = Random::new(8);
    let dt = uniform(&mut random, t * channels, 0.001, 0.1);
    let a: Vec<f32> = (0..channels * states)
        .map(|i| -((i % states + 1) as f32))
        .collect();
    let u = uniform(&mut random, t * channels, -1.0, 1.0);
    let bc = uniform(&mut random, t * 2 * states, -1.0, 1.0);

    let mut reference = vec![0.0f64; t * channels];
    for d in 0..channels {
        let mut state = vec![0.0f64; states];
        for row in 0..t {
            let at = row * channels + d;
            for (i, h) in state.iter_mut().enumerate() {
                let decay = (f64::from(dt[at]) * f64::from(a[d * states + i])).exp();
                let (b, c) = (bc[row * 2 * states + i], bc[(row * 2 + 1) * states + i]);
                *h = decay * *h + f64::from(u[at]) * f64::from(b);
                reference[at] += f64::from(c) * *h;
            }
        }
    }

    let params = scan_elementwise::ScanElementwise {
        t: t as u32,
        channels: channels as u32,
        states: states as u32,
        bc_stride: 2 * states as u32,
        b_offset: 0,
        c_offset: states as u32,
        has_write_decay: 0,
        log_shift: 0.0,
        write_factor: 1.0,
        write_shift: 0.0,
    };
    KernelCase::boxed(
        &scan_elementwise::KERNEL,
        level,
        &params,
        vec![("dt", dt), ("a", a), ("u", u), ("bc", bc), NONE],
        vec![
            t * channels,
            channels * states,
            scan_elementwise::ScanElementwise::scratch_len(t, channels, states),
        ],
        Some(1),
        reference,
    )
}

/// The input projection of a Mamba-2 layer of width 192: 256 rows, 192 to 1,030 columns.
pub fn projection(level: Level) -> Box<dyn Case> {
    let (t, k, n) = (256, 192, 1030);
    let mut random = Random::new(9);
    let x = uniform(&mut random, t * k, -1.0, 1.0);
    let w = uniform(&mut random, n * k, -1.0, 1.0);
    let mut reference = Vec::with_capacity(t * n);
    for x in x.chunks_exact(k) {
        for w in w.chunks_exact(k) {
            let products = x.iter().zip(w).map(|(&a, &b)| f64::from(a) * f64::from(b));
            reference.push(products.sum::<f64>());
        }
    }
    let params = matmul::Matmul {
        t: t as u32,
        k: k as u32,
        n: n as u32,
        x_stride: k as u32,
        x_offset: 0,
        has_bias: 0,
        has_residual: 0,
    };
    KernelCase::boxed(
        &matmul::KERNEL,
        level,
        &params,
        vec![("x", x), ("w", w), NONE, NONE],
        vec![t * n],
        None,
        reference,
    )
}
