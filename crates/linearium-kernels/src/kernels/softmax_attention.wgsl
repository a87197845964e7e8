// Causal softmax attention over a cache; see softmax_attention.rs.
//
//   append   writes the new keys and values behind the cache
//   attend   online softmax: 16 queries that share a key-value head go together over the cache in
//            tiles of 64 keys, with the running maximum and sum of each query
//
// The 16 queries (rows) of a workgroup are (token, head) pairs, the heads of one group side by
// side, so that a single new token still fills rows. The 256 threads are 4 groups of 4 rows by
// 64 keys while scores are made, and columns of v by parts of the keys while values are summed.

struct Params {
    t: u32,
    heads: u32,
    kv_heads: u32,
    key: u32,
    position: u32,
    q_stride: u32,
    q_offset: u32,
    k_stride: u32,
    k_offset: u32,
    v_stride: u32,
    v_offset: u32,
    window: u32,
    scale: f32,
    write_factor: f32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> q: array<f32>;
@group(0) @binding(2) var<storage, read> k: array<f32>;
@group(0) @binding(3) var<storage, read> v: array<f32>;
@group(0) @binding(4) var<storage, read_write> o: array<f32>;
@group(0) @binding(5) var<storage, read_write> k_cache: array<f32>;
@group(0) @binding(6) var<storage, read_write> v_cache: array<f32>;

const KEYS = 64u;
const LOWEST = -3.0e38;

// q by channel, 4 rows to a vector; k by channel.
var<workgroup> q_tile: array<vec4<f32>, 64>;
var<workgroup> k_tile: array<f32, 1024>;
// By key, then group of 4 rows.
var<workgroup> weights: array<vec4<f32>, 256>;
var<workgroup> partial: array<vec4<f32>, 64>;
var<workgroup> shrink: array<vec4<f32>, 4>;

@compute @workgroup_size(256)
fn append(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let i = (group.y * 65535u + group.x) * 256u + local;
    let width = p.kv_heads * p.key;
    if i >= p.t * width {
        return;
    }
    let t = i / width;
    let c = i % width;
    k_cache[p.position * width + i] = k[p.k_offset + t * p.k_stride + c];
    v_cache[p.position * width + i] = v[p.v_offset + t * p.v_stride + c] * p.write_factor;
}

fn query(row: u32, kv_head: u32, channel: u32) -> f32 {
    let shared_by = p.heads / p.kv_heads;
    let t = row / shared_by;
    if t >= p.t || channel >= p.key {
        return 0.0;
    }
    let h = kv_head * shared_by + row % shared_by;
    return q[p.q_offset + t * p.q_stride + h * p.key + channel] * p.scale;
}

// The keys that a row sees: from .x to before .y. Rows past the last see what the last one sees.
fn visible(row: u32) -> vec2<u32> {
    let t = min(row / (p.heads / p.kv_heads), p.t - 1u);
    let end = p.position + t + 1u;
    var start = 0u;
    if p.window != 0u && end > p.window {
        start = end - p.window;
    }
    return vec2(start, end);
}

// The largest (or the sum) over the 64 keys of what each thread gives for its 4 rows.
fn largest_over_keys(x: vec4<f32>, key: u32, four: u32) -> vec4<f32> {
    weights[key * 4u + four] = x;
    workgroupBarrier();
    if key < 16u {
        let i = key * 16u + four;
        partial[key * 4u + four] =
            max(max(weights[i], weights[i + 4u]), max(weights[i + 8u], weights[i + 12u]));
    }
    workgroupBarrier();
    var m = partial[four];
    for (var i = 1u; i < 16u; i++) {
        m = max(m, partial[i * 4u + four]);
    }
    return m;
}

fn sum_over_keys(x: vec4<f32>, key: u32, four: u32) -> vec4<f32> {
    weights[key * 4u + four] = x;
    workgroupBarrier();
    if key < 16u {
        let i = key * 16u + four;
        partial[key * 4u + four] = weights[i] + weights[i + 4u] + weights[i + 8u] + weights[i + 12u];
    }
    workgroupBarrier();
    var sum = partial[four];
    for (var i = 1u; i < 16u; i++) {
        sum += partial[i * 4u + four];
    }
    return sum;
}

// The values of a thread's column, summed over the parts, for 4 rows.
fn store_rows(four: u32, first_row: u32, kv_head: u32, sum: vec4<f32>, parts: u32, local: u32) {
    weights[local] = sum;
    workgroupBarrier();
    if local < p.key {
        var x = weights[local];
        for (var part = 1u; part < parts; part++) {
            x += weights[part * p.key + local];
        }
        x /= shrink[four];
        let row = first_row + four * 4u;
        store(row, kv_head, local, x.x);
        store(row + 1u, kv_head, local, x.y);
        store(row + 2u, kv_head, local, x.z);
        store(row + 3u, kv_head, local, x.w);
    }
    workgroupBarrier();
}

fn store(row: u32, kv_head: u32, channel: u32, x: f32) {
    let shared_by = p.heads / p.kv_heads;
    let t = row / shared_by;
    if t >= p.t {
        return;
    }
    let h = kv_head * shared_by + row % shared_by;
    o[(t * p.heads + h) * p.key + channel] = x;
}

// One workgroup for 16 rows and a key-value head.
@compute @workgroup_size(256)
fn attend(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let first_row = group.x * 16u;
    let kv_head = group.y;
    let width = p.kv_heads * p.key;
    // For the scores.
    let key = local % KEYS;
    let four = local / KEYS;
    let row = first_row + four * 4u;
    let see0 = visible(row);
    let see1 = visible(row + 1u);
    let see2 = visible(row + 2u);
    let see3 = visible(row + 3u);
    let starts = vec4(see0.x, see1.x, see2.x, see3.x);
    let ends = vec4(see0.y, see1.y, see2.y, see3.y);
    var largest = vec4(LOWEST);
    var total = vec4(0.0);
    // For the values.
    let parts = 256u / p.key;
    let column = local % p.key;
    let part = local / p.key;
    var sum0 = vec4(0.0);
    var sum1 = vec4(0.0);
    var sum2 = vec4(0.0);
    var sum3 = vec4(0.0);

    let all_end = visible(first_row + 15u).y;
    for (var first = visible(first_row).x; first < all_end; first += KEYS) {
        var score = vec4(0.0);
        for (var channel = 0u; channel < p.key; channel += 16u) {
            if local < 64u {
                let r = first_row + local / 16u * 4u;
                let c = channel + local % 16u;
                q_tile[local % 16u * 4u + local / 16u] = vec4(
                    query(r, kv_head, c),
                    query(r + 1u, kv_head, c),
                    query(r + 2u, kv_head, c),
                    query(r + 3u, kv_head, c),
                );
            }
            for (var i = local; i < 1024u; i += 256u) {
                let j = first + i / 16u;
                let c = channel + i % 16u;
                var x = 0.0;
                if j < all_end && c < p.key {
                    x = k_cache[j * width + kv_head * p.key + c];
                }
                k_tile[i % 16u * KEYS + i / 16u] = x;
            }
            workgroupBarrier();
            for (var c = 0u; c < 16u; c++) {
                score += q_tile[c * 4u + four] * k_tile[c * KEYS + key];
            }
            workgroupBarrier();
        }

        let j = vec4(first + key);
        let seen = (j >= starts) & (j < ends);
        let new_largest =
            max(largest, largest_over_keys(select(vec4(LOWEST), score, seen), key, four));
        let factor = exp(largest - new_largest);
        let weight = select(vec4(0.0), exp(score - new_largest), seen);
        largest = new_largest;
        total = total * factor + weight;
        workgroupBarrier();
        weights[key * 4u + four] = weight;
        if key == 0u {
            shrink[four] = factor;
        }
        workgroupBarrier();

        sum0 *= shrink[0];
        sum1 *= shrink[1];
        sum2 *= shrink[2];
        sum3 *= shrink[3];
        if part < parts {
            for (var i = part; i < min(KEYS, all_end - first); i += parts) {
                let x = v_cache[(first + i) * width + kv_head * p.key + column];
                sum0 += weights[i * 4u] * x;
                sum1 += weights[i * 4u + 1u] * x;
                sum2 += weights[i * 4u + 2u] * x;
                sum3 += weights[i * 4u + 3u] * x;
            }
        }
        workgroupBarrier();
    }

    let sums = sum_over_keys(total, key, four);
    workgroupBarrier();
    if key == 0u {
        shrink[four] = sums;
    }
    workgroupBarrier();
    store_rows(0u, first_row, kv_head, sum0, parts, local);
    store_rows(1u, first_row, kv_head, sum1, parts, local);
    store_rows(2u, first_row, kv_head, sum2, parts, local);
    store_rows(3u, first_row, kv_head, sum3, parts, local);
}
