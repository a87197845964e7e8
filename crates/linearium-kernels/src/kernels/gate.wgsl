// Gates of the zoo; see gate.rs for the formulas. One thread an element.

const SIGMOID = 0u;
const GELU = 1u;
const GELU_TANH = 2u;

struct Params {
    t: u32,
    width: u32,
    x_stride: u32,
    x_offset: u32,
    function: u32,
    has_y: u32,
    y_stride: u32,
    y_offset: u32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> y: array<f32>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;

// Exponentials of non-positive numbers only, so that nothing overflows.
fn sigmoid(x: f32) -> f32 {
    let e = exp(-abs(x));
    return select(e, 1.0, x >= 0.0) / (1.0 + e);
}

// Abramowitz and Stegun 7.1.26.
fn normal_distribution(x: f32) -> f32 {
    let z = abs(x) * 0.70710678;
    let t = 1.0 / (1.0 + 0.3275911 * z);
    var s = 1.0614054 * t - 1.453152;
    s = s * t + 1.4214137;
    s = s * t - 0.28449674;
    s = s * t + 0.2548296;
    let tail = s * t * exp(-z * z) * 0.5;
    return select(tail, 1.0 - tail, x >= 0.0);
}

@compute @workgroup_size(256)
fn gate(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let i = (group.y * 65535u + group.x) * 256u + local;
    if i >= p.t * p.width {
        return;
    }
    let t = i / p.width;
    let c = i % p.width;
    let u = x[p.x_offset + t * p.x_stride + c];
    var f: f32;
    switch p.function {
        case SIGMOID: {
            f = sigmoid(u);
        }
        case GELU: {
            f = u * normal_distribution(u);
        }
        case GELU_TANH: {
            f = u * sigmoid(1.5957691 * u + 0.071354814 * u * u * u);
        }
        default: {
            f = select(sigmoid(u), u + 0.5, u >= 0.0);
        }
    }
    if p.has_y == 1u {
        f *= y[p.y_offset + t * p.y_stride + c];
    }
    out[i] = f;
}
