//! The influence of tokens on outputs with the gates that the unpruned run had: the hidden
//! attention M of every head ([`crate::mixers::Taps`]), as rows, and summed over outputs by an
//! adjoint scan from the last token to the first that never forms it.
//!
//! With `y_i = sum_j M_ij v_j`, `M_ij = c_i^T F_{i-1,j} w_j k_j` and `c_i = scale q_i / z_i`: the
//! adjoint `lambda_j = sum_{i >= j} F^T c_i` obeys `lambda_j = c_j + F_{j+1}^T lambda_{j+1}`, so
//! that `sum_i M_ij = w_j k_j . lambda_j` costs O(T) times the state.

use super::{LogDecay, Seen};
use crate::probes::receptive_field::{row, step_back};
use crate::probes::run::Factors;

impl Seen<'_> {
    /// Groups that share a query.
    fn groups(&self, part: &[f32]) -> usize {
        part.len() / (self.tokens * self.key).max(1)
    }

    /// Checks that the layer has queries and keys of the right sizes, and that these and its gates are
    /// numbers.
    ///
    /// # Errors
    /// A sentence that names what is missing, or a token whose values are not numbers.
    pub fn check_heads(&self, score: &str) -> Result<(), String> {
        for (name, part) in [("queries", self.q), ("keys", self.k)] {
            let row = self.tokens * self.key;
            let whole = self.heads > 0 && self.key > 0 && part.len().is_multiple_of(row.max(1));
            if !whole || (self.tokens > 0 && part.is_empty()) {
                return Err(format!(
                    "the score '{score}' needs {name}, which this layer does not have: choose a \
                     score of its input or of its output"
                ));
            }
        }
        let gates = match self.log_decay {
            LogDecay::None | LogDecay::Constant(_) => &[],
            LogDecay::PerHead(g) | LogDecay::PerKey(g) => g,
            LogDecay::Rates { steps, .. } => steps,
        };
        let optional = [self.write_scale, self.normaliser].map(Option::unwrap_or_default);
        let erase = self.erase.unwrap_or_default();
        for part in [self.q, self.k, gates]
            .into_iter()
            .chain(optional)
            .chain(erase)
        {
            if let Some(at) = part.iter().position(|x| x.is_nan()) {
                return Err(no_number(at * self.tokens / part.len()));
            }
        }
        Ok(())
    }

    /// [`Seen::check_heads`] and that there are values, which are numbers.
    ///
    /// # Errors
    /// A sentence that names what is missing, or a token whose values are not numbers.
    pub fn check_values(&self, score: &str) -> Result<(), String> {
        self.check_heads(score)?;
        if self.v.len() != self.tokens * self.heads * self.value {
            return Err(format!(
                "the score '{score}' needs values [{}, {}, {}], but this layer has {}",
                self.tokens,
                self.heads,
                self.value,
                self.v.len()
            ));
        }
        match self.v.iter().position(|x| x.is_nan()) {
            Some(at) => Err(no_number(at * self.tokens / self.v.len())),
            None => Ok(()),
        }
    }

    /// The factors of the hidden attention of one head, for [`row`].
    pub fn factors(&self, head: usize) -> Factors {
        let (t, heads, key) = (self.tokens, self.heads, self.key);
        let columns = |part: &[f32], of: usize, at: usize, width: usize| -> Vec<f32> {
            part.chunks_exact((of * width).max(1))
                .flat_map(|row| row[at * width..][..width].iter().copied())
                .collect()
        };
        let group = |part: &[f32]| head * self.groups(part) / heads.max(1);
        let log_decay = match self.log_decay {
            LogDecay::None => Vec::new(),
            LogDecay::PerHead(g) => columns(g, heads, head, 1),
            LogDecay::PerKey(g) => columns(g, heads, head, key),
            LogDecay::Rates {
                steps,
                rates,
                shift,
            } => {
                let rates = &rates[head * key..][..key];
                let steps = columns(steps, heads, head, 1);
                let of = |step: f32| rates.iter().map(move |rate| step * rate + shift);
                steps.into_iter().flat_map(of).collect()
            }
            LogDecay::Constant(g) => g[head * key..][..key].repeat(t),
        };
        let of_head = |part: Option<&[f32]>| part.map(|p| columns(p, heads, head, 1));
        Factors {
            key,
            q: columns(self.q, self.groups(self.q), group(self.q), key),
            k: columns(self.k, self.groups(self.k), group(self.k), key),
            log_decay,
            write_scale: of_head(self.write_scale).unwrap_or_default(),
            erase: self.erase.map_or_else(Default::default, |parts| {
                parts.map(|part| columns(part, heads, head, part.len() / (t * heads).max(1)))
            }),
            bonus: self
                .bonus
                .map_or_else(Vec::new, |b| b[head * key..][..key].to_vec()),
            normaliser: of_head(self.normaliser).unwrap_or_default(),
            in_logs: self.in_logs,
            turn: self
                .turn
                .map_or_else(Vec::new, |a| a[head * key / 2..][..key / 2].to_vec()),
            scale: self.scale,
            window: self.window,
            softmax: self.softmax,
            scores: self.weighing.map(|s| {
                let first = if s.bias.len() > s.distances {
                    head * s.distances
                } else {
                    0
                };
                crate::mixers::Scores {
                    bias: s.bias[first..first + s.distances].into(),
                    ..s.clone()
                }
            }),
        }
    }

    /// The token whose output counts where one readout does. Only for a text that has tokens.
    pub fn reader(&self) -> usize {
        let last = self.tokens.saturating_sub(1);
        self.readout.map_or(last, |reader| reader.min(last))
    }

    /// The values of a head, `[T, V]`.
    pub fn values_of(&self, head: usize) -> Vec<f64> {
        let of = |t: usize| self.value_of(t, head).iter().map(|&v| f64::from(v));
        (0..self.tokens).flat_map(of).collect()
    }

    /// The value of a token in a head, `[V]`.
    pub fn value_of(&self, token: usize, head: usize) -> &[f32] {
        &self.v[(token * self.heads + head) * self.value..][..self.value]
    }
}

/// What a head reads at every token, `sum_j M_ij v_j`, `[T, V]`, from values `[T, V]`.
pub fn push(f: &Factors, v: &[f64], value: usize) -> Vec<f64> {
    if !only_rows(f) {
        return readouts(f, v, value);
    }
    let mut out = vec![0.0; v.len()];
    for (i, out) in out.chunks_exact_mut(value.max(1)).enumerate() {
        for (weight, v) in row(f, i).into_iter().zip(v.chunks_exact(value)) {
            for (out, v) in out.iter_mut().zip(v) {
                *out += f64::from(weight) * v;
            }
        }
    }
    out
}

/// The transpose of [`push`]: `sum_{i >= j} M_ij r_i`, `[T, V]`, from what readers weigh by,
/// `[T, V]`.
pub fn pull(f: &Factors, readers: &[f64], value: usize) -> Vec<f64> {
    let mut out = vec![0.0; readers.len()];
    if only_rows(f) {
        for (i, reader) in readers.chunks_exact(value.max(1)).enumerate() {
            for (weight, out) in row(f, i).into_iter().zip(out.chunks_exact_mut(value)) {
                for (out, reader) in out.iter_mut().zip(reader) {
                    *out += f64::from(weight) * reader;
                }
            }
        }
        return out;
    }
    let mut adjoint = Adjoint::new(f, value);
    let pairs = out
        .chunks_exact_mut(value.max(1))
        .zip(readers.chunks_exact(value.max(1)));
    for (j, (out, reader)) in pairs.enumerate().rev() {
        out.copy_from_slice(&adjoint.reach(j, reader));
    }
    out
}

/// The scan itself, in f64, for heads of which there are not [`only_rows`].
fn readouts(f: &Factors, v: &[f64], value: usize) -> Vec<f64> {
    let key = f.key;
    let mut state = vec![vec![0.0; key]; value];
    // What the state is to be multiplied with, as a logarithm.
    let mut log = f64::NEG_INFINITY;
    let mut out = Vec::with_capacity(v.len());
    for (i, v) in v.chunks_exact(value.max(1)).enumerate() {
        let [q, k] = [&f.q, &f.k].map(|part| &part[i * key..][..key]);
        let read = f.reading(i);
        let write = f.writing(i);
        let mut own = 0.0;
        if f.bonus.is_empty() {
            transport(f, i, &mut state, step_on);
        } else {
            let products = k.iter().zip(q).zip(&f.bonus);
            own = read.factor
                * write.factor
                * (read.log + write.log).exp()
                * products
                    .map(|((&k, &q), &u)| f64::from(k) * f64::from(q) * f64::from(u))
                    .sum::<f64>();
        }
        let grow = |state: &mut Vec<Vec<f64>>, log: &mut f64| {
            let largest = log.max(write.log);
            let (old, new) = ((*log - largest).exp(), (write.log - largest).exp());
            for (state, v) in state.iter_mut().zip(v) {
                for (s, &k) in state.iter_mut().zip(k) {
                    *s = *s * old + new * write.factor * f64::from(k) * v;
                }
            }
            *log = largest;
        };
        if f.bonus.is_empty() {
            grow(&mut state, &mut log);
        }
        let factor = read.factor * (log + read.log).exp();
        for (s, v) in state.iter().zip(v) {
            let dot: f64 = q.iter().zip(s).map(|(&q, s)| f64::from(q) * s).sum();
            out.push(factor * dot + own * v);
        }
        if !f.bonus.is_empty() {
            transport(f, i, &mut state, step_on);
            grow(&mut state, &mut log);
        }
    }
    out
}

/// The diagonal of F_i if it has nothing else.
fn gates(f: &Factors, i: usize) -> Option<Vec<f64>> {
    let diagonal = f.erase[0].is_empty() && f.turn.is_empty();
    diagonal.then(|| {
        let mut gates = vec![1.0; f.key];
        step_on(f, i, &mut gates);
        gates
    })
}

/// Takes columns through a token, a diagonal once for all of them.
fn transport(
    f: &Factors,
    i: usize,
    columns: &mut [Vec<f64>],
    step: impl Fn(&Factors, usize, &mut [f64]),
) {
    match gates(f, i) {
        Some(gates) => {
            for column in columns {
                column.iter_mut().zip(&gates).for_each(|(x, g)| *x *= g);
            }
        }
        None => columns.iter_mut().for_each(|column| step(f, i, column)),
    }
}

/// `s <- F_i s`.
fn step_on(f: &Factors, i: usize, s: &mut [f64]) {
    let key = f.key;
    let [b, a] = &f.erase;
    let width = b.len() / (f.q.len() / key);
    let erased: Vec<f64> = a[i * width..(i + 1) * width]
        .chunks_exact(key)
        .map(|a| a.iter().zip(&*s).map(|(&a, s)| f64::from(a) * s).sum())
        .collect();
    for (pair, &angle) in s.chunks_exact_mut(2).zip(&f.turn) {
        let (sin, cos) = f64::from(angle).sin_cos();
        let (re, im) = (pair[0], pair[1]);
        pair[0] = re * cos - im * sin;
        pair[1] = re * sin + im * cos;
    }
    let gates = f.log_decay.len() / (f.q.len() / key);
    for (n, s) in s.iter_mut().enumerate() {
        *s *= match gates {
            0 => 1.0,
            1 => f64::from(f.log_decay[i]).exp(),
            _ => f64::from(f.log_decay[i * key + n]).exp(),
        };
    }
    for (erased, b) in erased.iter().zip(b[i * width..].chunks_exact(key)) {
        for (s, &b) in s.iter_mut().zip(b) {
            *s += f64::from(b) * erased;
        }
    }
}

/// A factor `factor * exp(log)`.
struct Scaled {
    factor: f64,
    log: f64,
}

impl Factors {
    /// The factors of the tokens from `first` on.
    pub fn behind(mut self, first: usize) -> Factors {
        let tokens = self.q.len() / self.key.max(1);
        let [b, a] = &mut self.erase;
        for part in [
            &mut self.q,
            &mut self.k,
            &mut self.log_decay,
            &mut self.write_scale,
            &mut self.normaliser,
            b,
            a,
        ] {
            let row = part.len() / tokens.max(1);
            part.drain(..row * first);
        }
        self
    }

    /// What a write of token j is multiplied with.
    fn writing(&self, j: usize) -> Scaled {
        let write = self.write_scale.get(j).map(|&w| f64::from(w));
        match self.in_logs {
            true => Scaled {
                factor: 1.0,
                log: write.unwrap_or(0.0),
            },
            false => Scaled {
                factor: write.unwrap_or(1.0),
                log: 0.0,
            },
        }
    }

    /// What a read of token i is multiplied with.
    fn reading(&self, i: usize) -> Scaled {
        let z = self.normaliser.get(i).map(|&z| f64::from(z));
        let scale = f64::from(self.scale);
        match self.in_logs {
            true => Scaled {
                factor: scale,
                log: -z.unwrap_or(0.0),
            },
            false => Scaled {
                factor: scale / z.unwrap_or(1.0),
                log: 0.0,
            },
        }
    }
}

/// True if rows of the head must be formed one by one: there is no scan of a softmax, of other
/// functions of scores, or of a state that forgets what leaves a window.
pub fn only_rows(f: &Factors) -> bool {
    f.softmax || f.scores.is_some() || f.window > 0
}

/// What the adjoint of one head is at a token: the reader of everything from here on.
pub struct Adjoint<'a> {
    f: &'a Factors,
    /// Columns U of what is carried, each `[K]`.
    width: usize,
    carried: Vec<Vec<f64>>,
    /// What `carried` is to be multiplied with, as a logarithm.
    log: f64,
}

impl<'a> Adjoint<'a> {
    /// Behind the last token. `width` readers side by side: 1, or one for each value channel.
    pub fn new(f: &'a Factors, width: usize) -> Adjoint<'a> {
        Adjoint {
            f,
            width,
            carried: vec![vec![0.0; f.key]; width],
            log: f64::NEG_INFINITY,
        }
    }

    /// Goes to token j, at whose output the readers weigh by `weights [U]`; gives
    /// `sum_{i >= j} weights_i M_ij`, for each reader. Tokens must come from the last to the first.
    pub fn reach(&mut self, j: usize, weights: &[f64]) -> Vec<f64> {
        let f = self.f;
        let key = f.key;
        let (write, read) = (f.writing(j), f.reading(j));
        let k = &f.k[j * key..][..key];
        let q = &f.q[j * key..][..key];
        let late = !f.bonus.is_empty();
        if !late {
            self.add(q, &read, weights);
        }
        let factor = write.factor * (self.log + write.log).exp();
        let mut out = vec![0.0; self.width];
        // Nothing is carried while the logarithm is minus infinity.
        if self.log > f64::NEG_INFINITY {
            for (out, carried) in out.iter_mut().zip(&self.carried) {
                let dot: f64 = k.iter().zip(carried).map(|(&k, a)| f64::from(k) * a).sum();
                *out = factor * dot;
            }
        }
        if late {
            let products = k.iter().zip(q).zip(&f.bonus);
            let own: f64 = products
                .map(|((&k, &q), &u)| f64::from(k) * f64::from(q) * f64::from(u))
                .sum();
            let own = own * read.factor * write.factor * (read.log + write.log).exp();
            for (out, weight) in out.iter_mut().zip(weights) {
                *out += weight * own;
            }
        }
        transport(f, j, &mut self.carried, step_back);
        if late {
            self.add(q, &read, weights);
        }
        out
    }

    /// Adds `weights * read * q`.
    fn add(&mut self, q: &[f32], read: &Scaled, weights: &[f64]) {
        let log = self.log.max(read.log);
        let (old, new) = ((self.log - log).exp(), (read.log - log).exp() * read.factor);
        for (carried, weight) in self.carried.iter_mut().zip(weights) {
            for (carried, &q) in carried.iter_mut().zip(q) {
                *carried = *carried * old + weight * new * f64::from(q);
            }
        }
        self.log = log;
    }
}

/// `sum_{i >= j} M_ij` for every token j of one head, `[T]`.
pub fn column_sums(f: &Factors, tokens: usize) -> Vec<f64> {
    let mut sums = vec![0.0; tokens];
    if only_rows(f) {
        for i in 0..tokens {
            for (sum, weight) in sums.iter_mut().zip(row(f, i)) {
                *sum += f64::from(weight);
            }
        }
        return sums;
    }
    let mut adjoint = Adjoint::new(f, 1);
    for j in (0..tokens).rev() {
        sums[j] = adjoint.reach(j, &[1.0])[0];
    }
    sums
}

/// `sum_{i >= j} M_ij^2` for every token j of one head, `[T]`: with the Gram matrix
/// `G_j = c_j c_j^T + F_{j+1}^T G_{j+1} F_{j+1}` it is `w_j^2 k_j^T G_j k_j`, which costs O(T K^2).
pub fn column_squares(f: &Factors, tokens: usize) -> Vec<f64> {
    let mut squares = vec![0.0; tokens];
    // The factors of states in logs span more than a product of squares holds.
    if only_rows(f) || f.in_logs {
        for i in 0..tokens {
            for (square, weight) in squares.iter_mut().zip(row(f, i)) {
                *square += f64::from(weight).powi(2);
            }
        }
        return squares;
    }
    let key = f.key;
    let mut gram = vec![vec![0.0; key]; key];
    for j in (0..tokens).rev() {
        let (q, k) = (&f.q[j * key..][..key], &f.k[j * key..][..key]);
        let (read, write) = (f.reading(j).factor, f.writing(j).factor);
        let late = !f.bonus.is_empty();
        let dot =
            |a: &[f32], b: &[f64]| -> f64 { a.iter().zip(b).map(|(&a, b)| f64::from(a) * b).sum() };
        let add = |gram: &mut Vec<Vec<f64>>| {
            for (row, &a) in gram.iter_mut().zip(q) {
                for (g, &b) in row.iter_mut().zip(q) {
                    *g += read * read * f64::from(a) * f64::from(b);
                }
            }
        };
        if !late {
            add(&mut gram);
        }
        let products: Vec<f64> = gram.iter().map(|row| dot(k, row)).collect();
        squares[j] = write * write * dot(k, &products);
        if late {
            let products = k.iter().zip(q).zip(&f.bonus);
            let own: f64 = products
                .map(|((&k, &q), &u)| f64::from(k) * f64::from(q) * f64::from(u))
                .sum();
            squares[j] += (read * write * own).powi(2);
        }
        carry_gram(f, j, &mut gram);
        if late {
            add(&mut gram);
        }
    }
    squares
}

/// `G <- F_j^T G F_j` for a symmetric G.
fn carry_gram(f: &Factors, j: usize, gram: &mut [Vec<f64>]) {
    if let Some(gates) = gates(f, j) {
        for (row, a) in gram.iter_mut().zip(&gates) {
            row.iter_mut().zip(&gates).for_each(|(g, b)| *g *= a * b);
        }
        return;
    }
    // G F, row by row, then its transpose, and once more.
    for _ in 0..2 {
        for row in gram.iter_mut() {
            step_back(f, j, row);
        }
        for a in 0..f.key {
            let (above, below) = gram.split_at_mut(a + 1);
            for (b, row) in below.iter_mut().enumerate() {
                std::mem::swap(&mut above[a][a + 1 + b], &mut row[a]);
            }
        }
    }
}

/// Multiply-adds that a score spends at most on rows of hidden attention or of a softmax.
const ROWS_BUDGET: usize = 500_000_000;

/// The heads whose rows are formed by scores that read every row: all, or as many as
/// 5e8 multiply-adds allow, at equal distances and at least one.
pub fn heads_read(seen: &Seen<'_>) -> Vec<usize> {
    let of_one = seen.tokens * seen.tokens / 2 * seen.key.max(1);
    let count = (ROWS_BUDGET / of_one.max(1)).clamp(1, seen.heads.max(1));
    (0..count).map(|i| i * seen.heads / count).collect()
}

/// How much tokens give to those before them, for many rows of one head.
pub struct Shares<'a> {
    f: &'a Factors,
    /// Decays, `[T, K]`; empty where rows are made in another way.
    gates: Vec<f64>,
    /// `[T, K]`, as the decays.
    keys: Vec<f64>,
}

impl<'a> Shares<'a> {
    /// Of this head.
    pub fn new(f: &'a Factors) -> Shares<'a> {
        let tokens = f.q.len() / f.key.max(1);
        let scans = !f.softmax && f.scores.is_none();
        let of = |i| gates(f, i).unwrap_or_default();
        let gates = if scans {
            (0..tokens).flat_map(of).collect()
        } else {
            Vec::new()
        };
        let keys = if gates.is_empty() {
            Vec::new()
        } else {
            f.k.iter().map(|&k| k.into()).collect()
        };
        Shares { f, gates, keys }
    }

    /// What token i gives to each, as probabilities, `[i + 1]`: the softmax of attention, and
    /// `|M_ij| / sum_j |M_ij|` where weights have signs and no common sum; zeros where all are 0.
    pub fn of(&self, i: usize) -> Vec<f64> {
        let mut weights = if self.gates.is_empty() {
            row(self.f, i).iter().map(|&w| f64::from(w).abs()).collect()
        } else {
            self.walk(i)
        };
        let sum: f64 = weights.iter().sum();
        if sum > 0.0 {
            weights.iter_mut().for_each(|w| *w /= sum);
        }
        weights
    }

    /// [`row`] without a sign, with decays that are known.
    fn walk(&self, i: usize) -> Vec<f64> {
        let f = self.f;
        let key = f.key;
        let mut out = vec![0.0; i + 1];
        let first = match f.window {
            0 => 0,
            window => (i + 1).saturating_sub(window),
        };
        let mut a: Vec<f64> = f.q[i * key..][..key].iter().map(|&q| q.into()).collect();
        let read = f.reading(i);
        for j in (first..=i).rev() {
            let k = &self.keys[j * key..][..key];
            let write = f.writing(j);
            let factor = read.factor * write.factor;
            let factor = match f.in_logs {
                true => factor * (read.log + write.log).exp(),
                false => factor,
            };
            if j == i && !f.bonus.is_empty() {
                let products = k.iter().zip(&a).zip(&f.bonus);
                let own: f64 = products.map(|((k, a), &u)| k * a * f64::from(u)).sum();
                out[j] = (factor * own).abs();
                continue;
            }
            out[j] = (factor * dot(k, &a)).abs();
            let gates = &self.gates[j * key..][..key];
            a.iter_mut().zip(gates).for_each(|(a, gate)| *a *= gate);
            // As in `row`: below this nothing reaches f32 any more.
            if j % 32 == 0 && a.iter().all(|a| a.abs() < 1e-60) {
                break;
            }
        }
        out
    }
}

/// In four sums side by side, which take a quarter of the time of one.
fn dot(a: &[f64], b: &[f64]) -> f64 {
    let ((a, rest_a), (b, rest_b)) = (a.as_chunks::<4>(), b.as_chunks::<4>());
    let mut sums = [0.0; 4];
    for (a, b) in a.iter().zip(b) {
        for i in 0..4 {
            sums[i] += a[i] * b[i];
        }
    }
    let rest: f64 = rest_a.iter().zip(rest_b).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f64>() + rest
}

/// [`Shares::of`] of one row.
pub fn shares(f: &Factors, i: usize) -> Vec<f64> {
    let rows = Shares {
        f,
        gates: Vec::new(),
        keys: Vec::new(),
    };
    rows.of(i)
}

/// Scores as f32.
///
/// # Errors
/// A sentence that names a token whose score is not a number.
pub fn numbers(scores: Vec<f64>) -> Result<Vec<f32>, String> {
    match scores.iter().position(|s| s.is_nan()) {
        Some(t) => Err(no_number(t)),
        None => Ok(scores.into_iter().map(|s| s as f32).collect()),
    }
}

/// The sentence for a token whose values are not numbers.
pub fn no_number(token: usize) -> String {
    format!("token {token} has no score: the layer's values are not numbers there")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pruning::example::Example;

    #[test]
    fn shares_are_the_sizes_of_a_row_of_the_matrix() {
        for example in Example::all(30) {
            let seen = example.seen();
            for head in 0..seen.heads {
                let f = seen.factors(head);
                let shares_of = Shares::new(&f);
                for (i, row) in example.matrix(head).iter().enumerate() {
                    let sum: f64 = row.iter().map(|w| w.abs()).sum();
                    for shares in [shares_of.of(i), shares(&f, i)] {
                        assert_eq!(shares.len(), i + 1);
                        for (got, want) in shares.iter().zip(row) {
                            let off = (got - want.abs() / sum).abs();
                            assert!(off < 1e-6, "{}: {got} {}", example.name, want.abs() / sum);
                        }
                    }
                }
            }
        }
    }
}
