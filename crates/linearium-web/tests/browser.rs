//! Runs in a real browser, once without and once with a WebGPU adapter; `cargo xtask test wasm` says at compile time,
//! in `LINEARIUM_EXPECTED_BACKEND`, which of the two it has started.
#![cfg(target_arch = "wasm32")]

use wasm_bindgen::prelude::wasm_bindgen;
use wasm_bindgen_test::{wasm_bindgen_test, wasm_bindgen_test_configure};

wasm_bindgen_test_configure!(run_in_browser);

#[wasm_bindgen(
    inline_js = "export async function has_adapter() { return !!(await navigator.gpu?.requestAdapter()); }"
)]
extern "C" {
    async fn has_adapter() -> wasm_bindgen::JsValue;
}

/// Without this, a browser that lost its adapter would let every GPU test pass on the CPU.
#[wasm_bindgen_test]
async fn the_browser_has_an_adapter_exactly_when_one_is_expected() {
    let expected = option_env!("LINEARIUM_EXPECTED_BACKEND").unwrap_or("cpu") == "gpu";
    assert_eq!(has_adapter().await.as_bool(), Some(expected));
}

#[wasm_bindgen_test]
fn the_version_is_that_of_the_workspace() {
    assert_eq!(linearium_web::version(), env!("CARGO_PKG_VERSION"));
    assert_eq!(linearium_web::version().split('.').count(), 3);
}
