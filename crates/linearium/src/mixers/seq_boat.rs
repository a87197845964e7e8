//! SeqBoat, sparse modular activation (arXiv 2306.11197): a recurrence decides which tokens wake an
//! attention that only they see.
//!
//! For each channel N modes `h_t = (1 - p a) h_{t-1} + p b x_t`, a damped moving average (Mega,
//! arXiv 2209.10655) with p and a in (0, 1); `m = silu(N^-1/2 sum_n c_n h_n + omega x)`.
//! `[s, y] = W m + b`; a token is active if `pi = softmax(s / tau)` has its second value above the
//! first. Active tokens make `[z, r, v] = silu(W' m + b')`, `q = gamma_0 z + beta_0`,
//! `k = gamma_1 z + beta_1` and see the last `w + 1` active tokens: `o = sum_j f(q . k_j) v_j` with
//! a bias by distance or rotary positions; `out = silu(y + pi_1 (W_o (o * r) + b_o) + u)`.
//! x is u, or its layer norm; or `out` goes through one. Official code: `renll/SeqBoat`,
//! `standalone_seqboat.py`; two equal values of pi leave a token asleep.
//!
//! A head is a channel of the moving average here: what probes show is the recurrence, which all
//! tokens pass, not the attention.

use super::gau::{plan_query_and_key, query_and_key};
use super::{
    Context, Definition, Mixer, NO_STEPS, Planner, Shape, Size, StepState, Taps, Weights, Write,
};
use crate::kernels::{normalise, pointwise};
use crate::model::tensors::Tensors;
use crate::plan::outer_scan::OuterScan;
use crate::plan::pointwise::Gate;
use crate::plan::{Attention, Columns, Routing};
use crate::random::Random;
use crate::step::{layer_norm, linear, multiply, rotate, sigmoid, silu};

/// The registry's entry.
pub static DEFINITION: Definition = Definition {
    id: "seq_boat",
    name: "SeqBoat (sparse modular activation)",
    glossary: &[
        ("u", "[T, D] normalised input of the layer"),
        ("x", "[T, D] what the moving average writes"),
        ("S", "[D, N] state of the moving average"),
        ("m", "[T, D] what it gives"),
        ("pi", "[T, 2] probabilities: asleep, active"),
        ("q, k", "[T, K] query and key of active tokens"),
        ("v", "[T, V] value of active tokens"),
        ("w", "active tokens that one sees beside itself"),
    ],
    ignores: &[NO_STEPS],
    size: |width| Size {
        width,
        heads: width,
        key: 4,
        value: 1,
    },
    random,
};

/// How attention knows where tokens stand.
#[derive(Clone, Debug, PartialEq)]
pub enum Positions {
    /// A bias by distance in tokens; a distance beyond it has the last one.
    Bias(Weights),
    /// A bias by distance in active tokens.
    BiasByRank(Weights),
    /// Queries and keys are rotated (half-split) by their positions in the text.
    Rotary,
}

/// Where the layer norm stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NormPlace {
    /// Before the moving average.
    Before,
    /// Behind the output.
    Behind,
}

/// Weights of one layer.
#[derive(Clone)]
pub struct SeqBoat {
    /// Model width D.
    pub width: usize,
    /// Modes N of a channel.
    pub modes: usize,
    /// Key width K.
    pub key: usize,
    /// Value width V.
    pub value: usize,
    /// w.
    pub window: usize,
    /// A layer norm: where, weight and bias `[D]`.
    pub norm: Option<(NormPlace, [Weights; 2])>,
    /// ln(1 - p a), `[D, N]`, below 0.
    pub log_decay: Weights,
    /// p b, `[D, N]`.
    pub write: Weights,
    /// c, `[D, N]`.
    pub read: Weights,
    /// omega, `[D]`.
    pub skip: Weights,
    /// `[2 + D, D]`, rows s, y.
    pub route_proj: Weights,
    /// `[2 + D]`.
    pub route_bias: Weights,
    /// tau.
    pub temperature: f32,
    /// `[K + 2V, D]`, rows z, r, v.
    pub in_proj: Weights,
    /// `[K + 2V]`.
    pub in_bias: Weights,
    /// Of q and of k, `[2, K]`.
    pub gamma: Weights,
    /// `[2, K]`.
    pub beta: Weights,
    /// Where tokens stand.
    pub positions: Positions,
    /// True if f is `relu(s / w)^2`, not the softmax of `s / sqrt(K)`.
    pub squared_relu: bool,
    /// `[D, V]`.
    pub out_proj: Weights,
    /// `[D]`.
    pub out_bias: Weights,
}

/// Added to the variance by the layer norm.
const EPS: f32 = 1e-5;

/// Base of the rotary angles.
const THETA: f64 = 10_000.0;

fn random(size: &Size, random: &mut Random) -> Box<dyn Mixer> {
    let Size {
        width, key: modes, ..
    } = *size;
    let (key, value, window) = (32, 2 * width, 16);
    let deviation = |n: usize| (n as f64).sqrt().recip();
    let modes_of_all = width * modes;
    let normals = |random: &mut Random, n: usize, d: f64| -> Vec<f64> {
        random.normals(n, d).into_iter().map(f64::from).collect()
    };
    let delta = normals(random, modes_of_all, 0.2);
    let alpha = normals(random, modes_of_all, 0.2);
    let pairs = || delta.iter().zip(&alpha);
    let write = delta.iter().enumerate().map(|(i, d)| {
        let sign = if i % modes % 2 == 0 { 1.0 } else { -1.0 };
        (sigmoid(*d) * (sign + 0.02 * random.normal())) as f32
    });
    let write = write.collect();
    Box::new(SeqBoat {
        width,
        modes,
        key,
        value,
        window,
        norm: None,
        log_decay: pairs().map(|(d, a)| log_decay(*d, *a)).collect(),
        write,
        read: random.normals(modes_of_all, 1.0).into(),
        skip: random.normals(width, 1.0).into(),
        route_proj: random.normals((2 + width) * width, deviation(width)).into(),
        route_bias: vec![0.0; 2 + width].into(),
        temperature: (width as f32).sqrt(),
        in_proj: random
            .normals((key + 2 * value) * width, deviation(width))
            .into(),
        in_bias: vec![0.0; key + 2 * value].into(),
        gamma: random.normals(2 * key, 1.0).into(),
        beta: vec![0.0; 2 * key].into(),
        positions: Positions::Bias(random.normals(256, 0.02).into()),
        squared_relu: false,
        out_proj: random.normals(width * value, deviation(value)).into(),
        out_bias: vec![0.0; width].into(),
    })
}

/// ln(1 - sigmoid(delta) sigmoid(alpha)).
fn log_decay(delta: f64, alpha: f64) -> f32 {
    (-sigmoid(delta) * sigmoid(alpha)).ln_1p() as f32
}

/// What a layer of the official code is made with.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Modes N.
    pub modes: usize,
    /// Key width K (`zdim`).
    pub key: usize,
    /// Value width V (`hdim`).
    pub value: usize,
    /// w.
    pub window: usize,
    /// Length of the texts that the bias was made for.
    pub positions: usize,
    /// Rotary positions in place of a bias.
    pub rotary: bool,
    /// The bias counts active tokens (`local_pos`).
    pub by_rank: bool,
    /// `relu(s / w)^2` in place of a softmax.
    pub squared_relu: bool,
    /// Where the layer norm stands.
    pub norm: NormPlace,
}

impl SeqBoat {
    /// A layer of the official `SeqBoatLayer` that sees what came before only.
    ///
    /// # Errors
    /// A sentence if a tensor is missing or has another shape.
    pub fn load(t: &mut Tensors<'_>, width: usize, o: Options) -> Result<SeqBoat, String> {
        let (key, value, modes) = (o.key, o.value, o.modes);
        let mode = [width, modes, 1];
        let delta = t.take("ssm.delta", &mode)?;
        let alpha = t.take("ssm.alpha", &mode)?;
        let b = t.take("ssm.beta", &mode)?;
        let exact = |x: &f32| f64::from(*x);
        let pairs = || delta.iter().map(exact).zip(alpha.iter().map(exact));
        let positions = if o.rotary {
            Positions::Rotary
        } else {
            let most = if o.by_rank { 3 * o.window } else { o.positions };
            let bias = t.take("rel_pos_bias.rel_pos_bias", &[2 * most - 1])?;
            // That of distance d in tokens stands d before the middle; in active tokens the middle
            // is a window further, since keys are counted from the window before.
            if o.by_rank {
                let middle = most - 1 + o.window;
                Positions::BiasByRank((0..=o.window).map(|d| bias[middle - d]).collect())
            } else {
                Positions::Bias(bias[..most].iter().rev().copied().collect())
            }
        };
        let in_proj = t.take("mx_proj.weight", &[key + 2 * value, width])?;
        let in_bias = t.take("mx_proj.bias", &[key + 2 * value])?;
        let gamma = t.take("gamma", &[2, key])?;
        let beta = t.take("beta", &[2, key])?;
        // The official rotation turns neighbours: the channels of z in the order of halves.
        let order = |x: &Weights, rows: usize, columns: usize| -> Weights {
            if !o.rotary {
                return x.clone();
            }
            let row = |r: usize| {
                let from = if r < key / 2 {
                    2 * r
                } else {
                    2 * (r - key / 2) + 1
                };
                if r < key { from } else { r }
            };
            let rows = (0..rows).map(row);
            rows.flat_map(|r| &x[r * columns..(r + 1) * columns])
                .copied()
                .collect()
        };
        let both = |x: &Weights| -> Weights {
            let halves = x.chunks_exact(key).map(|x| order(&x.into(), key, 1));
            halves.flat_map(|x| x.to_vec()).collect()
        };
        let norm = [
            t.take("norm.norm.weight", &[width])?,
            t.take("norm.norm.bias", &[width])?,
        ];
        Ok(SeqBoat {
            width,
            modes,
            key,
            value,
            window: o.window,
            norm: Some((o.norm, norm)),
            log_decay: pairs().map(|(d, a)| log_decay(d, a)).collect(),
            write: pairs()
                .zip(&*b)
                .map(|((d, _), b)| (sigmoid(d) * exact(b)) as f32)
                .collect(),
            read: t.take("ssm.gamma", &[width, modes])?,
            skip: t.take("ssm.omega", &[width])?,
            route_proj: t.take("hx_proj.weight", &[2 + width, width])?,
            route_bias: t.take("hx_proj.bias", &[2 + width])?,
            temperature: t.take("q_router.temp", &[1])?[0].exp(),
            in_proj: order(&in_proj, key + 2 * value, width),
            in_bias: order(&in_bias, key + 2 * value, 1),
            gamma: both(&gamma),
            beta: both(&beta),
            positions,
            squared_relu: o.squared_relu,
            out_proj: t.take("h_proj.weight", &[width, value])?,
            out_bias: t.take("h_proj.bias", &[width])?,
        })
    }

    fn read_scale(&self) -> f64 {
        (self.modes as f64).sqrt().recip()
    }

    /// What products of q and k are multiplied by.
    fn score_scale(&self) -> f64 {
        if self.squared_relu {
            1.0 / self.window as f64
        } else {
            (self.key as f64).sqrt().recip()
        }
    }

    fn norm_at(&self, place: NormPlace) -> Option<&[Weights; 2]> {
        let (at, weights) = self.norm.as_ref()?;
        (*at == place).then_some(weights)
    }

    /// What an active token reads: the definition of the attention.
    fn attend(&self, state: &mut StepState, m: &[f64], context: &Context<'_>) -> Vec<f64> {
        let change = context.change;
        let now = state.position;
        let projected = linear(m, &self.in_proj, Some(&self.in_bias));
        let projected: Vec<f64> = projected.into_iter().map(silu).collect();
        let (z, rest) = projected.split_at(self.key);
        let (r, v) = rest.split_at(self.value);
        let [mut q, mut k] = query_and_key(z, &self.gamma, &self.beta);
        if self.positions == Positions::Rotary {
            rotate(&mut q, (self.key, self.key), THETA, now);
            rotate(&mut k, (self.key, self.key), THETA, now);
        }
        let v = v.iter().map(|v| v * f64::from(change.write_factor));
        // Rows of active tokens: position, key, value; the newest last.
        let row = 1 + self.key + self.value;
        let rows = state.carried("active", 0);
        rows.push(now as f64);
        rows.extend(k);
        rows.extend(v);
        let kept = (self.window + 1) * row;
        rows.drain(..rows.len().saturating_sub(kept));
        let seen: Vec<(&[f64], f64)> = rows
            .chunks_exact(row)
            .rev()
            .enumerate()
            .filter_map(|(rank, row)| {
                let tokens = now - row[0] as usize;
                if change.window > 0 && tokens >= change.window {
                    return None;
                }
                let dot: f64 = q.iter().zip(&row[1..]).map(|(q, k)| q * k).sum();
                let bias = match &self.positions {
                    Positions::Bias(bias) => bias[tokens.min(bias.len() - 1)],
                    Positions::BiasByRank(bias) => bias[rank.min(bias.len() - 1)],
                    Positions::Rotary => 0.0,
                };
                let score = self.score_scale() * dot + f64::from(bias);
                Some((&row[1 + self.key..], score))
            })
            .collect();
        let largest = seen.iter().map(|s| s.1).fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = seen.iter().map(|s| (s.1 - largest).exp()).sum();
        let mut o = vec![0.0; self.value];
        for (v, score) in seen {
            let weight = if self.squared_relu {
                score.max(0.0).powi(2)
            } else {
                (score - largest).exp() / sum
            };
            o.iter_mut().zip(v).for_each(|(o, v)| *o += weight * v);
        }
        linear(&multiply(&o, r), &self.out_proj, Some(&self.out_bias))
    }
}

impl Mixer for SeqBoat {
    fn definition(&self) -> &'static Definition {
        &DEFINITION
    }

    fn shape(&self) -> Shape {
        Shape {
            tail: self.window * (self.key + self.value + 1),
            ..Shape::recurrent(self.width, self.modes, 1)
        }
    }

    fn weights(&self) -> Vec<&Weights> {
        let mut all = vec![
            &self.log_decay,
            &self.write,
            &self.read,
            &self.skip,
            &self.route_proj,
            &self.route_bias,
            &self.in_proj,
            &self.in_bias,
            &self.gamma,
            &self.beta,
            &self.out_proj,
            &self.out_bias,
        ];
        if let Positions::Bias(bias) | Positions::BiasByRank(bias) = &self.positions {
            all.push(bias);
        }
        all.extend(self.norm.iter().flat_map(|n| &n.1));
        all
    }

    fn step(&self, state: &mut StepState, u: &[f64], context: &Context<'_>) -> Vec<f64> {
        let change = context.change;
        let normed = |x: &[f64], [weight, bias]: &[Weights; 2]| {
            layer_norm(x, weight, bias, self.width, f64::from(EPS))
        };
        let x = match self.norm_at(NormPlace::Before) {
            Some(norm) => normed(u, norm),
            None => u.to_vec(),
        };
        let shape = self.shape();
        let exact = |w: &Weights| -> Vec<f64> { w.iter().map(|&w| w.into()).collect() };
        let shift = f64::from(change.log_decay_shift);
        let factor = f64::from(change.write_factor);
        let write = Write {
            log_decay: exact(&self.log_decay).iter().map(|g| g + shift).collect(),
            key: exact(&self.write).iter().map(|k| k * factor).collect(),
            value: x.clone(),
        };
        state.update(write, &shape, change.window);
        let averages = state.read(&exact(&self.read), self.read_scale(), &shape);
        let skipped = averages.iter().zip(&x).zip(&*self.skip);
        let m: Vec<f64> = skipped
            .map(|((a, x), &w)| silu(a + f64::from(w) * x))
            .collect();
        let routed = linear(&m, &self.route_proj, Some(&self.route_bias));
        let (s, y) = routed.split_at(2);
        let mut out: Vec<f64> = y.iter().zip(u).map(|(y, u)| y + u).collect();
        if s[1] > s[0] {
            let active = sigmoid((s[1] - s[0]) / f64::from(self.temperature));
            let h = self.attend(state, &m, context);
            out.iter_mut().zip(h).for_each(|(o, h)| *o += active * h);
        }
        state.position += 1;
        let out: Vec<f64> = out.into_iter().map(silu).collect();
        match self.norm_at(NormPlace::Behind) {
            Some(norm) => normed(&out, norm),
            None => out,
        }
    }

    fn plan(&self, p: &mut Planner) -> Taps {
        let (width, u) = (self.width, p.io.u);
        let layer = (normalise::LAYER, width, EPS);
        let x = match self.norm_at(NormPlace::Before) {
            Some([weight, bias]) => p.normalise("normed", u, layer, [Some(weight), Some(bias)]),
            None => u,
        };
        let modes = width * self.modes;
        let q = p.rows("modes read", modes);
        let k = p.rows("modes written", modes);
        let log_decay = p.gates("log_decay", modes);
        // The same rows for every token: the scan takes whole ones.
        let shift = Gate {
            shift: p.change.log_decay_shift,
            ..Gate::default()
        };
        let mut constant = |name: &str, data: &Weights, out: Columns, gate: &Gate<'_>| {
            let row = Columns::same(p.weight(&format!("constant {name}"), data), data.len());
            p.gate_into(name, row, gate, out)
        };
        let q = constant("modes read", &self.read, q, &Gate::default());
        let k = constant("modes written", &self.write, k, &Gate::default());
        let log_decay = constant("log_decay", &self.log_decay, log_decay, &shift);
        let scan = OuterScan {
            q,
            k,
            v: x,
            log_decay,
            write_scale: None,
            scale: self.read_scale() as f32,
            read_before: false,
        };
        let (average, taps) = scan.plan(p, &self.shape());
        let silu = Gate::of(pointwise::SILU);
        let m = p.add("skipped", average, x, Some(&self.skip), 1.0);
        let m = p.gate("m", m, &silu);
        let routed = p.project("routed", &self.route_proj, Some(&self.route_bias), m);
        let [s, y] = routed.split([2, width]);
        p.show_router(s);
        let routing = Routing {
            top: 1,
            renormalise: false,
        };
        let [weights, chosen] = p.route(s, 1.0 / self.temperature, routing);
        let active = p.gate("active", chosen.part(1, 1), &Gate::default());

        let projected = p.project("projected", &self.in_proj, Some(&self.in_bias), m);
        let [z, r, v] = projected.split([self.key, self.value, self.value]);
        let v = p.gate("v", v, &silu);
        let z = p.gate("z", z, &silu);
        let [mut q, mut k] = plan_query_and_key(p, z, &self.gamma, &self.beta);
        let (bias, bias_by_rank) = match &self.positions {
            Positions::Bias(bias) => (Some(bias), false),
            Positions::BiasByRank(bias) => (Some(bias), true),
            Positions::Rotary => {
                q = p.rotate("rotated q", q, (self.key, self.key), THETA);
                k = p.rotate("rotated k", k, (self.key, self.key), THETA);
                (None, false)
            }
        };
        let attention = Attention {
            heads: 1,
            kv_heads: 1,
            window: self.window + 1,
            dilation: 1,
            squared_relu: self.squared_relu,
            bias,
            active: Some(active),
            bias_by_rank,
            scale: self.score_scale() as f32,
        };
        let o = p.attend_scores([q, k, v], &attention);
        let o = p.product("gated", r, o, &silu);
        let h = p.project("h", &self.out_proj, Some(&self.out_bias), o);
        let h = p.product(
            "weighted",
            h,
            weights.part(1, 1).spread(1, width),
            &Gate::default(),
        );
        let sum = p.add("with y", h, y, None, 1.0);
        let sum = p.add("with u", sum, u, None, 1.0);
        let mut out = p.gate("out", sum, &silu);
        if let Some([weight, bias]) = self.norm_at(NormPlace::Behind) {
            out = p.normalise("normed out", out, layer, [Some(weight), Some(bias)]);
        }
        p.add_out(out);
        // Of the moving average, as all that is tapped, and not of the attention behind it.
        p.show_value(x);
        taps
    }
}
