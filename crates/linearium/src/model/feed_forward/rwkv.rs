//! The feed-forward layer of RWKV-7, "channel mixing": each token is mixed with the one before,
//! `W_v max(W_k (u_t + x_k (u_{t-1} - u_t)), 0)^2`.
//!
//! Official code: `BlinkDL/RWKV-LM` `RWKV-v7/rwkv_v7_numpy.py`; flash-linear-attention
//! `fla/models/rwkv7/modeling_rwkv7.py` (`RWKV7FeedForward`).

use super::Layer;
use crate::kernels::pointwise;
use crate::mixers::{Planner, Weights};
use crate::plan::pointwise::Gate;
use crate::step::{StepState, linear};

/// Its weights.
pub struct ChannelMix {
    /// Share of the token before, `[D]`.
    pub x_k: Weights,
    /// W_k, `[F, D]`.
    pub key: Weights,
    /// W_v, `[D, F]`.
    pub value: Weights,
}

impl Layer for ChannelMix {
    fn weights(&self) -> Vec<&Weights> {
        vec![&self.x_k, &self.key, &self.value]
    }

    fn tail(&self) -> usize {
        self.x_k.len()
    }

    fn step(&self, state: &mut StepState, u: &[f64]) -> Vec<f64> {
        let before = state.carried("ffn token before", u.len());
        let pairs = u.iter().zip(before.iter()).zip(&*self.x_k);
        let x: Vec<f64> = pairs
            .map(|((u, before), &share)| u + f64::from(share) * (before - u))
            .collect();
        before.copy_from_slice(u);
        let hidden = linear(&x, &self.key, None);
        let hidden: Vec<f64> = hidden.iter().map(|h| h.max(0.0).powi(2)).collect();
        linear(&hidden, &self.value, None)
    }

    fn plan(&self, p: &mut Planner) {
        let u = p.io.u;
        let before = p.rows("ffn token before", u.width);
        p.delay_into("ffn token before", u, 1, before);
        let change = p.add("ffn change", before, u, None, -1.0);
        let x = p.add("ffn mixed", u, change, Some(&self.x_k), 1.0);
        // The token before is known; from here on no other token matters.
        p.leave_all_rows();
        let hidden = p.project("ffn hidden", &self.key, None, x);
        let squared = Gate::of(pointwise::SQUARED_RELU);
        let hidden = p.gate("ffn activated", hidden, &squared);
        p.project_out(&self.value, None, hidden);
    }
}
