// The elementwise scan in chunks of 64 tokens; see scan_elementwise.rs for the recurrence.
//
//   chunk_state   each chunk's state from a zero start, and its sum of dt, into `scratch`
//   chunk_pass    walks over the chunks, whose decay is e^(a * sum of dt + tokens * s): replaces
//                 each chunk's state by the state before that chunk
//   chunk_out     the recurrence again, from there, with the outputs
//   single_chunk  all of it where there is but one chunk
//
// A thread is one state of one channel; a workgroup has as many whole channels as fit.

struct Params {
    t: u32,
    channels: u32,
    states: u32,
    bc_stride: u32,
    b_offset: u32,
    c_offset: u32,
    has_write_decay: u32,
    log_shift: f32,
    write_factor: f32,
    write_shift: f32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> dt: array<f32>;
@group(0) @binding(2) var<storage, read> a: array<f32>;
@group(0) @binding(3) var<storage, read> u: array<f32>;
@group(0) @binding(4) var<storage, read> bc: array<f32>;
@group(0) @binding(5) var<storage, read> w: array<f32>;
@group(0) @binding(6) var<storage, read_write> y: array<f32>;
@group(0) @binding(7) var<storage, read_write> state: array<f32>;
@group(0) @binding(8) var<storage, read_write> scratch: array<f32>;

const CHUNK = 64u;
const THREADS = 256u;
// Tokens whose products C h are summed over the states together.
const TOKENS = 8u;

var<workgroup> products: array<f32, 2048>;

// e^x, exactly zero where that is smaller than a normal number.
fn decay(x: f32) -> f32 {
    return select(0.0, exp(x), x > -87.0);
}

// One step of the recurrence.
fn step_state(h: f32, t: u32, d: u32, n: u32, log_rate: f32) -> f32 {
    let i = t * p.channels + d;
    var input = u[i] * p.write_factor * bc[t * p.bc_stride + p.b_offset + n];
    if p.has_write_decay == 1u {
        input *= exp(w[i] * log_rate + p.write_shift);
    }
    return decay(dt[i] * log_rate + p.log_shift) * h + input;
}

// `scratch` holds for every chunk the states of all channels, then for every chunk all sums of dt.
@compute @workgroup_size(THREADS)
fn chunk_state(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = group.x * THREADS + local;
    let size = p.channels * p.states;
    if i >= size {
        return;
    }
    let d = i / p.states;
    let n = i % p.states;
    let chunk = group.y;
    let end = min((chunk + 1u) * CHUNK, p.t);
    var h = 0.0;
    var sum = 0.0;
    for (var t = chunk * CHUNK; t < end; t++) {
        h = step_state(h, t, d, n, a[i]);
        sum += dt[t * p.channels + d];
    }
    scratch[chunk * size + i] = h;
    if n == 0u {
        scratch[count.y * size + chunk * p.channels + d] = sum;
    }
}

@compute @workgroup_size(THREADS)
fn chunk_pass(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let i = (group.y * 65535u + group.x) * THREADS + local;
    let size = p.channels * p.states;
    if i >= size {
        return;
    }
    let chunks = (p.t + CHUNK - 1u) / CHUNK;
    var h = state[i];
    for (var chunk = 0u; chunk < chunks; chunk++) {
        let own = scratch[chunk * size + i];
        let sum = scratch[chunks * size + chunk * p.channels + i / p.states];
        let tokens = min(CHUNK, p.t - chunk * CHUNK);
        scratch[chunk * size + i] = h;
        h = decay(a[i] * sum + f32(tokens) * p.log_shift) * h + own;
    }
    state[i] = h;
}

// The outputs of one chunk for the workgroup's channels, from the state h before the chunk; gives
// the state after it. Threads without a state only help with the sums.
fn outputs(before: f32, chunk: u32, first_channel: u32, local: u32) -> f32 {
    let channels = THREADS / p.states;
    let d = first_channel + local / p.states;
    let n = local % p.states;
    let has_state = local < channels * p.states && d < p.channels;
    var log_rate = 0.0;
    if has_state {
        log_rate = a[d * p.states + n];
    }
    var h = before;
    let end = min((chunk + 1u) * CHUNK, p.t);
    for (var first = chunk * CHUNK; first < end; first += TOKENS) {
        let tokens = min(TOKENS, end - first);
        if has_state {
            for (var i = 0u; i < tokens; i++) {
                let t = first + i;
                h = step_state(h, t, d, n, log_rate);
                products[i * THREADS + local] = bc[t * p.bc_stride + p.c_offset + n] * h;
            }
        }
        workgroupBarrier();
        for (var i = local; i < tokens * channels; i += THREADS) {
            let t = i / channels;
            let channel = i % channels;
            if first_channel + channel < p.channels {
                var sum = 0.0;
                for (var m = 0u; m < p.states; m++) {
                    sum += products[t * THREADS + channel * p.states + m];
                }
                y[(first + t) * p.channels + first_channel + channel] = sum;
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

@compute @workgroup_size(THREADS)
fn chunk_out(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let size = p.channels * p.states;
    let first_channel = group.x * (THREADS / p.states);
    let i = state_index(first_channel, local);
    var h = 0.0;
    if i < size {
        h = scratch[group.y * size + i];
    }
    h = outputs(h, group.y, first_channel, local);
}

@compute @workgroup_size(THREADS)
fn single_chunk(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let size = p.channels * p.states;
    let first_channel = group.x * (THREADS / p.states);
    let i = state_index(first_channel, local);
    var h = 0.0;
    if i < size {
        h = state[i];
    }
    h = outputs(h, 0u, first_channel, local);
    if i < size {
        state[i] = h;
    }
}
