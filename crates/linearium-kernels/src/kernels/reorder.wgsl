// Rows in another order; see reorder.rs. One thread an element.

struct Params {
    t: u32,
    width: u32,
    x_stride: u32,
    x_offset: u32,
    has_order: u32,
    fill: f32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> order: array<f32>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;
@group(0) @binding(4) var<storage, read_write> carried: array<f32>;

@compute @workgroup_size(256)
fn reorder(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let i = (group.y * 65535u + group.x) * 256u + local;
    if i >= p.t * p.width {
        return;
    }
    let t = i / p.width;
    var row = p.t - 1u - t;
    if p.has_order > 0u {
        let entry = order[t];
        if entry == -1.0 {
            out[i] = p.fill;
        }
        if entry == -2.0 {
            out[i] = carried[i % p.width];
        }
        if entry < 0.0 {
            return;
        }
        row = u32(entry);
    }
    out[i] = x[p.x_offset + row * p.x_stride + i % p.width];
}

@compute @workgroup_size(256)
fn carry(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let c = (group.y * 65535u + group.x) * 256u + local;
    if c < p.width && order[p.t] >= 0.0 {
        carried[c] = x[p.x_offset + u32(order[p.t]) * p.x_stride + c];
    }
}
