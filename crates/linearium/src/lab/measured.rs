//! What can only be measured of a mixer in the catalogue: its time per token on this device, and
//! how far it looks back before it has learnt anything.

use std::rc::Rc;

use serde::Serialize;

use super::host::Host;
use super::side::measure_speed;
use super::{Lab, random_model};
use crate::catalogue::{self, Equal, Row};
use crate::mixers::{self, Definition};
use crate::model::session::{Options, Session};
use crate::model::stack::Stack;
use crate::player::Player;
use crate::probes::receptive_field::{reach, row};
use crate::probes::run::{Look, Run};
use crate::random::Random;

/// Tokens of noise that a mixer reads to see how far it looks back.
const READ_TOKENS: usize = 1024;
/// Heads that are looked at: the first, the last, and one between them.
const LOOKED_AT: usize = 3;
/// Segments whose time is taken.
const ROUNDS: usize = 3;

/// What was measured of one mixer.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Measured {
    /// Id of the mixer.
    pub id: &'static str,
    /// How far it looks back.
    pub reach: ReachAtStart,
    /// Its time.
    pub time: TimePerToken,
}

/// How far the last of many tokens of noise looks back with random weights.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReachAtStart {
    /// Tokens read.
    pub tokens: usize,
    /// Heads looked at.
    pub heads: usize,
    /// Shortest length over the heads, in tokens, over which the influence is above 1/1000 of the
    /// largest.
    pub shortest: usize,
    /// Longest.
    pub longest: usize,
    /// Mean over the heads of the mean distance weighted by influence, in tokens.
    pub mean_distance: f64,
}

/// Time of one back end.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TimePerToken {
    /// What the back end calls itself.
    pub backend: String,
    /// Microseconds a token of a model of one layer, embedding and head of 256 bytes included.
    pub us_per_token: f64,
}

/// The mixer with this id, or a sentence that names those that there are.
fn known(id: &str) -> Result<&'static Definition, String> {
    mixers::ALL
        .iter()
        .copied()
        .find(|d| d.id == id)
        .ok_or_else(|| {
            let ids: Vec<&str> = mixers::ALL.iter().map(|d| d.id).collect();
            format!("there is no mixer “{id}”: give one of {}", ids.join(", "))
        })
}

impl<H: Host> Lab<H> {
    /// The row of a mixer in the catalogue, at the size that the settings ask for.
    ///
    /// # Errors
    /// A sentence if there is no such mixer, or of the player.
    pub async fn mixer(&self, id: &str) -> Result<Row, String> {
        let equal = Equal::of(self.settings.get("equal"));
        catalogue::row(known(id)?, equal).await
    }

    /// Measures one mixer at the size and with the seed that the settings ask for, its time on the
    /// CPU or on the GPU.
    ///
    /// # Errors
    /// A sentence if there is no such mixer, the GPU is not ready, or a player fails.
    pub async fn measure_mixer(&self, id: &str, gpu: bool) -> Result<Measured, String> {
        let definition = known(id)?;
        if gpu && !self.gpu_ready {
            return Err(
                "there is no GPU that passed its self-check: measure on the CPU".to_owned(),
            );
        }
        let stack = Rc::new(self.one_layer(definition));
        Ok(Measured {
            id: definition.id,
            reach: self.reach_at_start(&stack).await?,
            time: TimePerToken {
                backend: self.backend_name(&stack, gpu).await?,
                us_per_token: 1e3 * measure_speed(&self.host, &stack, gpu, ROUNDS).await?,
            },
        })
    }

    fn one_layer(&self, definition: &'static Definition) -> Stack {
        // The feature zoo, which this module needs, knows all sizes.
        let mut stack = random_model(definition, &self.settings)
            .unwrap_or_else(|| Stack::random(definition, 0));
        stack.blocks.truncate(1);
        stack
    }

    async fn backend_name(&self, stack: &Rc<Stack>, gpu: bool) -> Result<String, String> {
        let options = Options {
            capacity: 1,
            ..Options::default()
        };
        let session = Session::new(stack.clone(), &options, 1, |layout| {
            self.host.player(gpu, layout)
        })
        .await?;
        Ok(session.player.backend())
    }

    async fn reach_at_start(&self, stack: &Rc<Stack>) -> Result<ReachAtStart, String> {
        let random = &mut Random::new(self.settings.integer("seed") as u64);
        let tokens: Vec<u32> = (0..READ_TOKENS)
            .map(|_| random.below(stack.vocab) as u32)
            .collect();
        let heads = stack.blocks[0].mixer.shape().heads;
        let mut looks: Vec<usize> = (0..LOOKED_AT)
            .map(|i| i * (heads - 1) / (LOOKED_AT - 1))
            .collect();
        looks.dedup();
        let (mut lengths, mut distances) = (Vec::new(), Vec::new());
        for &head in &looks {
            let options = Options {
                capacity: READ_TOKENS,
                tapped_layer: Some(0),
                ..Options::default()
            };
            let segment = self.host.segment_tokens(false);
            let session = Session::new(stack.clone(), &options, segment, |layout| {
                self.host.player(false, layout)
            })
            .await?;
            let mut run = Run::new(session, tokens.clone(), Look { layer: 0, head });
            while run.advance().await? {}
            let factors = &run.evidence.factors;
            let reach = reach(factors, &row(factors, READ_TOKENS - 1));
            lengths.push(reach.threshold_length);
            distances.push(reach.mean_distance);
        }
        Ok(ReachAtStart {
            tokens: READ_TOKENS,
            heads: looks.len(),
            shortest: lengths.iter().copied().min().unwrap_or(0),
            longest: lengths.iter().copied().max().unwrap_or(0),
            mean_distance: distances.iter().sum::<f64>() / distances.len().max(1) as f64,
        })
    }
}
