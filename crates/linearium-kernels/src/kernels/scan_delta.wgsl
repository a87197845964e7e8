// The delta-rule scan; see scan_delta.rs for the two recurrences. Here are the bindings and the
// stage `tokens`: any rule, token by token, with the state in registers. The shader goes on in
// scan_delta_chunks.wgsl with the stages that work in chunks.

struct Params {
    t: u32,
    heads: u32,
    key: u32,
    value: u32,
    groups: u32,
    q_stride: u32,
    q_offset: u32,
    k_stride: u32,
    k_offset: u32,
    v_stride: u32,
    v_offset: u32,
    flags: u32,
    erase_stride: u32,
    erase_offset: u32,
    scale: f32,
    write_factor: f32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> q: array<f32>;
@group(0) @binding(2) var<storage, read> k: array<f32>;
@group(0) @binding(3) var<storage, read> v: array<f32>;
@group(0) @binding(4) var<storage, read> g: array<f32>;
@group(0) @binding(5) var<storage, read> erase: array<f32>;
@group(0) @binding(6) var<storage, read_write> o: array<f32>;
@group(0) @binding(7) var<storage, read_write> state: array<f32>;
@group(0) @binding(8) var<storage, read_write> scratch: array<vec4<f32>>;

const DECAY_PER_HEAD = 1u;
const DECAY_PER_KEY = 2u;
const DPLR = 4u;

// 4 x 4 elements, one vector a row.
struct Tile {
    a: vec4<f32>,
    b: vec4<f32>,
    c: vec4<f32>,
    d: vec4<f32>,
}

// e^x for x <= 0, exactly zero where that is smaller than a normal number; -infinity is welcome.
fn decay(x: f32) -> f32 {
    return select(0.0, exp(x), x > -87.0);
}

fn decay4(x: vec4<f32>) -> vec4<f32> {
    return select(vec4(0.0), exp(x), x > vec4(-87.0));
}

// Beyond the last token everything reads as zero: no decay, nothing erased or written.

fn log_decay(t: u32, head: u32, channel: u32) -> f32 {
    if t >= p.t || channel >= p.key {
        return 0.0;
    }
    if (p.flags & DECAY_PER_KEY) != 0u {
        return g[(t * p.heads + head) * p.key + channel];
    }
    if (p.flags & DECAY_PER_HEAD) != 0u {
        return g[t * p.heads + head];
    }
    return 0.0;
}

fn query(t: u32, head: u32, channel: u32) -> f32 {
    if t >= p.t || channel >= p.key {
        return 0.0;
    }
    let shared_by = p.heads / p.groups;
    return q[p.q_offset + t * p.q_stride + head / shared_by * p.key + channel] * p.scale;
}

fn key(t: u32, head: u32, channel: u32) -> f32 {
    if t >= p.t || channel >= p.key {
        return 0.0;
    }
    let shared_by = p.heads / p.groups;
    return k[p.k_offset + t * p.k_stride + head / shared_by * p.key + channel];
}

fn beta(t: u32, head: u32) -> f32 {
    if t >= p.t {
        return 0.0;
    }
    return erase[p.erase_offset + t * p.erase_stride + head];
}

// a (`which` 0) or b (1) of the diagonal-plus-low-rank rule.
fn low_rank(which: u32, t: u32, head: u32, channel: u32) -> f32 {
    if t >= p.t || channel >= p.key {
        return 0.0;
    }
    return erase[p.erase_offset + t * p.erase_stride + (which * p.heads + head) * p.key + channel];
}

fn value_at(t: u32, head: u32, column: u32) -> f32 {
    if t >= p.t || column >= p.value {
        return 0.0;
    }
    return v[p.v_offset + t * p.v_stride + head * p.value + column];
}

fn state_index(head: u32, channel: u32, column: u32) -> u32 {
    return (head * p.key + channel) * p.value + column;
}

fn state_at(head: u32, channel: u32, column: u32) -> f32 {
    if channel >= p.key || column >= p.value {
        return 0.0;
    }
    return state[state_index(head, channel, column)];
}

fn store_state(head: u32, channel: u32, column: u32, x: f32) {
    if channel < p.key && column < p.value {
        state[state_index(head, channel, column)] = x;
    }
}

// A workgroup has a head and 128 / parts columns. A thread owns 16 rows of one column of the state,
// 4 x 4 consecutive ones, or 32 where there are more than 128 keys.

// For some tokens e^g, a, b, k, q: S = e^g S + b (a^T S) + k v^T.
var<workgroup> ahead: array<vec4<f32>, 640>;
// What each thread read with a, and with the q of the token before; in turns.
var<workgroup> recalls: array<vec2<f32>, 256>;

fn parts() -> u32 {
    var n = 1u;
    while n * 16u < p.key && n < 8u {
        n *= 2u;
    }
    return n;
}

fn state4(head: u32, channel: u32, column: u32) -> vec4<f32> {
    return vec4(
        state_at(head, channel, column),
        state_at(head, channel + 1u, column),
        state_at(head, channel + 2u, column),
        state_at(head, channel + 3u, column),
    );
}

fn store_state4(head: u32, channel: u32, column: u32, x: vec4<f32>) {
    store_state(head, channel, column, x.x);
    store_state(head, channel + 1u, column, x.y);
    store_state(head, channel + 2u, column, x.z);
    store_state(head, channel + 3u, column, x.w);
}

fn load_rows(head: u32, channel: u32, column: u32, step: u32) -> Tile {
    return Tile(
        state4(head, channel, column),
        state4(head, channel + step, column),
        state4(head, channel + 2u * step, column),
        state4(head, channel + 3u * step, column),
    );
}

fn store_rows(head: u32, channel: u32, column: u32, step: u32, s: Tile) {
    store_state4(head, channel, column, s.a);
    store_state4(head, channel + step, column, s.b);
    store_state4(head, channel + 2u * step, column, s.c);
    store_state4(head, channel + 3u * step, column, s.d);
}

fn read_rows(s: Tile, at: u32, step: u32) -> f32 {
    return dot(ahead[at], s.a)
        + dot(ahead[at + step], s.b)
        + dot(ahead[at + 2u * step], s.c)
        + dot(ahead[at + 3u * step], s.d);
}

// `at` is of e^g; a, b, k, q lie `width` vectors behind each other.
fn write_rows(s: Tile, at: u32, step: u32, width: u32, recalled: f32, written: f32) -> Tile {
    let b = at + 2u * width;
    let k = at + 3u * width;
    return Tile(
        ahead[at] * s.a + (ahead[b] * recalled + ahead[k] * written),
        ahead[at + step] * s.b + (ahead[b + step] * recalled + ahead[k + step] * written),
        ahead[at + 2u * step] * s.c + (ahead[b + 2u * step] * recalled + ahead[k + 2u * step] * written),
        ahead[at + 3u * step] * s.d + (ahead[b + 3u * step] * recalled + ahead[k + 3u * step] * written),
    );
}

fn log_decay4(t: u32, head: u32, channel: u32) -> vec4<f32> {
    return vec4(
        log_decay(t, head, channel),
        log_decay(t, head, channel + 1u),
        log_decay(t, head, channel + 2u),
        log_decay(t, head, channel + 3u),
    );
}

fn query4(t: u32, head: u32, channel: u32) -> vec4<f32> {
    return vec4(
        query(t, head, channel),
        query(t, head, channel + 1u),
        query(t, head, channel + 2u),
        query(t, head, channel + 3u),
    );
}

fn key4(t: u32, head: u32, channel: u32) -> vec4<f32> {
    return vec4(
        key(t, head, channel),
        key(t, head, channel + 1u),
        key(t, head, channel + 2u),
        key(t, head, channel + 3u),
    );
}

fn low_rank4(which: u32, t: u32, head: u32, channel: u32) -> vec4<f32> {
    return vec4(
        low_rank(which, t, head, channel),
        low_rank(which, t, head, channel + 1u),
        low_rank(which, t, head, channel + 2u),
        low_rank(which, t, head, channel + 3u),
    );
}

fn look_ahead(t: u32, head: u32, i: u32, at: u32, width: u32) {
    let channel = i * 4u;
    let d = decay4(log_decay4(t, head, channel));
    let k = key4(t, head, channel);
    var a: vec4<f32>;
    var b: vec4<f32>;
    var write = p.write_factor;
    if (p.flags & DPLR) != 0u {
        a = low_rank4(0u, t, head, channel);
        b = low_rank4(1u, t, head, channel);
    } else {
        let strength = beta(t, head);
        a = d * k;
        b = -strength * k;
        write *= strength;
    }
    ahead[at] = d;
    ahead[at + width] = a;
    ahead[at + 2u * width] = b;
    ahead[at + 3u * width] = write * k;
    ahead[at + 4u * width] = query4(t, head, channel);
}

// The sums over the threads of this column.
fn sum_parts(turn: u32, column: u32, parts: u32) -> vec2<f32> {
    var sum = recalls[turn + column];
    for (var i = 1u; i < parts; i++) {
        sum += recalls[turn + i * (128u / parts) + column];
    }
    return sum;
}

@compute @workgroup_size(128)
fn tokens(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let head = group.y;
    let parts = parts();
    let columns = 128u / parts;
    let part = local / columns;
    let column = group.x * columns + local % columns;
    let is_wide = p.key > 128u;
    // Vectors of 4 keys: a thread has number `part`, `part + parts`, and so on.
    let width = parts * select(4u, 8u, is_wide);
    var low = load_rows(head, part * 4u, column, parts * 4u);
    var high = Tile();
    if is_wide {
        high = load_rows(head, (part + 4u * parts) * 4u, column, parts * 4u);
    }
    let at_once = 640u / (5u * width);
    var turn = 0u;
    var read_out = 0.0;
    for (var first = 0u; first < p.t; first += at_once) {
        let count = min(at_once, p.t - first);
        for (var i = local; i < count * width; i += 128u) {
            look_ahead(first + i / width, head, i % width, i / width * 5u * width + i % width, width);
        }
        workgroupBarrier();
        for (var j = 0u; j < count; j++) {
            let t = first + j;
            let written = value_at(t, head, column);
            let at = j * 5u * width + part;
            var recalled = read_rows(low, at + width, parts);
            if is_wide {
                recalled += read_rows(high, at + width + 4u * parts, parts);
            }
            recalls[turn + local] = vec2(recalled, read_out);
            workgroupBarrier();
            let sums = sum_parts(turn, local % columns, parts);
            if part == 0u && t > 0u && column < p.value {
                o[((t - 1u) * p.heads + head) * p.value + column] = sums.y;
            }
            low = write_rows(low, at, parts, width, sums.x, written);
            read_out = read_rows(low, at + 4u * width, parts);
            if is_wide {
                high = write_rows(high, at + 4u * parts, parts, width, sums.x, written);
                read_out += read_rows(high, at + 4u * width + 4u * parts, parts);
            }
            turn = 128u - turn;
        }
        workgroupBarrier();
    }
    recalls[turn + local] = vec2(0.0, read_out);
    workgroupBarrier();
    if part == 0u && column < p.value {
        let sums = sum_parts(turn, local, parts);
        o[((p.t - 1u) * p.heads + head) * p.value + column] = sums.y;
    }
    store_rows(head, part * 4u, column, parts * 4u, low);
    if is_wide {
        store_rows(head, (part + 4u * parts) * 4u, column, parts * 4u, high);
    }
}
