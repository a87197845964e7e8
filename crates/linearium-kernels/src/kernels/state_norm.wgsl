// Caps the norm of each head's state; see state_norm.rs. One workgroup a head.

struct Params {
    heads: u32,
    size: u32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> cap: array<f32>;
@group(0) @binding(2) var<storage, read_write> state: array<f32>;

const THREADS = 64u;

var<workgroup> partial: array<f32, THREADS>;

@compute @workgroup_size(THREADS)
fn state_norm(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let h = group.y * 65535u + group.x;
    let first = h * p.size;
    // A workgroup beyond the last head works on nothing: the fold rounds up.
    let last = select(first, first + p.size, h < p.heads);

    var sum = 0.0;
    for (var i = first + local; i < last; i += THREADS) {
        sum += state[i] * state[i];
    }
    partial[local] = sum;
    workgroupBarrier();
    for (var half = THREADS / 2u; half > 0u; half /= 2u) {
        if local < half {
            partial[local] += partial[local + half];
        }
        workgroupBarrier();
    }

    if h >= p.heads {
        return;
    }
    let norm = sqrt(partial[0]);
    if norm > cap[h] {
        for (var i = first + local; i < last; i += THREADS) {
            state[i] *= cap[h] / norm;
        }
    }
}
