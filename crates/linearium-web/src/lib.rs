//! The verbs that a page calls. Everything behind them is `linearium`; here is only what turns
//! values into JavaScript's.
//!
//! One call at a time: the worker that owns a [`Lab`] waits for a promise before it calls again,
//! except for the start of the GPU, beside which everything goes on.
//!
//! There are two builds: the engine of the first load, which has the CPU and the mixers that the
//! page opens with, and with the feature `complete` everything.

#[cfg(feature = "complete")]
use std::cell::Cell;
use std::rc::Rc;

#[cfg(feature = "complete")]
use js_sys::Promise;
use js_sys::{Error, Reflect};
#[cfg(feature = "complete")]
use linearium::exhibit::Pending;
#[cfg(feature = "complete")]
use linearium::exhibits::ALL;
#[cfg(not(feature = "complete"))]
use linearium::lab::CpuHost as LabHost;
use linearium::model::config::Config;
#[cfg(feature = "complete")]
use linearium::model::image::Grey;
use linearium::model::load::Files;
use linearium::settings::PROPERTIES;
#[cfg(feature = "complete")]
use linearium_gpu::LabHost;
use serde::Serialize;
use wasm_bindgen::prelude::{JsCast, JsValue, wasm_bindgen};
#[cfg(feature = "complete")]
use wasm_bindgen_futures::{JsFuture, future_to_promise};

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

/// A checkpoint of which not everything is here yet.
struct Incoming {
    id: String,
    /// Each with room for the whole file, so that it is never copied as it grows.
    files: Files,
}

/// The lab, see `linearium::lab::Lab`.
#[wasm_bindgen]
pub struct Lab {
    lab: linearium::lab::Lab<Rc<LabHost>>,
    host: Rc<LabHost>,
    /// A checkpoint on its way.
    incoming: Option<Incoming>,
    /// Set when the GPU has passed its self-check, until the lab has been told.
    #[cfg(feature = "complete")]
    gpu_passed: Rc<Cell<bool>>,
    /// Counts the exhibits that are not wanted any more: a run that sees it change ends.
    #[cfg(feature = "complete")]
    dropped: Rc<Cell<usize>>,
}

thread_local! {
    /// All labs of a worker run on one device, which is checked once.
    static HOST: Rc<LabHost> = Rc::new(LabHost::new(now_ms));
}

#[wasm_bindgen]
impl Lab {
    /// An empty lab with default settings; it shares the device with the others of its worker.
    #[wasm_bindgen(constructor)]
    #[allow(clippy::new_without_default)] // a constructor for JavaScript
    pub fn new() -> Lab {
        let host = HOST.with(Rc::clone);
        Lab {
            lab: linearium::lab::Lab::new(host.clone()),
            host,
            incoming: None,
            #[cfg(feature = "complete")]
            gpu_passed: Rc::default(),
            #[cfg(feature = "complete")]
            dropped: Rc::default(),
        }
    }

    /// All settings: an array of `Property`.
    pub fn properties() -> JsValue {
        object(&PROPERTIES)
    }

    /// Takes new settings; the newest wins. Gives a `Configured`.
    pub fn configure(&mut self, query: &str) -> JsValue {
        object(&self.lab.configure(query))
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
        let files = Files::pair(config.to_vec(), weights);
        self.lab.provide_model(id, files).map_err(error)
    }

    /// Begins a model whose weights come in pieces, with its `config.json`, and with
    /// `model.safetensors.index.json` and `tokenizer.json` where there are some; one that was begun
    /// before is dropped.
    ///
    /// # Errors
    /// An `Error` with one sentence about the configuration.
    #[wasm_bindgen(js_name = beginModel)]
    pub fn begin_model(
        &mut self,
        id: &str,
        config: Option<Vec<u8>>,
        index: Option<Vec<u8>>,
        tokenizer: Option<Vec<u8>>,
    ) -> Result<(), JsValue> {
        self.incoming = None;
        // What cannot be read is known before gigabytes are.
        if let Some(config) = &config {
            Config::read(config).map_err(error)?;
        }
        self.incoming = Some(Incoming {
            id: id.to_owned(),
            files: Files {
                config,
                index,
                weights: Vec::new(),
                tokenizer,
            },
        });
        Ok(())
    }

    /// The next safetensors file of the model that was begun, of so many bytes. Makes the room for
    /// it or says that there is none.
    ///
    /// # Errors
    /// An `Error` with one sentence about the memory.
    #[wasm_bindgen(js_name = beginFile)]
    pub fn begin_file(&mut self, name: &str, bytes: f64) -> Result<(), JsValue> {
        let Some(incoming) = &mut self.incoming else {
            return Ok(());
        };
        let mut weights = Vec::new();
        weights.try_reserve_exact(bytes as usize).map_err(|_| {
            error(format!(
                "there is no memory for the {:.0} MB of this safetensors file: close other pages or choose a smaller model",
                bytes / 1e6
            ))
        })?;
        incoming.files.weights.push((name.to_owned(), weights));
        Ok(())
    }

    /// The next piece of the file that was begun; ignored if none was.
    #[wasm_bindgen(js_name = pushModel)]
    pub fn push_model(&mut self, piece: &[u8]) {
        let incoming = self.incoming.as_mut();
        if let Some((_, weights)) = incoming.and_then(|i| i.files.weights.last_mut()) {
            weights.extend_from_slice(piece);
        }
    }

    /// All pieces are there: the model is checked and made; gives one line about it.
    ///
    /// # Errors
    /// An `Error` with one sentence about the files.
    #[wasm_bindgen(js_name = finishModel)]
    pub fn finish_model(&mut self) -> Result<String, JsValue> {
        let Incoming { id, files } = self
            .incoming
            .take()
            .ok_or_else(|| error("no model was begun: choose its files again".to_owned()))?;
        self.lab.provide_model(&id, files).map_err(error)
    }

    /// Drops what has come of a model that is not wanted any more.
    #[wasm_bindgen(js_name = dropModel)]
    pub fn drop_model(&mut self) {
        self.incoming = None;
    }

    /// Gives a text under the id of a need.
    ///
    /// # Errors
    /// An `Error` with one sentence.
    #[wasm_bindgen(js_name = provideText)]
    pub fn provide_text(&mut self, id: &str, bytes: Vec<u8>) -> Result<(), JsValue> {
        self.lab.provide_text(id, bytes).map_err(error)
    }

    /// Works for about so many milliseconds; gives a `Progress`.
    pub async fn advance(&mut self, budget_ms: f64) -> JsValue {
        #[cfg(feature = "complete")]
        if self.gpu_passed.take() {
            self.lab.gpu_is_ready();
        }
        object(&self.lab.advance(budget_ms).await)
    }

    /// The panel with this id, or undefined while there is nothing to show.
    pub fn panel(&self, id: &str) -> JsValue {
        self.lab
            .panel(id)
            .map_or(JsValue::UNDEFINED, |panel| object(&panel))
    }

    /// Asks for the recall grid with so many texts a length.
    #[wasm_bindgen(js_name = measureRecall)]
    pub fn measure_recall(&mut self, samples: usize) {
        self.lab.measure_recall(samples);
    }

    /// Stops what is going on; what was measured stays.
    pub fn cancel(&mut self) {
        self.lab.cancel();
    }

    /// The self-check of the kernels, to be copied.
    pub fn report(&self) -> String {
        self.host.report()
    }
}

#[cfg(feature = "complete")]
#[wasm_bindgen]
impl Lab {
    /// Makes a GPU device and checks every kernel on it, unless another lab of this worker did;
    /// gives a promise of the report, or of an `Error` with one sentence. The lab may be used
    /// meanwhile, on the CPU.
    #[wasm_bindgen(js_name = startGpu, unchecked_return_type = "Promise<string>")]
    pub fn start_gpu(&self) -> Promise {
        let (host, passed) = (self.host.clone(), self.gpu_passed.clone());
        // Nothing of the lab is borrowed while the device works.
        future_to_promise(async move {
            if !host.has_gpu() {
                host.start_gpu().await.map_err(error)?;
            }
            passed.set(true);
            Ok(host.report().into())
        })
    }

    /// What the table of mixers says of one, at the size that the settings ask for: a `Row`.
    ///
    /// # Errors
    /// An `Error` with one sentence: there is no such mixer.
    pub async fn mixer(&self, id: &str) -> Result<JsValue, JsValue> {
        Ok(object(&self.lab.mixer(id).await.map_err(error)?))
    }

    /// Measures one mixer on the CPU or the GPU of this device; gives a `Measured`.
    ///
    /// # Errors
    /// An `Error` with one sentence: there is no such mixer or no such back end, or it failed.
    #[wasm_bindgen(js_name = measureMixer)]
    pub async fn measure_mixer(&mut self, id: &str, gpu: bool) -> Result<JsValue, JsValue> {
        if self.gpu_passed.take() {
            self.lab.gpu_is_ready();
        }
        Ok(object(
            &self.lab.measure_mixer(id, gpu).await.map_err(error)?,
        ))
    }

    /// Gives exhibits a picture under the id of a need: red, green, blue and alpha, 4 bytes a pixel.
    ///
    /// # Errors
    /// An `Error` with one sentence about its size.
    #[wasm_bindgen(js_name = provideImage)]
    pub fn provide_image(
        &mut self,
        id: &str,
        width: usize,
        height: usize,
        rgba: &[u8],
    ) -> Result<(), JsValue> {
        let image = Grey::from_rgba(width, height, rgba).map_err(error)?;
        self.lab.provide_image(id, image);
        Ok(())
    }

    /// All exhibits as they are declared: an array of `Exhibit`.
    pub fn exhibits() -> JsValue {
        object(&ALL)
    }

    /// One run of an exhibit; gives an `Answer`. a [`Dropper`] ends it.
    ///
    /// # Errors
    /// An `Error` with one sentence: there is no such exhibit, the run is not wanted any more, or the
    /// back end failed.
    pub async fn exhibit(&mut self, slug: &str, query: &str) -> Result<JsValue, JsValue> {
        if self.gpu_passed.take() {
            self.lab.gpu_is_ready();
        }
        let rest = self.rest();
        let answer = self.lab.exhibit(slug, query, &rest).await;
        Ok(object(&answer.map_err(error)?))
    }

    /// Files that a claim needs before it can be measured: an array of `Need`.
    ///
    /// # Errors
    /// An `Error` with one sentence: there is no such exhibit or claim.
    #[wasm_bindgen(js_name = claimNeeds)]
    pub fn claim_needs(&self, slug: &str, claim: &str) -> Result<JsValue, JsValue> {
        Ok(object(&self.lab.claim_needs(slug, claim).map_err(error)?))
    }

    /// Measures a claim on the CPU or the GPU of this device; gives a `Checked`.
    ///
    /// # Errors
    /// As [`Lab::exhibit`].
    #[wasm_bindgen(js_name = checkClaim)]
    pub async fn check_claim(
        &mut self,
        slug: &str,
        claim: &str,
        gpu: bool,
    ) -> Result<JsValue, JsValue> {
        if self.gpu_passed.take() {
            self.lab.gpu_is_ready();
        }
        let rest = self.rest();
        let checked = self.lab.check_claim(slug, claim, gpu, &rest).await;
        Ok(object(&checked.map_err(error)?))
    }

    /// What ends the run of an exhibit at its next rest, also while it goes on.
    #[wasm_bindgen(js_name = exhibitDropper)]
    pub fn exhibit_dropper(&self) -> Dropper {
        Dropper(self.dropped.clone())
    }

    /// A hook for tests: the device is lost, as when a driver is reset.
    #[wasm_bindgen(js_name = loseGpu)]
    pub fn lose_gpu(&self) {
        self.host.lose_gpu();
    }
}

#[cfg(feature = "complete")]
impl Lab {
    /// A turn of the event loop, after which a run that is not wanted any more ends.
    fn rest(&self) -> impl Fn() -> Pending<'static, ()> + use<> {
        let (dropped, begun) = (self.dropped.clone(), self.dropped.get());
        move || {
            let dropped = dropped.clone();
            Box::pin(async move {
                turn().await;
                if dropped.get() == begun {
                    return Ok(());
                }
                Err("something newer is wanted".to_owned())
            })
        }
    }
}

/// A turn of the event loop; at once where there is no timer.
#[cfg(feature = "complete")]
async fn turn() {
    let promise = Promise::new(&mut |resolve, _| {
        let global = js_sys::global();
        let timer = Reflect::get(&global, &JsValue::from_str("setTimeout"))
            .and_then(|timer| timer.dyn_into::<js_sys::Function>());
        let started = timer.and_then(|timer| timer.call1(&global, &resolve));
        if started.is_err() {
            // Nobody to tell if that fails too: the promise then waits for nothing.
            let _ = resolve.call0(&JsValue::UNDEFINED);
        }
    });
    // It is never rejected.
    let _ = JsFuture::from(promise).await;
}

/// Ends runs of exhibits while the lab is busy with them.
#[cfg(feature = "complete")]
#[wasm_bindgen]
pub struct Dropper(Rc<Cell<usize>>);

#[cfg(feature = "complete")]
#[wasm_bindgen]
impl Dropper {
    /// Whatever runs now is not wanted any more.
    #[wasm_bindgen(js_name = drop)]
    pub fn drop_now(&self) {
        self.0.set(self.0.get() + 1);
    }
}
