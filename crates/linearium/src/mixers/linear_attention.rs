//! Linear attention (arXiv 2006.16236): a feature map in place of the exponential makes softmax
//! attention a sum that is carried along.
//!
//! `q = phi(W_q u)`, `k = phi(W_k u)`, `v = W_v u`; for each head `S_t = S_{t-1} + k_t v_t^T`,
//! `o_t = K^-1/2 S_t^T q_t`; normalised, that over `z_t = K^-1/2 q_t^T sum_j k_j + 1e-10`;
//! `out = W_o RMSNorm(o)`. Official code: flash-linear-attention `fla/layers/linear_attn.py`,
//! `fla/ops/linear_attn/naive.py`. Nothing decays; a decay factor c makes S_{t-1} and the sum of
//! keys decay by c; a write factor multiplies what goes into S and not the sum of keys, which would
//! cancel it.

use super::{
    Context, Definition, Mixer, NO_STEPS, Planner, Shape, Size, StepState, Taps, Weights, Write,
};
use crate::kernels::normalise;
use crate::model::tensors::Tensors;
use crate::parts::feature_map::FeatureMap;
use crate::plan::Columns;
use crate::plan::outer_scan::OuterScan;
use crate::plan::pointwise::Gate;
use crate::random::Random;
use crate::step::{linear, rms_norm, spread, sum_norm};

/// The registry's entry.
pub static DEFINITION: Definition = Definition {
    id: "linear_attention",
    name: "Linear attention",
    glossary: &[
        ("u", "[T, D] normalised input of the layer"),
        ("phi", "feature map of a head's query or key"),
        ("q, k", "[T, H, K] features of query and key"),
        ("v", "[T, H, V] value"),
        ("S", "[H, K, V] state"),
        ("z", "[T, H] normaliser, the weights of all tokens added up"),
    ],
    ignores: &[NO_STEPS],
    size: Size::heads_of_64_in_width,
    random,
};

/// Added to the normaliser.
const NORMALISER_EPS: f64 = 1e-10;

/// Added to the sum by which features are divided.
const SUM_EPS: f64 = 1e-4;

/// The options of the official layer.
#[derive(Clone, Debug)]
pub struct Options {
    /// Heads G of keys and values, which divide the heads.
    pub groups: usize,
    /// Name of the feature map in the official configuration.
    pub feature_map: &'static str,
    /// True if query and key share the map's weights.
    pub tied: bool,
    /// True if the features of a query, and of a key, are divided by their sum.
    pub sum_norms: [bool; 2],
    /// True if what is read is divided by z.
    pub normalised: bool,
    /// True if the output has a norm.
    pub output_norm: bool,
    /// Added to the mean square in it.
    pub eps: f32,
}

/// Weights of one layer.
#[derive(Clone, Debug)]
pub struct LinearAttention {
    /// Model width D, heads H, key width K before the feature map and value width V of a head.
    pub size: Size,
    /// Heads G of keys and values.
    pub groups: usize,
    /// `[HK, D]`.
    pub q_proj: Weights,
    /// `[GK, D]`.
    pub k_proj: Weights,
    /// `[GV, D]`.
    pub v_proj: Weights,
    /// Of query and key.
    pub maps: [FeatureMap; 2],
    /// True if the features of a query, and of a key, are divided by their sum.
    pub sum_norms: [bool; 2],
    /// True if what is read is divided by z.
    pub normalised: bool,
    /// `[V]`, shared by the heads.
    pub norm: Option<Weights>,
    /// Added to the mean square.
    pub eps: f32,
    /// `[D, HV]`.
    pub out_proj: Weights,
}

/// Normalised, with elu(x) + 1: the layer of the paper, with the norm of its successors.
fn random(size: &Size, random: &mut Random) -> Box<dyn Mixer> {
    let Size {
        width,
        heads,
        key,
        value,
    } = *size;
    let mut matrix = |rows: usize, columns: usize| -> Weights {
        random
            .normals(rows * columns, (columns as f64).sqrt().recip())
            .into()
    };
    Box::new(LinearAttention {
        size: *size,
        groups: heads,
        q_proj: matrix(heads * key, width),
        k_proj: matrix(heads * key, width),
        v_proj: matrix(heads * value, width),
        maps: [FeatureMap::EluPlusOne, FeatureMap::EluPlusOne],
        sum_norms: [false, false],
        normalised: true,
        norm: Some(vec![1.0; value].into()),
        eps: 1e-5,
        out_proj: matrix(width, heads * value),
    })
}

impl LinearAttention {
    /// Takes the tensors of `fla/layers/linear_attn.py`.
    ///
    /// # Errors
    /// A sentence if a tensor is missing or has another shape, the groups do not divide the
    /// heads, or the feature map is unknown.
    pub fn load(
        t: &mut Tensors<'_>,
        size: &Size,
        options: &Options,
    ) -> Result<LinearAttention, String> {
        let Size {
            width,
            heads,
            key,
            value,
        } = *size;
        let groups = options.groups;
        size.check_groups(groups)?;
        let of_q = FeatureMap::load(t, options.feature_map, "feature_map_q", key)?;
        let of_k = if options.tied {
            of_q.clone()
        } else {
            FeatureMap::load(t, options.feature_map, "feature_map_k", key)?
        };
        Ok(LinearAttention {
            size: *size,
            groups,
            q_proj: t.take("q_proj.weight", &[heads * key, width])?,
            k_proj: t.take("k_proj.weight", &[groups * key, width])?,
            v_proj: t.take("v_proj.weight", &[groups * value, width])?,
            maps: [of_q, of_k],
            sum_norms: options.sum_norms,
            normalised: options.normalised,
            norm: t.take_if(options.output_norm, "norm.weight", value)?,
            eps: options.eps,
            out_proj: t.take("o_proj.weight", &[width, heads * value])?,
        })
    }

    /// Features of a head.
    fn features(&self) -> usize {
        self.maps[0].features(self.size.key)
    }

    /// The state without the sum of keys.
    fn outer(&self) -> Shape {
        Shape::recurrent(self.size.heads, self.features(), self.size.value)
    }

    /// The sum of keys, as a state with values of one channel, all 1.
    fn sums(&self) -> Shape {
        Shape::recurrent(self.size.heads, self.features(), 1)
    }

    fn scale(&self) -> f64 {
        (self.features() as f64).sqrt().recip()
    }
}

impl Mixer for LinearAttention {
    fn definition(&self) -> &'static Definition {
        &DEFINITION
    }

    fn shape(&self) -> Shape {
        let mut shape = self.outer();
        if self.normalised {
            shape.state += self.sums().state;
        }
        shape
    }

    fn weights(&self) -> Vec<&Weights> {
        let mut all = vec![&self.q_proj, &self.k_proj, &self.v_proj, &self.out_proj];
        all.extend(self.maps.iter().flat_map(FeatureMap::weights));
        all.extend(&self.norm);
        all
    }

    fn step(&self, state: &mut StepState, u: &[f64], context: &Context<'_>) -> Vec<f64> {
        let (heads, value, change) = (self.size.heads, self.size.value, context.change);
        let (features, per_group) = (self.features(), heads / self.groups);
        let [mut q, mut k] = [(&self.q_proj, &self.maps[0]), (&self.k_proj, &self.maps[1])]
            .map(|(projection, map)| map.step(&linear(u, projection, None), self.size.key));
        for (x, there) in [&mut q, &mut k].into_iter().zip(self.sum_norms) {
            if there {
                sum_norm(x, features, SUM_EPS);
            }
        }
        let k = spread(&k, features, per_group);
        let v = spread(&linear(u, &self.v_proj, None), value, per_group);
        let write = Write {
            log_decay: vec![f64::from(change.log_decay_shift); heads * features],
            key: k
                .iter()
                .map(|k| k * f64::from(change.write_factor))
                .collect(),
            value: v,
        };
        let ones = Write {
            key: k,
            value: vec![1.0; heads],
            ..write.clone()
        };
        state.update(write, &self.outer(), change.window);
        let mut o = state.read(&q, self.scale(), &self.outer());
        if self.normalised {
            let sums = state.second();
            sums.update(ones, &self.sums(), change.window);
            let z = sums.read(&q, self.scale(), &self.sums());
            for (o, z) in o.chunks_exact_mut(value).zip(z) {
                o.iter_mut().for_each(|o| *o /= z + NORMALISER_EPS);
            }
            state.last_read.clone_from(&o);
        }
        if let Some(norm) = &self.norm {
            o = rms_norm(&o, norm, value, f64::from(self.eps));
        }
        linear(&o, &self.out_proj, None)
    }

    fn plan(&self, p: &mut Planner) -> Taps {
        let (heads, value, u) = (self.size.heads, self.size.value, p.io.u);
        let (features, per_group) = (self.features(), heads / self.groups);
        let mut q = self.maps[0].plan(p, "q", &self.q_proj, u);
        let mut k = self.maps[1].plan(p, "k", &self.k_proj, u);
        let mut v = p.project("v", &self.v_proj, None, u);
        for ((name, x), there) in [("q", &mut q), ("k", &mut k)]
            .into_iter()
            .zip(self.sum_norms)
        {
            if there {
                let sum = (normalise::SUM, features, SUM_EPS as f32);
                *x = p.normalise(&format!("{name} over its sum"), *x, sum, [None; 2]);
            }
        }
        if per_group > 1 {
            k = p.gate(
                "k of heads",
                k.spread(features, per_group),
                &Gate::default(),
            );
            v = p.gate("v of heads", v.spread(value, per_group), &Gate::default());
        }
        let nothing: Weights = vec![0.0; heads].into();
        let nothing = Columns::same(p.weight("no decay", &nothing), heads);
        let log_decay = p.gates("log_decay", heads);
        let shift = Gate {
            shift: p.change.log_decay_shift,
            ..Gate::default()
        };
        p.gate_into("log_decay", nothing, &shift, log_decay);
        let scan = OuterScan {
            q,
            k,
            v,
            log_decay,
            write_scale: None,
            scale: self.scale() as f32,
            read_before: false,
        };
        // Before the other scan, which uses the same scratch memory.
        let z = self.normalised.then(|| {
            let ones: Weights = vec![1.0; heads].into();
            let ones = Columns::same(p.weight("ones of values", &ones), heads);
            let factor = std::mem::replace(&mut p.change.write_factor, 1.0);
            let (sum, _) = OuterScan { v: ones, ..scan }.plan(p, &self.sums());
            p.change.write_factor = factor;
            let above_zero = Gate {
                shift: NORMALISER_EPS as f32,
                ..Gate::default()
            };
            p.gate("z", sum, &above_zero)
        });
        let (mut o, taps) = scan.plan(p, &self.outer());
        if let Some(z) = z {
            o = p.quotient("over z", o, z.spread(1, value));
        }
        if let Some(norm) = &self.norm {
            o = p.rms_norm("normed", o, norm, value, self.eps, None);
        }
        p.project_out(&self.out_proj, None, o);
        Taps {
            normaliser: z,
            ..taps
        }
    }
}
