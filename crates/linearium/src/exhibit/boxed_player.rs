//! A player whose type is not known, so that exhibits need not be generic over it.

use std::ops::Range;

use super::Pending;
use crate::player::Player;
use crate::recording::{BufferId, Recording};

/// A [`Player`] whose type is not known.
pub trait AnyPlayer {
    /// As [`Player::backend`].
    fn backend(&self) -> String;
    /// As [`Player::segment_tokens`].
    fn segment_tokens(&self) -> usize;
    /// As [`Player::write`].
    fn write(&mut self, buffer: BufferId, start: usize, data: &[f32]) -> Result<(), String>;
    /// As [`Player::reset`].
    fn reset(&mut self) -> Result<(), String>;
    /// As [`Player::play`].
    fn play(&mut self, recording: &Recording) -> Result<(), String>;
    /// As [`Player::read`].
    fn read<'a>(&'a mut self, parts: &'a [(BufferId, Range<usize>)]) -> Pending<'a, Vec<Vec<f32>>>;
}

impl<P: Player> AnyPlayer for P {
    fn backend(&self) -> String {
        Player::backend(self)
    }

    fn segment_tokens(&self) -> usize {
        Player::segment_tokens(self)
    }

    fn write(&mut self, buffer: BufferId, start: usize, data: &[f32]) -> Result<(), String> {
        Player::write(self, buffer, start, data)
    }

    fn reset(&mut self) -> Result<(), String> {
        Player::reset(self)
    }

    fn play(&mut self, recording: &Recording) -> Result<(), String> {
        Player::play(self, recording)
    }

    fn read<'a>(&'a mut self, parts: &'a [(BufferId, Range<usize>)]) -> Pending<'a, Vec<Vec<f32>>> {
        Box::pin(Player::read(self, parts))
    }
}

/// A player for [`crate::model::session::Session`] and whatever else takes a [`Player`].
pub struct BoxedPlayer(Box<dyn AnyPlayer>);

impl BoxedPlayer {
    /// This player.
    pub fn new(player: Box<dyn AnyPlayer>) -> BoxedPlayer {
        BoxedPlayer(player)
    }
}

impl Player for BoxedPlayer {
    fn backend(&self) -> String {
        AnyPlayer::backend(&*self.0)
    }

    fn segment_tokens(&self) -> usize {
        AnyPlayer::segment_tokens(&*self.0)
    }

    fn write(&mut self, buffer: BufferId, start: usize, data: &[f32]) -> Result<(), String> {
        AnyPlayer::write(&mut *self.0, buffer, start, data)
    }

    fn reset(&mut self) -> Result<(), String> {
        AnyPlayer::reset(&mut *self.0)
    }

    fn play(&mut self, recording: &Recording) -> Result<(), String> {
        AnyPlayer::play(&mut *self.0, recording)
    }

    async fn read(&mut self, parts: &[(BufferId, Range<usize>)]) -> Result<Vec<Vec<f32>>, String> {
        AnyPlayer::read(&mut *self.0, parts).await
    }
}
