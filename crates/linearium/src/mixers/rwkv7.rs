//! RWKV-7 (arXiv 2503.14456): a state whose decay and erasure are vectors of their own.
//!
//! With the token before, `x_* = u + (u_{t-1} - u) mu_*`; `r, k, v` are linear in `x_r, x_k, x_v`;
//! `g = -e^-1/2 sigmoid(lora_w(x_w))`, `a = sigmoid(lora_a(x_a))`, `kk = k k_k` of unit length,
//! `k <- k (1 + (a - 1) k_a)`, `v <- v + (v_first - v) sigmoid(lora_v(x_v))` behind the first layer,
//! whose value is `v_first`; for each head
//! `S_t = (diag(exp(g_t)) - (kk a) kk^T) S_{t-1} + k v^T`, `o_t = S_t^T r_t`;
//! `out = W_o ((GroupNorm(o) + (sum r r_k k) v) * lora_g(x_g))`. Official code:
//! flash-linear-attention `fla/layers/rwkv7.py`, `fla/ops/generalized_delta_rule/dplr/naive.py`.

use super::{
    Context, Definition, Mixer, NO_STEPS, Planner, Shape, Size, StepState, Taps, Weights, Write,
};
use crate::kernels::{normalise, pointwise};
use crate::model::tensors::Tensors;
use crate::plan::Columns;
use crate::plan::delta_scan::{DeltaScan, Erase, NO_WINDOW};
use crate::plan::pointwise::Gate;
use crate::random::Random;
use crate::step::{l2_norm, layer_norm, linear, multiply, sigmoid};

/// The registry's entry.
pub static DEFINITION: Definition = Definition {
    id: "rwkv7",
    name: "RWKV-7",
    glossary: &[
        ("u", "[T, D] normalised input of the layer"),
        ("r", "[T, H, K] receptance: where to read"),
        ("k", "[T, H, K] key: where to write"),
        (
            "v",
            "[T, H, V] value, drawn towards that of the first layer",
        ),
        ("kk", "[T, H, K] key of unit length: what to erase"),
        ("a", "[T, H, K] how much is erased, 0 to 1"),
        ("g", "[T, H, K] log-decay, -0.61 to 0"),
        ("S", "[H, K, V] state"),
    ],
    ignores: &[NO_STEPS, NO_WINDOW],
    size: Size::heads_of_64_in_width,
    random,
};

/// e^-1/2, the most that a channel decays by in a token as a logarithm.
const MOST_DECAY: f64 = 0.606_530_659_712_633_4;

/// Added to the square of the length of a key; the official code takes lengths below 1e-12 as that.
const LENGTH_EPS: f64 = 1e-24;

/// The name under which the first layer leaves its value.
const FIRST_VALUE: &str = "v_first";

/// Two linear maps through few channels.
#[derive(Clone, Debug)]
pub struct Lora {
    /// `[R, D]`.
    pub down: Weights,
    /// `[N, R]`.
    pub up: Weights,
    /// `[N]`.
    pub bias: Option<Weights>,
}

impl Lora {
    /// Random weights.
    fn random(
        width: usize,
        rank: usize,
        bias: Option<Vec<f32>>,
        out: usize,
        r: &mut Random,
    ) -> Lora {
        Lora {
            down: r
                .normals(rank * width, (width as f64).sqrt().recip())
                .into(),
            up: r
                .normals(out * rank, 0.3 * (rank as f64).sqrt().recip())
                .into(),
            bias: bias.map(Weights::from),
        }
    }

    /// Takes `{name}.lora.0.weight`, `{name}.lora.2.weight` and perhaps `{name}.lora.2.bias`.
    pub(super) fn load(
        t: &mut Tensors<'_>,
        name: &str,
        [width, rank, out]: [usize; 3],
        bias: bool,
    ) -> Result<Lora, String> {
        Ok(Lora {
            down: t.take(&format!("{name}.lora.0.weight"), &[rank, width])?,
            up: t.take(&format!("{name}.lora.2.weight"), &[out, rank])?,
            bias: t.take_if(bias, &format!("{name}.lora.2.bias"), out)?,
        })
    }

    pub(super) fn weights(&self) -> impl Iterator<Item = &Weights> {
        [&self.down, &self.up].into_iter().chain(&self.bias)
    }

    pub(super) fn step(&self, x: &[f64], f: impl Fn(f64) -> f64) -> Vec<f64> {
        let inner: Vec<f64> = linear(x, &self.down, None).into_iter().map(f).collect();
        linear(&inner, &self.up, self.bias.as_deref())
    }

    pub(super) fn plan(&self, p: &mut Planner, name: &str, x: Columns, function: u32) -> Columns {
        let mut inner = p.project(&format!("{name} down"), &self.down, None, x);
        if function != pointwise::IDENTITY {
            inner = p.gate(&format!("{name} inner"), inner, &Gate::of(function));
        }
        p.project(&format!("{name} up"), &self.up, self.bias.as_ref(), inner)
    }
}

/// Ranks of the low-rank maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ranks {
    /// Of the decay.
    pub decay: usize,
    /// Of the erasure.
    pub erase: usize,
    /// Of the share of the first value.
    pub value: usize,
    /// Of the output gate.
    pub gate: usize,
}

impl Ranks {
    /// Those that the official layer has by default.
    pub fn of(width: usize, key: usize) -> Ranks {
        let factor = key as f64 / 64.0;
        let rank = |share: f64| {
            let channels = share * (width as f64).sqrt();
            ((channels / 32.0).round_ties_even() as usize * 32).max(32)
        };
        Ranks {
            decay: rank(2.5 * factor),
            erase: rank(2.5 * factor),
            value: rank(1.7 * factor),
            gate: rank(5.0),
        }
    }
}

/// Weights of one layer.
#[derive(Clone, Debug)]
pub struct Rwkv7 {
    /// Model width D, heads H, key width K and value width V of a head.
    pub size: Size,
    /// Shares of the token before in x_r, x_w, x_k, x_v, x_a, x_g, `[D]` each.
    pub mix: [Weights; 6],
    /// `[HK, D]`.
    pub r_proj: Weights,
    /// `[HK, D]`.
    pub k_proj: Weights,
    /// `[HV, D]`.
    pub v_proj: Weights,
    /// Of the decay, through tanh.
    pub w_lora: Lora,
    /// Of the erasure.
    pub a_lora: Lora,
    /// Of the share of the first value; the first layer needs none.
    pub v_lora: Option<Lora>,
    /// Of the output gate, through a sigmoid.
    pub g_lora: Lora,
    /// Turns the key into what is erased, `[HK]`.
    pub k_k: Weights,
    /// How much of the erasure goes into the key, `[HK]`.
    pub k_a: Weights,
    /// Weighs the present token behind the norm, `[H, K]`.
    pub r_k: Weights,
    /// `[HV]`.
    pub norm: Weights,
    /// `[HV]`.
    pub norm_bias: Weights,
    /// Added to the variance.
    pub eps: f32,
    /// `[D, HV]`.
    pub out_proj: Weights,
}

/// Initialised as a first layer (`RWKV7Attention._initialize_weights`), except that the low-rank
/// maps and the output projection are not 0, where gates would be constant and the layer silent.
fn random(size: &Size, random: &mut Random) -> Box<dyn Mixer> {
    let Size {
        width,
        heads,
        key,
        value,
    } = *size;
    let (keys, values) = (heads * key, heads * value);
    let ranks = Ranks::of(width, key);
    let share = |n: usize, of: usize| n as f64 / (of.max(2) - 1) as f64;
    let mix = [0.2, 0.9, 0.7, 0.7, 0.9, 0.2].map(|power: f64| {
        let mix = (0..width).map(|n| 1.0 - (n as f64 / width as f64).powf(power));
        mix.map(|x| x as f32).collect()
    });
    let zigzag = |n: usize| {
        let x = 2.0 * share(n % key, key) - 1.0;
        x * x.abs()
    };
    let channels = |len: usize, f: &dyn Fn(usize) -> f64| -> Vec<f32> {
        (0..len).map(|n| f(n) as f32).collect()
    };
    let decay = channels(keys, &|n| {
        -6.0 + 6.0 * share(n, keys) + 0.5 + 2.5 * zigzag(n)
    });
    let erase = channels(keys, &|n| {
        -0.19 + 0.3 * zigzag(n) + 0.4 * (share(n, keys) - 0.5)
    });
    let first = channels(values, &|n| 0.73 - 0.4 * (share(n, values) - 0.5));
    let r = random;
    let mut matrix = |rows: usize, columns: usize, gain: f64| -> Weights {
        r.normals(rows * columns, gain * (columns as f64).sqrt().recip())
            .into()
    };
    Box::new(Rwkv7 {
        size: *size,
        mix,
        r_proj: matrix(keys, width, 1.0),
        k_proj: matrix(keys, width, 1.0),
        v_proj: matrix(values, width, 1.0),
        out_proj: matrix(width, values, 1.0),
        w_lora: Lora::random(width, ranks.decay, Some(decay), keys, r),
        a_lora: Lora::random(width, ranks.erase, Some(erase), keys, r),
        v_lora: Some(Lora::random(width, ranks.value, Some(first), values, r)),
        g_lora: Lora::random(width, ranks.gate, None, values, r),
        k_k: channels(keys, &|n| 0.71 - 0.1 * (share(n, keys) - 0.5)).into(),
        k_a: vec![1.02; keys].into(),
        r_k: vec![-0.04; keys].into(),
        norm: vec![1.0; values].into(),
        norm_bias: vec![0.0; values].into(),
        eps: key as f32 * 1e-5,
    })
}

impl Rwkv7 {
    /// Takes the tensors of `fla/layers/rwkv7.py`; `norm_eps` is that of its configuration, and
    /// the first layer of a model has no `v_lora`.
    ///
    /// # Errors
    /// A sentence if a tensor is missing or has another shape.
    pub fn load(
        t: &mut Tensors<'_>,
        size: &Size,
        ranks: &Ranks,
        norm_eps: f32,
        first: bool,
    ) -> Result<Rwkv7, String> {
        let Size {
            width,
            heads,
            key,
            value,
        } = *size;
        let (keys, values) = (heads * key, heads * value);
        let mut mix = |name: &str| t.take(name, &[1, 1, width]);
        let mix = [
            mix("x_r")?,
            mix("x_w")?,
            mix("x_k")?,
            mix("x_v")?,
            mix("x_a")?,
            mix("x_g")?,
        ];
        let v_lora = if first {
            None
        } else {
            Some(Lora::load(t, "v_lora", [width, ranks.value, values], true)?)
        };
        Ok(Rwkv7 {
            size: *size,
            mix,
            r_proj: t.take("r_proj.weight", &[keys, width])?,
            k_proj: t.take("k_proj.weight", &[keys, width])?,
            v_proj: t.take("v_proj.weight", &[values, width])?,
            w_lora: Lora::load(t, "w_lora", [width, ranks.decay, keys], true)?,
            a_lora: Lora::load(t, "a_lora", [width, ranks.erase, keys], true)?,
            v_lora,
            g_lora: Lora::load(t, "g_lora", [width, ranks.gate, values], false)?,
            k_k: t.take("k_k", &[keys])?,
            k_a: t.take("k_a", &[keys])?,
            r_k: t.take("r_k", &[heads, key])?,
            norm: t.take("g_norm.weight", &[values])?,
            norm_bias: t.take("g_norm.bias", &[values])?,
            eps: key as f32 * norm_eps,
            out_proj: t.take("o_proj.weight", &[width, values])?,
        })
    }

    /// Its value as the first layer leaves it, or drawn towards what that has left.
    fn value(&self, xv: &[f64], context: &Context<'_>) -> Vec<f64> {
        let mut v = linear(xv, &self.v_proj, None);
        let mut left = context.left.borrow_mut();
        let (Some(lora), Some(first)) = (&self.v_lora, left.get(FIRST_VALUE)) else {
            left.insert(FIRST_VALUE, v.clone());
            return v;
        };
        let share = lora.step(xv, |x| x);
        for ((v, first), share) in v.iter_mut().zip(first).zip(share) {
            *v += (first - *v) * sigmoid(share);
        }
        v
    }

    fn plan_value(&self, p: &mut Planner, xv: Columns) -> Columns {
        let (Some(lora), Some(first)) = (&self.v_lora, p.left(FIRST_VALUE)) else {
            let v = p.gates(FIRST_VALUE, self.v_proj.len() / xv.width);
            p.project_into("v", &self.v_proj, None, xv, v);
            p.leave(FIRST_VALUE, v);
            return v;
        };
        let v = p.project("v", &self.v_proj, None, xv);
        let share = lora.plan(p, "v share", xv, pointwise::IDENTITY);
        let towards = p.add("towards v_first", first, v, None, -1.0);
        let sigmoid = Gate::of(pointwise::SIGMOID);
        let drawn = p.product("drawn", share, towards, &sigmoid);
        p.add("mixed v", v, drawn, None, 1.0)
    }
}

impl Mixer for Rwkv7 {
    fn definition(&self) -> &'static Definition {
        &DEFINITION
    }

    fn shape(&self) -> Shape {
        let Size {
            width,
            heads,
            key,
            value,
        } = self.size;
        Shape {
            tail: width,
            ..Shape::recurrent(heads, key, value)
        }
    }

    fn weights(&self) -> Vec<&Weights> {
        let mut all: Vec<&Weights> = self.mix.iter().collect();
        all.extend([
            &self.r_proj,
            &self.k_proj,
            &self.v_proj,
            &self.k_k,
            &self.k_a,
            &self.r_k,
            &self.norm,
            &self.norm_bias,
            &self.out_proj,
        ]);
        let loras = [&self.w_lora, &self.a_lora, &self.g_lora];
        all.extend(
            loras
                .into_iter()
                .chain(&self.v_lora)
                .flat_map(Lora::weights),
        );
        all
    }

    fn step(&self, state: &mut StepState, u: &[f64], context: &Context<'_>) -> Vec<f64> {
        let Size {
            heads, key, value, ..
        } = self.size;
        let change = context.change;
        let before = std::mem::replace(state.carried("u", u.len()), u.to_vec());
        let [xr, xw, xk, xv, xa, xg] = self.mix.each_ref().map(|mix| {
            let pairs = u.iter().zip(&before).zip(&**mix);
            pairs
                .map(|((u, before), &mix)| u + (before - u) * f64::from(mix))
                .collect::<Vec<f64>>()
        });
        let r = linear(&xr, &self.r_proj, None);
        let log_decay = self.w_lora.step(&xw, f64::tanh);
        let log_decay = log_decay
            .iter()
            .map(|&w| -MOST_DECAY * sigmoid(w) + f64::from(change.log_decay_shift))
            .collect();
        let mut k = linear(&xk, &self.k_proj, None);
        let v = self.value(&xv, context);
        let a: Vec<f64> = self
            .a_lora
            .step(&xa, |x| x)
            .into_iter()
            .map(sigmoid)
            .collect();
        let gate = self.g_lora.step(&xg, sigmoid);
        let mut kk: Vec<f64> = k
            .iter()
            .zip(&*self.k_k)
            .map(|(k, &c)| k * f64::from(c))
            .collect();
        l2_norm(&mut kk, key, LENGTH_EPS);
        for ((k, a), &k_a) in k.iter_mut().zip(&a).zip(&*self.k_a) {
            *k *= 1.0 + (a - 1.0) * f64::from(k_a);
        }
        let write = Write {
            log_decay,
            key: k
                .iter()
                .map(|k| k * f64::from(change.write_factor))
                .collect(),
            value: v.clone(),
        };
        let shape = self.shape();
        let minus_kk: Vec<f64> = kk.iter().map(|x| -x).collect();
        state.update_erasing(write, &multiply(&kk, &a), &minus_kk, &shape);
        let o = state.read(&r, 1.0, &shape);
        let mut o = layer_norm(&o, &self.norm, &self.norm_bias, value, f64::from(self.eps));
        for h in 0..heads {
            let weight: f64 = (h * key..(h + 1) * key)
                .map(|i| r[i] * f64::from(self.r_k[i]) * k[i])
                .sum();
            for i in h * value..(h + 1) * value {
                o[i] += weight * v[i];
            }
        }
        linear(&multiply(&o, &gate), &self.out_proj, None)
    }

    fn plan(&self, p: &mut Planner) -> Taps {
        let Size {
            heads, key, value, ..
        } = self.size;
        let keys = heads * key;
        let u = p.io.u;
        let before = p.previous(u);
        let change = p.add("change", before, u, None, -1.0);
        let names = ["x_r", "x_w", "x_k", "x_v", "x_a", "x_g"];
        let mut mixes = names.iter().zip(&self.mix);
        let [xr, xw, xk, xv, xa, xg] = std::array::from_fn(|_| match mixes.next() {
            Some((name, mix)) => p.add(name, u, change, Some(mix), 1.0),
            None => u,
        });
        let r = p.project("r", &self.r_proj, None, xr);
        let k = p.project("k", &self.k_proj, None, xk);
        let v = self.plan_value(p, xv);
        let w = self.w_lora.plan(p, "w", xw, pointwise::TANH);
        let log_decay = p.gates("log_decay", keys);
        let decay = Gate {
            multiplier: -MOST_DECAY as f32,
            shift: p.change.log_decay_shift,
            ..Gate::of(pointwise::SIGMOID)
        };
        p.gate_into("log_decay", w, &decay, log_decay);
        let a = self.a_lora.plan(p, "a", xa, pointwise::IDENTITY);
        let scaled = Gate {
            scale: Some(&self.k_k),
            ..Gate::default()
        };
        let kk = p.gate("kk", k, &scaled);
        let kk = p.l2_norm("normed kk", kk, key, LENGTH_EPS as f32);
        // a = -kk, b = kk sigmoid(a)
        let erase = p.rows("erase", 2 * keys);
        let [minus_kk, replaced] = erase.split([keys; 2]);
        let minus = Gate {
            multiplier: -1.0,
            ..Gate::default()
        };
        p.gate_into("minus kk", kk, &minus, minus_kk);
        let sigmoid = Gate::of(pointwise::SIGMOID);
        p.product_into("kk a", a, kk, &sigmoid, replaced);
        // 1 + (sigmoid(a) - 1) k_a, without the difference.
        let share = Gate {
            inner: -1.0,
            scale: Some(&self.k_a),
            multiplier: -1.0,
            shift: 1.0,
            ..sigmoid
        };
        let share = p.gate("key share", a, &share);
        let k = p.multiply("written k", k, share);
        let scan = DeltaScan {
            q: r,
            k,
            v,
            log_decay,
            erase: Erase::Vectors(erase),
            scale: 1.0,
        };
        let (o, taps) = scan.plan(p, &self.shape());
        let kind = (normalise::LAYER, value, self.eps);
        let affine = [Some(&self.norm), Some(&self.norm_bias)];
        let o = p.normalise("normed", o, kind, affine);
        let o = p.bonus(o, [r, k, v], &self.r_k, 1.0, &self.shape());
        let gate = self.g_lora.plan(p, "g", xg, pointwise::SIGMOID);
        let o = p.multiply("gated", o, gate);
        p.project_out(&self.out_proj, None, o);
        taps
    }
}
