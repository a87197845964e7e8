//! Web skin.

use wasm_bindgen::prelude::wasm_bindgen;

/// The version of the crate, as the page shows it.
#[wasm_bindgen]
pub fn version() -> String {
    env!("CARGO_PKG_VERSION").to_owned()
}
