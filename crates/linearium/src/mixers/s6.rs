//! S6, the mixer of Mamba (arXiv 2312.00752).
//!
//! `[x|z] = W_in u`; `x = silu(conv(x))`; `[dt|B|C] = W_x x`; `dt = softplus(W_dt dt + b)`; for
//! each channel d and state n `h_t = exp(dt_t A) h_{t-1} + dt_t B_t x_t`, `y_t = C_t . h_t + D x_t`;
//! `out = W_out (y * silu(z))`. Official code: `mamba_ssm/modules/mamba_simple.py`,
//! `mamba_ssm/ops/selective_scan_interface.py::selective_scan_ref`.

use super::{Columns, Decay, Definition, Mixer, Planner, Shape, Size, Taps, Weights};
#[cfg(feature = "zoo")]
use super::{Context, StepState, Write};
use crate::kernels::activate;
use crate::plan::Activation;
use crate::plan::elementwise_scan::ElementwiseScan;
use crate::random::Random;
#[cfg(feature = "zoo")]
use crate::step::{linear, rms_norm, silu, softplus};

/// The registry's entry.
pub static DEFINITION: Definition = Definition {
    id: "s6",
    name: "S6 (Mamba)",
    glossary: &[
        ("u", "[T, D] normalised input of the layer"),
        ("x", "[T, E] channels, after the convolution"),
        ("z", "[T, E] gate"),
        ("dt", "[T, E] step size, above 0"),
        ("B", "[T, N] where to write, shared by all channels"),
        ("C", "[T, N] where to read, shared by all channels"),
        ("A", "[E, N] decay rates, below 0"),
        ("h", "[E, N] state"),
        ("D", "[E] skip"),
    ],
    ignores: &[],
    size: |width| Size {
        width,
        heads: 2 * width,
        key: 16,
        value: 1,
    },
    random,
};

/// Root-mean-square norms of dt, B and C before they are used: Falcon-Mamba (arXiv 2410.05355,
/// `transformers` `FalconMambaMixer`) and Jamba (`JambaMambaMixer`).
#[derive(Clone)]
pub struct InnerNorms {
    /// `[R]`.
    pub dt: Weights,
    /// `[2N]`, B, C.
    pub b_c: Weights,
    /// Added to the mean square.
    pub eps: f32,
}

/// Weights of one layer.
#[derive(Clone)]
pub struct S6 {
    /// Model width D.
    pub width: usize,
    /// Channels E.
    pub channels: usize,
    /// States N of a channel.
    pub states: usize,
    /// Rank R of the step size.
    pub rank: usize,
    /// `[2E, D]`, rows x, z.
    pub in_proj: Weights,
    /// `[2E]`.
    pub in_bias: Option<Weights>,
    /// `[E, conv]`.
    pub conv_weight: Weights,
    /// `[E]`.
    pub conv_bias: Option<Weights>,
    /// `[R + 2N, E]`, rows dt, B, C.
    pub x_proj: Weights,
    /// Norms of dt, B and C, if there are some.
    pub norms: Option<InnerNorms>,
    /// `[E, R]`.
    pub dt_proj: Weights,
    /// `[E]`.
    pub dt_bias: Weights,
    /// A = -exp(A_log), `[E, N]`.
    pub a: Weights,
    /// D, `[E]`.
    pub skip: Weights,
    /// `[D, E]`.
    pub out_proj: Weights,
    /// `[D]`.
    pub out_bias: Option<Weights>,
}

fn random(size: &Size, random: &mut Random) -> Box<dyn Mixer> {
    let (channels, states, conv) = (size.heads, size.key, 4);
    let rank = size.width.div_ceil(16);
    // Initialisation of mamba_simple.py: A = -1..-N, dt log-uniform in [1e-3, 0.1].
    let dt_bias: Vec<f32> = (0..channels)
        .map(|_| {
            let dt = (1e-3f64.ln() + (0.1f64 / 1e-3).ln() * random.uniform()).exp();
            (dt + (-(-dt).exp_m1()).ln()) as f32
        })
        .collect();
    let a = (0..channels * states).map(|i| -((i % states + 1) as f32));
    Box::new(S6 {
        width: size.width,
        channels,
        states,
        rank,
        in_proj: random
            .normals(
                2 * channels * size.width,
                (size.width as f64).sqrt().recip(),
            )
            .into(),
        in_bias: None,
        conv_weight: random
            .normals(channels * conv, 0.5 * (conv as f64).sqrt().recip())
            .into(),
        conv_bias: Some(random.normals(channels, 0.1).into()),
        x_proj: random
            .normals(
                (rank + 2 * states) * channels,
                (channels as f64).sqrt().recip(),
            )
            .into(),
        norms: None,
        dt_proj: random
            .normals(channels * rank, (rank as f64).sqrt().recip() * 0.58)
            .into(),
        dt_bias: dt_bias.into(),
        a: Weights::from_iter(a),
        skip: vec![1.0; channels].into(),
        out_proj: random
            .normals(size.width * channels, (channels as f64).sqrt().recip())
            .into(),
        out_bias: None,
    })
}

impl Mixer for S6 {
    fn definition(&self) -> &'static Definition {
        &DEFINITION
    }

    fn shape(&self) -> Shape {
        Shape {
            tail: self.conv_weight.len() - self.channels,
            ..Shape::recurrent(self.channels, self.states, 1)
        }
    }

    fn weights(&self) -> Vec<&Weights> {
        let mut all = vec![
            &self.in_proj,
            &self.conv_weight,
            &self.x_proj,
            &self.dt_proj,
            &self.dt_bias,
            &self.a,
            &self.skip,
            &self.out_proj,
        ];
        all.extend(self.norms.iter().flat_map(|n| [&n.dt, &n.b_c]));
        all.extend(&self.in_bias);
        all.extend(&self.conv_bias);
        all.extend(&self.out_bias);
        all
    }

    #[cfg(feature = "zoo")]
    fn step(&self, state: &mut StepState, u: &[f64], context: &Context<'_>) -> Vec<f64> {
        let e = self.channels;
        let xz = linear(u, &self.in_proj, self.in_bias.as_deref());
        let mut y = self.step_channels(state, &xz[..e], 0.0, context);
        for (y, z) in y.iter_mut().zip(&xz[e..]) {
            *y *= silu(*z);
        }
        linear(&y, &self.out_proj, self.out_bias.as_deref())
    }

    fn plan(&self, p: &mut Planner) -> Taps {
        let e = self.channels;
        let xz = p.project("projected", &self.in_proj, self.in_bias.as_ref(), p.io.u);
        let [x, z] = xz.split([e, e]);
        let Channels { y, taps, .. } = self.plan_channels(p, x, None);
        let y = p.swiglu("gated", z, y);
        p.project_out(&self.out_proj, self.out_bias.as_ref(), y);
        taps
    }
}

/// What [`S6::plan_channels`] gives.
pub struct Channels {
    /// What is read, with the skip, before the gate, `[T, E]`.
    pub y: Columns,
    /// The channels after the convolution, `[T, E]`.
    pub x: Columns,
    /// Where probes find the factors.
    pub taps: Taps,
}

impl S6 {
    /// What a token of zeros has for a step size: `softplus(b)`, `[E]`.
    #[cfg(feature = "zoo")]
    pub fn default_steps(&self) -> Weights {
        let steps = self.dt_bias.iter().map(|&b| softplus(b.into()) as f32);
        steps.collect()
    }

    /// The part of the definition between the projections: channels `x [E]` in, `[E]` before the gate
    /// out. `missed` tokens of zeros are taken to have stood right before this one.
    #[cfg(feature = "zoo")]
    pub fn step_channels(
        &self,
        state: &mut StepState,
        x: &[f64],
        missed: f64,
        context: &Context<'_>,
    ) -> Vec<f64> {
        let (e, n) = (self.channels, self.states);
        let (change, layer) = (context.change, context.layer);
        let x = state.convolve("tail", x, &self.conv_weight, self.conv_bias.as_deref());
        let x: Vec<f64> = x.into_iter().map(silu).collect();
        let mut dt_b_c = linear(&x, &self.x_proj, None);
        if let Some(norms) = &self.norms {
            let (low, b_c) = dt_b_c.split_at(self.rank);
            let eps = f64::from(norms.eps);
            let low = rms_norm(low, &norms.dt, self.rank, eps);
            dt_b_c = [low, rms_norm(b_c, &norms.b_c, n, eps)].concat();
        }
        let (b, c) = (&dt_b_c[self.rank..self.rank + n], &dt_b_c[self.rank + n..]);
        let raw = linear(&dt_b_c[..self.rank], &self.dt_proj, Some(&self.dt_bias));
        let mut write = Write {
            log_decay: Vec::new(),
            key: Vec::new(),
            value: x.clone(),
        };
        let mut q = Vec::new();
        for d in 0..e {
            let mut dt = softplus(raw[d]);
            if let Some(thresholds) = &change.thresholds
                && dt <= f64::from(thresholds[layer][d])
            {
                dt = 0.0;
            }
            let decayed = dt + missed * softplus(self.dt_bias[d].into());
            for i in 0..n {
                let a = f64::from(self.a[d * n + i]);
                write
                    .log_decay
                    .push(decayed * a + f64::from(change.log_decay_shift));
                write.key.push(f64::from(change.write_factor) * dt * b[i]);
                q.push(c[i]);
            }
        }
        state.update(write, &self.shape(), change.window);
        let mut y = state.read(&q, 1.0, &self.shape());
        for (d, y) in y.iter_mut().enumerate() {
            *y += f64::from(self.skip[d]) * x[d];
        }
        y
    }

    /// The passes of [`S6::step_channels`]: `x [T, E]` in. `missed`, `[T, E]`, is what the step sizes
    /// grow by where they decay the state, and not where they write.
    pub fn plan_channels(&self, p: &mut Planner, x: Columns, missed: Option<Columns>) -> Channels {
        let (e, n) = (self.channels, self.states);
        let conv_bias = self.conv_bias.as_ref();
        let x = p.convolve("convolved", x, &self.conv_weight, conv_bias, true);
        let dt_b_c = p.project("dt_b_c", &self.x_proj, None, x);
        let [mut low, mut b_c] = dt_b_c.split([self.rank, 2 * n]);
        if let Some(norms) = &self.norms {
            low = p.copied("dt alone", low);
            low = p.rms_norm("dt normed", low, &norms.dt, self.rank, norms.eps, None);
            b_c = p.copied("b c alone", b_c);
            b_c = p.rms_norm("b c normed", b_c, &norms.b_c, n, norms.eps, None);
        }
        let [b, c] = b_c.split([n, n]);
        let raw = p.project("dt before softplus", &self.dt_proj, None, low);
        let softplus = Activation {
            function: activate::SOFTPLUS,
            bias: Some(&self.dt_bias),
            threshold: p.thresholds(),
            min: 0.0,
            ..Activation::default()
        };
        let dt = p.gates("dt", e);
        p.activate(raw, &softplus, dt);
        #[cfg(feature = "zoo")]
        p.show_value(x);
        let decayed = match missed {
            Some(missed) => p.add("steps over gaps", dt, missed, None, 1.0),
            None => dt,
        };
        let scan = ElementwiseScan {
            dt: decayed,
            a: p.weight("a", &self.a),
            u: p.multiply("dt x", dt, x),
            b,
            c,
        };
        let (scanned, state, left_window) = scan.plan(p, n);
        let y = p.add("skipped", scanned, x, Some(&self.skip), 1.0);
        let mean_rate = |a: &[f32]| a.iter().sum::<f32>() / n as f32;
        let rates = self.a.chunks_exact(n).map(mean_rate).collect();
        let taps = Taps {
            heads_per_group: e,
            write_scale: Some(dt),
            scale: p.change.write_factor,
            state: Some(state),
            left_window,
            window: p.change.window,
            steps: Some((dt, rates)),
            ..Taps::new(
                c,
                b,
                Decay::Rates(decayed, self.a.clone(), p.change.log_decay_shift),
            )
        };
        Channels { y, x, taps }
    }
}
