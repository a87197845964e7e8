//! Looking at a layer, choosing by scores, and telling errors apart, on the CPU.

use std::rc::Rc;

use linearium::mixers;
use linearium::model::session::Options;
use linearium::model::stack::Stack;
use linearium::pruning::compare::compare;
use linearium::pruning::look::{Choice, choose, look};
use linearium::pruning::schedule::Step;
use linearium::pruning::{DropMode, Keep, Neighbours, Protect, Pruning, Schedule, scores};
use linearium::step::{Left, rms_norm};
use pollster::block_on;

use crate::reference;
use crate::suite::{T, model, rms_ratio, tokens, two_steps};

fn f64s(x: &[f32]) -> Vec<f64> {
    x.iter().map(|&x| x.into()).collect()
}

/// The arrays that scores see of layer 0 are those of the definition, for every mixer.
#[test]
fn what_is_looked_at_is_what_the_definition_computes() {
    let text = tokens(T);
    let mut with_values = 0;
    for definition in mixers::ALL {
        let stack = model(definition);
        let options = Options {
            capacity: T,
            tapped_layer: Some(0),
            ..Options::default()
        };
        let mut session = crate::open(&stack, &options, 9).unwrap();
        let arrays = block_on(look(&mut session, &text, 0)).unwrap();
        let seen = arrays.seen(T / 2, 1);
        let d = stack.width;
        let stream: Vec<Vec<f64>> = (text.iter())
            .map(|&token| f64s(&stack.embedding[token as usize * d..][..d]))
            .collect();
        let u: Vec<Vec<f64>> = (stream.iter())
            .map(|x| rms_norm(x, &vec![1.0; d], d, stack.eps.into()))
            .collect();
        let left = vec![Left::default(); T];
        let meaning = (DropMode::Hold, Neighbours::Condensed);
        let mixer = stack.blocks[0].mixer.as_ref();
        let want = reference::layer(mixer, 0, &u, &(0..T).collect(), meaning, &left);
        let id = definition.id;
        let hold = |name: &str, got: &[f32], want: &[f64], tolerance: f64| {
            let ratio = rms_ratio(&f64s(got), want);
            assert!(ratio <= tolerance, "{id}: {name} {ratio:.2e}");
        };
        hold("stream", seen.stream, &stream.concat(), 0.0);
        hold("u", seen.u, &u.concat(), 1e-6);
        // A difference of streams.
        hold("out", seen.out, &want.out.concat(), 3e-5);
        // Memories of MoM have values of their own; attention's may be shared by heads.
        let values = want.value.concat();
        if id != "mom" && id != "attention" && id != "window_attention" {
            with_values += 1;
            hold("v", seen.v, &values, 1e-5);
        }
        assert_eq!((seen.tokens, seen.keep), (T, T / 2), "{id}");
    }
    assert!(with_values >= 15, "{with_values}");
}

fn chosen(stack: &Rc<Stack>, score: &str, steps: &[(usize, f64)]) -> Vec<(usize, Vec<usize>)> {
    let steps = steps.iter().map(|&(layer, share)| Step {
        layer,
        keep: Keep::Share(share),
    });
    let schedule = Schedule::new(steps.collect(), 2).unwrap();
    let open = async |options: Options| crate::open(stack, &options, 16);
    let choice = Choice {
        score: scores::by_id(score).unwrap(),
        schedule: &schedule,
        protect: &Protect::default(),
        seed: 1,
        draft: None,
    };
    block_on(choose(&open, &tokens(T), &choice)).unwrap().steps
}

#[test]
fn scores_choose_step_by_step() {
    let stack = model(&mixers::gla::DEFINITION);
    // A stride of a stride: every fourth token, of those that are left.
    let steps = chosen(&stack, "stride", &[(0, 0.5), (1, 0.5)]);
    assert_eq!(steps[0].1, (0..T).step_by(2).collect::<Vec<_>>());
    let every_fourth: Vec<usize> = (0..T / 4 + 1).map(|i| i * 35 / 18 * 2).collect();
    assert_eq!(steps[1].1, every_fourth);
    for score in ["random", "norm"] {
        let Some(score) = scores::ALL.iter().find(|s| s.id() == score) else {
            continue;
        };
        let steps = chosen(&stack, score.id(), &[(0, 0.7), (1, 0.3)]);
        assert_eq!((steps[0].1.len(), steps[1].1.len()), (49, 15));
        assert!(steps[1].1.iter().all(|p| steps[0].1.contains(p)));
    }
}

/// The parts of the error are what they say: with original neighbours and true decays all that is
/// wrong was lost; other neighbours and other decays show where they belong.
#[test]
fn errors_come_in_parts() {
    let stack = model(&mixers::ssd::DEFINITION);
    let text = tokens(T);
    let open = async |options: Options| crate::open(&stack, &options, 16);
    let study = |mode, neighbours| {
        let pruning = two_steps(mode, neighbours);
        block_on(compare(&open, &text, &pruning)).unwrap()
    };
    let truth = study(DropMode::DecayTrue, Neighbours::Original);
    let split = truth.split.unwrap();
    assert_eq!(Some(split.lost_content), truth.error);
    assert_eq!((split.moved_neighbours, split.shifted_decay), (0.0, 0.0));
    let held = study(DropMode::Hold, Neighbours::Original).split.unwrap();
    assert_eq!(held.lost_content, split.lost_content);
    assert!(held.moved_neighbours == 0.0 && held.shifted_decay > 1e-4);
    let moved = study(DropMode::DecayTrue, Neighbours::Condensed);
    let parts = moved.split.unwrap();
    assert!(parts.moved_neighbours > 1e-3 && parts.shifted_decay == 0.0);
    assert!(moved.operations_after.all < truth.operations_before.all);
    assert!(moved.operations_after.scan < truth.operations_after.all);
    assert_eq!(truth.losses_before.len(), truth.losses_after.len());
    // Half of half of the tokens in the second scan, and fewer in the first one.
    assert!(truth.operations_after.scan * 2 < truth.operations_before.scan);

    let none = Pruning::new(DropMode::Hold, Neighbours::Original, T, vec![(0, vec![])]).unwrap();
    let empty = block_on(compare(&open, &text, &none)).unwrap();
    assert_eq!((empty.error, empty.split), (None, None));
    assert!(empty.losses_after.is_empty());

    // Attention has no decay to be true, and says so.
    let stack = model(&mixers::attention::DEFINITION);
    let open = async |options: Options| crate::open(&stack, &options, 16);
    let pruning = two_steps(DropMode::Gather, Neighbours::Original);
    let gathered = block_on(compare(&open, &text, &pruning)).unwrap();
    assert!(gathered.split.is_none() && gathered.error.unwrap() > 0.0);
    assert!(
        gathered.notes[0].contains("no state that decays"),
        "{:?}",
        gathered.notes
    );
}
