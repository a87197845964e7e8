//! Models: from files to layers, and a run of a model over tokens.

pub mod checkpoint;
pub mod config;
pub mod families;
pub mod feed_forward;
#[cfg(feature = "zoo")]
pub mod image;
mod json;
pub mod load;
pub mod session;
pub mod stack;
pub mod tensors;
#[cfg(feature = "zoo")]
pub mod tokenizer;
