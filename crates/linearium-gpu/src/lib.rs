//! Plays recordings on a GPU through wgpu: Vulkan natively, WebGPU in the browser.
//!
//! [`Gpu`] is a device, [`GpuPlayer`] the [`linearium::player::Player`] on it, and
//! [`Gpu::self_check`] holds every kernel against its CPU twin. Nothing here knows a kernel by its
//! name. Every failure is an `Err` with a sentence: no adapter, a limit, memory, a shader, a device
//! that is lost in the middle of a run. After a loss a new [`Gpu`] can be made.

mod crossover;
mod device;
mod faults;
mod lab_host;
mod player;
mod self_check;

pub use device::Gpu;
pub use lab_host::{AnyPlayer, LabHost};
pub use player::GpuPlayer;
pub use self_check::{Report, Row, TOLERANCE};
