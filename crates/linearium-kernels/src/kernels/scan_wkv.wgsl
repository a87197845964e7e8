// The WKV scan of RWKV-4 in chunks of 64 tokens; see scan_wkv.rs for the recurrence. A thread is a
// channel. States are (numerator, denominator, o, n); two of them that follow each other add up
// to one.
//
//   chunk_state   each chunk's state from an empty start, into `scratch`
//   chunk_pass    walks over the chunks: replaces each chunk's state by the state before that chunk
//   chunk_out     the recurrence from there, with the outputs; alone where there is but one chunk

struct Params {
    t: u32,
    channels: u32,
    k_stride: u32,
    k_offset: u32,
    v_stride: u32,
    v_offset: u32,
    has_log_sum: u32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> k: array<f32>;
@group(0) @binding(2) var<storage, read> v: array<f32>;
@group(0) @binding(3) var<storage, read> w: array<f32>;
@group(0) @binding(4) var<storage, read> u: array<f32>;
@group(0) @binding(5) var<storage, read_write> y: array<f32>;
@group(0) @binding(6) var<storage, read_write> log_sum: array<f32>;
@group(0) @binding(7) var<storage, read_write> state: array<f32>;
@group(0) @binding(8) var<storage, read_write> scratch: array<f32>;

const CHUNK = 64u;
const EMPTY = vec4(0.0, 0.0, -1e38, 0.0);

// e^x for x <= 0, exactly zero where that is smaller than a normal number.
fn decay(x: f32) -> f32 {
    return select(0.0, exp(x), x > -87.0);
}

// The state `before`, `tokens` later, with what `own` has added.
fn join(before: vec4<f32>, tokens: f32, own: vec4<f32>, log_decay: f32) -> vec4<f32> {
    let ahead = before.z - own.z + (before.w + tokens - own.w) * log_decay;
    let small = decay(-abs(ahead));
    if ahead >= 0.0 {
        return vec4(before.xy + small * own.xy, before.z, before.w + tokens);
    }
    return vec4(small * before.xy + own.xy, own.zw);
}

fn key(t: u32, c: u32) -> f32 {
    return k[p.k_offset + t * p.k_stride + c];
}

fn value(t: u32, c: u32) -> f32 {
    return v[p.v_offset + t * p.v_stride + c];
}

fn carried(c: u32) -> vec4<f32> {
    let d = p.channels;
    let s = vec4(state[c], state[d + c], state[2u * d + c], state[3u * d + c]);
    return select(EMPTY, s, s.y > 0.0);
}

fn kept(chunk: u32, c: u32) -> vec4<f32> {
    let d = p.channels;
    let i = chunk * 4u * d + c;
    return vec4(scratch[i], scratch[i + d], scratch[i + 2u * d], scratch[i + 3u * d]);
}

fn keep(chunk: u32, c: u32, s: vec4<f32>) {
    let d = p.channels;
    let i = chunk * 4u * d + c;
    scratch[i] = s.x;
    scratch[i + d] = s.y;
    scratch[i + 2u * d] = s.z;
    scratch[i + 3u * d] = s.w;
}

@compute @workgroup_size(64)
fn chunk_state(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let c = group.x * 64u + local;
    if c >= p.channels {
        return;
    }
    var s = EMPTY;
    let end = min((group.y + 1u) * CHUNK, p.t);
    for (var t = group.y * CHUNK; t < end; t++) {
        s = join(s, 1.0, vec4(value(t, c), 1.0, key(t, c), 0.0), w[c]);
    }
    keep(group.y, c, s);
}

@compute @workgroup_size(64)
fn chunk_pass(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let c = group.x * 64u + local;
    if c >= p.channels {
        return;
    }
    var s = carried(c);
    let chunks = (p.t + CHUNK - 1u) / CHUNK;
    for (var chunk = 0u; chunk < chunks; chunk++) {
        let own = kept(chunk, c);
        keep(chunk, c, s);
        s = join(s, f32(CHUNK), own, w[c]);
    }
}

@compute @workgroup_size(64)
fn chunk_out(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let c = group.x * 64u + local;
    if c >= p.channels {
        return;
    }
    var s: vec4<f32>;
    if p.t <= CHUNK {
        s = carried(c);
    } else {
        s = kept(group.y, c);
    }
    let end = min((group.y + 1u) * CHUNK, p.t);
    for (var t = group.y * CHUNK; t < end; t++) {
        let present = vec2(value(t, c), 1.0);
        let read = join(s, 0.0, vec4(present, u[c] + key(t, c), 0.0), w[c]);
        let i = t * p.channels + c;
        y[i] = read.x / read.y;
        if p.has_log_sum == 1u {
            log_sum[i] = read.z + read.w * w[c] + log(read.y);
        }
        s = join(s, 1.0, vec4(present, key(t, c), 0.0), w[c]);
    }
    if end == p.t {
        state[c] = s.x;
        state[p.channels + c] = s.y;
        state[2u * p.channels + c] = s.z;
        state[3u * p.channels + c] = s.w;
    }
}
