//! The passes of an image classifier. They are noted once for all T tokens; a recording plays those
//! of a block for as many rows as are left in it, in orders that the host writes.

use crate::kernels::reorder::{self, Reorder};
use crate::mixers::{Change, Taps, Weights};
use crate::plan::pointwise::Gate;
use crate::plan::{Columns, Io, PlannedPass, Planner};
use crate::recording::{BufferId, Layout, NONE, Recording};

use super::backbone::{Backbone, Block};

/// A backbone whose buffers are declared.
pub struct ImagePlan {
    /// The buffers.
    pub layout: Layout,
    /// Input `[T, P^2]`.
    pub patches: BufferId,
    /// Inputs of each order, `[T]` each.
    pub routes: Vec<RouteInputs>,
    /// Input `[T]`: the rows that a drop keeps, in their new order; or the row that the head reads.
    pub keep: BufferId,
    /// Input `[T]`: 1 for a row that stays, 0 for one that is set to 0.
    pub mask: BufferId,
    /// `[T, D]`: the residual stream between blocks.
    pub stream: Columns,
    /// `[T, classes]`: row 0 is that of the class token; without one each row has its own.
    pub logits: BufferId,
    /// What scores see of each block.
    pub blocks: Vec<BlockTaps>,
    first: Vec<PlannedPass>,
    gather: Vec<PlannedPass>,
    masking: Vec<PlannedPass>,
    /// For each block without and with gaps.
    bodies: Vec<[Vec<PlannedPass>; 2]>,
    class_row: Vec<PlannedPass>,
    head: Vec<PlannedPass>,
}

/// What the host writes for an order.
#[derive(Clone, Copy, Debug)]
pub struct RouteInputs {
    /// The row that is read at each place.
    pub read: BufferId,
    /// The place at which each row is read.
    pub back: BufferId,
    /// Dropped tokens right before each place.
    pub gaps: BufferId,
}

/// Where scores find what a block has computed, for the plan without gaps and the one with them.
pub struct BlockTaps {
    /// For each order, in its own order.
    pub routes: [Vec<RouteTaps>; 2],
    /// `[T, D]`, the normalised input.
    pub u: [Columns; 2],
    /// `[T, E]`, the mean over the orders, gated: what `out_proj` is given.
    pub y: [Columns; 2],
}

/// What one order has computed.
pub struct RouteTaps {
    /// B, C and the step sizes.
    pub taps: Taps,
    /// `[T, E]`, what is written, before the step size.
    pub x: Columns,
    /// `[T, E]`, in the order of the rows, gated.
    pub y: Columns,
}

impl ImagePlan {
    /// Declares the buffers and notes the passes.
    pub fn new(backbone: &Backbone) -> ImagePlan {
        let (t, d) = (backbone.tokens(), backbone.width);
        let p = &mut Planner::new(t, t, Change::default(), None);
        let patch = backbone.patch * backbone.patch;
        let patches = p.layout.input("patches", t * patch);
        let mut input = |name: &str, i: usize| p.layout.input(&format!("{name} {i}"), t);
        let routes: Vec<RouteInputs> = (0..backbone.orders.len())
            .map(|i| RouteInputs {
                read: input("order", i),
                back: input("place", i),
                gaps: input("gaps", i),
            })
            .collect();
        let keep = p.layout.input("keep", t);
        let mask = p.layout.input("mask", t);
        let [stream, next] =
            ["stream", "next stream"].map(|name| Columns::all(p.layout.scratch(name, t * d), d));
        let taken = |p: &mut Planner| std::mem::take(&mut p.passes);

        let places = p.weight("places", &backbone.places);
        let weight = p.matrix("patch.weight", &backbone.patch_weight);
        let all = Columns::all(patches, patch);
        p.matmul(all, [weight, NONE, places], stream);
        let first = taken(p);

        reordered_into(p, stream, keep, next);
        p.delay_into("kept", next, 0, stream);
        let gather = taken(p);

        let column = Columns::all(mask, 1).spread(1, d);
        p.product_into("masked", stream, column, &Gate::default(), next);
        p.delay_into("masked", next, 0, stream);
        let masking = taken(p);

        let mut bodies = Vec::new();
        let mut blocks = Vec::new();
        for (layer, block) in backbone.blocks.iter().enumerate() {
            p.layer = layer;
            p.tapped_layer = Some(layer);
            let mut plan = |over_gaps| {
                let taps = plan_block(p, block, &routes, (stream, next), backbone.eps, over_gaps);
                (taken(p), taps)
            };
            let (closed, (closed_routes, closed_u, closed_y)) = plan(false);
            let (open, (open_routes, open_u, open_y)) = plan(true);
            bodies.push([closed, open]);
            blocks.push(BlockTaps {
                routes: [closed_routes, open_routes],
                u: [closed_u, open_u],
                y: [closed_y, open_y],
            });
        }
        p.tapped_layer = None;
        p.layer = backbone.blocks.len();
        let mut x = stream;
        if backbone.class_token.is_some() {
            reordered_into(p, stream, keep, next);
            x = next;
        }
        let class_row = taken(p);
        let normed = p.rms_norm("last", x, &backbone.norm, d, backbone.eps, None);
        let logits = p.project("logits", &backbone.head, Some(&backbone.head_bias), normed);
        let head = taken(p);
        ImagePlan {
            layout: std::mem::take(&mut p.layout),
            patches,
            routes,
            keep,
            mask,
            stream,
            logits: logits.buffer,
            blocks,
            first,
            gather,
            masking,
            bodies,
            class_row,
            head,
        }
    }

    /// From patches to the stream.
    pub fn start(&self, tokens: usize) -> Recording {
        record(&[(&self.first, tokens)])
    }

    /// The stream becomes the rows that [`ImagePlan::keep`] names.
    pub fn drop_rows(&self, kept: usize) -> Recording {
        record(&[(&self.gather, kept)])
    }

    /// The rows for which [`ImagePlan::mask`] has 0 become 0.
    pub fn mask_rows(&self, rows: usize) -> Recording {
        record(&[(&self.masking, rows)])
    }

    /// Blocks, for so many rows.
    pub fn blocks(&self, blocks: std::ops::Range<usize>, rows: usize, gaps: bool) -> Recording {
        let bodies = self.bodies[blocks].iter();
        let passes: Vec<_> = bodies.map(|b| (&b[usize::from(gaps)], rows)).collect();
        record(&passes)
    }

    /// From the stream to logits: of the row that [`ImagePlan::keep`] names first, or of all rows.
    pub fn end(&self, rows: usize) -> Recording {
        let rows = if self.class_row.is_empty() { rows } else { 1 };
        record(&[(&self.class_row, rows), (&self.head, rows)])
    }
}

fn record(parts: &[(&Vec<PlannedPass>, usize)]) -> Recording {
    let mut recording = Recording::default();
    for (passes, rows) in parts {
        for pass in *passes {
            pass.record(&mut recording, *rows, 0);
        }
    }
    recording
}

/// Rows of x in the order that a buffer has, into whole rows.
fn reordered_into(p: &mut Planner, x: Columns, order: BufferId, out: Columns) {
    let carried = p.state("nothing carried", 1);
    p.push(
        &reorder::KERNEL,
        &Reorder {
            t: 0,
            width: x.width as u32,
            x_stride: x.stride as u32,
            x_offset: x.offset as u32,
            has_order: 1,
            fill: 0.0,
        },
        &[x.buffer, order],
        &[out.buffer, carried],
    );
}

fn reordered(p: &mut Planner, name: &str, x: Columns, order: BufferId) -> Columns {
    let out = p.rows(name, x.width);
    reordered_into(p, x, order, out);
    out
}

/// Notes a block: reads the stream and leaves it with what the block adds.
fn plan_block(
    p: &mut Planner,
    block: &Block,
    inputs: &[RouteInputs],
    (stream, next): (Columns, Columns),
    eps: f32,
    over_gaps: bool,
) -> (Vec<RouteTaps>, Columns, Columns) {
    let u = p.rms_norm("u", stream, &block.norm, stream.width, eps, None);
    let Some(shared) = block.routes.first() else {
        return (Vec::new(), u, u);
    };
    let e = shared.channels;
    let xz = p.project("projected", &shared.in_proj, None, u);
    let [x, z] = xz.split([e, e]);
    let mut sum: Option<Columns> = None;
    let mut taps = Vec::new();
    for (route, inputs) in block.routes.iter().zip(inputs) {
        let ordered = reordered(p, "in order", x, inputs.read);
        let missed = over_gaps.then(|| {
            let default_steps: Weights = route.default_steps();
            let steps = Columns::same(p.weight("default steps", &default_steps), e);
            let gaps = Columns::all(inputs.gaps, 1).spread(1, e);
            p.product("missed", gaps, steps, &Gate::default())
        });
        let channels = route.plan_channels(p, ordered, missed);
        let back = reordered(p, "back", channels.y, inputs.back);
        taps.push(RouteTaps {
            taps: channels.taps,
            x: channels.x,
            y: p.swiglu("gated order", z, back),
        });
        sum = Some(match sum {
            Some(sum) => p.add("sum", sum, back, None, 1.0),
            None => back,
        });
    }
    let sum = sum.unwrap_or(x);
    let share = Gate {
        multiplier: (block.routes.len() as f32).recip(),
        ..Gate::default()
    };
    let mean = p.gate("mean", sum, &share);
    let y = p.swiglu("gated", z, mean);
    p.io = Io {
        u,
        residual: stream.buffer,
        out: next.buffer,
    };
    p.project_out(&shared.out_proj, None, y);
    p.delay_into("added", next, 0, stream);
    (taps, u, y)
}
