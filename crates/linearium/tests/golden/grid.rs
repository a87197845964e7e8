//! LightNet on grids against official code, on whichever player.

use linearium::mixers::{Change, Columns, Planner, Shape};
use linearium::parts::grid::{MdLrpe, MdTpe, WholeGrid};
use linearium::player::Player;
use linearium::recording::{Layout, Recording};
use linearium::step::silu;
use pollster::block_on;

use crate::golden::Golden;
use crate::layers::rms_ratio;

/// What a player makes of rows of these widths.
fn played<P: Player, const N: usize>(
    player: impl Fn(Layout) -> P,
    inputs: [(&[f64], usize); N],
    plan: impl FnOnce(&mut Planner, [Columns; N]) -> Columns,
) -> Vec<f64> {
    let t = inputs[0].0.len() / inputs[0].1;
    let mut p = Planner::new(t, t, Change::default(), None);
    let columns = inputs.map(|(x, width)| Columns::all(p.layout.input("input", x.len()), width));
    let out = plan(&mut p, columns);
    let mut recording = Recording::default();
    for pass in &p.passes {
        pass.record(&mut recording, t, 0);
    }
    let mut player = player(p.layout.clone());
    for (column, (x, _)) in columns.iter().zip(inputs) {
        let x: Vec<f32> = x.iter().map(|&x| x as f32).collect();
        player.write(column.buffer, 0, &x).unwrap();
    }
    player.play(&recording).unwrap();
    let read = block_on(player.read(&[(out.buffer, 0..t * out.width)])).unwrap();
    read[0].iter().map(|&x| x.into()).collect()
}

fn exact(x: Vec<f32>) -> Vec<f64> {
    x.into_iter().map(f64::from).collect()
}

/// From `[H, T, K]` to `[T, H, K]`.
fn by_token<T: Copy>(x: &[T], [heads, tokens, width]: [usize; 3]) -> Vec<T> {
    let rows = (0..tokens).flat_map(|t| (0..heads).map(move |h| (h * tokens + t) * width));
    rows.flat_map(|first| x[first..first + width].iter().copied())
        .collect()
}

fn hold(what: &str, got: [&[f64]; 2], want: &[f64], exact_to: f64, tolerance: f64) {
    let [defined, played] = got.map(|got| rms_ratio(got, want));
    assert!(defined <= exact_to, "{what}, definition: {defined:.2e}");
    assert!(played <= tolerance, "{what}: {played:.2e}");
}

/// Additive positions, relative positions and the scan without an order.
pub fn check<P: Player>(player: impl Fn(Layout) -> P, tolerance: f64) {
    for (case, shape) in [(0, &[5, 7][..]), (1, &[3, 4, 3])] {
        let mut golden = Golden::open("light_net_grid", case);
        let u = exact(golden.input("u"));
        let tpe = MdTpe::load(&mut golden.weights(), 12, 3, shape.len()).unwrap();
        let played = played(&player, [(&u, 12)], |p, [x]| tpe.plan(p, x, shape));
        let got = [&tpe.read(&u, shape)[..], &played];
        // Decays and products of q and k are in f32.
        hold("MD-TPE", got, &golden.exact("out"), 1e-6, tolerance);
    }
    for (case, shape, before) in [(2, &[5, 7][..], 2), (3, &[3, 4, 3], 0)] {
        let golden = Golden::open("light_net_grid", case);
        let [heads, tokens, key] = golden.shape("x")[..] else {
            unreachable!()
        };
        let x = by_token(&exact(golden.input("x")), [heads, tokens, key]);
        let lrpe = MdLrpe {
            heads,
            theta: golden.input("theta").into(),
            before,
        };
        let plan = |p: &mut Planner, [x]: [Columns; 1]| lrpe.plan(p, "turned", x, shape);
        let played = played(&player, [(&x, heads * key)], plan);
        let want = by_token(&golden.exact("out"), [heads, tokens, 2 * key]);
        hold(
            "MD-LRPE",
            [&lrpe.turn(&x, shape), &played],
            &want,
            1e-12,
            tolerance,
        );
    }
    for case in [4, 5] {
        let golden = Golden::open("light_net_grid", case);
        let part = |name: &str| {
            let [heads, tokens, width] = golden.shape(name)[..] else {
                unreachable!()
            };
            by_token(&exact(golden.input(name)), [heads, tokens, width])
        };
        let [q, g, v] = ["scan.q", "scan.g", "scan.v"].map(part);
        let q: Vec<f64> = q.into_iter().map(silu).collect();
        let grid = WholeGrid {
            shape: Shape::recurrent(2, 6, 8),
            scale: 1.0,
        };
        let inputs = [(&q[..], 12), (&g, 12), (&v, 16)];
        let played = played(&player, inputs, |p, columns| grid.plan(p, columns));
        let want = by_token(&golden.exact("whole_grid.o"), [2, 37, 8]);
        hold(
            "whole grid",
            [&grid.read([&q, &g, &v]), &played],
            &want,
            1e-12,
            tolerance,
        );
    }
}
