//! Linear-time sequence mixers: definitions, recordings, the CPU player, and the probes that show
//! how a state decays, how far a receptive field reaches, and how a state collapses.
//!
//! This crate knows no GPU API, no JavaScript, no files and no clock.

#[cfg(feature = "zoo")]
pub mod bidirectional;
mod by_id;
#[cfg(feature = "zoo")]
pub mod catalogue;
#[cfg(feature = "zoo")]
pub mod delta_layer;
#[cfg(feature = "zoo")]
pub mod feature_map;
#[cfg(feature = "zoo")]
pub mod fft_convolution;
#[cfg(feature = "zoo")]
pub mod grid;
#[cfg(feature = "zoo")]
pub mod hippo;
pub mod lab;
pub mod mixers;
pub mod model;
pub mod number;
pub mod plan;
pub mod player;
pub mod probes;
pub mod qkv;
pub mod settings;
#[cfg(feature = "zoo")]
pub mod short_conv;
#[cfg(feature = "zoo")]
pub mod step;
pub mod views;
mod weights;

pub use linearium_kernels::{kernels, random, recording, spectrum};
