// Linear systems with complex states; see scan_complex.rs for the recurrence.
//
//   in_order      the recurrence over all tokens: a single chunk, or states that are coupled
//
// and where there are several chunks of 64 tokens and nothing is coupled
//
//   chunk_state   each chunk's state from a zero start, into `scratch`
//   chunk_pass    walks over the chunks, of which each turns by a^64: replaces each chunk's state by
//                 the state before that chunk
//   chunk_out     the recurrence again, from there, with the outputs and the last state
//
// A thread is one state of one channel; a workgroup has as many whole channels as fit.

struct Params {
    t: u32,
    channels: u32,
    states: u32,
    rank: u32,
    pairs: u32,
    u_stride: u32,
    u_offset: u32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> u: array<f32>;
@group(0) @binding(2) var<storage, read> system: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;
@group(0) @binding(4) var<storage, read_write> state: array<f32>;
@group(0) @binding(5) var<storage, read_write> scratch: array<f32>;

const CHUNK = 64u;
const THREADS = 256u;
// Tokens whose products c h are summed over the states together.
const TOKENS = 4u;
const FIELDS = 10u;

var<workgroup> products: array<vec2<f32>, 1024>;
var<workgroup> coupling: array<f32, 256>;

fn times(a: vec2<f32>, b: vec2<f32>) -> vec2<f32> {
    return vec2(a.x * b.x - a.y * b.y, a.x * b.y + a.y * b.x);
}

// Coefficient `field` of state n of channel d.
fn coefficient(field: u32, d: u32, n: u32) -> vec2<f32> {
    let size = p.states * p.channels;
    let i = field * size + n * p.channels + d;
    return vec2(system[i], system[i + size]);
}

fn input(t: u32, d: u32) -> vec2<f32> {
    let i = p.u_offset + t * p.u_stride + d;
    if p.pairs == 1u {
        return vec2(u[i], u[i + p.channels]);
    }
    return vec2(u[i], 0.0);
}

// Coefficients of one state, in registers.
struct State {
    a: vec2<f32>,
    rest: vec2<f32>,
    b: vec2<f32>,
    c: vec2<f32>,
}

fn state_of(d: u32, n: u32) -> State {
    return State(coefficient(0u, d, n), coefficient(2u, d, n), coefficient(6u, d, n), coefficient(8u, d, n));
}

fn step_state(s: State, h: vec2<f32>, x: vec2<f32>) -> vec2<f32> {
    return times(s.a, h) + (times(s.rest, h) + times(s.b, x));
}

@compute @workgroup_size(THREADS)
fn chunk_state(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let i = group.x * THREADS + local;
    let size = p.channels * p.states;
    if i >= size {
        return;
    }
    let d = i / p.states;
    let s = state_of(d, i % p.states);
    var h = vec2(0.0, 0.0);
    let end = min((group.y + 1u) * CHUNK, p.t);
    for (var t = group.y * CHUNK; t < end; t++) {
        h = step_state(s, h, input(t, d));
    }
    let at = (group.y * size + i) * 2u;
    scratch[at] = h.x;
    scratch[at + 1u] = h.y;
}

@compute @workgroup_size(THREADS)
fn chunk_pass(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let i = group.x * THREADS + local;
    let size = p.channels * p.states;
    if i >= size {
        return;
    }
    let turn = coefficient(4u, i / p.states, i % p.states);
    let chunks = (p.t + CHUNK - 1u) / CHUNK;
    var h = vec2(state[i * 2u], state[i * 2u + 1u]);
    for (var chunk = 0u; chunk < chunks; chunk++) {
        let at = (chunk * size + i) * 2u;
        let own = vec2(scratch[at], scratch[at + 1u]);
        scratch[at] = h.x;
        scratch[at + 1u] = h.y;
        h = times(turn, h) + own;
    }
}

// What couples the states of this thread's channel: one term of the sum over r.
fn couple(h: vec2<f32>, r: u32, d: u32, n: u32, has_state: bool, local: u32) -> vec2<f32> {
    if has_state {
        coupling[local] = times(coefficient(FIELDS + 4u * r + 2u, d, n), h).x;
    }
    workgroupBarrier();
    var sum = 0.0;
    if has_state {
        for (var m = local - n; m < local - n + p.states; m++) {
            sum += coupling[m];
        }
    }
    workgroupBarrier();
    if has_state {
        return sum * coefficient(FIELDS + 4u * r, d, n);
    }
    return vec2(0.0, 0.0);
}

// The outputs of tokens `start..end` for the workgroup's channels, from the state h before them;
// gives the state after them. Threads without a state only help with the sums.
fn outputs(before: vec2<f32>, start: u32, end: u32, first_channel: u32, local: u32) -> vec2<f32> {
    let channels = THREADS / p.states;
    let d = first_channel + local / p.states;
    let n = local % p.states;
    let has_state = local < channels * p.states && d < p.channels;
    var s: State;
    if has_state {
        s = state_of(d, n);
    }
    var h = before;
    for (var first = start; first < end; first += TOKENS) {
        let tokens = min(TOKENS, end - first);
        for (var i = 0u; i < tokens; i++) {
            var coupled = vec2(0.0, 0.0);
            for (var r = 0u; r < p.rank; r++) {
                coupled += couple(h, r, d, n, has_state, local);
            }
            if has_state {
                h = step_state(s, h, input(first + i, d)) + coupled;
                products[i * THREADS + local] = times(s.c, h);
            }
        }
        workgroupBarrier();
        for (var i = local; i < tokens * channels; i += THREADS) {
            let t = i / channels;
            let channel = i % channels;
            if first_channel + channel < p.channels {
                var sum = vec2(0.0, 0.0);
                for (var m = 0u; m < p.states; m++) {
                    sum += products[t * THREADS + channel * p.states + m];
                }
                let at = (first + t) * p.channels * (1u + p.pairs) + first_channel + channel;
                y[at] = sum.x;
                if p.pairs == 1u {
                    y[at + p.channels] = sum.y;
                }
            }
        }
        workgroupBarrier();
    }
    return h;
}

// Where the thread's state is, or the number of states if it has none.
fn state_index(first_channel: u32, local: u32) -> u32 {
    let d = first_channel + local / p.states;
    if local / p.states >= THREADS / p.states || d >= p.channels {
        return p.channels * p.states;
    }
    return first_channel * p.states + local;
}

fn write_state(i: u32, h: vec2<f32>) {
    if i < p.channels * p.states {
        state[i * 2u] = h.x;
        state[i * 2u + 1u] = h.y;
    }
}

@compute @workgroup_size(THREADS)
fn in_order(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let first_channel = group.x * (THREADS / p.states);
    let i = state_index(first_channel, local);
    var h = vec2(0.0, 0.0);
    if i < p.channels * p.states {
        h = vec2(state[i * 2u], state[i * 2u + 1u]);
    }
    write_state(i, outputs(h, 0u, p.t, first_channel, local));
}

@compute @workgroup_size(THREADS)
fn chunk_out(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let first_channel = group.x * (THREADS / p.states);
    let i = state_index(first_channel, local);
    let size = p.channels * p.states;
    var h = vec2(0.0, 0.0);
    if i < size {
        let at = (group.y * size + i) * 2u;
        h = vec2(scratch[at], scratch[at + 1u]);
    }
    let end = min((group.y + 1u) * CHUNK, p.t);
    h = outputs(h, group.y * CHUNK, end, first_channel, local);
    if end == p.t {
        write_state(i, h);
    }
}
