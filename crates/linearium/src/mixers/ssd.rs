//! SSD, the mixer of Mamba-2 (arXiv 2405.21060).
//!
//! `[z|x|B|C|dt] = W_in u`; `[x|B|C] = silu(conv([x|B|C]))`; `dt = softplus(dt + dt_bias)`;
//! for each head `S_t = exp(dt_t A) S_{t-1} + dt_t B_t x_t^T`, `y_t = S_t^T C_t + D x_t`;
//! `out = W_out RMSNorm(y * silu(z))`. Official code: `mamba_ssm/modules/mamba2.py`,
//! `mamba_ssm/modules/ssd_minimal.py`; `transformers` `Mamba2Mixer`.

#[cfg(feature = "zoo")]
use super::{Context, StepState, Write};
use super::{Definition, Mixer, Planner, Shape, Size, Taps, Weights};
use crate::kernels::{activate, rms_norm as norm};
use crate::plan::Activation;
use crate::plan::outer_scan::OuterScan;
use crate::random::Random;
#[cfg(feature = "zoo")]
use crate::step::{linear, rms_norm, silu, softplus};

/// The registry's entry.
pub static DEFINITION: Definition = Definition {
    id: "ssd",
    name: "SSD (Mamba-2)",
    glossary: &[
        ("u", "[T, D] normalised input of the layer"),
        ("z", "[T, H P] gate"),
        ("x", "[T, H, P] value, after the convolution"),
        ("B", "[T, G, N] key: where to write"),
        ("C", "[T, G, N] query: where to read"),
        ("dt", "[T, H] step size, above 0"),
        ("A", "[H] decay rate, below 0"),
        ("S", "[H, N, P] state"),
        ("D", "[H] skip"),
    ],
    ignores: &[],
    size: Size::heads_of_64,
    random,
};

/// Weights of one layer. E = H P.
#[derive(Clone)]
pub struct Ssd {
    /// Model width D.
    pub width: usize,
    /// Heads H.
    pub heads: usize,
    /// Head width P.
    pub value: usize,
    /// State width N.
    pub key: usize,
    /// Groups G.
    pub groups: usize,
    /// `[2E + 2GN + H, D]`, rows z, x, B, C, dt.
    pub in_proj: Weights,
    /// `[2E + 2GN + H]`.
    pub in_bias: Option<Weights>,
    /// `[E + 2GN, conv]`.
    pub conv_weight: Weights,
    /// `[E + 2GN]`.
    pub conv_bias: Option<Weights>,
    /// `[H]`.
    pub dt_bias: Weights,
    /// A = -exp(A_log), `[H]`.
    pub a: Weights,
    /// D, `[H]`.
    pub skip: Weights,
    /// `[E]`.
    pub norm: Weights,
    /// Columns that are normalised together.
    pub norm_group: usize,
    /// Added to the mean square.
    pub eps: f32,
    /// Lowest and highest step size.
    pub dt_limit: (f32, f32),
    /// `[D, E]`.
    pub out_proj: Weights,
    /// `[D]`.
    pub out_bias: Option<Weights>,
}

fn random(size: &Size, random: &mut Random) -> Box<dyn Mixer> {
    let (e, groups, conv) = (size.heads * size.value, 1, 4);
    let channels = e + 2 * groups * size.key;
    let rows = e + channels + size.heads;
    let uniform = |r: &mut Random, low: f64, high: f64| low + (high - low) * r.uniform();
    // Initialisation of mamba2.py: dt log-uniform in [1e-3, 0.1], A uniform in [1, 16].
    let dt_bias: Vec<f32> = (0..size.heads)
        .map(|_| {
            let dt = uniform(random, 1e-3f64.ln(), 0.1f64.ln()).exp();
            (dt + (-(-dt).exp_m1()).ln()) as f32
        })
        .collect();
    let a: Vec<f32> = (0..size.heads)
        .map(|_| -uniform(random, 1.0, 16.0) as f32)
        .collect();
    Box::new(Ssd {
        width: size.width,
        heads: size.heads,
        value: size.value,
        key: size.key,
        groups,
        in_proj: random
            .normals(rows * size.width, (size.width as f64).sqrt().recip())
            .into(),
        in_bias: None,
        conv_weight: random
            .normals(channels * conv, 0.5 * (conv as f64).sqrt().recip())
            .into(),
        conv_bias: Some(random.normals(channels, 0.1).into()),
        dt_bias: dt_bias.into(),
        a: a.into(),
        skip: vec![1.0; size.heads].into(),
        norm: vec![1.0; e].into(),
        norm_group: e,
        eps: 1e-5,
        dt_limit: (0.0, f32::INFINITY),
        out_proj: random
            .normals(size.width * e, (e as f64).sqrt().recip())
            .into(),
        out_bias: None,
    })
}

impl Ssd {
    fn inner(&self) -> usize {
        self.heads * self.value
    }

    fn channels(&self) -> usize {
        self.inner() + 2 * self.groups * self.key
    }
}

impl Mixer for Ssd {
    fn definition(&self) -> &'static Definition {
        &DEFINITION
    }

    fn shape(&self) -> Shape {
        Shape {
            tail: self.conv_weight.len() - self.channels(),
            ..Shape::recurrent(self.heads, self.key, self.value)
        }
    }

    fn weights(&self) -> Vec<&Weights> {
        let mut all = vec![
            &self.in_proj,
            &self.conv_weight,
            &self.dt_bias,
            &self.a,
            &self.skip,
            &self.norm,
            &self.out_proj,
        ];
        all.extend(&self.in_bias);
        all.extend(&self.conv_bias);
        all.extend(&self.out_bias);
        all
    }

    #[cfg(feature = "zoo")]
    fn step(&self, state: &mut StepState, u: &[f64], context: &Context<'_>) -> Vec<f64> {
        let (e, gn) = (self.inner(), self.groups * self.key);
        let (change, layer) = (context.change, context.layer);
        let projected = linear(u, &self.in_proj, self.in_bias.as_deref());
        let z = &projected[..e];
        let xbc = state.convolve(
            "tail",
            &projected[e..e + self.channels()],
            &self.conv_weight,
            self.conv_bias.as_deref(),
        );
        let xbc: Vec<f64> = xbc.into_iter().map(silu).collect();
        let (x, b, c) = (&xbc[..e], &xbc[e..e + gn], &xbc[e + gn..]);
        let mut write = Write {
            log_decay: Vec::new(),
            key: Vec::new(),
            value: x.to_vec(),
        };
        let mut q = Vec::new();
        for h in 0..self.heads {
            let raw = projected[e + self.channels() + h] + f64::from(self.dt_bias[h]);
            let (low, high) = self.dt_limit;
            let mut dt = softplus(raw).max(f64::from(low)).min(f64::from(high));
            if let Some(thresholds) = &change.thresholds
                && dt <= f64::from(thresholds[layer][h])
            {
                dt = 0.0;
            }
            let group = h / (self.heads / self.groups) * self.key;
            let g = dt * f64::from(self.a[h]) + f64::from(change.log_decay_shift);
            for n in 0..self.key {
                write.log_decay.push(g);
                write
                    .key
                    .push(f64::from(change.write_factor) * dt * b[group + n]);
                q.push(c[group + n]);
            }
        }
        state.update(write, &self.shape(), change.window);
        let mut y = state.read(&q, 1.0, &self.shape());
        for (i, y) in y.iter_mut().enumerate() {
            *y = (*y + f64::from(self.skip[i / self.value]) * x[i]) * silu(z[i]);
        }
        let normed = rms_norm(&y, &self.norm, self.norm_group, f64::from(self.eps));
        linear(&normed, &self.out_proj, self.out_bias.as_deref())
    }

    fn plan(&self, p: &mut Planner) -> Taps {
        let (e, gn, heads) = (self.inner(), self.groups * self.key, self.heads);
        let projected = p.project("projected", &self.in_proj, self.in_bias.as_ref(), p.io.u);
        let [z, xbc, raw] = projected.split([e, self.channels(), heads]);
        let xbc = p.convolve(
            "convolved",
            xbc,
            &self.conv_weight,
            self.conv_bias.as_ref(),
            true,
        );
        let [x, b, c] = xbc.split([e, gn, gn]);
        let softplus = Activation {
            function: activate::SOFTPLUS,
            bias: Some(&self.dt_bias),
            threshold: p.thresholds(),
            min: self.dt_limit.0,
            max: self.dt_limit.1,
            ..Activation::default()
        };
        let dt = p.gates("dt", heads);
        p.activate(raw, &softplus, dt);
        let times_a = Activation {
            scale: Some(&self.a),
            shift: p.change.log_decay_shift,
            ..Activation::default()
        };
        let log_decay = p.gates("log_decay", heads);
        p.activate(dt, &times_a, log_decay);
        let scan = OuterScan {
            q: c,
            k: b,
            v: x,
            log_decay,
            write_scale: Some(dt),
            scale: 1.0,
            read_before: false,
        };
        let (y, taps) = scan.plan(p, &self.shape());
        let y = p.add("skipped", y, x, Some(&self.skip), 1.0);
        let gate = Some((norm::GATE_THEN_NORM, z));
        let y = p.rms_norm("normed", y, &self.norm, self.norm_group, self.eps, gate);
        p.project_out(&self.out_proj, self.out_bias.as_ref(), y);
        Taps {
            steps: Some((dt, self.a.clone())),
            ..taps
        }
    }
}
