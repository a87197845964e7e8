//! A layer that reads a text in both directions: one mixer from the first token to the last, one
//! from the last to the first, and their outputs merged token by token. Any mixer will do.
//!
//! Such a layer sees what comes after a token, so it is no [`Mixer`]: it is defined for a whole
//! text, and one recording must hold all of it.

use crate::kernels::pointwise;
use crate::mixers::{Change, Columns, Context, Mixer, Planner, StepState, Taps, Weights};
use crate::plan::Io;
use crate::plan::pointwise::Gate;
use crate::step::{Left, linear, sigmoid};

/// How what both directions gave, f and b, becomes one output.
#[derive(Clone, Debug)]
pub enum Merge {
    /// `f + b`.
    Sum,
    /// `(f + b) / 2`.
    Average,
    /// `W [f, b]`, W `[D, 2D]`.
    Concatenate(Weights),
    /// `g f + (1 - g) b` with `g = sigmoid(W u + c)`, W `[D, D]` and c `[D]`.
    Gate(Weights, Weights),
}

/// A layer of two mixers.
pub struct Bidirectional {
    /// Reads from the first token to the last.
    pub forward: Box<dyn Mixer>,
    /// Reads from the last token to the first.
    pub backward: Box<dyn Mixer>,
    /// How their outputs are merged.
    pub merge: Merge,
}

/// What layers have left for those after them: for each direction, of each token.
pub type LeftByDirection = [Vec<Left>; 2];

/// A layer of two mixers as passes.
pub struct Passes {
    /// Where probes find the factors of each direction; those of the backward one in its order.
    pub taps: [Taps; 2],
    /// What each direction gave, `[T, D]`, both in the order of the text.
    pub parts: [Columns; 2],
}

impl Bidirectional {
    /// The definition, in f64: `u [T, D]` of a whole text in, `[T, D]` out. `left` is what the
    /// layers before have left, empty before the first.
    pub fn read(
        &self,
        u: &[f64],
        width: usize,
        (change, layer): (&Change, usize),
        left: &mut LeftByDirection,
    ) -> Vec<f64> {
        let rows: Vec<&[f64]> = u.chunks_exact(width).collect();
        let mut parts = Vec::new();
        let directions = [(&self.forward, false), (&self.backward, true)];
        for ((mixer, back), left) in directions.into_iter().zip(left) {
            left.resize(rows.len(), Left::default());
            let mut state = StepState::default();
            let mut outputs = vec![Vec::new(); rows.len()];
            for n in 0..rows.len() {
                let t = if back { rows.len() - 1 - n } else { n };
                let context = Context {
                    change,
                    layer,
                    left: &left[t],
                };
                outputs[t] = mixer.step(&mut state, rows[t], &context);
            }
            parts.push(outputs);
        }
        let [forward, backward] = [&parts[0], &parts[1]];
        let parts = rows.iter().zip(forward.iter().zip(backward));
        parts
            .flat_map(|(u, (f, b))| self.merge.merge(u, f, b))
            .collect()
    }

    /// Notes the passes that read `planner.io.u` and write `residual + read(u)` to
    /// `planner.io.out`. The planner's segment must be the whole text.
    pub fn plan(&self, p: &mut Planner) -> Passes {
        let io = p.io;
        let width = io.u.width;
        // What a direction adds its output to: nothing.
        let nothing = p.state("no residual", p.segment * width);
        let direction = |p: &mut Planner, name: &str, mixer: &dyn Mixer, u: Columns| {
            let out = p.rows(name, width);
            p.io = Io {
                u,
                residual: nothing,
                out: out.buffer,
            };
            (mixer.plan(p), out)
        };
        let (f_taps, f) = direction(p, "forward", self.forward.as_ref(), io.u);
        let reversed = p.reorder("reversed u", io.u, None);
        p.backwards = true;
        let (b_taps, b) = direction(p, "backward reversed", self.backward.as_ref(), reversed);
        p.backwards = false;
        let b = p.reorder("backward", b, None);
        p.io = io;
        self.merge.plan(p, [f, b]);
        Passes {
            taps: [f_taps, b_taps],
            parts: [f, b],
        }
    }
}

impl Merge {
    fn merge(&self, u: &[f64], f: &[f64], b: &[f64]) -> Vec<f64> {
        let pairs = f.iter().zip(b);
        match self {
            Merge::Sum => pairs.map(|(f, b)| f + b).collect(),
            Merge::Average => pairs.map(|(f, b)| (f + b) / 2.0).collect(),
            Merge::Concatenate(weight) => linear(&[f, b].concat(), weight, None),
            Merge::Gate(weight, bias) => {
                let gates = linear(u, weight, Some(bias)).into_iter().map(sigmoid);
                let weighted = gates.zip(pairs);
                weighted.map(|(g, (f, b))| g * f + (1.0 - g) * b).collect()
            }
        }
    }

    fn plan(&self, p: &mut Planner, [f, b]: [Columns; 2]) {
        let merged = match self {
            Merge::Sum => p.add("merged", f, b, None, 1.0),
            Merge::Average => {
                let sum = p.add("merged", f, b, None, 1.0);
                let half = Gate {
                    multiplier: 0.5,
                    ..Gate::default()
                };
                p.gate("average", sum, &half)
            }
            Merge::Concatenate(weight) => {
                let both = p.rows("both", 2 * f.width);
                for (name, part, first) in [("left", f, 0), ("right", b, f.width)] {
                    p.gate_into(name, part, &Gate::default(), both.part(first, f.width));
                }
                p.project_out(weight, None, both);
                return;
            }
            Merge::Gate(weight, bias) => {
                let gate = p.project("direction gate", weight, Some(bias), p.io.u);
                let sigmoid = Gate::of(pointwise::SIGMOID);
                let rest = Gate {
                    inner: -1.0,
                    ..sigmoid
                };
                let f = p.product("gated forward", gate, f, &sigmoid);
                let b = p.product("gated backward", gate, b, &rest);
                p.add("merged", f, b, None, 1.0)
            }
        };
        p.add_out(merged);
    }
}
