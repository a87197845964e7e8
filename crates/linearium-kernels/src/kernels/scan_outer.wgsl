// The outer-product scan in chunks of 64 tokens; see scan_outer.rs for the recurrence.
//
// With L_t the sum of log-decays over a chunk's tokens up to and with t, S the state before the
// chunk and w_j the write scale:
//
//   o_t    = scale * (sum_{j <= t} w_j (q_t . e^(L_t - L_j) k_j) v_j  +  (q_t e^L_t)^T S)
//          (with `read_before`: j < t, and L_{t-1} in place of L_t)
//   S_next = e^L_end S + sum_j w_j (e^(L_end - L_j) k_j) v_j^T
//
//   chunk_state   the sum in S_next for each chunk, and L_end, into `scratch`
//   chunk_pass    walks over the chunks: replaces each sum by the state before that chunk
//   chunk_out     the outputs
//   single_chunk  all of it where there is but one chunk
//
// Every difference of two L above is computed as the sum of the log-decays between the two tokens,
// never as a difference: a strong decay (-1e4) would leave no digits for its neighbours, and
// e^L_t e^-L_j overflows. To have such sums at little cost a chunk's tokens go in 16 groups of 4.
// The 256 threads are a grid of 16 x 16; in a tile of 64 x 64 a thread owns 4 x 4 elements.

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
    per_key: u32,
    has_write_scale: u32,
    scale: f32,
    write_factor: f32,
    read_before: u32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> q: array<f32>;
@group(0) @binding(2) var<storage, read> k: array<f32>;
@group(0) @binding(3) var<storage, read> v: array<f32>;
@group(0) @binding(4) var<storage, read> g: array<f32>;
@group(0) @binding(5) var<storage, read> w: array<f32>;
@group(0) @binding(6) var<storage, read_write> o: array<f32>;
@group(0) @binding(7) var<storage, read_write> state: array<f32>;
@group(0) @binding(8) var<storage, read_write> scratch: array<f32>;

const CHUNK = 64u;

// The factors of a tile product, by inner index: 4 rows to a vector, or 4 columns to a vector.
var<workgroup> rows: array<vec4<f32>, 256>;
var<workgroup> columns: array<vec4<f32>, 256>;
// Sums of log-decays over the 16 groups of 4 tokens, for 16 channels.
var<workgroup> group_sum: array<f32, 256>;

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

// Beyond the last token everything reads as zero: no decay, nothing written.

fn log_decay(t: u32, head: u32, channel: u32) -> f32 {
    if t >= p.t || channel >= p.key {
        return 0.0;
    }
    if p.per_key == 1u {
        return g[(t * p.heads + head) * p.key + channel];
    }
    return g[t * p.heads + head];
}

fn log_decay4(t: u32, head: u32, channel: u32) -> vec4<f32> {
    return vec4(
        log_decay(t, head, channel),
        log_decay(t + 1u, head, channel),
        log_decay(t + 2u, head, channel),
        log_decay(t + 3u, head, channel),
    );
}

fn query(t: u32, head: u32, channel: u32) -> f32 {
    if t >= p.t || channel >= p.key {
        return 0.0;
    }
    let shared_by = p.heads / p.groups;
    return q[p.q_offset + t * p.q_stride + head / shared_by * p.key + channel] * p.scale;
}

fn query4(t: u32, head: u32, channel: u32) -> vec4<f32> {
    return vec4(
        query(t, head, channel),
        query(t + 1u, head, channel),
        query(t + 2u, head, channel),
        query(t + 3u, head, channel),
    );
}

// The key times its write scale.
fn written_key(t: u32, head: u32, channel: u32) -> f32 {
    if t >= p.t || channel >= p.key {
        return 0.0;
    }
    let shared_by = p.heads / p.groups;
    var write = p.write_factor;
    if p.has_write_scale == 1u {
        write *= w[t * p.heads + head];
    }
    return k[p.k_offset + t * p.k_stride + head / shared_by * p.key + channel] * write;
}

fn written_key4(t: u32, head: u32, channel: u32) -> vec4<f32> {
    return vec4(
        written_key(t, head, channel),
        written_key(t + 1u, head, channel),
        written_key(t + 2u, head, channel),
        written_key(t + 3u, head, channel),
    );
}

fn value_at(t: u32, head: u32, column: u32) -> f32 {
    if t >= p.t || column >= p.value {
        return 0.0;
    }
    return v[p.v_offset + t * p.v_stride + head * p.value + column];
}

fn value4(t: u32, head: u32, column: u32) -> vec4<f32> {
    return vec4(
        value_at(t, head, column),
        value_at(t, head, column + 1u),
        value_at(t, head, column + 2u),
        value_at(t, head, column + 3u),
    );
}

// `scratch` holds for every chunk the states of all heads, then for every chunk all their L_end.
fn chunk_state_at(chunk: u32, head: u32, channel: u32, column: u32) -> u32 {
    return ((chunk * p.heads + head) * p.key + channel) * p.value + column;
}

fn chunk_decay_at(chunks: u32, chunk: u32, head: u32, channel: u32) -> u32 {
    return (chunks * p.heads * p.value + chunk * p.heads + head) * p.key + channel;
}

fn state_before(chunk: u32, head: u32, channel: u32, column: u32, single: bool) -> f32 {
    if channel >= p.key || column >= p.value {
        return 0.0;
    }
    let i = chunk_state_at(chunk, head, channel, column);
    if single {
        return state[i];
    }
    return scratch[i];
}

// Tokens of the chunk: what lies behind them is not worked on.
fn tokens_of(chunk: u32) -> u32 {
    return min(CHUNK, p.t - chunk * CHUNK);
}

// Adds the product of `rows` and `columns` over an inner width of 16.
fn add_product(sum: Tile, row: u32, column: u32) -> Tile {
    var s = sum;
    for (var i = 0u; i < 16u; i++) {
        let r = rows[i * 16u + row];
        let c = columns[i * 16u + column];
        s.a += r.x * c;
        s.b += r.y * c;
        s.c += r.z * c;
        s.d += r.w * c;
    }
    return s;
}

// (q_t e^L_t)^T S for 64 tokens and 64 value columns.
fn from_before(chunk: u32, head: u32, first_column: u32, local: u32, single: bool) -> Tile {
    let row = local / 16u;
    let column = local % 16u;
    let t = chunk * CHUNK + row * 4u;
    let has_tokens = t < p.t;
    var sum = Tile();
    for (var first = 0u; first < p.key; first += 16u) {
        // Here a thread prepares 4 tokens of one channel ...
        let channel = first + column;
        var l = log_decay4(t, head, channel);
        l = from_group_start(l);
        group_sum[column * 16u + row] = l.w;
        l = as_read(l);
        workgroupBarrier();
        var before = 0.0;
        for (var earlier = 0u; earlier < row; earlier++) {
            before += group_sum[column * 16u + earlier];
        }
        rows[column * 16u + row] = query4(t, head, channel) * decay4(l + before);
        // ... and 4 columns of one row of S.
        let c = first_column + column * 4u;
        columns[row * 16u + column] = vec4(
            state_before(chunk, head, first + row, c, single),
            state_before(chunk, head, first + row, c + 1u, single),
            state_before(chunk, head, first + row, c + 2u, single),
            state_before(chunk, head, first + row, c + 3u, single),
        );
        workgroupBarrier();
        if has_tokens {
            sum = add_product(sum, row, column);
        }
        workgroupBarrier();
    }
    return sum;
}

// The decays between 4 later tokens (rows) and 4 earlier ones (columns) as three factors:
// e^(from the earlier token to the end of its group), e^(groups between), e^(from the start of
// the later group to the later token). For a group with itself there is nothing to factor.

fn to_group_end(l: vec4<f32>) -> vec4<f32> {
    let s2 = l.w;
    let s1 = l.z + s2;
    let s0 = l.y + s1;
    return vec4(s0, s1, s2, 0.0);
}

fn from_group_start(l: vec4<f32>) -> vec4<f32> {
    let s1 = l.x + l.y;
    let s2 = s1 + l.z;
    return vec4(l.x, s1, s2, s2 + l.w);
}

// From sums up to and with each of 4 tokens to those that its output reads.
fn as_read(l: vec4<f32>) -> vec4<f32> {
    return select(l, vec4(0.0, l.xyz), p.read_before == 1u);
}

fn within_group(l: vec4<f32>) -> Tile {
    let e1 = decay(l.y);
    let e2 = decay(l.z);
    if p.read_before == 1u {
        return Tile(
            vec4(0.0),
            vec4(1.0, 0.0, 0.0, 0.0),
            vec4(e1, 1.0, 0.0, 0.0),
            vec4(decay(l.y + l.z), e2, 1.0, 0.0),
        );
    }
    let e3 = decay(l.w);
    return Tile(
        vec4(1.0, 0.0, 0.0, 0.0),
        vec4(e1, 1.0, 0.0, 0.0),
        vec4(decay(l.y + l.z), e2, 1.0, 0.0),
        vec4(decay(l.y + l.z + l.w), decay(l.z + l.w), e3, 1.0),
    );
}

// w_j (q_t . e^(L_t - L_j) k_j) with one log-decay a head: q_t . k_j first, the decay afterwards.
fn scores_per_head(chunk: u32, head: u32, local: u32) -> Tile {
    let row = local / 16u;
    let column = local % 16u;
    let t = chunk * CHUNK;
    var s = Tile();
    for (var first = 0u; first < p.key; first += 16u) {
        rows[column * 16u + row] = query4(t + row * 4u, head, first + column);
        columns[column * 16u + row] = written_key4(t + row * 4u, head, first + column);
        workgroupBarrier();
        if row >= column && t + row * 4u < p.t {
            s = add_product(s, row, column);
        }
        workgroupBarrier();
    }
    let l = log_decay4(t + row * 4u, head, 0u);
    if column == 0u {
        group_sum[row] = l.x + l.y + l.z + l.w;
    }
    workgroupBarrier();
    if row < column {
        return Tile();
    }
    if row == column {
        let d = within_group(l);
        return Tile(s.a * d.a, s.b * d.b, s.c * d.c, s.d * d.d);
    }
    var between = 0.0;
    for (var i = column + 1u; i < row; i++) {
        between += group_sum[i];
    }
    let earlier = decay4(to_group_end(log_decay4(t + column * 4u, head, 0u))) * decay(between);
    let later = decay4(as_read(from_group_start(l)));
    return Tile(
        s.a * earlier * later.x,
        s.b * earlier * later.y,
        s.c * earlier * later.z,
        s.d * earlier * later.w,
    );
}

// The same with a log-decay a key channel: the decay belongs inside the sum over channels.
// Eight channels at a time: `rows` holds q, then q e^(from its group's start); `columns` holds
// k, then k e^(to its group's end).
fn scores_per_key(chunk: u32, head: u32, local: u32) -> Tile {
    let row = local / 16u;
    let column = local % 16u;
    let t = chunk * CHUNK;
    // While loading, a thread has 4 tokens of one channel, of q or of k.
    let channel = local % 8u;
    let tokens = local / 8u % 16u;
    let is_query = local < 128u;
    var s = Tile();
    for (var first = 0u; first < p.key; first += 8u) {
        let l = log_decay4(t + tokens * 4u, head, first + channel);
        if is_query {
            let x = query4(t + tokens * 4u, head, first + channel);
            rows[channel * 16u + tokens] = x;
            rows[128u + channel * 16u + tokens] = x * decay4(as_read(from_group_start(l)));
            group_sum[channel * 16u + tokens] = l.x + l.y + l.z + l.w;
        } else {
            let x = written_key4(t + tokens * 4u, head, first + channel);
            columns[channel * 16u + tokens] = x;
            columns[128u + channel * 16u + tokens] = x * decay4(to_group_end(l));
        }
        workgroupBarrier();
        if t + row * 4u >= p.t {
            // No tokens here.
        } else if row > column {
            for (var i = 0u; i < 8u; i++) {
                var between = 0.0;
                for (var m = column + 1u; m < row; m++) {
                    between += group_sum[i * 16u + m];
                }
                let r = rows[128u + i * 16u + row];
                let c = columns[128u + i * 16u + column] * decay(between);
                s.a += r.x * c;
                s.b += r.y * c;
                s.c += r.z * c;
                s.d += r.w * c;
            }
        } else if row == column {
            for (var i = 0u; i < 8u; i++) {
                let d = within_group(log_decay4(t + row * 4u, head, first + i));
                let r = rows[i * 16u + row];
                let c = columns[i * 16u + row];
                s.a += r.x * c * d.a;
                s.b += r.y * c * d.b;
                s.c += r.z * c * d.c;
                s.d += r.w * c * d.d;
            }
        }
        workgroupBarrier();
    }
    return s;
}

// Adds scores times values, 16 earlier tokens at a time.
fn add_values(sum: Tile, scores: Tile, chunk: u32, head: u32, first_column: u32, local: u32) -> Tile {
    let row = local / 16u;
    let column = local % 16u;
    var s = sum;
    let blocks = (tokens_of(chunk) + 15u) / 16u;
    for (var block = 0u; block < blocks; block++) {
        // The threads that own these 16 columns of the scores lay them out as rows.
        if column / 4u == block {
            let i = column % 4u * 4u;
            rows[i * 16u + row] = vec4(scores.a.x, scores.b.x, scores.c.x, scores.d.x);
            rows[(i + 1u) * 16u + row] = vec4(scores.a.y, scores.b.y, scores.c.y, scores.d.y);
            rows[(i + 2u) * 16u + row] = vec4(scores.a.z, scores.b.z, scores.c.z, scores.d.z);
            rows[(i + 3u) * 16u + row] = vec4(scores.a.w, scores.b.w, scores.c.w, scores.d.w);
        }
        let t = chunk * CHUNK + block * 16u + row;
        columns[row * 16u + column] = value4(t, head, first_column + column * 4u);
        workgroupBarrier();
        // Tokens before the block see nothing of it.
        if row / 4u >= block && row / 4u < blocks {
            s = add_product(s, row, column);
        }
        workgroupBarrier();
    }
    return s;
}

fn store_out(t: u32, head: u32, column: u32, x: vec4<f32>) {
    if t >= p.t {
        return;
    }
    let i = (t * p.heads + head) * p.value + column;
    if column < p.value {
        o[i] = x.x;
    }
    if column + 1u < p.value {
        o[i + 1u] = x.y;
    }
    if column + 2u < p.value {
        o[i + 2u] = x.z;
    }
    if column + 3u < p.value {
        o[i + 3u] = x.w;
    }
}

// The outputs of one chunk, one head and 64 value columns.
fn outputs(chunk: u32, head: u32, first_column: u32, local: u32, single: bool) {
    var scores: Tile;
    if p.per_key == 1u {
        scores = scores_per_key(chunk, head, local);
    } else {
        scores = scores_per_head(chunk, head, local);
    }
    var sum = from_before(chunk, head, first_column, local, single);
    sum = add_values(sum, scores, chunk, head, first_column, local);
    let t = chunk * CHUNK + local / 16u * 4u;
    let column = first_column + local % 16u * 4u;
    store_out(t, head, column, sum.a);
    store_out(t + 1u, head, column, sum.b);
    store_out(t + 2u, head, column, sum.c);
    store_out(t + 3u, head, column, sum.d);
}

struct ChunkSum {
    // sum_j w_j (e^(L_end - L_j) k_j) v_j^T: 4 channels by 4 value columns.
    sum: Tile,
    // L_end of the 4 channels.
    log_decay: vec4<f32>,
}

// The sum for 64 channels and 64 value columns, from the last 16 tokens to the first.
fn chunk_sum(chunk: u32, head: u32, first_key: u32, first_column: u32, local: u32) -> ChunkSum {
    let row = local / 16u;
    let column = local % 16u;
    // While loading, a thread has one token and 4 channels.
    let channel = first_key + column * 4u;
    var sum = Tile();
    var after = vec4(0.0);
    for (var block = (tokens_of(chunk) + 15u) / 16u; block > 0u; block--) {
        let t = chunk * CHUNK + (block - 1u) * 16u + row;
        rows[row * 16u + column] = vec4(
            log_decay(t, head, channel),
            log_decay(t, head, channel + 1u),
            log_decay(t, head, channel + 2u),
            log_decay(t, head, channel + 3u),
        );
        workgroupBarrier();
        var later = after;
        for (var i = 15u; i > row; i--) {
            later += rows[i * 16u + column];
        }
        for (var i = 0u; i < 16u; i++) {
            after += rows[i * 16u + column];
        }
        workgroupBarrier();
        rows[row * 16u + column] = decay4(later) * vec4(
            written_key(t, head, channel),
            written_key(t, head, channel + 1u),
            written_key(t, head, channel + 2u),
            written_key(t, head, channel + 3u),
        );
        columns[row * 16u + column] = value4(t, head, first_column + column * 4u);
        workgroupBarrier();
        sum = add_product(sum, row, column);
        workgroupBarrier();
    }
    // From the threads that loaded a channel to those that own it in the tile.
    if row == 0u {
        rows[column] = after;
    }
    workgroupBarrier();
    let log_decays = rows[row];
    workgroupBarrier();
    return ChunkSum(sum, log_decays);
}

fn store_chunk_state(chunk: u32, head: u32, channel: u32, column: u32, x: vec4<f32>) {
    if channel >= p.key {
        return;
    }
    let i = chunk_state_at(chunk, head, channel, column);
    if column < p.value {
        scratch[i] = x.x;
    }
    if column + 1u < p.value {
        scratch[i + 1u] = x.y;
    }
    if column + 2u < p.value {
        scratch[i + 2u] = x.z;
    }
    if column + 3u < p.value {
        scratch[i + 3u] = x.w;
    }
}

fn store_chunk_decay(chunks: u32, chunk: u32, head: u32, channel: u32, x: f32) {
    if channel < p.key {
        scratch[chunk_decay_at(chunks, chunk, head, channel)] = x;
    }
}

// One workgroup for 64 channels x 64 value columns, a head and a chunk.
@compute @workgroup_size(256)
fn chunk_state(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let value_tiles = (p.value + 63u) / 64u;
    let first_key = group.x / value_tiles * 64u;
    let first_column = group.x % value_tiles * 64u;
    let s = chunk_sum(group.z, group.y, first_key, first_column, local);
    let channel = first_key + local / 16u * 4u;
    let column = first_column + local % 16u * 4u;
    store_chunk_state(group.z, group.y, channel, column, s.sum.a);
    store_chunk_state(group.z, group.y, channel + 1u, column, s.sum.b);
    store_chunk_state(group.z, group.y, channel + 2u, column, s.sum.c);
    store_chunk_state(group.z, group.y, channel + 3u, column, s.sum.d);
    if column == 0u {
        store_chunk_decay(count.z, group.z, group.y, channel, s.log_decay.x);
        store_chunk_decay(count.z, group.z, group.y, channel + 1u, s.log_decay.y);
        store_chunk_decay(count.z, group.z, group.y, channel + 2u, s.log_decay.z);
        store_chunk_decay(count.z, group.z, group.y, channel + 3u, s.log_decay.w);
    }
}

// One thread a state element.
@compute @workgroup_size(256)
fn chunk_pass(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let i = (group.y * 65535u + group.x) * 256u + local;
    let size = p.heads * p.key * p.value;
    if i >= size {
        return;
    }
    let chunks = (p.t + CHUNK - 1u) / CHUNK;
    let channels = p.heads * p.key;
    var s = state[i];
    for (var chunk = 0u; chunk < chunks; chunk++) {
        let sum = scratch[chunk * size + i];
        let total = scratch[chunks * size + chunk * channels + i / p.value];
        scratch[chunk * size + i] = s;
        s = decay(total) * s + sum;
    }
    state[i] = s;
}

// One workgroup for 64 value columns, a head and a chunk.
@compute @workgroup_size(256)
fn chunk_out(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    outputs(group.z, group.y, group.x * 64u, local, false);
}

fn advance_state(head: u32, channel: u32, column: u32, log_decay: f32, sum: vec4<f32>) {
    if channel >= p.key {
        return;
    }
    let i = chunk_state_at(0u, head, channel, column);
    let e = decay(log_decay);
    if column < p.value {
        state[i] = e * state[i] + sum.x;
    }
    if column + 1u < p.value {
        state[i + 1u] = e * state[i + 1u] + sum.y;
    }
    if column + 2u < p.value {
        state[i + 2u] = e * state[i + 2u] + sum.z;
    }
    if column + 3u < p.value {
        state[i + 3u] = e * state[i + 3u] + sum.w;
    }
}

// One workgroup for 64 value columns and a head: it alone reads and then writes these columns of
// the state.
@compute @workgroup_size(256)
fn single_chunk(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let head = group.y;
    let first_column = group.x * 64u;
    outputs(0u, head, first_column, local, true);
    storageBarrier();
    for (var first_key = 0u; first_key < p.key; first_key += 64u) {
        let s = chunk_sum(0u, head, first_key, first_column, local);
        let channel = first_key + local / 16u * 4u;
        let column = first_column + local % 16u * 4u;
        advance_state(head, channel, column, s.log_decay.x, s.sum.a);
        advance_state(head, channel + 1u, column, s.log_decay.y, s.sum.b);
        advance_state(head, channel + 2u, column, s.log_decay.z, s.sum.c);
        advance_state(head, channel + 3u, column, s.log_decay.w, s.sum.d);
    }
}
