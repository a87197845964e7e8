//! Recordings and the kernels that they name: one piece of arithmetic each, as a SIMD function
//! beside its shader. `linearium` offers all of this as its own; it is a crate of its own so that
//! it is compiled for speed where everything else is compiled for size.

pub mod kernels;
pub mod random;
pub mod recording;
pub mod spectrum;
