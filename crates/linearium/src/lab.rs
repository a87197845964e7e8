//! The lab: settings, models and texts on one side, panels on the other, and in between one or
//! two runs that go on in slices, so that whoever calls stays free to ask for something else.
//!
//! The page's worker, the command line and the tests all drive this one thing.

#[cfg(feature = "zoo")]
mod exhibits;
mod host;
mod input;
#[cfg(feature = "zoo")]
mod measured;
mod panels;
mod recall;
mod side;

use std::rc::Rc;

use serde::Serialize;

#[cfg(feature = "zoo")]
pub use exhibits::Rest;
pub use host::{CPU_CHECK, CPU_REPORT, CPU_SEGMENT, CPU_SEGMENT_PRODUCTS, CpuHost, Host};
#[cfg(feature = "zoo")]
pub use measured::{Measured, ReachAtStart, TimePerToken};
pub use recall::{LENGTHS, MAX_SAMPLES};

use crate::by_id::ById;
use crate::mixers::{self, Definition};
use crate::model::load::{Files, load_files};
use crate::model::stack::Stack;
use crate::number::short;
use crate::settings::Settings;
use crate::views::Panel;
use recall::RecallJob;
use side::{Side, Wanted, measure_speed};

/// What `configure` answers.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Configured {
    /// The settings as a query in its shortest form.
    pub query: String,
    /// What of the link could not be used, each a sentence.
    pub notices: Vec<String>,
    /// What must be provided before the runs can begin.
    pub needs: Vec<Need>,
    /// The model of run A, once it is there.
    pub facts: Option<Facts>,
}

/// Something that the page must fetch, or a person must give.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Need {
    /// `model`, `text` or `image`.
    pub kind: &'static str,
    /// Its id; `file` is a file of the person's own.
    pub id: String,
}

/// What there is to know of a model before it reads.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Facts {
    /// Layers.
    pub layers: usize,
    /// Heads of the layer looked at.
    pub heads: usize,
    /// Id of the mixer of the layer looked at.
    pub mixer: &'static str,
    /// Parameters.
    pub parameters: usize,
    /// Bytes carried from token to token at the asked-for context.
    pub state_bytes: usize,
    /// Training length in tokens, if known.
    pub train_context: Option<usize>,
    /// The longest context that can be asked for with this model and text.
    pub context_max: usize,
    /// One line.
    pub description: String,
}

/// What `advance` answers.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    /// `working`: call again; `idle`: everything is answered; `waiting`: something is needed.
    pub state: &'static str,
    /// Tokens read, over all that is asked for.
    pub done: usize,
    /// Tokens to read.
    pub total: usize,
    /// What is being done.
    pub message: String,
    /// Ids of panels that can be drawn anew.
    pub changed: Vec<&'static str>,
    /// The back end that runs.
    pub backend: String,
    /// What a person should know: a lost device, a setting that does not apply. Each is said once.
    pub notices: Vec<String>,
}

/// The lab.
pub struct Lab<H: Host> {
    host: H,
    settings: Settings,
    models: ById<Rc<Stack>>,
    texts: ById<Rc<[u8]>>,
    /// What only exhibits read: image classifiers, pictures, and what runs have measured so far.
    #[cfg(feature = "zoo")]
    seen: exhibits::Provided,
    sides: Vec<Side<H::Player>>,
    recall: Option<RecallJob<H::Player>>,
    wanted_recall: usize,
    notices: Vec<String>,
    halted: bool,
    /// Milliseconds a token on the CPU and on the GPU, measured for `backend=auto`.
    speeds: ById<[f64; 2]>,
    gpu_ready: bool,
    gpu_failures: usize,
}

/// How many times a lost device is replaced before the lab stays on the CPU.
const MAX_GPU_FAILURES: usize = 2;

const RUN_PANELS: [&str; 4] = ["decay", "receptive-field", "state", "cost"];

impl<H: Host> Lab<H> {
    /// An empty lab with default settings.
    pub fn new(host: H) -> Lab<H> {
        Lab {
            host,
            settings: Settings::default(),
            models: ById::default(),
            texts: ById::default(),
            #[cfg(feature = "zoo")]
            seen: exhibits::Provided::default(),
            sides: Vec::new(),
            recall: None,
            wanted_recall: 0,
            notices: Vec::new(),
            halted: false,
            speeds: ById::default(),
            gpu_ready: false,
            gpu_failures: 0,
        }
    }

    /// The host.
    pub fn host(&self) -> &H {
        &self.host
    }

    /// The settings in force.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Takes new settings. Cheap: work is done by [`Lab::advance`]; what was computed and is
    /// still wanted is kept.
    pub fn configure(&mut self, query: &str) -> Configured {
        let (settings, mut notices) = Settings::from_query(query);
        self.settings = settings;
        self.halted = false;
        self.make_random_models();
        self.clamp_look(&mut notices);
        if self
            .recall
            .as_ref()
            .is_some_and(|job| !job.fits(&self.settings))
        {
            self.recall = None;
            self.wanted_recall = 0;
        }
        Configured {
            query: self.settings.to_query(),
            notices,
            needs: self.needs(),
            facts: self.facts(),
        }
    }

    /// What is missing for the runs that are asked for.
    pub fn needs(&self) -> Vec<Need> {
        let mut out = Vec::new();
        let mut need = |kind, id: &str| {
            let need = Need {
                kind,
                id: id.to_owned(),
            };
            if !out.contains(&need) {
                out.push(need);
            }
        };
        for side in self.side_settings() {
            if !self.models.contains(&model_key(&side)) {
                need("model", side.get("model"));
            }
            if let Some(text) = input::text_of(side.get("input"))
                && !self.texts.contains(text)
            {
                need("text", text);
            }
        }
        if self.wanted_recall > 0 && !self.texts.contains("heldout") {
            need("text", "heldout");
        }
        out
    }

    /// Facts about the model of run A.
    pub fn facts(&self) -> Option<Facts> {
        let settings = self.settings.run(false);
        let stack = self.models.get(&model_key(&settings))?;
        let layer = (settings.integer("layer") as usize).min(stack.blocks.len() - 1);
        let context = settings.integer("context") as usize;
        let parameters = stack.parameters();
        let train = stack
            .train_context
            .map_or(String::new(), |t| format!(", trained at {t} tokens"));
        Some(Facts {
            layers: stack.blocks.len(),
            heads: stack.blocks[layer].mixer.shape().heads,
            mixer: stack.blocks[layer].mixer.definition().id,
            parameters,
            state_bytes: stack.state_bytes(context),
            train_context: stack.train_context,
            context_max: crate::settings::MAX_CONTEXT,
            description: format!(
                "{}: {} layers of width {}, {parameters} parameters{train}",
                stack.name,
                stack.blocks.len(),
                stack.width
            ),
        })
    }

    /// Gives the lab a model from its files, under the id that a [`Need`] named.
    ///
    /// # Errors
    /// One sentence about the files; what was there before stays.
    pub fn provide_model(&mut self, id: &str, files: Files) -> Result<String, String> {
        #[cfg(feature = "zoo")]
        let files = match self.seen.classifier(id, files)? {
            Ok(description) => return Ok(description),
            Err(files) => files,
        };
        let stack = Rc::new(load_files(files)?);
        self.models.insert(id, stack);
        #[cfg(feature = "zoo")]
        self.seen.forget();
        // A run of the file before it must not be taken for a run of this one.
        self.sides.retain(|side| side.wanted.model != id);
        self.recall = self.recall.take().filter(|job| job.model != id);
        self.speeds.remove(id);
        let mut notices = Vec::new();
        self.clamp_look(&mut notices);
        self.notices.append(&mut notices);
        let mut description = self.facts().map_or(String::new(), |f| f.description);
        if !self.models[id].reads_text() {
            description.push_str(
                "; tokenizer.json is not among the files, so it reads random token ids only",
            );
        }
        Ok(description)
    }

    /// Gives the lab a text, under the id that a [`Need`] named.
    ///
    /// # Errors
    /// One sentence if the text is empty.
    pub fn provide_text(&mut self, id: &str, bytes: Vec<u8>) -> Result<(), String> {
        if bytes.is_empty() {
            return Err("the text file is empty: choose one with at least one byte".to_owned());
        }
        if id == "file" && std::str::from_utf8(&bytes).is_err() {
            self.notices
                .push("the text file is not UTF-8: its bytes are read as they are".to_owned());
        }
        self.texts.insert(id, bytes.into());
        #[cfg(feature = "zoo")]
        self.seen.forget();
        self.sides
            .retain(|side| side.wanted.text != Some(id.to_owned()));
        Ok(())
    }

    /// The GPU can be used from now on (its kernels have been checked).
    pub fn gpu_is_ready(&mut self) {
        self.gpu_ready = true;
    }

    /// Asks for the recall grid with so many samples a length.
    pub fn measure_recall(&mut self, samples: usize) {
        self.wanted_recall = samples.clamp(1, MAX_SAMPLES);
        self.halted = false;
    }

    /// Stops what is going on; what was measured stays. [`Lab::configure`] starts again.
    pub fn cancel(&mut self) {
        self.halted = true;
        self.wanted_recall = 0;
    }

    /// Works for about `budget_ms` milliseconds. A failing back end is replaced and said so.
    pub async fn advance(&mut self, budget_ms: f64) -> Progress {
        let start = self.host.now_ms();
        let mut changed: Vec<&'static str> = Vec::new();
        let mut message = String::new();
        if !self.needs().is_empty() {
            return self.progress("waiting", "waiting for files".to_owned(), changed);
        }
        while !self.halted {
            match self.work().await {
                Ok(None) => {
                    return self.progress("idle", message, changed);
                }
                Ok(Some(did)) => {
                    message = did.message;
                    for id in did.panels {
                        if !changed.contains(id) {
                            changed.push(id);
                        }
                    }
                }
                Err(trouble) => self.fail(trouble),
            }
            if self.host.now_ms() - start >= budget_ms {
                break;
            }
        }
        let state = if self.halted { "idle" } else { "working" };
        self.progress(state, message, changed)
    }

    fn progress(
        &mut self,
        state: &'static str,
        message: String,
        changed: Vec<&'static str>,
    ) -> Progress {
        let (mut done, mut total) = (0, 0);
        for side in &self.sides {
            done += side.covered();
            total += side.context();
        }
        if let Some(job) = &self.recall
            && !job.done()
        {
            (done, total) = job.tokens();
        }
        Progress {
            state,
            done,
            total,
            message,
            changed,
            backend: self
                .sides
                .first()
                .map_or(String::new(), |s| s.backend.clone()),
            notices: std::mem::take(&mut self.notices),
        }
    }

    /// One slice of work: a segment of the run that is behind, then recall.
    async fn work(&mut self) -> Result<Option<Did>, Trouble> {
        if self.settle_sides().await? {
            return Ok(Some(Did {
                message: "reading".to_owned(),
                panels: &[],
            }));
        }
        let behind = (0..self.sides.len())
            .filter(|&i| !self.sides[i].done())
            .min_by_key(|&i| self.sides[i].covered());
        if let Some(i) = behind {
            let side = &mut self.sides[i];
            let before = self.host.now_ms();
            let from = side.covered();
            side.advance(&self.host).await?;
            side.count_time(self.host.now_ms() - before, side.covered() - from);
            let message = side.message();
            return Ok(Some(Did {
                message,
                panels: &RUN_PANELS,
            }));
        }
        if self.wanted_recall == 0 {
            return Ok(None);
        }
        self.settle_recall().await?;
        let Some(job) = &mut self.recall else {
            return Ok(None);
        };
        if job.done() {
            self.wanted_recall = 0;
            return Ok(None);
        }
        let finished_round = job.advance(&self.texts["heldout"]).await?;
        let panels: &[&str] = if finished_round { &["recall"] } else { &[] };
        Ok(Some(Did {
            message: job.message(),
            panels,
        }))
    }

    /// Makes the sides fit the settings. True if something was made anew.
    async fn settle_sides(&mut self) -> Result<bool, Trouble> {
        let settings = self.side_settings();
        self.sides.truncate(settings.len());
        for (i, settings) in settings.iter().enumerate() {
            let gpu = self.choose_gpu(settings).await?;
            let stack = self.models[&model_key(settings)].clone();
            let wanted = Wanted::new(settings, model_key(settings), stack, gpu);
            if let Some(side) = self.sides.get_mut(i) {
                if side.take(&wanted) {
                    continue;
                }
                // What was computed for other settings must not be drawn for these.
                self.sides.remove(i);
            }
            let stack = &wanted.stack;
            let tokens = input::tokens(settings, &self.texts, stack).map_err(Trouble::Input)?;
            if tokens.len() < wanted.context {
                self.notices.push(format!(
                    "the text has {} tokens: the context ends there",
                    tokens.len()
                ));
            }
            let side = Side::new(&self.host, wanted, tokens, &mut self.notices).await?;
            self.sides.insert(i, side);
            return Ok(true);
        }
        Ok(false)
    }

    async fn settle_recall(&mut self) -> Result<(), String> {
        if let Some(job) = &mut self.recall {
            job.ask_for(self.wanted_recall);
            return Ok(());
        }
        let sides: Vec<&Side<H::Player>> = self
            .sides
            .iter()
            .filter(|s| s.wanted.stack.reads_bytes)
            .collect();
        if sides.len() < self.sides.len() {
            self.notices.push(
                "passkey recall needs a model that reads bytes: choose one of those".to_owned(),
            );
            self.wanted_recall = 0;
            return Ok(());
        }
        let job = RecallJob::new(&self.host, &sides, &self.settings, self.wanted_recall).await?;
        self.recall = Some(job);
        Ok(())
    }

    /// Whether the GPU should run this side.
    async fn choose_gpu(&mut self, settings: &Settings) -> Result<bool, String> {
        if !self.gpu_ready {
            return Ok(false);
        }
        match settings.get("backend") {
            "cpu" => Ok(false),
            "gpu" => Ok(true),
            _ => {
                let key = model_key(settings);
                if !self.speeds.contains(&key) {
                    let stack = self.models[&key].clone();
                    let cpu = measure_speed(&self.host, &stack, false, 1).await?;
                    let gpu = measure_speed(&self.host, &stack, true, 1).await?;
                    self.notices.push(format!(
                        "measured on this device: {} tokens a second on the CPU, {} on the GPU; the faster one is used",
                        short(1e3 / cpu),
                        short(1e3 / gpu)
                    ));
                    self.speeds.insert(&key, [cpu, gpu]);
                }
                let [cpu, gpu] = self.speeds[&key];
                Ok(gpu < cpu)
            }
        }
    }

    /// A back end failed in the middle of its work: what ran on the GPU begins anew, on a fresh
    /// device twice, then on the CPU. Other errors are said, and the lab waits for other settings.
    fn fail(&mut self, trouble: Trouble) {
        let sentence = match trouble {
            Trouble::Player(sentence) if self.gpu_ready => sentence,
            Trouble::Player(sentence) | Trouble::Input(sentence) => {
                self.notices.push(sentence);
                self.halted = true;
                return;
            }
        };
        self.gpu_failures += 1;
        self.sides.retain(|s| !s.wanted.gpu);
        self.recall = None;
        if self.gpu_failures > MAX_GPU_FAILURES {
            self.gpu_ready = false;
            self.notices
                .push(format!("{sentence}: the lab goes on with the CPU"));
        } else {
            self.notices
                .push(format!("{sentence}: the lab goes on with a fresh device"));
        }
    }

    fn side_settings(&self) -> Vec<Settings> {
        let mut out = vec![self.settings.run(false)];
        if self.settings.compares() {
            out.push(self.settings.run(true));
        }
        out
    }

    fn make_random_models(&mut self) {
        for settings in self.side_settings() {
            let key = model_key(&settings);
            let Some(id) = settings.get("model").strip_prefix("random-") else {
                continue;
            };
            if let Some(definition) = mixers::ALL.iter().find(|d| d.id == id)
                && !self.models.contains(&key)
                && let Some(stack) = random_model(definition, &settings)
            {
                self.models.insert(&key, Rc::new(stack));
            }
        }
    }

    /// Layer and head must exist in every model that is shown.
    fn clamp_look(&mut self, notices: &mut Vec<String>) {
        let stacks: Vec<Rc<Stack>> = self
            .side_settings()
            .iter()
            .filter_map(|s| self.models.get(&model_key(s)).cloned())
            .collect();
        let Some(layers) = stacks.iter().map(|s| s.blocks.len()).min() else {
            return;
        };
        self.clamp("layer", layers, notices);
        let layer = self.settings.integer("layer") as usize;
        let heads = stacks
            .iter()
            .map(|s| s.blocks[layer].mixer.shape().heads)
            .min()
            .unwrap_or(1);
        self.clamp("head", heads, notices);
    }

    fn clamp(&mut self, id: &str, count: usize, notices: &mut Vec<String>) {
        let value = self.settings.integer(id) as usize;
        if value < count {
            return;
        }
        let last = (count - 1).to_string();
        notices.push(format!(
            "{id} = {value} does not exist in this model, which has {count}: {last} is shown"
        ));
        // A whole number in the range of the setting.
        let _ = self.settings.set(id, &last);
    }

    /// The panel with this id, from what has been computed so far.
    pub fn panel(&self, id: &str) -> Option<Panel> {
        let sides: Vec<&Side<H::Player>> = self.sides.iter().filter(|s| s.covered() > 0).collect();
        let check = self.host.self_check();
        match id {
            "recall" => panels::recall(self.recall.as_ref()?, &sides, &check),
            _ if sides.is_empty() => None,
            "decay" => Some(panels::decay(&sides, &self.settings, &check)),
            "receptive-field" => panels::receptive_field(&sides, &self.settings, &check),
            "state" => Some(panels::state(&sides, &check)),
            "cost" => Some(panels::cost(&sides, &check)),
            _ => None,
        }
    }
}

/// Why work stopped.
enum Trouble {
    /// The input cannot be read.
    Input(String),
    /// The back end failed.
    Player(String),
}

impl From<String> for Trouble {
    fn from(sentence: String) -> Trouble {
        Trouble::Player(sentence)
    }
}

/// A slice of work done.
struct Did {
    message: String,
    panels: &'static [&'static str],
}

/// The model of this mixer with random weights. An engine without the zoo has the usual sizes
/// only: nothing for others.
fn random_model(definition: &'static Definition, settings: &Settings) -> Option<Stack> {
    let seed = settings.integer("seed") as u64;
    let equal = settings.get("equal");
    if equal == "off" {
        return Some(Stack::random(definition, seed));
    }
    #[cfg(not(feature = "zoo"))]
    return None;
    #[cfg(feature = "zoo")]
    Some(Stack::random_of(
        definition,
        &crate::catalogue::size(definition, crate::catalogue::Equal::of(equal)),
        seed,
    ))
}

/// The key of a model: random weights depend on the seed and on what is held equal.
fn model_key(settings: &Settings) -> String {
    match settings.get("model") {
        id if id.starts_with("random-") => {
            format!("{id} {} {}", settings.get("seed"), settings.get("equal"))
        }
        id => id.to_owned(),
    }
}
