//! Mamba-2 of `transformers` (`models/mamba2/`).

use super::{BACKBONE, Family, Layers, Read};
use crate::mixers::Weights;
use crate::mixers::ssd::Ssd;
use crate::model::config::{
    Common, Defaults, Keys, MAX_CONV_KERNEL, MAX_HIDDEN_SIZE, MAX_WIDTH, SILU, width,
};
use crate::model::stack::{Block, Norm};
use crate::model::tensors::{Tensors, rates};

/// Its entry.
pub static FAMILY: Family = Family {
    model_type: "mamba2",
    class: "Mamba2ForCausalLM",
    name: "Mamba-2",
    names: BACKBONE,
    mark: "mixer.dt_bias",
    read,
    ignores: |_| false,
};

/// A layer of Mamba-2.
#[derive(Clone, Debug, PartialEq)]
pub struct Mamba2 {
    /// Width N of the state of one head.
    pub state_size: usize,
    /// Width P of one head.
    pub head_dim: usize,
    /// Number of heads H.
    pub num_heads: usize,
    /// Number G of groups that share B and C; the gated norm normalises each group of H·P / G
    /// channels for itself.
    pub n_groups: usize,
    /// Taps of the causal convolution.
    pub conv_kernel: usize,
    /// Whether the convolution has a bias.
    pub use_conv_bias: bool,
    /// Whether `in_proj` and `out_proj` have a bias.
    pub use_bias: bool,
    /// The step size after softplus is clamped to this range; the upper end may be infinite.
    pub time_step_limit: [f32; 2],
}

fn read(keys: &Keys) -> Read {
    let (common, layer) = Mamba2::read(keys)?;
    Ok((common, Box::new(layer)))
}

impl Mamba2 {
    /// Reads its keys.
    ///
    /// # Errors
    /// One sentence that names the key.
    pub fn read(keys: &Keys) -> Result<(Common, Mamba2), String> {
        let common = keys.common(&Defaults {
            vocab_size: 32_768,
            hidden_size: 4096,
            layers: 64,
            tied: false,
            eps: ("layer_norm_epsilon", 1e-5),
            activation: SILU,
        })?;
        let layer = Mamba2 {
            num_heads: keys.count("num_heads", 128, MAX_WIDTH)?,
            head_dim: keys.count("head_dim", 64, MAX_WIDTH)?,
            state_size: keys.count("state_size", 128, MAX_HIDDEN_SIZE)?,
            n_groups: keys.count("n_groups", 8, MAX_WIDTH)?,
            conv_kernel: keys.count("conv_kernel", 4, MAX_CONV_KERNEL)?,
            use_conv_bias: keys.flag("use_conv_bias", true)?,
            use_bias: keys.flag("use_bias", false)?,
            time_step_limit: keys.time_step_limit()?,
        };
        let expanded = keys.expanded("expand", 2.0, common.hidden_size)?;
        layer.check(
            ["num_heads", "head_dim", "n_groups", "state_size", "expand"],
            expanded,
        )?;
        Ok((common, layer))
    }

    /// Holds the dimensions against each other; hybrids have other names for them.
    pub(super) fn check(
        &self,
        [heads, dim, groups, states, expand]: [&str; 5],
        expanded: usize,
    ) -> Result<(), String> {
        let mixer = width(&format!("{heads} × {dim}"), self.num_heads, self.head_dim)?;
        width(
            &format!("{groups} × {states}"),
            self.n_groups,
            self.state_size,
        )?;
        if expanded != mixer {
            return Err(format!(
                "config.json has {heads} × {dim} = {mixer} but {expand} × hidden_size = {expanded}: correct one of the four keys"
            ));
        }
        if !self.num_heads.is_multiple_of(self.n_groups) {
            return Err(format!(
                "config.json has {} {heads}, which {} {groups} do not divide: correct one of the two keys",
                self.num_heads, self.n_groups
            ));
        }
        Ok(())
    }

    /// The mixer of one layer.
    pub(super) fn mixer(&self, common: &Common, t: &mut Tensors<'_>) -> Result<Ssd, String> {
        let (d, e) = (common.hidden_size, self.num_heads * self.head_dim);
        let channels = e + 2 * self.n_groups * self.state_size;
        let rows = e + channels + self.num_heads;
        Ok(Ssd {
            width: d,
            heads: self.num_heads,
            value: self.head_dim,
            key: self.state_size,
            groups: self.n_groups,
            in_proj: t.take("in_proj.weight", &[rows, d])?,
            in_bias: t.take_if(self.use_bias, "in_proj.bias", rows)?,
            conv_weight: t.take("conv1d.weight", &[channels, 1, self.conv_kernel])?,
            conv_bias: t.take_if(self.use_conv_bias, "conv1d.bias", channels)?,
            dt_bias: t.take("dt_bias", &[self.num_heads])?,
            a: rates(&t.take("A_log", &[self.num_heads])?),
            skip: t.take("D", &[self.num_heads])?,
            norm: t.take("norm.weight", &[e])?,
            norm_group: e / self.n_groups,
            eps: common.eps,
            dt_limit: (self.time_step_limit[0], self.time_step_limit[1]),
            out_proj: t.take("out_proj.weight", &[d, e])?,
            out_bias: t.take_if(self.use_bias, "out_proj.bias", d)?,
        })
    }
}

impl Layers for Mamba2 {
    fn block(
        &self,
        common: &Common,
        _layer: usize,
        _shared: Option<&Weights>,
        t: &mut Tensors<'_>,
    ) -> Result<Block, String> {
        Ok(Block {
            stream_norm: None,
            norm: Norm::rms(t, "norm", common.hidden_size)?,
            mixer: Box::new(self.mixer(common, &mut t.within("mixer."))?),
            feed_forward: None,
        })
    }
}
