// Root-mean-square norm with an optional gate; see rms_norm.rs. One workgroup a row and group.

const GATE_THEN_NORM = 1u;
const NORM_THEN_GATE = 2u;

struct Params {
    t: u32,
    width: u32,
    group: u32,
    weight_len: u32,
    eps: f32,
    gate: u32,
    z_stride: u32,
    z_offset: u32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> weight: array<f32>;
@group(0) @binding(3) var<storage, read> z: array<f32>;
@group(0) @binding(4) var<storage, read_write> out: array<f32>;

const THREADS = 64u;

var<workgroup> partial: array<f32, THREADS>;

fn silu(x: f32) -> f32 {
    let e = exp(-abs(x));
    return x * select(e, 1.0, x >= 0.0) / (1.0 + e);
}

// What is normalised in column c of row t.
fn before_norm(t: u32, c: u32) -> f32 {
    let u = x[t * p.width + c];
    if p.gate == GATE_THEN_NORM {
        return u * silu(z[p.z_offset + t * p.z_stride + c]);
    }
    return u;
}

@compute @workgroup_size(THREADS)
fn rms_norm(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let groups = p.width / p.group;
    let index = group.y * 65535u + group.x;
    let t = index / groups;
    let first = index % groups * p.group;
    // A workgroup beyond the last row works on nothing: the fold rounds up.
    let last = select(first, first + p.group, t < p.t);

    var sum = 0.0;
    for (var c = first + local; c < last; c += THREADS) {
        let u = before_norm(t, c);
        sum += u * u;
    }
    partial[local] = sum;
    workgroupBarrier();
    for (var half = THREADS / 2u; half > 0u; half /= 2u) {
        if local < half {
            partial[local] += partial[local + half];
        }
        workgroupBarrier();
    }

    let scale = 1.0 / sqrt(partial[0] / f32(p.group) + p.eps);
    for (var c = first + local; c < last; c += THREADS) {
        var u = before_norm(t, c) * scale * weight[c % p.weight_len];
        if p.gate == NORM_THEN_GATE {
            u *= silu(z[p.z_offset + t * p.z_stride + c]);
        }
        out[t * p.width + c] = u;
    }
}
