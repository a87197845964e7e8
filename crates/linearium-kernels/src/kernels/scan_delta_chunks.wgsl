// The delta-rule scan in chunks of 32 tokens, with at most one log-decay a head; goes on from
// scan_delta.wgsl.
//
//   chunk_solve  what can be known of a chunk without the state before it
//   chunk_pass   walks over the chunks
//
// In a chunk let S be the state before it, L_t the sum of log-decays up to and with t, and u_t what
// token t writes: S_t = e^L_t S + sum_{j <= t} e^(L_t - L_j) k_j u_j^T. Then
//
//   u_t + beta_t sum_{j < t} e^(L_t - L_j) (k_t . k_j) u_j = beta_t (f v_t - e^L_t S^T k_t)
//   o_t = scale * (e^L_t S^T q_t + sum_{j <= t} e^(L_t - L_j) (q_t . k_j) u_j)
//
// With R the rows in brackets on the right, U = M R, where M = (1 + A)^-1 diag(beta), and
// O = scale e^L Q S + P M R. chunk_solve makes M and P M.
//
// Every difference of two L is computed as the sum of the log-decays between the two tokens, never
// as a difference: a strong decay (-1e4) would leave no digits for its neighbours.

const CHUNK = 32u;

// For each chunk and head `scratch` holds, in vectors:
//
//   k        [K][8]   4 tokens of a channel
//   q        [K][8]   the same, times scale e^L_t
//   maps     [8][64]  4 columns of a row of M, and of P M; the row of token t is number
//                     t % 4 * 16 + t / 4, and 8 more for P M, as chunk_pass has its threads
//   decays   [32]     of a token e^L_t, e^(L_end - L_t), e^L_end

fn chunk_start(chunk: u32, head: u32) -> u32 {
    return (chunk * p.heads + head) * (16u * p.key + 544u);
}

// k, then q, of 16 channels (4 tokens of one in a vector, rows of 9); then the columns of M.
var<workgroup> staged: array<vec4<f32>, 288>;
// Rows of A and of P, 4 columns to a vector, rows of 9.
var<workgroup> a_rows: array<vec4<f32>, 288>;
var<workgroup> p_rows: array<vec4<f32>, 288>;
var<workgroup> log_decays: array<vec4<f32>, 8>;
var<workgroup> betas: array<f32, 32>;

fn key_tokens(t: u32, head: u32, channel: u32) -> vec4<f32> {
    return vec4(
        key(t, head, channel),
        key(t + 1u, head, channel),
        key(t + 2u, head, channel),
        key(t + 3u, head, channel),
    );
}

fn query_tokens(t: u32, head: u32, channel: u32) -> vec4<f32> {
    return vec4(
        query(t, head, channel),
        query(t + 1u, head, channel),
        query(t + 2u, head, channel),
        query(t + 3u, head, channel),
    );
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

fn within_group(l: vec4<f32>) -> Tile {
    let e1 = decay(l.y);
    let e2 = decay(l.z);
    let e3 = decay(l.w);
    return Tile(
        vec4(1.0, 0.0, 0.0, 0.0),
        vec4(e1, 1.0, 0.0, 0.0),
        vec4(decay(l.y + l.z), e2, 1.0, 0.0),
        vec4(decay(l.y + l.z + l.w), decay(l.z + l.w), e3, 1.0),
    );
}

fn sum4(x: vec4<f32>) -> f32 {
    return x.x + x.y + x.z + x.w;
}

// Log-decays of the groups of 4 tokens from `first` on and before `end`.
fn sum_groups(first: u32, end: u32) -> f32 {
    var sum = 0.0;
    for (var i = first; i < end; i++) {
        sum += sum4(log_decays[i]);
    }
    return sum;
}

fn decays_between(row: u32, column: u32) -> Tile {
    if row < column {
        return Tile();
    }
    let later = log_decays[row];
    if row == column {
        return within_group(later);
    }
    let e = decay4(to_group_end(log_decays[column])) * decay(sum_groups(column + 1u, row));
    let l = decay4(from_group_start(later));
    return Tile(e * l.x, e * l.y, e * l.z, e * l.w);
}

// One workgroup for a chunk and a head; its threads are a grid of 8 x 8 tiles of 4 x 4.
@compute @workgroup_size(64)
fn chunk_solve(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let head = group.y;
    let t = group.x * CHUNK;
    let start = chunk_start(group.x, head);
    let row = local / 8u;
    let column = local % 8u;
    if local < 8u {
        log_decays[local] = vec4(
            log_decay(t + local * 4u, head, 0u),
            log_decay(t + local * 4u + 1u, head, 0u),
            log_decay(t + local * 4u + 2u, head, 0u),
            log_decay(t + local * 4u + 3u, head, 0u),
        );
    }
    if local < 32u {
        betas[local] = beta(t + local, head);
    }
    workgroupBarrier();
    // While loading, a thread has these tokens of one channel, and of the one 8 behind it; while
    // storing, the tokens of `column`.
    let loaded = local / 8u;
    let stored_decay = decay4(sum_groups(0u, column) + from_group_start(log_decays[column]));

    // k_t . k_j and q_t . k_j.
    var kk = Tile();
    var qk = Tile();
    for (var first = 0u; first < p.key; first += 16u) {
        for (var i = column; i < 16u; i += 8u) {
            staged[i * 9u + loaded] = key_tokens(t + loaded * 4u, head, first + i);
            staged[144u + i * 9u + loaded] = query_tokens(t + loaded * 4u, head, first + i);
        }
        workgroupBarrier();
        for (var i = row; i < 16u; i += 8u) {
            if first + i < p.key {
                let to = start + (first + i) * 8u + column;
                scratch[to] = staged[i * 9u + column];
                scratch[to + 8u * p.key] = staged[144u + i * 9u + column] * stored_decay;
            }
        }
        if row >= column {
            for (var i = 0u; i < 16u; i++) {
                let k_row = staged[i * 9u + row];
                let q_row = staged[144u + i * 9u + row];
                let k_column = staged[i * 9u + column];
                kk.a += k_row.x * k_column;
                kk.b += k_row.y * k_column;
                kk.c += k_row.z * k_column;
                kk.d += k_row.w * k_column;
                qk.a += q_row.x * k_column;
                qk.b += q_row.y * k_column;
                qk.c += q_row.z * k_column;
                qk.d += q_row.w * k_column;
            }
        }
        workgroupBarrier();
    }
    let d = decays_between(row, column);
    // The solve reads only what is left of the diagonal.
    let at = row * 36u + column;
    a_rows[at] = betas[row * 4u] * kk.a * d.a;
    a_rows[at + 9u] = betas[row * 4u + 1u] * kk.b * d.b;
    a_rows[at + 18u] = betas[row * 4u + 2u] * kk.c * d.c;
    a_rows[at + 27u] = betas[row * 4u + 3u] * kk.d * d.d;
    p_rows[at] = qk.a * d.a;
    p_rows[at + 9u] = qk.b * d.b;
    p_rows[at + 18u] = qk.c * d.c;
    p_rows[at + 27u] = qk.d * d.d;
    workgroupBarrier();

    // A thread a column of M, from the top: (1 + A) M = diag(beta), 4 rows at a time.
    if local < 32u {
        for (var block = 0u; block < 8u; block++) {
            var x = vec4(0.0);
            if local / 4u == block {
                x[local % 4u] = betas[local];
            }
            let left = block * 36u;
            for (var i = 0u; i < block; i++) {
                let above = staged[i * 32u + local];
                x -= vec4(
                    dot(a_rows[left + i], above),
                    dot(a_rows[left + 9u + i], above),
                    dot(a_rows[left + 18u + i], above),
                    dot(a_rows[left + 27u + i], above),
                );
            }
            let a1 = a_rows[left + 9u + block];
            let a2 = a_rows[left + 18u + block];
            let a3 = a_rows[left + 27u + block];
            x.y -= a1.x * x.x;
            x.z -= a2.x * x.x + a2.y * x.y;
            x.w -= a3.x * x.x + a3.y * x.y + a3.z * x.z;
            staged[block * 32u + local] = x;
        }
    }
    workgroupBarrier();

    // Row by row, and times P.
    var m = Tile();
    var pm = Tile();
    if row >= column {
        let at = row * 32u + column * 4u;
        let x0 = staged[at];
        let x1 = staged[at + 1u];
        let x2 = staged[at + 2u];
        let x3 = staged[at + 3u];
        m.a = vec4(x0.x, x1.x, x2.x, x3.x);
        m.b = vec4(x0.y, x1.y, x2.y, x3.y);
        m.c = vec4(x0.z, x1.z, x2.z, x3.z);
        m.d = vec4(x0.w, x1.w, x2.w, x3.w);
        for (var i = column; i <= row; i++) {
            let above = i * 32u + column * 4u;
            let y0 = staged[above];
            let y1 = staged[above + 1u];
            let y2 = staged[above + 2u];
            let y3 = staged[above + 3u];
            let at = row * 36u + i;
            let pa = p_rows[at];
            let pb = p_rows[at + 9u];
            let pc = p_rows[at + 18u];
            let pd = p_rows[at + 27u];
            pm.a += vec4(dot(pa, y0), dot(pa, y1), dot(pa, y2), dot(pa, y3));
            pm.b += vec4(dot(pb, y0), dot(pb, y1), dot(pb, y2), dot(pb, y3));
            pm.c += vec4(dot(pc, y0), dot(pc, y1), dot(pc, y2), dot(pc, y3));
            pm.d += vec4(dot(pd, y0), dot(pd, y1), dot(pd, y2), dot(pd, y3));
        }
    }
    let map = start + 16u * p.key + column * 64u + row;
    scratch[map] = m.a;
    scratch[map + 16u] = m.b;
    scratch[map + 32u] = m.c;
    scratch[map + 48u] = m.d;
    scratch[map + 8u] = pm.a;
    scratch[map + 24u] = pm.b;
    scratch[map + 40u] = pm.c;
    scratch[map + 56u] = pm.d;
    if row == 0u {
        let l = log_decays[column];
        let since = decay4(sum_groups(0u, column) + from_group_start(l));
        let until = decay4(to_group_end(l) + sum_groups(column + 1u, 8u));
        let all = decay(sum_groups(0u, 8u));
        let to = start + 16u * p.key + 512u + column * 4u;
        scratch[to] = vec4(since.x, until.x, all, 0.0);
        scratch[to + 1u] = vec4(since.y, until.y, all, 0.0);
        scratch[to + 2u] = vec4(since.z, until.z, all, 0.0);
        scratch[to + 3u] = vec4(since.w, until.w, all, 0.0);
    }
}

// The state of this workgroup, [K][columns / 4].
var<workgroup> held: array<vec4<f32>, 512>;
// Sums over a part of the channels; then R and, behind its 128 vectors, U e^(L_end - L_t).
var<workgroup> sums: array<vec4<f32>, 512>;

fn value4(t: u32, head: u32, column: u32) -> vec4<f32> {
    return vec4(
        value_at(t, head, column),
        value_at(t, head, column + 1u),
        value_at(t, head, column + 2u),
        value_at(t, head, column + 3u),
    );
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

fn add_outer(sum: Tile, r: vec4<f32>, s: vec4<f32>) -> Tile {
    return Tile(sum.a + r.x * s, sum.b + r.y * s, sum.c + r.z * s, sum.d + r.w * s);
}

fn add_rows(sum: vec4<f32>, r: vec4<f32>, at: u32, step: u32) -> vec4<f32> {
    return sum
        + r.x * sums[at]
        + r.y * sums[at + step]
        + r.z * sums[at + 2u * step]
        + r.w * sums[at + 3u * step];
}

// Eight vectors on their way: memory is far away, and there are too few workgroups to hide that.
struct Eight {
    a: vec4<f32>,
    b: vec4<f32>,
    c: vec4<f32>,
    d: vec4<f32>,
    e: vec4<f32>,
    f: vec4<f32>,
    g: vec4<f32>,
    h: vec4<f32>,
}

fn channel_tokens(at: u32, channel: u32, end: u32) -> vec4<f32> {
    if channel >= end {
        return vec4(0.0);
    }
    return scratch[at + channel * 8u];
}

// 4 tokens of each of the channels from `first` on and before `end`.
fn channels_tokens(at: u32, first: u32, end: u32) -> Eight {
    return Eight(
        channel_tokens(at, first, end),
        channel_tokens(at, first + 1u, end),
        channel_tokens(at, first + 2u, end),
        channel_tokens(at, first + 3u, end),
        channel_tokens(at, first + 4u, end),
        channel_tokens(at, first + 5u, end),
        channel_tokens(at, first + 6u, end),
        channel_tokens(at, first + 7u, end),
    );
}

fn add_channels(tile: Tile, r: Eight, at: u32, step: u32) -> Tile {
    var sum = add_outer(tile, r.a, held[at]);
    sum = add_outer(sum, r.b, held[at + step]);
    sum = add_outer(sum, r.c, held[at + 2u * step]);
    sum = add_outer(sum, r.d, held[at + 3u * step]);
    sum = add_outer(sum, r.e, held[at + 4u * step]);
    sum = add_outer(sum, r.f, held[at + 5u * step]);
    sum = add_outer(sum, r.g, held[at + 6u * step]);
    return add_outer(sum, r.h, held[at + 7u * step]);
}

// A row of a map, 4 columns to a vector.
fn map_row(at: u32) -> Eight {
    return Eight(
        scratch[at],
        scratch[at + 64u],
        scratch[at + 128u],
        scratch[at + 192u],
        scratch[at + 256u],
        scratch[at + 320u],
        scratch[at + 384u],
        scratch[at + 448u],
    );
}

// A channel of k, 4 tokens to a vector.
fn key_row(at: u32) -> Eight {
    return Eight(
        scratch[at],
        scratch[at + 1u],
        scratch[at + 2u],
        scratch[at + 3u],
        scratch[at + 4u],
        scratch[at + 5u],
        scratch[at + 6u],
        scratch[at + 7u],
    );
}

// Adds a row of 32 times the rows from `at` on.
fn add_all_rows(sum: vec4<f32>, r: Eight, at: u32, step: u32) -> vec4<f32> {
    var x = add_rows(sum, r.a, at, step);
    x = add_rows(x, r.b, at + 4u * step, step);
    x = add_rows(x, r.c, at + 8u * step, step);
    x = add_rows(x, r.d, at + 12u * step, step);
    x = add_rows(x, r.e, at + 16u * step, step);
    x = add_rows(x, r.f, at + 20u * step, step);
    x = add_rows(x, r.g, at + 24u * step, step);
    return add_rows(x, r.h, at + 28u * step, step);
}

struct Two {
    x: vec4<f32>,
    y: vec4<f32>,
}

fn add_rows_twice(sum: Two, x: vec4<f32>, y: vec4<f32>, at: u32, step: u32) -> Two {
    let a = sums[at];
    let b = sums[at + step];
    let c = sums[at + 2u * step];
    let d = sums[at + 3u * step];
    return Two(
        sum.x + x.x * a + x.y * b + x.z * c + x.w * d,
        sum.y + y.x * a + y.y * b + y.z * c + y.w * d,
    );
}

// Two rows of 32 times the same rows.
fn add_all_rows_twice(sum: Two, x: Eight, y: Eight, at: u32, step: u32) -> Two {
    var both = add_rows_twice(sum, x.a, y.a, at, step);
    both = add_rows_twice(both, x.b, y.b, at + 4u * step, step);
    both = add_rows_twice(both, x.c, y.c, at + 8u * step, step);
    both = add_rows_twice(both, x.d, y.d, at + 12u * step, step);
    both = add_rows_twice(both, x.e, y.e, at + 16u * step, step);
    both = add_rows_twice(both, x.f, y.f, at + 20u * step, step);
    both = add_rows_twice(both, x.g, y.g, at + 24u * step, step);
    return add_rows_twice(both, x.h, y.h, at + 28u * step, step);
}

// One workgroup for a head and 16 or 8 value columns, which it alone reads and writes.
@compute @workgroup_size(256)
fn chunk_pass(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let head = group.y;
    var quads = 2u;
    if p.key <= 128u && p.heads * ((p.value + 15u) / 16u) >= 128u {
        quads = 4u;
    }
    let quad = local % quads;
    let column = (group.x * quads + quad) * 4u;
    // Among the 64 rows (32 of k, 32 of q) times the quads: while multiplying with the state a
    // thread has 4 rows, over a part of the channels; afterwards one.
    let rows = local / quads % 16u;
    let part = local / quads / 16u;
    let half_parts = 8u / quads;
    let channels = (p.key + 2u * half_parts - 1u) / (2u * half_parts);
    let first_channel = min(part * channels, p.key);
    let end_channel = min(first_channel + channels, p.key);
    let row = local / quads;
    let has_row = row < 64u;
    let is_query = (row & 8u) != 0u;
    let token = row % 8u * 4u + row / 16u % 4u;
    let step = 256u / quads;

    for (var i = row; i < p.key; i += step) {
        held[i * quads + quad] = vec4(
            state_at(head, i, column),
            state_at(head, i, column + 1u),
            state_at(head, i, column + 2u),
            state_at(head, i, column + 3u),
        );
    }
    workgroupBarrier();
    let chunks = (p.t + CHUNK - 1u) / CHUNK;
    let rows_start = rows / 8u * 8u * p.key + rows % 8u;
    let first_rows = chunk_start(0u, head) + rows_start;
    var tokens_ahead = channels_tokens(first_rows, first_channel, end_channel);
    for (var chunk = 0u; chunk < chunks; chunk++) {
        let start = chunk_start(chunk, head);
        let t = chunk * CHUNK + token;
        let decays = scratch[start + 16u * p.key + 512u + token];
        var written = vec4(0.0);
        if has_row && !is_query {
            written = value4(t, head, column) * p.write_factor;
        }

        var map = Eight();
        if has_row {
            map = map_row(start + 16u * p.key + row);
        }

        // Rows of k and q times the state, while the next ones come.
        var tile = Tile();
        for (var i = first_channel; i < end_channel; i += 8u) {
            let now = tokens_ahead;
            if i + 8u < end_channel {
                tokens_ahead = channels_tokens(start + rows_start, i + 8u, end_channel);
            } else if chunk + 1u < chunks {
                let next = chunk_start(chunk + 1u, head) + rows_start;
                tokens_ahead = channels_tokens(next, first_channel, end_channel);
            }
            tile = add_channels(tile, now, i * quads + quad, quads);
        }
        var recalled = vec4(0.0);
        for (var turn = 0u; turn < 2u; turn++) {
            if part / half_parts == turn {
                let to = (part % half_parts * 64u + rows) * quads + quad;
                sums[to] = tile.a;
                sums[to + 16u * quads] = tile.b;
                sums[to + 32u * quads] = tile.c;
                sums[to + 48u * quads] = tile.d;
            }
            workgroupBarrier();
            if has_row {
                for (var n = 0u; n < half_parts; n++) {
                    recalled += sums[n * 64u * quads + local];
                }
            }
            workgroupBarrier();
        }

        // R, then U and what it adds to the outputs.
        if has_row && !is_query {
            sums[token * quads + quad] = written - decays.x * recalled;
        }
        workgroupBarrier();
        if has_row {
            let x = add_all_rows(vec4(0.0), map, quad, quads);
            if is_query {
                store_out(t, head, column, recalled + x);
            } else {
                sums[128u + token * quads + quad] = x * decays.y;
            }
        }
        workgroupBarrier();

        // The state after the chunk: two channels at a time where a thread has two.
        for (var i = row; i < p.key; i += 2u * step) {
            let x = decays.z * held[i * quads + quad];
            let k_x = key_row(start + i * 8u);
            if i + step < p.key {
                let y = decays.z * held[(i + step) * quads + quad];
                let k_y = key_row(start + (i + step) * 8u);
                let both = add_all_rows_twice(Two(x, y), k_x, k_y, 128u + quad, quads);
                held[i * quads + quad] = both.x;
                held[(i + step) * quads + quad] = both.y;
            } else {
                held[i * quads + quad] = add_all_rows(x, k_x, 128u + quad, quads);
            }
        }
        workgroupBarrier();
    }
    for (var i = row; i < p.key; i += step) {
        let x = held[i * quads + quad];
        store_state(head, i, column, x.x);
        store_state(head, i, column + 1u, x.y);
        store_state(head, i, column + 2u, x.z);
        store_state(head, i, column + 3u, x.w);
    }
}
