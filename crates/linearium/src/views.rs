//! The few typed results from which everything is drawn: by the page, by the command line (as
//! JSON), and by tests. A view holds arrays with axes, units and provenance. Whoever draws it
//! computes nothing about the science.
//!
//! Field names are camelCase in JSON and in JavaScript.

use serde::Serialize;

/// One panel of the lab: several views with one provenance.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Panel {
    /// Stable id, also the file name of the panel's words (`web/content/lab/<id>.md`).
    pub id: String,
    /// What to see, one short sentence.
    pub title: String,
    /// The picture in words, with its main numbers, for a screen reader.
    pub summary: String,
    /// The views, in reading order.
    pub views: Vec<View>,
    /// How the numbers were made.
    pub provenance: Provenance,
}

/// How the numbers of a panel were made.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Provenance {
    /// The back end that ran, for example `cpu (wasm simd128)` or `gpu (SwiftShader)`.
    pub backend: String,
    /// The formula in TeX, `formula` of the panel's probe.
    pub formula: String,
    /// Where the formula comes from: paper and equation, or repository path.
    pub source: String,
    /// The tolerance to which tests hold these numbers, and against what.
    pub tolerance: String,
    /// Result of the start-up self-check of the kernels in use.
    pub self_check: String,
    /// How much of the asked-for context these numbers cover.
    pub covered_tokens: usize,
    /// The asked-for context in tokens; `covered_tokens < context_tokens` means a coarse answer.
    pub context_tokens: usize,
    /// What was changed in the model, one entry for each active intervention, with its source.
    pub interventions: Vec<String>,
}

/// A picture or table.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct View {
    /// Stable id within its panel.
    pub id: String,
    /// What to see in this view.
    pub title: String,
    /// What is drawn.
    #[serde(flatten)]
    pub drawing: Drawing,
}

/// What is drawn.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase", tag = "kind")]
pub enum Drawing {
    /// Curves on common axes.
    Lines(Lines),
    /// A matrix in colour.
    Heatmap(Heatmap),
    /// Counts over bins.
    Histogram(Histogram),
    /// Text with a shade for each token.
    Tokens(Tokens),
    /// A picture of which some patches are veiled.
    Patches(Patches),
    /// Rows and columns.
    Table(Table),
}

/// An axis or a colour scale.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Axis {
    /// What is measured, with its symbol where it has one.
    pub label: String,
    /// Unit, empty for a pure number.
    pub unit: String,
    /// Linear, log or symmetric log.
    pub scale: Scale,
    /// Lowest and highest value to show; chosen from the data when absent.
    pub domain: Option<[f64; 2]>,
}

/// How values are laid on an axis.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Scale {
    /// Equal steps.
    #[default]
    Linear,
    /// Equal ratios; values at or below 0 are left out of the picture.
    Log,
    /// Linear around 0, logarithmic away from it.
    Symlog,
}

/// Curves on common axes.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Lines {
    /// Horizontal axis.
    pub x: Axis,
    /// Vertical axis.
    pub y: Axis,
    /// The curves.
    pub series: Vec<Series>,
    /// Straight lines at a value with a word on it (training length, threshold).
    pub marks: Vec<Mark>,
    /// True where x is a position in the text: the cursor is shared by all such views.
    pub x_is_position: bool,
}

/// One curve.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Series {
    /// Name in the legend.
    pub label: String,
    /// `a` or `b`: the run that it belongs to.
    pub run: String,
    /// Horizontal values.
    pub x: Vec<f32>,
    /// Vertical values, as many as `x`; NaN makes a gap.
    pub y: Vec<f32>,
    /// Drawn strong (the chosen head) or faint (the others).
    pub emphasis: bool,
}

/// A straight line across a picture.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Mark {
    /// True for a vertical line at an x value.
    pub vertical: bool,
    /// Where.
    pub value: f64,
    /// What it is.
    pub label: String,
}

/// A matrix in colour.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Heatmap {
    /// Columns: horizontal axis; `domain` gives the values of the first and last edge.
    pub x: Axis,
    /// Rows, first row on top.
    pub y: Axis,
    /// Number of columns.
    pub columns: usize,
    /// Number of rows.
    pub rows: usize,
    /// Row-major values, `rows * columns`; NaN is drawn as "no value".
    pub values: Vec<f32>,
    /// A name for each row, or empty.
    pub row_labels: Vec<String>,
    /// A name for each column, or empty.
    pub column_labels: Vec<String>,
    /// The colour scale.
    pub value: Axis,
    /// How several values became one cell, for example `mean of 32 tokens a cell`.
    pub rule: String,
    /// `a` or `b`.
    pub run: String,
    /// True where x is a position in the text.
    pub x_is_position: bool,
}

/// Counts over bins.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Histogram {
    /// Values.
    pub x: Axis,
    /// Counts.
    pub y: Axis,
    /// `bins + 1` edges, rising.
    pub edges: Vec<f32>,
    /// One set of counts for each of one or more samples.
    pub series: Vec<Counts>,
}

/// Counts of one sample.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Counts {
    /// Name in the legend.
    pub label: String,
    /// `a` or `b`.
    pub run: String,
    /// One count for each bin.
    pub counts: Vec<f32>,
}

/// Text with a shade for each token.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Tokens {
    /// Position of the first token shown.
    pub start: usize,
    /// The text of each token (for a byte vocabulary, UTF-8 is joined on its first byte and the
    /// continuation bytes are empty strings).
    pub tokens: Vec<String>,
    /// One value for each token.
    pub values: Vec<f32>,
    /// The colour scale.
    pub value: Axis,
    /// Position of the token that looks back (within the whole text).
    pub query: usize,
    /// `a` or `b`.
    pub run: String,
    /// How several values became one token, empty if each token has its own.
    pub rule: String,
}

/// A grey picture under a grid of patches, each of which is at one of a few stages.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Patches {
    /// Pixels in a row.
    pub width: usize,
    /// Rows of pixels.
    pub height: usize,
    /// Grey values from 0 to 255, row by row, `width * height`.
    pub pixels: Vec<f32>,
    /// Patches in a row.
    pub columns: usize,
    /// Rows of patches.
    pub rows: usize,
    /// The stage of each patch, a whole number below the number of stages, row by row.
    pub values: Vec<f32>,
    /// What each stage means, from the most veiled (dropped first) to the last, which is bare (kept).
    pub stages: Vec<String>,
    /// Numbers beside the stages, one for each patch (a score), or empty.
    pub beside: Vec<f32>,
    /// What the numbers beside are, with unit.
    pub value: Axis,
    /// `a` or `b`.
    pub run: String,
}

/// Rows and columns.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Table {
    /// Column heads with units.
    pub columns: Vec<String>,
    /// Cells.
    pub rows: Vec<Vec<Cell>>,
}

/// A table cell.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum Cell {
    /// A number; `null` in JSON where it is not finite.
    Number(f64),
    /// Words.
    Text(String),
}
