//! Every kernel's CPU twin against plain f64 arithmetic written from the formula in its
//! documentation, at every SIMD level that this processor has, for odd shapes, packed buffers,
//! all flags, extreme gates, and every cut of the input with the state carried across it.

mod attention;
mod choice;
#[cfg(feature = "zoo")]
mod delta;
mod dropped;
mod gates;
mod harness;
mod linear;
#[cfg(feature = "zoo")]
mod pointwise;
mod scans;
#[cfg(feature = "zoo")]
mod state_space;
