// A router; see route.rs. One thread a row.

struct Params {
    t: u32,
    width: u32,
    x_stride: u32,
    x_offset: u32,
    top: u32,
    renormalise: u32,
    multiplier: f32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> weight: array<f32>;
@group(0) @binding(3) var<storage, read_write> chosen: array<f32>;

@compute @workgroup_size(256)
fn route(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let t = (group.y * 65535u + group.x) * 256u + local;
    if t >= p.t {
        return;
    }
    let first = p.x_offset + t * p.x_stride;
    let row = t * p.width;
    var largest = x[first] * p.multiplier;
    for (var c = 1u; c < p.width; c++) {
        largest = max(largest, x[first + c] * p.multiplier);
    }
    var all = 0.0;
    var kept = 0.0;
    for (var c = 0u; c < p.width; c++) {
        let own = x[first + c] * p.multiplier;
        var ahead = 0u;
        for (var i = 0u; i < p.width; i++) {
            let other = x[first + i] * p.multiplier;
            if other > own || (other == own && i < c) {
                ahead++;
            }
        }
        let is_kept = ahead < p.top;
        let e = exp(own - largest);
        all += e;
        kept += select(0.0, e, is_kept);
        weight[row + c] = select(0.0, e, is_kept);
        chosen[row + c] = select(0.0, 1.0, is_kept);
    }
    let sum = select(all, kept, p.renormalise == 1u);
    for (var c = 0u; c < p.width; c++) {
        weight[row + c] /= sum;
    }
}
