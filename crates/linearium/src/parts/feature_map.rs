//! Feature maps of linear attention: what stands for the exponential of softmax, applied to every
//! head of a query or key. `fla/modules/feature_map.py`.

use crate::kernels::{normalise, pointwise};
use crate::mixers::{Planner, Weights};
use crate::model::tensors::Tensors;
use crate::plan::Columns;
use crate::plan::pointwise::Gate;
use crate::step::linear;

/// A linear map of a head's channels, shared by the heads.
#[derive(Clone, Debug)]
pub struct HeadMap {
    /// `[N, K]`.
    pub weight: Weights,
    /// `[N]`.
    pub bias: Option<Weights>,
}

/// A feature map with its weights.
#[derive(Clone, Debug)]
pub enum FeatureMap {
    /// x itself.
    Identity,
    /// max(x, 0).
    Relu,
    /// elu(x) + 1 (arXiv 2006.16236).
    EluPlusOne,
    /// max(L x, 0) (T2R, arXiv 2103.13076).
    Learned(HeadMap),
    /// softmax of `[2 L x, -2 L x]`: twice as many features (Hedgehog, arXiv 2402.04347).
    Hedgehog(HeadMap),
    /// `(L_1 x) * (L_2 x)`.
    Product([HeadMap; 2]),
}

impl FeatureMap {
    /// The feature map that the official configuration calls so, with the tensors
    /// `{prefix}.layer.*` or `{prefix}.layer1.*` and `{prefix}.layer2.*`.
    ///
    /// # Errors
    /// A sentence if the name is unknown, or a tensor is missing or has another shape.
    pub fn load(
        t: &mut Tensors<'_>,
        name: &str,
        prefix: &str,
        key: usize,
    ) -> Result<FeatureMap, String> {
        let mut map = |layer: &str, bias: bool| -> Result<HeadMap, String> {
            Ok(HeadMap {
                weight: t.take(&format!("{prefix}.{layer}.weight"), &[key, key])?,
                bias: t.take_if(bias, &format!("{prefix}.{layer}.bias"), key)?,
            })
        };
        Ok(match name {
            "identity" => FeatureMap::Identity,
            "relu" => FeatureMap::Relu,
            "elu" => FeatureMap::EluPlusOne,
            "t2r" => FeatureMap::Learned(map("layer", false)?),
            "hedgehog" => FeatureMap::Hedgehog(map("layer", true)?),
            "elementwise_product" => {
                FeatureMap::Product([map("layer1", true)?, map("layer2", true)?])
            }
            _ => {
                return Err(format!(
                    "the feature map `{name}` is not known: use identity, relu, elu, t2r, hedgehog or elementwise_product"
                ));
            }
        })
    }

    /// Features of a head of K channels.
    pub fn features(&self, key: usize) -> usize {
        match self {
            FeatureMap::Hedgehog(_) => 2 * key,
            _ => key,
        }
    }

    /// Its weights.
    pub fn weights(&self) -> Vec<&Weights> {
        let maps = match self {
            FeatureMap::Identity | FeatureMap::Relu | FeatureMap::EluPlusOne => &[][..],
            FeatureMap::Learned(map) | FeatureMap::Hedgehog(map) => std::slice::from_ref(map),
            FeatureMap::Product(maps) => maps,
        };
        maps.iter()
            .flat_map(|m| std::iter::once(&m.weight).chain(&m.bias))
            .collect()
    }

    /// The features of heads `x [G, K]`.
    pub fn step(&self, x: &[f64], key: usize) -> Vec<f64> {
        let of_head = |x: &[f64]| -> Vec<f64> {
            let through = |map: &HeadMap| linear(x, &map.weight, map.bias.as_deref());
            match self {
                FeatureMap::Identity => x.to_vec(),
                FeatureMap::Relu => x.iter().map(|x| x.max(0.0)).collect(),
                FeatureMap::EluPlusOne => {
                    let elu = |x: f64| if x > 0.0 { x } else { x.exp() - 1.0 };
                    x.iter().map(|&x| elu(x) + 1.0).collect()
                }
                FeatureMap::Learned(map) => through(map).iter().map(|x| x.max(0.0)).collect(),
                FeatureMap::Hedgehog(map) => {
                    let y = through(map);
                    let signs = [2.0, -2.0].into_iter();
                    let y: Vec<f64> = signs.flat_map(|s| y.iter().map(move |y| s * y)).collect();
                    let max = y.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                    let e: Vec<f64> = y.iter().map(|y| (y - max).exp()).collect();
                    let sum: f64 = e.iter().sum();
                    e.iter().map(|e| e / sum).collect()
                }
                FeatureMap::Product([first, second]) => {
                    let pairs = through(first).into_iter().zip(through(second));
                    pairs.map(|(a, b)| a * b).collect()
                }
            }
        };
        x.chunks_exact(key).flat_map(of_head).collect()
    }

    /// The features of the heads that `projection [GK, D]` makes of u. A linear map behind a
    /// projection is one projection.
    pub fn plan(&self, p: &mut Planner, name: &str, projection: &Weights, u: Columns) -> Columns {
        let key = match self {
            FeatureMap::Learned(m) | FeatureMap::Hedgehog(m) | FeatureMap::Product([m, _]) => {
                m.key()
            }
            _ => 0,
        };
        let through = |p: &mut Planner, part: &str, map: &HeadMap, factors: &[f64]| {
            let (weight, bias) = map.behind(projection, u.width, factors);
            p.project(&format!("{name}{part}"), &weight, bias.as_ref(), u)
        };
        let features = format!("{name} features");
        match self {
            FeatureMap::Identity => p.project(name, projection, None, u),
            FeatureMap::Relu | FeatureMap::EluPlusOne => {
                let x = p.project(name, projection, None, u);
                let function = match self {
                    FeatureMap::Relu => pointwise::RELU,
                    _ => pointwise::ELU_PLUS_ONE,
                };
                p.gate(&features, x, &Gate::of(function))
            }
            FeatureMap::Learned(map) => {
                let x = through(p, "", map, &[1.0]);
                p.gate(&features, x, &Gate::of(pointwise::RELU))
            }
            FeatureMap::Hedgehog(map) => {
                let x = through(p, "", map, &[2.0, -2.0]);
                let kind = (normalise::SOFTMAX, 2 * key, 0.0);
                p.normalise(&features, x, kind, [None; 2])
            }
            FeatureMap::Product([first, second]) => {
                let first = through(p, " 1", first, &[1.0]);
                let second = through(p, " 2", second, &[1.0]);
                p.multiply(&features, first, second)
            }
        }
    }
}

impl HeadMap {
    /// Channels K that it reads.
    fn key(&self) -> usize {
        self.weight.len() / self.outputs()
    }

    fn outputs(&self) -> usize {
        match &self.bias {
            Some(bias) => bias.len(),
            // Without a bias it is square.
            None => self.weight.len().isqrt(),
        }
    }

    /// For every head `[f L W_h for f in factors]` as one weight `[G F N, D]`, W_h the head's rows
    /// of `projection [GK, D]`; and the bias that belongs to it.
    fn behind(
        &self,
        projection: &[f32],
        width: usize,
        factors: &[f64],
    ) -> (Weights, Option<Weights>) {
        let key = self.key();
        let mut weight = Vec::new();
        let heads = projection.chunks_exact(key * width);
        let groups = heads.len();
        for head in heads {
            for factor in factors {
                for row in self.weight.chunks_exact(key) {
                    for column in 0..width {
                        let pairs = row.iter().zip(head[column..].iter().step_by(width));
                        let sum: f64 = pairs.map(|(&l, &w)| f64::from(l) * f64::from(w)).sum();
                        weight.push((factor * sum) as f32);
                    }
                }
            }
        }
        let bias = self.bias.as_ref().map(|bias| {
            let of_head = factors
                .iter()
                .flat_map(|f| bias.iter().map(move |&b| (f * f64::from(b)) as f32));
            let of_head: Vec<f32> = of_head.collect();
            Weights::from(of_head.repeat(groups))
        });
        (weight.into(), bias)
    }
}
