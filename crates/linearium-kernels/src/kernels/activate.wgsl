// Gates; see activate.rs for the formula. One thread an element.

const SOFTPLUS = 1u;
const LOG_SIGMOID = 2u;
const SILU = 3u;

struct Params {
    t: u32,
    width: u32,
    x_stride: u32,
    x_offset: u32,
    function: u32,
    has_bias: u32,
    has_scale: u32,
    has_threshold: u32,
    min: f32,
    max: f32,
    multiplier: f32,
    shift: f32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> bias: array<f32>;
@group(0) @binding(3) var<storage, read> scale: array<f32>;
@group(0) @binding(4) var<storage, read> threshold: array<f32>;
@group(0) @binding(5) var<storage, read_write> out: array<f32>;

// ln(1 + y) for y in [0, 1]. WGSL promises `log` near 1 only to 2^-21, which is all there is of a
// small softplus; this is 2 artanh(y / (2 + y)) as a series, whose argument is at most 1/3, so
// that nine terms reach f32.
fn ln_1p(y: f32) -> f32 {
    let s = y / (2.0 + y);
    let q = s * s;
    var sum = 1.0 / 17.0;
    sum = sum * q + 1.0 / 15.0;
    sum = sum * q + 1.0 / 13.0;
    sum = sum * q + 1.0 / 11.0;
    sum = sum * q + 1.0 / 9.0;
    sum = sum * q + 1.0 / 7.0;
    sum = sum * q + 1.0 / 5.0;
    sum = sum * q + 1.0 / 3.0;
    sum = sum * q + 1.0;
    return 2.0 * s * sum;
}

// max(x, 0) + ln(1 + e^-|x|): exp of a non-positive number only, so nothing overflows.
fn softplus(x: f32) -> f32 {
    return max(x, 0.0) + ln_1p(exp(-abs(x)));
}

fn sigmoid(x: f32) -> f32 {
    let e = exp(-abs(x));
    return select(e, 1.0, x >= 0.0) / (1.0 + e);
}

@compute @workgroup_size(256)
fn activate(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let i = (group.y * 65535u + group.x) * 256u + local;
    if i >= p.t * p.width {
        return;
    }
    let t = i / p.width;
    let c = i % p.width;
    var u = x[p.x_offset + t * p.x_stride + c];
    if p.has_bias == 1u {
        u += bias[c];
    }
    var f = u;
    switch p.function {
        case SOFTPLUS: {
            f = softplus(u);
        }
        case LOG_SIGMOID: {
            f = -softplus(-u);
        }
        case SILU: {
            f = u * sigmoid(u);
        }
        default: {}
    }
    f = min(max(f, p.min), p.max);
    if p.has_threshold == 1u && f <= threshold[c] {
        f = 0.0;
    }
    var s = p.multiplier;
    if p.has_scale == 1u {
        s *= scale[c];
    }
    out[i] = s * f + p.shift;
}
