//! The lab as the page and the command line drive it, on the CPU.

use std::time::Instant;

use linearium::lab::{Host, Lab, Progress};
use linearium::model::load::Files;
use linearium::player::CpuPlayer;
use linearium::recording::Layout;
use linearium::views::{Cell, Drawing, Panel};
use pollster::block_on;

struct Cpu(Instant);

impl Host for Cpu {
    type Player = CpuPlayer;
    async fn player(&self, gpu: bool, layout: Layout) -> Result<CpuPlayer, String> {
        assert!(!gpu, "no GPU was said to be ready");
        Ok(CpuPlayer::new(&layout))
    }
    fn segment_tokens(&self, _gpu: bool) -> usize {
        256
    }
    fn now_ms(&self) -> f64 {
        self.0.elapsed().as_secs_f64() * 1e3
    }
    fn self_check(&self) -> String {
        String::new()
    }
}

const MODELS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../web/public/models");

fn lab(query: &str) -> Lab<Cpu> {
    let mut lab = Lab::new(Cpu(Instant::now()));
    for need in lab.configure(query).needs {
        let read = |f: &str| std::fs::read(format!("{MODELS}/{f}")).unwrap();
        match need.kind {
            "model" => {
                let config = read(&format!("{}/config.json", need.id));
                let weights = read(&format!("{}/model.safetensors", need.id));
                lab.provide_model(&need.id, Files::pair(config, weights))
                    .unwrap();
            }
            _ => lab
                .provide_text(&need.id, read(&format!("{}.txt", need.id)))
                .unwrap(),
        }
    }
    lab
}

fn finish(lab: &mut Lab<Cpu>) -> Vec<String> {
    let mut notices = Vec::new();
    loop {
        let Progress {
            state,
            notices: new,
            ..
        } = block_on(lab.advance(1e9));
        notices.extend(new);
        match state {
            "working" => {}
            "waiting" => panic!("{:?}", lab.needs()),
            _ => return notices,
        }
    }
}

/// Every number of a panel that must be finite is, and every series has as many y as x.
fn check(panel: &Panel) {
    assert!(
        !panel.summary.is_empty() && !panel.views.is_empty(),
        "{}",
        panel.id
    );
    for view in &panel.views {
        match &view.drawing {
            Drawing::Lines(l) => {
                for s in &l.series {
                    assert_eq!(s.x.len(), s.y.len(), "{} {}", view.id, s.label);
                    assert!(!s.x.is_empty(), "{} {}", view.id, s.label);
                    assert!(s.y.iter().all(|y| y.is_finite()), "{} {}", view.id, s.label);
                    assert!(
                        s.x.windows(2).all(|w| w[0] <= w[1]),
                        "{} {}",
                        view.id,
                        s.label
                    );
                }
            }
            Drawing::Heatmap(h) => assert_eq!(h.values.len(), h.rows * h.columns),
            Drawing::Histogram(h) => {
                for s in &h.series {
                    assert_eq!(s.counts.len() + 1, h.edges.len());
                    assert!(s.counts.iter().sum::<f32>() > 0.0);
                }
            }
            Drawing::Tokens(t) => {
                assert_eq!(t.tokens.len(), t.values.len());
                assert_eq!(t.start + t.tokens.len(), t.query + 1);
            }
            Drawing::Patches(p) => assert_eq!(p.values.len(), p.columns * p.rows),
            Drawing::Table(t) => assert!(t.rows.iter().all(|r| r.len() == t.columns.len())),
        }
    }
}

fn lines<'a>(panel: &'a Panel, view: &str) -> &'a linearium::views::Lines {
    match &panel.views.iter().find(|v| v.id == view).unwrap().drawing {
        Drawing::Lines(l) => l,
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_model_fills_every_panel() {
    for model in [
        "mamba2-passkey-t128",
        "llama-text-t256",
        "random-ssd",
        "random-s6",
        "random-gla",
        "random-retnet",
        "random-attention",
    ] {
        for more in [
            "",
            "&window=40",
            "&decay-factor=0.99&write-factor=0.5&normalise-at=100",
        ] {
            let mut lab = lab(&format!("model={model}&context=300&layer=1&head=2{more}"));
            finish(&mut lab);
            for id in ["decay", "receptive-field", "state", "cost"] {
                let panel = lab.panel(id);
                let recurrent = !(model.contains("attention") || model.starts_with("llama"));
                if recurrent || !matches!(id, "decay" | "state") {
                    check(&panel.unwrap());
                }
            }
        }
    }
}

#[test]
fn a_shorter_context_is_the_beginning_of_the_run() {
    let mut long = lab("context=2000");
    finish(&mut long);
    long.configure("context=700");
    finish(&mut long);
    let mut short = lab("context=700");
    finish(&mut short);
    for id in ["receptive-field", "state", "decay"] {
        let (a, b) = (long.panel(id).unwrap(), short.panel(id).unwrap());
        assert_eq!(a.provenance.covered_tokens, 700);
        let json = |p: &Panel| serde_json::to_value(&p.views).unwrap();
        // Snapshots: the short run keeps one at its very end, which the long one passed by.
        if id == "state" {
            let (a, b) = (lines(&a, "norm"), lines(&b, "norm"));
            let n = a.series[0].y.len();
            assert!(n > 10);
            assert_eq!(a.series[0].y[..n], b.series[0].y[..n]);
        } else if id == "receptive-field" {
            assert_eq!(json(&a), json(&b), "{id}");
        }
    }
}

#[test]
fn collapse_is_seen_and_forgetting_mends_it() {
    let far = |query: &str| {
        let mut lab = lab(query);
        finish(&mut lab);
        let panel = lab.panel("cost").unwrap();
        match &panel
            .views
            .iter()
            .find(|v| v.id == "loss-table")
            .unwrap()
            .drawing
        {
            Drawing::Table(t) => match t.rows.last().unwrap()[3] {
                Cell::Number(loss) => loss,
                Cell::Text(_) => panic!(),
            },
            other => panic!("{other:?}"),
        }
    };
    let plain = far("input=heldout&context=2048");
    let mended = far("input=heldout&context=2048&decay-factor=0.99");
    assert!(plain - mended > 0.3, "{plain} {mended}");
}

#[test]
fn two_runs_are_compared() {
    let mut lab = lab("context=200&b.decay-factor=0.98");
    finish(&mut lab);
    let panel = lab.panel("decay").unwrap();
    check(&panel);
    let runs: Vec<&str> = lines(&panel, "cumulative")
        .series
        .iter()
        .map(|s| s.run.as_str())
        .collect();
    assert!(runs.contains(&"a") && runs.contains(&"b"));
    assert_eq!(
        panel.provenance.interventions.len(),
        1,
        "{:?}",
        panel.provenance.interventions
    );
}

#[test]
fn what_cannot_be_done_is_said() {
    let mut none = lab("input=text&text=");
    assert!(finish(&mut none)[0].contains("empty"));
    let mut out = Lab::new(Cpu(Instant::now()));
    let notices = out.configure("model=random-ssd&layer=7&head=99").notices;
    assert!(
        notices[0].contains("layer = 7") && notices[1].contains("head = 99"),
        "{notices:?}"
    );
    let mut unknown = lab("model=random-ssd&filter=4096");
    assert!(finish(&mut unknown)[0].contains("train_context_length"));
    let mut short = lab("input=text&text=abcdefgh");
    assert!(finish(&mut short)[0].contains("8 tokens"));
    assert_eq!(short.panel("cost").unwrap().provenance.covered_tokens, 8);
    assert!(
        short
            .provide_model("file", Files::pair(b"{}".to_vec(), vec![]))
            .is_err()
    );
    assert!(short.provide_text("file", Vec::new()).is_err());
    let mut one = lab("input=text&text=a");
    finish(&mut one);
    for id in ["decay", "receptive-field", "state", "cost"] {
        assert!(one.panel(id).is_some(), "{id}");
    }
}

/// A link is read before its model is there, so what does not exist in it shows only then.
#[test]
fn a_layer_that_a_model_lacks_is_said_once_the_model_is_there() {
    let mut lab = lab("context=64&layer=7&head=99");
    let notices = finish(&mut lab);
    assert_eq!(notices.len(), 2, "{notices:?}");
    assert!(notices[0].contains("layer = 7") && notices[1].contains("head = 99"));
    assert_eq!(lab.settings().get("layer"), "2");
}

#[test]
fn the_filter_is_calibrated_and_changes_the_run() {
    let mut filtered = lab("input=heldout&context=1024&filter=1024");
    finish(&mut filtered);
    let panel = filtered.panel("cost").unwrap();
    let said = &panel.provenance.interventions[0];
    assert!(said.contains("LongMamba"), "{said}");
    let mut plain = lab("input=heldout&context=1024");
    finish(&mut plain);
    let other = plain.panel("cost").unwrap();
    assert_ne!(
        lines(&panel, "loss").series[0].y,
        lines(&other, "loss").series[0].y
    );
}

#[test]
fn recall_is_measured_in_rounds_and_can_be_stopped() {
    let mut lab = lab("context=128");
    finish(&mut lab);
    assert!(lab.panel("recall").is_none());
    lab.measure_recall(10);
    let need = lab.needs().remove(0);
    assert_eq!(need.id, "heldout");
    lab.provide_text(
        "heldout",
        std::fs::read(format!("{MODELS}/heldout.txt")).unwrap(),
    )
    .unwrap();
    finish(&mut lab);
    let panel = lab.panel("recall").unwrap();
    check(&panel);
    // The shipped model finds every digit within its training length.
    let recall = &lines(&panel, "recall").series[0];
    assert_eq!(recall.x, [64.0, 128.0]);
    assert!(recall.y.iter().all(|&y| y > 0.9), "{:?}", recall.y);
    lab.measure_recall(1000);
    block_on(lab.advance(1.0));
    lab.cancel();
    assert_eq!(block_on(lab.advance(1.0)).state, "idle");
    assert!(lab.panel("recall").is_some());
}

#[test]
fn only_a_shipped_model_is_said_to_have_been_compared() {
    let said = |query: &str| {
        let mut lab = lab(query);
        finish(&mut lab);
        ["decay", "receptive-field", "state", "cost"]
            .map(|id| lab.panel(id).expect(id).provenance.tolerance)
    };
    let (compared, not) = ("transformers", "not compared");
    for tolerance in said("context=64&model=llama-text-t256") {
        assert!(
            tolerance.contains(compared) && !tolerance.contains(not),
            "{tolerance}"
        );
    }
    for tolerance in said("context=64&model=random-gla") {
        assert!(
            tolerance.contains(not) && !tolerance.contains(compared),
            "{tolerance}"
        );
    }
    // Two models are told apart, two runs of one are not.
    for tolerance in said("context=64&b.model=random-gla") {
        assert!(
            tolerance.contains(compared) && tolerance.contains(not),
            "{tolerance}"
        );
    }
    for tolerance in said("context=64&model=random-gla&b.window=8") {
        assert_eq!(tolerance.matches(not).count(), 1, "{tolerance}");
    }
}
