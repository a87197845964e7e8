// Attention over a choice of earlier tokens; see score_attention.rs.
//
//   count    with routing: how many tokens are active up to each, one workgroup
//   append   writes the keys, values and positions of the new (active) tokens into the ring
//   attend   one workgroup a token, head and 256 columns of the values: 64 tokens that are seen at
//            a time, with a running maximum and sum
//   carry    with routing: the count goes on to the next recording

const SQUARED_RELU = 1u;
const ROUTED = 2u;
const BIAS_BY_RANK = 4u;

struct Params {
    t: u32,
    heads: u32,
    kv_heads: u32,
    key: u32,
    value: u32,
    position: u32,
    rows: u32,
    window: u32,
    dilation: u32,
    reach: u32,
    flags: u32,
    bias_len: u32,
    scale: f32,
    write_factor: f32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> q: array<f32>;
@group(0) @binding(2) var<storage, read> k: array<f32>;
@group(0) @binding(3) var<storage, read> v: array<f32>;
@group(0) @binding(4) var<storage, read> bias: array<f32>;
@group(0) @binding(5) var<storage, read> is_active: array<f32>;
@group(0) @binding(6) var<storage, read_write> out: array<f32>;
@group(0) @binding(7) var<storage, read_write> ring: array<f32>;
@group(0) @binding(8) var<storage, read_write> ranks: array<f32>;

const LOWEST = -3.0e38;

var<workgroup> sums: array<u32, 256>;
var<workgroup> scores: array<f32, 64>;
var<workgroup> slots: array<u32, 64>;
var<workgroup> tokens_seen: u32;

fn row_width() -> u32 {
    return p.kv_heads * (p.key + p.value) + 1u;
}

@compute @workgroup_size(256)
fn count(@builtin(local_invocation_index) local: u32) {
    let part = (p.t + 255u) / 256u;
    let first = min(local * part, p.t);
    let last = min(first + part, p.t);
    var mine = 0u;
    for (var t = first; t < last; t++) {
        mine += select(0u, 1u, is_active[t] != 0.0);
    }
    sums[local] = mine;
    workgroupBarrier();
    for (var step = 1u; step < 256u; step *= 2u) {
        var before = 0u;
        if local >= step {
            before = sums[local - step];
        }
        workgroupBarrier();
        sums[local] += before;
        workgroupBarrier();
    }
    var rank = u32(ranks[0]) + sums[local] - mine;
    for (var t = first; t < last; t++) {
        rank += select(0u, 1u, is_active[t] != 0.0);
        ranks[t + 1u] = f32(rank);
    }
}

// Tokens that are active up to and with token t.
fn rank_of(t: u32) -> u32 {
    if (p.flags & ROUTED) != 0u {
        return u32(ranks[t + 1u]);
    }
    return p.position + t + 1u;
}

fn sleeps(t: u32) -> bool {
    return (p.flags & ROUTED) != 0u && is_active[t] == 0.0;
}

@compute @workgroup_size(256)
fn append(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let i = (group.y * 65535u + group.x) * 256u + local;
    let width = row_width();
    if i >= p.t * width {
        return;
    }
    let t = i / width;
    let c = i % width;
    if sleeps(t) {
        return;
    }
    let keys = p.kv_heads * p.key;
    var x = f32(p.position + t);
    if c < keys {
        x = k[t * keys + c];
    } else if c + 1u < width {
        x = v[t * p.kv_heads * p.value + c - keys] * p.write_factor;
    }
    ring[(rank_of(t) - 1u) % p.rows * width + c] = x;
}

// The 64 threads together: the largest value.
fn largest(x: f32, local: u32) -> f32 {
    scores[local] = x;
    workgroupBarrier();
    var m = LOWEST;
    for (var i = 0u; i < 64u; i++) {
        m = max(m, scores[i]);
    }
    workgroupBarrier();
    return m;
}

@compute @workgroup_size(64)
fn attend(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let index = group.y * 65535u + group.x;
    // The fold rounds up: a workgroup beyond the last works on nothing.
    let inside = index < p.t * p.heads;
    let t = select(0u, index / p.heads, inside);
    let h = index % p.heads;
    let shared_by = p.heads / p.kv_heads;
    let kv_head = h / shared_by;
    let width = row_width();
    let now = p.position + t;
    let rank = rank_of(t);
    if local == 0u {
        tokens_seen = 0u;
        if inside && !sleeps(t) {
            tokens_seen = (rank - 1u) / p.dilation + 1u;
            if p.window != 0u {
                tokens_seen = min(tokens_seen, p.window);
            }
        }
    }
    let seen = workgroupUniformLoad(&tokens_seen);
    let squared = (p.flags & SQUARED_RELU) != 0u;
    let first_column = group.z * 256u + local;
    var m = LOWEST;
    var total = 0.0;
    var mean = array<f32, 4>(0.0, 0.0, 0.0, 0.0);
    let rounds = (seen + 63u) / 64u;
    for (var round = 0u; round < rounds; round++) {
        let n = round * 64u + local;
        var visible = n < seen;
        var score = LOWEST;
        var slot = 0u;
        if visible {
            let distance = n * p.dilation;
            slot = (rank - 1u - distance) % p.rows * width;
            let tokens = now - u32(ring[slot + width - 1u]);
            visible = p.reach == 0u || tokens < p.reach;
            var dot = 0.0;
            for (var c = 0u; c < p.key; c++) {
                dot += q[(t * p.heads + h) * p.key + c] * ring[slot + kv_head * p.key + c];
            }
            dot *= p.scale;
            if p.bias_len != 0u {
                let by = select(tokens, distance, (p.flags & BIAS_BY_RANK) != 0u);
                dot += bias[min(by, p.bias_len - 1u)];
            }
            score = select(LOWEST, dot, visible);
        }
        var weight = 0.0;
        var shrink = 1.0;
        if squared {
            let positive = max(score, 0.0);
            weight = positive * positive;
        } else {
            let new_m = max(m, largest(score, local));
            shrink = exp(m - new_m);
            weight = select(0.0, exp(score - new_m), visible);
            m = new_m;
        }
        scores[local] = weight;
        slots[local] = slot;
        workgroupBarrier();
        total *= shrink;
        for (var i = 0u; i < 64u; i++) {
            total += scores[i];
        }
        for (var part = 0u; part < 4u; part++) {
            let c = first_column + part * 64u;
            if c < p.value {
                var sum = mean[part] * shrink;
                for (var i = 0u; i < min(64u, seen - round * 64u); i++) {
                    let at = slots[i] + p.kv_heads * p.key + kv_head * p.value + c;
                    sum += scores[i] * ring[at];
                }
                mean[part] = sum;
            }
        }
        workgroupBarrier();
    }
    if !inside {
        return;
    }
    if squared || seen == 0u {
        total = 1.0;
    }
    for (var part = 0u; part < 4u; part++) {
        let c = first_column + part * 64u;
        if c < p.value {
            out[(t * p.heads + h) * p.value + c] = mean[part] / total;
        }
    }
}

@compute @workgroup_size(1)
fn carry() {
    ranks[0] = ranks[p.t];
}
