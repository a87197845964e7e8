// Causal convolution along routed tokens; see routed_conv.rs. One thread a channel of a memory.

struct Params {
    t: u32,
    memories: u32,
    channels: u32,
    width: u32,
    x_stride: u32,
    x_offset: u32,
    shared_x: u32,
    routed: u32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> weight: array<f32>;
@group(0) @binding(3) var<storage, read> chosen: array<f32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;
@group(0) @binding(5) var<storage, read_write> tail: array<f32>;

fn silu(x: f32) -> f32 {
    let e = exp(-abs(x));
    return x * select(e, 1.0, x >= 0.0) / (1.0 + e);
}

@compute @workgroup_size(256)
fn routed_conv(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let i = (group.y * 65535u + group.x) * 256u + local;
    let all = p.memories * p.channels;
    if i >= all {
        return;
    }
    let memory = i / p.channels;
    let c = i % p.channels;
    let column = p.x_offset + select(i, c, p.shared_x == 1u);
    let kept = p.width - 1u;
    var inputs: array<f32, 16>;
    for (var w = 0u; w < kept; w++) {
        inputs[w] = tail[w * all + i];
    }
    for (var t = 0u; t < p.t; t++) {
        if memory < p.routed && chosen[t * p.routed + memory] == 0.0 {
            y[t * all + i] = 0.0;
            continue;
        }
        inputs[kept] = x[t * p.x_stride + column];
        var sum = 0.0;
        for (var w = 0u; w < p.width; w++) {
            sum += weight[c * p.width + w] * inputs[w];
        }
        y[t * all + i] = silu(sum);
        for (var w = 0u; w < kept; w++) {
            inputs[w] = inputs[w + 1u];
        }
    }
    for (var w = 0u; w < kept; w++) {
        tail[w * all + i] = inputs[w];
    }
}
