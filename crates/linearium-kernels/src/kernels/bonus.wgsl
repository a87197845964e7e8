// x + m (q diag(d) k) v; see bonus.rs. One workgroup a token and head.

struct Params {
    t: u32,
    heads: u32,
    key: u32,
    value: u32,
    q_stride: u32,
    q_offset: u32,
    k_stride: u32,
    k_offset: u32,
    v_stride: u32,
    v_offset: u32,
    multiplier: f32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> q: array<f32>;
@group(0) @binding(3) var<storage, read> k: array<f32>;
@group(0) @binding(4) var<storage, read> v: array<f32>;
@group(0) @binding(5) var<storage, read> d: array<f32>;
@group(0) @binding(6) var<storage, read_write> out: array<f32>;

const THREADS = 64u;

var<workgroup> partial: array<f32, THREADS>;

@compute @workgroup_size(THREADS)
fn bonus(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let index = group.y * 65535u + group.x;
    let t = index / p.heads;
    let h = index % p.heads;
    // A workgroup beyond the last row works on nothing: the fold rounds up.
    let keys = select(0u, p.key, t < p.t);
    let values = select(0u, p.value, t < p.t);

    let q_row = p.q_offset + t * p.q_stride + h * p.key;
    let k_row = p.k_offset + t * p.k_stride + h * p.key;
    var sum = 0.0;
    for (var i = local; i < keys; i += THREADS) {
        sum += q[q_row + i] * k[k_row + i] * d[h * p.key + i];
    }
    partial[local] = sum;
    workgroupBarrier();
    for (var half = THREADS / 2u; half > 0u; half /= 2u) {
        if local < half {
            partial[local] += partial[local + half];
        }
        workgroupBarrier();
    }

    let weight = p.multiplier * partial[0];
    let v_row = p.v_offset + t * p.v_stride + h * p.value;
    for (var j = local; j < values; j += THREADS) {
        let at = index * p.value + j;
        out[at] = x[at] + weight * v[v_row + j];
    }
}
