// x + m d y, or x y; see scaled_add.rs. One thread an element.

struct Params {
    t: u32,
    width: u32,
    y_stride: u32,
    y_offset: u32,
    per: u32,
    has_d: u32,
    multiply: u32,
    multiplier: f32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> y: array<f32>;
@group(0) @binding(3) var<storage, read> d: array<f32>;
@group(0) @binding(4) var<storage, read_write> out: array<f32>;

@compute @workgroup_size(256)
fn scaled_add(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let i = (group.y * 65535u + group.x) * 256u + local;
    if i >= p.t * p.width {
        return;
    }
    let c = i % p.width;
    let other = y[p.y_offset + i / p.width * p.y_stride + c];
    if p.multiply == 1u {
        out[i] = x[i] * other;
        return;
    }
    var m = p.multiplier;
    if p.has_d == 1u {
        m *= d[c / p.per];
    }
    out[i] = x[i] + m * other;
}
