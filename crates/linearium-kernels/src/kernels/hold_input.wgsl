// Rows that stand for a token repeated n times; see hold_input.rs. One thread an element.

struct Params {
    t: u32,
    width: u32,
    x_stride: u32,
    x_offset: u32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> g: array<f32>;
@group(0) @binding(2) var<storage, read> n: array<f32>;
@group(0) @binding(3) var<storage, read> x: array<f32>;
@group(0) @binding(4) var<storage, read_write> log_decay: array<f32>;
@group(0) @binding(5) var<storage, read_write> out: array<f32>;

// 1 + e^g + ... + e^((n-1) g); sum has m terms.
fn held(log_decay: f32, n: u32) -> f32 {
    var sum = 0.0;
    var m = 0.0;
    for (var bit = i32(firstLeadingBit(n)); bit >= 0; bit--) {
        sum *= 1.0 + exp(m * log_decay);
        m *= 2.0;
        if ((n >> u32(bit)) & 1u) == 1u {
            sum += exp(m * log_decay);
            m += 1.0;
        }
    }
    return sum;
}

@compute @workgroup_size(256)
fn hold_input(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let i = (group.y * 65535u + group.x) * 256u + local;
    if i >= p.t * p.width {
        return;
    }
    let t = i / p.width;
    log_decay[i] = n[t] * g[i];
    out[i] = x[p.x_offset + t * p.x_stride + i % p.width] * held(g[i], u32(n[t]));
}
