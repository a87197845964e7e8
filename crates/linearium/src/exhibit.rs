//! What an exhibit is: a paper as a thing that runs, with its claim measured again.
//!
//! An exhibit is one file in `src/exhibits/` with `pub static EXHIBIT: Exhibit`, and its words in
//! `web/content/exhibits/<slug>.md`. The page, the command line and the tests draw everything from
//! what is declared here; none of them knows an exhibit by its name. [`crate::exhibits`] is the list.

mod bench;
mod boxed_player;
pub mod declared;
mod reading;

use std::future::Future;
use std::pin::Pin;

use serde::Serialize;

pub use bench::{Bench, Place};
pub use boxed_player::{AnyPlayer, BoxedPlayer};
pub use reading::{Pick, Reading};

use crate::lab::Need;
use crate::settings::{Kind, Property, Settings, choice};
use crate::views::{Axis, Drawing, Panel, Provenance, Scale, View};

/// Work that may wait for a GPU; an error is one sentence.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = Result<T, String>> + 'a>>;

/// Computes what an exhibit shows.
pub type Run = for<'a> fn(&'a Settings, &'a Bench<'a>) -> Pending<'a, Shown>;

/// Measures a claim.
pub type Measure = for<'a> fn(&'a Bench<'a>) -> Pending<'a, Measured>;

/// A paper that runs.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Exhibit {
    /// The same id everywhere: this file, its words, the link, the command line.
    pub slug: &'static str,
    /// Name of the system.
    pub title: &'static str,
    /// What to see, one sentence.
    pub see: &'static str,
    /// Where it was published; none for a bench that compares several papers and has a page of its
    /// own.
    pub paper: Option<Paper>,
    /// The controls; the last one is [`BACKEND`].
    pub controls: &'static [Property],
    /// The symbols of the equations, in the order in which they are explained.
    pub symbols: &'static [Symbol],
    /// Files that a run with these settings needs: shipped checkpoints and texts.
    #[serde(skip)]
    pub needs: fn(&Settings) -> Vec<Need>,
    /// Computes views and live values.
    #[serde(skip)]
    pub run: Run,
    /// What the paper says, to be measured again.
    pub claims: &'static [Claim],
    /// The guided tour.
    pub tour: &'static [Step],
    /// The main formula in TeX, for the provenance of every view.
    pub formula: &'static str,
    /// Where the formula comes from.
    pub source: &'static str,
    /// To what the tests hold the numbers.
    pub tolerance: &'static str,
}

/// Where a system was published.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Paper {
    /// arXiv id.
    pub arxiv: &'static str,
    /// Year of the first version.
    pub year: u16,
    /// Authors, short.
    pub authors: &'static str,
    /// Full title.
    pub title: &'static str,
}

/// A symbol of the equations: in the words `\sym{id}{TeX}`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Symbol {
    /// Its id in the words and among the live values.
    pub id: &'static str,
    /// As it is written beside its value.
    pub letter: &'static str,
    /// What it is.
    pub meaning: &'static str,
    /// Unit of its value, or empty.
    pub unit: &'static str,
    /// The control that it belongs to and lights up with, or empty.
    pub control: &'static str,
}

/// A published statement and how it is measured here.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Claim {
    /// Stable id within its exhibit.
    pub id: &'static str,
    /// What the paper says, in our words.
    pub statement: &'static str,
    /// Where it says so.
    pub source: &'static str,
    /// What is measured here.
    pub measured: &'static str,
    /// At which scale: sizes, lengths, samples, seeds.
    pub scale: &'static str,
    /// The claim holds if the measured number lies between these two.
    pub expected: [f64; 2],
    /// Unit of the number, or empty.
    pub unit: &'static str,
    /// Why these bounds follow from the statement.
    pub tolerance: &'static str,
    /// True if it must hold here; one that need not is shown all the same.
    pub reproducible: bool,
    /// If it does not hold, or not as published: why, in a sentence that can be checked; else empty.
    pub why: &'static str,
    /// Files that the measurement needs.
    #[serde(skip)]
    pub needs: fn() -> Vec<Need>,
    /// Measures.
    #[serde(skip)]
    pub measure: Measure,
}

/// What a measurement gave.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Measured {
    /// The number that is held against the bounds.
    pub value: f64,
    /// The numbers behind it, in a sentence.
    pub words: String,
}

/// A line of the claim ledger.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Checked {
    /// Slug of the exhibit.
    pub exhibit: &'static str,
    /// Id of the claim.
    pub claim: &'static str,
    /// Measured number and words.
    #[serde(flatten)]
    pub measured: Measured,
    /// True if the number lies within the bounds.
    pub holds: bool,
    /// What computed it.
    pub backend: String,
    /// Milliseconds that it took.
    pub ms: f64,
    /// The command that gives this line again.
    pub command: String,
}

/// A step of the guided tour: a question, something to do, and what is then seen.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Step {
    /// The question.
    pub ask: &'static str,
    /// The controls at the beginning of the step, as a query.
    pub settings: &'static str,
    /// What the learner does.
    pub act: Act,
    /// What is said when it is done.
    pub reveal: &'static str,
}

/// What a learner does in a step.
#[derive(Serialize)]
#[serde(
    rename_all = "camelCase",
    rename_all_fields = "camelCase",
    tag = "type"
)]
pub enum Act {
    /// Sets a mark where the live value will be, which is hidden until then.
    Mark {
        /// The symbol whose value is guessed.
        symbol: &'static str,
        /// Left end.
        min: f64,
        /// Right end.
        max: f64,
        /// Equal ratios instead of equal steps.
        log: bool,
    },
    /// Draws a curve on the axes of a view of lines, which is hidden until then.
    Draw {
        /// Id of the view.
        view: &'static str,
        /// Label of the curve in it.
        series: &'static str,
    },
    /// Moves the controls until a live value lies between two bounds.
    Find {
        /// The symbol whose value must get there.
        symbol: &'static str,
        /// Lowest value that counts.
        low: f64,
        /// Highest value that counts.
        high: f64,
    },
}

/// What a run gives.
#[derive(Clone, Debug, Default)]
pub struct Shown {
    /// The pictures in words, with the main numbers.
    pub summary: String,
    /// In reading order; the first one is the picture of the exhibit in the gallery.
    pub views: Vec<View>,
    /// Live values of symbols.
    pub values: Vec<Value>,
    /// Controls that do not act at these settings.
    pub idle: Vec<Idle>,
    /// How much of a long measurement is done, of how much: asked again, the run goes on from there.
    /// 0 of 0 where everything is done at once.
    pub progress: [usize; 2],
}

/// The live value of a symbol.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Value {
    /// Id of the symbol.
    pub symbol: &'static str,
    /// The number; `null` in JSON where it is not finite.
    pub value: f64,
    /// Instead of the number, where it is none (bits) or needs a word (never, unlimited); else empty.
    pub words: String,
}

/// A control that does not act at these settings.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Idle {
    /// Id of the control.
    pub control: &'static str,
    /// Why, as it follows "does not act here:".
    pub why: &'static str,
}

impl Shown {
    /// Adds a live value.
    pub fn value(&mut self, symbol: &'static str, value: f64) {
        let words = String::new();
        self.values.push(Value {
            symbol,
            value,
            words,
        });
    }

    /// Adds a live value that is shown by words.
    pub fn words(&mut self, symbol: &'static str, value: f64, words: impl Into<String>) {
        self.values.push(Value {
            symbol,
            value,
            words: words.into(),
        });
    }

    /// Adds a view.
    pub fn view(&mut self, id: &str, title: &str, drawing: Drawing) {
        self.views.push(View {
            id: id.to_owned(),
            title: title.to_owned(),
            drawing,
        });
    }

    /// Says that a control does not act at these settings.
    pub fn idle(&mut self, control: &'static str, why: &'static str) {
        self.idle.push(Idle { control, why });
    }
}

/// An axis with bounds chosen from the data.
pub fn axis(label: &str, unit: &str, scale: Scale) -> Axis {
    Axis {
        label: label.to_owned(),
        unit: unit.to_owned(),
        scale,
        domain: None,
    }
}

/// An axis from one value to another.
pub fn axis_over(label: &str, unit: &str, scale: Scale, domain: [f64; 2]) -> Axis {
    Axis {
        domain: Some(domain),
        ..axis(label, unit, scale)
    }
}

/// What the page asks for: one run at these settings.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Answer {
    /// The settings as a query in its shortest form.
    pub query: String,
    /// What of the link could not be used, each a sentence.
    pub notices: Vec<String>,
    /// Files that must be provided first; then there is no panel yet.
    pub needs: Vec<Need>,
    /// What is drawn.
    pub panel: Option<Panel>,
    /// Live values.
    pub values: Vec<Value>,
    /// Controls that do not act at these settings.
    pub idle: Vec<Idle>,
    /// How much is done, of how much: while it is less, asking again goes on from there.
    pub progress: [usize; 2],
}

/// The control that every exhibit has as its last one.
pub const BACKEND: Property = Property {
    id: "backend",
    label: "Back end",
    group: "run",
    kind: Kind::Choice {
        choices: &[choice("cpu", "CPU"), choice("gpu", "GPU")],
    },
    default: "cpu",
    unit: "",
    help: "Both back ends give the same numbers to rounding. An exhibit is small, so the CPU is mostly the faster one.",
    comparable: false,
    when: &[],
    suggest: "",
};

/// For [`Exhibit::needs`] and [`Claim::needs`] of what computes with nothing but numbers.
pub fn no_files(_: &Settings) -> Vec<Need> {
    Vec::new()
}

/// The same for a claim.
pub fn nothing() -> Vec<Need> {
    Vec::new()
}

impl Exhibit {
    /// Runs with these settings; the needs must be there. Summary and views are in the panel.
    ///
    /// # Errors
    /// One sentence of the exhibit or of the player.
    pub async fn show(
        &'static self,
        settings: &Settings,
        bench: &Bench<'_>,
    ) -> Result<(Panel, Shown), String> {
        let mut shown = (self.run)(settings, bench).await?;
        let panel = Panel {
            id: self.slug.to_owned(),
            title: self.title.to_owned(),
            summary: std::mem::take(&mut shown.summary),
            views: std::mem::take(&mut shown.views),
            provenance: Provenance {
                backend: bench.backend(),
                formula: self.formula.to_owned(),
                source: self.source.to_owned(),
                tolerance: self.tolerance.to_owned(),
                self_check: bench.self_check(),
                ..Provenance::default()
            },
        };
        Ok((panel, shown))
    }

    /// Measures a claim; its needs must be there.
    ///
    /// # Errors
    /// One sentence of the exhibit or of the player.
    pub async fn check(
        &'static self,
        claim: &'static Claim,
        bench: &Bench<'_>,
    ) -> Result<Checked, String> {
        let start = bench.now_ms();
        let measured = (claim.measure)(bench).await?;
        let [low, high] = claim.expected;
        let flag = if bench.on_gpu() { " --backend gpu" } else { "" };
        Ok(Checked {
            exhibit: self.slug,
            claim: claim.id,
            holds: measured.value >= low && measured.value <= high,
            measured,
            backend: bench.backend(),
            ms: bench.now_ms() - start,
            command: format!("linearium claims {}{flag}", self.slug),
        })
    }
}
