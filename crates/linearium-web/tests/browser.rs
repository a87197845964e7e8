//! Runs in a real browser, once without and once with a WebGPU adapter; `cargo xtask test wasm` says at compile time,
//! in `LINEARIUM_EXPECTED_BACKEND`, which of the two it has started.
#![cfg(target_arch = "wasm32")]

use js_sys::Reflect;
use linearium::lab::Host;
use linearium::model::checkpoint::Checkpoint;
use linearium::model::load::load;
use linearium::model::session::{Options, Session};
use linearium::player::Player;
use linearium_gpu::LabHost;
use linearium_web::Lab;
use wasm_bindgen::prelude::{JsValue, wasm_bindgen};
use wasm_bindgen_test::{wasm_bindgen_test, wasm_bindgen_test_configure};

wasm_bindgen_test_configure!(run_in_browser);

#[wasm_bindgen(
    inline_js = "export async function has_adapter() { return !!(await navigator.gpu?.requestAdapter()); }"
)]
extern "C" {
    async fn has_adapter() -> JsValue;
}

/// Which back end this browser was started for.
fn expects_gpu() -> bool {
    option_env!("LINEARIUM_EXPECTED_BACKEND").unwrap_or("cpu") == "gpu"
}

/// Without this, a browser that lost its adapter would let every GPU test pass on the CPU.
#[wasm_bindgen_test]
async fn the_browser_has_an_adapter_exactly_when_one_is_expected() {
    assert_eq!(has_adapter().await.as_bool(), Some(expects_gpu()));
}

#[wasm_bindgen_test]
fn the_version_is_that_of_the_workspace() {
    assert_eq!(linearium_web::version(), env!("CARGO_PKG_VERSION"));
    assert_eq!(linearium_web::version().split('.').count(), 3);
}

/// The shipped checkpoint in the browser against `transformers`: every loss within 1e-3, the
/// logits of the last position within an RMS ratio of 1e-4 on the CPU and 2e-4 on the GPU.
#[wasm_bindgen_test]
async fn the_shipped_checkpoint_gives_the_numbers_of_transformers() {
    const CONFIG: &[u8] =
        include_bytes!("../../../web/public/models/mamba2-passkey-t128/config.json");
    const WEIGHTS: &[u8] =
        include_bytes!("../../../web/public/models/mamba2-passkey-t128/model.safetensors");
    const EXPECTED: &[u8] =
        include_bytes!("../../../tests/golden/models/mamba2-passkey-t128.safetensors");
    let mut expected = Checkpoint::read(EXPECTED.to_vec()).unwrap();
    let ints = |name: &str| -> Vec<u32> {
        let raw = expected.raw(name).unwrap();
        raw.chunks_exact(4)
            .map(|b| u32::from_le_bytes(b.try_into().unwrap()))
            .collect()
    };
    let (ids, positions) = (ints("input_ids"), ints("positions"));
    let losses = expected.take("loss_per_position", &[599]).unwrap().data;
    let logits = expected.take("logits", &[10, 256]).unwrap().data;

    let host = LabHost::new(|| 0.0);
    let gpu = expects_gpu();
    if gpu {
        host.start_gpu().await.unwrap();
    }
    let stack = std::rc::Rc::new(load(CONFIG, WEIGHTS.to_vec()).unwrap());
    let options = Options {
        capacity: 600,
        ..Options::default()
    };
    let mut session = Session::new(stack, &options, 100, |layout| host.player(gpu, layout))
        .await
        .unwrap();
    assert!(
        session
            .player
            .backend()
            .starts_with(if gpu { "gpu" } else { "cpu" })
    );
    let (got, _) = session.read_text(&ids).await.unwrap();
    assert_eq!(got.len(), losses.len());
    for (i, (got, want)) in got.iter().zip(losses.iter()).enumerate() {
        assert!(
            (got - want).abs() <= 1e-3,
            "loss at {i}: {got}, transformers {want}"
        );
    }
    // The last segment has the positions from 500 on.
    let bound = if gpu { 2e-4 } else { 1e-4 };
    let mut compared = 0;
    for (row, &p) in positions.iter().enumerate().filter(|(_, p)| **p >= 500) {
        let range = (p as usize - 500) * 256..(p as usize - 499) * 256;
        let got = session
            .player
            .read(&[(session.plan.logits, range)])
            .await
            .unwrap();
        let want = &logits[row * 256..][..256];
        let difference: f32 = got[0]
            .iter()
            .zip(want)
            .map(|(a, b)| (a - b) * (a - b))
            .sum();
        let size: f32 = want.iter().map(|b| b * b).sum();
        assert!((difference / size).sqrt() <= bound, "logits at {p}");
        compared += 1;
    }
    assert!(
        compared > 0,
        "no expected position in the last segment: {positions:?}"
    );
}

fn text_of(value: &JsValue, key: &str) -> String {
    Reflect::get(value, &key.into())
        .unwrap()
        .as_string()
        .unwrap_or_default()
}

/// Works until idle; gives what was noticed on the way and the back end that ran.
async fn finish(lab: &mut Lab) -> (String, String) {
    let mut notices = String::new();
    loop {
        let progress = lab.advance(1e9).await;
        let said = js_sys::Array::from(&Reflect::get(&progress, &"notices".into()).unwrap());
        notices.push_str(&said.join(" ").as_string().unwrap_or_default());
        match text_of(&progress, "state").as_str() {
            "working" => {}
            "idle" => return (notices, text_of(&progress, "backend")),
            other => panic!("the lab is {other}"),
        }
    }
}

const QUERY: &str = "model=random-ssd&input=noise&context=1500&backend=";

/// All numbers of a panel's JSON, in order.
fn numbers(lab: &Lab, panel: &str) -> Vec<f64> {
    let json = js_sys::JSON::stringify(&Reflect::get(&lab.panel(panel), &"views".into()).unwrap());
    let json = json.unwrap().as_string().unwrap();
    json.split(|c: char| !(c.is_ascii_digit() || "+-.e".contains(c)))
        .filter_map(|s| s.parse().ok())
        .collect()
}

#[wasm_bindgen_test]
async fn the_lab_draws_every_panel_on_the_expected_back_end() {
    let mut lab = Lab::new();
    if expects_gpu() {
        let report = lab.start_gpu().await.unwrap().as_string().unwrap();
        assert!(
            report.contains("ok") && !report.contains("WRONG"),
            "{report}"
        );
    } else {
        assert!(lab.start_gpu().await.is_err());
    }
    lab.configure(&format!("{QUERY}gpu"));
    let (_, backend) = finish(&mut lab).await;
    assert!(
        backend.starts_with(if expects_gpu() { "gpu" } else { "cpu" }),
        "{backend}"
    );
    for panel in ["decay", "receptive-field", "state", "cost"] {
        assert!(numbers(&lab, panel).len() > 100, "{panel}");
    }
    // The same numbers on the CPU, as far as f32 goes.
    let mut cpu = Lab::new();
    cpu.configure(&format!("{QUERY}cpu"));
    finish(&mut cpu).await;
    let (a, b) = (numbers(&lab, "state"), numbers(&cpu, "state"));
    assert_eq!(a.len(), b.len());
    // Histogram counts move by a few where an entry lies on an edge.
    let off = a
        .iter()
        .zip(&b)
        .filter(|(a, b)| (*a - *b).abs() > 2e-3 * b.abs() + 1e-4)
        .count();
    assert!(off * 100 <= a.len(), "{off} of {} numbers differ", a.len());
}

#[wasm_bindgen_test]
async fn a_device_that_is_lost_in_the_middle_of_a_run_is_replaced() {
    if !expects_gpu() {
        // Nothing to lose: the hook does nothing and the run goes on.
        let mut lab = Lab::new();
        lab.configure(QUERY.trim_end_matches("&backend="));
        lab.lose_gpu();
        assert!(finish(&mut lab).await.1.starts_with("cpu"));
        return;
    }
    let mut lab = Lab::new();
    lab.start_gpu().await.unwrap();
    lab.configure(&format!("{QUERY}gpu"));
    let mut seen = String::new();
    for losses in 1..=3 {
        lab.configure(&format!("{QUERY}gpu&seed={losses}"));
        // A first slice, so that the run has begun.
        let progress = lab.advance(1.0).await;
        assert_eq!(text_of(&progress, "state"), "working");
        lab.lose_gpu();
        let (notices, backend) = finish(&mut lab).await;
        let expected = if losses < 3 { "gpu" } else { "cpu" };
        assert!(
            backend.starts_with(expected),
            "loss {losses}: {backend}; {notices}"
        );
        assert!(notices.contains("goes on"), "loss {losses}: {notices}");
        seen.push_str(&notices);
        assert!(numbers(&lab, "state").len() > 100);
    }
    assert!(
        seen.contains("fresh device") && seen.contains("CPU"),
        "{seen}"
    );
}

#[wasm_bindgen(inline_js = "
let live = 0;
export function count_buffers() {
  if (typeof GPUDevice === 'undefined') return;
  const gone = new WeakSet();
  const { createBuffer } = GPUDevice.prototype;
  const { destroy } = GPUBuffer.prototype;
  GPUDevice.prototype.createBuffer = function (descriptor) {
    live += 1;
    return createBuffer.call(this, descriptor);
  };
  GPUBuffer.prototype.destroy = function () {
    if (!gone.has(this)) live -= 1;
    gone.add(this);
    return destroy.call(this);
  };
}
export function live_buffers() { return live; }
export function bytes(memory) { return memory.buffer.byteLength; }
")]
extern "C" {
    fn count_buffers();
    fn live_buffers() -> f64;
    fn bytes(memory: &JsValue) -> f64;
}

/// A slider that is moved a thousand times makes and lets go a thousand runs.
#[wasm_bindgen_test]
async fn a_thousand_moves_leave_memory_and_buffers_where_they_were() {
    count_buffers();
    let mut lab = Lab::new();
    if expects_gpu() {
        lab.start_gpu().await.unwrap();
    }
    let mut before = (0.0, 0.0);
    for i in 0..1_100 {
        let factor = 0.9 + f64::from(i % 97) * 1e-3;
        lab.configure(&format!("{QUERY}gpu&decay-factor={factor}"));
        // Some moves are overtaken before anything was read, some are drawn.
        lab.advance(0.0).await;
        if i % 10 == 0 {
            lab.advance(0.0).await;
            lab.panel("state");
        }
        let now = (bytes(&wasm_bindgen::memory()), live_buffers());
        if i == 100 {
            before = now;
            assert_eq!(
                now.1 > 0.0,
                expects_gpu(),
                "buffers are counted where there are any"
            );
        }
        if i > 100 && i % 97 == 3 {
            assert!(
                now.0 <= before.0,
                "after {i} moves wasm has {} bytes, at first {}",
                now.0,
                before.0
            );
            assert!(
                now.1 <= before.1,
                "after {i} moves {} GPU buffers live, at first {}",
                now.1,
                before.1
            );
        }
    }
}
