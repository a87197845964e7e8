// Delays rows by r tokens through a ring of the last r rows; see delay.rs.

struct Params {
    t: u32,
    width: u32,
    x_stride: u32,
    x_offset: u32,
    delay: u32,
    phase: u32,
    out_stride: u32,
    out_offset: u32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;
@group(0) @binding(3) var<storage, read_write> ring: array<f32>;

// Where row t lies in the ring, and where the row r tokens before it lies until then.
fn slot(t: u32) -> u32 {
    return (p.phase + t) % p.delay * p.width;
}

@compute @workgroup_size(256)
fn take_out(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let i = (group.y * 65535u + group.x) * 256u + local;
    if i >= p.t * p.width {
        return;
    }
    let t = i / p.width;
    let c = i % p.width;
    var delayed: f32;
    if t >= p.delay {
        delayed = x[p.x_offset + (t - p.delay) * p.x_stride + c];
    } else {
        delayed = ring[slot(t) + c];
    }
    out[p.out_offset + t * p.out_stride + c] = delayed;
}

// Only the last r rows: an earlier one would be overwritten.
@compute @workgroup_size(256)
fn put_in(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let i = (group.y * 65535u + group.x) * 256u + local;
    let rows = min(p.t, p.delay);
    if i >= rows * p.width {
        return;
    }
    let t = p.t - rows + i / p.width;
    let c = i % p.width;
    ring[slot(t) + c] = x[p.x_offset + t * p.x_stride + c];
}
