//! What the layers of flash-linear-attention may do to queries, keys and values before the scan:
//! a short convolution with SiLU, then a feature map of queries and keys
//! (`fla/layers/gla.py`, `fla/layers/multiscale_retention.py`).

use crate::kernels::activate;
#[cfg(feature = "zoo")]
use crate::mixers::Size;
use crate::mixers::{Planner, Weights};
#[cfg(feature = "zoo")]
use crate::model::tensors::{Tensors, repeated};
use crate::plan::{Activation, Columns};
#[cfg(feature = "zoo")]
use crate::step::{StepState, silu};

/// A function of queries and keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FeatureMap {
    /// Nothing.
    #[default]
    Identity,
    /// `max(x, 0)`.
    Relu,
    /// `x / (1 + e^-x)`.
    Silu,
}

/// The options of a layer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Heads that share keys and values, 1 for none.
    pub heads_per_group: usize,
    /// Taps of the short convolution and whether it has a bias, if there is one.
    pub conv: Option<(usize, bool)>,
    /// Of queries and keys.
    pub feature: FeatureMap,
    /// True if the output is gated, by the projection `g_proj`.
    pub gate: bool,
    /// True if norm and gate are one module, whose weight has another name.
    pub fused: bool,
    /// False if the norm has no weight.
    pub affine: bool,
}

/// What is done to `[q|k|v]`, `[2HK + HV]`.
#[derive(Clone, Debug, Default)]
pub struct Qkv {
    /// `[2HK + HV, W]`, the short convolution.
    pub conv: Option<Weights>,
    /// `[2HK + HV]`.
    pub conv_bias: Option<Weights>,
    /// Of queries and keys.
    pub feature: FeatureMap,
}

#[cfg(feature = "zoo")]
impl Qkv {
    /// Takes the projections, `[2HK + HV, D]`, and convolutions. Heads that share keys and values
    /// get rows of their own, all the same: their states differ no less.
    ///
    /// # Errors
    /// A sentence if a tensor is missing or has another shape.
    pub fn load(
        t: &mut Tensors<'_>,
        size: &Size,
        options: &Options,
    ) -> Result<(Vec<f32>, Qkv), String> {
        let times = options.heads_per_group;
        let parts = [
            ("q", size.heads, size.key, 1),
            ("k", size.heads / times, size.key, times),
            ("v", size.heads / times, size.value, times),
        ];
        let (mut rows, mut taps, mut bias) = (Vec::new(), Vec::new(), Vec::new());
        for (name, heads, width, times) in parts {
            let channels = heads * width;
            let all = t.take(&format!("{name}_proj.weight"), &[channels, size.width])?;
            rows.extend_from_slice(&repeated(&all, width * size.width, times));
            let Some((w, has_bias)) = options.conv else {
                continue;
            };
            let all = t.take(&format!("{name}_conv1d.weight"), &[channels, 1, w])?;
            taps.extend_from_slice(&repeated(&all, width * w, times));
            if let Some(all) = t.take_if(has_bias, &format!("{name}_conv1d.bias"), channels)? {
                bias.extend_from_slice(&repeated(&all, width, times));
            }
        }
        let has_bias = options.conv.is_some_and(|(_, bias)| bias);
        let qkv = Qkv {
            conv: options.conv.map(|_| taps.into()),
            conv_bias: has_bias.then(|| bias.into()),
            feature: options.feature,
        };
        Ok((rows, qkv))
    }

    /// Takes the norm of the output, `[V]`.
    ///
    /// # Errors
    /// A sentence if it is missing or has another shape.
    pub fn load_norm(
        t: &mut Tensors<'_>,
        value: usize,
        options: &Options,
    ) -> Result<Weights, String> {
        if !options.affine {
            return Ok(vec![1.0; value].into());
        }
        let name = if options.gate && options.fused {
            "g_norm_swish_gate.weight"
        } else {
            "g_norm.weight"
        };
        t.take(name, &[value])
    }

    /// One token; the first `keys` values are q and k.
    pub fn step(&self, state: &mut StepState, mut qkv: Vec<f64>, keys: usize) -> Vec<f64> {
        if let Some(conv) = &self.conv {
            let convolved = state.convolve("qkv", &qkv, conv, self.conv_bias.as_deref());
            qkv = convolved.into_iter().map(silu).collect();
        }
        for x in &mut qkv[..keys] {
            *x = match self.feature {
                FeatureMap::Identity => *x,
                FeatureMap::Relu => x.max(0.0),
                FeatureMap::Silu => silu(*x),
            };
        }
        qkv
    }
}

impl Qkv {
    /// All weights.
    pub fn weights(&self) -> impl Iterator<Item = &Weights> {
        self.conv.iter().chain(&self.conv_bias)
    }

    /// Values carried by the convolution.
    pub fn tail(&self, channels: usize) -> usize {
        self.conv.as_ref().map_or(0, |conv| conv.len() - channels)
    }

    /// Notes the passes; gives q and k, which are neighbours and `keys` wide together, and v.
    pub fn plan(&self, p: &mut Planner, mut qkv: Columns, keys: usize) -> [Columns; 2] {
        if let Some(conv) = &self.conv {
            qkv = p.convolve("convolved", qkv, conv, self.conv_bias.as_ref(), true);
        }
        let [qk, v] = qkv.split([keys, qkv.width - keys]);
        let (function, min) = match self.feature {
            FeatureMap::Identity => return [qk, v],
            FeatureMap::Relu => (activate::IDENTITY, 0.0),
            FeatureMap::Silu => (activate::SILU, f32::MIN),
        };
        let map = Activation {
            function,
            min,
            ..Activation::default()
        };
        let out = p.rows("mapped", keys);
        [p.activate(qk, &map, out), v]
    }
}
