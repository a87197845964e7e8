//! MoM, mixture of memories (arXiv 2502.13685) over the gated delta rule.
//!
//! A router sends each token to the `top` memories m with the largest `softmax(W_r u)_m`, their
//! weights w divided by their sum. A memory sees its tokens only: its convolutions run along them,
//! and for all others its state stays as it is. For each of its heads
//! `S_t = e^g S_{t-1} + beta k (v - e^g S_{t-1}^T k)^T`, `g = A softplus(a + dt_bias)`,
//! `beta = sigmoid(b)`, q and k of length 1. `o_t = K^-1/2 sum_m w_m S_m^T q_m`, where a shared
//! memory, if there is one, gets every token with the weight 1; `out = W_o (RMSNorm(o) * silu(W_g u))`.
//! Official code: `OpenSparseLLMs/MoM`, `mom/layers/mom.py`.
//!
//! Here a head of a memory is a head: H of them a memory, the shared memory last.

use super::{
    Context, Definition, Mixer, NO_STEPS, Planner, Shape, Size, StepState, Taps, Weights, Write,
};
use crate::kernels::{activate, pointwise, rms_norm as norm};
use crate::model::tensors::Tensors;
use crate::plan::delta_scan::{DeltaScan, Erase, NO_WINDOW};
use crate::plan::pointwise::Gate;
use crate::plan::{Activation, Columns, Routing};
use crate::random::Random;
use crate::step::{l2_norm, linear, multiply, rms_norm, sigmoid, silu, softplus};

/// The registry's entry.
pub static DEFINITION: Definition = Definition {
    id: "mom",
    name: "MoM (mixture of memories)",
    glossary: &[
        ("u", "[T, D] normalised input of the layer"),
        (
            "w",
            "[T, M] weight of each memory, 0 where the token is not routed to it",
        ),
        (
            "q, k",
            "[T, M, H, K] query and key of length 1, 0 in other memories",
        ),
        ("v", "[T, M, H, V] value"),
        (
            "beta",
            "[T, M, H] how much of what the key recalls is replaced",
        ),
        (
            "g",
            "[T, M, H] log-decay, 0 where the token is not routed to the memory",
        ),
        (
            "S",
            "[M, H, K, V] states of all memories, the shared one last",
        ),
    ],
    ignores: &[NO_STEPS, NO_WINDOW],
    size: Size::heads_of_64,
    random,
};

/// Added to the square of the length of q and k.
const LENGTH_EPS: f32 = 1e-6;

/// Weights of one layer. M counts the memories, the shared one too; P projects keys, values and
/// gates: M of them, or one for all memories.
#[derive(Clone)]
pub struct Mom {
    /// Model width D.
    pub width: usize,
    /// Heads H of a memory.
    pub heads: usize,
    /// Key width K of a head.
    pub key: usize,
    /// Value width V of a head.
    pub value: usize,
    /// Memories that tokens are routed to.
    pub routed: usize,
    /// How many a token is routed to.
    pub top: usize,
    /// Whether there is a memory for all tokens.
    pub shared: bool,
    /// True if all memories have the same keys, values and gates (`single_kv_proj`).
    pub single: bool,
    /// `[routed + HK + HV, D]`, rows router, q, output gate.
    pub in_proj: Weights,
    /// `[P HK + P HV + 2 P H, D]`, rows k, v, a, b.
    pub write_proj: Weights,
    /// `[HK, conv]`.
    pub q_conv: Weights,
    /// `[HK, conv]`.
    pub k_conv: Weights,
    /// `[HV, conv]`.
    pub v_conv: Weights,
    /// A = -exp(A_log), `[H]`.
    pub a: Weights,
    /// `[H]`.
    pub dt_bias: Weights,
    /// `[V]`, shared by the heads.
    pub norm: Weights,
    /// Added to the mean square.
    pub eps: f32,
    /// `[D, HV]`.
    pub out_proj: Weights,
}

fn random(size: &Size, random: &mut Random) -> Box<dyn Mixer> {
    let (routed, conv) = (4, 4);
    let (keys, values) = (size.heads * size.key, size.heads * size.value);
    let deviation = |n: usize| (n as f64).sqrt().recip();
    let rows = (routed + 1) * (keys + values + 2 * size.heads);
    let (low, high) = (1e-3f64.ln(), 0.1f64.ln());
    let dt_bias = (0..size.heads).map(|_| {
        let dt = (low + (high - low) * random.uniform()).exp();
        (dt + (-(-dt).exp_m1()).ln()) as f32
    });
    let dt_bias = dt_bias.collect();
    let mut convolution =
        |channels: usize| -> Weights { random.normals(channels * conv, deviation(conv)).into() };
    let [q_conv, k_conv, v_conv] = [keys, keys, values].map(&mut convolution);
    let mut projection = |rows: usize, columns: usize| -> Weights {
        random.normals(rows * columns, deviation(columns)).into()
    };
    Box::new(Mom {
        width: size.width,
        heads: size.heads,
        key: size.key,
        value: size.value,
        routed,
        top: 2,
        shared: true,
        single: false,
        in_proj: projection(routed + keys + values, size.width),
        write_proj: projection(rows, size.width),
        out_proj: projection(size.width, values),
        q_conv,
        k_conv,
        v_conv,
        a: random.uniforms(size.heads, -16.0, 0.0).into(),
        dt_bias,
        norm: vec![1.0; size.value].into(),
        eps: 1e-5,
    })
}

/// What a layer of the official code is made with.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Memories that tokens are routed to.
    pub memories: usize,
    /// How many a token is routed to.
    pub top: usize,
    /// Whether there is a memory for all tokens.
    pub shared: bool,
    /// Whether all memories have the same keys, values and gates (`single_kv_proj`).
    pub single: bool,
    /// Width of the convolutions.
    pub conv: usize,
}

impl Mom {
    /// A layer of the official `MomAttention`.
    ///
    /// # Errors
    /// A sentence if a tensor is missing or has another shape.
    pub fn load(t: &mut Tensors<'_>, size: &Size, options: Options) -> Result<Mom, String> {
        let Size {
            width,
            heads,
            key,
            value,
        } = *size;
        let (keys, values, conv) = (heads * key, heads * value, options.conv);
        let names = |part: &str| -> Vec<String> {
            let shared = format!("shared_{part}");
            if options.single {
                return vec![shared];
            }
            let routed = (0..options.memories).map(|m| format!("{part}_proj.{m}"));
            routed.chain(options.shared.then_some(shared)).collect()
        };
        let mut write_proj = Vec::new();
        for (part, rows) in [("k", keys), ("v", values), ("a", heads), ("b", heads)] {
            for name in names(part) {
                write_proj.extend_from_slice(&t.stacked(&[(&name, rows)], width)?);
            }
        }
        let rows = [
            ("gate", options.memories),
            ("q_proj", keys),
            ("g_proj", values),
        ];
        let a_log = t.take("A_log", &[heads])?;
        Ok(Mom {
            width,
            heads,
            key,
            value,
            routed: options.memories,
            top: options.top,
            shared: options.shared,
            single: options.single,
            in_proj: t.stacked(&rows, width)?,
            write_proj: write_proj.into(),
            q_conv: t.take("q_conv1d.weight", &[keys, 1, conv])?,
            k_conv: t.take("k_conv1d.weight", &[keys, 1, conv])?,
            v_conv: t.take("v_conv1d.weight", &[values, 1, conv])?,
            a: a_log.iter().map(|a| -a.exp()).collect(),
            dt_bias: t.take("dt_bias", &[heads])?,
            norm: t.take("o_norm.weight", &[value])?,
            eps: 1e-5,
            out_proj: t.take("o_proj.weight", &[width, values])?,
        })
    }

    fn keys(&self) -> usize {
        self.heads * self.key
    }

    fn values(&self) -> usize {
        self.heads * self.value
    }

    /// M.
    fn memories(&self) -> usize {
        self.routed + usize::from(self.shared)
    }

    /// P.
    fn projections(&self) -> usize {
        if self.single { 1 } else { self.memories() }
    }

    fn conv(&self) -> usize {
        self.q_conv.len() / self.keys()
    }

    /// The weight of each memory for this token, 0 where it is not routed to it.
    fn route(&self, logits: &[f64]) -> Vec<f64> {
        let mut order: Vec<usize> = (0..logits.len()).collect();
        // Stable: of two equal memories the first.
        order.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]));
        let chosen = &order[..self.top];
        let exp = |m: usize| (logits[m] - logits[order[0]]).exp();
        let sum: f64 = chosen.iter().map(|&m| exp(m)).sum();
        let mut weights = vec![0.0; logits.len()];
        chosen.iter().for_each(|&m| weights[m] = exp(m) / sum);
        weights
    }
}

impl Mixer for Mom {
    fn definition(&self) -> &'static Definition {
        &DEFINITION
    }

    fn shape(&self) -> Shape {
        Shape {
            tail: self.memories() * (2 * self.keys() + self.values()) * (self.conv() - 1),
            ..Shape::recurrent(self.memories() * self.heads, self.key, self.value)
        }
    }

    fn weights(&self) -> Vec<&Weights> {
        vec![
            &self.in_proj,
            &self.write_proj,
            &self.q_conv,
            &self.k_conv,
            &self.v_conv,
            &self.a,
            &self.dt_bias,
            &self.norm,
            &self.out_proj,
        ]
    }

    fn step(&self, state: &mut StepState, u: &[f64], context: &Context<'_>) -> Vec<f64> {
        let (keys, values, memories) = (self.keys(), self.values(), self.memories());
        let change = context.change;
        let projected = linear(u, &self.in_proj, None);
        let (logits, rest) = projected.split_at(self.routed);
        let (q, z) = rest.split_at(keys);
        let written = linear(u, &self.write_proj, None);
        let of = self.projections();
        let (k, rest) = written.split_at(of * keys);
        let (v, rest) = rest.split_at(of * values);
        let (a, b) = rest.split_at(of * self.heads);
        let mut route = self.route(logits);
        route.resize(memories, 1.0);
        let shape = self.shape();
        let (mut qs, mut write) = (
            Vec::new(),
            Write {
                log_decay: Vec::new(),
                key: Vec::new(),
                value: Vec::new(),
            },
        );
        let mut rates = Vec::new();
        for (m, weight) in route.iter().enumerate() {
            if *weight == 0.0 {
                qs.extend(vec![0.0; keys]);
                write.key.extend(vec![0.0; keys]);
                write.log_decay.extend(vec![0.0; keys]);
                write.value.extend(vec![0.0; values]);
                rates.extend(vec![0.0; keys]);
                continue;
            }
            let from = if self.single { 0 } else { m };
            let inputs = [q, &k[from * keys..][..keys], &v[from * values..][..values]].concat();
            let weights = [&self.q_conv[..], &self.k_conv, &self.v_conv].concat();
            // The last inputs of this memory alone.
            let tails = state.carried("tails", memories * self.conv() * inputs.len());
            let len = tails.len() / memories;
            let mut alone = StepState::default();
            *alone.carried("tail", len) = tails[m * len..][..len].to_vec();
            let convolved = alone.convolve("tail", &inputs, &weights, None);
            tails[m * len..][..len].copy_from_slice(alone.carried("tail", len));
            let mut convolved: Vec<f64> = convolved.into_iter().map(silu).collect();
            l2_norm(&mut convolved[..2 * keys], self.key, f64::from(LENGTH_EPS));
            qs.extend_from_slice(&convolved[..keys]);
            write.key.extend_from_slice(&convolved[keys..2 * keys]);
            write.value.extend_from_slice(&convolved[2 * keys..]);
            for h in 0..self.heads {
                let column = from * self.heads + h;
                let dt = softplus(a[column] + f64::from(self.dt_bias[h]));
                let g = f64::from(self.a[h]) * dt + f64::from(change.log_decay_shift);
                write.log_decay.extend(vec![g; self.key]);
                rates.extend(vec![sigmoid(b[column]); self.key]);
            }
        }
        let decayed = write.log_decay.iter().zip(&write.key);
        let recalled: Vec<f64> = decayed.map(|(g, k)| -g.exp() * k).collect();
        let erased = multiply(&rates, &write.key);
        let factor = f64::from(change.write_factor);
        write.key = erased.iter().map(|k| factor * k).collect();
        state.update_erasing(write, &erased, &recalled, &shape);
        let read = state.read(&qs, (self.key as f64).sqrt().recip(), &shape);
        let mut o = vec![0.0; values];
        for (weight, read) in route.iter().zip(read.chunks_exact(values)) {
            o.iter_mut().zip(read).for_each(|(o, r)| *o += weight * r);
        }
        let o = rms_norm(&o, &self.norm, self.value, f64::from(self.eps));
        let z: Vec<f64> = z.iter().map(|&z| silu(z)).collect();
        linear(&multiply(&o, &z), &self.out_proj, None)
    }

    fn plan(&self, p: &mut Planner) -> Taps {
        let (keys, values, heads) = (self.keys(), self.values(), self.heads);
        let (of, memories) = (self.projections(), self.memories());
        let projected = p.project("projected", &self.in_proj, None, p.io.u);
        let [logits, q, z] = projected.split([self.routed, keys, values]);
        let written = p.project("written", &self.write_proj, None, p.io.u);
        let [k, v, a, b] = written.split([of * keys, of * values, of * heads, of * heads]);
        let routing = Routing {
            top: self.top,
            renormalise: true,
        };
        let [weights, chosen] = p.route(logits, 1.0, routing);
        let q = p.convolve_routed(
            "convolved q",
            q,
            &self.q_conv,
            memories,
            chosen,
            self.conv(),
        );
        let k = p.convolve_routed(
            "convolved k",
            k,
            &self.k_conv,
            memories,
            chosen,
            self.conv(),
        );
        let v = p.convolve_routed(
            "convolved v",
            v,
            &self.v_conv,
            memories,
            chosen,
            self.conv(),
        );
        let q = p.l2_norm("q", q, self.key, LENGTH_EPS);
        let k = p.l2_norm("k", k, self.key, LENGTH_EPS);
        let beta = p.gate("beta", b, &Gate::of(pointwise::SIGMOID));
        let dt_bias = repeated(&self.dt_bias, of);
        let rates = repeated(&self.a, of);
        let decay = Activation {
            function: activate::SOFTPLUS,
            bias: Some(&dt_bias),
            scale: Some(&rates),
            shift: p.change.log_decay_shift,
            ..Activation::default()
        };
        let every = p.rows("every log_decay", of * heads);
        let every = p.activate(a, &decay, every);
        let [beta, every] = if self.single {
            // The memories side by side, all with the same gates.
            [("beta of all", beta), ("log_decay of all", every)]
                .map(|(name, x)| p.gate(name, x.spread(heads, memories), &Gate::default()))
        } else {
            [beta, every]
        };
        let log_decay = p.gates("log_decay", memories * heads);
        let routed = self.routed * heads;
        let here = chosen.spread(1, heads);
        p.product_into(
            "routed decay",
            every.part(0, routed),
            here,
            &Gate::default(),
            log_decay.part(0, routed),
        );
        if self.shared {
            let rest = |x: Columns| x.part(routed, heads);
            p.gate_into(
                "shared decay",
                rest(every),
                &Gate::default(),
                rest(log_decay),
            );
        }
        let scan = DeltaScan {
            q,
            k,
            v,
            log_decay,
            erase: Erase::Rate(beta),
            scale: (self.key as f32).sqrt().recip(),
        };
        let (o, taps) = scan.plan(p, &self.shape());
        let o = p.mix("mixed", o, weights, memories);
        let gate = Some((norm::NORM_THEN_GATE, z));
        let o = p.rms_norm("normed", o, &self.norm, self.value, self.eps, gate);
        p.project_out(&self.out_proj, None, o);
        taps
    }
}

fn repeated(x: &Weights, times: usize) -> Weights {
    x.repeat(times).into()
}
