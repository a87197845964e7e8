//! What several mixers are made of: layers around a scan, projections, feature maps, starts of
//! state matrices, and ways to run a mixer over something else than one text from left to right.

#[cfg(feature = "zoo")]
pub mod bidirectional;
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
pub mod qkv;
#[cfg(feature = "zoo")]
pub mod short_conv;
