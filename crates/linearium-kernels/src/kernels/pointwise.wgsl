// Gates, feature maps and products; see pointwise.rs for the formula. One thread an element.

const SIGMOID = 1u;
const TANH = 2u;
const EXP = 3u;
const RELU = 4u;
const ELU_PLUS_ONE = 5u;
const SQUARED_RELU = 6u;
const SILU = 7u;
const GELU = 8u;
const GELU_TANH = 9u;
const POSITIVE = 10u;
const MULTIPLY = 16u;
const DIVIDE = 32u;
const HAS_BIAS = 64u;
const HAS_SCALE = 128u;
const EXP_MAX = 80.0;

struct Params {
    t: u32,
    width: u32,
    x_stride: u32,
    x_offset: u32,
    x_block: u32,
    x_repeat: u32,
    y_stride: u32,
    y_offset: u32,
    y_block: u32,
    y_repeat: u32,
    out_stride: u32,
    out_offset: u32,
    form: u32,
    inner: f32,
    multiplier: f32,
    shift: f32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> y: array<f32>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read> scale: array<f32>;
@group(0) @binding(5) var<storage, read_write> out: array<f32>;

fn sigmoid(u: f32) -> f32 {
    let e = exp(-abs(u));
    return select(e, 1.0, u >= 0.0) / (1.0 + e);
}

// WGSL promises no small relative error of its own tanh near 0.
fn tanh_of(u: f32) -> f32 {
    if abs(u) < 0.625 {
        let z = u * u;
        return u * ((z + 105.0) * z + 945.0) / ((15.0 * z + 420.0) * z + 945.0);
    }
    let e = exp(-2.0 * abs(u));
    return sign(u) * (1.0 - e) / (1.0 + e);
}

// Abramowitz and Stegun 7.1.26.
fn normal_distribution(u: f32) -> f32 {
    let z = abs(u) * 0.70710678;
    let t = 1.0 / (1.0 + 0.3275911 * z);
    var s = 1.0614054 * t - 1.453152;
    s = s * t + 1.4214137;
    s = s * t - 0.28449674;
    s = s * t + 0.2548296;
    let tail = s * t * exp(-z * z) * 0.5;
    return select(tail, 1.0 - tail, u >= 0.0);
}

fn apply(u: f32) -> f32 {
    switch p.form & 15u {
        case SIGMOID: {
            return sigmoid(u);
        }
        case TANH: {
            return tanh_of(u);
        }
        case EXP: {
            return exp(min(u, EXP_MAX));
        }
        case RELU: {
            return max(u, 0.0);
        }
        case ELU_PLUS_ONE: {
            return select(exp(min(u, 0.0)), u + 1.0, u > 0.0);
        }
        case SQUARED_RELU: {
            let positive = max(u, 0.0);
            return positive * positive;
        }
        case SILU: {
            return u * sigmoid(u);
        }
        case GELU: {
            return u * normal_distribution(u);
        }
        case GELU_TANH: {
            return u * sigmoid(1.5957691 * u + 0.071354814 * u * u * u);
        }
        case POSITIVE: {
            return select(sigmoid(u), u + 0.5, u >= 0.0);
        }
        default: {
            return u;
        }
    }
}

fn shared_column(c: u32, block: u32, repeat: u32) -> u32 {
    return c / (block * repeat) * block + c % block;
}

@compute @workgroup_size(256)
fn pointwise(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let i = (group.y * 65535u + group.x) * 256u + local;
    if i >= p.t * p.width {
        return;
    }
    let t = i / p.width;
    let c = i % p.width;
    var u = p.inner * x[p.x_offset + t * p.x_stride + shared_column(c, p.x_block, p.x_repeat)];
    if (p.form & HAS_BIAS) != 0u {
        u += bias[c];
    }
    var f = apply(u);
    if (p.form & (MULTIPLY | DIVIDE)) != 0u {
        let other = y[p.y_offset + t * p.y_stride + shared_column(c, p.y_block, p.y_repeat)];
        f = select(f * other, f / other, (p.form & DIVIDE) != 0u);
    }
    var s = p.multiplier;
    if (p.form & HAS_SCALE) != 0u {
        s *= scale[c];
    }
    out[p.out_offset + t * p.out_stride + c] = s * f + p.shift;
}
