//! Looking at a layer, choosing by scores, and telling errors apart, on the CPU.

use std::rc::Rc;

use linearium::mixers;
use linearium::model::session::Options;
use linearium::model::stack::Stack;
use linearium::probes::receptive_field::row;
use linearium::probes::run::{Look, Run};
use linearium::pruning::compare::compare;
use linearium::pruning::draft::{self, LOOKAHEAD};
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

/// A draft goes on with its most likely tokens, one after the other, and what it looks at from the
/// end of the text and from its first guess is important: with the rows that the probes show.
#[test]
fn a_draft_guesses_and_weighs() {
    for definition in [&mixers::attention::DEFINITION, &mixers::gla::DEFINITION] {
        let stack = model(definition);
        let text = tokens(T);
        let open = async |options: Options| crate::open(&stack, &options, 16);
        let said = block_on(draft::read(&open, &text)).unwrap();
        assert_eq!(said.guessed.len(), LOOKAHEAD);
        let all = [&text[..], &said.guessed].concat();
        let whole = |tapped_layer| Options {
            capacity: all.len(),
            tapped_layer,
            ..Options::default()
        };
        let mut session = crate::open(&stack, &whole(None), 16).unwrap();
        let logits = crate::suite::logits(&mut session, &all, 16);
        for (i, &guess) in said.guessed.iter().enumerate() {
            let row = &logits[T - 1 + i];
            let best = (0..row.len()).max_by(|&a, &b| row[a].total_cmp(&row[b]));
            assert_eq!(best, Some(guess as usize), "{} {i}", definition.id);
        }
        // Four queries of a text of 70 tokens, weighing 0, 1/3, 2/3 and 1, and the guess.
        let mut want = vec![0.0f64; T];
        for layer in 0..2 {
            for head in 0..stack.blocks[layer].mixer.shape().heads {
                let session = crate::open(&stack, &whole(Some(layer)), 16).unwrap();
                let look = Look { layer, head };
                let mut run = Run::new(session, all[..=T].to_vec(), look);
                while block_on(run.advance()).unwrap() {}
                for (i, weight) in (T - 4..=T).zip([0.0, 1.0 / 3.0, 2.0 / 3.0, 1.0, 1.0]) {
                    let given = row(&run.evidence.factors, i);
                    let sum: f64 = given.iter().map(|a| f64::from(a.abs())).sum();
                    for (want, a) in want.iter_mut().zip(given) {
                        *want = want.max(weight * f64::from(a.abs()) / sum);
                    }
                }
            }
        }
        let ratio = rms_ratio(&f64s(&said.importance), &want);
        assert!(ratio < 1e-5, "{}: {ratio:.2e}", definition.id);
        let nothing = block_on(draft::read(&open, &[])).unwrap();
        assert_eq!(nothing, draft::Draft::default());
    }
}

/// SpecKV reads the guesses behind the text, which vote and are not kept themselves; SpecPC keeps
/// what the draft looks at; other scores ask no draft.
#[test]
fn a_draft_chooses() {
    let stack = model(&mixers::gla::DEFINITION);
    let other = model(&mixers::attention::DEFINITION);
    let text = tokens(T);
    let open = async |options: Options| crate::open(&stack, &options, 16);
    let open_draft = async |options: Options| crate::open(&other, &options, 16);
    let said = block_on(draft::read(&open_draft, &text)).unwrap();
    let step = Step {
        layer: 1,
        keep: Keep::Share(0.5),
    };
    let schedule = Schedule::new(vec![step], 2).unwrap();
    let choose = |score: &str, draft| {
        let choice = Choice {
            score: scores::by_id(score).unwrap(),
            schedule: &schedule,
            protect: &Protect::default(),
            seed: 1,
            draft,
        };
        block_on(choose(&open, &text, &choice))
    };
    let votes = choose("spec_kv", Some(&said)).unwrap();
    let all = [&text[..], &said.guessed].concat();
    let options = Options {
        capacity: all.len(),
        tapped_layer: Some(1),
        ..Options::default()
    };
    let arrays = block_on(look(
        &mut crate::open(&stack, &options, 9).unwrap(),
        &all,
        1,
    ))
    .unwrap();
    let mut seen = arrays.seen(T / 2, 1);
    seen.lookahead = LOOKAHEAD;
    let want = scores::by_id("spec_kv").unwrap().score(&seen).unwrap();
    let ratio = rms_ratio(&f64s(&votes.scores[0]), &f64s(&want[..T]));
    assert!(ratio < 1e-6, "{ratio:.2e}");
    assert_eq!(votes.steps[0].1.len(), T / 2);
    let own = choose("window_vote", Some(&said)).unwrap();
    assert_eq!(own.steps, choose("window_vote", None).unwrap().steps);
    assert_ne!(own.scores, votes.scores);

    let looked = choose("spec_pc", Some(&said)).unwrap().steps[0].1.clone();
    let mut reversed = said.clone();
    reversed.importance.reverse();
    let turned = choose("spec_pc", Some(&reversed)).unwrap();
    assert_ne!(turned.steps[0].1, looked);
    for score in ["spec_kv", "spec_pc"] {
        let error = choose(score, None).err().unwrap();
        assert!(error.contains("draft model"), "{error}");
        assert!(draft::is_asked(scores::by_id(score).unwrap()));
    }
    let asked = scores::ALL.iter().filter(|score| draft::is_asked(**score));
    assert_eq!(asked.count(), 2);
}

#[test]
fn a_draft_reads_the_same_tokens() {
    let definition = &mixers::gla::DEFINITION;
    let (stack, mut draft) = (Stack::random(definition, 1), Stack::random(definition, 2));
    assert_eq!(draft::check_tokens(&stack, &draft, b"text"), Ok(()));
    draft.vocab = 100;
    let error = draft::check_tokens(&stack, &draft, b"text").unwrap_err();
    assert!(error.contains("100 tokens and the model 256"), "{error}");
}
