//! What LightNet (arXiv 2405.21022) needs on a grid of tokens, a picture or a video: one scan that
//! sees all of it, and positions that give the order back.
//!
//! Tokens stand in rows, the last axis running fastest. A recording must hold the whole grid; what
//! is here sees all of it, so none of it is a mixer.

use crate::kernels::scan_outer::{self, ScanOuter};
use crate::mixers::{Columns, Planner, Shape, Weights};
use crate::model::tensors::Tensors;
use crate::plan::outer_scan::OuterScan;
use crate::plan::pointwise::Gate;
use crate::recording::NONE;
use crate::step::{linear, multiply, rms_norm, sigmoid, spread};

/// Log-decay by which the first token of a line lets go of the line before.
const NEW_LINE: f32 = -1e4;

/// MD-TPE, additive positions: along each axis every line of the grid is read as a sequence,
/// `s_t = lambda_h s_{t-1} + (q_h . k_h) x_t` for each head, then `W RMSNorm(s)`; the sum over the
/// axes. Reference: `Doraemonzzz/xmixers`, `modules/pes/md/md_tpe.py`, `modules/pes/tpe.py`.
pub struct MdTpe {
    /// Heads H.
    pub heads: usize,
    /// One for each axis of the grid.
    pub axes: Vec<Tpe>,
}

/// The weights of one axis.
pub struct Tpe {
    /// `q_h . k_h`, `[H]`.
    pub product: Weights,
    /// ln lambda, `[H]`, below 0.
    pub log_decay: Weights,
    /// `[D]`.
    pub norm: Weights,
    /// `[D, D]`.
    pub out_proj: Weights,
}

/// Added to the sum of squares by the norm of [`MdTpe`].
const EPS: f64 = 1e-5;

/// The tokens of a grid, line by line along an axis, and the length of a line.
fn lines(shape: &[usize], axis: usize) -> (Vec<usize>, usize) {
    let inner: usize = shape[axis + 1..].iter().product();
    let line = shape[axis];
    let tokens = shape.iter().product::<usize>();
    let order = (0..tokens).map(|i| {
        let (start, along) = (i / line, i % line);
        (start / inner * line + along) * inner + start % inner
    });
    (order.collect(), line)
}

impl MdTpe {
    /// The official module for a grid of this many axes.
    ///
    /// # Errors
    /// A sentence if a tensor is missing or has another shape.
    pub fn load(
        t: &mut Tensors<'_>,
        width: usize,
        heads: usize,
        axes: usize,
    ) -> Result<MdTpe, String> {
        let axes = (0..axes).map(|axis| -> Result<Tpe, String> {
            let mut take =
                |name: &str, shape: &[usize]| t.take(&format!("tpes.{axis}.{name}"), shape);
            let (q, k) = (take("q", &[width])?, take("k", &[width])?);
            let products: Vec<f64> = q
                .iter()
                .zip(&*k)
                .map(|(&q, &k)| f64::from(q) * f64::from(k))
                .collect();
            let heads_of = products.chunks_exact(width / heads);
            let decay = take("log_decay", &[heads])?;
            Ok(Tpe {
                product: heads_of.map(|x| x.iter().sum::<f64>() as f32).collect(),
                log_decay: decay
                    .iter()
                    .map(|&l| sigmoid(f64::from(l)).ln() as f32)
                    .collect(),
                norm: take("norm.weight", &[width])?,
                out_proj: take("o_proj.weight", &[width, width])?,
            })
        });
        Ok(MdTpe {
            heads,
            axes: axes.collect::<Result<_, String>>()?,
        })
    }

    /// The definition: `x [T, D]` of a grid of this shape in, `[T, D]` out.
    pub fn read(&self, x: &[f64], shape: &[usize]) -> Vec<f64> {
        let width = x.len() / shape.iter().product::<usize>();
        let mut out = vec![0.0; x.len()];
        for (axis, tpe) in self.axes.iter().enumerate() {
            let (order, line) = lines(shape, axis);
            let exact = |w: &Weights| -> Vec<f64> {
                let w: Vec<f64> = w.iter().map(|&w| w.into()).collect();
                spread(&w, 1, width / self.heads)
            };
            let (product, log_decay) = (exact(&tpe.product), exact(&tpe.log_decay));
            let mut s = vec![0.0; width];
            for (n, &t) in order.iter().enumerate() {
                if n % line == 0 {
                    s.fill(0.0);
                }
                let x = &x[t * width..][..width];
                for (c, s) in s.iter_mut().enumerate() {
                    *s = log_decay[c].exp() * *s + x[c];
                }
                let read = multiply(&product, &s);
                let normed = rms_norm(&read, &tpe.norm, width, EPS / width as f64);
                let added = linear(&normed, &tpe.out_proj, None);
                let out = &mut out[t * width..][..width];
                out.iter_mut().zip(added).for_each(|(o, a)| *o += a);
            }
        }
        out
    }

    /// Notes the passes.
    pub fn plan(&self, p: &mut Planner, x: Columns, shape: &[usize]) -> Columns {
        let (width, heads) = (x.width, self.heads);
        let tokens: usize = shape.iter().product();
        let mut sum = None;
        for (axis, tpe) in self.axes.iter().enumerate() {
            let name = |what: &str| format!("{what} of axis {axis}");
            let (order, line) = lines(shape, axis);
            let mut back = vec![0.0; tokens];
            order
                .iter()
                .enumerate()
                .for_each(|(n, &t)| back[t] = n as f32);
            let order: Weights = order.iter().map(|&t| t as f32).collect();
            let v = p.reorder(&name("lines"), x, Some(&order));
            let decays = (0..tokens).flat_map(|n| {
                let first = n % line == 0;
                tpe.log_decay
                    .iter()
                    .map(move |&g| if first { NEW_LINE } else { g })
            });
            let decays: Weights = decays.collect();
            let log_decay = Columns::all(p.weight(&name("log_decay"), &decays), heads);
            let mut same = |name: &str, row: Weights| Columns::same(p.weight(name, &row), heads);
            let q = same(&name("product"), tpe.product.clone());
            let k = same(&name("ones"), vec![1.0; heads].into());
            let scan = OuterScan {
                q,
                k,
                v,
                log_decay,
                write_scale: None,
                scale: 1.0,
                read_before: false,
            };
            let (read, _) = scan.plan(p, &Shape::recurrent(heads, 1, width / heads));
            let eps = (EPS / width as f64) as f32;
            let normed = p.rms_norm(&name("normed"), read, &tpe.norm, width, eps, None);
            let added = p.project(&name("added"), &tpe.out_proj, None, normed);
            let added = p.reorder(&name("grid"), added, Some(&back.into()));
            sum = Some(match sum {
                Some(sum) => p.add(&name("sum"), sum, added, None, 1.0),
                None => added,
            });
        }
        sum.unwrap_or(x)
    }
}

/// MD-LRPE, relative positions: `[x cos, x sin]` for each head, with an angle for each channel that
/// grows along one axis, so that products of two tokens turned so see their distance along each
/// axis. Reference: `Doraemonzzz/xopes`, `ops/lrpe/cosine/_md/lrpe_cosine_md_torch.py`.
pub struct MdLrpe {
    /// Heads H.
    pub heads: usize,
    /// Angle a step, `[H, E]`; the channels of a head take it once for each axis, in their order.
    pub theta: Weights,
    /// Tokens before the grid (a class, a condition) that are not turned.
    pub before: usize,
}

impl MdLrpe {
    /// cos and sin of each token, `[T, H, 2 K]`, for heads of this many channels.
    fn factors(&self, key: usize, shape: &[usize]) -> Vec<f64> {
        let steps = self.theta.len() / self.heads;
        let grid: usize = shape.iter().product();
        let mut out = Vec::new();
        for token in 0..self.before + grid {
            for h in 0..self.heads {
                let angle = |c: usize| {
                    let Some(at) = token.checked_sub(self.before) else {
                        return 0.0;
                    };
                    let axis = c / steps;
                    let inner: usize = shape[axis + 1..].iter().product();
                    let place = at / inner % shape[axis];
                    place as f64 * f64::from(self.theta[h * steps + c % steps])
                };
                out.extend((0..key).map(|c| angle(c).cos()));
                out.extend((0..key).map(|c| angle(c).sin()));
            }
        }
        out
    }

    /// The definition: `x [T, H, K]` in, `[T, H, 2K]` out.
    pub fn turn(&self, x: &[f64], shape: &[usize]) -> Vec<f64> {
        let tokens = self.before + shape.iter().product::<usize>();
        let key = x.len() / tokens / self.heads;
        multiply(&spread(x, key, 2), &self.factors(key, shape))
    }

    /// Notes the passes.
    pub fn plan(&self, p: &mut Planner, name: &str, x: Columns, shape: &[usize]) -> Columns {
        let key = x.width / self.heads;
        let factors: Weights = self.factors(key, shape).iter().map(|&f| f as f32).collect();
        let factors = Columns::all(p.weight(&format!("{name}.turn"), &factors), 2 * x.width);
        p.product(name, x.spread(key, 2), factors, &Gate::default())
    }
}

/// LightNet without an order: every token reads the mean of the values under a softmax over all
/// tokens, for each key channel of its head. One scan, whatever the shape of the grid.
pub struct WholeGrid {
    /// H, K and V.
    pub shape: Shape,
    /// Multiplies what is read.
    pub scale: f32,
}

impl WholeGrid {
    /// The definition: queries `[T, H, K]`, logits `[T, H, K]` and values `[T, H, V]` in,
    /// `[T, H, V]` out.
    pub fn read(&self, [q, logits, v]: [&[f64]; 3]) -> Vec<f64> {
        let Shape {
            heads, key, value, ..
        } = self.shape;
        let (keys, values) = (heads * key, heads * value);
        let tokens = q.len() / keys;
        let mut out = vec![0.0; tokens * values];
        for i in 0..keys {
            let logit = |t: usize| logits[t * keys + i];
            let largest = (0..tokens).map(logit).fold(f64::NEG_INFINITY, f64::max);
            let sum: f64 = (0..tokens).map(|t| (logit(t) - largest).exp()).sum();
            let first = i / key * value;
            for c in first..first + value {
                let weighted = |t: usize| (logit(t) - largest).exp() / sum * v[t * values + c];
                let mean: f64 = (0..tokens).map(weighted).sum();
                for t in 0..tokens {
                    out[t * values + c] += f64::from(self.scale) * q[t * keys + i] * mean;
                }
            }
        }
        out
    }

    /// Notes the passes: the scan that ends with the state of the whole grid, and one that reads
    /// this state for every token and writes nothing.
    pub fn plan(&self, p: &mut Planner, [q, logits, v]: [Columns; 3]) -> Columns {
        let [share, log_decay] = p.running_softmax(logits);
        self.plan_shares(p, [q, share, log_decay, v])
    }

    /// The same with what [`Planner::running_softmax`] gave, both perhaps turned by [`MdLrpe`]:
    /// `[T, H, K]` each with the K of this shape.
    pub fn plan_shares(&self, p: &mut Planner, [q, share, log_decay, v]: [Columns; 4]) -> Columns {
        let Shape {
            heads, key, value, ..
        } = self.shape;
        let scan = OuterScan {
            q,
            k: share,
            v,
            log_decay,
            write_scale: None,
            scale: self.scale,
            read_before: false,
        };
        let (_, taps) = scan.plan(p, &self.shape);
        let Some(state) = taps.state else {
            return q;
        };
        let nothing = p.weight("write nothing", &vec![0.0; heads * key].into());
        let still = p.weight("no decay", &vec![0.0; p.segment * heads].into());
        let out = p.rows("read from the grid", heads * value);
        let scratch = ScanOuter::scratch_len(p.segment, heads, key, value);
        let scratch = p.workspace(scratch);
        p.push(
            &scan_outer::KERNEL,
            &ScanOuter {
                t: 0,
                heads: heads as u32,
                key: key as u32,
                value: value as u32,
                groups: heads as u32,
                q_stride: q.stride as u32,
                q_offset: q.offset as u32,
                k_stride: 0,
                k_offset: 0,
                v_stride: v.stride as u32,
                v_offset: v.offset as u32,
                per_key: 0,
                has_write_scale: 0,
                scale: self.scale,
                write_factor: 1.0,
                read_before: 0,
            },
            &[q.buffer, nothing, v.buffer, still, NONE],
            &[out.buffer, state, scratch],
        );
        out
    }
}
