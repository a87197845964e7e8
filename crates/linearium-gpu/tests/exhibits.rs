//! Every exhibit of the registry on the GPU: the same as on the CPU, to the rounding of sums.

use std::rc::Rc;

use linearium::exhibit::{Answer, Exhibit, Pending};
use linearium::exhibits::ALL;
use linearium::lab::{Lab, Need};
use linearium::model::load::Files;
use linearium::settings::Kind;
use linearium::views::Drawing;
use linearium_gpu::LabHost;
use pollster::block_on;

const MODELS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../web/public/models");

fn rest() -> Pending<'static, ()> {
    Box::pin(async { Ok(()) })
}

fn provide(lab: &mut Lab<Rc<LabHost>>, needs: &[Need]) {
    for need in needs {
        let read = |f: &str| std::fs::read(format!("{MODELS}/{f}")).expect("a shipped file");
        if need.kind == "model" {
            let config = read(&format!("{}/config.json", need.id));
            let weights = read(&format!("{}/model.safetensors", need.id));
            lab.provide_model(&need.id, Files::pair(config, weights))
                .unwrap();
        } else {
            let text = read(&format!("{}.txt", need.id));
            lab.provide_text(&need.id, text).unwrap();
        }
    }
}

fn answer(lab: &mut Lab<Rc<LabHost>>, exhibit: &Exhibit, query: &str) -> Answer {
    let first = block_on(lab.exhibit(exhibit.slug, query, &rest)).unwrap();
    if first.panel.is_some() {
        return first;
    }
    provide(lab, &first.needs);
    block_on(lab.exhibit(exhibit.slug, query, &rest)).unwrap()
}

/// What is drawn, without tables, in which times stand.
fn numbers(answer: &Answer) -> Vec<Vec<f32>> {
    let views = &answer.panel.as_ref().expect("a panel").views;
    views
        .iter()
        .flat_map(|v| match &v.drawing {
            Drawing::Lines(l) => l.series.iter().map(|s| s.y.clone()).collect(),
            Drawing::Heatmap(h) => vec![h.values.clone()],
            Drawing::Histogram(h) => h.series.iter().map(|s| s.counts.clone()).collect(),
            Drawing::Tokens(t) => vec![t.values.clone()],
            Drawing::Patches(p) => vec![p.values.clone(), p.beside.clone()],
            Drawing::Table(_) => Vec::new(),
        })
        .collect()
}

#[test]
fn the_gpu_shows_what_the_cpu_shows() {
    let host = Rc::new(LabHost::new(|| 0.0));
    block_on(host.start_gpu()).expect("a test machine has a Vulkan adapter");
    let mut lab = Lab::new(host);
    lab.gpu_is_ready();
    for e in ALL {
        // How much text a trained model reads: thousands of tokens take a software GPU minutes, so
        // it reads the least that can be asked for, and claims on more are left to the CPU.
        let text = e
            .controls
            .iter()
            .find(|c| c.id == "length" && c.group == "model");
        let length = match text.map(|c| &c.kind) {
            Some(Kind::Integer { min, .. }) => format!("length={min}"),
            _ => String::new(),
        };
        // Likewise for scenes that are classified, and for claims on hundreds of them.
        let scenes = e.controls.iter().find(|c| c.id == "tested");
        let length = match scenes.map(|c| &c.kind) {
            Some(Kind::Integer { min, .. }) => format!("tested={min}"),
            _ => length,
        };
        let cpu = answer(&mut lab, e, &length);
        let gpu = answer(&mut lab, e, &format!("backend=gpu&{length}"));
        let plays_none = gpu.idle.iter().any(|i| i.control == "backend");
        let backend = &gpu.panel.as_ref().unwrap().provenance.backend;
        assert!(
            plays_none || backend.starts_with("gpu"),
            "{}: {backend}",
            e.slug
        );
        let (cpu, gpu) = (numbers(&cpu), numbers(&gpu));
        assert_eq!(cpu.len(), gpu.len(), "{}", e.slug);
        for (a, b) in cpu.iter().zip(&gpu) {
            assert_eq!(a.len(), b.len(), "{}", e.slug);
            let finite = || a.iter().zip(b).filter(|(a, _)| a.is_finite());
            let size: f64 = finite().map(|(a, _)| f64::from(*a).powi(2)).sum();
            let apart: f64 = finite()
                .map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2))
                .sum();
            assert!(apart <= 1e-6 * size, "{}: {apart:e} of {size:e}", e.slug);
        }
        let short = text.is_none() && scenes.is_none();
        for c in e.claims.iter().filter(|_| short) {
            let needs = lab.claim_needs(e.slug, c.id).unwrap();
            provide(&mut lab, &needs);
            let checked = block_on(lab.check_claim(e.slug, c.id, true, &rest)).unwrap();
            assert!(!c.reproducible || checked.holds, "{checked:?}");
        }
    }
}
