//! The delta-rule scan.

use linearium::kernels::scan_delta::{CHUNK, KERNEL, ScanDelta};

use crate::harness::{Rng, assert_close, assert_state_close, call, levels, output};

/// Nothing, one, around a block of the CPU and a chunk of the GPU, and many of both.
const LENGTHS: [usize; 8] = [0, 1, 2, CHUNK - 1, CHUNK, CHUNK + 1, 100, 1000];

const RULES: [u32; 6] = [
    0,
    ScanDelta::DECAY_PER_HEAD,
    ScanDelta::DECAY_PER_KEY,
    ScanDelta::DPLR,
    ScanDelta::DPLR | ScanDelta::DECAY_PER_HEAD,
    ScanDelta::DPLR | ScanDelta::DECAY_PER_KEY,
];

/// The largest RMS ratio. A token's write is a difference that erases at most what stands there:
/// its roundings are those of a product of the state's size and are erased or decay like it. Where
/// nothing decays they add up like a random walk, sqrt(1000) of some 6e-8.
const TOLERANCE: f64 = 3e-6;

/// Heads, groups, key and value width.
type Shape = (usize, usize, usize, usize);

struct Input {
    p: ScanDelta,
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
    g: Vec<f32>,
    erase: Vec<f32>,
    state: Vec<f32>,
}

/// Makes each run of `width` values in every row a unit vector.
fn normalise(buffer: &mut [f32], t: usize, runs: usize, width: usize, stride: u32, offset: u32) {
    for row in 0..t {
        for run in 0..runs {
            let start = offset as usize + row * stride as usize + run * width;
            let x = &mut buffer[start..start + width];
            let norm = x.iter().map(|x| x * x).sum::<f32>().sqrt().max(1e-6);
            x.iter_mut().for_each(|x| *x /= norm);
        }
    }
}

/// Seeded rows with NaN between them; unit keys; beta or, with DPLR, `a = -kk`, `b = kk * iclr`.
fn input(
    rng: &mut Rng,
    t: usize,
    (heads, groups, key, value): Shape,
    flags: u32,
    log_decay: impl Fn(&mut Rng) -> f32,
    beta: impl Fn(&mut Rng) -> f32,
) -> Input {
    let dplr = flags & ScanDelta::DPLR != 0;
    let erase_width = if dplr { 2 * heads * key } else { heads };
    let mut column = |width: usize| ((width + rng.below(9)) as u32, rng.below(5) as u32);
    let (q_stride, q_offset) = column(groups * key);
    let (k_stride, k_offset) = column(groups * key);
    let (v_stride, v_offset) = column(heads * value);
    let (erase_stride, erase_offset) = column(erase_width);
    let p = ScanDelta {
        t: t as u32,
        heads: heads as u32,
        key: key as u32,
        value: value as u32,
        groups: groups as u32,
        q_stride,
        q_offset,
        k_stride,
        k_offset,
        v_stride,
        v_offset,
        flags,
        erase_stride,
        erase_offset,
        scale: 1.0 / (key as f32).sqrt(),
        write_factor: if t % 3 == 1 { 0.7 } else { 1.0 },
    };
    let q = rng.rows(t, groups * key, q_stride as usize, q_offset as usize);
    let mut k = rng.rows(t, groups * key, k_stride as usize, k_offset as usize);
    normalise(&mut k, t, groups, key, k_stride, k_offset);
    let v = rng.rows(t, heads * value, v_stride as usize, v_offset as usize);
    let gates = match flags & 3 {
        0 => 1,
        ScanDelta::DECAY_PER_HEAD => t * heads + 1,
        _ => t * heads * key + 1,
    };
    let g = (0..gates).map(|_| log_decay(rng)).collect();
    let mut erase = rng.rows(t, erase_width, erase_stride as usize, erase_offset as usize);
    if dplr {
        normalise(&mut erase, t, heads, key, erase_stride, erase_offset);
    }
    for row in 0..t {
        let row = &mut erase[erase_offset as usize + row * erase_stride as usize..][..erase_width];
        if dplr {
            let (a, b) = row.split_at_mut(heads * key);
            for (a, b) in a.iter().zip(b) {
                *b = -a * beta(rng);
            }
        } else {
            row.iter_mut().for_each(|x| *x = beta(rng));
        }
    }
    let state = rng.values(heads * key * value, -1.0, 1.0);
    Input {
        p,
        q,
        k,
        v,
        g,
        erase,
        state,
    }
}

/// Outputs and final state, from the formulas in the kernel's documentation.
fn in_f64(input: &Input) -> (Vec<f64>, Vec<f64>) {
    let p = &input.p;
    let (heads, key, value) = (p.heads as usize, p.key as usize, p.value as usize);
    let at = |x: &[f32], offset: u32, t: usize, stride: u32, column: usize| {
        f64::from(x[offset as usize + t * stride as usize + column])
    };
    let mut all: Vec<f64> = input.state.iter().map(|&s| f64::from(s)).collect();
    let mut out = Vec::new();
    for t in 0..p.t as usize {
        for h in 0..heads {
            let s = &mut all[h * key * value..][..key * value];
            let column = h / (heads / p.groups as usize) * key;
            let q = |i: usize| at(&input.q, p.q_offset, t, p.q_stride, column + i);
            let k = |i: usize| at(&input.k, p.k_offset, t, p.k_stride, column + i);
            let v = |j: usize| at(&input.v, p.v_offset, t, p.v_stride, h * value + j);
            let erase = |c: usize| at(&input.erase, p.erase_offset, t, p.erase_stride, c);
            let decay = |i: usize| match p.flags & 3 {
                0 => 1.0,
                ScanDelta::DECAY_PER_HEAD => f64::from(input.g[t * heads + h]).exp(),
                _ => f64::from(input.g[(t * heads + h) * key + i]).exp(),
            };
            let factor = f64::from(p.write_factor);
            for j in 0..value {
                let new: Vec<f64> = if p.flags & ScanDelta::DPLR == 0 {
                    let decayed: Vec<f64> = (0..key).map(|i| decay(i) * s[i * value + j]).collect();
                    let recalled: f64 = (0..key).map(|i| k(i) * decayed[i]).sum();
                    let write = erase(h) * (factor * v(j) - recalled);
                    (0..key).map(|i| decayed[i] + k(i) * write).collect()
                } else {
                    let read: f64 = (0..key)
                        .map(|i| erase(h * key + i) * s[i * value + j])
                        .sum();
                    let b = |i: usize| erase((heads + h) * key + i);
                    let write = |i: usize| b(i) * read + factor * k(i) * v(j);
                    (0..key)
                        .map(|i| decay(i) * s[i * value + j] + write(i))
                        .collect()
                };
                for i in 0..key {
                    s[i * value + j] = new[i];
                }
                let read: f64 = (0..key).map(|i| q(i) * new[i]).sum();
                out.push(f64::from(p.scale) * read);
            }
        }
    }
    (out, all)
}

/// Runs the kernel over every cut at every level and compares.
fn check(rng: &mut Rng, input: &Input, tolerance: f64) {
    let p = input.p;
    let (heads, value) = (p.heads as usize, p.value as usize);
    let (want, want_state) = in_f64(input);
    let gates = match p.flags & 3 {
        0 => 0,
        ScanDelta::DECAY_PER_HEAD => heads,
        _ => heads * p.key as usize,
    };
    for level in levels() {
        let what = format!("scan_delta {level:?} {p:?}");
        let mut whole: Option<(Vec<f32>, Vec<f32>)> = None;
        for cut in rng.cuts(p.t as usize) {
            let mut out = output(p.t as usize * heads * value);
            let mut state = input.state.clone();
            let mut start = 0;
            for n in cut {
                let piece = ScanDelta { t: n as u32, ..p };
                let mut scratch = vec![f32::NAN; piece.scratch_len()];
                let reads: [&[f32]; 5] = [
                    &input.q[start * p.q_stride as usize..],
                    &input.k[start * p.k_stride as usize..],
                    &input.v[start * p.v_stride as usize..],
                    &input.g[start * gates..],
                    &input.erase[start * p.erase_stride as usize..],
                ];
                let o = &mut out[start * heads * value..];
                call(
                    &KERNEL,
                    level,
                    &piece,
                    &reads,
                    &mut [o, &mut state, &mut scratch],
                );
                start += n;
            }
            assert_close(&what, &out, &want, 0.1, tolerance);
            assert_state_close(&what, &state, &want_state, 0.1, tolerance);
            // The recurrence does the same arithmetic wherever the input is cut.
            let (whole_out, whole_state) = whole.get_or_insert((out.clone(), state.clone()));
            assert_eq!(*whole_out, out, "{what}");
            assert_eq!(*whole_state, state, "{what}");
        }
    }
}

#[test]
fn scan_delta_equals_f64_across_every_cut() {
    let mut rng = Rng::new(31);
    let shapes = [
        (1, 1, 1, 1),
        (2, 1, 3, 5),
        (4, 2, 16, 17),
        (2, 2, 33, 40),
        (1, 1, 64, 64),
        (1, 1, 7, 131),
    ];
    for (i, t) in LENGTHS.into_iter().enumerate() {
        for (j, shape) in shapes.into_iter().enumerate() {
            // Six rules and six shapes; which meet changes with the length.
            let flags = RULES[(i + j) % RULES.len()];
            let gate = |rng: &mut Rng| rng.value(-0.3, 0.0);
            let beta = |rng: &mut Rng| rng.value(0.0, 1.0);
            let input = input(&mut rng, t, shape, flags, gate, beta);
            check(&mut rng, &input, TOLERANCE);
        }
    }
}

/// Random shapes, each with every rule.
#[test]
fn scan_delta_of_random_shapes() {
    let mut rng = Rng::new(32);
    for _ in 0..12 {
        let groups = 1 + rng.below(3);
        let heads = groups * (1 + rng.below(3));
        let shape = (heads, groups, 1 + rng.below(40), 1 + rng.below(80));
        let t = rng.below(120);
        for flags in RULES {
            let gate = |rng: &mut Rng| rng.value(-2.0, 0.0);
            let beta = |rng: &mut Rng| rng.value(0.0, 2.0);
            let input = input(&mut rng, t, shape, flags, gate, beta);
            check(&mut rng, &input, TOLERANCE);
        }
    }
}

/// Decays that hold, forget and nearly forget everything, with an erasure of nothing (beta 0), of
/// all that the key recalls (1), and a reflection (2), which keeps every rounding error at its size:
/// with six keys each value is reflected at every token.
#[test]
fn scan_delta_at_the_ends_of_its_gates() {
    let mut rng = Rng::new(33);
    for t in [1, 2, CHUNK + 1, 130] {
        for flags in RULES {
            for gate in [0.0, -1e-7, -87.0, -1e4, f32::NEG_INFINITY] {
                for beta in [0.0, 1.0, 2.0] {
                    // Not all tokens alike: a hold between two resets.
                    let gate = |rng: &mut Rng| if rng.below(7) == 3 { 0.0 } else { gate };
                    let shape = (2, 1, 6, 21);
                    let input = input(&mut rng, t, shape, flags, gate, |_| beta);
                    check(&mut rng, &input, 1e-5);
                }
            }
        }
    }
}

/// Beta 1 and no decay: what was written last at a key is what it recalls, and nothing else.
#[test]
fn scan_delta_recalls_what_was_written() {
    let (key, value) = (4, 3);
    // Unit vectors as keys: 0, 1, 0 again; then each is asked for.
    let unit = |i: usize| (0..key).map(move |c| if c == i { 1.0f32 } else { 0.0 });
    let k: Vec<f32> = [0, 1, 0, 3, 3].into_iter().flat_map(unit).collect();
    let q: Vec<f32> = [0, 0, 0, 1, 2].into_iter().flat_map(unit).collect();
    let v: Vec<f32> = (0..5 * value).map(|i| i as f32 + 1.0).collect();
    let p = ScanDelta {
        t: 5,
        heads: 1,
        key: key as u32,
        value: value as u32,
        groups: 1,
        q_stride: key as u32,
        q_offset: 0,
        k_stride: key as u32,
        k_offset: 0,
        v_stride: value as u32,
        v_offset: 0,
        flags: 0,
        erase_stride: 1,
        erase_offset: 0,
        scale: 1.0,
        write_factor: 1.0,
    };
    for level in levels() {
        let mut out = vec![f32::NAN; 15];
        let mut state = vec![0.0; key * value];
        let mut scratch = vec![f32::NAN; p.scratch_len()];
        call(
            &KERNEL,
            level,
            &p,
            &[&q, &k, &v, &[0.0], &[1.0; 5]],
            &mut [&mut out, &mut state, &mut scratch],
        );
        let rows: Vec<&[f32]> = out.chunks(value).collect();
        // Written first, still there, replaced; the other key's; nothing.
        assert_eq!(rows[0], &v[..3], "{level:?}");
        assert_eq!(rows[1], &v[..3], "{level:?}");
        assert_eq!(rows[2], &v[6..9], "{level:?}");
        assert_eq!(rows[3], &v[3..6], "{level:?}");
        assert_eq!(rows[4], &[0.0; 3], "{level:?}");
    }
}
