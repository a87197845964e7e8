// Matrix product with L-Mul for multiplication; see matmul_l_mul.rs. One thread a result.

struct Params {
    t: u32,
    n: u32,
    k: u32,
    x_stride: u32,
    x_offset: u32,
    w_stride: u32,
    offset: u32,
    formula: u32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> w: array<f32>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;

const BIAS = 0x3F800000u;
const SMALLEST = 0x00800000u;
const LARGEST = 0x7F7FFFFFu;

fn product(u: u32, v: u32) -> f32 {
    let a = u & 0x7FFFFFFFu;
    let b = v & 0x7FFFFFFFu;
    if a < SMALLEST || b < SMALLEST {
        return 0.0;
    }
    var sum = a + b + p.offset;
    if p.formula == 1u {
        let mantissas = (a & 0x7FFFFFu) + (b & 0x7FFFFFu) + p.offset;
        var carried = mantissas;
        if mantissas >= SMALLEST {
            carried = SMALLEST + (mantissas - SMALLEST) / 2u;
        }
        sum = (((a >> 23u) + (b >> 23u)) << 23u) + carried;
    }
    if sum < BIAS + SMALLEST {
        return 0.0;
    }
    return bitcast<f32>(min(sum - BIAS, LARGEST) | ((u ^ v) & 0x80000000u));
}

@compute @workgroup_size(256)
fn matmul_l_mul(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let i = (group.y * 65535u + group.x) * 256u + local;
    if i >= p.t * p.n {
        return;
    }
    let row = p.x_offset + i / p.n * p.x_stride;
    let column = i / p.n * p.w_stride + i % p.n * p.k;
    var sum = 0.0;
    for (var c = 0u; c < p.k; c += 1u) {
        sum += product(bitcast<u32>(x[row + c]), bitcast<u32>(w[column + c]));
    }
    out[i] = sum;
}
