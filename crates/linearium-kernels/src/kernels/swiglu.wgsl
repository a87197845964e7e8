// silu(gate) * up; see swiglu.rs. One thread an element.

struct Params {
    t: u32,
    width: u32,
    gate_stride: u32,
    gate_offset: u32,
    up_stride: u32,
    up_offset: u32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> gate: array<f32>;
@group(0) @binding(2) var<storage, read> up: array<f32>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;

fn sigmoid(x: f32) -> f32 {
    let e = exp(-abs(x));
    return select(e, 1.0, x >= 0.0) / (1.0 + e);
}

@compute @workgroup_size(256)
fn swiglu(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let i = (group.y * 65535u + group.x) * 256u + local;
    if i >= p.t * p.width {
        return;
    }
    let t = i / p.width;
    let c = i % p.width;
    let u = gate[p.gate_offset + t * p.gate_stride + c];
    out[i] = u * sigmoid(u) * up[p.up_offset + t * p.up_stride + c];
}
