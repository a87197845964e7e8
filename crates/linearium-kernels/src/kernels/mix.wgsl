// Weighted sum of what several memories gave; see mix.rs. One thread an element.

struct Params {
    t: u32,
    width: u32,
    memories: u32,
    weighted: u32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> w: array<f32>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;

@compute @workgroup_size(256)
fn mix_memories(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let i = (group.y * 65535u + group.x) * 256u + local;
    if i >= p.t * p.width {
        return;
    }
    let t = i / p.width;
    let c = i % p.width;
    var sum = 0.0;
    for (var m = 0u; m < p.memories; m++) {
        var weight = 1.0;
        if m < p.weighted {
            weight = w[t * p.weighted + m];
        }
        sum += weight * x[(t * p.memories + m) * p.width + c];
    }
    out[i] = sum;
}
