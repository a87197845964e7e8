//! The operations that gates and layers are made of: each a pass and its output.

use super::{Columns, Planner};
use crate::kernels::activate::{self, Activate};
use crate::kernels::causal_conv::{self, CausalConv};
use crate::kernels::embed::{self, Embed};
use crate::kernels::exp_multiply::{self, ExpMultiply};
use crate::kernels::matmul::Matmul;
use crate::kernels::rms_norm::{self as norm, RmsNorm};
use crate::kernels::rotary::{self, Rotary};
use crate::kernels::scaled_add::{self, ScaledAdd};
use crate::kernels::swiglu::{self, Swiglu};
use crate::mixers::Weights;
use crate::recording::{BufferId, NONE};

/// What `kernels/activate.rs` does to each value:
/// `f(scale * x + bias)`, thresholded, clamped, times the multiplier, plus the shift.
#[derive(Clone, Copy, Debug)]
pub struct Activation<'a> {
    /// A function of `kernels/activate.rs`.
    pub function: u32,
    /// For each column.
    pub bias: Option<&'a Weights>,
    /// For each column.
    pub scale: Option<&'a Weights>,
    /// Values at or below become 0, for each column.
    pub threshold: Option<BufferId>,
    /// Lowest value.
    pub min: f32,
    /// Highest value.
    pub max: f32,
    /// Factor.
    pub multiplier: f32,
    /// Summand.
    pub shift: f32,
}

impl Default for Activation<'_> {
    fn default() -> Self {
        Activation {
            function: activate::IDENTITY,
            bias: None,
            scale: None,
            threshold: None,
            min: f32::MIN,
            max: f32::MAX,
            multiplier: 1.0,
            shift: 0.0,
        }
    }
}

impl Planner {
    /// `x W^T + bias`, W `[N, K]`; gives `[T, N]`.
    pub fn project(
        &mut self,
        name: &str,
        weight: &Weights,
        bias: Option<&Weights>,
        x: Columns,
    ) -> Columns {
        let out = self.rows(name, weight.len() / x.width);
        self.project_into(name, weight, bias, x, out);
        out
    }

    /// The same into whole rows that are there already.
    pub fn project_into(
        &mut self,
        name: &str,
        weight: &Weights,
        bias: Option<&Weights>,
        x: Columns,
        out: Columns,
    ) {
        let full_name = self.in_layer(&format!("{name}.weight"));
        let buffers = [
            self.matrix(&full_name, weight),
            self.optional(&format!("{name}.bias"), bias),
            NONE,
        ];
        self.matmul(x, buffers, out);
    }

    /// The last operation of a layer: `residual + x W^T + bias`, W `[D, K]`.
    pub fn project_out(&mut self, weight: &Weights, bias: Option<&Weights>, x: Columns) {
        #[cfg(feature = "zoo")]
        {
            self.show_inner(x);
            self.leave_all_rows();
        }
        let width = weight.len() / x.width;
        let full_name = self.in_layer("out.weight");
        let buffers = [
            self.matrix(&full_name, weight),
            self.optional("out.bias", bias),
            self.io.residual,
        ];
        self.matmul(x, buffers, Columns::all(self.io.out, width));
    }

    /// `out = x W^T (+ bias) (+ residual)` for declared buffers.
    pub fn matmul(&mut self, x: Columns, weights: [BufferId; 3], out: Columns) {
        if !self.look_up(x, weights, out) {
            self.push_matmul(x, weights, out);
        }
    }

    pub(super) fn push_matmul(
        &mut self,
        x: Columns,
        [weight, bias, residual]: [BufferId; 3],
        out: Columns,
    ) {
        self.push(
            self.product_by(weight),
            &Matmul {
                t: 0,
                k: x.width as u32,
                n: out.width as u32,
                x_stride: x.stride as u32,
                x_offset: x.offset as u32,
                has_bias: (bias != NONE).into(),
                has_residual: (residual != NONE).into(),
            },
            &[x.buffer, weight, bias, residual],
            &[out.buffer],
        );
    }

    /// `out[t] = table[tokens[t]]`, rows of this width.
    pub fn embed(&mut self, table: BufferId, tokens: BufferId, out: BufferId, width: usize) {
        let halves = self.is_packed(table).into();
        self.push(
            &embed::KERNEL,
            &Embed {
                t: 0,
                width: width as u32,
                halves,
            },
            &[table, tokens],
            &[out],
        );
    }

    /// Causal convolution of each column with `weight [C, W]`, then SiLU if asked; its last
    /// inputs are carried on.
    pub fn convolve(
        &mut self,
        name: &str,
        x: Columns,
        weight: &Weights,
        bias: Option<&Weights>,
        silu: bool,
    ) -> Columns {
        #[cfg(feature = "zoo")]
        if self.is_zero_token() {
            return Columns::all(self.layout.input("no convolution", x.width), x.width);
        }
        let out = self.rows(name, x.width);
        let width = weight.len() / x.width;
        let weight = self.weight(&format!("{name}.weight"), weight);
        let bias = self.optional(&format!("{name}.bias"), bias);
        let tail = self.state(&format!("{name} tail"), x.width * (width - 1));
        self.push(
            &causal_conv::KERNEL,
            &CausalConv {
                t: 0,
                channels: x.width as u32,
                width: width as u32,
                x_stride: x.stride as u32,
                x_offset: x.offset as u32,
                has_bias: (bias != NONE).into(),
                silu: silu.into(),
            },
            &[x.buffer, weight, bias],
            &[out.buffer, tail],
        );
        out
    }

    /// A function of each value, into `out`, whole rows.
    pub fn activate(&mut self, x: Columns, a: &Activation<'_>, out: Columns) -> Columns {
        let bias = self.optional("activation bias", a.bias);
        let scale = self.optional("activation scale", a.scale);
        self.push(
            &activate::KERNEL,
            &Activate {
                t: 0,
                width: x.width as u32,
                x_stride: x.stride as u32,
                x_offset: x.offset as u32,
                function: a.function,
                has_bias: a.bias.is_some().into(),
                has_scale: a.scale.is_some().into(),
                has_threshold: a.threshold.is_some().into(),
                min: a.min,
                max: a.max,
                multiplier: a.multiplier,
                shift: a.shift,
            },
            &[x.buffer, bias, scale, a.threshold.unwrap_or(NONE)],
            &[out.buffer],
        );
        out
    }

    /// `x / sqrt(mean(x^2) + eps) * weight` over groups of columns of whole rows, gated before or
    /// after it by `silu(z)` where `gate` gives the order (`kernels/rms_norm.rs`) and z.
    pub fn rms_norm(
        &mut self,
        name: &str,
        x: Columns,
        weight: &Weights,
        group: usize,
        eps: f32,
        gate: Option<(u32, Columns)>,
    ) -> Columns {
        let out = self.rows(name, x.width);
        let buffer = self.weight(&format!("{name}.weight"), weight);
        let (order, z) = gate.unwrap_or((norm::NO_GATE, Columns::all(NONE, 0)));
        self.push(
            &norm::KERNEL,
            &RmsNorm {
                t: 0,
                width: x.width as u32,
                group: group as u32,
                weight_len: weight.len() as u32,
                eps,
                gate: order,
                z_stride: z.stride as u32,
                z_offset: z.offset as u32,
            },
            &[x.buffer, buffer, z.buffer],
            &[out.buffer],
        );
        out
    }

    /// `x + multiplier * d * y`, x whole rows; d, if given, has one value for each
    /// `width / d.len()` columns.
    pub fn add(
        &mut self,
        name: &str,
        x: Columns,
        y: Columns,
        d: Option<&Weights>,
        multiplier: f32,
    ) -> Columns {
        let per = d.map_or(1, |d| x.width / d.len());
        let d = d.map(|d| self.weight(&format!("{name}.d"), d));
        self.combine(name, x, y, (d, per), false, multiplier)
    }

    /// `x * y`, x whole rows.
    pub fn multiply(&mut self, name: &str, x: Columns, y: Columns) -> Columns {
        self.combine(name, x, y, (None, 1), true, 1.0)
    }

    fn combine(
        &mut self,
        name: &str,
        x: Columns,
        y: Columns,
        (d, per): (Option<BufferId>, usize),
        multiply: bool,
        multiplier: f32,
    ) -> Columns {
        let out = self.rows(name, x.width);
        self.sum_into(x, y, (d, per), multiply, multiplier, out.buffer);
        out
    }

    fn sum_into(
        &mut self,
        x: Columns,
        y: Columns,
        (d, per): (Option<BufferId>, usize),
        multiply: bool,
        multiplier: f32,
        out: BufferId,
    ) {
        self.push(
            &scaled_add::KERNEL,
            &ScaledAdd {
                t: 0,
                width: x.width as u32,
                y_stride: y.stride as u32,
                y_offset: y.offset as u32,
                per: per as u32,
                has_d: d.is_some().into(),
                multiply: multiply.into(),
                multiplier,
            },
            &[x.buffer, y.buffer, d.unwrap_or(NONE)],
            &[out],
        );
    }

    /// `x * exp(w)` into whole rows, w whole rows.
    pub fn decay(&mut self, x: Columns, w: Columns, out: Columns) {
        self.push(
            &exp_multiply::KERNEL,
            &ExpMultiply {
                t: 0,
                width: out.width as u32,
                x_stride: x.stride as u32,
                x_offset: x.offset as u32,
            },
            &[x.buffer, w.buffer],
            &[out.buffer],
        );
    }

    /// `silu(gate) * up`.
    pub fn swiglu(&mut self, name: &str, gate: Columns, up: Columns) -> Columns {
        let out = self.rows(name, gate.width);
        self.push(
            &swiglu::KERNEL,
            &Swiglu {
                t: 0,
                width: gate.width as u32,
                gate_stride: gate.stride as u32,
                gate_offset: gate.offset as u32,
                up_stride: up.stride as u32,
                up_offset: up.offset as u32,
            },
            &[gate.buffer, up.buffer],
            &[out.buffer],
        );
        out
    }

    /// Rotates the first `rotated` channels of heads of width `key` by their position (half-split
    /// convention).
    pub fn rotate(
        &mut self,
        name: &str,
        x: Columns,
        (key, rotated): (usize, usize),
        theta: f64,
    ) -> Columns {
        let out = self.rows(name, x.width);
        let angles = self.rotary(theta, rotated);
        self.push(
            &rotary::KERNEL,
            &Rotary {
                t: 0,
                heads: (x.width / key) as u32,
                key: key as u32,
                rotated: rotated as u32,
                x_stride: x.stride as u32,
                x_offset: x.offset as u32,
            },
            &[x.buffer, angles],
            &[out.buffer],
        );
        out
    }

    /// The last operation of a layer without a projection: `residual + x`.
    #[cfg(feature = "zoo")]
    pub fn add_out(&mut self, x: Columns) {
        self.leave_all_rows();
        let out = self.io.out;
        self.sum_into(
            Columns::all(self.io.residual, x.width),
            x,
            (None, 1),
            false,
            1.0,
            out,
        );
    }

    /// `f x_t + (1 - f) x_{t-1}` for each column, x whole rows, where x_{-1} is 0: the token shift of
    /// RWKV-4.
    #[cfg(feature = "zoo")]
    pub fn shift_tokens<const N: usize>(
        &mut self,
        x: Columns,
        shares: [(&str, &Weights); N],
    ) -> [Columns; N] {
        let before = self.rows("token before", x.width);
        self.delay_into("token before", x, 1, before);
        let change = self.add("change of token", x, before, None, -1.0);
        shares.map(|(name, share)| self.add(name, before, change, Some(share), 1.0))
    }
}
