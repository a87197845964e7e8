// A softmax over time that is never over; see running_softmax.rs. One thread a column.

struct Params {
    t: u32,
    width: u32,
    x_stride: u32,
    x_offset: u32,
    shift: f32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> weight: array<f32>;
@group(0) @binding(3) var<storage, read_write> log_decay: array<f32>;
@group(0) @binding(4) var<storage, read_write> state: array<f32>;

// ln(1 - w) for w in [0, 1/2] = -2 atanh(s) with s = w / (2 - w) <= 1/3. WGSL promises `log` near 1
// only to 2^-21.
fn log_of_rest(w: f32) -> f32 {
    let s = w / (2.0 - w);
    let z = s * s;
    return -2.0 * s * (1.0 + z * (1.0 / 3.0 + z * (0.2 + z * (1.0 / 7.0 + z * (1.0 / 9.0
        + z * (1.0 / 11.0 + z * (1.0 / 13.0)))))));
}

@compute @workgroup_size(256)
fn running_softmax(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let c = (group.y * 65535u + group.x) * 256u + local;
    if c >= p.width {
        return;
    }
    var largest = state[2u * c];
    var sum = state[2u * c + 1u];
    for (var t = 0u; t < p.t; t++) {
        let value = x[p.x_offset + t * p.x_stride + c];
        let first = sum == 0.0;
        let new_largest = select(max(largest, value), value, first);
        let shrink = largest - new_largest;
        let kept = select(sum * exp(shrink), 0.0, first);
        let own = exp(value - new_largest);
        let w = own / (kept + own);
        var g = 0.0;
        if !first {
            if w < 0.5 {
                g = log_of_rest(w);
            } else {
                g = shrink + log(sum / (kept + own));
            }
        }
        weight[t * p.width + c] = w;
        log_decay[t * p.width + c] = g + p.shift;
        largest = new_largest;
        sum = kept + own;
    }
    state[2u * c] = largest;
    state[2u * c + 1u] = sum;
}
