//! SpikeGPT (arXiv 2302.13939): RWKV-4 whose layers speak in spikes. What a layer would add to the
//! residual stream charges a leaky neuron for each channel, and what is added is whether it fired:
//!
//! `I_t = W_o (sigma(r_t) wkv_t)`; `V_t = V_{t-1} + (I_t - V_{t-1}) / tau`; where `V_t >= threshold`
//! the output is 1 and V_t becomes 0, else the output is 0. Official code: ridgerchu/SpikeGPT,
//! `src/model.py` (RWKV_TimeMix and the first neuron of Block),
//! `src/spikingjelly/clock_driven/neuron.py` (LIFNode). The channel mix of a block, with a neuron of
//! its own, is not part of the sequence mixer.

use super::rwkv4::{IGNORES, Rwkv4};
use super::{Context, Definition, Mixer, Planner, Shape, Size, StepState, Taps, Weights};
use crate::kernels::spike::{self, Spike};
use crate::model::tensors::Tensors;
use crate::random::Random;
use crate::step::linear;

/// The registry's entry.
pub static DEFINITION: Definition = Definition {
    id: "spike_gpt",
    name: "SpikeGPT",
    glossary: &[
        ("u", "[T, D] normalised input of the layer"),
        ("k", "[T, D] logarithm of a token's weight"),
        ("v", "[T, D] value"),
        ("r", "[T, D] gate of what is read"),
        ("I", "[T, D] current into the neurons"),
        ("V", "[D] membranes"),
        ("tau", "tokens in which a membrane takes in its current"),
    ],
    ignores: IGNORES,
    size: |width| Size {
        width,
        heads: width,
        key: 1,
        value: 1,
    },
    random,
};

/// Weights of one layer.
#[derive(Clone)]
pub struct SpikeGpt {
    /// What charges the neurons.
    pub time_mix: Rwkv4,
    /// tau, in tokens.
    pub tau: f32,
    /// Where a membrane fires.
    pub threshold: f32,
}

fn random(size: &Size, random: &mut Random) -> Box<dyn Mixer> {
    Box::new(SpikeGpt {
        // Currents around the threshold.
        time_mix: Rwkv4::random(size.width, 4.0, random),
        tau: 2.0,
        threshold: 1.0,
    })
}

impl SpikeGpt {
    /// The layer of width D from the official tensors of `RWKV_TimeMix`, and its neuron.
    ///
    /// # Errors
    /// A sentence if a tensor is missing or has another shape.
    pub fn load(
        t: &mut Tensors<'_>,
        width: usize,
        tau: f32,
        threshold: f32,
    ) -> Result<SpikeGpt, String> {
        let time_mix = Rwkv4::load(t, width)?;
        Ok(SpikeGpt {
            time_mix,
            tau,
            threshold,
        })
    }
}

impl Mixer for SpikeGpt {
    fn definition(&self) -> &'static Definition {
        &DEFINITION
    }

    fn shape(&self) -> Shape {
        let scan = self.time_mix.scan_shape();
        Shape {
            state: scan.state + self.time_mix.width,
            ..scan
        }
    }

    fn weights(&self) -> Vec<&Weights> {
        self.time_mix.all_weights()
    }

    fn step(&self, state: &mut StepState, u: &[f64], context: &Context<'_>) -> Vec<f64> {
        let gated = self.time_mix.step_gated(state, u, context);
        let current = linear(&gated, &self.time_mix.out_proj, None);
        let membranes = state.carried("membranes", current.len());
        (membranes.iter_mut().zip(current))
            .map(|(v, i)| {
                *v += (i - *v) / f64::from(self.tau);
                let fires = *v >= f64::from(self.threshold);
                if fires {
                    *v = 0.0;
                }
                f64::from(u8::from(fires))
            })
            .collect()
    }

    fn plan(&self, p: &mut Planner) -> Taps {
        let (gated, taps) = self.time_mix.plan_gated(p);
        let current = p.project("current", &self.time_mix.out_proj, None, gated);
        let spikes = p.rows("spikes", current.width);
        let membranes = p.state("membranes", current.width);
        p.push(
            &spike::KERNEL,
            &Spike {
                t: 0,
                width: current.width as u32,
                rate: self.tau.recip(),
                threshold: self.threshold,
            },
            &[current.buffer],
            &[spikes.buffer, membranes],
        );
        p.add_out(spikes);
        taps
    }
}
