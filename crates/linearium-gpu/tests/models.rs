//! Whole models on the GPU: the shipped checkpoints against `transformers`, and random models of
//! every mixer with every change against the CPU player.

#[path = "../../linearium/tests/checkpoints/halves.rs"]
mod halves;

use std::rc::Rc;

use linearium::mixers::{self, Change};
use linearium::model::checkpoint::Checkpoint;
use linearium::model::load::load;
use linearium::model::session::{Options, Session};
use linearium::model::stack::Stack;
use linearium::player::{CpuPlayer, Player};
use linearium_gpu::{Gpu, GpuPlayer};
use pollster::block_on;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

fn gpu() -> Gpu {
    block_on(Gpu::new()).expect("a test machine has a Vulkan adapter")
}

fn on_gpu(gpu: &Gpu, stack: &Rc<Stack>, options: &Options, segment: usize) -> Session<GpuPlayer> {
    block_on(Session::new(
        stack.clone(),
        options,
        segment,
        |layout| async move { GpuPlayer::new(gpu, &layout).await },
    ))
    .unwrap()
}

fn on_cpu(stack: &Rc<Stack>, options: &Options, segment: usize) -> Session<CpuPlayer> {
    block_on(Session::new(
        stack.clone(),
        options,
        segment,
        |layout| async move { Ok(CpuPlayer::new(&layout)) },
    ))
    .unwrap()
}

/// Root mean square of the difference over root mean square of the reference.
fn rms_ratio(a: &[f32], reference: &[f32]) -> f64 {
    assert_eq!(a.len(), reference.len());
    let square = |v: f64| v * v;
    let pairs = a.iter().zip(reference);
    let difference: f64 = pairs
        .map(|(&a, &b)| square(f64::from(a) - f64::from(b)))
        .sum();
    let size: f64 = reference.iter().map(|&b| square(b.into())).sum();
    (difference / size).sqrt()
}

/// Logits and losses of all positions, fed in pieces.
fn read<P: Player>(session: &mut Session<P>, tokens: &[u32], piece: usize) -> (Vec<f32>, Vec<f32>) {
    let vocab = session.plan.vocab;
    let (mut logits, mut losses) = (Vec::new(), Vec::new());
    for start in (0..tokens.len()).step_by(piece) {
        let end = (start + piece).min(tokens.len());
        block_on(session.feed(&tokens[start..end], tokens.get(end).copied())).unwrap();
        let parts = [
            (session.plan.logits, 0..(end - start) * vocab),
            (session.plan.losses, 0..(end - start) * 2),
        ];
        let read = block_on(session.player.read(&parts)).unwrap();
        logits.extend_from_slice(&read[0]);
        losses.extend(read[1].iter().step_by(2));
    }
    losses.pop();
    (logits, losses)
}

/// f32 against f32 in other orders of summation, through 3 to 4 layers; the bound is the issue's.
#[test]
fn shipped_checkpoints_give_the_logits_of_transformers() {
    let gpu = gpu();
    for name in [
        "mamba2-passkey-t128",
        "mamba2-text-t1024",
        "llama-text-t256",
    ] {
        let file = |f: &str| std::fs::read(format!("{ROOT}/web/public/models/{name}/{f}")).unwrap();
        let stack = Rc::new(load(&file("config.json"), file("model.safetensors")).unwrap());
        let golden = format!("{ROOT}/tests/golden/models/{name}.safetensors");
        let mut golden = Checkpoint::read(std::fs::read(golden).unwrap()).unwrap();
        let whole = |f: &Checkpoint, n: &str| -> Vec<u32> {
            let raw = f.raw(n).unwrap();
            raw.chunks_exact(4)
                .map(|b| u32::from_le_bytes(b.try_into().unwrap()))
                .collect()
        };
        let ids = whole(&golden, "input_ids");
        let positions = whole(&golden, "positions");
        let want_logits = golden.take("logits", &[10, 256]).unwrap().data;
        let want_losses = golden.take("loss_per_position", &[599]).unwrap().data;
        for piece in [600, 64, 7, 1] {
            let options = Options {
                capacity: 600,
                ..Options::default()
            };
            let mut session = on_gpu(&gpu, &stack, &options, piece);
            let (got, losses) = read(&mut session, &ids, piece);
            let mut worst = 0.0f64;
            for (&p, want) in positions.iter().zip(want_logits.chunks(256)) {
                let ratio = rms_ratio(&got[p as usize * 256..][..256], want);
                worst = worst.max(ratio);
                assert!(ratio <= 2e-4, "{name} in pieces of {piece} at {p}: {ratio}");
            }
            eprintln!("{name} in pieces of {piece}: {worst:.1e}");
            assert_eq!(losses.len(), want_losses.len());
            for (p, (got, want)) in losses.iter().zip(want_losses.iter()).enumerate() {
                let off = (got - want).abs();
                assert!(off <= 1e-3, "{name}, {piece}, loss at {p}: off by {off}");
            }
        }
    }
}

/// The small random checkpoint of every family against the library that made it, in f64.
#[test]
fn every_family_gives_the_logits_of_its_library() {
    let gpu = gpu();
    for name in [
        "falcon_mamba",
        "jamba",
        "bamba",
        "gla-conv",
        "gla-hybrid",
        "retnet",
        "delta_net",
        "gated_delta_net-hybrid",
        "hgrn2",
        "linear_attention",
        "rwkv7",
    ] {
        let file =
            |f: &str| std::fs::read(format!("{ROOT}/tests/golden/models/{name}/{f}")).unwrap();
        let stack = Rc::new(load(&file("config.json"), file("model.safetensors")).unwrap());
        let golden = Checkpoint::read(file("expected.safetensors")).unwrap();
        let whole = |n: &str| -> Vec<u32> {
            let (values, _) = golden.raw(n).unwrap().as_chunks::<4>();
            values.iter().map(|&b| u32::from_le_bytes(b)).collect()
        };
        let (want, _) = golden.raw("logits").unwrap().as_chunks::<8>();
        let want: Vec<f32> = want.iter().map(|&b| f64::from_le_bytes(b) as f32).collect();
        let (ids, positions) = (whole("input_ids"), whole("positions"));
        for piece in [ids.len(), 7] {
            let options = Options {
                capacity: ids.len(),
                ..Options::default()
            };
            let mut session = on_gpu(&gpu, &stack, &options, piece);
            let (got, _) = read(&mut session, &ids, piece);
            let mut worst = 0.0f64;
            for (&p, want) in positions.iter().zip(want.chunks(256)) {
                let ratio = rms_ratio(&got[p as usize * 256..][..256], want);
                worst = worst.max(ratio);
                assert!(ratio <= 2e-4, "{name} in pieces of {piece} at {p}: {ratio}");
            }
            eprintln!("{name} in pieces of {piece}: {worst:.1e}");
        }
    }
}

/// Packed matrices on the GPU against the same values in f32 on the CPU, for one row and for tiles,
/// within the bound of the shipped checkpoints.
#[test]
fn packed_matrices_give_the_logits_of_their_values() {
    let gpu = gpu();
    let options = Options {
        capacity: 130,
        ..Options::default()
    };
    let tokens: Vec<u32> = (0..130u32).map(|i| (i * 37 + i * i * 11) % 256).collect();
    for name in ["mamba2-passkey-t128", "llama-text-t256"] {
        let files = halves::of_shipped(name);
        let packed = Rc::new(load(&files.config, files.f16).unwrap());
        let plain = Rc::new(load(&files.config, files.f32).unwrap());
        assert!(packed.embedding.halves().is_some() && plain.embedding.halves().is_none());
        let (want, _) = read(&mut on_cpu(&plain, &options, 130), &tokens, 130);
        for piece in [130, 7, 1] {
            let (got, _) = read(&mut on_gpu(&gpu, &packed, &options, piece), &tokens, piece);
            let ratio = rms_ratio(&got, &want);
            eprintln!("{name} in pieces of {piece}: {ratio:.1e}");
            assert!(ratio <= 2e-5, "{name} in pieces of {piece}: {ratio}");
        }
    }
}

/// The two players through two layers, over more than one chunk and for every cut; norms amplify
/// the kernels' own differences of some 1e-6.
#[test]
fn every_mixer_and_change_gives_what_the_cpu_gives() {
    let gpu = gpu();
    let mut worst = 0.0f64;
    for definition in mixers::ALL {
        let stack = Rc::new(Stack::random(definition, 7));
        let heads = stack.blocks[0].mixer.shape().heads;
        let tokens: Vec<u32> = (0..150u32).map(|i| (i * 37 + i * i * 11) % 256).collect();
        let thresholds: Vec<f32> = (0..heads)
            .map(|h| if h % 2 == 0 { 0.02 } else { -1.0 })
            .collect();
        let changes = [
            Change::default(),
            Change {
                window: 16,
                log_decay_shift: 0.9f32.ln(),
                write_factor: 0.5,
                thresholds: None,
            },
            Change {
                window: 100,
                ..Change::default()
            },
            Change {
                thresholds: Some(vec![thresholds.into(); 2]),
                ..Change::default()
            },
        ];
        for change in changes {
            for normalise_at in [0, 20] {
                let options = Options {
                    capacity: 150,
                    change: change.clone(),
                    normalise_at,
                    ..Options::default()
                };
                let (want, _) = block_on(on_cpu(&stack, &options, 150).read_text(&tokens)).unwrap();
                for piece in [16, 65, 150] {
                    let mut session = on_gpu(&gpu, &stack, &options, piece);
                    let (got, _) = block_on(session.read_text(&tokens)).unwrap();
                    let ratio = rms_ratio(&got, &want);
                    worst = worst.max(ratio);
                    assert!(
                        ratio <= 2e-5,
                        "{} in pieces of {piece}, {change:?}, {normalise_at}: {ratio}",
                        definition.id
                    );
                }
            }
        }
    }
    eprintln!("worst {worst:.1e}");
}
