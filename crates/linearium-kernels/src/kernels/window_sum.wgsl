// Running sum over a window, compensated; see window_sum.rs. One thread a column.

struct Params {
    t: u32,
    width: u32,
    // Always 0 (the host pads parameters with zeros), which no compiler knows.
    zero: u32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> late: array<f32>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;
@group(0) @binding(4) var<storage, read_write> state: array<f32>;

// The rounded value of x. Shader compilers may simplify (a - (a + b)) + b to 0 as if there were
// no rounding; they cannot see through this.
fn rounded(x: f32) -> f32 {
    return bitcast<f32>(bitcast<u32>(x) ^ p.zero);
}

// Adds x to total.x without losing what rounding drops: the dropped part goes to total.y.
fn add(total: vec2<f32>, x: f32) -> vec2<f32> {
    let sum = rounded(total.x + x);
    let larger = select(x, total.x, abs(total.x) >= abs(x));
    let smaller = select(total.x, x, abs(total.x) >= abs(x));
    return vec2(sum, total.y + (rounded(larger - sum) + smaller));
}

@compute @workgroup_size(256)
fn window_sum(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let c = (group.y * 65535u + group.x) * 256u + local;
    if c >= p.width {
        return;
    }
    var total = vec2(state[c * 2u], state[c * 2u + 1u]);
    for (var t = 0u; t < p.t; t++) {
        total = add(total, x[t * p.width + c]);
        total = add(total, -late[t * p.width + c]);
        out[t * p.width + c] = total.x + total.y;
    }
    state[c * 2u] = total.x;
    state[c * 2u + 1u] = total.y;
}
