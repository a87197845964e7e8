// Sums over the rows between kept ones; see gap_sum.rs. One thread a kept row and column.

struct Params {
    t: u32,
    width: u32,
    x_stride: u32,
    x_offset: u32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> kept: array<f32>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;
@group(0) @binding(4) var<storage, read_write> carried: array<f32>;

// The sum of the rows before kept row k, or behind all of them for k = K.
fn sum_before(k: u32, c: u32) -> f32 {
    var first = 0u;
    var sum = 0.0;
    if k == 0u {
        sum = carried[c];
    } else {
        first = u32(kept[k - 1u]) + 1u;
    }
    let end = u32(kept[k]);
    var lost = 0.0;
    for (var t = first; t < end; t++) {
        let value = x[p.x_offset + t * p.x_stride + c];
        let next = sum + value;
        if abs(sum) >= abs(value) {
            lost += (sum - next) + value;
        } else {
            lost += (value - next) + sum;
        }
        sum = next;
    }
    return sum + lost;
}

@compute @workgroup_size(256)
fn gap_sum(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let i = (group.y * 65535u + group.x) * 256u + local;
    if i < p.t * p.width {
        out[i] = sum_before(i / p.width, i % p.width);
    }
}

@compute @workgroup_size(256)
fn carry(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let c = (group.y * 65535u + group.x) * 256u + local;
    if c < p.width {
        carried[c] = sum_before(p.t, c);
    }
}
