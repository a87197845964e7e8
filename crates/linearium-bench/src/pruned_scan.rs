//! The gated recurrence over 4,096 tokens of which every second one is empty (its value is 0), read
//! where tokens are not: over all tokens, or over the others alone with the true decays of the gaps.
//! Since nothing is lost with an empty token, both give the same numbers.

use fearless_simd::Level;
use linearium::kernels::gap_sum::{self, GapSum};
use linearium::kernels::reorder::{self, Reorder};
use linearium::kernels::scaled_add::{self, ScaledAdd};
use linearium::kernels::scan_outer::{self, ScanOuter};
use linearium::player::{CpuPlayer, Player};
use linearium::random::Random;
use linearium::recording::{BufferId, Layout, NONE, Recording};
use pollster::block_on;

use crate::{Case, Input};

const T: usize = 4096;
const KEPT: usize = T / 2;
const HEADS: usize = 4;
const WIDTH: usize = 64;
/// Columns of a row of q, k and v.
const COLUMNS: usize = HEADS * WIDTH;

/// The scan with its buffers.
pub struct PrunedScan {
    player: CpuPlayer,
    recording: Recording,
    read: BufferId,
    /// The kept tokens, if all were scanned.
    rows: Option<Vec<usize>>,
    out: Vec<f32>,
    reference: Vec<f32>,
}

/// q, k, v `[T, H, 64]`, g `[T, H]`, and the kept tokens.
struct Inputs {
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
    g: Vec<f32>,
    kept: Vec<usize>,
}

fn inputs() -> Inputs {
    let mut random = Random::new(11);
    // One of every two neighbours, so that gaps are 0, 1 and 2 tokens long.
    let kept: Vec<usize> = (0..KEPT).map(|i| 2 * i + random.below(2)).collect();
    let mut uniforms = |len: usize, low: f64, high: f64| random.uniforms(len, low, high);
    let q = uniforms(T * COLUMNS, -1.0, 1.0);
    let k = uniforms(T * COLUMNS, -1.0, 1.0);
    let mut v = uniforms(T * COLUMNS, -1.0, 1.0);
    let g = uniforms(T * HEADS, -0.2, -0.001);
    for (t, v) in v.chunks_exact_mut(COLUMNS).enumerate() {
        if kept[t / 2] != t {
            v.fill(0.0);
        }
    }
    Inputs { q, k, v, g, kept }
}

/// What kept tokens read, by the formula in f64.
fn reference(i: &Inputs) -> Vec<f32> {
    let mut out = vec![0.0f64; KEPT * COLUMNS];
    for h in 0..HEADS {
        let mut state = vec![0.0f64; WIDTH * WIDTH];
        let mut row = 0;
        for t in 0..T {
            let at = t * COLUMNS + h * WIDTH;
            let decay = f64::from(i.g[t * HEADS + h]).exp();
            let is_kept = i.kept[t / 2] == t;
            for n in 0..WIDTH {
                for c in 0..WIDTH {
                    let s = &mut state[n * WIDTH + c];
                    *s = decay * *s + f64::from(i.k[at + n]) * f64::from(i.v[at + c]);
                    if is_kept {
                        out[(row * HEADS + h) * WIDTH + c] += f64::from(i.q[at + n]) * *s / 8.0;
                    }
                }
            }
            row += usize::from(is_kept);
        }
    }
    out.into_iter().map(|x| x as f32).collect()
}

impl PrunedScan {
    /// The scan over the kept tokens, or over all.
    pub fn boxed(level: Level, prunes: bool) -> Box<dyn Case> {
        let i = inputs();
        let reference = reference(&i);
        let mut layout = Layout::default();
        let [q, k, v, g] = [("q", &i.q), ("k", &i.k), ("v", &i.v), ("g", &i.g)]
            .map(|(name, data)| layout.weight(name, data.as_slice().into()));
        let mut recording = Recording::default();
        let (t, rows) = if prunes { (KEPT, KEPT) } else { (T, T) };
        let [q, k, v, g] = if prunes {
            let kept = i.kept.iter().map(|&t| t as f32);
            let order = layout.weight("order", kept.clone().collect());
            let bounds = layout.weight("bounds", kept.chain([T as f32]).collect());
            let carried = layout.state("nothing carried", 1);
            let mut take = |x: BufferId, width: usize| {
                let out = layout.scratch("taken", KEPT * width);
                let params = Reorder {
                    t: KEPT as u32,
                    width: width as u32,
                    x_stride: width as u32,
                    x_offset: 0,
                    has_order: 1,
                    fill: 0.0,
                };
                recording.push(&reorder::KERNEL, &params, &[x, order], &[out, carried]);
                out
            };
            let [q, k, v] = [q, k, v].map(|x| take(x, COLUMNS));
            let own = take(g, HEADS);
            let [gaps, both] = ["gaps", "both"].map(|name| layout.scratch(name, KEPT * HEADS));
            let since = layout.state("since the last", HEADS);
            let params = GapSum {
                t: KEPT as u32,
                width: HEADS as u32,
                x_stride: HEADS as u32,
                x_offset: 0,
            };
            recording.push(&gap_sum::KERNEL, &params, &[g, bounds], &[gaps, since]);
            let params = ScaledAdd {
                t: KEPT as u32,
                width: HEADS as u32,
                y_stride: HEADS as u32,
                y_offset: 0,
                per: 1,
                has_d: 0,
                multiply: 0,
                multiplier: 1.0,
            };
            recording.push(&scaled_add::KERNEL, &params, &[gaps, own, NONE], &[both]);
            [q, k, v, both]
        } else {
            [q, k, v, g]
        };
        let read = layout.scratch("read", rows * COLUMNS);
        let state = layout.state("state", HEADS * WIDTH * WIDTH);
        let scratch_len = ScanOuter::scratch_len(rows, HEADS, WIDTH, WIDTH);
        let scratch = layout.scratch("scratch", scratch_len);
        let stride = COLUMNS as u32;
        let params = ScanOuter {
            t: t as u32,
            heads: HEADS as u32,
            key: WIDTH as u32,
            value: WIDTH as u32,
            groups: HEADS as u32,
            q_stride: stride,
            q_offset: 0,
            k_stride: stride,
            k_offset: 0,
            v_stride: stride,
            v_offset: 0,
            per_key: 0,
            has_write_scale: 0,
            scale: 1.0 / 8.0,
            write_factor: 1.0,
            read_before: 0,
        };
        let (reads, writes) = ([q, k, v, g, NONE], [read, state, scratch]);
        recording.push(&scan_outer::KERNEL, &params, &reads, &writes);
        Box::new(PrunedScan {
            player: CpuPlayer::with_level(&layout, level),
            recording,
            read,
            rows: (!prunes).then_some(i.kept),
            out: Vec::new(),
            reference,
        })
    }
}

impl Case for PrunedScan {
    fn inputs(&self) -> Vec<Input<'_>> {
        Vec::new()
    }

    fn reference(&self) -> Option<Vec<f32>> {
        Some(self.reference.clone())
    }

    fn run(&mut self) -> Result<(), String> {
        self.out.clear();
        self.player.reset()?;
        self.player.play(&self.recording)
    }

    fn output(&mut self) -> Result<&[f32], String> {
        if !self.out.is_empty() {
            return Ok(&self.out);
        }
        let rows = self.rows.as_ref().map_or(KEPT, |_| T);
        let mut read = block_on(self.player.read(&[(self.read, 0..rows * COLUMNS)]))?;
        self.out = match &self.rows {
            None => std::mem::take(&mut read[0]),
            Some(kept) => {
                let rows = kept.iter().map(|t| &read[0][t * COLUMNS..][..COLUMNS]);
                rows.flatten().copied().collect()
            }
        };
        Ok(&self.out)
    }
}
