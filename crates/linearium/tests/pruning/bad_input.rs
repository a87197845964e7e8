//! Keep ratios of 0, 1 and above, one token, nothing left in a layer: a clear sentence, or the
//! defined result.

use std::rc::Rc;

use linearium::mixers::{self, Change};
use linearium::model::session::{Options, Session};
use linearium::model::stack::Stack;
use linearium::player::Player;
use linearium::pruning::{DropMode, Keep, Neighbours, Pruning};
use pollster::block_on;

use crate::suite::{T, logits, model, only_gathers, options, rms_ratio, tokens};

type Open<'a, P> = &'a dyn Fn(&Rc<Stack>, &Options, usize) -> Result<Session<P>, String>;

/// Everything kept gives what the unpruned run gives; nothing kept gives nothing, whichever layer
/// drops the last token; one token, and no text at all, are read.
pub fn the_ends_are_defined<P: Player>(open: Open<'_, P>) {
    for definition in mixers::ALL {
        let stack = model(definition);
        for mode in DropMode::ALL {
            if only_gathers(definition.id, mode) {
                continue;
            }
            for neighbours in Neighbours::ALL {
                let what = format!("{} {} {}", definition.id, mode.id(), neighbours.id());
                let run = |t: usize, steps: Vec<(usize, Vec<usize>)>, piece: usize| {
                    let pruning = Pruning::new(mode, neighbours, t, steps).unwrap();
                    let mut session = open(&stack, &options(&pruning), piece).unwrap();
                    logits(&mut session, &tokens(t), piece)
                };
                let all = |t: usize| -> Vec<usize> { (0..t).collect() };
                let whole = run(T, vec![], T).concat();
                let kept = run(T, vec![(0, all(T)), (1, all(T))], T).concat();
                let ratio = rms_ratio(&kept, &whole);
                assert!(ratio <= 1e-6, "{what}, all kept: {ratio:.2e}");
                assert!(run(T, vec![(0, vec![])], T).is_empty(), "{what}");
                let pieces = run(T, vec![(0, vec![3]), (1, vec![])], 9);
                assert!(pieces.is_empty(), "{what}");
                assert_eq!(run(1, vec![(0, vec![0])], 1).len(), 1, "{what}");
                assert!(run(1, vec![(1, vec![])], 1).is_empty(), "{what}");
                assert!(run(0, vec![(0, vec![])], 1).is_empty(), "{what}");
                // The last token alone, in pieces most of which keep nothing.
                let last = run(T, vec![(1, vec![T - 1])], 9);
                assert!(last.concat().iter().all(|x| x.is_finite()), "{what}");
                assert_eq!(last.len(), 1, "{what}");
            }
        }
    }
}

/// What cannot be done says why.
pub fn refusals_are_sentences<P: Player>(open: Open<'_, P>) {
    let new = |steps| Pruning::new(DropMode::Hold, Neighbours::Original, 10, steps);
    let refused = |steps, words: &str| {
        let error = new(steps).unwrap_err();
        assert!(error.contains(words), "{error}");
    };
    refused(vec![(0, vec![3, 2])], "not in order");
    refused(vec![(0, vec![3, 3])], "not in order");
    refused(vec![(0, vec![10])], "cannot keep position 10 of 10");
    refused(vec![(0, vec![1]), (0, vec![1])], "cannot follow");
    refused(vec![(0, vec![1]), (1, vec![2])], "layer 0 has dropped it");
    assert!(
        Keep::Share(1.5)
            .count(10)
            .unwrap_err()
            .contains("from 0 to 1")
    );

    let stack = model(&mixers::gla::DEFINITION);
    let refused = |options: &Options, words: &str| {
        let error = open(&stack, options, 5).err().unwrap();
        assert!(error.contains(words), "{error}");
    };
    let pruning = new(vec![(2, vec![1])]).unwrap();
    refused(&options(&pruning), "layers 0 to 1");
    let pruning = new(vec![(0, vec![1])]).unwrap();
    let windowed = Options {
        change: Change {
            window: 4,
            ..Change::default()
        },
        ..options(&pruning)
    };
    refused(&windowed, "choose one of both");
    // More tokens than were chosen from.
    let longer = Options {
        capacity: 20,
        ..options(&pruning)
    };
    let mut session = open(&stack, &longer, 20).unwrap();
    let error = block_on(session.feed(&tokens(11), None)).unwrap_err();
    assert!(error.contains("chosen from 10"), "{error}");
}

/// The loss of kept tokens is that of the token that truly comes next.
pub fn losses_are_of_the_true_next_token<P: Player>(open: Open<'_, P>) {
    let stack = model(&mixers::ssd::DEFINITION);
    let text = tokens(T);
    for mode in [DropMode::Mask, DropMode::DecayTrue] {
        let kept: Vec<usize> = (0..T).filter(|t| t % 3 != 1).collect();
        let steps = vec![(1, kept.clone())];
        let pruning = Pruning::new(mode, Neighbours::Original, T, steps).unwrap();
        let mut session = open(&stack, &options(&pruning), 16).unwrap();
        let logits = logits(&mut session, &text, 16);
        session.reset().unwrap();
        let read = block_on(session.read_kept(&text)).unwrap();
        assert_eq!(read.positions, kept);
        // The last token of the text is kept and has no next one.
        assert_eq!(read.losses.len(), kept.len() - 1);
        for (n, loss) in read.losses.iter().enumerate() {
            let row = &logits[n];
            let sum: f64 = row.iter().map(|x| x.exp()).sum();
            let want = sum.ln() - row[text[kept[n] + 1] as usize];
            assert!((f64::from(*loss) - want).abs() < 1e-4, "{loss} {want}");
        }
    }
}
