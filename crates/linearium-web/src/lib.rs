//! The verbs that a page calls. Everything behind them is `linearium`; here is only what turns
//! values into JavaScript's.
//!
//! One call at a time: the worker that owns a [`Lab`] waits for a promise before it calls again.

use js_sys::{Error, Reflect};
use linearium::settings::PROPERTIES;
use linearium_gpu::LabHost;
use serde::Serialize;
use wasm_bindgen::prelude::{JsCast, JsValue, wasm_bindgen};

/// The version of the crate, as the page shows it.
#[wasm_bindgen]
pub fn version() -> String {
    env!("CARGO_PKG_VERSION").to_owned()
}

/// `performance.now()`, in a page, a worker and Node alike.
fn now_ms() -> f64 {
    let global = js_sys::global();
    let get = |of: &JsValue, name: &str| Reflect::get(of, &JsValue::from_str(name)).ok();
    get(&global, "performance")
        .and_then(|p| {
            let now: js_sys::Function = get(&p, "now")?.dyn_into().ok()?;
            now.call0(&p).ok()?.as_f64()
        })
        .unwrap_or_else(js_sys::Date::now)
}

/// A value with camelCase fields as a plain JavaScript object.
fn object(value: &impl Serialize) -> JsValue {
    let plain = serde_wasm_bindgen::Serializer::json_compatible();
    // The types here have string keys and numbers only, which all serialise.
    value.serialize(&plain).unwrap_or(JsValue::UNDEFINED)
}

fn error(sentence: String) -> JsValue {
    Error::new(&sentence).into()
}

/// The lab, see `linearium::lab::Lab`.
#[wasm_bindgen]
pub struct Lab(linearium::lab::Lab<LabHost>);

#[wasm_bindgen]
impl Lab {
    /// An empty lab with default settings.
    #[wasm_bindgen(constructor)]
    #[allow(clippy::new_without_default)] // a constructor for JavaScript
    pub fn new() -> Lab {
        Lab(linearium::lab::Lab::new(LabHost::new(now_ms)))
    }

    /// All settings: an array of `Property`.
    pub fn properties() -> JsValue {
        object(&PROPERTIES)
    }

    /// Takes new settings; the newest wins. Gives a `Configured`.
    pub fn configure(&mut self, query: &str) -> JsValue {
        object(&self.0.configure(query))
    }

    /// Gives a model's two files under the id of a need; gives one line about it.
    ///
    /// # Errors
    /// An `Error` with one sentence about the file.
    #[wasm_bindgen(js_name = provideModel)]
    pub fn provide_model(
        &mut self,
        id: &str,
        config: &[u8],
        weights: Vec<u8>,
    ) -> Result<String, JsValue> {
        self.0.provide_model(id, config, weights).map_err(error)
    }

    /// Gives a text under the id of a need.
    ///
    /// # Errors
    /// An `Error` with one sentence.
    #[wasm_bindgen(js_name = provideText)]
    pub fn provide_text(&mut self, id: &str, bytes: Vec<u8>) -> Result<(), JsValue> {
        self.0.provide_text(id, bytes).map_err(error)
    }

    /// Makes a GPU device and checks every kernel on it; gives the report.
    ///
    /// # Errors
    /// An `Error` with one sentence; the lab goes on on the CPU.
    #[wasm_bindgen(js_name = startGpu)]
    pub async fn start_gpu(&mut self) -> Result<String, JsValue> {
        self.0.host().start_gpu().await.map_err(error)?;
        self.0.gpu_is_ready();
        Ok(self.0.host().report())
    }

    /// A hook for tests: the device is lost, as when a driver is reset.
    #[wasm_bindgen(js_name = loseGpu)]
    pub fn lose_gpu(&self) {
        self.0.host().lose_gpu();
    }

    /// Works for about so many milliseconds; gives a `Progress`.
    pub async fn advance(&mut self, budget_ms: f64) -> JsValue {
        object(&self.0.advance(budget_ms).await)
    }

    /// The panel with this id, or undefined while there is nothing to show.
    pub fn panel(&self, id: &str) -> JsValue {
        self.0
            .panel(id)
            .map_or(JsValue::UNDEFINED, |panel| object(&panel))
    }

    /// Asks for the recall grid with so many texts a length.
    #[wasm_bindgen(js_name = measureRecall)]
    pub fn measure_recall(&mut self, samples: usize) {
        self.0.measure_recall(samples);
    }

    /// Stops what is going on; what was measured stays.
    pub fn cancel(&mut self) {
        self.0.cancel();
    }

    /// The self-check of the kernels, to be copied.
    pub fn report(&self) -> String {
        self.0.host().report()
    }
}
