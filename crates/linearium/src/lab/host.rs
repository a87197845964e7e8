//! What the lab needs from outside: players and a clock.

use std::rc::Rc;

use crate::model::stack::Stack;
use crate::player::{CpuPlayer, Player};
use crate::recording::Layout;

/// Tokens in a recording on the CPU: large enough for the matrix products, small enough that a
/// slice of work stays short.
pub const CPU_SEGMENT: usize = 256;
/// What [`Host::segment_products`] says of the CPU: a third of a second at 6 billion a second.
pub const CPU_SEGMENT_PRODUCTS: u64 = 2_000_000_000;
/// So few tokens share the unpacking of a matrix at least.
const MIN_SEGMENT: u64 = 4;
/// What [`Host::self_check`] says where no GPU was checked.
pub const CPU_CHECK: &str = "runs on the CPU, whose kernels are the reference";
/// What a host reports where no GPU was checked.
pub const CPU_REPORT: &str = "no GPU was checked; everything runs on the CPU";

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
    /// Products of a weight and a value that one recording may have, so that a slice of work stays
    /// short with a large model.
    fn segment_products(&self, _gpu: bool) -> u64 {
        CPU_SEGMENT_PRODUCTS
    }
    /// Milliseconds on a clock that never goes back.
    fn now_ms(&self) -> f64;
    /// Result of the self-check of the kernels, for people.
    fn self_check(&self) -> String;
}

/// The most tokens that a recording of this model should have.
pub(super) fn segment<H: Host>(host: &H, stack: &Stack, gpu: bool) -> usize {
    let by_work = host.segment_products(gpu) / stack.parameters().max(1) as u64;
    (host.segment_tokens(gpu) as u64).min(by_work.max(MIN_SEGMENT)) as usize
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

    fn segment_products(&self, gpu: bool) -> u64 {
        (**self).segment_products(gpu)
    }

    fn now_ms(&self) -> f64 {
        (**self).now_ms()
    }

    fn self_check(&self) -> String {
        (**self).self_check()
    }
}

/// A host without a GPU.
pub struct CpuHost {
    now_ms: fn() -> f64,
}

impl CpuHost {
    /// A host whose clock gives milliseconds and never goes back.
    pub fn new(now_ms: fn() -> f64) -> CpuHost {
        CpuHost { now_ms }
    }

    /// What can be said of the kernels, to be copied into a report of a fault.
    pub fn report(&self) -> String {
        CPU_REPORT.to_owned()
    }
}

impl Host for CpuHost {
    type Player = CpuPlayer;

    async fn player(&self, gpu: bool, layout: Layout) -> Result<CpuPlayer, String> {
        if gpu {
            return Err("this engine has no GPU".to_owned());
        }
        Ok(CpuPlayer::new(&layout))
    }

    fn segment_tokens(&self, _gpu: bool) -> usize {
        CPU_SEGMENT
    }

    fn now_ms(&self) -> f64 {
        (self.now_ms)()
    }

    fn self_check(&self) -> String {
        CPU_CHECK.to_owned()
    }
}
