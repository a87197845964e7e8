// Linear layer with weights of two halves to a word; see matmul_half.rs and, for the shape of the
// work, matmul.wgsl.
//
//   tiles      a workgroup makes 64 x 64 outputs, a thread 4 x 4 of them, in steps of 16 along the
//              inner width
//   few_rows   for a handful of rows, which would leave a tile empty: a workgroup makes 16 outputs
//              of one row, 16 threads each

struct Params {
    t: u32,
    k: u32,
    n: u32,
    x_stride: u32,
    x_offset: u32,
    has_bias: u32,
    has_residual: u32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> w: array<u32>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read> residual: array<f32>;
@group(0) @binding(5) var<storage, read_write> y: array<f32>;

// Both tiles are stored by inner index, four rows (of x) or columns (of y) to a vector.
var<workgroup> x_tile: array<vec4<f32>, 256>;
var<workgroup> w_tile: array<vec4<f32>, 256>;
// Sums of the 16 threads of an output.
var<workgroup> partial: array<f32, 256>;

fn load_x(t: u32, k: u32) -> f32 {
    if t < p.t && k < p.k {
        return x[p.x_offset + t * p.x_stride + k];
    }
    return 0.0;
}

// Columns 2i and 2i + 1 of a row.
fn load_w(n: u32, i: u32) -> vec2<f32> {
    if n < p.n && i < p.k / 2u {
        return unpack2x16float(w[n * (p.k / 2u) + i]);
    }
    return vec2(0.0);
}

fn store(t: u32, n: u32, dot: f32) {
    if t >= p.t || n >= p.n {
        return;
    }
    var sum = dot;
    if p.has_bias == 1u {
        sum += bias[n];
    }
    if p.has_residual == 1u {
        sum += residual[t * p.n + n];
    }
    y[t * p.n + n] = sum;
}

fn store4(t: u32, n: u32, dots: vec4<f32>) {
    store(t, n, dots.x);
    store(t, n + 1u, dots.y);
    store(t, n + 2u, dots.z);
    store(t, n + 3u, dots.w);
}

@compute @workgroup_size(256)
fn tiles(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let load_k = local % 16u;
    let load_t = group.y * 64u + local / 16u * 4u;
    let row = local / 16u;
    let column = local % 16u;
    var sum0 = vec4(0.0);
    var sum1 = vec4(0.0);
    var sum2 = vec4(0.0);
    var sum3 = vec4(0.0);
    for (var k0 = 0u; k0 < p.k; k0 += 16u) {
        let k = k0 + load_k;
        x_tile[load_k * 16u + row] = vec4(
            load_x(load_t, k), load_x(load_t + 1u, k), load_x(load_t + 2u, k), load_x(load_t + 3u, k),
        );
        // Half of the threads have a word of each of four rows.
        if local < 128u {
            let i = local % 8u;
            let four = local / 8u;
            let n = group.x * 64u + four * 4u;
            let word = k0 / 2u + i;
            let w0 = load_w(n, word);
            let w1 = load_w(n + 1u, word);
            let w2 = load_w(n + 2u, word);
            let w3 = load_w(n + 3u, word);
            w_tile[i * 32u + four] = vec4(w0.x, w1.x, w2.x, w3.x);
            w_tile[i * 32u + 16u + four] = vec4(w0.y, w1.y, w2.y, w3.y);
        }
        workgroupBarrier();
        for (var i = 0u; i < 16u; i++) {
            let a = x_tile[i * 16u + row];
            let b = w_tile[i * 16u + column];
            sum0 += a.x * b;
            sum1 += a.y * b;
            sum2 += a.z * b;
            sum3 += a.w * b;
        }
        workgroupBarrier();
    }
    let t = group.y * 64u + row * 4u;
    let n = group.x * 64u + column * 4u;
    store4(t, n, sum0);
    store4(t + 1u, n, sum1);
    store4(t + 2u, n, sum2);
    store4(t + 3u, n, sum3);
}

@compute @workgroup_size(256)
fn few_rows(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let t = group.y;
    let n = group.x * 16u + local / 16u;
    var sum = 0.0;
    for (var i = local % 16u; i < p.k / 2u; i += 16u) {
        let pair = load_w(n, i);
        sum += load_x(t, 2u * i) * pair.x + load_x(t, 2u * i + 1u) * pair.y;
    }
    partial[local] = sum;
    workgroupBarrier();
    if local % 16u == 0u {
        for (var i = 1u; i < 16u; i++) {
            sum += partial[local + i];
        }
        store(t, n, sum);
    }
}
