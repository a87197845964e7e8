// Rotary position embedding; see rotary.rs. One thread a channel.

struct Params {
    t: u32,
    heads: u32,
    key: u32,
    rotated: u32,
    x_stride: u32,
    x_offset: u32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> angles: array<f32>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;

@compute @workgroup_size(256)
fn rotary(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let index = (group.y * 65535u + group.x) * 256u + local;
    if index >= p.t * p.heads * p.key {
        return;
    }
    let i = index % p.key;
    let h = index / p.key % p.heads;
    let t = index / p.key / p.heads;
    let source = p.x_offset + t * p.x_stride + h * p.key + i;
    let value = x[source];
    if i >= p.rotated {
        out[index] = value;
        return;
    }
    let half = p.rotated / 2u;
    let angle = (t * half + i % half) * 2u;
    let cosine = angles[angle];
    let sine = angles[angle + 1u];
    if i < half {
        out[index] = value * cosine - x[source + half] * sine;
    } else {
        out[index] = value * cosine + x[source - half] * sine;
    }
}
