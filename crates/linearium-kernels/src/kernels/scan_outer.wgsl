// The outer-product scan in chunks of 64 tokens; see scan_outer.rs for the recurrence.
//
// With L_t the sum of log-decays over a chunk's tokens up to and with t, S the state before the
// chunk and w_j the write scale:
//
//   o_t    = scale * (sum_{j <= t} w_j (q_t . e^(L_t - L_j) k_j) v_j  +  (q_t e^L_t)^T S)
//          (with `read_before`: j < t, and L_{t-1} in place of L_t)
//   S_next = e^L_end S + sum_j w_j (e^(L_end - L_j) k_j) v_j^T
//
// Three passes for many chunks:
//   chunk_parts   what a chunk gives by itself: the sum in S_next and e^L_end; the scores, which
//                 are the factors of v_j in o_t; and q_t e^L_t
//   chunk_pass    walks over the chunks: replaces each sum by the state before that chunk
//   chunk_out     the outputs: (scores, q e^L) times (v, S)
// One pass for few: `fused` walks over the chunks itself. `few_tokens` is the recurrence.
//
// Every difference of two L above is the sum of the log-decays between the two tokens, never a
// difference: a strong decay (-1e4) would leave no digits for its neighbours, and e^L_t e^-L_j
// overflows. For the scores a chunk is halved down to groups of 4 tokens: two tokens in different
// halves of a segment have q_t e^(from the middle to t) . e^(from j to the middle) k_j, so that at
// each of 4 levels a token needs but one vector, of q in an upper half and of k in a lower one.
//
// In a tile product of 64 x 64 each of 128 threads owns 8 x 4 elements.

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
@group(0) @binding(8) var<storage, read_write> scratch: array<vec4<f32>>;

const CHUNK = 64u;

// Tile products: two buffers, each 8 inner indices of 64 rows, then 8 of 64 columns; one is
// filled while the other is used. Scores: 4 levels of 8 channels of 16 groups. Indices are put
// together from bits, so that a compiler sees that they are in bounds.
var<workgroup> tile: array<vec4<f32>, 512>;
// Sums of log-decays over the 16 groups of 4 tokens, for 8 channels.
var<workgroup> group_sums: array<vec4<f32>, 32>;

// 8 rows of a vector of columns.
alias Tile = array<vec4<f32>, 8>;

// e^x for x <= 0, exactly zero where that is smaller than a normal number; -infinity is welcome.
fn decay(x: vec4<f32>) -> vec4<f32> {
    return select(vec4(0.0), exp(x), x > vec4(-87.0));
}

fn total(x: vec4<f32>) -> f32 {
    return x.x + x.y + x.z + x.w;
}

// Four tokens of a channel or a column, or four columns of a token: a vector of columns has every
// eighth, so that neighbouring threads store neighbouring columns. What lies outside is read from
// the edge instead, so that no load waits for a branch, and `inside` makes it zero: no decay,
// nothing written.

fn fours(first: u32) -> vec4<u32> {
    return vec4(first, first + 1u, first + 2u, first + 3u);
}

// Columns of a vector of a tile of 64.
fn columns_of(first_column: u32, vector: u32) -> vec4<u32> {
    return vec4(0u, 8u, 16u, 24u) + (first_column + (vector >> 3u) * 32u + (vector & 7u));
}

fn rows_of(t: u32) -> vec4<u32> {
    return min(fours(t), vec4(p.t - 1u));
}

fn inside(x: vec4<f32>, t: u32, channel: u32) -> vec4<f32> {
    return select(vec4(0.0), x, (fours(t) < vec4(p.t)) & vec4(channel < p.key));
}

fn key_column(head: u32, channel: u32) -> u32 {
    return head / (p.heads / p.groups) * p.key + min(channel, p.key - 1u);
}

fn queries(t: u32, column: u32) -> vec4<f32> {
    let i = rows_of(t) * p.q_stride + (p.q_offset + column);
    return vec4(q[i.x], q[i.y], q[i.z], q[i.w]);
}

fn keys(t: u32, column: u32) -> vec4<f32> {
    let i = rows_of(t) * p.k_stride + (p.k_offset + column);
    return vec4(k[i.x], k[i.y], k[i.z], k[i.w]);
}

fn values(t: u32, head: u32, column: u32) -> vec4<f32> {
    let i = rows_of(t) * p.v_stride + (p.v_offset + head * p.value + min(column, p.value - 1u));
    return vec4(v[i.x], v[i.y], v[i.z], v[i.w]);
}

fn value_columns(t: u32, head: u32, columns: vec4<u32>) -> vec4<f32> {
    let row = p.v_offset + min(t, p.t - 1u) * p.v_stride + head * p.value;
    let i = row + min(columns, vec4(p.value - 1u));
    return vec4(v[i.x], v[i.y], v[i.z], v[i.w]);
}

fn log_decays(t: u32, head: u32, channel: u32) -> vec4<f32> {
    var i = rows_of(t) * p.heads + head;
    if p.per_key == 1u {
        i = i * p.key + min(channel, p.key - 1u);
    }
    return vec4(g[i.x], g[i.y], g[i.z], g[i.w]);
}

fn write_scales(t: u32, head: u32) -> vec4<f32> {
    var scales = vec4(1.0);
    if p.has_write_scale == 1u {
        let i = rows_of(t) * p.heads + head;
        scales = vec4(w[i.x], w[i.y], w[i.z], w[i.w]);
    }
    return scales;
}

// `scratch`, in vectors. Three passes: for every chunk and head a state; for every chunk and head
// decays; for every chunk and head a slot with the scores [64 earlier tokens, 16 groups] and then
// q e^L [K, 16 groups]. `fused` has but slots, one for each head and 64 columns of values.
//
// One workgroup sums up a span of chunks. Then the first chunk of a span has the sum of all of it,
// and its decay, and after `chunk_pass` the state before the span; the others have the sum of the
// span's chunks before them, and its decay.

// Vectors in a row of a state: whole tiles.
fn vectors() -> u32 {
    return (p.value + 63u) / 64u * 16u;
}

fn chunks() -> u32 {
    return (p.t + CHUNK - 1u) / CHUNK;
}

// Chunks in a span: more than one where there is work enough for 2,048 workgroups.
fn span() -> u32 {
    let tiles = p.heads * ((p.key + 63u) / 64u) * ((p.value + 63u) / 64u);
    return clamp(chunks() * tiles / 2048u, 1u, 8u);
}

fn state_at(chunk: u32, head: u32, channel: u32) -> u32 {
    return ((chunk * p.heads + head) * p.key + channel) * vectors();
}

fn decay_at(chunk: u32, head: u32) -> u32 {
    return chunks() * p.heads * p.key * vectors() + (chunk * p.heads + head) * ((p.key + 3u) / 4u);
}

fn slot_at(index: u32, head: u32) -> u32 {
    return (index * p.heads + head) * (1024u + p.key * 16u);
}

// Tokens of the chunk: what lies behind them is not worked on.
fn tokens_of(chunk: u32) -> u32 {
    return min(CHUNK, p.t - chunk * CHUNK);
}

// The vectors where a thread's 8 rows begin, which go on 4 vectors later, and of its columns. 32
// threads have 32 rows and 32 columns.
fn own_row(local: u32) -> u32 {
    return ((local & 32u) >> 2u) | ((local >> 3u) & 3u);
}

fn own_column(local: u32) -> u32 {
    return ((local & 64u) >> 3u) | (local & 7u);
}

// Adds the product of one inner index.
fn add_outer(sum: ptr<function, Tile>, rows: u32, columns: u32) {
    let a = tile[rows];
    let b = tile[rows | 4u];
    let x = tile[columns];
    (*sum)[0] += a.x * x;
    (*sum)[1] += a.y * x;
    (*sum)[2] += a.z * x;
    (*sum)[3] += a.w * x;
    (*sum)[4] += b.x * x;
    (*sum)[5] += b.y * x;
    (*sum)[6] += b.z * x;
    (*sum)[7] += b.w * x;
}

// Adds the product of the 8 inner indices in a buffer.
fn add_product(sum: ptr<function, Tile>, buffer: u32, local: u32) {
    let rows = (buffer << 8u) | own_row(local);
    let columns = (buffer << 8u) | 128u | own_column(local);
    add_outer(sum, rows, columns);
    add_outer(sum, rows | 16u, columns | 16u);
    add_outer(sum, rows | 32u, columns | 32u);
    add_outer(sum, rows | 48u, columns | 48u);
    add_outer(sum, rows | 64u, columns | 64u);
    add_outer(sum, rows | 80u, columns | 80u);
    add_outer(sum, rows | 96u, columns | 96u);
    add_outer(sum, rows | 112u, columns | 112u);
}

// Where the state is from call to call.
fn carried_state(head: u32, channel: u32, columns: vec4<u32>) -> vec4<f32> {
    let row = (head * p.key + min(channel, p.key - 1u)) * p.value;
    let i = row + min(columns, vec4(p.value - 1u));
    return vec4(state[i.x], state[i.y], state[i.z], state[i.w]);
}

fn store_state(head: u32, channel: u32, columns: vec4<u32>, x: vec4<f32>) {
    let i = (head * p.key + channel) * p.value + columns;
    let there = columns < vec4(p.value);
    if there.x {
        state[i.x] = x.x;
    }
    if there.y {
        state[i.y] = x.y;
    }
    if there.z {
        state[i.z] = x.z;
    }
    if there.w {
        state[i.w] = x.w;
    }
}

// The log-decays of 4 tokens, summed: up to and with each token, or after it.
fn up_to(l: vec4<f32>) -> vec4<f32> {
    let s1 = l.x + l.y;
    let s2 = s1 + l.z;
    return vec4(l.x, s1, s2, s2 + l.w);
}

fn after(l: vec4<f32>) -> vec4<f32> {
    let s1 = l.z + l.w;
    return vec4(l.y + s1, s1, l.w, 0.0);
}

// From what reads the state up to and with each of 4 tokens to what the outputs read.
fn as_read(x: vec4<f32>) -> vec4<f32> {
    return select(x, vec4(0.0, x.xyz), p.read_before == 1u);
}

// Decays for 4 tokens of a channel.
struct Decays {
    // From the middle of the segment, or to it, for segments of 8, 16, 32 and 64 tokens.
    level: array<vec4<f32>, 4>,
    // From the chunk's start.
    start: vec4<f32>,
    // From each of the 4 tokens to each.
    within: array<vec4<f32>, 4>,
}

fn decays_of(l: vec4<f32>, group: u32, channel: u32) -> Decays {
    let quad = (channel << 2u) | (group >> 2u);
    let own = group_sums[quad];
    let pairs = vec2(own.x + own.y, own.z + own.w);
    let sums = vec4(
        own[(group & 3u) ^ 1u],
        select(pairs.y, pairs.x, (group & 2u) != 0u),
        total(group_sums[quad ^ 1u]),
        total(group_sums[quad ^ 2u]) + total(group_sums[quad ^ 3u]),
    );
    // The other half of each segment.
    let beside = decay(sums);
    let up = decay(up_to(l));
    var from_start = select(up, vec4(1.0, up.xyz), p.read_before == 1u);
    let down = decay(after(l));
    var to_end = down;
    var d: Decays;
    // The other half lies before an upper half and behind a lower one.
    if (group & 1u) != 0u {
        d.level[0] = from_start;
        from_start *= beside.x;
    } else {
        d.level[0] = to_end;
        to_end *= beside.x;
    }
    if (group & 2u) != 0u {
        d.level[1] = from_start;
        from_start *= beside.y;
    } else {
        d.level[1] = to_end;
        to_end *= beside.y;
    }
    if (group & 4u) != 0u {
        d.level[2] = from_start;
        from_start *= beside.z;
    } else {
        d.level[2] = to_end;
        to_end *= beside.z;
    }
    if (group & 8u) != 0u {
        d.level[3] = from_start;
        from_start *= beside.w;
    } else {
        d.level[3] = to_end;
    }
    d.start = from_start;
    let e = decay(vec4(l.y, l.z, l.y + l.z, 0.0));
    d.within[0] = as_read(vec4(1.0, e.x, e.z, down.x));
    d.within[1] = as_read(vec4(0.0, 1.0, e.y, down.y));
    d.within[2] = as_read(vec4(0.0, 0.0, 1.0, down.z));
    d.within[3] = as_read(vec4(0.0, 0.0, 0.0, 1.0));
    return d;
}

// The scores of a chunk, transposed, and q e^L, into a slot. While loading, a thread has 4 tokens
// of one channel. Of the scores it owns 8 later by 4 earlier tokens, or, of what neighbouring groups
// are to each other, 4 by 4; the sum over half of the channels.
fn scores(chunk: u32, head: u32, slot: u32, local: u32) {
    let channel = local & 7u;
    let group = local >> 3u;
    let t = chunk * CHUNK + group * 4u;
    // Pairs of 8 tokens in the order (1, 0), (2, 0), (2, 1), (3, 0) ...
    let pair = local & 63u;
    var later = 1u;
    var earlier = pair >> 1u;
    while earlier >= later && later < 8u {
        earlier -= later;
        later += 1u;
    }
    let wide = pair < 56u;
    let level = select(0u, 1u + firstLeadingBit(later ^ earlier), wide);
    let rows = select((pair & 7u) * 2u + 1u, later * 2u, wide);
    let beside = select(0u, 1u, wide);
    let column = select((pair & 7u) * 2u, earlier * 2u + (pair & 1u), wide);
    var sum: Tile;
    var diagonal: array<vec4<f32>, 4>;
    var d: Decays;
    let write = write_scales(t, head) * p.write_factor;
    let key = key_column(head, channel);
    var x = queries(t, key);
    var y = keys(t, key);
    var l = log_decays(t, head, channel);
    let in_level = ((level << 7u) | level) ^ ((local >> 6u) * 68u);
    let a = in_level ^ rows;
    let b = in_level ^ (rows | beside);
    let c = in_level ^ column;
    for (var first = 0u; first < p.key; first += 8u) {
        let of_key = first + channel;
        // With one log-decay a head those of the first channel serve all.
        if p.per_key == 1u || first == 0u {
            l = inside(l, t, of_key);
            group_sums[(channel << 2u) | (group >> 2u)][group & 3u] = total(l);
            workgroupBarrier();
            d = decays_of(l, group, channel);
        }
        x = inside(x * p.scale, t, of_key);
        y = inside(y * write, t, of_key);
        // What each level needs, at places where no two threads meet in a bank.
        let at = (channel << 4u) | (group ^ channel);
        tile[at] = d.level[0] * select(y, x, (group & 1u) != 0u);
        tile[(at ^ 1u) | 128u] = d.level[1] * select(y, x, (group & 2u) != 0u);
        tile[(at ^ 2u) | 256u] = d.level[2] * select(y, x, (group & 4u) != 0u);
        tile[(at ^ 3u) | 384u] = d.level[3] * select(y, x, (group & 8u) != 0u);
        if of_key < p.key {
            scratch[slot + 1024u + of_key * 16u + group] = x * d.start;
        }
        diagonal[0] += x * d.within[0] * y.x;
        diagonal[1] += x * d.within[1] * y.y;
        diagonal[2] += x * d.within[2] * y.z;
        diagonal[3] += x * d.within[3] * y.w;
        let next = key_column(head, of_key + 8u);
        x = queries(t, next);
        y = keys(t, next);
        if p.per_key == 1u {
            l = log_decays(t, head, of_key + 8u);
        }
        workgroupBarrier();
        add_scores(&sum, a, b, c);
        add_scores(&sum, a ^ 17u, b ^ 17u, c ^ 17u);
        add_scores(&sum, a ^ 34u, b ^ 34u, c ^ 34u);
        add_scores(&sum, a ^ 51u, b ^ 51u, c ^ 51u);
        workgroupBarrier();
    }
    if local >= 64u {
        put_tile(&sum, pair);
    }
    workgroupBarrier();
    if local < 64u {
        add_tile(&sum, pair);
        let to = slot + column * 64u + rows;
        scratch[to] = sum[0];
        scratch[to + 16u] = sum[2];
        scratch[to + 32u] = sum[4];
        scratch[to + 48u] = sum[6];
        if wide {
            scratch[to + 1u] = sum[1];
            scratch[to + 17u] = sum[3];
            scratch[to + 33u] = sum[5];
            scratch[to + 49u] = sum[7];
        }
    }
    workgroupBarrier();
    // Within a group every thread that loaded has the sum over its channels.
    tile[local] = diagonal[0];
    tile[128u | local] = diagonal[1];
    tile[256u | local] = diagonal[2];
    tile[384u | local] = diagonal[3];
    workgroupBarrier();
    if channel < 4u {
        let of_group = (channel << 7u) | (group << 3u);
        scratch[slot + (group * 4u + channel) * 16u + group] =
            tile[of_group] + tile[of_group | 1u] + tile[of_group | 2u] + tile[of_group | 3u] +
            tile[of_group | 4u] + tile[of_group | 5u] + tile[of_group | 6u] + tile[of_group | 7u];
    }
}

fn put_tile(sum: ptr<function, Tile>, at: u32) {
    tile[at] = (*sum)[0];
    tile[at | 64u] = (*sum)[1];
    tile[at | 128u] = (*sum)[2];
    tile[at | 192u] = (*sum)[3];
    tile[at | 256u] = (*sum)[4];
    tile[at | 320u] = (*sum)[5];
    tile[at | 384u] = (*sum)[6];
    tile[at | 448u] = (*sum)[7];
}

fn add_tile(sum: ptr<function, Tile>, at: u32) {
    (*sum)[0] += tile[at];
    (*sum)[1] += tile[at | 64u];
    (*sum)[2] += tile[at | 128u];
    (*sum)[3] += tile[at | 192u];
    (*sum)[4] += tile[at | 256u];
    (*sum)[5] += tile[at | 320u];
    (*sum)[6] += tile[at | 384u];
    (*sum)[7] += tile[at | 448u];
}

// Adds the product of one channel.
fn add_scores(sum: ptr<function, Tile>, at_a: u32, at_b: u32, at_c: u32) {
    let a = tile[at_a];
    let b = tile[at_b];
    let c = tile[at_c];
    (*sum)[0] += c.x * a;
    (*sum)[1] += c.x * b;
    (*sum)[2] += c.y * a;
    (*sum)[3] += c.y * b;
    (*sum)[4] += c.z * a;
    (*sum)[5] += c.z * b;
    (*sum)[6] += c.w * a;
    (*sum)[7] += c.w * b;
}

// The outputs of one chunk, one head and 64 value columns.
fn outputs(chunk: u32, head: u32, first_column: u32, slot: u32, local: u32, fused: bool) {
    let t = chunk * CHUNK;
    let key_steps = (p.key + 7u) / 8u;
    let steps = key_steps + (tokens_of(chunk) + 7u) / 8u;
    // While loading, a thread has one vector of rows and one of columns.
    let inner = local >> 4u;
    let four = local & 15u;
    let columns = columns_of(first_column, four);
    let there = columns < vec4(p.value);
    let vector = first_column / 4u + four;
    let of_span = chunk % span();
    var sum: Tile;
    var rows: vec4<f32>;
    var below: vec4<f32>;
    var carry: vec4<f32>;
    var d = 0.0;
    for (var step = 0u; step <= steps; step++) {
        if step > 0u {
            // What was loaded during the last product.
            let last = (step - 1u) * 8u + inner;
            let to = ((step & 1u) << 8u) | local;
            var known = last < p.key;
            if step > key_steps {
                // Nothing of later tokens, nor of what lies outside.
                let j = last - key_steps * 8u;
                known = t + j < p.t;
                rows = select(vec4(0.0), rows, four >= j / 4u);
            } else {
                rows = select(vec4(0.0), rows, known);
                below += carry * d;
            }
            tile[to] = rows;
            tile[to | 128u] = select(vec4(0.0), below, there & vec4(known));
        }
        if step < key_steps {
            let c = min(step * 8u + inner, p.key - 1u);
            rows = scratch[slot + 1024u + c * 16u + four];
            if fused {
                below = carried_state(head, c, columns);
            } else {
                below = scratch[state_at(chunk, head, c) + vector];
                if of_span > 0u {
                    carry = scratch[state_at(chunk - of_span, head, c) + vector];
                    d = scratch[decay_at(chunk, head) + c / 4u][c & 3u];
                }
            }
        } else if step < steps {
            let j = (step - key_steps) * 8u + inner;
            rows = scratch[slot + j * 16u + four];
            below = value_columns(t + j, head, columns);
        }
        workgroupBarrier();
        // Half of the threads have the first 32 tokens, which see nothing of the others.
        if step > 0u && (step <= key_steps + 4u || (local & 32u) != 0u) {
            add_product(&sum, step & 1u, local);
        }
    }
    workgroupBarrier();
    let row = t + own_row(local) * 4u;
    let left = columns_of(first_column, own_column(local));
    store_out(row, head, left, sum[0]);
    store_out(row + 1u, head, left, sum[1]);
    store_out(row + 2u, head, left, sum[2]);
    store_out(row + 3u, head, left, sum[3]);
    store_out(row + 16u, head, left, sum[4]);
    store_out(row + 17u, head, left, sum[5]);
    store_out(row + 18u, head, left, sum[6]);
    store_out(row + 19u, head, left, sum[7]);
}

fn store_out(t: u32, head: u32, columns: vec4<u32>, x: vec4<f32>) {
    if t >= p.t {
        return;
    }
    let i = (t * p.heads + head) * p.value + columns;
    let there = columns < vec4(p.value);
    if there.x {
        o[i.x] = x.x;
    }
    if there.y {
        o[i.y] = x.y;
    }
    if there.z {
        o[i.z] = x.z;
    }
    if there.w {
        o[i.w] = x.w;
    }
}

// sum_j w_j (e^(L_end - L_j) k_j) v_j^T for 64 channels and 64 value columns, from the last 8
// tokens to the first; gives L_end of a channel to each of the first 64 threads.
fn chunk_sum(sum: ptr<function, Tile>, chunk: u32, head: u32, first_key: u32, first_column: u32, local: u32) -> f32 {
    // While loading, half of the threads have a channel each, the others a column.
    let is_key = local < 64u;
    let lane = local & 63u;
    let channel = first_key + lane;
    let column = first_column + lane;
    let key = key_column(head, channel);
    let steps = (tokens_of(chunk) + 7u) / 8u;
    let to = select(128u | ((lane & 32u) >> 2u) | (lane & 7u), lane >> 2u, is_key);
    let part = select(lane >> 3u, lane, is_key) & 3u;
    var end = 0.0;
    var x: vec4<f32>;
    var y: vec4<f32>;
    var l: vec4<f32>;
    var m: vec4<f32>;
    for (var step = 0u; step <= steps; step++) {
        if step > 0u {
            // What was loaded during the last product.
            let t = chunk * CHUNK + (steps - step) * 8u;
            if is_key {
                l = inside(l, t, channel);
                m = inside(m, t + 4u, channel);
                x = inside(x * write_scales(t, head) * p.write_factor, t, channel);
                y = inside(y * write_scales(t + 4u, head) * p.write_factor, t + 4u, channel);
                y *= decay(after(m) + end);
                end += total(m);
                x *= decay(after(l) + end);
                end += total(l);
            } else {
                let there = vec4(column < p.value);
                x = select(vec4(0.0), x, (fours(t) < vec4(p.t)) & there);
                y = select(vec4(0.0), y, (fours(t + 4u) < vec4(p.t)) & there);
            }
            let at = ((step & 1u) << 8u) | to;
            put(at, part, x);
            put(at | 64u, part, y);
        }
        // The last step loads nothing that is used.
        let t = chunk * CHUNK + (steps - min(step + 1u, steps)) * 8u;
        if is_key {
            x = keys(t, key);
            y = keys(t + 4u, key);
            l = log_decays(t, head, channel);
            m = log_decays(t + 4u, head, channel);
        } else {
            x = values(t, head, column);
            y = values(t + 4u, head, column);
        }
        workgroupBarrier();
        if step > 0u {
            add_product(sum, step & 1u, local);
        }
    }
    workgroupBarrier();
    return end;
}

// One row or column of 4 inner indices.
fn put(at: u32, part: u32, x: vec4<f32>) {
    tile[at][part] = x.x;
    tile[at | 16u][part] = x.y;
    tile[at | 32u][part] = x.z;
    tile[at | 48u][part] = x.w;
}

// Adds to the sum what the span's earlier chunks gave.
fn store_sum(to: u32, before: u32, head: u32, channel: u32, vector: u32, d: f32, x: vec4<f32>) {
    if channel >= p.key {
        return;
    }
    var sum = x;
    if d >= 0.0 {
        sum += d * scratch[state_at(before, head, channel) + vector];
    }
    scratch[state_at(to, head, channel) + vector] = sum;
}

// One workgroup for the scores of a chunk and a head; and one for 64 channels x 64 value columns,
// a head and a span of chunks.
@compute @workgroup_size(128)
fn chunk_parts(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let head = group.y;
    let value_tiles = (p.value + 63u) / 64u;
    if group.x == (p.key + 63u) / 64u * value_tiles {
        scores(group.z, head, decay_at(chunks(), 0u) + slot_at(group.z, head), local);
        return;
    }
    let first_key = group.x / value_tiles * 64u;
    let first_column = group.x % value_tiles * 64u;
    let first = group.z * span();
    let last = min(first + span(), chunks());
    let row = own_row(local);
    let channel = first_key + row * 4u;
    let vector = first_column / 4u + own_column(local);
    var end = 0.0;
    for (var chunk = first; chunk < last; chunk++) {
        // Said, not left to the declaration: SwiftShader in Chromium keeps the sum of the last turn.
        var sum = Tile();
        let one = chunk_sum(&sum, chunk, head, first_key, first_column, local);
        end += one;
        let to = select(chunk + 1u, first, chunk + 1u == last);
        let c = first_key + local;
        if first_column == 0u && local < 64u && c < p.key {
            scratch[decay_at(to, head) + c / 4u][c & 3u] = decay(vec4(end)).x;
        }
        if local < 64u {
            tile[local >> 2u][local & 3u] = select(-1.0, decay(vec4(one)).x, chunk > first);
        }
        workgroupBarrier();
        let a = tile[row];
        let b = tile[row + 4u];
        workgroupBarrier();
        store_sum(to, chunk, head, channel, vector, a.x, sum[0]);
        store_sum(to, chunk, head, channel + 1u, vector, a.y, sum[1]);
        store_sum(to, chunk, head, channel + 2u, vector, a.z, sum[2]);
        store_sum(to, chunk, head, channel + 3u, vector, a.w, sum[3]);
        store_sum(to, chunk, head, channel + 16u, vector, b.x, sum[4]);
        store_sum(to, chunk, head, channel + 17u, vector, b.y, sum[5]);
        store_sum(to, chunk, head, channel + 18u, vector, b.z, sum[6]);
        store_sum(to, chunk, head, channel + 19u, vector, b.w, sum[7]);
    }
}

// One thread for 4 elements of the state. Spans go in eights: loads that wait for one another
// would be all the time this takes.
@compute @workgroup_size(64)
fn chunk_pass(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let i = (group.y * 65535u + group.x) * 64u + local;
    let states = p.heads * p.key * vectors();
    if i >= states {
        return;
    }
    let row = i / vectors();
    let head = row / p.key;
    let channel = row % p.key;
    let vector = i % vectors();
    let columns = columns_of(vector / 16u * 64u, vector % 16u);
    let count = (chunks() + span() - 1u) / span();
    let size = states * span();
    let heads = p.heads * ((p.key + 3u) / 4u) * span();
    var at = i;
    var decays = decay_at(0u, head) + channel / 4u;
    let part = channel & 3u;
    var s = carried_state(head, channel, columns);
    var chunk = 0u;
    while chunk + 8u <= count {
        let a = scratch[at];
        let b = scratch[at + size];
        let c = scratch[at + 2u * size];
        let d = scratch[at + 3u * size];
        let e = scratch[at + 4u * size];
        let f = scratch[at + 5u * size];
        let x = scratch[at + 6u * size];
        let y = scratch[at + 7u * size];
        let s1 = scratch[decays][part] * s + a;
        let s2 = scratch[decays + heads][part] * s1 + b;
        let s3 = scratch[decays + 2u * heads][part] * s2 + c;
        let s4 = scratch[decays + 3u * heads][part] * s3 + d;
        let s5 = scratch[decays + 4u * heads][part] * s4 + e;
        let s6 = scratch[decays + 5u * heads][part] * s5 + f;
        let s7 = scratch[decays + 6u * heads][part] * s6 + x;
        let s8 = scratch[decays + 7u * heads][part] * s7 + y;
        scratch[at] = s;
        scratch[at + size] = s1;
        scratch[at + 2u * size] = s2;
        scratch[at + 3u * size] = s3;
        scratch[at + 4u * size] = s4;
        scratch[at + 5u * size] = s5;
        scratch[at + 6u * size] = s6;
        scratch[at + 7u * size] = s7;
        s = s8;
        at += 8u * size;
        decays += 8u * heads;
        chunk += 8u;
    }
    while chunk < count {
        let sum = scratch[at];
        let d = scratch[decays][part];
        scratch[at] = s;
        s = d * s + sum;
        at += size;
        decays += heads;
        chunk += 1u;
    }
    store_state(head, channel, columns, s);
}

// One workgroup for 64 value columns, a head and a chunk.
@compute @workgroup_size(128)
fn chunk_out(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let slot = decay_at(chunks(), 0u) + slot_at(group.z, group.y);
    outputs(group.z, group.y, group.x * 64u, slot, local, false);
}

fn advance(head: u32, channel: u32, columns: vec4<u32>, d: f32, x: vec4<f32>) {
    if channel < p.key {
        store_state(head, channel, columns, d * carried_state(head, channel, columns) + x);
    }
}

// One workgroup for 64 value columns and a head: it alone reads and then writes these columns of
// the state.
@compute @workgroup_size(128)
fn fused(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let head = group.y;
    let slot = slot_at(group.x, head);
    let first_column = group.x * 64u;
    let columns = columns_of(first_column, own_column(local));
    for (var chunk = 0u; chunk < chunks(); chunk++) {
        scores(chunk, head, slot, local);
        storageBarrier();
        workgroupBarrier();
        outputs(chunk, head, first_column, slot, local, true);
        for (var first_key = 0u; first_key < p.key; first_key += 64u) {
            // As in `chunk_parts`.
            var sum = Tile();
            let end = chunk_sum(&sum, chunk, head, first_key, first_column, local);
            if local < 64u {
                tile[local >> 2u][local & 3u] = decay(vec4(end)).x;
            }
            workgroupBarrier();
            let row = own_row(local);
            let a = tile[row];
            let b = tile[row + 4u];
            let channel = first_key + row * 4u;
            advance(head, channel, columns, a.x, sum[0]);
            advance(head, channel + 1u, columns, a.y, sum[1]);
            advance(head, channel + 2u, columns, a.z, sum[2]);
            advance(head, channel + 3u, columns, a.w, sum[3]);
            advance(head, channel + 16u, columns, b.x, sum[4]);
            advance(head, channel + 17u, columns, b.y, sum[5]);
            advance(head, channel + 18u, columns, b.z, sum[6]);
            advance(head, channel + 19u, columns, b.w, sum[7]);
            workgroupBarrier();
        }
        storageBarrier();
        workgroupBarrier();
    }
}

// One workgroup for 16 value columns and a head; a thread has one column and every 16th channel.
@compute @workgroup_size(256)
fn few_tokens(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let head = group.y;
    let column = group.x * 16u + (local & 15u);
    for (var t = 0u; t < p.t; t++) {
        let x = values(t, head, column).x;
        let write = write_scales(t, head).x * p.write_factor;
        var sum = 0.0;
        if column < p.value {
            for (var c = local >> 4u; c < p.key; c += 16u) {
                let i = (head * p.key + c) * p.value + column;
                let before = state[i];
                let key = key_column(head, c);
                let now = decay(log_decays(t, head, c)).x * before + keys(t, key).x * write * x;
                state[i] = now;
                sum += queries(t, key).x * p.scale * select(now, before, p.read_before == 1u);
            }
        }
        tile[local].x = sum;
        workgroupBarrier();
        if local < 16u && column < p.value {
            for (var part = 16u; part < 256u; part += 16u) {
                sum += tile[part + local].x;
            }
            o[(t * p.heads + head) * p.value + column] = sum;
        }
        workgroupBarrier();
    }
}
