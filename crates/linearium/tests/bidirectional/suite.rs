//! What a layer of two directions must keep, made of any mixer, on whichever player.

use linearium::mixers::{self, Change, Context, Definition, Mixer, Planner, Size, StepState};
use linearium::parts::bidirectional::{Bidirectional, Merge};
use linearium::plan::{Columns, Io, rotary_angles};
use linearium::player::Player;
use linearium::random::Random;
use linearium::recording::{Layout, Recording};
use linearium::step::Left;
use pollster::block_on;

const SIZE: Size = Size {
    width: 20,
    heads: 3,
    key: 10,
    value: 7,
};

/// One token, a few, and more than a chunk of every chunked kernel.
const LENGTHS: [usize; 3] = [1, 9, 70];

fn mixer(definition: &Definition, seed: u64) -> Box<dyn Mixer> {
    (definition.random)(&SIZE, &mut Random::new(seed))
}

/// What a player leaves in some columns that are whole rows, after the passes of `plan`.
fn played<P: Player>(
    open: impl Fn(Layout) -> P,
    u: &[f32],
    plan: impl FnOnce(&mut Planner) -> Vec<Columns>,
) -> Vec<Vec<f32>> {
    let t = u.len() / SIZE.width;
    let mut p = Planner::new(t, t, Change::default(), None);
    let [input, residual] = ["u", "residual"].map(|name| p.layout.input(name, u.len()));
    let out = p.layout.scratch("out", u.len());
    p.io = Io {
        u: Columns::all(input, SIZE.width),
        residual,
        out,
    };
    let mut wanted = vec![Columns::all(out, SIZE.width)];
    wanted.extend(plan(&mut p));
    let mut recording = Recording::default();
    for pass in &p.passes {
        pass.record(&mut recording, t, 0);
    }
    let mut player = open(p.layout.clone());
    player.write(input, 0, u).unwrap();
    player.write(residual, 0, &vec![0.0; u.len()]).unwrap();
    for &(theta, key, buffer) in &p.angles {
        let angles = rotary_angles(theta, key, 0, t);
        player.write(buffer, 0, &angles).unwrap();
    }
    player.play(&recording).unwrap();
    let parts: Vec<_> = wanted.iter().map(|c| (c.buffer, 0..u.len())).collect();
    block_on(player.read(&parts)).unwrap()
}

fn reversed<T: Clone>(rows: &[T]) -> Vec<T> {
    let rows = rows.chunks_exact(SIZE.width).rev();
    rows.flatten().cloned().collect()
}

/// The definition of one mixer on a whole text.
fn defined(mixer: &dyn Mixer, u: &[f64]) -> Vec<f64> {
    let mut state = StepState::default();
    u.chunks_exact(SIZE.width)
        .flat_map(|u| {
            let context = Context {
                change: &Change::default(),
                layer: 0,
                left: &Left::default(),
            };
            mixer.step(&mut state, u, &context)
        })
        .collect()
}

fn rms_ratio(got: &[f64], want: &[f64]) -> f64 {
    assert_eq!(got.len(), want.len());
    let difference: f64 = got.iter().zip(want).map(|(a, b)| (a - b).powi(2)).sum();
    let size: f64 = want.iter().map(|b| b.powi(2)).sum();
    // A single token of a squared ReLU may read nothing.
    if difference == 0.0 {
        return 0.0;
    }
    (difference / size).sqrt()
}

fn exact(x: &[f32]) -> Vec<f64> {
    x.iter().map(|&x| x.into()).collect()
}

/// For every mixer: the forward part is what the mixer alone gives, the backward part what it gives
/// for the reversed text, to the last bit; and what both become is the definition, which is that of
/// the two mixers merged.
pub fn both_directions_are_the_mixer<P: Player>(open: impl Fn(Layout) -> P, tolerance: f64) {
    let width = SIZE.width;
    for definition in mixers::ALL {
        for t in LENGTHS {
            let random = &mut Random::new(77);
            let u = random.normals(t * width, 1.0);
            let matrix =
                |random: &mut Random, columns: usize| random.normals(width * columns, 0.3).into();
            let concatenate = Merge::Concatenate(matrix(random, 2 * width));
            let gate = Merge::Gate(matrix(random, width), matrix(random, 1));
            let [ahead, back] = [3, 4].map(|seed| mixer(definition, seed));
            let alone = |mixer: &dyn Mixer, u: &[f32]| {
                let plan = |p: &mut Planner| {
                    mixer.plan(p);
                    Vec::new()
                };
                played(&open, u, plan).remove(0)
            };
            let forward = alone(ahead.as_ref(), &u);
            let backward = reversed(&alone(back.as_ref(), &reversed(&u)));
            let f = defined(ahead.as_ref(), &exact(&u));
            let b = reversed(&defined(back.as_ref(), &reversed(&exact(&u))));
            for (name, merge) in [
                ("sum", Merge::Sum),
                ("average", Merge::Average),
                ("concatenate", concatenate),
                ("gate", gate),
            ] {
                let what = format!("{} {name}, {t} tokens", definition.id);
                let want = merged(&merge, &u, &f, &b);
                let layer = Bidirectional {
                    forward: mixer(definition, 3),
                    backward: mixer(definition, 4),
                    merge,
                };
                let got = played(&open, &u, |p| layer.plan(p).parts.to_vec());
                assert_eq!(got[1], forward, "{what}: forward");
                assert_eq!(got[2], backward, "{what}: backward");
                let place = (&Change::default(), 0);
                let read = layer.read(&exact(&u), width, place, &mut Default::default());
                let ratio = rms_ratio(&read, &want);
                assert!(ratio <= 1e-13, "{what}, definition: {ratio:.2e}");
                let ratio = rms_ratio(&exact(&got[0]), &want);
                assert!(ratio <= tolerance, "{what}: {ratio:.2e}");
            }
        }
    }
}

/// The formulas of the merges, over whole texts.
fn merged(merge: &Merge, u: &[f32], f: &[f64], b: &[f64]) -> Vec<f64> {
    let width = SIZE.width;
    let row = |t: usize, x: &[f64]| x[t * width..][..width].to_vec();
    let dot =
        |w: &[f32], x: &[f64]| -> f64 { w.iter().zip(x).map(|(&w, x)| f64::from(w) * x).sum() };
    (0..f.len())
        .map(|i| {
            let (t, c) = (i / width, i % width);
            match merge {
                Merge::Sum => f[i] + b[i],
                Merge::Average => 0.5 * f[i] + 0.5 * b[i],
                Merge::Concatenate(w) => {
                    let (left, right) = w[c * 2 * width..][..2 * width].split_at(width);
                    dot(left, &row(t, f)) + dot(right, &row(t, b))
                }
                Merge::Gate(w, bias) => {
                    let x = dot(&w[c * width..][..width], &row(t, &exact(u))) + f64::from(bias[c]);
                    let g = 1.0 / (1.0 + (-x).exp());
                    b[i] + g * (f[i] - b[i])
                }
            }
        })
        .collect()
}
