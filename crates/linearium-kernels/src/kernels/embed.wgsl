// Embedding; see embed.rs. One thread an element.

struct Params {
    t: u32,
    width: u32,
    halves: u32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> table: array<u32>;
@group(0) @binding(2) var<storage, read> tokens: array<f32>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;

@compute @workgroup_size(256)
fn embed(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let i = (group.y * 65535u + group.x) * 256u + local;
    if i >= p.t * p.width {
        return;
    }
    let token = u32(tokens[i / p.width]);
    let at = token * p.width + i % p.width;
    if p.halves == 1u {
        let pair = unpack2x16float(table[at / 2u]);
        out[i] = select(pair.x, pair.y, at % 2u == 1u);
    } else {
        out[i] = bitcast<f32>(table[at]);
    }
}
