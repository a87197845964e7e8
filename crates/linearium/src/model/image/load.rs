//! From the files of an image classifier to its layers. Tensor names are those of ViM
//! (`hustvl/Vim vim/models_mamba.py`, `mamba_simple.py`); scan orders after the first have the
//! suffixes `_b` (as ViM's backward direction), `_c`, `_d`.

use crate::mixers::Weights;
use crate::mixers::s6::S6;
use crate::model::checkpoint::Checkpoint;
use crate::model::config::{Keys, MAX_CONV_KERNEL, MAX_HIDDEN_SIZE, MAX_WIDTH};
use crate::model::tensors::{Tensors, rates};
use crate::orders::{self, Grid};

use super::backbone::{Backbone, Block};

/// Under `model_type` in config.json.
pub const MODEL_TYPE: &str = "vim";

/// Pixels a side of the largest picture that a model may ask for.
const MAX_SIDE: usize = 2_048;
/// The most tokens of a picture.
const MAX_TOKENS: usize = 16_384;
const MAX_CLASSES: usize = 100_000;
const MAX_DEPTH: usize = 256;
const SUFFIXES: [&str; 4] = ["", "_b", "_c", "_d"];

/// True if these are the keys of an image classifier.
pub fn is_image_model(config: &[u8]) -> bool {
    let keys = Keys::read(config);
    keys.is_ok_and(|keys| keys.text("model_type") == Ok(Some(MODEL_TYPE)))
}

/// What config.json says.
struct Config {
    side: usize,
    patch: usize,
    classes: usize,
    width: usize,
    depth: usize,
    channels: usize,
    states: usize,
    rank: usize,
    conv: usize,
    eps: f32,
    class_token: Option<usize>,
    order_names: Vec<String>,
}

impl Config {
    fn read(json: &[u8]) -> Result<Config, String> {
        let keys = Keys::read(json)?;
        if keys.text("model_type")? != Some(MODEL_TYPE) {
            return Err(format!(
                "config.json does not describe an image classifier: its model_type must be “{MODEL_TYPE}”"
            ));
        }
        let side = keys.count("img_size", 224, MAX_SIDE)?;
        let patch = keys.count("patch_size", 16, MAX_SIDE)?;
        if !side.is_multiple_of(patch) {
            return Err(format!(
                "config.json has img_size {side} and patch_size {patch}: patches must cut the image without a rest"
            ));
        }
        let patches = (side / patch) * (side / patch);
        if patches >= MAX_TOKENS {
            return Err(format!(
                "config.json asks for {patches} patches where at most {} are read: choose larger patches",
                MAX_TOKENS - 1
            ));
        }
        if keys.count("in_chans", 1, 4)? != 1 {
            return Err(
                "config.json has in_chans above 1: only grey images are read, use another model"
                    .to_owned(),
            );
        }
        let class_token = match keys.text("class_token")? {
            None | Some("middle") => Some(patches / 2),
            Some("none") => None,
            Some(_) => return Err(keys.wrong_choice("class_token", &["middle", "none"])),
        };
        let order_names = keys
            .texts("scan_orders")?
            .unwrap_or_else(|| ["raster", "raster-reversed"].map(str::to_owned).to_vec());
        if order_names.is_empty() || order_names.len() > SUFFIXES.len() {
            return Err(format!(
                "config.json has {} scan_orders: give 1 to {}",
                order_names.len(),
                SUFFIXES.len()
            ));
        }
        let width = keys.count("embed_dim", 192, MAX_HIDDEN_SIZE)?;
        let channels = width * keys.count("expand", 2, 16)?;
        if channels > MAX_WIDTH {
            return Err(format!(
                "config.json asks for {channels} channels where at most {MAX_WIDTH} are read: use another model"
            ));
        }
        Ok(Config {
            side,
            patch,
            classes: keys.count("num_classes", 1_000, MAX_CLASSES)?,
            width,
            depth: keys.count("depth", 24, MAX_DEPTH)?,
            channels,
            states: keys.count("d_state", 16, 256)?,
            rank: keys.count_or("dt_rank", "auto", width.div_ceil(16), MAX_HIDDEN_SIZE)?,
            conv: keys.count("d_conv", 4, MAX_CONV_KERNEL)?,
            eps: keys.epsilon("rms_norm_eps", 1e-5)?,
            class_token,
            order_names,
        })
    }

    fn route(
        &self,
        t: &mut Tensors<'_>,
        suffix: &str,
        [in_proj, out_proj]: [&Weights; 2],
    ) -> Result<S6, String> {
        let (e, n, r) = (self.channels, self.states, self.rank);
        Ok(S6 {
            width: self.width,
            channels: e,
            states: n,
            rank: r,
            in_proj: in_proj.clone(),
            in_bias: None,
            conv_weight: t.take(&format!("conv1d{suffix}.weight"), &[e, 1, self.conv])?,
            conv_bias: Some(t.take(&format!("conv1d{suffix}.bias"), &[e])?),
            x_proj: t.take(&format!("x_proj{suffix}.weight"), &[r + 2 * n, e])?,
            norms: None,
            dt_proj: t.take(&format!("dt_proj{suffix}.weight"), &[e, r])?,
            dt_bias: t.take(&format!("dt_proj{suffix}.bias"), &[e])?,
            a: rates(&t.take(&format!("A{suffix}_log"), &[e, n])?),
            skip: t.take(&format!("D{suffix}"), &[e])?,
            out_proj: out_proj.clone(),
            out_bias: None,
        })
    }

    fn block(&self, t: &mut Tensors<'_>) -> Result<Block, String> {
        let (d, e) = (self.width, self.channels);
        let norm = t.take("norm.weight", &[d])?;
        let t = &mut t.within("mixer.");
        let in_proj = t.take("in_proj.weight", &[2 * e, d])?;
        let out_proj = t.take("out_proj.weight", &[d, e])?;
        let suffixes = SUFFIXES.iter().take(self.order_names.len());
        let routes = suffixes.map(|suffix| self.route(t, suffix, [&in_proj, &out_proj]));
        Ok(Block {
            norm,
            routes: routes.collect::<Result<_, _>>()?,
        })
    }

    /// What is added to each token: its position, and the class token or the bias of the patches.
    fn places(&self, t: &mut Tensors<'_>, tokens: usize) -> Result<Weights, String> {
        let d = self.width;
        let places = t.take("pos_embed", &[1, tokens, d])?;
        let bias = t.take("patch_embed.proj.bias", &[d])?;
        let class = match self.class_token {
            Some(_) => t.take("cls_token", &[1, 1, d])?,
            None => Weights::default(),
        };
        let rows = places.chunks_exact(d).enumerate().flat_map(|(token, row)| {
            let own = if self.class_token == Some(token) {
                &class
            } else {
                &bias
            };
            row.iter()
                .zip(own.iter())
                .map(|(p, o)| p + o)
                .collect::<Vec<_>>()
        });
        Ok(rows.collect())
    }
}

/// Reads `config.json` and a safetensors file into an image classifier.
///
/// # Errors
/// One sentence: what is wrong, where, and what to do.
pub fn load(config_json: &[u8], safetensors: Vec<u8>) -> Result<Backbone, String> {
    let config = Config::read(config_json)?;
    let mut file = Checkpoint::read(safetensors)?;
    let n = config.side / config.patch;
    let grid = Grid {
        height: n,
        width: n,
    };
    let tokens = grid.tokens() + usize::from(config.class_token.is_some());
    let order = |name: &String| orders::by_name(name, grid, config.class_token);
    let orders = config
        .order_names
        .iter()
        .map(order)
        .collect::<Result<_, _>>()?;
    let (d, p) = (config.width, config.patch);
    let t = &mut Tensors::new(&mut file, String::new());
    let patch_weight = t.take("patch_embed.proj.weight", &[d, 1, p, p])?;
    let places = config.places(t, tokens)?;
    let blocks = (0..config.depth)
        .map(|layer| config.block(&mut t.within(&format!("layers.{layer}."))))
        .collect::<Result<_, _>>()?;
    let norm = t.take("norm_f.weight", &[d])?;
    let head = t.take("head.weight", &[config.classes, d])?;
    let head_bias = t.take("head.bias", &[config.classes])?;
    file.finish(|_| false)?;
    let name = match config.class_token {
        Some(_) => "ViM",
        None => "four-way scan",
    };
    Ok(Backbone {
        name: name.to_owned(),
        side: config.side,
        patch: p,
        width: d,
        classes: config.classes,
        class_token: config.class_token,
        patch_weight,
        places,
        orders,
        order_names: config.order_names,
        blocks,
        norm,
        head,
        head_bias,
        eps: config.eps,
    })
}
