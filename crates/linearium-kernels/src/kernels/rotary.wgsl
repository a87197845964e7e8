// Rotary position embedding; see rotary.rs. One thread a pair of channels.

struct Params {
    t: u32,
    heads: u32,
    key: u32,
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
    let half = p.key / 2u;
    if index >= p.t * p.heads * half {
        return;
    }
    let i = index % half;
    let h = index / half % p.heads;
    let t = index / half / p.heads;
    let source = p.x_offset + t * p.x_stride + h * p.key + i;
    let place = (t * p.heads + h) * p.key + i;
    let cosine = angles[(t * half + i) * 2u];
    let sine = angles[(t * half + i) * 2u + 1u];
    let a = x[source];
    let b = x[source + half];
    out[place] = a * cosine - b * sine;
    out[place + half] = b * cosine + a * sine;
}
