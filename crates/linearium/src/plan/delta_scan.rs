//! The delta-rule scan of a layer. It has no window: what a token erases depends on everything
//! before it, so that the state of the last r tokens is no difference of two states.

use super::pointwise::Gate;
use super::{Columns, Planner};
use crate::kernels::pointwise::EXP;
use crate::kernels::scan_delta::{self, ScanDelta};
use crate::mixers::{Decay, Shape, Taps};

/// What is erased of the state before a token's write.
#[derive(Clone, Copy, Debug)]
pub enum Erase {
    /// The delta rule with this rate beta, `[T, H]`: what the key recalls from the decayed state is
    /// replaced by the value.
    Rate(Columns),
    /// `b a^T S` is added; rows of `a [H, K]` followed by `b [H, K]`.
    Vectors(Columns),
}

/// Inputs of the scan.
#[derive(Clone, Copy, Debug)]
pub struct DeltaScan {
    /// `[T, G, K]`.
    pub q: Columns,
    /// `[T, G, K]`; [`Erase::Vectors`] needs keys of every head's own (G = H).
    pub k: Columns,
    /// `[T, H, V]`.
    pub v: Columns,
    /// Log-decay, whole rows `[T, H]`, or `[T, H, K]` if every key channel decays apart.
    pub log_decay: Columns,
    /// What is erased.
    pub erase: Erase,
    /// Multiplies the output.
    pub scale: f32,
}

/// Why delta rules ignore `window`.
pub const NO_WINDOW: (&str, &str) = (
    "window",
    "what a token erases depends on all tokens before it",
);

/// What tokens that are dropped mean to a delta rule.
const ONLY_HOLDS: &str = "is a delta rule, where a token that is left out does not erase either, so that no decay stands for it: it holds its state";

impl DeltaScan {
    /// Notes the passes; gives what is read from the state, `[T, H, V]`, and where probes find
    /// the factors. Those of the erasure that the scan itself does not need stand there only in
    /// the layer that probes look into.
    pub fn plan(&self, p: &mut Planner, shape: &Shape) -> (Columns, Taps) {
        let Shape {
            heads, key, value, ..
        } = *shape;
        p.show_value(self.v);
        p.only_gathers(ONLY_HOLDS);
        let out = p.rows("scanned", heads * value);
        let state = p.state("state", shape.state);
        let per_key = self.log_decay.width > heads;
        let (erase, rule) = match self.erase {
            Erase::Rate(beta) => (beta, 0),
            Erase::Vectors(rows) => (rows, ScanDelta::DPLR),
        };
        let params = ScanDelta {
            t: p.segment as u32,
            heads: heads as u32,
            key: key as u32,
            value: value as u32,
            groups: (self.q.width / key) as u32,
            q_stride: self.q.stride as u32,
            q_offset: self.q.offset as u32,
            k_stride: self.k.stride as u32,
            k_offset: self.k.offset as u32,
            v_stride: self.v.stride as u32,
            v_offset: self.v.offset as u32,
            flags: rule
                | if per_key {
                    ScanDelta::DECAY_PER_KEY
                } else {
                    ScanDelta::DECAY_PER_HEAD
                },
            erase_stride: erase.stride as u32,
            erase_offset: erase.offset as u32,
            scale: self.scale,
            write_factor: p.change.write_factor,
        };
        let scratch = p.workspace(params.scratch_len());
        let reads = [self.q, self.k, self.v, self.log_decay, erase].map(|c| c.buffer);
        p.push(
            &scan_delta::KERNEL,
            &params,
            &reads,
            &[out.buffer, state, scratch],
        );
        let decay = if per_key {
            Decay::PerKey(self.log_decay)
        } else {
            Decay::Scalar(self.log_decay)
        };
        let taps = Taps {
            heads_per_group: heads * key / self.k.width,
            write_scale: match self.erase {
                Erase::Rate(beta) => Some(beta),
                Erase::Vectors(_) => None,
            },
            erase: self.erased(p, shape),
            scale: self.scale * p.change.write_factor,
            state: Some(state),
            ..Taps::new(self.q, self.k, decay)
        };
        (out, taps)
    }

    /// b and a; for the delta rule `b = beta k`, `a = -exp(g) k`.
    fn erased(&self, p: &mut Planner, shape: &Shape) -> Option<[Columns; 2]> {
        let (heads, key) = (shape.heads, shape.key);
        let beta = match self.erase {
            Erase::Vectors(rows) => {
                let [a, b] = rows.split([heads * key; 2]);
                return Some([b, a]);
            }
            Erase::Rate(beta) => beta,
        };
        if !p.is_tapped() {
            return None;
        }
        let k = self.k.spread(key, heads * key / self.k.width);
        let channels = heads * key / self.log_decay.width;
        let minus_decay = Gate {
            multiplier: -1.0,
            ..Gate::of(EXP)
        };
        let g = self.log_decay.spread(1, channels);
        Some([
            p.product("erased b", k, beta.spread(1, key), &Gate::default()),
            p.product("erased a", g, k, &minus_decay),
        ])
    }
}
