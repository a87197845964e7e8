//! Reading scenes with tokens dropped: what is chosen, what it changes, what it costs.

use std::rc::Rc;

use crate::exhibit::{Bench, BoxedPlayer};
use crate::model::image::backbone::Meaning;
use crate::model::image::scenes;
use crate::model::image::session::{Look, Which, top_vim_schedule};
use crate::model::image::{Backbone, Grey, ImageSession, Pruned, Reading};
use crate::pruning::schedule::Step;
use crate::pruning::{DropMode, Keep, Schedule, scores};

/// What stays at each step, as published.
pub const SHARE: f64 = 0.8;
/// Rounds of which the shortest time counts.
const ROUNDS: usize = 3;

/// When tokens are dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Three times, at the depths of the released code.
    Published,
    /// At the first of these alone.
    Early,
    /// At the last of these alone.
    Late,
}

/// One way of dropping tokens.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Way {
    /// Id of the rule of importance.
    pub score: &'static str,
    /// What dropping means to a state.
    pub mode: DropMode,
    /// The order of the scores and the place of the class token of the released code.
    pub released: bool,
    /// Share that each step keeps.
    pub share: f64,
    /// When.
    pub when: When,
    /// For rules that draw.
    pub seed: u64,
}

impl Default for Way {
    fn default() -> Way {
        Way {
            score: "activation_clip",
            mode: DropMode::Gather,
            released: false,
            share: SHARE,
            when: When::Published,
            seed: 0,
        }
    }
}

impl Way {
    /// The same as the code was released: no gaps, sums in the place of clipped sums.
    pub fn as_released(self) -> Way {
        Way {
            score: match self.score {
                "activation_clip" => "activation_sum",
                other => other,
            },
            mode: DropMode::Gather,
            released: true,
            ..self
        }
    }

    /// What it means to a state.
    pub fn meaning(self) -> Meaning {
        Meaning {
            mode: self.mode,
            as_released: self.released,
        }
    }

    /// How many stay where, in this backbone.
    ///
    /// # Errors
    /// A sentence if the backbone has too few blocks.
    pub fn schedule(self, backbone: &Backbone) -> Result<Schedule, String> {
        let blocks = backbone.blocks.len();
        let published = top_vim_schedule(blocks)?;
        let keep = match backbone.class_token {
            Some(_) => Keep::ClassAndShare(self.share),
            None => Keep::Share(self.share),
        };
        let steps: Vec<Step> = published
            .steps()
            .iter()
            .map(|step| Step { keep, ..*step })
            .collect();
        let steps = match self.when {
            When::Published => steps,
            When::Early => steps[..1].to_vec(),
            When::Late => steps[steps.len() - 1..].to_vec(),
        };
        Schedule::new(steps, blocks)
    }

    fn pruned(self, backbone: &Backbone) -> Result<Pruned, String> {
        Ok(Pruned {
            which: Which::Scored {
                score: scores::by_id(self.score)?,
                schedule: self.schedule(backbone)?,
                seed: self.seed,
            },
            meaning: self.meaning(),
        })
    }
}

/// A classifier on the bench.
pub struct Reader<'a> {
    bench: &'a Bench<'a>,
    session: ImageSession<BoxedPlayer>,
    id: String,
}

impl<'a> Reader<'a> {
    /// The classifier of this id, which stands among the needs.
    ///
    /// # Errors
    /// One sentence if it was not provided, or of the player.
    pub async fn new(bench: &'a Bench<'a>, id: &str) -> Result<Reader<'a>, String> {
        let backbone = bench.classifier(id)?;
        let session = ImageSession::new(backbone, |layout| bench.player(layout)).await?;
        Ok(Reader {
            bench,
            session,
            id: id.to_owned(),
        })
    }

    /// Its layers.
    pub fn backbone(&self) -> &Rc<Backbone> {
        &self.session.backbone
    }

    /// Reads a picture, with all tokens or dropping some.
    ///
    /// # Errors
    /// One sentence of the session, or that this run is not wanted any more.
    pub async fn read(&mut self, image: &Grey, way: Option<Way>) -> Result<Reading, String> {
        let pruned = way.map(|way| way.pruned(self.backbone())).transpose()?;
        let reading = self.session.read(image, pruned.as_ref()).await?;
        self.bench.rest().await?;
        Ok(reading)
    }

    /// Shortest milliseconds of reading with all tokens and with these dropped, in turns. The choice
    /// of the tokens is not what is timed.
    ///
    /// # Errors
    /// As [`Reader::read`].
    pub async fn times(&mut self, image: &Grey, chosen: &Reading) -> Result<[f64; 2], String> {
        let known = Pruned {
            which: Which::Known(chosen.steps.kept.clone()),
            meaning: chosen.steps.meaning,
        };
        let mut best = [f64::INFINITY; 2];
        for _ in 0..ROUNDS {
            for (best, pruned) in best.iter_mut().zip([None, Some(&known)]) {
                let start = self.bench.now_ms();
                self.session.read(image, pruned).await?;
                *best = best.min(self.bench.now_ms() - start);
            }
            self.bench.rest().await?;
        }
        Ok(best)
    }

    /// How many of the first `count` scenes of the test set are read right.
    ///
    /// # Errors
    /// As [`Reader::read`].
    pub async fn right(&mut self, way: Option<Way>, count: usize) -> Result<usize, String> {
        let key = format!(
            "top_vim {} {way:?} {count} {}",
            self.id,
            self.bench.on_gpu()
        );
        if let Some(&[right]) = self.bench.measured(&key).as_deref() {
            return Ok(right as usize);
        }
        let mut right = 0;
        for n in 0..count {
            let scene = scenes::of_test_set(n);
            right += usize::from(self.read(&scene.image, way).await?.class() == scene.class);
        }
        self.bench.remember(&key, &[right as f64]);
        Ok(right)
    }

    /// The scans of a block, and what a rule says of the tokens at its input.
    ///
    /// # Errors
    /// As [`Reader::read`].
    pub async fn look(
        &mut self,
        image: &Grey,
        block: usize,
        kept: Option<&[usize]>,
        scored: Option<(Way, usize)>,
    ) -> Result<Look, String> {
        let scored = match scored {
            Some((way, keep)) => Some((scores::by_id(way.score)?, keep, way.seed, way.meaning())),
            None => None,
        };
        let look = self.session.look(image, block, kept, scored).await?;
        self.bench.rest().await?;
        Ok(look)
    }
}

/// Root mean square of what is different, over that of the reference.
pub fn relative(got: &[f32], want: &[f32]) -> f64 {
    crate::pruning::agreement::relative_error(got, want).unwrap_or(f64::NAN)
}
