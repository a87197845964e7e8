//! Linear-time sequence mixers: definitions, recordings, the CPU player, and the probes that show
//! how a state decays, how far a receptive field reaches, and how a state collapses.
//!
//! This crate knows no GPU API, no JavaScript, no files and no clock.

mod by_id;
#[cfg(feature = "zoo")]
pub mod catalogue;
#[cfg(feature = "zoo")]
pub mod exhibit;
#[cfg(feature = "zoo")]
pub mod exhibits;
#[cfg(feature = "zoo")]
pub mod formats;
pub mod lab;
pub mod mixers;
pub mod model;
pub mod number;
#[cfg(feature = "zoo")]
pub mod orders;
pub mod parts;
pub mod plan;
pub mod player;
pub mod probes;
#[cfg(feature = "zoo")]
pub mod pruning;
pub mod settings;
#[cfg(feature = "zoo")]
pub mod step;
pub mod views;
mod weights;

pub use linearium_kernels::{kernels, random, recording, spectrum};
