//! Attention over a choice of tokens, softmax over time, routers and what they lead to.

use std::mem::offset_of;

use super::{Columns, Planner};
use crate::kernels::mix::{self, Mix};
use crate::kernels::reorder::{self, Reorder};
use crate::kernels::route::{self, Route};
use crate::kernels::routed_conv::{self, RoutedConv};
use crate::kernels::running_softmax::{self, RunningSoftmax};
use crate::kernels::score_attention::{self, ScoreAttention};
use crate::mixers::Weights;
use crate::recording::NONE;

/// Which tokens attention sees, and how it weighs them (`kernels/score_attention.rs`).
#[derive(Clone, Copy, Debug)]
pub struct Attention<'a> {
    /// Query heads H.
    pub heads: usize,
    /// Heads of keys and values G; divides H.
    pub kv_heads: usize,
    /// The most tokens that one sees, itself included; 0 for all.
    pub window: usize,
    /// Distance from one token that is seen to the next.
    pub dilation: usize,
    /// Weights are `relu(score)^2`, not a softmax.
    pub squared_relu: bool,
    /// Added to the score, by distance; a distance beyond it has the last one.
    pub bias: Option<&'a Weights>,
    /// 1 or 0 `[T]`, whole rows: only active tokens see and are seen, and the window counts them.
    pub active: Option<Columns>,
    /// The distance of the bias is counted in active tokens too.
    pub bias_by_rank: bool,
    /// Multiplies the products of q and k.
    pub scale: f32,
}

/// The largest columns that a router keeps.
#[derive(Clone, Copy, Debug)]
pub struct Routing {
    /// How many.
    pub top: usize,
    /// Whether their weights are divided by their sum.
    pub renormalise: bool,
}

impl Planner {
    /// Attention of `q [T, H, K]` on `k [T, G, K]` and `v [T, G, V]`, all whole rows; gives
    /// `[T, H, V]`. The window of the lab ends it too.
    pub fn attend_scores(&mut self, [q, k, v]: [Columns; 3], a: &Attention<'_>) -> Columns {
        self.enter_attention(v);
        let value = v.width / a.kv_heads;
        let out = self.rows("attended", a.heads * value);
        let rows = match a.window {
            0 => self.capacity,
            window => self.capacity.min((window - 1) * a.dilation + self.segment),
        };
        let flag = |given: bool, flag: u32| if given { flag } else { 0 };
        let params = ScoreAttention {
            t: 0,
            heads: a.heads as u32,
            kv_heads: a.kv_heads as u32,
            key: (q.width / a.heads) as u32,
            value: value as u32,
            position: 0,
            rows: rows.max(self.segment) as u32,
            window: a.window as u32,
            dilation: a.dilation as u32,
            reach: self.change.window as u32,
            flags: flag(a.squared_relu, ScoreAttention::SQUARED_RELU)
                + flag(a.active.is_some(), ScoreAttention::ROUTED)
                + flag(a.bias_by_rank, ScoreAttention::BIAS_BY_RANK),
            bias_len: a.bias.map_or(0, |b| b.len()) as u32,
            scale: a.scale,
            write_factor: self.change.write_factor,
        };
        let ring = self.state("attention ring", params.ring_len());
        let ranks = match a.active {
            Some(_) => 1 + self.segment,
            None => 1,
        };
        let ranks = self.state("attention ranks", ranks);
        let bias = self.optional("attention bias", a.bias);
        let active = a.active.map_or(NONE, |c| c.buffer);
        self.push(
            &score_attention::KERNEL,
            &params,
            &[q.buffer, k.buffer, v.buffer, bias, active],
            &[out.buffer, ring, ranks],
        );
        self.with_position(offset_of!(ScoreAttention, position), 0);
        out
    }

    /// The weight of each token and the log-decay of all before it, whose recurrence is a softmax
    /// over time of the logits x, for each column (`kernels/running_softmax.rs`).
    pub fn running_softmax(&mut self, x: Columns) -> [Columns; 2] {
        self.has_no_zero_token(
            "decays by the running sum of its keys, so that a token of zeros alone has no decay: it holds its state",
        );
        let weight = self.rows("share", x.width);
        let log_decay = self.gates("log_decay", x.width);
        let state = self.state("running softmax", 2 * x.width);
        self.push(
            &running_softmax::KERNEL,
            &RunningSoftmax {
                t: 0,
                width: x.width as u32,
                x_stride: x.stride as u32,
                x_offset: x.offset as u32,
                shift: self.change.log_decay_shift,
            },
            &[x.buffer],
            &[weight.buffer, log_decay.buffer, state],
        );
        [weight, log_decay]
    }

    /// A router: of `softmax(multiplier * x)` over all columns the largest few, all others 0, and
    /// which they are (1 or 0); `[T, width]` each.
    pub fn route(&mut self, x: Columns, multiplier: f32, routing: Routing) -> [Columns; 2] {
        let weights = self.rows("route", x.width);
        let chosen = self.rows("chosen", x.width);
        let params = Route {
            t: 0,
            width: x.width as u32,
            x_stride: x.stride as u32,
            x_offset: x.offset as u32,
            top: routing.top as u32,
            renormalise: routing.renormalise.into(),
            multiplier,
        };
        let writes = [weights.buffer, chosen.buffer];
        self.push(&route::KERNEL, &params, &[x.buffer], &writes);
        [weights, chosen]
    }

    /// Causal convolution, then SiLU, of the columns of each memory, or of the same columns for
    /// all, along the tokens that are routed to it, with `weight [C, W]`; gives `[T, memories, C]`,
    /// 0 where a token is not. `chosen [T, routed]`, whole rows: a memory beyond gets every token.
    pub fn convolve_routed(
        &mut self,
        name: &str,
        x: Columns,
        weight: &Weights,
        memories: usize,
        chosen: Columns,
        width: usize,
    ) -> Columns {
        let channels = weight.len() / width;
        let out = self.rows(name, memories * channels);
        let buffer = self.weight(&format!("{name}.weight"), weight);
        let tail = self.state(&format!("{name} tail"), memories * channels * (width - 1));
        self.push(
            &routed_conv::KERNEL,
            &RoutedConv {
                t: 0,
                memories: memories as u32,
                channels: channels as u32,
                width: width as u32,
                x_stride: x.stride as u32,
                x_offset: x.offset as u32,
                shared: (x.width == channels).into(),
                routed: chosen.width as u32,
            },
            &[x.buffer, buffer, chosen.buffer],
            &[out.buffer, tail],
        );
        out
    }

    /// Sum of what the memories gave, `x [T, memories, width]`, by their weights `[T, routed]`,
    /// both whole rows; a memory beyond has the weight 1.
    pub fn mix(&mut self, name: &str, x: Columns, weights: Columns, memories: usize) -> Columns {
        let out = self.rows(name, x.width / memories);
        self.push(
            &mix::KERNEL,
            &Mix {
                t: 0,
                width: out.width as u32,
                memories: memories as u32,
                weighted: weights.width as u32,
            },
            &[x.buffer, weights.buffer],
            &[out.buffer],
        );
        out
    }

    /// Rows from the last to the first, or in this order: a row number for each `[T]`. The
    /// recording must hold all of them.
    pub fn reorder(&mut self, name: &str, x: Columns, order: Option<&Weights>) -> Columns {
        let out = self.rows(name, x.width);
        let buffer = self.optional(&format!("{name}.order"), order);
        let carried = self.state(&format!("{name} carried"), 1);
        self.push(
            &reorder::KERNEL,
            &Reorder {
                t: 0,
                width: x.width as u32,
                x_stride: x.stride as u32,
                x_offset: x.offset as u32,
                has_order: order.is_some().into(),
                fill: 0.0,
            },
            &[x.buffer, buffer],
            &[out.buffer, carried],
        );
        out
    }
}
