//! What the lab needs from outside: players and a clock.

use std::rc::Rc;

use crate::player::Player;
use crate::recording::Layout;

/// What the lab needs from outside.
#[allow(async_fn_in_trait)] // a lab lives on one thread; no caller needs `Send`
pub trait Host {
    /// A player of either back end.
    type Player: Player;
    /// Makes a player. A GPU player is asked for only after [`crate::lab::Lab::gpu_is_ready`];
    /// after a loss it is made on a fresh device.
    async fn player(&self, gpu: bool, layout: Layout) -> Result<Self::Player, String>;
    /// The most tokens that one recording should have on this back end.
    fn segment_tokens(&self, gpu: bool) -> usize;
    /// Milliseconds on a clock that never goes back.
    fn now_ms(&self) -> f64;
    /// Result of the self-check of the kernels, for people.
    fn self_check(&self) -> String;
}

/// A host that something else holds on to as well.
impl<H: Host> Host for Rc<H> {
    type Player = H::Player;

    async fn player(&self, gpu: bool, layout: Layout) -> Result<Self::Player, String> {
        (**self).player(gpu, layout).await
    }

    fn segment_tokens(&self, gpu: bool) -> usize {
        (**self).segment_tokens(gpu)
    }

    fn now_ms(&self) -> f64 {
        (**self).now_ms()
    }

    fn self_check(&self) -> String {
        (**self).self_check()
    }
}
