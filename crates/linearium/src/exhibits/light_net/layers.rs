//! The layers that are compared: one additive scan of the whole grid, and multiplicative scans
//! along one, two or four routes. Features and projections are random; the scans are played.

use crate::exhibit::Bench;
use crate::mixers::{Change, Columns, Planner, Shape, Weights};
use crate::parts::grid::{MdLrpe, MdTpe, Tpe, WholeGrid};
use crate::plan::outer_scan::OuterScan;
use crate::player::Player;
use crate::random::Random;
use crate::recording::Recording;
use crate::step::{linear, silu};

/// Heads, keys and values of a head, width of the features.
pub const HEADS: usize = 2;
pub const KEY: usize = 16;
pub const VALUE: usize = 64;
const WIDTH: usize = 16;
const KEYS: usize = HEADS * KEY;
const VALUES: usize = HEADS * VALUE;
/// Axes of the grid.
const AXES: usize = 2;
/// Base of the angles of relative positions.
const BASE: f64 = 10_000.0;
/// Rounds whose time is taken, the shortest of which counts, and plays of a round.
const ROUNDS: usize = 3;
const PLAYS: usize = 2;

/// What is compared.
#[derive(Clone)]
pub struct Options {
    /// Pixels along a side.
    pub side: usize,
    /// Decay of the multiplicative scans.
    pub decay: f64,
    /// Standard deviation of the logits.
    pub logit_scale: f64,
    /// Additive positions.
    pub tpe: bool,
    /// Relative positions.
    pub lrpe: bool,
    /// A token of logit 0 and value 0 before all, as the released port has it.
    pub phantom: bool,
    /// Scans follow a random order of the pixels.
    pub shuffled: bool,
    /// Seed.
    pub seed: u64,
}

/// What the scans read, one row a pixel.
pub struct Inputs {
    /// `[T, H, K]`, behind its activation.
    pub q: Vec<f32>,
    /// `[T, H, K]`.
    pub logits: Vec<f32>,
    /// `[T, H, V]`.
    pub v: Vec<f32>,
}

impl Options {
    pub fn tokens(&self) -> usize {
        self.side * self.side
    }

    fn random(&self, what: u64) -> Random {
        Random::new(self.seed.wrapping_mul(0x9E37_79B9).wrapping_add(what))
    }

    /// A random order of the pixels.
    pub fn permutation(&self) -> Vec<usize> {
        let mut random = self.random(1);
        let mut order: Vec<usize> = (0..self.tokens()).collect();
        for i in (1..order.len()).rev() {
            order.swap(i, random.below(i + 1));
        }
        order
    }

    /// The four routes, as the pixel at each step: rows, rows backwards, columns, columns backwards;
    /// or four random ones.
    pub fn routes(&self) -> [Vec<usize>; 4] {
        let n = self.side;
        let mut rows: Vec<usize> = (0..n * n).collect();
        let mut columns: Vec<usize> = rows.iter().map(|i| i % n * n + i / n).collect();
        if self.shuffled {
            let mixed = self.permutation();
            columns = columns.into_iter().map(|i| mixed[i]).collect();
            rows = mixed;
        }
        let back = |order: &[usize]| order.iter().rev().copied().collect();
        let (rows_back, columns_back) = (back(&rows), back(&columns));
        [rows, rows_back, columns, columns_back]
    }

    /// Angles a step of relative positions, for each head and channel of one axis.
    pub fn theta(&self) -> Vec<f32> {
        let steps = KEY.div_ceil(AXES);
        let angle = |i: usize| BASE.powf(-2.0 * (i % steps) as f64 / KEY as f64) as f32;
        (0..HEADS * steps).map(angle).collect()
    }

    fn lrpe(&self) -> MdLrpe {
        MdLrpe {
            heads: HEADS,
            theta: self.theta().into(),
            before: self.phantom.into(),
        }
    }

    fn tpe(&self) -> MdTpe {
        let mut random = self.random(2);
        let axis = |_| Tpe {
            product: random.normals(HEADS, 1.0).into(),
            log_decay: random.uniforms(HEADS, -0.5, -0.05).into(),
            norm: vec![1.0; WIDTH].into(),
            out_proj: random
                .normals(WIDTH * WIDTH, (WIDTH as f64).sqrt().recip())
                .into(),
        };
        MdTpe {
            heads: HEADS,
            axes: (0..AXES).map(axis).collect(),
        }
    }

    /// Queries, logits and values of the pixels; with `moved` pixel t has the features of pixel
    /// `moved[t]`.
    pub fn inputs(&self, moved: Option<&[usize]>) -> Inputs {
        let tokens = self.tokens();
        let features = self.random(3).normals(tokens * WIDTH, 1.0);
        let of = |t: usize| moved.map_or(t, |m| m[t]);
        let mut u: Vec<f64> = (0..tokens)
            .flat_map(|t| features[of(t) * WIDTH..][..WIDTH].iter().map(|&x| x.into()))
            .collect();
        if self.tpe {
            let added = self.tpe().read(&u, &[self.side, self.side]);
            u.iter_mut().zip(added).for_each(|(u, a)| *u += a);
        }
        let mut random = self.random(4);
        let mut weight = |rows: usize, size: f64| -> Weights {
            let deviation = size * (WIDTH as f64).sqrt().recip();
            random.normals(rows * WIDTH, deviation).into()
        };
        let [q, k, v] = [weight(KEYS, 1.0), weight(KEYS, 1.0), weight(VALUES, 1.0)];
        let rows = |w: &Weights, f: &dyn Fn(f64) -> f64| -> Vec<f32> {
            u.chunks_exact(WIDTH)
                .flat_map(|u| linear(u, w, None))
                .map(|x| f(x) as f32)
                .collect()
        };
        Inputs {
            q: rows(&q, &silu),
            logits: rows(&k, &|x| self.logit_scale * x),
            v: rows(&v, &|x| x),
        }
    }

    fn planner(&self, tokens: usize) -> (Planner, [Columns; 3]) {
        let mut p = Planner::new(tokens, tokens, Change::default(), None);
        let columns = [("q", KEYS), ("k", KEYS), ("v", VALUES)]
            .map(|(name, width)| Columns::all(p.layout.input(name, tokens * width), width));
        (p, columns)
    }

    /// The passes of LightNet's one scan.
    fn additive(&self) -> Planned {
        let tokens = self.tokens() + usize::from(self.phantom);
        let (mut p, [q, logits, v]) = self.planner(tokens);
        let shape = |key| Shape::recurrent(HEADS, key, VALUE);
        let scale = (KEY as f32).sqrt().recip();
        let out = if self.lrpe {
            let lrpe = self.lrpe();
            let grid = [self.side, self.side];
            let [share, log_decay] = p.running_softmax(logits);
            let q2 = lrpe.plan(&mut p, "q turned", q, &grid);
            let share = lrpe.plan(&mut p, "k turned", share, &grid);
            // Both halves of a turned key fade alike.
            let spread = log_decay.spread(KEY, 2);
            let log_decay = p.gate("log_decay twice", spread, &Default::default());
            let whole = WholeGrid {
                shape: shape(2 * KEY),
                scale,
            };
            whole.plan_shares(&mut p, [q2, share, log_decay, v])
        } else {
            let whole = WholeGrid {
                shape: shape(KEY),
                scale,
            };
            whole.plan(&mut p, [q, logits, v])
        };
        Planned {
            planner: p,
            inputs: [q, logits, v],
            out,
            tokens,
            skip: self.phantom.into(),
        }
    }

    /// The passes of multiplicative scans along the first so many routes, summed.
    fn multiplicative(&self, scans: usize) -> Planned {
        let tokens = self.tokens();
        let (mut p, [q, k, v]) = self.planner(tokens);
        let decays = vec![self.decay.ln().max(-1e4) as f32; tokens * KEYS];
        let log_decay = Columns::all(p.weight("log_decay", &decays.into()), KEYS);
        let mut sum = None;
        for (r, route) in self.routes()[..scans].iter().enumerate() {
            let name = |what: &str| format!("{what} of route {r}");
            let mut back = vec![0.0; tokens];
            for (step, &pixel) in route.iter().enumerate() {
                back[pixel] = step as f32;
            }
            let order: Weights = route.iter().map(|&t| t as f32).collect();
            let [q, k, v] = [("q", q), ("k", k), ("v", v)]
                .map(|(what, x)| p.reorder(&name(what), x, Some(&order)));
            let scan = OuterScan {
                q,
                k,
                v,
                log_decay,
                write_scale: None,
                scale: (KEY as f32).sqrt().recip(),
                read_before: false,
            };
            let (read, _) = scan.plan(&mut p, &Shape::recurrent(HEADS, KEY, VALUE));
            let read = p.reorder(&name("grid"), read, Some(&back.into()));
            sum = Some(match sum {
                Some(sum) => p.add(&name("sum"), sum, read, None, 1.0),
                None => read,
            });
        }
        Planned {
            planner: p,
            inputs: [q, k, v],
            out: sum.unwrap_or(v),
            tokens,
            skip: 0,
        }
    }

    /// The layer: LightNet with 0 scans, multiplicative ones otherwise.
    fn planned(&self, scans: usize) -> Planned {
        match scans {
            0 => self.additive(),
            scans => self.multiplicative(scans),
        }
    }

    /// Plays a layer; gives its output `[T, H, V]`.
    pub async fn play(
        &self,
        bench: &Bench<'_>,
        scans: usize,
        inputs: &Inputs,
    ) -> Result<Vec<f32>, String> {
        Ok(self.played(bench, scans, inputs, [1, 1]).await?.0)
    }

    /// The same, and the shortest time of a play in milliseconds.
    pub async fn time(
        &self,
        bench: &Bench<'_>,
        scans: usize,
        inputs: &Inputs,
    ) -> Result<(Vec<f32>, f64), String> {
        self.played(bench, scans, inputs, [ROUNDS, PLAYS]).await
    }

    async fn played(
        &self,
        bench: &Bench<'_>,
        scans: usize,
        inputs: &Inputs,
        [rounds, plays]: [usize; 2],
    ) -> Result<(Vec<f32>, f64), String> {
        let planned = self.planned(scans);
        let mut recording = Recording::default();
        for pass in &planned.planner.passes {
            pass.record(&mut recording, planned.tokens, 0);
        }
        let mut player = bench.player(planned.planner.layout.clone()).await?;
        for (columns, data) in planned.inputs.iter().zip(planned.rows(inputs)) {
            player.write(columns.buffer, 0, &data)?;
        }
        let part = [(planned.out.buffer, 0..planned.tokens * VALUES)];
        let (mut out, mut shortest) = (Vec::new(), f64::INFINITY);
        for _ in 0..rounds {
            let start = bench.now_ms();
            for _ in 0..plays {
                player.reset()?;
                player.play(&recording)?;
            }
            out = player.read(&part).await?.swap_remove(0);
            shortest = shortest.min((bench.now_ms() - start) / plays as f64);
        }
        Ok((out.split_off(planned.skip * VALUES), shortest))
    }

    /// How much the output changes when the pixels change places and are put back afterwards, as a
    /// relative RMS.
    pub async fn change_under_permutation(
        &self,
        bench: &Bench<'_>,
        scans: usize,
        usual: &[f32],
    ) -> Result<f64, String> {
        let moved = self.permutation();
        let there = self.play(bench, scans, &self.inputs(Some(&moved))).await?;
        let mut back = vec![0.0; there.len()];
        for (t, &from) in moved.iter().enumerate() {
            back[from * VALUES..][..VALUES].copy_from_slice(&there[t * VALUES..][..VALUES]);
        }
        Ok(relative(&back, usual))
    }

    /// Multiply-adds of a pixel: decay, write and read of `[K, V]` for each scan, and for LightNet
    /// the running softmax.
    pub fn operations(&self, scans: usize) -> usize {
        match scans {
            0 => {
                let key = if self.lrpe { 2 * KEY } else { KEY };
                HEADS * (3 * key * VALUE + 3 * KEY)
            }
            scans => scans * HEADS * 3 * KEY * VALUE,
        }
    }
}

/// Passes with where their inputs and their output stand.
struct Planned {
    planner: Planner,
    inputs: [Columns; 3],
    out: Columns,
    tokens: usize,
    /// Rows of the output that belong to no pixel.
    skip: usize,
}

impl Planned {
    /// The inputs, behind a row of zeros for each that belongs to no pixel.
    fn rows(&self, inputs: &Inputs) -> [Vec<f32>; 3] {
        [
            (&inputs.q, KEYS),
            (&inputs.logits, KEYS),
            (&inputs.v, VALUES),
        ]
        .map(|(rows, width)| [vec![0.0; self.skip * width], rows.clone()].concat())
    }
}

/// RMS of the difference over RMS of what it should be.
pub fn relative(got: &[f32], want: &[f32]) -> f64 {
    let (mut apart, mut size) = (0.0, 0.0);
    for (&g, &w) in got.iter().zip(want) {
        apart += (f64::from(g) - f64::from(w)).powi(2);
        size += f64::from(w).powi(2);
    }
    (apart / size).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exhibits::light_net::reach::additive_weights;
    use crate::player::CpuPlayer;
    use pollster::block_on;

    fn options() -> Options {
        Options {
            side: 6,
            decay: 0.9,
            logit_scale: 1.5,
            tpe: true,
            lrpe: false,
            phantom: false,
            shuffled: false,
            seed: 3,
        }
    }

    fn output(options: &Options, scans: usize, inputs: &Inputs) -> Vec<f32> {
        let planned = options.planned(scans);
        let mut recording = Recording::default();
        for pass in &planned.planner.passes {
            pass.record(&mut recording, planned.tokens, 0);
        }
        let mut player = CpuPlayer::new(&planned.planner.layout);
        for (columns, data) in planned.inputs.iter().zip(planned.rows(inputs)) {
            player.write(columns.buffer, 0, &data).unwrap();
        }
        player.play(&recording).unwrap();
        let part = [(planned.out.buffer, 0..planned.tokens * VALUES)];
        let mut out = block_on(player.read(&part)).unwrap().swap_remove(0);
        out.split_off(planned.skip * VALUES)
    }

    /// Sums over all pairs of pixels, as the formulas stand.
    fn direct(
        options: &Options,
        inputs: &Inputs,
        weight: impl Fn(usize, usize, usize) -> f64,
    ) -> Vec<f32> {
        let tokens = options.tokens();
        let scale = (KEY as f64).sqrt().recip();
        let mut out = vec![0f64; tokens * VALUES];
        for i in 0..tokens {
            for j in 0..tokens {
                for c in 0..KEYS {
                    let w = scale * f64::from(inputs.q[i * KEYS + c]) * weight(i, j, c);
                    let head = c / KEY * VALUE;
                    for v in head..head + VALUE {
                        out[i * VALUES + v] += w * f64::from(inputs.v[j * VALUES + v]);
                    }
                }
            }
        }
        out.into_iter().map(|x| x as f32).collect()
    }

    #[test]
    fn the_additive_layer_is_its_formula() {
        for (lrpe, phantom) in [(false, false), (true, false), (false, true), (true, true)] {
            let options = Options {
                lrpe,
                phantom,
                ..options()
            };
            let inputs = options.inputs(None);
            let want = direct(&options, &inputs, |i, j, c| {
                additive_weights(&options, &inputs.logits, i, c)[j]
            });
            let error = relative(&output(&options, 0, &inputs), &want);
            assert!(error < 1e-5, "lrpe {lrpe}, phantom {phantom}: {error:e}");
        }
    }

    #[test]
    fn multiplicative_layers_are_their_formula() {
        for (scans, shuffled) in [(1, false), (2, false), (4, false), (4, true)] {
            let options = Options {
                shuffled,
                ..options()
            };
            let inputs = options.inputs(None);
            let routes = options.routes();
            let want = direct(&options, &inputs, |i, j, c| {
                let k = f64::from(inputs.logits[j * KEYS + c]);
                let along = |route: &Vec<usize>| {
                    let at = |pixel| route.iter().position(|&p| p == pixel).unwrap();
                    let (i, j) = (at(i), at(j));
                    if j <= i {
                        options.decay.powi((i - j) as i32)
                    } else {
                        0.0
                    }
                };
                k * routes[..scans].iter().map(along).sum::<f64>()
            });
            let error = relative(&output(&options, scans, &inputs), &want);
            assert!(
                error < 1e-5,
                "{scans} scans, shuffled {shuffled}: {error:e}"
            );
        }
    }
}
