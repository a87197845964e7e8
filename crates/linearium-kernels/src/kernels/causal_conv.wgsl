// Causal depthwise convolution; see causal_conv.rs. `convolve` has a thread for each output,
// `keep_tail` a thread for each channel.

struct Params {
    t: u32,
    channels: u32,
    width: u32,
    x_stride: u32,
    x_offset: u32,
    has_bias: u32,
    silu: u32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> weight: array<f32>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;
@group(0) @binding(5) var<storage, read_write> tail: array<f32>;

// Row t counts from the oldest row of the tail.
fn input(t: u32, c: u32) -> f32 {
    if t + 1u < p.width {
        return tail[t * p.channels + c];
    }
    return x[p.x_offset + (t + 1u - p.width) * p.x_stride + c];
}

fn sigmoid(x: f32) -> f32 {
    let e = exp(-abs(x));
    return select(e, 1.0, x >= 0.0) / (1.0 + e);
}

@compute @workgroup_size(256)
fn convolve(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let i = (group.y * 65535u + group.x) * 256u + local;
    if i >= p.t * p.channels {
        return;
    }
    let t = i / p.channels;
    let c = i % p.channels;
    var sum = 0.0;
    if p.has_bias == 1u {
        sum = bias[c];
    }
    for (var w = 0u; w < p.width; w++) {
        sum += weight[c * p.width + w] * input(t + w, c);
    }
    if p.silu == 1u {
        sum *= sigmoid(sum);
    }
    y[i] = sum;
}

// A short segment keeps a part of the old tail. Row by row upwards, a thread reads an old row
// before it overwrites it, and no thread touches another channel.
@compute @workgroup_size(256)
fn keep_tail(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let c = (group.y * 65535u + group.x) * 256u + local;
    if c >= p.channels {
        return;
    }
    for (var row = 0u; row + 1u < p.width; row++) {
        tail[row * p.channels + c] = input(row + p.t, c);
    }
}
