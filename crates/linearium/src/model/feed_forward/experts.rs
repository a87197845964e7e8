//! A mixture of experts: `sum_e w_e expert_e(u)`, where w is the softmax of a router with all but
//! its largest values set to 0. It is one wide gated layer in which each expert's columns are
//! weighted by the router, so every expert is computed; the result is the same.
//!
//! Official code: `transformers` `models/jamba/modeling_jamba.py` (`JambaSparseMoeBlock`).

use super::{Layer, Swiglu};
use crate::mixers::{Planner, Weights};
use crate::model::tensors::Tensors;
use crate::plan::Routing;
use crate::plan::pointwise::Gate;
use crate::step::{StepState, linear, silu};

/// The experts of a layer.
pub struct Experts {
    /// Number of experts that a token goes through.
    pub top: usize,
    /// `[E, D]`.
    pub router: Weights,
    /// All experts beside each other.
    pub wide: Swiglu,
}

impl Experts {
    /// Takes `router` and `experts.<e>` of model width `d` and inner width `inner` each.
    ///
    /// # Errors
    /// A sentence if a tensor is missing or has another shape.
    pub fn load(
        t: &mut Tensors<'_>,
        d: usize,
        inner: usize,
        experts: usize,
        top: usize,
    ) -> Result<Experts, String> {
        let router = t.take("router.weight", &[experts, d])?;
        let (mut gate, mut up, mut downs) = (Vec::new(), Vec::new(), Vec::new());
        for e in 0..experts {
            let t = &mut t.within(&format!("experts.{e}."));
            gate.extend_from_slice(&t.take("gate_proj.weight", &[inner, d])?);
            up.extend_from_slice(&t.take("up_proj.weight", &[inner, d])?);
            downs.push(t.take("down_proj.weight", &[d, inner])?);
        }
        gate.append(&mut up);
        let mut rows: Vec<_> = downs.iter().map(|d| d.chunks_exact(inner)).collect();
        let mut down = Vec::with_capacity(downs.iter().map(|d| d.len()).sum());
        for _ in 0..d {
            for row in &mut rows {
                down.extend_from_slice(row.next().unwrap_or_default());
            }
        }
        Ok(Experts {
            top,
            router,
            wide: Swiglu {
                inner: experts * inner,
                gate_up: gate.into(),
                gate_up_bias: None,
                down: down.into(),
                down_bias: None,
            },
        })
    }
}

impl Layer for Experts {
    fn weights(&self) -> Vec<&Weights> {
        let mut all = self.wide.weights();
        all.push(&self.router);
        all
    }

    fn step(&self, _: &mut StepState, u: &[f64]) -> Vec<f64> {
        let logits = linear(u, &self.router, None);
        let sum: f64 = logits.iter().map(|x| x.exp()).sum();
        let inner = self.wide.inner / logits.len();
        let gate_up = linear(u, &self.wide.gate_up, None);
        let (gate, up) = gate_up.split_at(self.wide.inner);
        let mut hidden = vec![0.0; self.wide.inner];
        for (e, x) in logits.iter().enumerate() {
            let before = |(i, y): &(usize, &f64)| *y > x || (*y == x && *i < e);
            if logits.iter().enumerate().filter(before).count() >= self.top {
                continue;
            }
            for c in e * inner..(e + 1) * inner {
                hidden[c] = x.exp() / sum * silu(gate[c]) * up[c];
            }
        }
        linear(&hidden, &self.wide.down, None)
    }

    fn plan(&self, p: &mut Planner) {
        let logits = p.project("ffn router", &self.router, None, p.io.u);
        let inner = self.wide.inner / logits.width;
        let routing = Routing {
            top: self.top,
            renormalise: false,
        };
        let [weights, _] = p.route(logits, 1.0, routing);
        let hidden = p.project("ffn hidden", &self.wide.gate_up, None, p.io.u);
        let [gate, up] = hidden.split([self.wide.inner, self.wide.inner]);
        let hidden = p.swiglu("ffn activated", gate, up);
        let weighted = weights.spread(1, inner);
        let hidden = p.product("ffn weighted", weighted, hidden, &Gate::default());
        p.project_out(&self.wide.down, None, hidden);
    }
}
