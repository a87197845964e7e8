//! The crossover between a scan's one pass and its three, measured.

use linearium::kernels::scan_outer::{self, CHUNK, ScanOuter};
use linearium::player::Player;
use linearium::random::Random;
use linearium::recording::{BufferId, Crossover, Layout, NONE, Params, Pass, Recording};

use crate::{Gpu, GpuPlayer};

/// Width of keys and values.
const WIDTH: usize = 64;
/// The most chunks that are tried.
const MOST_CHUNKS: usize = 16;
/// Rounds, of which the fastest counts: what disturbs only adds.
const ROUNDS: usize = 4;
/// Calls in a round, so that the end of it costs little.
const CALLS: usize = 8;

impl Gpu {
    /// Measures for 1, 4, 16 and 64 heads up to how many chunks of tokens one workgroup a head is
    /// faster than three passes, and keeps to it from here on. `now_ms` is a clock in milliseconds.
    /// A processor that plays a GPU is not measured: it is there to be right.
    ///
    /// # Errors
    /// As [`GpuPlayer::new`] and [`Player::play`].
    pub async fn measure_crossover(&self, now_ms: fn() -> f64) -> Result<Crossover, String> {
        let mut crossover = Crossover::default();
        if self.is_software() {
            return Ok(crossover);
        }
        for (class, most) in crossover.0.iter_mut().enumerate() {
            let heads = 1 << (2 * class);
            let mut scan = Scan::new(self, heads).await?;
            let mut chunks = 2;
            while chunks <= MOST_CHUNKS {
                let walk = scan
                    .milliseconds(chunks, Crossover([u32::MAX; 4]), now_ms)
                    .await?;
                let passes = scan.milliseconds(chunks, Crossover([0; 4]), now_ms).await?;
                if walk >= passes {
                    break;
                }
                *most = chunks as u32;
                chunks *= 2;
            }
        }
        self.shared.crossover.set(crossover);
        Ok(crossover)
    }
}

/// A scan that can be played with any number of chunks.
struct Scan {
    heads: usize,
    bindings: Vec<BufferId>,
    player: GpuPlayer,
}

impl Scan {
    async fn new(gpu: &Gpu, heads: usize) -> Result<Scan, String> {
        let t = MOST_CHUNKS * CHUNK;
        let mut random = Random::new(1);
        let mut layout = Layout::default();
        let rows = random.normals(t * heads * WIDTH, 1.0);
        let rows = layout.weight("rows", rows.into());
        let gates = random.uniforms(t * heads, -0.1, 0.0);
        let gates = layout.weight("gates", gates.into());
        let out = layout.scratch("out", t * heads * WIDTH);
        let state = layout.state("state", heads * WIDTH * WIDTH);
        let scratch_len = ScanOuter::scratch_len(t, heads, WIDTH, WIDTH);
        let scratch = layout.scratch("scratch", scratch_len);
        Ok(Scan {
            heads,
            bindings: vec![rows, rows, rows, gates, NONE, out, state, scratch],
            player: GpuPlayer::new(gpu, &layout).await?,
        })
    }

    /// Milliseconds of one call in the form that the crossover demands.
    async fn milliseconds(
        &mut self,
        chunks: usize,
        crossover: Crossover,
        now_ms: fn() -> f64,
    ) -> Result<f64, String> {
        let stride = (self.heads * WIDTH) as u32;
        let params = ScanOuter {
            t: (chunks * CHUNK) as u32,
            heads: self.heads as u32,
            key: WIDTH as u32,
            value: WIDTH as u32,
            groups: self.heads as u32,
            q_stride: stride,
            q_offset: 0,
            k_stride: stride,
            k_offset: 0,
            v_stride: stride,
            v_offset: 0,
            per_key: 0,
            has_write_scale: 0,
            scale: 0.125,
            write_factor: 1.0,
            read_before: 0,
        };
        let pass = Pass {
            kernel: &scan_outer::KERNEL,
            bindings: self.bindings.clone(),
            params: Params::pack(&params).on(crossover),
        };
        let recording = Recording {
            passes: vec![pass; CALLS],
        };
        let out = self.bindings[5];
        let mut best = f64::INFINITY;
        // The first round also makes the pipelines.
        for _ in 0..=ROUNDS {
            let start = now_ms();
            self.player.play(&recording)?;
            self.player.read(&[(out, 0..1)]).await?;
            best = best.min((now_ms() - start) / CALLS as f64);
        }
        Ok(best)
    }
}
