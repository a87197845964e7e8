//! What depends on a token alone is computed once for every token of the vocabulary and looked up
//! from then on: the projections that the first mixer makes of its normalised embedding. In a
//! small model of bytes that is a quarter of all products.

use std::sync::{Arc, Mutex, Weak};

use fearless_simd::Level;

use super::{Columns, Planner};
use crate::player::{CpuPlayer, Player};
use crate::recording::{BufferId, NONE, Recording, Role};

/// The most values of a table: 2 MiB.
const MAX_VALUES: usize = 1 << 19;

/// The tables of a model that were needed so far.
#[derive(Clone, Default)]
pub struct TokenTables(Arc<Mutex<Vec<TokenTable>>>);

struct TokenTable {
    /// The matrix and the bias that it was made with. A layer that makes its matrix anew for each
    /// plan does not keep the old ones alive by its tables.
    of: [Option<Weak<[f32]>>; 2],
    /// `[vocab, N]`.
    values: Arc<[f32]>,
}

/// Rows that depend on the token alone.
#[derive(Clone)]
pub struct OfToken {
    /// `[T, D]`.
    pub rows: Columns,
    /// So many passes, row by row, lead from the tokens to them.
    pub passes: usize,
    /// Input `[T]`.
    pub tokens: BufferId,
    /// Vocabulary size.
    pub vocab: usize,
    /// Where tables are kept.
    pub tables: TokenTables,
}

impl Planner {
    /// Looks `x W^T + bias` up if it depends on the token alone and more tokens will be read than
    /// there are rows of a table; false if it has to be computed.
    pub(super) fn look_up(&mut self, x: Columns, weights: [BufferId; 3], out: Columns) -> bool {
        let [weight, bias, residual] = weights;
        let Some(of_token) = self.of_token.clone() else {
            return false;
        };
        let vocab = of_token.vocab;
        let of_rows = x.buffer == of_token.rows.buffer
            && (x.offset, x.width, x.stride) == (0, of_token.rows.width, of_token.rows.stride);
        let fits = vocab < self.capacity && vocab * out.width <= MAX_VALUES;
        let whole = (out.offset, out.stride) == (0, out.width);
        if !of_rows || !fits || !whole || residual != NONE || self.is_packed(weight) {
            return false;
        }
        // Every layout has its own placeholder for a bias that is not there.
        let there = |id: BufferId| (id != NONE).then(|| self.layout.info(id).data.clone());
        let of = [weight, bias].map(|id| there(id).flatten());
        let known = of_token.tables.find(&of);
        let values = match known {
            Some(values) => values,
            None => {
                self.push_matmul(x, weights, out);
                let Some(values) = self.of_every_token(&of_token, out) else {
                    return true;
                };
                self.passes.pop();
                of_token.tables.keep(of, &values);
                values
            }
        };
        let name = format!("{} of each token", self.layout.info(weight).name);
        let table = self.layout.weight(&name, values);
        self.embed(table, of_token.tokens, out.buffer, out.width);
        true
    }

    /// The last pass's output for each token of the vocabulary, played on the CPU; none if that is
    /// not possible.
    fn of_every_token(&self, of_token: &OfToken, out: Columns) -> Option<Arc<[f32]>> {
        let vocab = of_token.vocab;
        let mut recording = Recording::default();
        let product = self.passes.last()?;
        for pass in self.passes[..of_token.passes].iter().chain([product]) {
            pass.record(&mut recording, vocab, 0);
        }
        let used = |id: u32| {
            let mut passes = recording.passes.iter();
            passes.any(|pass| pass.bindings.contains(&BufferId(id)))
        };
        let mut layout = self.layout.clone();
        for (id, buffer) in (0..).zip(&mut layout.buffers) {
            if buffer.role != Role::Weight {
                buffer.len = if used(id) {
                    buffer.len.div_ceil(self.segment.max(1)) * vocab
                } else {
                    1
                };
            }
        }
        let mut player = CpuPlayer::with_level(&layout, Level::new());
        let tokens: Vec<f32> = (0..vocab).map(|token| token as f32).collect();
        player.write(of_token.tokens, 0, &tokens).ok()?;
        player.play(&recording).ok()?;
        Some(player.buffer(out.buffer)[..vocab * out.width].into())
    }
}

impl TokenTables {
    fn find(&self, of: &[Option<Arc<[f32]>>; 2]) -> Option<Arc<[f32]>> {
        let same = |a: &Option<Weak<[f32]>>, b: &Option<Arc<[f32]>>| match (a, b) {
            (Some(a), Some(b)) => a.upgrade().is_some_and(|a| Arc::ptr_eq(&a, b)),
            _ => a.is_none() == b.is_none(),
        };
        let tables = self.0.lock().ok()?;
        let table = tables
            .iter()
            .find(|table| table.of.iter().zip(of).all(|(a, b)| same(a, b)))?;
        Some(table.values.clone())
    }

    fn keep(&self, of: [Option<Arc<[f32]>>; 2], values: &Arc<[f32]>) {
        if let Ok(mut tables) = self.0.lock() {
            let needed =
                |of: &Option<Weak<[f32]>>| of.as_ref().is_none_or(|of| of.strong_count() > 0);
            tables.retain(|table| table.of.iter().all(needed));
            tables.push(TokenTable {
                of: of.map(|of| of.as_ref().map(Arc::downgrade)),
                values: values.clone(),
            });
        }
    }
}
