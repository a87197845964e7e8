//! What every exhibit must do, on whichever host.

use std::cell::Cell;

use linearium::exhibit::{Act, Answer, BACKEND, Exhibit, Pending};
use linearium::exhibits::ALL;
use linearium::lab::{Host, Lab, Need};
use linearium::model::image::scenes;
use linearium::model::load::Files;
use linearium::settings::{Kind, Property, Settings};
use linearium::views::{Drawing, Panel};
use pollster::block_on;

const MODELS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../web/public/models");

fn rest() -> Pending<'static, ()> {
    Box::pin(async { Ok(()) })
}

pub fn provide<H: Host>(lab: &mut Lab<H>, needs: &[Need]) {
    for need in needs {
        let read = |f: &str| std::fs::read(format!("{MODELS}/{f}")).expect("a shipped file");
        if need.kind == "model" {
            let config = read(&format!("{}/config.json", need.id));
            let weights = read(&format!("{}/model.safetensors", need.id));
            let files = Files::pair(config, weights);
            lab.provide_model(&need.id, files).unwrap();
        } else if need.kind == "image" {
            lab.provide_image(&need.id, scenes::of_test_set(5).image);
        } else {
            let text = read(&format!("{}.txt", need.id));
            lab.provide_text(&need.id, text).unwrap();
        }
    }
}

/// A run, with the files that it asks for.
pub fn answer<H: Host>(lab: &mut Lab<H>, exhibit: &Exhibit, query: &str) -> (Answer, Panel)
where
    H::Player: 'static,
{
    let ask = |lab: &Lab<H>| {
        block_on(lab.exhibit(exhibit.slug, query, &rest))
            .unwrap_or_else(|e| panic!("{} with {query}: {e}", exhibit.slug))
    };
    let mut answer = ask(lab);
    if answer.panel.is_none() {
        provide(lab, &answer.needs);
        answer = ask(lab);
    }
    let panel = answer.panel.clone();
    (answer, panel.expect("everything was provided"))
}

/// Other values than the default: all choices, and both ends and the middle of a range.
fn others(p: &Property) -> Vec<String> {
    let all: Vec<String> = match &p.kind {
        Kind::Choice { choices } => choices.iter().map(|c| c.id.to_owned()).collect(),
        Kind::Integer { min, max, log } => {
            let middle = match log {
                true => ((*min as f64) * (*max as f64)).sqrt() as i64,
                false => (min + max) / 2,
            };
            let all = [*min, *max, middle.clamp(*min, *max)];
            all.iter().map(ToString::to_string).collect()
        }
        Kind::Number { min, max, .. } => [*min, *max, (min + max) / 2.0]
            .iter()
            .map(ToString::to_string)
            .collect(),
        Kind::Text { .. } => vec!["a".to_owned(), "Two words.".to_owned()],
    };
    all.into_iter().filter(|v| v != p.default).collect()
}

/// Controls that say how much is computed: each at its least unless it is the one that is tried.
const SIZES: [&str; 4] = ["length", "samples", "tested", "side"];

/// The query with one control at this value, in a state in which the control matters; with as little
/// to compute as can be asked for, or as much as usual.
fn query_with(exhibit: &'static Exhibit, p: &Property, value: &str, least: bool) -> String {
    let mut settings = Settings::of(exhibit.controls);
    for size in exhibit.controls.iter().filter(|_| least) {
        if let (true, Kind::Integer { min, .. }) = (SIZES.contains(&size.id), &size.kind) {
            settings.set(size.id, &min.to_string()).unwrap();
        }
    }
    if let Some((id, wanted)) = p.when.first().and_then(|c| c.split_once('=')) {
        settings.set(id, wanted.trim_end_matches('*')).unwrap();
    }
    settings.set(p.id, value).unwrap();
    settings.to_query()
}

fn unique<'a>(what: &str, ids: impl Iterator<Item = &'a str>) {
    let mut ids: Vec<&str> = ids.collect();
    ids.sort_unstable();
    let count = ids.len();
    ids.dedup();
    assert_eq!(ids.len(), count, "{what}: an id stands there twice");
}

pub fn declarations_fit_together() {
    for e in ALL {
        let slug = e.slug;
        assert_eq!(
            e.controls.last().map(|p| p.id),
            Some(BACKEND.id),
            "{slug}: the last control"
        );
        unique(slug, e.controls.iter().map(|p| p.id));
        unique(slug, e.symbols.iter().map(|s| s.id));
        unique(slug, e.claims.iter().map(|c| c.id));
        assert!(!e.claims.is_empty(), "{slug} measures nothing again");
        for text in [e.see, e.formula, e.source, e.tolerance] {
            assert!(!text.is_empty(), "{slug}");
        }
        for p in e.controls {
            assert_eq!(
                p.check(p.default).as_deref(),
                Ok(p.default),
                "{slug}: {}",
                p.id
            );
            assert!(!p.help.is_empty(), "{slug}: {} says nothing", p.id);
            for condition in p.when {
                let (id, value) = condition.split_once('=').expect("id=value");
                let other = e.controls.iter().find(|q| q.id == id);
                assert!(
                    other.is_some_and(|q| q.check(value).is_ok()),
                    "{slug}: {condition}"
                );
            }
        }
        for s in e.symbols {
            let known = s.control.is_empty() || e.controls.iter().any(|p| p.id == s.control);
            assert!(known, "{slug}: {} belongs to no control", s.id);
        }
        for c in e.claims {
            let [low, high] = c.expected;
            assert!(low <= high, "{slug}: {}", c.id);
            assert!(
                low.is_finite() || high.is_finite(),
                "{slug}: {} cannot fail",
                c.id
            );
            for text in [c.statement, c.source, c.measured, c.scale, c.tolerance] {
                assert!(!text.is_empty(), "{slug}: {}", c.id);
            }
        }
    }
}

/// Numbers of a view that are drawn.
fn numbers(drawing: &Drawing) -> Vec<f32> {
    match drawing {
        Drawing::Lines(l) => l.series.iter().flat_map(|s| s.y.clone()).collect(),
        Drawing::Heatmap(h) => h.values.clone(),
        Drawing::Histogram(h) => h.series.iter().flat_map(|s| s.counts.clone()).collect(),
        Drawing::Tokens(t) => t.values.clone(),
        Drawing::Patches(p) => [&p.values[..], &p.beside].concat(),
        Drawing::Table(_) => Vec::new(),
    }
}

fn is_whole(slug: &str, panel: &Panel) {
    assert!(!panel.summary.is_empty(), "{slug}");
    assert!(!panel.views.is_empty(), "{slug} shows nothing");
    unique(slug, panel.views.iter().map(|v| v.id.as_str()));
    for view in &panel.views {
        let at = format!("{slug}: {}", view.id);
        match &view.drawing {
            Drawing::Lines(l) => {
                for s in &l.series {
                    assert_eq!(s.x.len(), s.y.len(), "{at}: {}", s.label);
                }
            }
            Drawing::Heatmap(h) => assert_eq!(h.values.len(), h.rows * h.columns, "{at}"),
            Drawing::Histogram(h) => {
                for s in &h.series {
                    assert_eq!(s.counts.len() + 1, h.edges.len(), "{at}");
                }
            }
            Drawing::Tokens(t) => assert_eq!(t.tokens.len(), t.values.len(), "{at}"),
            Drawing::Patches(p) => {
                assert_eq!(p.pixels.len(), p.width * p.height, "{at}");
                assert_eq!(p.values.len(), p.columns * p.rows, "{at}");
                assert!([0, p.values.len()].contains(&p.beside.len()), "{at}");
                let stages = p.stages.len() as f32;
                let staged = |v: &f32| *v >= 0.0 && *v < stages && v.fract() == 0.0;
                assert!(p.values.iter().all(staged), "{at}");
            }
            Drawing::Table(t) => {
                assert!(!t.rows.is_empty(), "{at}");
                for row in &t.rows {
                    assert_eq!(row.len(), t.columns.len(), "{at}");
                }
                continue;
            }
        }
        let drawn = numbers(&view.drawing);
        assert!(drawn.iter().any(|x| x.is_finite()), "{at}: nothing to draw");
    }
}

pub fn a_run_shows_what_is_declared<H: Host>(host: impl Fn() -> H)
where
    H::Player: 'static,
{
    for e in ALL {
        let mut lab = Lab::new(host());
        let (first, panel) = answer(&mut lab, e, "");
        assert!(first.notices.is_empty(), "{}: {:?}", e.slug, first.notices);
        assert_eq!(first.query, "");
        is_whole(e.slug, &panel);
        assert!(
            e.paper.is_none()
                || !matches!(
                    panel.views[0].drawing,
                    Drawing::Table(_) | Drawing::Tokens(_)
                ),
            "{}: the first view is the picture in the gallery",
            e.slug
        );
        assert!(!first.values.is_empty(), "{}", e.slug);
        unique(e.slug, first.values.iter().map(|v| v.symbol));
        for value in &first.values {
            let known = e.symbols.iter().any(|s| s.id == value.symbol);
            assert!(known, "{}: {} is no symbol", e.slug, value.symbol);
        }
        for idle in &first.idle {
            let known = e.controls.iter().any(|p| p.id == idle.control);
            assert!(known && !idle.why.is_empty(), "{}: {idle:?}", e.slug);
        }
    }
}

/// What is drawn and said, without the names of back ends.
fn seen((answer, panel): &(Answer, Panel)) -> String {
    let values = serde_json::to_string(&answer.values).unwrap();
    let views = serde_json::to_string(&panel.views).unwrap();
    format!("{} {views} {values}", panel.summary)
}

/// Both ends of every range and all choices run, come back from their link, and change what is
/// seen, or the exhibit says why they cannot.
pub fn controls_act_or_say_why_not<H: Host>(host: impl Fn() -> H)
where
    H::Player: 'static,
{
    let mut wrong = Vec::new();
    for e in ALL {
        let mut lab = Lab::new(host());
        for p in e.controls.iter().filter(|p| p.id != BACKEND.id) {
            // With little to compute a control may have nothing to act on (a filter of what is
            // beyond the length of training): what does not act there is tried as usual.
            [true, false].into_iter().any(|least| {
                let (acts, idle) = tried(&mut lab, e, p, least);
                if acts && idle {
                    wrong.push(format!(
                        "{}: {} acts, though the exhibit says that it does not",
                        e.slug, p.id
                    ));
                }
                if !(acts || idle || least) {
                    wrong.push(format!(
                        "{}: {} changes nothing, and the exhibit does not say why",
                        e.slug, p.id
                    ));
                }
                acts
            });
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Whether a control changes what is seen, and whether the exhibit says that it does not.
fn tried<H: Host>(lab: &mut Lab<H>, e: &'static Exhibit, p: &Property, least: bool) -> (bool, bool)
where
    H::Player: 'static,
{
    let start = match p.kind {
        Kind::Integer { min, .. } if least && SIZES.contains(&p.id) => min.to_string(),
        _ => p.default.to_owned(),
    };
    let usual = query_with(e, p, &start, least);
    let before = answer(lab, e, &usual);
    let idle = before.0.idle.iter().any(|i| i.control == p.id);
    let mut acts = false;
    for value in others(p) {
        let query = query_with(e, p, &value, least);
        let after = answer(lab, e, &query);
        assert_eq!(after.0.query, query, "{}", e.slug);
        assert!(after.0.notices.is_empty(), "{:?}", after.0.notices);
        is_whole(e.slug, &after.1);
        acts |= seen(&after) != seen(&before);
    }
    assert_eq!(
        seen(&answer(lab, e, &usual)),
        seen(&before),
        "{}: two runs with the same settings",
        e.slug
    );
    (acts, idle)
}

/// Every claim gives a number; one that must hold does, and one that does not says why.
pub fn claims_hold_or_say_why_not<H: Host>(host: impl Fn() -> H, gpu: bool)
where
    H::Player: 'static,
{
    for e in ALL {
        let mut lab = Lab::new(host());
        if gpu {
            lab.gpu_is_ready();
        }
        for c in e.claims {
            let needs = lab.claim_needs(e.slug, c.id).unwrap();
            provide(&mut lab, &needs);
            let checked = block_on(lab.check_claim(e.slug, c.id, gpu, &rest))
                .unwrap_or_else(|error| panic!("{}: {}: {error}", e.slug, c.id));
            assert!(checked.measured.value.is_finite(), "{checked:?}");
            assert!(!checked.measured.words.is_empty(), "{checked:?}");
            assert!(!c.reproducible || checked.holds, "{checked:?}");
            assert!(checked.holds || !c.why.is_empty(), "{checked:?}");
        }
    }
}

pub fn tours_can_be_walked<H: Host>(host: impl Fn() -> H)
where
    H::Player: 'static,
{
    for e in ALL {
        assert!(!e.tour.is_empty(), "{} has no tour", e.slug);
        let mut lab = Lab::new(host());
        for step in e.tour {
            let at = format!("{}: {}", e.slug, step.ask);
            let (settings, notices) = Settings::read(e.controls, step.settings);
            assert!(notices.is_empty(), "{at}: {notices:?}");
            assert!(!step.reveal.is_empty(), "{at}");
            let (start, panel) = answer(&mut lab, e, step.settings);
            let value = |answer: &Answer, symbol: &str| {
                let found = answer.values.iter().find(|v| v.symbol == symbol);
                found
                    .unwrap_or_else(|| panic!("{at}: no value {symbol}"))
                    .value
            };
            match &step.act {
                Act::Mark {
                    symbol,
                    min,
                    max,
                    log,
                } => {
                    let v = value(&start, symbol);
                    assert!((*min..=*max).contains(&v), "{at}: {v}");
                    assert!(!log || *min > 0.0, "{at}");
                }
                Act::Draw { view, series } => {
                    let view = panel.views.iter().find(|v| v.id == *view);
                    let Some(Drawing::Lines(lines)) = view.map(|v| &v.drawing) else {
                        panic!("{at}: no such curves");
                    };
                    assert!(lines.series.iter().any(|s| s.label == *series), "{at}");
                }
                Act::Find { symbol, low, high } => {
                    let there = |answer: &Answer| (*low..=*high).contains(&value(answer, symbol));
                    assert!(!there(&start), "{at}: found before it was looked for");
                    // The control that the symbol belongs to first: it mostly does it.
                    let own = e
                        .symbols
                        .iter()
                        .find(|s| s.id == *symbol)
                        .map(|s| s.control);
                    let mut controls: Vec<&Property> = e.controls.iter().collect();
                    controls.sort_by_key(|p| Some(p.id) != own);
                    let found = controls.iter().any(|p| {
                        steps(p).iter().any(|v| {
                            let mut settings = settings.clone();
                            settings.set(p.id, v).unwrap();
                            there(&answer(&mut lab, e, &settings.to_query()).0)
                        })
                    });
                    assert!(found, "{at}: no control alone gets there");
                }
            }
        }
    }
}

/// Values over the whole range of a control.
fn steps(p: &Property) -> Vec<String> {
    let over = |min: f64, max: f64| (0..=40).map(move |i| min + (max - min) * f64::from(i) / 40.0);
    match &p.kind {
        Kind::Integer { min, max, .. } => over(*min as f64, *max as f64)
            .map(|v| v.round().to_string())
            .collect(),
        Kind::Number { min, max, .. } => over(*min, *max).map(|v| v.to_string()).collect(),
        _ if p.id == BACKEND.id => Vec::new(),
        _ => others(p),
    }
}

/// A clock that runs, and a page that wants something else.
pub fn a_run_that_is_not_wanted_any_more_ends() {
    use linearium::exhibit::{AnyPlayer, Bench, Place};
    use linearium::recording::Layout;
    use std::rc::Rc;

    struct Hurried(Cell<f64>, Cell<usize>);
    impl Place for Hurried {
        fn player(&self, _: bool, _: Layout) -> Pending<'_, Box<dyn AnyPlayer>> {
            Box::pin(async { Err("not asked for".to_owned()) })
        }
        fn segment_tokens(&self, _: bool) -> usize {
            1
        }
        fn now_ms(&self) -> f64 {
            self.0.set(self.0.get() + 15.0);
            self.0.get()
        }
        fn self_check(&self) -> String {
            String::new()
        }
        fn model(&self, _: &str) -> Option<Rc<linearium::model::stack::Stack>> {
            None
        }
        fn text(&self, _: &str) -> Option<Rc<[u8]>> {
            None
        }
        fn rest(&self) -> Pending<'_, ()> {
            self.1.set(self.1.get() + 1);
            let over = self.1.get() == 3;
            Box::pin(async move {
                if over {
                    return Err("something newer is wanted".to_owned());
                }
                Ok(())
            })
        }
    }
    let place = Hurried(Cell::new(0.0), Cell::new(0));
    let bench = Bench::new(&place, false);
    let mut calls = 0;
    let end = loop {
        calls += 1;
        if let Err(sentence) = block_on(bench.rest()) {
            break sentence;
        }
    };
    assert_eq!(end, "something newer is wanted");
    // It rests when it has worked for a while, not at every call.
    assert!(calls > 3 && place.1.get() == 3, "{calls}");
    assert!(bench.model("nothing").is_err() && bench.text("nothing").is_err());
}

pub fn what_is_not_there_is_said_in_a_sentence<H: Host>(host: impl Fn() -> H)
where
    H::Player: 'static,
{
    let lab = Lab::new(host());
    let unknown = block_on(lab.exhibit("nothing", "", &rest)).unwrap_err();
    assert!(unknown.contains("nothing"), "{unknown}");
    for e in ALL {
        let claim = block_on(lab.check_claim(e.slug, "nothing", false, &rest)).unwrap_err();
        assert!(claim.contains(e.claims[0].id), "{claim}");
        let gpu = block_on(lab.check_claim(e.slug, e.claims[0].id, true, &rest)).unwrap_err();
        assert!(gpu.contains("GPU"), "{gpu}");
        let wrong = block_on(lab.exhibit(e.slug, "colour=red&backend=gpu", &rest)).unwrap();
        assert!(wrong.notices[0].contains("colour"), "{:?}", wrong.notices);
    }
}
