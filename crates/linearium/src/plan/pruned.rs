//! Dropped tokens in a plan: passes that work on kept rows only, for every mixer.
//!
//! The planner knows of each buffer with rows which tokens they belong to. A pass works on the rows
//! of the present set; what it reads of another set is brought to that one first, by taking rows
//! after an order that is written before each recording. So a mixer that projects and convolves all
//! tokens and then reaches its scan goes on with kept rows without knowing of it; only scans do
//! something about the gaps ([`Planner::enter_scan`]).

mod capture;
mod rows;

use std::collections::BTreeMap;

use self::rows::{ALL, List, Others, held_set, kept_set};
use super::{Columns, Planner};
use crate::kernels::gap_sum::{self, GapSum};
use crate::kernels::matmul::{self, Matmul};
use crate::kernels::reorder::{self, CHOICE, Reorder};
use crate::mixers::Weights;
use crate::pruning::{DropMode, Neighbours, Pruning};
use crate::recording::{BufferId, NONE};

pub use rows::{PrunedRows, Segment};

/// Why a layer does something else about gaps than the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// The layer.
    pub layer: usize,
    /// In a sentence.
    pub sentence: String,
}

/// What a planner knows while a part of a layer is planned for its log-decays alone.
enum Capture {
    /// A token of zeros: where the log-decay of the first scan stands, and the passes up to it.
    Zero(Option<(Columns, usize)>),
    /// All tokens: their sums over the gaps, and the passes up to them.
    Gaps(Option<(Columns, usize)>),
}

/// What dropping tokens takes.
pub(crate) struct Pruned {
    mode: DropMode,
    neighbours: Neighbours,
    /// The layers that drop tokens.
    layers: Vec<usize>,
    /// The prunings so far.
    prunings: usize,
    /// Width and set of the rows in a buffer.
    buffers: BTreeMap<BufferId, (usize, usize)>,
    /// Rows of a buffer, brought to another set.
    moved: BTreeMap<(BufferId, usize, bool), BufferId>,
    lists: Vec<(List, BufferId)>,
    /// Rotary angles of kept rows: (theta, K, set, buffer).
    angles: Vec<(f64, usize, usize, BufferId)>,
    /// The residual stream of all tokens, each as it was when it was dropped.
    stream: Option<BufferId>,
    capture: Option<Capture>,
    /// Log-decays of this layer over the gaps, if kept rows were projected for themselves.
    gaps: Option<Columns>,
    /// The log-decay of a token of zeros in this layer.
    zero: Option<Weights>,
    notes: Vec<Note>,
    /// True if some scan has done what the mode says.
    meant: bool,
    /// True if the layer's scan was reached.
    scanned: bool,
    /// What makes the plan impossible.
    refusal: Option<String>,
}

/// What scores see of the tapped layer.
#[derive(Clone, Copy, Debug, Default)]
pub struct Shown {
    /// The residual stream before the layer, and after it.
    pub streams: Option<[Columns; 2]>,
    /// What the mixer reads.
    pub u: Option<Columns>,
    /// The value.
    pub v: Option<Columns>,
    /// What the last projection reads.
    pub inner: Option<Columns>,
    /// Logits of staying asleep and of being active.
    pub router: Option<Columns>,
    /// The passes up to the end of the layer's mixer.
    pub passes: usize,
    /// True if a token reads the state before its own write.
    pub read_before: bool,
}

/// What a scan does about the tokens that were dropped right before each of its rows.
pub(super) enum Gap {
    /// Nothing.
    Closed,
    /// Adds these rows to its log-decays.
    Decays(Columns),
    /// Has rows of their own for gaps, each standing for so many copies of the row before it
    /// (1 for rows of tokens).
    Held(BufferId),
}

/// What a scan does about dropped tokens whose decay is the same for every token.
pub(crate) enum ConstantGap {
    /// Nothing.
    Closed,
    /// It walks over all tokens: dropped ones write nothing.
    Silent,
    /// It walks over all tokens: dropped ones are copies of the last kept one.
    Copies,
}

impl Pruned {
    pub(crate) fn new(pruning: &Pruning) -> Pruned {
        Pruned {
            layers: pruning.steps().iter().map(|(layer, _)| *layer).collect(),
            ..Pruned::meaning(pruning.mode, pruning.neighbours)
        }
    }

    fn meaning(mode: DropMode, neighbours: Neighbours) -> Pruned {
        Pruned {
            mode,
            neighbours,
            layers: Vec::new(),
            prunings: 0,
            buffers: BTreeMap::new(),
            moved: BTreeMap::new(),
            lists: Vec::new(),
            angles: Vec::new(),
            stream: None,
            capture: None,
            gaps: None,
            zero: None,
            notes: Vec::new(),
            meant: false,
            scanned: false,
            refusal: None,
        }
    }

    /// The set of rows that reach the end of the plan.
    fn present(&self) -> usize {
        match self.mode {
            DropMode::Mask => ALL,
            _ => kept_set(self.prunings),
        }
    }

    /// True if the layer computes something of every token before its scan.
    fn reads_all(&self) -> bool {
        self.present() != ALL && self.neighbours == Neighbours::Original
    }
}

impl Planner {
    /// The most rows of a buffer: a row that stands for a gap may be one more than the tokens.
    pub(crate) fn most_rows(&self) -> usize {
        let carries = |p: &Pruned| p.mode == DropMode::Carry;
        self.segment + usize::from(self.pruned.as_deref().is_some_and(carries))
    }

    /// Says that a buffer has rows of this width, one for each of the present set.
    pub(crate) fn declare_rows(&mut self, buffer: BufferId, width: usize) -> Columns {
        let rows = self.rows;
        if let Some(pruned) = &mut self.pruned {
            pruned.buffers.insert(buffer, (width, rows));
        }
        Columns::all(buffer, width)
    }

    /// A weight that is declared already, while tokens are dropped: a layer may be planned twice.
    pub(super) fn known_weight(
        &self,
        name: &str,
        data: &std::sync::Arc<[f32]>,
    ) -> Option<BufferId> {
        self.pruned.as_ref()?;
        let mut infos = self.layout.buffers.iter();
        let same = infos.position(|info| {
            info.name == name
                && info
                    .data
                    .as_ref()
                    .is_some_and(|known| std::sync::Arc::ptr_eq(known, data))
        });
        same.map(|i| BufferId(i as u32))
    }

    /// Rows that were written belong to the present set, and what was taken of them is old.
    pub(super) fn note_written(&mut self, writes: &[BufferId]) {
        let rows = self.rows;
        let Some(pruned) = &mut self.pruned else {
            return;
        };
        for write in writes {
            if let Some((_, set)) = pruned.buffers.get_mut(write) {
                *set = rows;
            }
        }
        pruned
            .moved
            .retain(|(from, ..), to| !writes.contains(from) && !writes.contains(to));
    }

    fn list(&mut self, list: List) -> BufferId {
        let len = self.most_rows() + 1;
        let name = format!("{list:?}");
        let Some(pruned) = &mut self.pruned else {
            return NONE;
        };
        if let Some((_, buffer)) = pruned.lists.iter().find(|(known, _)| *known == list) {
            return *buffer;
        }
        let buffer = self.layout.input(&name, len);
        pruned.lists.push((list, buffer));
        buffer
    }

    /// A buffer as a pass of the present set reads it: its rows brought to that set, if it has rows
    /// of another one.
    pub(super) fn in_present_rows(&mut self, buffer: BufferId) -> BufferId {
        let (to, backwards, layer) = (self.rows, self.backwards, self.layer);
        let Some(pruned) = &mut self.pruned else {
            return buffer;
        };
        let Some(&(width, from)) = pruned.buffers.get(&buffer) else {
            return buffer;
        };
        if from == to {
            return buffer;
        }
        let closes_gaps = from % 2 == 0 && to + 1 == from;
        if to == ALL || to < from && !closes_gaps {
            // Only rows that an earlier layer left.
            let name = &self.layout.info(buffer).name;
            pruned.refusal.get_or_insert_with(|| {
                format!(
                    "layer {layer} needs '{name}' of tokens that an earlier layer has dropped: keep all tokens up to it"
                )
            });
            return buffer;
        }
        if let Some(&moved) = pruned.moved.get(&(buffer, to, backwards)) {
            return moved;
        }
        let order = self.list(List::Take {
            from,
            to,
            backwards,
        });
        let name = format!("{} at rows {to}", self.layout.info(buffer).name);
        let out = self.scratch(&name, self.most_rows() * width);
        self.take(Columns::all(buffer, width), order, 0.0, false, out);
        self.declare_rows(out, width);
        if let Some(pruned) = &mut self.pruned {
            pruned.moved.insert((buffer, to, backwards), out);
        }
        out
    }

    /// Rows after an order of one entry more than the present rows; that last one counts only where
    /// a row is carried on, which costs the GPU a pass of its own.
    fn take(&mut self, x: Columns, order: BufferId, fill: f32, carries: bool, out: BufferId) {
        let name = format!("{} carried", self.layout.info(out).name);
        let carried = self.state(&name, if carries { x.width } else { 1 });
        let params = Reorder {
            t: 0,
            width: x.width as u32,
            x_stride: x.stride as u32,
            x_offset: x.offset as u32,
            has_order: if carries { CHOICE } else { 1 },
            fill,
        };
        let (reads, writes) = ([x.buffer, order], [out, carried]);
        self.push_as_they_are(&reorder::KERNEL, &params, &reads, &writes);
    }

    /// Rotary angles of the present rows.
    pub(super) fn rotary_of_kept(&mut self, theta: f64, key: usize) -> BufferId {
        let (rows, len) = (self.rows, self.most_rows() * key);
        let Some(pruned) = &mut self.pruned else {
            return NONE;
        };
        let wanted = |a: &&(f64, usize, usize, BufferId)| (a.0, a.1, a.2) == (theta, key, rows);
        if let Some(found) = pruned.angles.iter().find(wanted) {
            return found.3;
        }
        let name = format!("angles {theta} {key} of rows {rows}");
        let buffer = self.layout.input(&name, len);
        pruned.angles.push((theta, key, rows, buffer));
        buffer
    }

    /// True if the present layer drops tokens.
    pub(crate) fn drops_here(&self) -> bool {
        let pruned = self.pruned.as_ref();
        pruned.is_some_and(|p| p.layers.contains(&self.layer))
    }

    /// Drops tokens at the input of the present layer: gives the residual stream `[K, D]` of those
    /// that stay.
    pub(crate) fn drop_tokens(&mut self, x: BufferId, width: usize) -> BufferId {
        let Some(pruned) = &mut self.pruned else {
            return x;
        };
        pruned.prunings += 1;
        let kept = kept_set(pruned.prunings);
        if pruned.mode == DropMode::Mask {
            let mask = Columns::all(self.list(List::Mask { kept }), 1);
            let x = Columns::all(x, width);
            let gate = super::pointwise::Gate::default();
            let name = format!("masked stream {kept}");
            return self.product(&name, x, mask.spread(1, width), &gate).buffer;
        }
        self.keep_stream(x, width);
        self.rows = kept;
        // A copy: the streams are written in turn.
        self.in_present_rows(x)
    }

    /// Keeps the residual stream of every present row at the place of its token.
    fn keep_stream(&mut self, x: BufferId, width: usize) -> Option<BufferId> {
        let rows = self.rows;
        let pruned = self.pruned.as_ref()?;
        let needed =
            pruned.neighbours == Neighbours::Original || pruned.mode == DropMode::DecayTrue;
        if !needed {
            return None;
        }
        let stream = match pruned.stream {
            Some(stream) => stream,
            None => {
                let stream = self.scratch("stream of all tokens", self.segment * width);
                self.pruned.as_mut()?.stream = Some(stream);
                stream
            }
        };
        let list = match rows {
            ALL => List::Take {
                from: ALL,
                to: ALL,
                backwards: false,
            },
            from => List::Back {
                from,
                others: Others::Stays,
            },
        };
        let order = self.list(list);
        self.rows = ALL;
        self.take(Columns::all(x, width), order, 0.0, false, stream);
        self.declare_rows(stream, width);
        self.rows = rows;
        Some(stream)
    }

    /// The normalised residual stream that a layer reads: of all tokens where its convolution sees
    /// dropped ones, which only layers with such neighbours do.
    pub(crate) fn input(
        &mut self,
        x: BufferId,
        width: usize,
        sees_neighbours: bool,
        normalise: impl Fn(&mut Planner, BufferId) -> Columns,
    ) -> Columns {
        let reads_all = self.pruned.as_deref().is_some_and(Pruned::reads_all);
        if !reads_all || !sees_neighbours {
            return normalise(self, x);
        }
        let Some(stream) = self.keep_stream(x, width) else {
            return normalise(self, x);
        };
        self.rows = ALL;
        normalise(self, stream)
    }

    /// After a mixer of width D was planned.
    pub(crate) fn after_mixer(&mut self, width: usize) {
        let layer = self.layer;
        self.leave_all_rows();
        if self.is_tapped() {
            let streams = [self.io.residual, self.io.out];
            self.shown.streams = Some(streams.map(|x| Columns::all(x, width)));
            self.shown.u = Some(self.io.u);
            self.shown.passes = self.passes.len();
        }
        let Some(pruned) = &mut self.pruned else {
            return;
        };
        if pruned.mode.fills_gaps() && pruned.present() != ALL && !pruned.scanned {
            pruned.notes.push(Note {
                layer,
                sentence: "has no state that a gap could change: it gathers".to_owned(),
            });
        }
    }

    /// From here on passes work on the rows that are kept.
    pub(crate) fn leave_all_rows(&mut self) {
        if let Some(pruned) = &self.pruned
            && pruned.capture.is_none()
        {
            self.rows = pruned.present();
        }
    }

    /// Reached the scan of a layer, with whole rows of log-decays (or of what is proportional to
    /// them): what it is to do about gaps. From here on passes work on its rows.
    pub(super) fn enter_scan(&mut self, log_decay: Columns) -> Gap {
        if self.captured(log_decay) {
            return Gap::Closed;
        }
        let Some((mode, prunings)) = self.reach() else {
            return Gap::Closed;
        };
        let kept = kept_set(prunings);
        let backwards = self.backwards;
        let all_rows = self.set_of(log_decay) == ALL;
        if let Some(pruned) = &mut self.pruned {
            // A token of zeros may have no decay, as a note says then.
            let means = mode != DropMode::DecayDefault || pruned.zero.is_some();
            pruned.meant |= mode.fills_gaps() && means;
        }
        match mode {
            DropMode::Mask | DropMode::Gather | DropMode::Hold => {
                self.rows = kept;
                Gap::Closed
            }
            DropMode::DecayTrue if all_rows => Gap::Decays(self.sum_gaps(log_decay, kept)),
            DropMode::DecayTrue => {
                let gaps = self.pruned.as_ref().and_then(|p| p.gaps);
                let gaps = gaps.filter(|gaps| gaps.width == log_decay.width);
                if gaps.is_none() {
                    self.refuse_pruning(
                        "the decays of this mixer's second scan are not those of its first, so that they are known for kept tokens only: let the convolution see its original neighbours",
                    );
                }
                gaps.map_or(Gap::Closed, Gap::Decays)
            }
            DropMode::DecayDefault => {
                self.rows = kept;
                let zero = self.pruned.as_ref().and_then(|p| p.zero.clone());
                // Without one a note says why.
                let Some(zero) = zero else {
                    return Gap::Closed;
                };
                let gaps = self.list(List::Gaps { kept, backwards });
                let out = self.rows("log-decay of gaps", zero.len());
                let weight = self.weight("log-decay of a zero token", &zero);
                let params = Matmul {
                    t: 0,
                    k: 1,
                    n: zero.len() as u32,
                    x_stride: 1,
                    x_offset: 0,
                    has_bias: 0,
                    has_residual: 0,
                };
                let reads = [gaps, weight, NONE, NONE];
                self.push(&matmul::KERNEL, &params, &reads, &[out.buffer]);
                Gap::Decays(out)
            }
            DropMode::Carry => {
                self.refuse_backwards();
                self.rows = held_set(prunings);
                Gap::Held(self.list(List::Repeats { held: self.rows }))
            }
        }
    }

    /// The same for a scan whose decay is the same for every token: with gaps it walks over all
    /// tokens, from rows of `inputs` that [`Planner::over_all`] gives.
    pub(crate) fn enter_constant_scan(&mut self) -> ConstantGap {
        if let Some(pruned) = &mut self.pruned
            && let Some(Capture::Gaps(_) | Capture::Zero(_)) = pruned.capture
        {
            return ConstantGap::Closed;
        }
        let Some((mode, prunings)) = self.reach() else {
            return ConstantGap::Closed;
        };
        if !mode.fills_gaps() {
            self.rows = kept_set(prunings);
            return ConstantGap::Closed;
        }
        if let Some(pruned) = &mut self.pruned {
            pruned.meant = true;
        }
        self.refuse_backwards();
        self.note(match mode {
            DropMode::Carry => {
                "saves nothing in its scan, which reads a copy of the last kept token for each dropped one"
            }
            _ => {
                "saves nothing in its scan, which walks over every token: its decay is a constant for each token, and dropped ones write nothing"
            }
        });
        match mode {
            DropMode::Carry => ConstantGap::Copies,
            _ => ConstantGap::Silent,
        }
    }

    /// True if dropped tokens are copies of the last kept one.
    pub(super) fn copies_tokens(&self) -> bool {
        self.pruned
            .as_deref()
            .is_some_and(|p| p.mode == DropMode::Carry)
    }

    /// Rows for all tokens, of which only kept ones hold what they held: dropped ones hold the fill
    /// value or copies of the last kept row. The present rows are all tokens' from here on.
    pub(crate) fn over_all(&mut self, name: &str, x: Columns, copies: bool, fill: f32) -> Columns {
        let Some(kept) = self.pruned.as_ref().map(|p| kept_set(p.prunings)) else {
            return x;
        };
        let from = self.set_of(x);
        if x.stride == 0 {
            return x;
        }
        let others = if copies {
            Others::LastKept
        } else {
            Others::Fill
        };
        let order = self.list(match from {
            ALL => List::Choose { kept, others },
            from => List::Back { from, others },
        });
        self.rows = ALL;
        let out = self.rows(name, x.width);
        self.take(x, order, fill, copies, out.buffer);
        out
    }

    /// A mixer that can only hold its state, or has none that decays, says why.
    pub(super) fn only_gathers(&mut self, why: &str) {
        let zero = matches!(
            self.pruned.as_deref(),
            Some(Pruned {
                capture: Some(Capture::Zero(None) | Capture::Gaps(None)),
                ..
            })
        );
        let Some((mode, prunings)) = self.reach() else {
            return;
        };
        self.rows = kept_set(prunings);
        if mode.fills_gaps() && !zero {
            self.note(why);
        }
    }

    /// What the present layer does about gaps, once.
    fn note(&mut self, sentence: &str) {
        let note = Note {
            layer: self.layer,
            sentence: sentence.to_owned(),
        };
        if let Some(pruned) = &mut self.pruned
            && !pruned.notes.contains(&note)
        {
            pruned.notes.push(note);
        }
    }

    /// Softmax attention is reached.
    pub(super) fn enter_attention(&mut self, v: Columns) {
        self.show_value(v);
        self.only_gathers(
            "is attention over what is kept and has no state that decays: it gathers",
        );
    }

    fn refuse_backwards(&mut self) {
        if self.backwards {
            self.refuse_pruning(
                "a scan from the last token to the first cannot fill its gaps in this mode: choose hold or decay-default",
            );
        }
    }

    /// The set that the rows of a buffer belong to.
    fn set_of(&self, x: Columns) -> usize {
        let pruned = self.pruned.as_ref();
        let known = pruned.and_then(|p| p.buffers.get(&x.buffer));
        known.map_or(self.rows, |(_, set)| *set)
    }

    /// The layer's scan is reached: mode and prunings, if tokens were dropped and work is saved.
    fn reach(&mut self) -> Option<(DropMode, usize)> {
        let pruned = self.pruned.as_mut()?;
        pruned.scanned = true;
        if pruned.present() == ALL || pruned.capture.is_some() {
            return None;
        }
        Some((pruned.mode, pruned.prunings))
    }

    /// Sums over the gaps of rows of all tokens, for each kept one.
    fn sum_gaps(&mut self, x: Columns, kept: usize) -> Columns {
        let backwards = self.backwards;
        let bounds = self.list(List::Bounds { kept, backwards });
        self.rows = kept;
        let capturing = self.pruned.as_ref().is_some_and(|p| p.capture.is_some());
        // What was captured is read after other passes of the layer.
        let out = if capturing {
            self.gates("captured gaps", x.width)
        } else {
            self.rows("log-decay of gaps", x.width)
        };
        let carried = self.state("log-decay since the last kept token", x.width);
        let params = GapSum {
            t: 0,
            width: x.width as u32,
            x_stride: x.stride as u32,
            x_offset: x.offset as u32,
        };
        let (reads, writes) = ([x.buffer, bounds], [out.buffer, carried]);
        self.push_as_they_are(&gap_sum::KERNEL, &params, &reads, &writes);
        out
    }

    /// A part of the mode that the present layer cannot mean is no result at all.
    pub(super) fn refuse_pruning(&mut self, why: &str) {
        if let Some(pruned) = &mut self.pruned {
            pruned.refusal.get_or_insert_with(|| why.to_owned());
        }
    }

    /// Shows the value of the tapped layer to scores.
    pub(crate) fn show_value(&mut self, v: Columns) {
        if self.is_tapped() {
            self.shown.v = Some(v);
        }
    }

    /// Shows the logits of the tapped layer's router, `[T, 2]`, to scores.
    pub(crate) fn show_router(&mut self, logits: Columns) {
        if self.is_tapped() {
            self.shown.router = Some(logits);
        }
    }

    /// Shows what the last projection of the tapped layer reads.
    pub(super) fn show_inner(&mut self, x: Columns) {
        if self.is_tapped() && self.shown.inner.is_none() {
            self.shown.inner = Some(x);
        }
    }

    /// Ends the plan.
    ///
    /// # Errors
    /// A sentence if the mode means nothing to any layer, or something cannot be done.
    pub(crate) fn end_pruning(&mut self) -> Result<Option<PrunedRows>, String> {
        let Some(pruned) = self.pruned.take() else {
            return Ok(None);
        };
        if let Some(why) = pruned.refusal {
            return Err(why);
        }
        if let (Some(note), false) = (pruned.notes.first(), pruned.meant) {
            return Err(format!(
                "'{}' means nothing here: layer {} {}",
                pruned.mode.id(),
                note.layer,
                note.sentence
            ));
        }
        Ok(Some(PrunedRows {
            last: pruned.present(),
            masks: pruned.mode == DropMode::Mask,
            lists: pruned.lists,
            angles: pruned.angles,
            notes: pruned.notes,
        }))
    }
}
