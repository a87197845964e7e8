//! From a definition to passes. A mixer tells the [`Planner`] one operation after the other; each
//! declares its buffers and notes a pass in which only the number of tokens and the position are
//! open. A recording is those passes with both filled in.

#[cfg(feature = "zoo")]
mod choice;
#[cfg(feature = "zoo")]
pub mod complex_scan;
#[cfg(feature = "zoo")]
pub mod delta_scan;
pub mod elementwise_scan;
mod operations;
pub mod outer_scan;
#[cfg(feature = "zoo")]
pub mod pointwise;
#[cfg(feature = "zoo")]
pub mod pruned;
mod token_table;

use std::mem::offset_of;
use std::sync::Arc;

use bytemuck::Pod;

use crate::kernels::delay::Delay;
use crate::kernels::softmax_attention::SoftmaxAttention;
use crate::mixers::{Change, Weights};
use crate::recording::{BufferId, Kernel, Layout, NONE, Pass, Recording};

#[cfg(feature = "zoo")]
pub use choice::{Attention, Routing};
pub use operations::Activation;
pub use token_table::{OfToken, TokenTables};

/// Columns of a buffer with one row a token.
#[derive(Clone, Copy, Debug)]
pub struct Columns {
    /// The buffer.
    pub buffer: BufferId,
    /// Width of a row; 0 if all tokens share one row.
    pub stride: usize,
    /// First column.
    pub offset: usize,
    /// Number of columns.
    pub width: usize,
}

impl Columns {
    /// A whole buffer of rows.
    pub fn all(buffer: BufferId, width: usize) -> Columns {
        Columns {
            buffer,
            stride: width,
            offset: 0,
            width,
        }
    }

    /// One row that every token reads.
    pub fn same(buffer: BufferId, width: usize) -> Columns {
        Columns {
            stride: 0,
            ..Columns::all(buffer, width)
        }
    }

    /// Some of these columns.
    pub fn part(self, offset: usize, width: usize) -> Columns {
        Columns {
            offset: self.offset + offset,
            width,
            ..self
        }
    }

    /// Neighbouring columns of these widths, in their order.
    pub fn split<const N: usize>(self, widths: [usize; N]) -> [Columns; N] {
        let mut offset = 0;
        widths.map(|width| {
            offset += width;
            self.part(offset - width, width)
        })
    }
}

/// A pass in which the number of tokens, the first word of every kernel's parameters, and perhaps
/// the position are still open.
#[derive(Clone, Debug)]
pub struct PlannedPass {
    pass: Pass,
    position: Option<Position>,
    /// The rows that it works on.
    #[cfg(feature = "zoo")]
    rows: usize,
}

/// Where a pass wants to know how many tokens came before.
#[derive(Clone, Copy, Debug)]
struct Position {
    /// Index of the parameter.
    word: usize,
    /// What the position is divided by, the remainder being wanted; 0 for the position itself.
    modulus: usize,
}

impl PlannedPass {
    /// The kernel, and the buffers that it reads and writes.
    #[cfg(feature = "zoo")]
    pub fn call(&self) -> (&'static Kernel, &[BufferId]) {
        (self.pass.kernel, &self.pass.bindings)
    }

    /// Appends the pass for its rows: `counts` says of each set of rows how many there are and how
    /// many came before.
    #[cfg(feature = "zoo")]
    pub fn record_rows(&self, recording: &mut Recording, counts: &[(usize, usize)]) {
        let (t, position) = counts[self.rows];
        self.record(recording, t, position);
    }

    /// Appends the pass for `t` rows after `position` rows: of tokens, unless tokens are dropped.
    pub fn record(&self, recording: &mut Recording, t: usize, position: usize) {
        let mut pass = self.pass.clone();
        pass.params.0[0] = t as u32;
        if let Some(p) = self.position {
            let value = position.checked_rem(p.modulus).unwrap_or(position);
            pass.params.0[p.word] = value as u32;
        }
        recording.passes.push(pass);
    }
}

/// The buffers between layers.
#[derive(Clone, Copy, Debug)]
pub struct Io {
    /// Normalised input of the mixer.
    pub u: Columns,
    /// Residual stream.
    pub residual: BufferId,
    /// Residual stream after the layer.
    pub out: BufferId,
}

/// Declares the buffers and notes the passes of a stack, layer by layer.
pub struct Planner {
    /// The buffers.
    pub layout: Layout,
    /// The passes so far.
    pub passes: Vec<PlannedPass>,
    /// The most tokens that one recording will have.
    pub segment: usize,
    /// The most tokens that the run will have, for attention caches.
    pub capacity: usize,
    /// What is changed in the model.
    pub change: Change,
    /// The layer that is being planned.
    pub layer: usize,
    /// What the layer that is being planned reads and writes.
    pub io: Io,
    /// Rows that the layer reads and that depend on the token alone, if there are any.
    pub of_token: Option<OfToken>,
    /// The layer whose factors probes want to read: its scratch buffers are its own.
    pub tapped_layer: Option<usize>,
    shared: Vec<BufferId>,
    /// Rotary angles of all tokens to be written before each recording: (theta, K, buffer).
    pub angles: Vec<(f64, usize, BufferId)>,
    /// The rows that passes work on from here on: all tokens, unless tokens were dropped.
    #[cfg(feature = "zoo")]
    rows: usize,
    /// What dropping tokens takes, if tokens are dropped.
    #[cfg(feature = "zoo")]
    pub(crate) pruned: Option<Box<pruned::Pruned>>,
    /// What scores want to see of the tapped layer.
    #[cfg(feature = "zoo")]
    pub(crate) shown: pruned::Shown,
    /// What layers have left for those after them, by name.
    #[cfg(feature = "zoo")]
    left: Vec<(&'static str, bool, Columns)>,
    /// True while the passes read a text backwards: what they leave for other layers is kept apart.
    #[cfg(feature = "zoo")]
    pub(crate) backwards: bool,
    /// Matrices whose words are two halves.
    #[cfg(feature = "zoo")]
    packed: Vec<BufferId>,
}

impl Planner {
    /// Nothing declared yet.
    pub fn new(segment: usize, capacity: usize, change: Change, tapped: Option<usize>) -> Planner {
        Planner {
            layout: Layout::default(),
            passes: Vec::new(),
            segment,
            capacity,
            change,
            layer: 0,
            io: Io {
                u: Columns::all(NONE, 0),
                residual: NONE,
                out: NONE,
            },
            of_token: None,
            tapped_layer: tapped,
            shared: Vec::new(),
            angles: Vec::new(),
            #[cfg(feature = "zoo")]
            rows: 0,
            #[cfg(feature = "zoo")]
            pruned: None,
            #[cfg(feature = "zoo")]
            shown: pruned::Shown::default(),
            #[cfg(feature = "zoo")]
            left: Vec::new(),
            #[cfg(feature = "zoo")]
            backwards: false,
            #[cfg(feature = "zoo")]
            packed: Vec::new(),
        }
    }

    /// True if some tokens go no further than some layer.
    pub fn drops_tokens(&self) -> bool {
        #[cfg(feature = "zoo")]
        return self.pruned.is_some();
        #[cfg(not(feature = "zoo"))]
        false
    }

    /// True in the layer whose factors probes want to read.
    #[cfg(feature = "zoo")]
    pub fn is_tapped(&self) -> bool {
        self.tapped_layer == Some(self.layer)
    }

    /// Leaves rows for later layers under a name. They must lie in a buffer that no later layer
    /// writes to, as those of [`Planner::gates`] do.
    #[cfg(feature = "zoo")]
    pub fn leave(&mut self, name: &'static str, rows: Columns) {
        self.left.push((name, self.backwards, rows));
    }

    /// The rows that an earlier layer has left under this name.
    #[cfg(feature = "zoo")]
    pub fn left(&self, name: &str) -> Option<Columns> {
        let mut left = self.left.iter();
        let found = left.find(|(known, back, _)| (*known, *back) == (name, self.backwards));
        found.map(|(.., rows)| *rows)
    }

    fn in_layer(&self, name: &str) -> String {
        format!("layers.{}.{name}", self.layer)
    }

    /// A weight of this layer.
    pub fn weight(&mut self, name: &str, data: &Weights) -> BufferId {
        let name = self.in_layer(name);
        self.declared(&name, data.values().clone())
    }

    /// A weight under its whole name; one that a second plan of the same layer declares again is
    /// not held twice.
    fn declared(&mut self, name: &str, data: Arc<[f32]>) -> BufferId {
        #[cfg(feature = "zoo")]
        if let Some(id) = self.known_weight(name, &data) {
            return id;
        }
        self.layout.weight(name, data)
    }

    /// A matrix of the model for [`Planner::matmul`] and [`Planner::embed`], under its whole name;
    /// packed if its values are halves.
    pub fn matrix(&mut self, name: &str, data: &Weights) -> BufferId {
        #[cfg(feature = "zoo")]
        if let Some(words) = data.halves() {
            let id = self.declared(name, words.clone());
            self.packed.push(id);
            return id;
        }
        self.declared(name, data.values().clone())
    }

    /// True for a matrix whose words are two halves.
    #[cfg(feature = "zoo")]
    fn is_packed(&self, matrix: BufferId) -> bool {
        self.packed.contains(&matrix)
    }

    #[cfg(not(feature = "zoo"))]
    fn is_packed(&self, _: BufferId) -> bool {
        false
    }

    /// What multiplies by a matrix.
    fn product_by(&self, matrix: BufferId) -> &'static Kernel {
        #[cfg(feature = "zoo")]
        if self.is_packed(matrix) {
            return &crate::kernels::matmul_half::KERNEL;
        }
        let _ = matrix;
        &crate::kernels::matmul::KERNEL
    }

    /// A weight of this layer that may be absent.
    pub fn optional(&mut self, name: &str, data: Option<&Weights>) -> BufferId {
        data.map_or(NONE, |d| self.weight(name, d))
    }

    /// A state of this layer, zero at the start of a sequence.
    pub fn state(&mut self, name: &str, len: usize) -> BufferId {
        let name = self.in_layer(name);
        self.layout.state(&name, len)
    }

    /// Scratch memory of `len` values that all layers share, since they run one after another;
    /// in the layer that probes look into it is the layer's own.
    pub fn scratch(&mut self, name: &str, len: usize) -> BufferId {
        if self.tapped_layer == Some(self.layer) {
            return self.own(name, len);
        }
        self.shared_by_layers(name, len, Layout::scratch)
    }

    /// The workspace of a scan, which all scans of all layers share.
    pub fn workspace(&mut self, len: usize) -> BufferId {
        self.shared_by_layers("workspace of scans", len, Layout::workspace)
    }

    fn shared_by_layers(
        &mut self,
        name: &str,
        len: usize,
        declare: fn(&mut Layout, &str, usize) -> BufferId,
    ) -> BufferId {
        let known = self
            .shared
            .iter()
            .find(|id| self.layout.info(**id).name == name);
        let id = match known {
            Some(&id) => id,
            None => {
                let id = declare(&mut self.layout, name, len);
                self.shared.push(id);
                id
            }
        };
        let info = &mut self.layout.buffers[id.0 as usize];
        info.len = info.len.max(len);
        id
    }

    fn own(&mut self, name: &str, len: usize) -> BufferId {
        let name = self.in_layer(name);
        self.layout.scratch(&name, len)
    }

    /// Scratch rows, one a token. The name must be another one for every operation of a layer.
    pub fn rows(&mut self, name: &str, width: usize) -> Columns {
        let buffer = self.scratch(name, self.most_rows() * width);
        self.declare_rows(buffer, width)
    }

    /// Rows that probes read in every layer: the log-decays and step sizes.
    pub fn gates(&mut self, name: &str, width: usize) -> Columns {
        let buffer = self.own(name, self.most_rows() * width);
        self.declare_rows(buffer, width)
    }

    /// The most rows of a buffer.
    #[cfg(not(feature = "zoo"))]
    pub(crate) fn most_rows(&self) -> usize {
        self.segment
    }

    /// Says that a buffer has rows of this width.
    #[cfg(not(feature = "zoo"))]
    pub(crate) fn declare_rows(&mut self, buffer: BufferId, width: usize) -> Columns {
        Columns::all(buffer, width)
    }

    /// Notes a pass. The first field of `params` must be the number of tokens; what stands in it
    /// is replaced.
    ///
    /// # Panics
    /// If the buffers do not fit the kernel, as [`Recording::push`].
    pub fn push<P: Pod>(
        &mut self,
        kernel: &'static Kernel,
        params: &P,
        reads: &[BufferId],
        writes: &[BufferId],
    ) {
        #[cfg(feature = "zoo")]
        if self.pruned.is_some() {
            let reads: Vec<BufferId> = reads.iter().map(|b| self.in_present_rows(*b)).collect();
            self.push_as_they_are(kernel, params, &reads, writes);
            return;
        }
        self.push_as_they_are(kernel, params, reads, writes);
    }

    /// The same with the rows of every buffer as they are.
    fn push_as_they_are<P: Pod>(
        &mut self,
        kernel: &'static Kernel,
        params: &P,
        reads: &[BufferId],
        writes: &[BufferId],
    ) {
        let mut recording = Recording::default();
        recording.push(kernel, params, reads, writes);
        self.passes
            .extend(recording.passes.into_iter().map(|pass| PlannedPass {
                pass,
                position: None,
                #[cfg(feature = "zoo")]
                rows: self.rows,
            }));
        #[cfg(feature = "zoo")]
        self.note_written(writes);
    }

    /// The pass noted last also wants the position, at this byte of its parameters; with a
    /// modulus, its remainder.
    fn with_position(&mut self, byte: usize, modulus: usize) {
        if let Some(last) = self.passes.last_mut() {
            last.position = Some(Position {
                word: byte / 4,
                modulus,
            });
        }
    }

    /// Notes the rows of `delay` tokens ago, zero before the start: `out = x_{t - delay}`; with a
    /// delay of 0 it copies columns.
    pub fn delay_into(&mut self, name: &str, x: Columns, delay: usize, out: Columns) {
        let ring = self.state(&format!("{name} ring"), delay.max(1) * x.width);
        self.push(
            &crate::kernels::delay::KERNEL,
            &Delay {
                t: 0,
                width: x.width as u32,
                x_stride: x.stride as u32,
                x_offset: x.offset as u32,
                delay: delay as u32,
                phase: 0,
                out_stride: out.stride as u32,
                out_offset: out.offset as u32,
            },
            &[x.buffer],
            &[out.buffer, ring],
        );
        if delay > 0 {
            self.with_position(offset_of!(Delay, phase), delay);
        }
    }

    /// These columns as whole rows of their own, which some kernels need.
    pub fn copied(&mut self, name: &str, x: Columns) -> Columns {
        let out = self.rows(name, x.width);
        self.delay_into(name, x, 0, out);
        out
    }

    /// Notes causal softmax attention of `q [T, H, K]` on the rows `k`, `v [T, G, K]` and all
    /// that came before, kept in a cache; gives `[T, H, K]`.
    pub fn attend(
        &mut self,
        [q, k, v]: [Columns; 3],
        heads: usize,
        groups: usize,
        window: usize,
        scale: f32,
    ) -> Columns {
        #[cfg(feature = "zoo")]
        self.enter_attention(v);
        let out = self.rows("attended", q.width);
        let cache = self.capacity * k.width;
        let caches = [self.state("k_cache", cache), self.state("v_cache", cache)];
        self.push(
            &crate::kernels::softmax_attention::KERNEL,
            &SoftmaxAttention {
                t: 0,
                heads: heads as u32,
                kv_heads: groups as u32,
                key: (q.width / heads) as u32,
                position: 0,
                q_stride: q.stride as u32,
                q_offset: q.offset as u32,
                k_stride: k.stride as u32,
                k_offset: k.offset as u32,
                v_stride: v.stride as u32,
                v_offset: v.offset as u32,
                window: window as u32,
                scale,
                write_factor: self.change.write_factor,
            },
            &[q.buffer, k.buffer, v.buffer],
            &[out.buffer, caches[0], caches[1]],
        );
        self.with_position(offset_of!(SoftmaxAttention, position), 0);
        out
    }

    /// The buffer with rotary angles for heads of width K.
    fn rotary(&mut self, theta: f64, key: usize) -> BufferId {
        #[cfg(feature = "zoo")]
        if self.rows > 0 {
            return self.rotary_of_kept(theta, key);
        }
        if let Some(found) = self.angles.iter().find(|a| a.0 == theta && a.1 == key) {
            return found.2;
        }
        let id = self
            .layout
            .input(&format!("angles {theta} {key}"), self.segment * key);
        self.angles.push((theta, key, id));
        id
    }

    /// The thresholds of this layer's filter.
    pub fn thresholds(&mut self) -> Option<BufferId> {
        let data = self.change.thresholds.as_ref()?.get(self.layer)?.clone();
        Some(self.weight("thresholds", &data))
    }
}

/// Cosine and sine of `position * theta^(-2 i / K)` for `t` positions, `[T, K/2, 2]`, computed in
/// f64: an f32 angle is off by up to 0.004 at position 65,536.
pub fn rotary_angles(theta: f64, key: usize, position: usize, t: usize) -> Vec<f32> {
    let mut out = Vec::with_capacity(t * key);
    for p in position..position + t {
        add_angles(&mut out, theta, key, p);
    }
    out
}

/// Those of one position.
fn add_angles(out: &mut Vec<f32>, theta: f64, key: usize, position: usize) {
    for i in 0..key / 2 {
        let angle = position as f64 * theta.powf(-2.0 * i as f64 / key as f64);
        out.push(angle.cos() as f32);
        out.push(angle.sin() as f32);
    }
}
