// Loss and most likely token of each row; see cross_entropy.rs. One workgroup a row.

struct Params {
    t: u32,
    vocab: u32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> logits: array<f32>;
@group(0) @binding(2) var<storage, read> targets: array<f32>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;

const THREADS = 256u;

var<workgroup> value: array<f32, THREADS>;
var<workgroup> place: array<u32, THREADS>;

@compute @workgroup_size(THREADS)
fn cross_entropy(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let t = group.x;
    let row = t * p.vocab;

    // The largest logit, and of equal ones the first. A thread without a column repeats the first.
    var best = min(local, p.vocab - 1u);
    for (var j = local; j < p.vocab; j += THREADS) {
        if logits[row + j] > logits[row + best] {
            best = j;
        }
    }
    value[local] = logits[row + best];
    place[local] = best;
    workgroupBarrier();
    for (var half = THREADS / 2u; half > 0u; half /= 2u) {
        if local < half {
            let other = value[local + half];
            let tie = other == value[local] && place[local + half] < place[local];
            if other > value[local] || tie {
                value[local] = other;
                place[local] = place[local + half];
            }
        }
        workgroupBarrier();
    }
    let largest = value[0];
    workgroupBarrier();

    var sum = 0.0;
    for (var j = local; j < p.vocab; j += THREADS) {
        sum += exp(logits[row + j] - largest);
    }
    value[local] = sum;
    workgroupBarrier();
    for (var half = THREADS / 2u; half > 0u; half /= 2u) {
        if local < half {
            value[local] += value[local + half];
        }
        workgroupBarrier();
    }

    if local == 0u {
        var loss = 0.0;
        if targets[t] >= 0.0 {
            loss = log(value[0]) + (largest - logits[row + u32(targets[t])]);
        }
        out[t * 2u] = loss;
        out[t * 2u + 1u] = f32(place[0]);
    }
}
