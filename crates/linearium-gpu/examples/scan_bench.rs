//! Times the outer-product scan and the delta-rule scan on a GPU and prints JSON.
//!
//! `scan_bench [outer] [delta] [S] [M] [L] [decode]`: the scans and the shapes, all if none is
//! named. Every row has the time by the GPU's own clock, also of each stage by itself, the wall
//! time of submissions back to back, and the bytes that must move (q, k, v, gates and state in, o
//! and state out) as a share of what a copy reaches in the same run. A kernel that fails its canary
//! is not timed.

use std::sync::OnceLock;
use std::time::Instant;

use linearium::kernels::embed::{self, Embed};
use linearium::kernels::scan_delta::{self, ScanDelta};
use linearium::kernels::scan_outer::{self, ScanOuter};
use linearium::player::Player;
use linearium::random::Random;
use linearium::recording::{BufferId, Kernel, Layout, NONE, Recording, Stage};
use linearium_gpu::{Gpu, GpuPlayer};
use pollster::block_on;
use serde_json::{Value, json};

/// Name, tokens, heads, key and value width.
type Shape = (&'static str, u32, u32, u32, u32);

const SHAPES: [Shape; 4] = [
    ("S", 1024, 4, 64, 64),
    ("M", 4096, 16, 64, 64),
    ("L", 16384, 16, 128, 128),
    ("decode", 1, 16, 128, 128),
];

const SCANS: [&str; 2] = ["outer", "delta"];

/// The rules of the delta-rule scan.
const DELTA_RULES: [(&str, u32); 3] = [
    ("delta", 0),
    ("gated delta", ScanDelta::DECAY_PER_HEAD),
    ("rwkv-7", ScanDelta::DPLR | ScanDelta::DECAY_PER_KEY),
];

/// Rounds that are not counted.
const WARM_UP: usize = 3;
/// Wall time that a measurement should last, in seconds.
const AT_LEAST: f64 = 0.5;

fn main() -> Result<(), String> {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let shapes = SHAPES.map(|s| s.0);
    if let Some(unknown) = wanted.iter().find(|w| {
        let w = w.as_str();
        !shapes.contains(&w) && !SCANS.contains(&w)
    }) {
        return Err(format!(
            "There is no {unknown}: outer and delta are scans, and S, M, L and decode shapes."
        ));
    }
    // Of a kind of which none is named, all.
    let is_wanted = |name: &str, all: &[&str]| {
        wanted.iter().any(|w| w == name) || !wanted.iter().any(|w| all.contains(&w.as_str()))
    };
    let gpu = block_on(Gpu::with_features(wgpu::Features::TIMESTAMP_QUERY))?;
    let report =
        block_on(gpu.self_check_of(&[&scan_outer::KERNEL, &scan_delta::KERNEL, &embed::KERNEL]))?;
    if !report.ok {
        return Err(format!("The kernels are wrong on this GPU: {report:?}"));
    }
    let copy = copy_bytes_per_second(&gpu)?;
    let crossover = block_on(gpu.measure_crossover(now_ms))?;
    let mut rows = Vec::new();
    for shape in SHAPES {
        if !is_wanted(shape.0, &shapes) {
            continue;
        }
        if is_wanted("outer", &SCANS) {
            for per_key in [0, 1] {
                rows.push(scan(&gpu, shape, per_key, copy));
            }
        }
        if is_wanted("delta", &SCANS) {
            for rule in DELTA_RULES {
                rows.push(delta(&gpu, shape, rule, copy));
            }
        }
    }
    let out = json!({
        "adapter": gpu.adapter(),
        "self_check_rms_ratio": report.worst,
        "copy_gb_per_s": copy * 1e-9,
        "walks_up_to_chunks": crossover.0,
        "dispatch_us": dispatch_seconds(&gpu)? * 1e6,
        "rows": rows,
    });
    println!("{out:#}");
    Ok(())
}

fn now_ms() -> f64 {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_secs_f64() * 1e3
}

/// One row; what cannot run on this GPU says why.
fn scan(gpu: &Gpu, shape: Shape, per_key: u32, copy: f64) -> Value {
    let (name, t, heads, key, value) = shape;
    let decay = if per_key == 1 { "per key" } else { "per head" };
    let row = json!({
        "shape": name, "decay": decay, "t": t, "heads": heads, "key": key, "value": value,
    });
    let gates = if per_key == 1 { key } else { 1 };
    let tokens = f64::from(t * heads) * f64::from(2 * key + 2 * value + gates);
    let bytes = 4.0 * (tokens + f64::from(2 * heads * key * value));
    with_times(row, bytes, copy, time_scan(gpu, shape, per_key))
}

/// One row of the delta-rule scan.
fn delta(gpu: &Gpu, shape: Shape, (rule, flags): (&str, u32), copy: f64) -> Value {
    let (name, t, heads, key, value) = shape;
    let row = json!({
        "shape": name, "rule": rule, "t": t, "heads": heads, "key": key, "value": value,
    });
    let more = match flags {
        0 => 1,
        ScanDelta::DECAY_PER_HEAD => 2,
        _ => 3 * key,
    };
    let tokens = f64::from(t * heads) * f64::from(2 * key + 2 * value + more);
    let bytes = 4.0 * (tokens + f64::from(2 * heads * key * value));
    with_times(row, bytes, copy, time_delta(gpu, shape, flags))
}

/// The row with what was measured, or with why nothing was.
fn with_times(mut row: Value, bytes: f64, copy: f64, times: Result<Times, String>) -> Value {
    let more = match times {
        Err(error) => json!({ "error": error }),
        Ok((gpu_seconds, wall, stages)) => {
            let seconds = gpu_seconds.unwrap_or(wall.best);
            json!({
                "gpu_ms": gpu_seconds.map(|s| s * 1e3),
                "wall_best_ms": wall.best * 1e3,
                "wall_median_ms": wall.median * 1e3,
                "rounds": wall.rounds,
                "stages_ms": stages
                    .into_iter()
                    .map(|(stage, s)| (stage.to_owned(), json!(s.map(|s| s * 1e3))))
                    .collect::<serde_json::Map<_, _>>(),
                "bytes": bytes,
                "share_of_copy": bytes / seconds / copy,
            })
        }
    };
    if let (Some(row), Value::Object(more)) = (row.as_object_mut(), more) {
        row.extend(more);
    }
    row
}

/// Seconds by the GPU's clock, on the wall, and by the GPU's clock for each stage by itself.
type Times = (Option<f64>, Wall, Vec<(&'static str, Option<f64>)>);

/// Seconds of one round.
struct Wall {
    best: f64,
    median: f64,
    rounds: usize,
}

fn time_scan(gpu: &Gpu, (_, t, heads, key, value): Shape, per_key: u32) -> Result<Times, String> {
    let mut random = Random::new(1);
    // One million values over and over: drawing a hundred million takes longer than the benchmark.
    let normals = random.normals(1 << 20, 1.0);
    let gates = random.uniforms(1 << 20, -0.1, 0.0);
    let fill = |from: &[f32], len: u32| -> std::sync::Arc<[f32]> {
        from.iter().copied().cycle().take(len as usize).collect()
    };
    let mut layout = Layout::default();
    let q = layout.weight("q", fill(&normals, t * heads * key));
    let k = layout.weight("k", fill(&normals[7..], t * heads * key));
    let v = layout.weight("v", fill(&normals[3..], t * heads * value));
    let widths = if per_key == 1 { heads * key } else { heads };
    let g = layout.weight("g", fill(&gates, t * widths));
    let o = layout.scratch("o", (t * heads * value) as usize);
    let state = layout.state("state", (heads * key * value) as usize);
    let scratch_len =
        ScanOuter::scratch_len(t as usize, heads as usize, key as usize, value as usize);
    let scratch = layout.scratch("scratch", scratch_len);
    let mut recording = Recording::default();
    recording.push(
        &scan_outer::KERNEL,
        &ScanOuter {
            t,
            heads,
            key,
            value,
            groups: heads,
            q_stride: heads * key,
            q_offset: 0,
            k_stride: heads * key,
            k_offset: 0,
            v_stride: heads * value,
            v_offset: 0,
            per_key,
            has_write_scale: 0,
            scale: (key as f32).sqrt().recip(),
            write_factor: 1.0,
            read_before: 0,
        },
        &[q, k, v, g, NONE],
        &[o, state, scratch],
    );
    time_recording(gpu, &layout, &recording, o)
}

fn time_delta(gpu: &Gpu, (_, t, heads, key, value): Shape, flags: u32) -> Result<Times, String> {
    let mut random = Random::new(2);
    let normals = random.normals(1 << 20, 1.0);
    // Of unit length for the erasure: (key)^-1/2 each.
    let units: Vec<f32> = (normals.iter())
        .map(|x| x * (key as f32).sqrt().recip())
        .collect();
    let gates = random.uniforms(1 << 20, -0.1, 0.0);
    let betas = random.uniforms(1 << 20, 0.0, 1.0);
    let fill = |from: &[f32], len: u32| -> std::sync::Arc<[f32]> {
        from.iter().copied().cycle().take(len as usize).collect()
    };
    let mut layout = Layout::default();
    let q = layout.weight("q", fill(&normals, t * heads * key));
    let k = layout.weight("k", fill(&units[7..], t * heads * key));
    let v = layout.weight("v", fill(&normals[3..], t * heads * value));
    let gate_width = match flags & (ScanDelta::DECAY_PER_HEAD | ScanDelta::DECAY_PER_KEY) {
        0 => 0,
        ScanDelta::DECAY_PER_HEAD => heads,
        _ => heads * key,
    };
    let g = layout.weight("g", fill(&gates, (t * gate_width).max(1)));
    let (erase_width, erase) = if flags & ScanDelta::DPLR == 0 {
        (heads, fill(&betas, t * heads))
    } else {
        // a of unit length, b = -a / 2.
        let half = units.iter().map(|x| x * -0.5);
        let width = (heads * key) as usize;
        let rows = fill(&units, heads * key).to_vec().into_iter();
        let row: Vec<f32> = rows.chain(half.cycle().take(width)).collect();
        (2 * heads * key, fill(&row, t * 2 * heads * key))
    };
    let erase = layout.weight("erase", erase);
    let params = ScanDelta {
        t,
        heads,
        key,
        value,
        groups: heads,
        q_stride: heads * key,
        q_offset: 0,
        k_stride: heads * key,
        k_offset: 0,
        v_stride: heads * value,
        v_offset: 0,
        flags,
        erase_stride: erase_width,
        erase_offset: 0,
        scale: (key as f32).sqrt().recip(),
        write_factor: 1.0,
    };
    let o = layout.scratch("o", (t * heads * value) as usize);
    let state = layout.state("state", (heads * key * value) as usize);
    let scratch = layout.scratch("scratch", params.scratch_len());
    let mut recording = Recording::default();
    let reads = [q, k, v, g, erase];
    recording.push(&scan_delta::KERNEL, &params, &reads, &[o, state, scratch]);
    time_recording(gpu, &layout, &recording, o)
}

fn time_recording(
    gpu: &Gpu,
    layout: &Layout,
    recording: &Recording,
    out: BufferId,
) -> Result<Times, String> {
    let mut player = block_on(GpuPlayer::new(gpu, layout))?;
    let wall = wall_seconds(&mut player, recording, out)?;
    let seconds = gpu_seconds(&mut player, recording, wall.rounds)?;
    let mut stages = Vec::new();
    for (stage, recording) in by_stage(recording) {
        let seconds = gpu_seconds(&mut player, &recording, wall.rounds)?;
        stages.push((stage, seconds));
    }
    Ok((seconds, wall, stages))
}

/// A recording of one pass as recordings of its stages.
fn by_stage(recording: &Recording) -> Vec<(&'static str, Recording)> {
    let pass = &recording.passes[0];
    let stages = pass.kernel.stages.iter();
    stages
        .filter(|stage| !(stage.workgroups)(&pass.params).contains(&0))
        .map(|stage| {
            let stages: &'static [Stage] = Box::leak(Box::new([Stage {
                entry: stage.entry,
                workgroups: stage.workgroups,
            }]));
            let mut pass = pass.clone();
            // A kernel is known by its address, so each gets its own.
            pass.kernel = Box::leak(Box::new(Kernel {
                stages,
                ..*pass.kernel
            }));
            let passes = vec![pass];
            (stage.entry, Recording { passes })
        })
        .collect()
}

/// Median by the GPU's clock.
fn gpu_seconds(
    player: &mut GpuPlayer,
    recording: &Recording,
    rounds: usize,
) -> Result<Option<f64>, String> {
    let mut seconds = Vec::new();
    for _ in 0..rounds.clamp(5, 50) {
        seconds.extend(block_on(player.time(recording))?);
    }
    seconds.sort_by(f64::total_cmp);
    Ok(seconds.get(seconds.len() / 2).copied())
}

/// Plays a recording back to back, in batches that end with a reading of one element.
fn wall_seconds(
    player: &mut GpuPlayer,
    recording: &Recording,
    out: BufferId,
) -> Result<Wall, String> {
    let mut batch = |n: usize| -> Result<f64, String> {
        let start = Instant::now();
        for _ in 0..n {
            player.play(recording)?;
        }
        block_on(player.read(&[(out, 0..1)]))?;
        Ok(start.elapsed().as_secs_f64() / n as f64)
    };
    let first = batch(WARM_UP)?;
    let n = ((AT_LEAST / 10.0 / first) as usize).clamp(1, 200);
    let mut seconds = Vec::new();
    for _ in 0..10 {
        seconds.push(batch(n)?);
    }
    seconds.sort_by(f64::total_cmp);
    Ok(Wall {
        best: seconds[0],
        median: seconds[seconds.len() / 2],
        rounds: seconds.len() * n,
    })
}

/// What one dispatch costs where nothing is computed.
fn dispatch_seconds(gpu: &Gpu) -> Result<f64, String> {
    const PASSES: usize = 1000;
    let mut layout = Layout::default();
    let table = layout.weight("table", vec![1.0].into());
    let out = layout.scratch("out", 1);
    let mut recording = Recording::default();
    for _ in 0..PASSES {
        let params = Embed {
            t: 1,
            width: 1,
            halves: 0,
        };
        recording.push(&embed::KERNEL, &params, &[table, NONE], &[out]);
    }
    let mut player = block_on(GpuPlayer::new(gpu, &layout))?;
    Ok(wall_seconds(&mut player, &recording, out)?.best / PASSES as f64)
}

/// Copies vectors, as a kernel does it.
const COPY: &str = "
@group(0) @binding(0) var<storage, read> a: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> b: array<vec4<f32>>;
@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) i: vec3<u32>) {
    let at = i.y * 65536u + i.x;
    b[at] = a[at];
}";

/// Bytes read and written in a second by a shader that copies.
fn copy_bytes_per_second(gpu: &Gpu) -> Result<f64, String> {
    const BYTES: u64 = 1 << 27;
    const COPIES: u32 = 20;
    let device = gpu.device();
    let buffer = || {
        device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("copy"),
            size: BYTES,
            usage: wgpu::BufferUsages::STORAGE,
            mapped_at_creation: false,
        })
    };
    let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
        label: Some("copy"),
        source: wgpu::ShaderSource::Wgsl(COPY.into()),
    });
    let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
        label: Some("copy"),
        layout: None,
        module: &module,
        entry_point: None,
        compilation_options: wgpu::PipelineCompilationOptions::default(),
        cache: None,
    });
    let buffers = [buffer(), buffer()];
    let entries = [0, 1].map(|i| wgpu::BindGroupEntry {
        binding: i,
        resource: buffers[i as usize].as_entire_binding(),
    });
    let group = device.create_bind_group(&wgpu::BindGroupDescriptor {
        label: Some("copy"),
        layout: &pipeline.get_bind_group_layout(0),
        entries: &entries,
    });
    let mut best = f64::INFINITY;
    // The first ones find the clocks still low.
    for _ in 0..20 {
        let mut encoder = device.create_command_encoder(&Default::default());
        {
            let mut pass = encoder.begin_compute_pass(&Default::default());
            pass.set_pipeline(&pipeline);
            pass.set_bind_group(0, &group, &[]);
            for _ in 0..COPIES {
                pass.dispatch_workgroups(256, (BYTES >> 20) as u32, 1);
            }
        }
        let start = Instant::now();
        gpu.queue().submit([encoder.finish()]);
        device
            .poll(wgpu::PollType::wait_indefinitely())
            .map_err(|e| format!("The copy did not end: {e}"))?;
        best = best.min(start.elapsed().as_secs_f64());
    }
    Ok((2 * BYTES * u64::from(COPIES)) as f64 / best)
}
