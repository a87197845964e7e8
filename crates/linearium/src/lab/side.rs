//! One run of the lab with everything that it was made for.

use std::rc::Rc;

use super::host::{Host, segment};
use super::input;
use crate::mixers::{Change, Weights};
use crate::model::session::{Options, Session};
use crate::model::stack::Stack;
use crate::player::Player;
use crate::probes::filter;
use crate::probes::run::{Look, Run};
use crate::settings::Settings;

/// What a side is asked to be.
#[derive(Clone)]
pub(super) struct Wanted {
    /// Key of the model.
    pub model: String,
    /// The model.
    pub stack: Rc<Stack>,
    /// Id of the provided text that is read, if one is.
    pub text: Option<String>,
    /// All settings that change the run itself, as a query: equal keys are equal runs.
    key: String,
    /// Tokens of context.
    pub context: usize,
    /// Where to look.
    pub look: Look,
    /// The settings of this side.
    pub settings: Settings,
    /// Whether it runs on the GPU.
    pub gpu: bool,
}

impl Wanted {
    /// From the settings of one side.
    pub fn new(settings: &Settings, model: String, stack: Rc<Stack>, gpu: bool) -> Wanted {
        let mut key = settings.clone();
        let unrelated: &[&str] = match settings.get("input") {
            // The text of a passkey has exactly the length of the context.
            "passkey" => &["position", "backend"],
            _ => &["position", "backend", "context"],
        };
        for id in unrelated {
            // The default of a setting is one of its values.
            let _ = key.set(id, crate::settings::property(id).map_or("", |p| p.default));
        }
        Wanted {
            model,
            stack,
            text: input::text_of(settings.get("input")).map(str::to_owned),
            key: key.to_query(),
            context: settings.integer("context") as usize,
            look: Look {
                layer: settings.integer("layer") as usize,
                head: settings.integer("head") as usize,
            },
            settings: settings.clone(),
            gpu,
        }
    }

    /// The changes of the model, before the filter is calibrated.
    fn change(&self) -> Change {
        let s = &self.settings;
        Change {
            log_decay_shift: s.number("decay-factor").ln() as f32,
            write_factor: s.number("write-factor") as f32,
            window: s.integer("window") as usize,
            thresholds: None,
        }
    }
}

/// A run, or the calibration before it.
pub(super) struct Side<P> {
    /// What it was made for.
    pub wanted: Wanted,
    /// The back end.
    pub backend: String,
    run: Run<P>,
    calibration: Option<Calibration<P>>,
    /// The thresholds in use.
    pub thresholds: Option<Vec<Weights>>,
    time_ms: f64,
    timed_tokens: usize,
}

/// Readings of windows of the training length, to calibrate the filter.
struct Calibration<P> {
    session: Session<P>,
    length: usize,
    /// For each layer and head the step sizes of each window.
    steps: Vec<Vec<Vec<Vec<f32>>>>,
    windows: usize,
    done: usize,
}

/// The most tokens that a run with a cache is made for at first; the cache of a longer one is
/// sized by the next power of two.
const FIRST_CACHE: usize = 1024;

impl<P: Player> Side<P> {
    /// Makes the run. `tokens` may go on behind the context.
    pub async fn new<H: Host<Player = P>>(
        host: &H,
        wanted: Wanted,
        tokens: Vec<u32>,
        notices: &mut Vec<String>,
    ) -> Result<Side<P>, String> {
        say_what_is_ignored(&wanted, notices);
        let calibration = Calibration::new(host, &wanted, &tokens, notices).await?;
        let session = session(host, &wanted, &wanted.change(), Some(wanted.look.layer)).await?;
        let backend = session.player.backend();
        let mut run = Run::new(session, tokens, wanted.look);
        run.limit = wanted.context;
        Ok(Side {
            wanted,
            backend,
            run,
            calibration,
            thresholds: None,
            time_ms: 0.0,
            timed_tokens: 0,
        })
    }

    /// True if this side is or can become what is wanted without beginning anew.
    pub fn take(&mut self, wanted: &Wanted) -> bool {
        let cached = self.wanted.stack.has_cache();
        if self.wanted.key != wanted.key
            || self.wanted.gpu != wanted.gpu
            || (cached && wanted.context > self.run.session.plan.capacity)
        {
            return false;
        }
        self.wanted.context = wanted.context;
        self.wanted.settings = wanted.settings.clone();
        self.run.limit = wanted.context;
        true
    }

    /// The run.
    pub fn run(&self) -> &Run<P> {
        &self.run
    }

    /// Tokens of context that there are: fewer than asked for if the text ends before.
    pub fn context(&self) -> usize {
        self.wanted.context.min(self.run.tokens.len())
    }

    /// Tokens of the context that have been read.
    pub fn covered(&self) -> usize {
        if self.calibration.is_some() {
            0
        } else {
            self.run.position().min(self.context())
        }
    }

    /// True if the context has been read.
    pub fn done(&self) -> bool {
        self.calibration.is_none() && self.run.done()
    }

    /// What is going on, for people.
    pub fn message(&self) -> String {
        match &self.calibration {
            Some(c) => format!(
                "calibrating the filter, window {} of {}",
                c.done + 1,
                c.windows
            ),
            None => format!("reading {} of {} tokens", self.covered(), self.context()),
        }
    }

    /// Reads a segment, or a window of the calibration.
    pub async fn advance<H: Host<Player = P>>(&mut self, host: &H) -> Result<(), String> {
        let Some(calibration) = &mut self.calibration else {
            self.run.advance().await?;
            return Ok(());
        };
        calibration.advance(&self.run.tokens).await?;
        if calibration.done < calibration.windows {
            return Ok(());
        }
        let length = self.wanted.settings.integer("filter") as usize;
        let thresholds = calibration.thresholds(length);
        self.calibration = None;
        let change = Change {
            thresholds: Some(thresholds.clone()),
            ..self.wanted.change()
        };
        let session = session(host, &self.wanted, &change, Some(self.wanted.look.layer)).await?;
        let tokens = std::mem::take(&mut self.run.tokens);
        self.run = Run::new(session, tokens, self.wanted.look);
        self.run.limit = self.wanted.context;
        self.thresholds = Some(thresholds);
        Ok(())
    }

    /// Counts the time of a segment.
    pub fn count_time(&mut self, ms: f64, tokens: usize) {
        // The first segment pays for page faults and shader compilation.
        if self.run.position() > tokens && tokens > 0 {
            self.time_ms += ms;
            self.timed_tokens += tokens;
        }
    }

    /// Measured milliseconds a token, probes included.
    pub fn ms_per_token(&self) -> Option<f64> {
        (self.timed_tokens > 0).then(|| self.time_ms / self.timed_tokens as f64)
    }

    /// A session like this side's, for reading other texts of at most `capacity` tokens.
    pub async fn sibling<H: Host<Player = P>>(
        &self,
        host: &H,
        capacity: usize,
    ) -> Result<Session<P>, String> {
        let mut wanted = self.wanted.clone();
        wanted.context = capacity;
        let change = Change {
            thresholds: self.thresholds.clone(),
            ..wanted.change()
        };
        session(host, &wanted, &change, None).await
    }

    /// What is changed in the model, one sentence for each intervention, with its source.
    pub fn interventions(&self) -> Vec<String> {
        let s = &self.wanted.settings;
        let decays = self
            .wanted
            .stack
            .blocks
            .iter()
            .any(|b| b.mixer.shape().state > 0);
        let mut out = Vec::new();
        let paper = "Stuffed Mamba, arXiv 2410.07145";
        if s.number("decay-factor") != 1.0 && decays {
            out.push(format!("every decay × {} ({paper})", s.get("decay-factor")));
        }
        if s.number("write-factor") != 1.0 {
            out.push(format!("every write × {} ({paper})", s.get("write-factor")));
        }
        if s.integer("window") > 0 {
            out.push(format!(
                "only the last {} tokens, exactly ({paper})",
                s.get("window")
            ));
        }
        if s.integer("normalise-at") > 0 && decays {
            out.push(format!(
                "state norm capped at its value after {} tokens, every 128 tokens ({paper})",
                s.get("normalise-at")
            ));
        }
        if let Some(thresholds) = &self.thresholds {
            let global: usize = thresholds
                .iter()
                .map(|t| t.iter().filter(|&&g| g > 0.0).count())
                .sum();
            let heads: usize = thresholds.iter().map(|t| t.len()).sum();
            out.push(format!(
                "small steps skipped on {global} of {heads} heads, for {} tokens (LongMamba, arXiv 2504.16053)",
                s.get("filter")
            ));
        }
        out
    }
}

async fn session<H: Host>(
    host: &H,
    wanted: &Wanted,
    change: &Change,
    tapped_layer: Option<usize>,
) -> Result<Session<H::Player>, String> {
    let capacity = match wanted.stack.has_cache() {
        true => wanted.context.next_power_of_two().max(FIRST_CACHE),
        // Nothing grows, so nothing needs to be bounded.
        false => usize::MAX,
    };
    let options = Options {
        capacity,
        change: change.clone(),
        tapped_layer,
        normalise_at: wanted.settings.integer("normalise-at") as usize,
        #[cfg(feature = "zoo")]
        pruning: None,
    };
    let segment = segment(host, &wanted.stack, wanted.gpu);
    Session::new(wanted.stack.clone(), &options, segment, |layout| {
        host.player(wanted.gpu, layout)
    })
    .await
}

/// One sentence for each changed setting that some mixer of the model ignores.
fn say_what_is_ignored(wanted: &Wanted, notices: &mut Vec<String>) {
    let defaults = Settings::default();
    for block in &wanted.stack.blocks {
        let mixer = block.mixer.definition();
        for (id, why) in mixer.ignores {
            let sentence = format!("{id} does not act on {}: {why}", mixer.name);
            let changed = wanted.settings.get(id) != defaults.get(id);
            if changed && !notices.contains(&sentence) {
                notices.push(sentence);
            }
        }
    }
}

impl<P: Player> Calibration<P> {
    /// A calibration, if a filter is asked for and the model allows it; otherwise the reason is
    /// said.
    async fn new<H: Host<Player = P>>(
        host: &H,
        wanted: &Wanted,
        tokens: &[u32],
        notices: &mut Vec<String>,
    ) -> Result<Option<Calibration<P>>, String> {
        if wanted.settings.integer("filter") == 0 {
            return Ok(None);
        }
        let Some(length) = wanted.stack.train_context else {
            notices.push(
                "the filter needs to know at which length the model was trained: add train_context_length to its config.json".to_owned(),
            );
            return Ok(None);
        };
        let windows = (tokens.len() / length).min(filter::WINDOWS);
        if windows == 0 {
            notices.push(format!(
                "the filter is calibrated on windows of {length} tokens and the text is shorter: it is off"
            ));
            return Ok(None);
        }
        let plain = Wanted {
            context: length,
            settings: Settings::default(),
            ..wanted.clone()
        };
        let session = session(host, &plain, &Change::default(), None).await?;
        let layers = session.plan.layers();
        if (0..layers).all(|l| session.plan.taps(l).steps.is_none()) {
            return Ok(None);
        }
        let steps = wanted
            .stack
            .blocks
            .iter()
            .map(|b| vec![Vec::new(); b.mixer.shape().heads])
            .collect();
        Ok(Some(Calibration {
            session,
            length,
            steps,
            windows,
            done: 0,
        }))
    }

    /// Reads one window from an empty state.
    async fn advance(&mut self, tokens: &[u32]) -> Result<(), String> {
        self.session.reset()?;
        for heads in &mut self.steps {
            heads
                .iter_mut()
                .for_each(|h| h.push(Vec::with_capacity(self.length)));
        }
        let window = &tokens[self.done * self.length..][..self.length];
        let mut read = 0;
        while read < self.length {
            let t = self.session.next_segment(self.length - read);
            self.session.feed(&window[read..read + t], None).await?;
            read += t;
            for (layer, heads) in self.steps.iter_mut().enumerate() {
                let Some((c, _)) = self.session.plan.taps(layer).steps.clone() else {
                    continue;
                };
                let rows = self
                    .session
                    .player
                    .read(&[(c.buffer, 0..c.stride * t)])
                    .await?;
                for row in rows[0].chunks_exact(c.stride) {
                    for (h, steps) in heads.iter_mut().enumerate() {
                        steps[self.done].push(row[c.offset + h]);
                    }
                }
            }
        }
        self.done += 1;
        Ok(())
    }

    fn thresholds(&self, length: usize) -> Vec<Weights> {
        self.steps
            .iter()
            .enumerate()
            .map(|(layer, heads)| {
                let steps = self.session.plan.taps(layer).steps.as_ref();
                heads
                    .iter()
                    .enumerate()
                    .map(|(h, windows)| {
                        steps.map_or(-1.0, |(_, rates)| {
                            filter::threshold(windows, rates[h].into(), length)
                        })
                    })
                    .collect()
            })
            .collect()
    }
}

/// Milliseconds a token of a model on one back end: the best of so many segments; the one before
/// them pays for page faults and shader compilation.
pub(super) async fn measure_speed<H: Host>(
    host: &H,
    stack: &Rc<Stack>,
    gpu: bool,
    rounds: usize,
) -> Result<f64, String> {
    let segment = segment(host, stack, gpu);
    let options = Options {
        capacity: (1 + rounds) * segment,
        ..Options::default()
    };
    let mut session = Session::new(stack.clone(), &options, segment, |layout| {
        host.player(gpu, layout)
    })
    .await?;
    let segment = session.next_segment(segment);
    let tokens: Vec<u32> = (0..segment).map(|i| (i % stack.vocab) as u32).collect();
    let mut best = f64::INFINITY;
    for round in 0..=rounds {
        let start = host.now_ms();
        session.feed(&tokens, None).await?;
        // A read waits until the passes are done.
        session.player.read(&[(session.plan.losses, 0..2)]).await?;
        if round > 0 {
            best = best.min(host.now_ms() - start);
        }
    }
    Ok(best / segment as f64)
}
