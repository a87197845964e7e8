//! RWKV-6 (Finch, arXiv 2404.05892): a decay for each key channel that depends on the token, which
//! is read beside the state before it.
//!
//! With the token before, `d = u_{t-1} - u`, five mixes
//! `x_* = u + d (mu_* + W_* tanh(W_x (u + d mu_x)))`; `r, k, v, z` are linear in `x_r, x_k, x_v,
//! x_g`, and `g = -exp(lora(x_w))`; for each head `o_t = (S_{t-1} + diag(b) k_t v_t^T)^T r_t`,
//! `S_t = diag(exp(g_t)) S_{t-1} + k_t v_t^T`; `out = W_o (GroupNorm(o) * silu(z))`. Official code:
//! flash-linear-attention `fla/layers/rwkv6.py`, `fla/ops/rwkv6/recurrent_naive.py`.

use super::rwkv7::Lora;
use super::{
    Context, Definition, Mixer, NO_STEPS, Planner, Shape, Size, StepState, Taps, Weights, Write,
};
use crate::kernels::{normalise, pointwise};
use crate::model::tensors::Tensors;
use crate::plan::outer_scan::OuterScan;
use crate::plan::pointwise::Gate;
use crate::random::Random;
use crate::step::{layer_norm, linear, silu};

/// The registry's entry.
pub static DEFINITION: Definition = Definition {
    id: "rwkv6",
    name: "RWKV-6 (Finch)",
    glossary: &[
        ("u", "[T, D] normalised input of the layer"),
        ("r", "[T, H, K] receptance: where to read"),
        ("k", "[T, H, K] key: where to write"),
        ("v", "[T, H, V] value"),
        ("g", "[T, H, K] log-decay, below 0"),
        ("b", "[H, K] bonus of the present token"),
        ("S", "[H, K, V] state, read before it is written"),
    ],
    ignores: &[NO_STEPS],
    size: Size::heads_of_64_in_width,
    random,
};

/// Weights of one layer.
#[derive(Clone, Debug)]
pub struct Rwkv6 {
    /// Model width D, heads H, key width K and value width V of a head.
    pub size: Size,
    /// Share of the token before in what the mixes are made of, `[D]`.
    pub mix: Weights,
    /// W_x, `[5R, D]`, R rows for each of r, w, k, v, g.
    pub mix_down: Weights,
    /// W_r, W_w, W_k, W_v, W_g, `[D, R]` each.
    pub mix_up: [Weights; 5],
    /// mu_r, mu_w, mu_k, mu_v, mu_g, `[D]` each.
    pub mix_bias: [Weights; 5],
    /// `[HK, D]`.
    pub r_proj: Weights,
    /// `[HK, D]`.
    pub k_proj: Weights,
    /// `[HV, D]`.
    pub v_proj: Weights,
    /// `[HV, D]`.
    pub g_proj: Weights,
    /// Of the decay, through tanh.
    pub w_lora: Lora,
    /// b, `[H, K]`.
    pub bonus: Weights,
    /// `[HV]`.
    pub norm: Weights,
    /// `[HV]`.
    pub norm_bias: Weights,
    /// Added to the variance.
    pub eps: f32,
    /// `[D, HV]`.
    pub out_proj: Weights,
}

/// Mixes from all of the token before to none of it over the channels, decays from e^-e^-6 to
/// e^-e^-1 (`RWKV-v5/src/model.py` of RWKV-LM); the low-rank maps are not 0, where gates would not
/// depend on the token.
fn random(size: &Size, random: &mut Random) -> Box<dyn Mixer> {
    let Size {
        width,
        heads,
        key,
        value,
    } = *size;
    let (keys, values, rank, decay_rank) = (heads * key, heads * value, 32, 64);
    let decay = (0..keys).map(|n| -6.0 + 5.0 * n as f32 / keys as f32);
    let bonus = (0..keys).map(|n| 1.0 - n as f32 / keys as f32 + [0.0, 0.1, -0.1][n % 3]);
    let mut matrix = |rows: usize, columns: usize, gain: f64| -> Weights {
        random
            .normals(rows * columns, gain * (columns as f64).sqrt().recip())
            .into()
    };
    let mixed = |power: f32| -> Weights {
        (0..width)
            .map(|n| 1.0 - (n as f32 / width as f32).powf(power))
            .collect()
    };
    Box::new(Rwkv6 {
        size: *size,
        mix: mixed(1.0),
        mix_down: matrix(5 * rank, width, 1.0),
        mix_up: std::array::from_fn(|_| matrix(width, rank, 0.1)),
        mix_bias: [0.5, 1.0, 1.0, 0.7, 0.5].map(mixed),
        r_proj: matrix(keys, width, 1.0),
        k_proj: matrix(keys, width, 1.0),
        v_proj: matrix(values, width, 1.0),
        g_proj: matrix(values, width, 1.0),
        out_proj: matrix(width, values, 1.0),
        w_lora: Lora {
            down: matrix(decay_rank, width, 1.0),
            up: matrix(keys, decay_rank, 0.3),
            bias: Some(decay.collect()),
        },
        bonus: bonus.collect(),
        norm: vec![1.0; values].into(),
        norm_bias: vec![0.0; values].into(),
        eps: 1e-5,
    })
}

impl Rwkv6 {
    /// Takes the tensors of `fla/layers/rwkv6.py`; `ranks` are its `proj_low_rank_dim` and
    /// `gate_low_rank_dim`.
    ///
    /// # Errors
    /// A sentence if a tensor is missing or has another shape.
    pub fn load(
        t: &mut Tensors<'_>,
        size: &Size,
        ranks: [usize; 2],
        eps: f32,
    ) -> Result<Rwkv6, String> {
        let Size {
            width,
            heads,
            key,
            value,
        } = *size;
        let (keys, values) = (heads * key, heads * value);
        let [rank, decay_rank] = ranks;
        let up = t.take("x_proj.2.weight", &[width, 5 * rank])?;
        let bias = t.take("x_bias", &[5, width])?;
        let columns = |n: usize| -> Weights {
            let rows = up.chunks_exact(5 * rank);
            rows.flat_map(|row| row[n * rank..][..rank].iter().copied())
                .collect()
        };
        Ok(Rwkv6 {
            size: *size,
            mix: t.take("x_proj.0.mu", &[width])?,
            mix_down: t.take("x_proj.0.linear.weight", &[5 * rank, width])?,
            mix_up: std::array::from_fn(columns),
            mix_bias: std::array::from_fn(|n| bias[n * width..][..width].into()),
            r_proj: t.take("r_proj.linear.weight", &[keys, width])?,
            k_proj: t.take("k_proj.linear.weight", &[keys, width])?,
            v_proj: t.take("v_proj.linear.weight", &[values, width])?,
            g_proj: t.take("g_proj.linear.weight", &[values, width])?,
            w_lora: Lora::load(t, "w_proj.linear", [width, decay_rank, keys], true)?,
            bonus: t.take("bonus", &[heads, key])?,
            norm: t.take("g_norm.weight", &[values])?,
            norm_bias: t.take("g_norm.bias", &[values])?,
            eps,
            out_proj: t.take("o_proj.weight", &[width, values])?,
        })
    }
}

impl Mixer for Rwkv6 {
    fn definition(&self) -> &'static Definition {
        &DEFINITION
    }

    fn shape(&self) -> Shape {
        Shape {
            tail: self.size.width,
            ..Shape::recurrent(self.size.heads, self.size.key, self.size.value)
        }
    }

    fn weights(&self) -> Vec<&Weights> {
        let mut all = vec![
            &self.mix,
            &self.mix_down,
            &self.r_proj,
            &self.k_proj,
            &self.v_proj,
            &self.g_proj,
            &self.bonus,
            &self.norm,
            &self.norm_bias,
            &self.out_proj,
        ];
        all.extend(self.mix_up.iter().chain(&self.mix_bias));
        all.extend(self.w_lora.weights());
        all
    }

    fn step(&self, state: &mut StepState, u: &[f64], context: &Context<'_>) -> Vec<f64> {
        let Size {
            heads, key, value, ..
        } = self.size;
        let change = context.change;
        let before = std::mem::replace(state.carried("u", u.len()), u.to_vec());
        let towards = |mix: &[f64]| -> Vec<f64> {
            let pairs = u.iter().zip(&before).zip(mix);
            pairs
                .map(|((u, before), mix)| u + (before - u) * mix)
                .collect()
        };
        let exact = |x: &[f32]| -> Vec<f64> { x.iter().map(|&x| x.into()).collect() };
        let low = linear(&towards(&exact(&self.mix)), &self.mix_down, None);
        let low: Vec<f64> = low.into_iter().map(f64::tanh).collect();
        let rank = low.len() / 5;
        let [xr, xw, xk, xv, xg] = std::array::from_fn(|n| {
            let part = &low[n * rank..][..rank];
            towards(&linear(part, &self.mix_up[n], Some(&self.mix_bias[n])))
        });
        let r = linear(&xr, &self.r_proj, None);
        let k = linear(&xk, &self.k_proj, None);
        let v = linear(&xv, &self.v_proj, None);
        let z = linear(&xg, &self.g_proj, None);
        let decay = self.w_lora.step(&xw, f64::tanh);
        let k: Vec<f64> = k
            .iter()
            .map(|k| k * f64::from(change.write_factor))
            .collect();
        let shape = self.shape();
        state.leave_window(&shape, change.window);
        let mut o = state.read(&r, 1.0, &shape);
        for h in 0..heads {
            let weight: f64 = (h * key..(h + 1) * key)
                .map(|i| r[i] * f64::from(self.bonus[i]) * k[i])
                .sum();
            for i in h * value..(h + 1) * value {
                o[i] += weight * v[i];
            }
        }
        state.last_read.clone_from(&o);
        let write = Write {
            log_decay: decay
                .iter()
                .map(|w| -w.exp() + f64::from(change.log_decay_shift))
                .collect(),
            key: k,
            value: v,
        };
        state.update(write, &shape, change.window);
        let o = layer_norm(&o, &self.norm, &self.norm_bias, value, f64::from(self.eps));
        let gated: Vec<f64> = o.iter().zip(z).map(|(o, z)| o * silu(z)).collect();
        linear(&gated, &self.out_proj, None)
    }

    fn plan(&self, p: &mut Planner) -> Taps {
        let u = p.io.u;
        let before = p.previous(u);
        let change = p.add("change", before, u, None, -1.0);
        let mixed = p.add("x", u, change, Some(&self.mix), 1.0);
        let low = p.project("x down", &self.mix_down, None, mixed);
        let low = p.gate("x inner", low, &Gate::of(pointwise::TANH));
        let rank = low.width / 5;
        let names = ["x_r", "x_w", "x_k", "x_v", "x_g"];
        let [xr, xw, xk, xv, xg] = std::array::from_fn(|n| {
            let (name, part) = (names[n], low.part(n * rank, rank));
            let bias = Some(&self.mix_bias[n]);
            let mix = p.project(&format!("{name} mix"), &self.mix_up[n], bias, part);
            let share = p.multiply(&format!("{name} share"), change, mix);
            p.add(name, u, share, None, 1.0)
        });
        let r = p.project("r", &self.r_proj, None, xr);
        let k = p.project("k", &self.k_proj, None, xk);
        let v = p.project("v", &self.v_proj, None, xv);
        let z = p.project("z", &self.g_proj, None, xg);
        let w = self.w_lora.plan(p, "w", xw, pointwise::TANH);
        let log_decay = p.gates("log_decay", r.width);
        let decay = Gate {
            multiplier: -1.0,
            shift: p.change.log_decay_shift,
            ..Gate::of(pointwise::EXP)
        };
        p.gate_into("log_decay", w, &decay, log_decay);
        let scan = OuterScan {
            q: r,
            k,
            v,
            log_decay,
            write_scale: None,
            scale: 1.0,
            read_before: true,
        };
        let shape = self.shape();
        let (o, taps) = scan.plan(p, &shape);
        let o = p.bonus(o, [r, k, v], &self.bonus, p.change.write_factor, &shape);
        let kind = (normalise::LAYER, self.size.value, self.eps);
        let affine = [Some(&self.norm), Some(&self.norm_bias)];
        let o = p.normalise("normed", o, kind, affine);
        let o = p.product("gated", z, o, &Gate::of(pointwise::SILU));
        p.project_out(&self.out_proj, None, o);
        Taps {
            bonus: Some(self.bonus.clone()),
            ..taps
        }
    }
}
