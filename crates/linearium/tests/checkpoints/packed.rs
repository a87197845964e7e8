//! Checkpoints in f16: large matrices stay as they are stored, and the model is the same.

use std::rc::Rc;

use linearium::model::load::load;
use linearium::model::session::{Options, Session};
use linearium::model::stack::Stack;
use linearium::player::{CpuPlayer, Player};
use pollster::block_on;

use crate::halves::of_shipped;
use crate::peak;

/// The bits of all logits, losses and guesses of 150 tokens.
fn bits(stack: Rc<Stack>) -> Vec<u32> {
    let options = Options {
        capacity: 150,
        ..Options::default()
    };
    let player = |layout| async move { Ok(CpuPlayer::new(&layout)) };
    let mut session = block_on(Session::new(stack, &options, 64, player)).unwrap();
    let tokens: Vec<u32> = (0..150).map(|i| i * 37 % 256).collect();
    let mut out = Vec::new();
    while session.position() < tokens.len() {
        let from = session.position();
        let t = session.next_segment(tokens.len() - from);
        block_on(session.feed(&tokens[from..from + t], Some(7))).unwrap();
        let plan = &session.plan;
        let parts = [(plan.logits, 0..t * plan.vocab), (plan.losses, 0..2 * t)];
        let read = block_on(session.player.read(&parts)).unwrap();
        out.extend(read.iter().flatten().map(|x| x.to_bits()));
    }
    out
}

#[test]
fn a_model_in_f16_gives_the_bits_of_the_same_values_in_f32() {
    // Llama has matrices that are put together of several tensors.
    for name in ["mamba2-passkey-t128", "llama-text-t256"] {
        let files = of_shipped(name);
        let packed = Rc::new(load(&files.config, files.f16).unwrap());
        let plain = Rc::new(load(&files.config, files.f32).unwrap());
        let kept = |stack: &Stack| {
            let of_mixers = stack.blocks.iter().flat_map(|b| b.mixer.weights());
            let halves: usize = of_mixers
                .chain([&stack.embedding])
                .filter(|w| w.halves().is_some())
                .map(|w| w.len())
                .sum();
            halves as f64 / stack.parameters() as f64
        };
        assert_eq!(kept(&plain), 0.0, "{name}");
        // The feed-forward layers of Llama are two thirds of it, and no mixers.
        assert!(kept(&packed) > 0.3, "{name}: {}", kept(&packed));
        assert_eq!(packed.embedding, plain.embedding, "{name}");
        let (got, want) = (bits(packed), bits(plain));
        assert!(want.iter().any(|&b| f32::from_bits(b).abs() > 1.0));
        assert!(got == want, "{name}");
    }
}

#[test]
fn loading_and_running_f16_holds_the_matrices_once() {
    let files = of_shipped("mamba2-passkey-t128");
    let stored = files.f16.len();
    let (stack, load_peak) = peak(|| Rc::new(load(&files.config, files.f16).unwrap()));
    // The file itself was there before.
    assert!(load_peak < stored + stored / 3, "{load_peak} of {stored}");
    let player = |layout| async move { Ok(CpuPlayer::new(&layout)) };
    let (session, run_peak) = peak(|| {
        let options = Options {
            capacity: 1,
            ..Options::default()
        };
        block_on(Session::new(stack, &options, 1, player)).unwrap()
    });
    // States and small tensors; a copy of the matrices would be as large as the file alone.
    assert!(run_peak < stored / 2, "{run_peak} of {stored}");
    drop(session);
}

#[test]
fn segments_end_before_the_logits_outgrow_a_binding() {
    let stack = |vocab| Stack {
        vocab,
        ..Stack::random(linearium::mixers::ALL[0], 1)
    };
    assert_eq!(stack(50_288).longest_segment(), 333);
    assert!(stack(256).longest_segment() > 50_000);
    let bytes = 4 * 50_288 * stack(50_288).longest_segment();
    assert!(bytes <= 64 << 20);
}
