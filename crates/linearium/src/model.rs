//! From files to a model: the checkpoint reader and the typed configuration.

pub mod checkpoint;
pub mod config;
mod json;
