//! Whole layers with the weights of official ones, as the golden files hold them.

#[path = "layers/attention.rs"]
mod attention;
#[path = "layers/delta.rs"]
mod delta;
#[path = "layers/memories.rs"]
mod memories;
#[path = "layers/outer.rs"]
mod outer;
#[path = "layers/softmax.rs"]
mod softmax;
#[path = "layers/state_space.rs"]
mod state_space;

use linearium::mixers::{Change, Columns, Context, Mixer, Planner, StepState};
use linearium::plan::{Io, rotary_angles};
use linearium::player::Player;
use linearium::recording::{Layout, Recording};
use linearium::step::Left;
use pollster::block_on;

/// A layer with official weights, what it read and what the official layer gave.
pub struct Layer {
    /// Id and case, for messages.
    pub name: String,
    /// The mixer.
    pub mixer: Box<dyn Mixer>,
    /// Input `[T, D]`.
    pub u: Vec<f32>,
    /// Tokens T.
    pub t: usize,
    /// Output `[T, D]`.
    pub out: Vec<f64>,
    /// Final state in the order of ours, `[H, K, V]`; empty if the golden file has none.
    pub state: Vec<f64>,
    /// RMS ratio that the definition keeps: rounding of f64, or more with the reason beside it.
    pub exact_to: f64,
}

/// The layers of all golden files that hold layers.
pub fn all() -> Vec<Layer> {
    let families = [
        attention::layers,
        delta::layers,
        memories::layers,
        outer::layers,
        softmax::layers,
        state_space::layers,
    ];
    families.iter().flat_map(|layers| layers()).collect()
}

/// Root mean square of the difference over root mean square of the reference.
pub fn rms_ratio(got: &[f64], reference: &[f64]) -> f64 {
    assert_eq!(got.len(), reference.len());
    let pairs = got.iter().zip(reference);
    let difference: f64 = pairs.map(|(a, b)| (a - b).powi(2)).sum();
    let size: f64 = reference.iter().map(|b| b.powi(2)).sum();
    (difference / size).sqrt()
}

impl Layer {
    /// What the definition gives, `[T, D]`.
    pub fn defined(&mut self) -> Vec<f64> {
        let context = Context {
            change: &Change::default(),
            layer: 0,
            left: &Left::default(),
        };
        let mut state = StepState::default();
        let width = self.u.len() / self.t;
        self.u
            .chunks_exact(width)
            .flat_map(|u| {
                let u: Vec<f64> = u.iter().map(|&u| u.into()).collect();
                self.mixer.step(&mut state, &u, &context)
            })
            .collect()
    }

    /// What a player gives, `[T, D]`, and the final state.
    fn played<P: Player>(&self, player: impl Fn(Layout) -> P) -> (Vec<f64>, Vec<f64>) {
        let width = self.u.len() / self.t;
        let mut p = Planner::new(self.t, self.t, Change::default(), None);
        let u = p.layout.input("u", self.u.len());
        let residual = p.layout.input("residual", self.u.len());
        let out = p.layout.scratch("out", self.u.len());
        p.io = Io {
            u: Columns::all(u, width),
            residual,
            out,
        };
        let taps = self.mixer.plan(&mut p);
        let mut recording = Recording::default();
        for pass in &p.passes {
            pass.record(&mut recording, self.t, 0);
        }
        let mut player = player(p.layout.clone());
        player.write(u, 0, &self.u).unwrap();
        player.write(residual, 0, &vec![0.0; self.u.len()]).unwrap();
        for &(theta, key, buffer) in &p.angles {
            let angles = rotary_angles(theta, key, 0, self.t);
            player.write(buffer, 0, &angles).unwrap();
        }
        player.play(&recording).unwrap();
        let mut parts = vec![(out, 0..self.u.len())];
        parts.extend(taps.state.map(|s| (s, 0..p.layout.info(s).len)));
        let read = block_on(player.read(&parts)).unwrap();
        let exact = |x: &Vec<f32>| x.iter().map(|&x| x.into()).collect();
        (exact(&read[0]), read.get(1).map(exact).unwrap_or_default())
    }
}

/// Holds every layer's output and final state against the golden files.
pub fn check<P: Player>(player: impl Fn(Layout) -> P, tolerance: f64) {
    for layer in all() {
        let (out, state) = layer.played(&player);
        let ratio = rms_ratio(&out, &layer.out);
        assert!(ratio <= tolerance, "{}: {ratio:.2e}", layer.name);
        if !layer.state.is_empty() {
            let ratio = rms_ratio(&state, &layer.state);
            assert!(ratio <= tolerance, "{}, state: {ratio:.2e}", layer.name);
        }
    }
}
