// Normalises groups of columns; see normalise.rs. One workgroup a row and group.

const LAYER = 0u;
const SUM = 1u;
const SOFTMAX = 2u;

struct Params {
    t: u32,
    width: u32,
    group: u32,
    x_stride: u32,
    x_offset: u32,
    kind: u32,
    eps: f32,
    has_weight: u32,
    has_bias: u32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> weight: array<f32>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read_write> out: array<f32>;

const THREADS = 64u;
const LOWEST = -3.4028234e38;

var<workgroup> partial: array<f32, THREADS>;

fn sum_of(mine: f32, local: u32) -> f32 {
    partial[local] = mine;
    workgroupBarrier();
    for (var half = THREADS / 2u; half > 0u; half /= 2u) {
        if local < half {
            partial[local] += partial[local + half];
        }
        workgroupBarrier();
    }
    let sum = partial[0];
    workgroupBarrier();
    return sum;
}

fn max_of(mine: f32, local: u32) -> f32 {
    partial[local] = mine;
    workgroupBarrier();
    for (var half = THREADS / 2u; half > 0u; half /= 2u) {
        if local < half {
            partial[local] = max(partial[local], partial[local + half]);
        }
        workgroupBarrier();
    }
    let greatest = partial[0];
    workgroupBarrier();
    return greatest;
}

@compute @workgroup_size(THREADS)
fn normalise(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let groups = p.width / p.group;
    let index = group.y * 65535u + group.x;
    let t = index / groups;
    let first = index % groups * p.group;
    // A workgroup beyond the last row works on nothing: the fold rounds up.
    let last = select(first, first + p.group, t < p.t);
    let row = p.x_offset + t * p.x_stride;
    let size = f32(p.group);

    var sum = 0.0;
    var greatest = LOWEST;
    for (var c = first + local; c < last; c += THREADS) {
        sum += x[row + c];
        greatest = max(greatest, x[row + c]);
    }
    var origin = 0.0;
    var factor = 0.0;
    if p.kind == SOFTMAX {
        origin = max_of(greatest, local);
        sum = 0.0;
        for (var c = first + local; c < last; c += THREADS) {
            sum += exp(x[row + c] - origin);
        }
        factor = 1.0 / sum_of(sum, local);
    } else {
        let total = sum_of(sum, local);
        if p.kind == LAYER {
            origin = total / size;
            sum = 0.0;
            for (var c = first + local; c < last; c += THREADS) {
                let u = x[row + c] - origin;
                sum += u * u;
            }
            factor = 1.0 / sqrt(sum_of(sum, local) / size + p.eps);
        } else {
            factor = 1.0 / (total + p.eps);
        }
    }

    for (var c = first + local; c < last; c += THREADS) {
        var u = x[row + c] - origin;
        if p.kind == SOFTMAX {
            u = exp(u);
        }
        u *= factor;
        if p.has_weight == 1u {
            u *= weight[c];
        }
        if p.has_bias == 1u {
            u += bias[c];
        }
        out[t * p.width + c] = u;
    }
}
