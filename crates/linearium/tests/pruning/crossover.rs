//! Where what was removed was empty, its true decay is right and holding the state is wrong; where
//! it was redundant, the order is reversed.

use std::rc::Rc;

use linearium::model::session::{Options, Session};
use linearium::model::stack::Stack;
use linearium::player::Player;
use linearium::pruning::{DropMode, Protect, levels, select};
use linearium::random::Random;
use pollster::block_on;

/// Tokens.
const T: usize = 196;

/// Errors of modes on the kept tokens, over what the whole text gives there.
fn errors<P: Player, const N: usize>(
    open: impl Fn(&Rc<Stack>, &Options, usize) -> Result<Session<P>, String>,
    tokens: &[u32],
    kept: &[usize],
    modes: [DropMode; N],
) -> [f64; N] {
    let stack = Rc::new(levels::channel(0.003));
    let open = async |options: Options| open(&stack, &options, T);
    let read = |mode| block_on(levels::readouts(&open, tokens, kept, mode)).unwrap();
    let whole = read(None);
    modes.map(|mode| levels::error(&read(Some(mode)), &whole))
}

/// Both halves of the crossover.
pub fn crossover<P: Player>(
    open: impl Fn(&Rc<Stack>, &Options, usize) -> Result<Session<P>, String>,
) {
    let modes = [DropMode::Hold, DropMode::DecayTrue, DropMode::Carry];
    let mut random = Random::new(1);
    let all: Vec<usize> = (0..T).collect();
    // Events on a background of hardly anything, kept by their size.
    let events: Vec<u32> = (0..T)
        .map(|_| match random.uniform() {
            u if u < 0.06 => 2000 + random.below(2000) as u32,
            _ => 1,
        })
        .collect();
    let scores: Vec<f32> = events.iter().map(|&level| level as f32).collect();
    // Whatever is kept beside the events: background all over the text.
    let noise: Vec<f32> = scores.iter().map(|s| s + random.uniform() as f32).collect();
    let kept = select(&noise, &all, T / 2, &Protect::default()).kept;
    let [hold, decay, _] = errors(&open, &events, &kept, modes);
    assert!(
        decay <= 0.02 && hold >= 0.3,
        "events: hold {hold}, decay-true {decay}"
    );

    let smooth: Vec<u32> = (0..T)
        .map(|t| (2048.0 + 1500.0 * (t as f64 / 30.0).sin()) as u32)
        .collect();
    let chance: Vec<f32> = (0..T).map(|_| random.uniform() as f32).collect();
    let kept = select(&chance, &all, T / 2, &Protect::default()).kept;
    let [hold, decay, carry] = errors(&open, &smooth, &kept, modes);
    assert!(
        decay >= 0.3 && hold < decay && carry <= 0.05,
        "smooth: hold {hold}, decay-true {decay}, carry {carry}"
    );
}
