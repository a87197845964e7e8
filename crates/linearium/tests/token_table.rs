//! What depends on the token alone is looked up where many tokens are read, and is what it would
//! be if it were computed, to the bit.

use std::sync::Arc;

use fearless_simd::Level;
use linearium::kernels::matmul;
use linearium::mixers::{self, Change};
use linearium::model::stack::Stack;
use linearium::player::{CpuPlayer, Player};
use pollster::block_on;

const SEGMENT: usize = 48;

/// Losses of a text, and the matrix products of a recording.
fn read(stack: &Stack, capacity: usize) -> (Vec<f32>, usize) {
    let plan = stack.plan(SEGMENT, capacity, &Change::default(), None);
    let mut player = CpuPlayer::with_level(&plan.layout, Level::new());
    let token = |i: usize| (i * 37 % stack.vocab) as f32;
    let tokens: Vec<f32> = (0..SEGMENT).map(token).collect();
    let targets: Vec<f32> = (1..=SEGMENT).map(token).collect();
    player.write(plan.tokens, 0, &tokens).expect("tokens");
    player.write(plan.targets, 0, &targets).expect("targets");
    for (theta, key, buffer) in &plan.angles {
        let angles = linearium::plan::rotary_angles(*theta, *key, 0, SEGMENT);
        player.write(*buffer, 0, &angles).expect("angles");
    }
    let recording = plan.record(SEGMENT, 0);
    player.play(&recording).expect("played");
    let losses = block_on(player.read(&[(plan.losses, 0..2 * SEGMENT)])).expect("losses");
    let products = recording.passes.iter();
    let products = products.filter(|pass| pass.kernel == &matmul::KERNEL);
    (losses.concat(), products.count())
}

#[test]
fn a_looked_up_projection_is_the_computed_one() {
    let mut looked_up = Vec::new();
    for definition in mixers::ALL {
        let stack = Stack::random(definition, 5);
        let (want, all) = read(&stack, stack.vocab);
        for _ in 0..2 {
            let (got, rest) = read(&stack, stack.vocab + 1);
            assert_eq!(got, want, "{}", definition.id);
            assert!(rest <= all, "{}", definition.id);
            if rest < all {
                looked_up.push(definition.id);
            }
        }
    }
    for id in ["ssd", "gla"] {
        assert!(looked_up.contains(&id), "{looked_up:?}");
    }
}

/// The table of a plan, if it looks anything up.
fn table(plan: &linearium::model::stack::StackPlan) -> Option<Arc<[f32]>> {
    let mut buffers = plan.layout.buffers.iter();
    let table = buffers.find(|buffer| buffer.name.ends_with("each token"))?;
    table.data.clone()
}

#[test]
fn tables_are_shared_by_plans_and_do_not_pile_up() {
    let mut shared = Vec::new();
    for definition in mixers::ALL {
        let stack = Stack::random(definition, 5);
        let plan = || stack.plan(SEGMENT, 4096, &Change::default(), None);
        let Some(first) = table(&plan()).map(|table| Arc::downgrade(&table)) else {
            continue;
        };
        let second = table(&plan()).expect("the same model");
        match first.upgrade() {
            Some(first) if Arc::ptr_eq(&first, &second) => shared.push(definition.id),
            // The layer makes its matrix anew for each plan.
            left => assert!(left.is_none(), "{}: the first table stays", definition.id),
        }
    }
    for id in ["ssd", "gla"] {
        assert!(shared.contains(&id), "{shared:?}");
    }
}
