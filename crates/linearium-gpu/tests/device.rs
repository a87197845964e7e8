//! What goes wrong on a device comes out as a sentence, and the next device works.

use linearium::kernels::{embed, scaled_add};
use linearium::player::Player;
use linearium::random::Random;
use linearium::recording::{BufferId, Call, Kernel, Layout, NONE, Params, Recording, Stage};
use linearium_gpu::{Gpu, GpuPlayer};
use pollster::block_on;

fn gpu() -> Gpu {
    block_on(Gpu::new()).expect("a test machine has a Vulkan adapter")
}

/// `sum = x + sum_so_far`, `sum_so_far = sum`, as two passes.
struct Adder {
    recording: Recording,
    layout: Layout,
    x: BufferId,
    sum: BufferId,
    kept: BufferId,
}

const LEN: u32 = 1000;

fn adder() -> Adder {
    let mut layout = Layout::default();
    let x = layout.input("x", LEN as usize);
    let sum = layout.scratch("sum", LEN as usize);
    let kept = layout.state("kept", LEN as usize);
    let add = scaled_add::ScaledAdd {
        t: 1,
        width: LEN,
        y_stride: LEN,
        y_offset: 0,
        per: 1,
        has_d: 0,
        multiply: 0,
        multiplier: 1.0,
    };
    let keep = scaled_add::ScaledAdd {
        multiplier: 0.0,
        ..add
    };
    let mut recording = Recording::default();
    recording.push(&scaled_add::KERNEL, &add, &[x, kept, NONE], &[sum]);
    recording.push(&scaled_add::KERNEL, &keep, &[sum, x, NONE], &[kept]);
    Adder {
        recording,
        layout,
        x,
        sum,
        kept,
    }
}

#[test]
fn a_state_is_carried_from_play_to_play_and_reset() {
    let a = adder();
    let gpu = gpu();
    let mut player = block_on(GpuPlayer::new(&gpu, &a.layout)).unwrap();
    assert!(player.backend().starts_with("gpu ("));
    let before = block_on(player.read(&[(a.sum, 0..3), (a.kept, 0..3)])).unwrap();
    assert!(
        before[0].iter().all(|x| x.is_nan()),
        "scratch starts as NaN"
    );
    assert_eq!(before[1], [0.0; 3], "a state starts as zero");

    let x = Random::new(1).normals(LEN as usize, 1.0);
    player.write(a.x, 0, &x[..400]).unwrap();
    player.write(a.x, 400, &x[400..]).unwrap();
    for _ in 0..3 {
        player.play(&a.recording).unwrap();
    }
    let read = block_on(player.read(&[(a.sum, 399..402), (a.x, 0..0), (a.kept, 999..1000)]));
    let triple = |i: usize| x[i] + (x[i] + x[i]);
    assert_eq!(
        read.unwrap(),
        [
            vec![triple(399), triple(400), triple(401)],
            vec![],
            vec![triple(999)]
        ]
    );
    player.reset().unwrap();
    player.play(&a.recording).unwrap();
    assert_eq!(block_on(player.read(&[(a.sum, 0..1)])).unwrap()[0], [x[0]]);
}

#[test]
fn a_recording_with_more_passes_than_there_is_room_for_gets_room() {
    let a = adder();
    let gpu = gpu();
    let mut player = block_on(GpuPlayer::new(&gpu, &a.layout)).unwrap();
    player.write(a.x, 0, &[1.0; LEN as usize]).unwrap();
    player.play(&a.recording).unwrap();
    let mut long = Recording::default();
    for _ in 0..1500 {
        long.passes.extend(a.recording.passes.iter().cloned());
    }
    player.play(&long).unwrap();
    player.play(&a.recording).unwrap();
    let read = block_on(player.read(&[(a.sum, 0..1)])).unwrap();
    assert_eq!(read[0], [1502.0]);
}

#[test]
fn a_lost_device_is_an_error_and_the_next_one_works() {
    let a = adder();
    let first = gpu();
    let mut player = block_on(GpuPlayer::new(&first, &a.layout)).unwrap();
    player.write(a.x, 0, &[1.0; LEN as usize]).unwrap();
    player.play(&a.recording).unwrap();
    assert!(!first.is_lost());
    first.lose();
    assert!(first.is_lost());

    let errors = [
        player.write(a.x, 0, &[1.0]).unwrap_err(),
        player.reset().unwrap_err(),
        player.play(&a.recording).unwrap_err(),
        block_on(player.read(&[(a.sum, 0..1)])).unwrap_err(),
        block_on(GpuPlayer::new(&first, &a.layout)).err().unwrap(),
        block_on(first.prepare(&[&embed::KERNEL])).unwrap_err(),
        block_on(first.self_check()).unwrap_err(),
    ];
    for error in errors {
        assert!(error.contains("was lost"), "{error}");
    }

    let second = gpu();
    assert!(!second.is_lost());
    let mut player = block_on(GpuPlayer::new(&second, &a.layout)).unwrap();
    player.write(a.x, 0, &[2.0; LEN as usize]).unwrap();
    player.play(&a.recording).unwrap();
    assert_eq!(
        block_on(player.read(&[(a.sum, 0..1)])).unwrap()[0],
        [2.0],
        "a fresh device starts from zero"
    );
}

/// The loss comes while the results of a recording are being waited for.
#[test]
fn a_device_lost_between_play_and_read_gives_no_old_values() {
    let a = adder();
    let gpu = gpu();
    let mut player = block_on(GpuPlayer::new(&gpu, &a.layout)).unwrap();
    player.play(&a.recording).unwrap();
    gpu.device().destroy();
    let error = block_on(player.read(&[(a.sum, 0..1)])).unwrap_err();
    assert!(error.contains("was lost"), "{error}");
}

fn cpu_that_does_nothing(_: fearless_simd::Level, _: &Params, _: &[&[f32]], _: &mut [&mut [f32]]) {}

fn canary_of_ones(_: u64) -> Call {
    Call {
        params: Params::pack(&[0u32; 16]),
        reads: vec![vec![1.0; 4]],
        writes: vec![vec![1.0; 4]],
    }
}

const fn kernel(name: &'static str, wgsl: &'static str) -> Kernel {
    Kernel {
        name,
        reads: 1,
        writes: 1,
        wgsl,
        canary: canary_of_ones,
        stages: &[Stage {
            entry: "main",
            workgroups: |_| [1, 1, 1],
        }],
        cpu: cpu_that_does_nothing,
    }
}

static BROKEN: Kernel = kernel(
    "broken",
    "@compute @workgroup_size(1) fn main() { nothing(); }",
);
static NO_ENTRY: Kernel = kernel(
    "no_entry",
    "@compute @workgroup_size(1) fn another_name() {}",
);
static WRONG_BINDINGS: Kernel = kernel(
    "wrong_bindings",
    "@group(0) @binding(7) var<storage, read_write> x: array<f32>;
     @compute @workgroup_size(1) fn main() { x[0] = 1.0; }",
);
static TOO_WIDE: Kernel = kernel("too_wide", "@compute @workgroup_size(100000) fn main() {}");
/// Right in form, wrong in what it computes: its twin leaves the ones alone.
static WRONG: Kernel = kernel(
    "wrong",
    "@group(0) @binding(2) var<storage, read_write> x: array<f32>;
     @compute @workgroup_size(1) fn main() { x[2] = 0.0; }",
);

#[test]
fn a_refused_kernel_is_an_error_and_not_zeros() {
    let gpu = gpu();
    for kernel in [&BROKEN, &NO_ENTRY, &WRONG_BINDINGS, &TOO_WIDE] {
        // Made beforehand, and again from the cache.
        for _ in 0..2 {
            let error = block_on(gpu.prepare(&[kernel])).unwrap_err();
            assert!(error.contains(kernel.name), "{error}");
        }
        let error = block_on(gpu.self_check_of(&[kernel])).unwrap_err();
        assert!(error.contains(kernel.name), "{error}");
        assert!(!error.contains('\n'), "one sentence: {error}");
    }
    // Made while playing, on a device that has not seen them.
    for kernel in [&BROKEN, &NO_ENTRY, &WRONG_BINDINGS, &TOO_WIDE] {
        let gpu = self::gpu();
        let mut layout = Layout::default();
        let to = layout.state("to", 4);
        let mut recording = Recording::default();
        recording.push(kernel, &0u32, &[NONE], &[to]);
        let mut player = block_on(GpuPlayer::new(&gpu, &layout)).unwrap();
        let error = player.play(&recording).unwrap_err();
        assert!(error.contains(kernel.name), "{error}");
    }
    // The device itself is well.
    assert!(block_on(gpu.self_check()).unwrap().ok);
}

#[test]
fn a_wrong_result_is_seen_by_the_self_check() {
    let report = block_on(gpu().self_check_of(&[&WRONG, &embed::KERNEL])).unwrap();
    assert!(!report.ok);
    // One of four ones is gone: sqrt(1 / 4).
    assert_eq!(report.rows[0].rms_ratio, 0.5);
    assert_eq!(report.worst, 0.5);
    assert!(!report.rows[0].ok && report.rows[1].ok);
}

#[test]
fn a_buffer_over_the_limit_is_a_sentence_with_its_name() {
    let gpu = gpu();
    let limit = gpu.device().limits().max_storage_buffer_binding_size;
    let mut layout = Layout::default();
    layout.state("layers.0.k_cache", limit as usize / 4 + 1);
    let error = block_on(GpuPlayer::new(&gpu, &layout)).err().unwrap();
    assert!(error.contains("layers.0.k_cache"), "{error}");
    assert!(error.contains(&limit.to_string()), "{error}");
    assert!(!gpu.is_lost());
}

#[test]
fn too_many_workgroups_are_a_sentence() {
    static MANY: Kernel = Kernel {
        stages: &[Stage {
            entry: "main",
            workgroups: |_| [65_536, 1, 1],
        }],
        ..kernel("many", "@compute @workgroup_size(1) fn main() {}")
    };
    let gpu = gpu();
    let mut layout = Layout::default();
    let to = layout.state("to", 4);
    let mut recording = Recording::default();
    recording.push(&MANY, &0u32, &[NONE], &[to]);
    let mut player = block_on(GpuPlayer::new(&gpu, &layout)).unwrap();
    let error = player.play(&recording).unwrap_err();
    assert!(error.contains("65536") && error.contains("many"), "{error}");
}

#[test]
fn elements_outside_a_buffer_are_a_sentence() {
    let a = adder();
    let gpu = gpu();
    let mut player = block_on(GpuPlayer::new(&gpu, &a.layout)).unwrap();
    let error = player.write(a.x, 999, &[1.0, 1.0]).unwrap_err();
    assert!(error.contains("the buffer x"), "{error}");
    let error = block_on(player.read(&[(a.sum, 0..1001)])).unwrap_err();
    assert!(error.contains("the buffer sum"), "{error}");
    let error = block_on(player.read(&[(BufferId(99), 0..1)])).unwrap_err();
    assert!(error.contains("99"), "{error}");
    // And the player goes on.
    player.play(&a.recording).unwrap();
    assert_eq!(block_on(player.read(&[(a.sum, 0..1)])).unwrap()[0], [0.0]);
}

#[test]
fn times_come_from_the_clock_of_the_gpu_if_it_was_asked_for() {
    let a = adder();
    let plain = block_on(GpuPlayer::new(&gpu(), &a.layout));
    assert_eq!(block_on(plain.unwrap().time(&a.recording)), Ok(None));

    let features = wgpu::Features::TIMESTAMP_QUERY;
    let gpu = block_on(Gpu::with_features(features)).unwrap();
    assert!(
        gpu.device().features().contains(features),
        "lavapipe has it"
    );
    let mut player = block_on(GpuPlayer::new(&gpu, &a.layout)).unwrap();
    player.write(a.x, 0, &[1.0; LEN as usize]).unwrap();
    let mut long = Recording::default();
    for _ in 0..100 {
        long.passes.extend(a.recording.passes.iter().cloned());
    }
    let seconds = block_on(player.time(&long)).unwrap().unwrap();
    assert!(seconds > 1e-6 && seconds < 10.0, "{seconds} s");
    // What is timed is also played.
    assert_eq!(block_on(player.read(&[(a.sum, 0..1)])).unwrap()[0], [100.0]);
}
