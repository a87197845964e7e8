//! Operations of the kernels `pointwise`, `normalise` and `bonus`, which no mixer of the first load
//! needs.

use super::{Columns, Planner};
use crate::kernels::bonus::{self, Bonus};
use crate::kernels::normalise::{self, Normalise};
use crate::kernels::pointwise::{self, Pointwise};
use crate::mixers::{Shape, Weights};
use crate::recording::NONE;

/// Columns of which each block is taken several times, as `kernels/pointwise.rs` says.
#[derive(Clone, Copy, Debug)]
pub struct Spread {
    columns: Columns,
    block: usize,
    repeat: usize,
}

impl From<Columns> for Spread {
    fn from(columns: Columns) -> Spread {
        columns.spread(columns.width.max(1), 1)
    }
}

impl Columns {
    /// Each block of so many columns `repeat` times: `spread(1, K)` gives every channel of a head
    /// the head's value, `spread(K, R)` gives R heads the keys of their group.
    pub fn spread(self, block: usize, repeat: usize) -> Spread {
        Spread {
            columns: self,
            block,
            repeat,
        }
    }
}

/// `multiplier * scale * f(inner * x + bias) + shift`, bias and scale one value a column.
#[derive(Clone, Copy, Debug)]
pub struct Gate<'a> {
    /// A function of `kernels/pointwise.rs`.
    pub function: u32,
    /// Multiplies x.
    pub inner: f32,
    /// For each column.
    pub bias: Option<&'a Weights>,
    /// For each column.
    pub scale: Option<&'a Weights>,
    /// Factor.
    pub multiplier: f32,
    /// Summand.
    pub shift: f32,
}

impl Default for Gate<'_> {
    fn default() -> Self {
        Gate::of(pointwise::IDENTITY)
    }
}

impl Gate<'_> {
    /// A function and nothing else.
    pub fn of(function: u32) -> Self {
        Gate {
            function,
            inner: 1.0,
            bias: None,
            scale: None,
            multiplier: 1.0,
            shift: 0.0,
        }
    }
}

impl Planner {
    /// A function of each value.
    pub fn gate(&mut self, name: &str, x: impl Into<Spread>, gate: &Gate<'_>) -> Columns {
        let x = x.into();
        let out = self.rows(name, x.columns.width * x.repeat);
        self.gate_into(name, x, gate, out)
    }

    /// The same into these columns.
    pub fn gate_into(
        &mut self,
        name: &str,
        x: impl Into<Spread>,
        gate: &Gate<'_>,
        out: Columns,
    ) -> Columns {
        let none = Columns::all(NONE, 0).into();
        self.combine_into(name, x.into(), (pointwise::ALONE, none), gate, out)
    }

    /// `multiplier * scale * (f(inner * x + bias) * y) + shift` into these columns.
    pub fn product_into(
        &mut self,
        name: &str,
        x: impl Into<Spread>,
        y: impl Into<Spread>,
        gate: &Gate<'_>,
        out: Columns,
    ) -> Columns {
        let y = (pointwise::MULTIPLY, y.into());
        self.combine_into(name, x.into(), y, gate, out)
    }

    /// `f(x) * y`.
    pub fn product(
        &mut self,
        name: &str,
        x: impl Into<Spread>,
        y: impl Into<Spread>,
        gate: &Gate<'_>,
    ) -> Columns {
        let x = x.into();
        let out = self.rows(name, x.columns.width * x.repeat);
        self.product_into(name, x, y, gate, out)
    }

    /// `x / y`.
    pub fn quotient(&mut self, name: &str, x: impl Into<Spread>, y: impl Into<Spread>) -> Columns {
        let x = x.into();
        let out = self.rows(name, x.columns.width * x.repeat);
        let y = (pointwise::DIVIDE, y.into());
        self.combine_into(name, x, y, &Gate::default(), out)
    }

    fn combine_into(
        &mut self,
        name: &str,
        x: Spread,
        (operation, y): (u32, Spread),
        gate: &Gate<'_>,
        out: Columns,
    ) -> Columns {
        let bias = self.optional(&format!("{name}.bias"), gate.bias);
        let scale = self.optional(&format!("{name}.scale"), gate.scale);
        let flag = |there, flag| if there { flag } else { 0 };
        self.push(
            &pointwise::KERNEL,
            &Pointwise {
                t: 0,
                width: out.width as u32,
                x_stride: x.columns.stride as u32,
                x_offset: x.columns.offset as u32,
                x_block: x.block as u32,
                x_repeat: x.repeat as u32,
                y_stride: y.columns.stride as u32,
                y_offset: y.columns.offset as u32,
                y_block: y.block as u32,
                y_repeat: y.repeat as u32,
                out_stride: out.stride as u32,
                out_offset: out.offset as u32,
                form: gate.function
                    | operation
                    | flag(gate.bias.is_some(), pointwise::HAS_BIAS)
                    | flag(gate.scale.is_some(), pointwise::HAS_SCALE),
                inner: gate.inner,
                multiplier: gate.multiplier,
                shift: gate.shift,
            },
            &[x.columns.buffer, y.columns.buffer, bias, scale],
            &[out.buffer],
        );
        out
    }

    /// Groups of columns normalised as a kind of `kernels/normalise.rs` says.
    pub fn normalise(
        &mut self,
        name: &str,
        x: Columns,
        (kind, group, eps): (u32, usize, f32),
        [weight, bias]: [Option<&Weights>; 2],
    ) -> Columns {
        let out = self.rows(name, x.width);
        let buffers = [
            x.buffer,
            self.optional(&format!("{name}.weight"), weight),
            self.optional(&format!("{name}.bias"), bias),
        ];
        self.push(
            &normalise::KERNEL,
            &Normalise {
                t: 0,
                width: x.width as u32,
                group: group as u32,
                x_stride: x.stride as u32,
                x_offset: x.offset as u32,
                kind,
                eps,
                has_weight: weight.is_some().into(),
                has_bias: bias.is_some().into(),
            },
            &buffers,
            &[out.buffer],
        );
        out
    }

    /// `x / sqrt(sum(x^2) + eps)` over groups of columns of whole rows.
    pub fn l2_norm(&mut self, name: &str, x: Columns, group: usize, eps: f32) -> Columns {
        let weight = vec![(group as f32).sqrt().recip(); group].into();
        self.rms_norm(name, x, &weight, group, eps / group as f32, None)
    }

    /// `x + multiplier (sum_i q_i d_i k_i) v` for each head; x `[T, H, V]` whole rows, d `[H, K]`.
    pub fn bonus(
        &mut self,
        x: Columns,
        [q, k, v]: [Columns; 3],
        d: &Weights,
        multiplier: f32,
        shape: &Shape,
    ) -> Columns {
        let out = self.rows("with bonus", x.width);
        let d = self.weight("bonus", d);
        self.push(
            &bonus::KERNEL,
            &Bonus {
                t: 0,
                heads: shape.heads as u32,
                key: shape.key as u32,
                value: shape.value as u32,
                q_stride: q.stride as u32,
                q_offset: q.offset as u32,
                k_stride: k.stride as u32,
                k_offset: k.offset as u32,
                v_stride: v.stride as u32,
                v_offset: v.offset as u32,
                multiplier,
            },
            &[x.buffer, q.buffer, k.buffer, v.buffer, d],
            &[out.buffer],
        );
        out
    }

    /// The rows of the token before, zeros before the first: the token shift of RWKV.
    pub fn previous(&mut self, x: Columns) -> Columns {
        let out = self.rows("previous", x.width);
        self.delay_into("previous", x, 1, out);
        out
    }
}
