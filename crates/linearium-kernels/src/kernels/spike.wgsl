// Leaky integrate-and-fire neurons; see spike.rs. One thread a neuron.

struct Params {
    t: u32,
    width: u32,
    rate: f32,
    threshold: f32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;
@group(0) @binding(3) var<storage, read_write> state: array<f32>;

@compute @workgroup_size(256)
fn spike(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let c = (group.y * 65535u + group.x) * 256u + local;
    if c >= p.width {
        return;
    }
    var v = state[c];
    for (var i = c; i < p.t * p.width; i += p.width) {
        v += (x[i] - v) * p.rate;
        let fires = v >= p.threshold;
        out[i] = select(0.0, 1.0, fires);
        v = select(v, 0.0, fires);
    }
    state[c] = v;
}
