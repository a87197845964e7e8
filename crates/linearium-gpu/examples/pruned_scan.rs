//! Times scans of pruned runs on a GPU against those of whole runs and prints JSON.
//!
//! One layer of each mixer, 4,096 tokens in one recording, every second token kept by chance. Timed
//! is what belongs to the scan: itself, the rows that are taken for it, and what it is told of gaps;
//! by the GPU's own clock where there is one, and on the wall. The goal is 0.65 of the whole run.

use std::rc::Rc;
use std::time::Instant;

use linearium::mixers::{self, Definition, Size};
use linearium::model::session::{Options, Session};
use linearium::model::stack::Stack;
use linearium::player::Player;
use linearium::pruning::operations::belongs_to_scan;
use linearium::pruning::{DropMode, Neighbours, Pruning};
use linearium::random::Random;
use linearium::recording::Recording;
use linearium_gpu::{Gpu, GpuPlayer};
use pollster::block_on;
use serde_json::{Value, json};

const T: usize = 4096;
/// Rounds of which the shortest counts.
const ROUNDS: usize = 20;

/// Milliseconds by the GPU's clock and on the wall, the shortest of all rounds.
struct Times {
    gpu_ms: Option<f64>,
    wall_ms: f64,
}

fn main() -> Result<(), String> {
    let gpu = block_on(Gpu::with_features(wgpu::Features::TIMESTAMP_QUERY))?;
    let heads_of_64 = Size {
        width: 256,
        heads: 16,
        key: 64,
        value: 64,
    };
    let channels = Size {
        width: 512,
        heads: 1024,
        key: 16,
        value: 1,
    };
    let cases: [(&Definition, Size); 3] = [
        (&mixers::ssd::DEFINITION, heads_of_64),
        (&mixers::gla::DEFINITION, heads_of_64),
        (&mixers::s6::DEFINITION, channels),
    ];
    let modes = [
        DropMode::Gather,
        DropMode::DecayTrue,
        DropMode::DecayDefault,
        DropMode::Carry,
    ];
    let mut rows = Vec::new();
    for (definition, size) in cases {
        let mut stack = Stack::random_of(definition, &size, 1);
        stack.blocks.truncate(1);
        let stack = Rc::new(stack);
        let whole = time(&gpu, &stack, None)?;
        for mode in modes {
            for neighbours in Neighbours::ALL {
                let pruned = time(&gpu, &stack, Some((mode, neighbours)))?;
                rows.push(row(definition.id, (mode, neighbours), &whole, &pruned));
            }
        }
    }
    println!(
        "{:#}",
        json!({ "adapter": gpu.adapter(), "tokens": T, "rows": rows })
    );
    Ok(())
}

fn row(mixer: &str, meaning: (DropMode, Neighbours), whole: &Times, pruned: &Times) -> Value {
    let ratio = whole.gpu_ms.zip(pruned.gpu_ms).map(|(w, p)| p / w);
    json!({
        "mixer": mixer,
        "mode": meaning.0.id(),
        "neighbours": meaning.1.id(),
        "whole_gpu_ms": whole.gpu_ms,
        "pruned_gpu_ms": pruned.gpu_ms,
        "ratio": ratio,
        "whole_wall_ms": whole.wall_ms,
        "pruned_wall_ms": pruned.wall_ms,
        "wall_ratio": pruned.wall_ms / whole.wall_ms,
    })
}

fn time(
    gpu: &Gpu,
    stack: &Rc<Stack>,
    meaning: Option<(DropMode, Neighbours)>,
) -> Result<Times, String> {
    let mut random = Random::new(2);
    let kept: Vec<usize> = (0..T / 2).map(|i| 2 * i + random.below(2)).collect();
    let pruning = meaning
        .map(|(mode, neighbours)| Pruning::new(mode, neighbours, T, vec![(0, kept)]))
        .transpose()?;
    let options = Options {
        capacity: T,
        pruning,
        ..Options::default()
    };
    let player = |layout| async move { GpuPlayer::new(gpu, &layout).await };
    let mut session = block_on(Session::new(stack.clone(), &options, T, player))?;
    let tokens: Vec<u32> = (0..T).map(|_| random.below(256) as u32).collect();
    let mut recording = session.prepare(&tokens, None)?;
    // So that the scan reads what it should.
    session.player.play(&recording)?;
    recording.passes.retain(belongs_to_scan);
    shortest(&mut session, &recording)
}

fn shortest(session: &mut Session<GpuPlayer>, recording: &Recording) -> Result<Times, String> {
    let wait = [(session.plan.losses, 0..1)];
    let mut out = Times {
        gpu_ms: None,
        wall_ms: f64::INFINITY,
    };
    for _ in 0..ROUNDS {
        session.player.reset()?;
        block_on(session.player.read(&wait))?;
        let start = Instant::now();
        session.player.play(recording)?;
        block_on(session.player.read(&wait))?;
        out.wall_ms = out.wall_ms.min(start.elapsed().as_secs_f64() * 1e3);
        if let Some(seconds) = block_on(session.player.time(recording))? {
            let ms = seconds * 1e3;
            out.gpu_ms = Some(out.gpu_ms.map_or(ms, |best| best.min(ms)));
        }
    }
    Ok(out)
}
