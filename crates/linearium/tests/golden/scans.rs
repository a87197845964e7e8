//! The scan and attention kernels against the reference functions of flash-linear-attention and
//! mamba, recorded in `tests/golden/*.safetensors` (made by `tests/golden/make/scans.py`; every
//! file names its repository, commit, path and command).

use bytemuck::Pod;
use fearless_simd::Level;
use linearium::kernels::{
    activate, scaled_add, scan_elementwise, scan_outer, scan_wkv, softmax_attention,
};
use linearium::recording::{Kernel, Params};

/// f32 arithmetic over up to 65 tokens and 33 products a sum: some 1e-7; the goal is 1e-5.
const TOLERANCE: f64 = 1e-5;

const NONE: &[f32] = &[0.0];

use crate::golden::Golden;

impl Golden {
    /// What the reference gave, in f32 and in f64, both in f64.
    fn results(&self, name: &str) -> [Vec<f64>; 2] {
        let single = self.input(&format!("f32.{name}"));
        [
            single.into_iter().map(f64::from).collect(),
            self.exact(&format!("f64.{name}")),
        ]
    }

    /// Compares a result with what the reference gave in either precision.
    #[track_caller]
    fn assert_close(&self, name: &str, level: Level, got: &[f32]) {
        for want in self.results(name) {
            assert_eq!(got.len(), want.len(), "{name}");
            let pairs = got.iter().zip(&want);
            let difference: f64 = pairs.map(|(g, w)| (f64::from(*g) - w).powi(2)).sum();
            let size: f64 = want.iter().map(|w| w * w).sum();
            let ratio = (difference / size).sqrt();
            assert!(
                ratio <= TOLERANCE,
                "{name} of case {} at {level:?}: RMS ratio {ratio:e}",
                self.case
            );
        }
    }
}

fn levels() -> Vec<Level> {
    vec![Level::baseline(), Level::new()]
}

fn call<P: Pod>(
    kernel: &Kernel,
    level: Level,
    params: &P,
    reads: &[&[f32]],
    writes: &mut [&mut [f32]],
) {
    (kernel.cpu)(level, &Params::pack(params), reads, writes);
}

/// Swaps the last two of three dimensions.
fn transposed(x: &[f32], [a, b, c]: [usize; 3]) -> Vec<f32> {
    let mut out = vec![0.0; x.len()];
    for i in 0..a {
        for j in 0..b {
            for k in 0..c {
                out[(i * c + k) * b + j] = x[(i * b + j) * c + k];
            }
        }
    }
    out
}

/// Runs the outer-product scan on dense buffers; returns the outputs and the final state.
fn outer(
    level: Level,
    [t, heads, groups, key, value]: [usize; 5],
    scale: f32,
    [q, k, v, g]: [&[f32]; 4],
    write: Option<&[f32]>,
    initial_state: &[f32],
) -> (Vec<f32>, Vec<f32>) {
    let p = scan_outer::ScanOuter {
        t: t as u32,
        heads: heads as u32,
        key: key as u32,
        value: value as u32,
        groups: groups as u32,
        q_stride: (groups * key) as u32,
        q_offset: 0,
        k_stride: (groups * key) as u32,
        k_offset: 0,
        v_stride: (heads * value) as u32,
        v_offset: 0,
        per_key: u32::from(g.len() == t * heads * key && key > 1),
        has_write_scale: u32::from(write.is_some()),
        scale,
        write_factor: 1.0,
        read_before: 0,
    };
    let mut out = vec![f32::NAN; t * heads * value];
    let mut state = initial_state.to_vec();
    let mut scratch = vec![f32::NAN; scan_outer::ScanOuter::scratch_len(t, heads, key, value)];
    let reads = [q, k, v, g, write.unwrap_or(NONE)];
    let writes: &mut [&mut [f32]] = &mut [&mut out, &mut state, &mut scratch];
    call(&scan_outer::KERNEL, level, &p, &reads, writes);
    (out, state)
}

#[test]
fn ssd_equals_the_listing_of_the_paper() {
    for golden in Golden::first_cases(3, "ssd") {
        let [t, heads, value] = golden.shape("x")[..] else {
            unreachable!()
        };
        let [_, groups, key] = golden.shape("b")[..] else {
            unreachable!()
        };
        let (dt, a) = (golden.input("dt"), golden.input("a"));
        let g: Vec<f32> = dt
            .iter()
            .enumerate()
            .map(|(i, dt)| dt * a[i % heads])
            .collect();
        // The reference keeps states as [H, P, N].
        let shape = [heads, value, key];
        let first = transposed(&golden.input("initial_state"), shape);
        let (q, k, v) = (golden.input("c"), golden.input("b"), golden.input("x"));
        for level in levels() {
            let sizes = [t, heads, groups, key, value];
            let (out, state) = outer(level, sizes, 1.0, [&q, &k, &v, &g], Some(&dt), &first);
            golden.assert_close("y", level, &out);
            golden.assert_close("state", level, &transposed(&state, [heads, key, value]));
        }
    }
}

#[test]
fn gla_equals_its_recurrence() {
    for golden in Golden::first_cases(3, "gla") {
        let [t, heads, key] = golden.shape("q")[..] else {
            unreachable!()
        };
        let value = golden.shape("v")[2];
        let inputs = ["q", "k", "v", "log_decay"].map(|name| golden.input(name));
        let inputs = inputs.each_ref().map(Vec::as_slice);
        let first = golden.input("initial_state");
        let scale = (key as f32).powf(-0.5);
        for level in levels() {
            let sizes = [t, heads, heads, key, value];
            let (out, state) = outer(level, sizes, scale, inputs, None, &first);
            golden.assert_close("o", level, &out);
            golden.assert_close("state", level, &state);
        }
    }
}

#[test]
fn retnet_equals_its_parallel_and_its_recurrent_form() {
    for golden in Golden::first_cases(3, "retnet") {
        let [t, heads, key] = golden.shape("q")[..] else {
            unreachable!()
        };
        let value = golden.shape("v")[2];
        let (q, k, v) = (golden.input("q"), golden.input("k"), golden.input("v"));
        // gamma_h = 1 - 2^(-5 - h)
        let log_gamma = |h: usize| (-(2f64.powi(-5 - h as i32))).ln_1p() as f32;
        let g: Vec<f32> = (0..t * heads).map(|i| log_gamma(i % heads)).collect();
        let first = golden.input("initial_state");
        let zero = vec![0.0; first.len()];
        let (sizes, scale) = ([t, heads, heads, key, value], (key as f32).powf(-0.5));
        for level in levels() {
            let (out, state) = outer(level, sizes, scale, [&q, &k, &v, &g], None, &first);
            golden.assert_close("o", level, &out);
            golden.assert_close("state", level, &state);
            let (out, _) = outer(level, sizes, scale, [&q, &k, &v, &g], None, &zero);
            golden.assert_close("o_from_zero", level, &out);
        }
    }
}

/// Softplus of the step size and its bias, the input times it, the scan, and the skip: the whole
/// selective scan out of four kernels.
#[test]
fn s6_equals_the_selective_scan() {
    for golden in Golden::first_cases(3, "s6") {
        let [t, channels] = golden.shape("f32.y")[..] else {
            unreachable!()
        };
        let states = golden.shape("a")[1];
        let before = golden.shape("x")[0] - t;
        let last = |name: &str, width: usize| golden.input(name)[before * width..].to_vec();
        let (x, delta) = (last("x", channels), last("delta", channels));
        let (b, c) = (last("b", states), last("c", states));
        let (bias, skip) = (golden.input("delta_bias"), golden.input("skip"));
        let rows = b.chunks(states).zip(c.chunks(states));
        let bc: Vec<f32> = rows.flat_map(|(b, c)| [b, c].concat()).collect();
        // The state that the reference reached itself before these tokens, in f64.
        let [_, first] = golden.results("initial_state");
        for level in levels() {
            let mut dt = vec![f32::NAN; t * channels];
            let softplus = activate::Activate {
                t: t as u32,
                width: channels as u32,
                x_stride: channels as u32,
                x_offset: 0,
                function: activate::SOFTPLUS,
                has_bias: 1,
                has_scale: 0,
                has_threshold: 0,
                min: f32::NEG_INFINITY,
                max: f32::INFINITY,
                multiplier: 1.0,
                shift: 0.0,
            };
            let reads: [&[f32]; 4] = [&delta, &bias, NONE, NONE];
            call(&activate::KERNEL, level, &softplus, &reads, &mut [&mut dt]);
            let product = scaled_add::ScaledAdd {
                t: t as u32,
                width: channels as u32,
                y_stride: channels as u32,
                y_offset: 0,
                per: 1,
                has_d: 0,
                multiply: 1,
                multiplier: 1.0,
            };
            let mut u = vec![f32::NAN; t * channels];
            let reads: [&[f32]; 3] = [&x, &dt, NONE];
            call(&scaled_add::KERNEL, level, &product, &reads, &mut [&mut u]);

            let scan = scan_elementwise::ScanElementwise {
                t: t as u32,
                channels: channels as u32,
                states: states as u32,
                bc_stride: 2 * states as u32,
                b_offset: 0,
                c_offset: states as u32,
                has_write_decay: 0,
                log_shift: 0.0,
                write_factor: 1.0,
                write_shift: 0.0,
            };
            let mut y = vec![f32::NAN; t * channels];
            let mut state: Vec<f32> = first.iter().map(|&s| s as f32).collect();
            let len = scan_elementwise::ScanElementwise::scratch_len(t, channels, states);
            let mut scratch = vec![f32::NAN; len];
            let reads: [&[f32]; 5] = [&dt, &golden.input("a"), &u, &bc, NONE];
            let writes: &mut [&mut [f32]] = &mut [&mut y, &mut state, &mut scratch];
            call(&scan_elementwise::KERNEL, level, &scan, &reads, writes);
            golden.assert_close("state", level, &state);

            let add = scaled_add::ScaledAdd {
                has_d: 1,
                multiply: 0,
                ..product
            };
            let mut out = vec![f32::NAN; t * channels];
            call(
                &scaled_add::KERNEL,
                level,
                &add,
                &[&y, &x, &skip],
                &mut [&mut out],
            );
            golden.assert_close("y", level, &out);
        }
    }
}

#[test]
fn softmax_attention_equals_the_parallel_form() {
    for golden in Golden::first_cases(3, "attention") {
        let [t, heads, key] = golden.shape("q")[..] else {
            unreachable!()
        };
        let kv_heads = golden.shape("k")[1];
        let p = softmax_attention::SoftmaxAttention {
            t: t as u32,
            heads: heads as u32,
            kv_heads: kv_heads as u32,
            key: key as u32,
            position: 0,
            q_stride: (heads * key) as u32,
            q_offset: 0,
            k_stride: (kv_heads * key) as u32,
            k_offset: 0,
            v_stride: (kv_heads * key) as u32,
            v_offset: 0,
            window: golden.input("window")[0] as u32,
            scale: (key as f32).powf(-0.5),
            write_factor: 1.0,
        };
        let (q, k, v) = (golden.input("q"), golden.input("k"), golden.input("v"));
        for level in levels() {
            let mut out = vec![f32::NAN; t * heads * key];
            let mut caches = [vec![f32::NAN; k.len()], vec![f32::NAN; v.len()]];
            let [k_cache, v_cache] = &mut caches;
            let writes: &mut [&mut [f32]] = &mut [&mut out, k_cache, v_cache];
            call(&softmax_attention::KERNEL, level, &p, &[&q, &k, &v], writes);
            golden.assert_close("o", level, &out);
        }
    }
}

/// The second case has keys of a few hundred. The official state has the exponent of the largest
/// term in one number, ours as a key and the tokens since.
#[test]
fn wkv_equals_the_cuda_kernel_and_the_recurrent_state() {
    for golden in Golden::first_cases(2, "rwkv4") {
        let shape = golden.shape("scan.k");
        let [t, d] = [shape[0], shape[1]];
        let [k, v, w, u] = ["k", "v", "w", "u"].map(|name| golden.input(&format!("scan.{name}")));
        let (want, want_state) = (golden.exact("scan.o"), golden.exact("scan.state"));
        for level in levels() {
            let p = scan_wkv::ScanWkv {
                t: t as u32,
                channels: d as u32,
                k_stride: d as u32,
                k_offset: 0,
                v_stride: d as u32,
                v_offset: 0,
                has_log_sum: 0,
            };
            let (mut out, mut state) = (vec![f32::NAN; t * d], vec![0.0; 4 * d]);
            let writes: &mut [&mut [f32]] = &mut [&mut out, &mut [], &mut state, &mut []];
            call(&scan_wkv::KERNEL, level, &p, &[&k, &v, &w, &u], writes);
            for c in 0..d {
                let tokens = f64::from(state[3 * d + c]);
                let most = f64::from(state[2 * d + c]) + tokens * f64::from(w[c]);
                state[2 * d + c] = most as f32;
            }
            let exact = |x: &[f32]| x.iter().map(|&x| f64::from(x)).collect::<Vec<f64>>();
            for (name, got, want) in [
                ("outputs", exact(&out), &want),
                ("state", exact(&state[..3 * d]), &want_state),
            ] {
                let ratio = crate::layers::rms_ratio(&got, want);
                assert!(ratio <= TOLERANCE, "{name} at {level:?}: {ratio:.2e}");
            }
        }
    }
}
