//! What an exhibit runs on: players of the back end that was asked for, shipped checkpoints and
//! texts, a clock, and rests in which the page stays alive.

use std::cell::RefCell;
use std::rc::Rc;

use super::{BoxedPlayer, Pending};
use crate::mixers::{Columns, Planner};
use crate::model::image::{Backbone, Grey};
use crate::model::stack::Stack;
use crate::player::Player;
use crate::recording::{Layout, Recording};

/// What a [`Bench`] needs from outside.
pub trait Place {
    /// A player of either back end.
    fn player(&self, gpu: bool, layout: Layout) -> Pending<'_, Box<dyn super::AnyPlayer>>;
    /// The most tokens that one recording should have.
    fn segment_tokens(&self, gpu: bool) -> usize;
    /// Milliseconds on a clock that never goes back.
    fn now_ms(&self) -> f64;
    /// Result of the self-check of the kernels.
    fn self_check(&self) -> String;
    /// A model that was provided.
    fn model(&self, id: &str) -> Option<Rc<Stack>>;
    /// A text that was provided.
    fn text(&self, id: &str) -> Option<Rc<[u8]>>;
    /// Lets others work; an error if this run is not wanted any more.
    fn rest(&self) -> Pending<'_, ()>;

    /// An image classifier that was provided.
    fn classifier(&self, _id: &str) -> Option<Rc<Backbone>> {
        None
    }

    /// A picture that was provided.
    fn image(&self, _id: &str) -> Option<Rc<Grey>> {
        None
    }

    /// What was measured under this key since the files last changed.
    fn measured(&self, _key: &str) -> Option<Rc<[f64]>> {
        None
    }

    /// Keeps what was measured under this key.
    fn remember(&self, _key: &str, _values: &[f64]) {}
}

/// Longest time between two rests, in milliseconds.
const WORK_MS: f64 = 40.0;

/// What an exhibit runs on.
pub struct Bench<'a> {
    place: &'a dyn Place,
    gpu: bool,
    backend: RefCell<String>,
    rested_ms: RefCell<f64>,
}

impl<'a> Bench<'a> {
    /// A bench on the CPU or the GPU.
    pub fn new(place: &'a dyn Place, gpu: bool) -> Bench<'a> {
        Bench {
            place,
            gpu,
            backend: RefCell::default(),
            rested_ms: RefCell::new(place.now_ms()),
        }
    }

    /// True if players are on the GPU.
    pub fn on_gpu(&self) -> bool {
        self.gpu
    }

    /// A player for these buffers on the back end that was asked for.
    ///
    /// # Errors
    /// One sentence, for example if the buffers are too large for the device.
    pub async fn player(&self, layout: Layout) -> Result<BoxedPlayer, String> {
        let player = BoxedPlayer::new(self.place.player(self.gpu, layout).await?);
        *self.backend.borrow_mut() = player.backend();
        Ok(player)
    }

    /// The most tokens that one recording should have.
    pub fn segment_tokens(&self) -> usize {
        self.place.segment_tokens(self.gpu)
    }

    /// Plays what was planned, for so many tokens: `inputs` are written into columns of whole rows
    /// first, then the columns in `outputs` are read, `[T, width]` each.
    ///
    /// # Errors
    /// One sentence of the player.
    pub async fn play(
        &self,
        planner: &Planner,
        tokens: usize,
        inputs: &[(Columns, &[f32])],
        outputs: &[Columns],
    ) -> Result<Vec<Vec<f32>>, String> {
        let mut recording = Recording::default();
        for pass in &planner.passes {
            pass.record(&mut recording, tokens, 0);
        }
        let mut player = self.player(planner.layout.clone()).await?;
        for (columns, data) in inputs {
            player.write(columns.buffer, 0, data)?;
        }
        player.play(&recording)?;
        let parts: Vec<_> = outputs
            .iter()
            .map(|c| (c.buffer, 0..tokens * c.stride))
            .collect();
        let read = player.read(&parts).await?;
        let cut = |(rows, c): (Vec<f32>, &Columns)| {
            rows.chunks_exact(c.stride.max(1))
                .flat_map(|row| row[c.offset..c.offset + c.width].to_vec())
                .collect()
        };
        Ok(read.into_iter().zip(outputs).map(cut).collect())
    }

    /// Milliseconds on a clock that never goes back. What is measured with it differs from run to
    /// run: a test gives a clock that stands still.
    pub fn now_ms(&self) -> f64 {
        self.place.now_ms()
    }

    /// To be called between pieces of work of some 10 ms: lets the page's messages through, and ends
    /// the run if a newer one is wanted.
    ///
    /// # Errors
    /// One sentence if this run is not wanted any more.
    pub async fn rest(&self) -> Result<(), String> {
        if self.place.now_ms() - *self.rested_ms.borrow() < WORK_MS {
            return Ok(());
        }
        self.place.rest().await?;
        *self.rested_ms.borrow_mut() = self.place.now_ms();
        Ok(())
    }

    /// A model that stands among the needs.
    ///
    /// # Errors
    /// One sentence if it was not provided.
    pub fn model(&self, id: &str) -> Result<Rc<Stack>, String> {
        self.place
            .model(id)
            .ok_or_else(|| format!("the model {id} was not provided"))
    }

    /// An image classifier that stands among the needs.
    ///
    /// # Errors
    /// One sentence if it was not provided.
    pub fn classifier(&self, id: &str) -> Result<Rc<Backbone>, String> {
        self.place
            .classifier(id)
            .ok_or_else(|| format!("the image classifier {id} was not provided"))
    }

    /// A picture that stands among the needs.
    ///
    /// # Errors
    /// One sentence if it was not provided.
    pub fn image(&self, id: &str) -> Result<Rc<Grey>, String> {
        self.place
            .image(id)
            .ok_or_else(|| format!("the image {id} was not provided"))
    }

    /// What was measured under this key since the files last changed: a run that cannot measure
    /// everything at once goes on from there.
    pub fn measured(&self, key: &str) -> Option<Rc<[f64]>> {
        self.place.measured(key)
    }

    /// Keeps what was measured under this key.
    pub fn remember(&self, key: &str, values: &[f64]) {
        self.place.remember(key, values);
    }

    /// A text that stands among the needs.
    ///
    /// # Errors
    /// One sentence if it was not provided.
    pub fn text(&self, id: &str) -> Result<Rc<[u8]>, String> {
        self.place
            .text(id)
            .ok_or_else(|| format!("the text {id} was not provided"))
    }

    /// What computed: the player's back end, or the processor alone if no player was made.
    pub fn backend(&self) -> String {
        match &*self.backend.borrow() {
            none if none.is_empty() => "cpu (no kernels were played)".to_owned(),
            backend => backend.clone(),
        }
    }

    /// Result of the self-check of the kernels.
    pub fn self_check(&self) -> String {
        self.place.self_check()
    }
}
