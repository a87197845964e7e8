//! The table of mixers: what it says of each is what its layer has, and each has its words.

use std::fs;

use linearium::catalogue::{self, Equal, Row, WIDTH};
use linearium::lab::{CpuHost, Lab, Measured};
use linearium::mixers::{ALL, Definition};
use linearium::model::stack::Stack;
use pollster::block_on;

fn definition(id: &str) -> &'static Definition {
    ALL.iter().find(|d| d.id == id).unwrap()
}

fn row(id: &str, equal: Option<Equal>) -> Row {
    block_on(catalogue::row(definition(id), equal)).unwrap()
}

#[test]
fn a_row_says_what_a_model_of_the_mixer_has() {
    for definition in ALL {
        let row = row(definition.id, None);
        let stack = Stack::random(definition, 0);
        let layers = stack.blocks.len();
        for at in &row.lengths {
            if !row.grows {
                assert_eq!(at.state_bytes, row.lengths[0].state_bytes, "{}", row.id);
            }
            // A window bounds what a stack counts as growing.
            if row.step.window == 0 {
                let bytes = layers * at.state_bytes;
                assert_eq!(bytes, stack.state_bytes(at.tokens), "{}", row.id);
            }
            assert!(at.operations_last >= row.parameters, "{}", row.id);
        }
        let mixers: usize = stack
            .blocks
            .iter()
            .flat_map(|b| b.mixer.weights())
            .map(|w| w.len())
            .sum();
        assert_eq!(layers * row.parameters, mixers, "{}", row.id);
        assert!(
            row.scans > 0 && row.scans <= row.kernels.len(),
            "{}",
            row.id
        );
    }
}

#[test]
fn decay_and_erasing_are_those_of_the_definitions() {
    for (id, kind, from_token, erases) in [
        ("attention", "none", false, "nothing: keeps every token"),
        ("retnet", "head", false, "at a fixed rate"),
        ("ssd", "head", true, "a whole head"),
        ("gla", "key", true, "single channels"),
        ("s6", "rates", true, "single channels"),
        ("linear_attention", "none", false, "nothing"),
        ("delta_net", "none", false, "what one key holds"),
        (
            "gated_delta_net",
            "head",
            true,
            "what one key holds; by decay",
        ),
        ("rwkv4", "rates", false, "at a fixed rate"),
        ("s4d", "turning", false, "at a fixed rate"),
    ] {
        let row = row(id, None);
        assert_eq!(
            (row.decay.kind, row.decay.from_token),
            (kind, from_token),
            "{id}"
        );
        assert!(row.erases.contains(erases), "{id}: {}", row.erases);
    }
    for definition in ALL {
        let row = row(definition.id, None);
        assert_eq!(row.step.erase, row.erases.contains("one key"), "{}", row.id);
    }
}

/// A sum over all tokens, one by one.
#[test]
fn the_cost_of_many_tokens_is_the_sum_of_the_costs_of_one() {
    let row = row("attention", None);
    let [first, middle, _] = row.lengths[..] else {
        panic!("three lengths");
    };
    let per_earlier = (middle.operations_last - first.operations_last) / (middle.tokens - 1);
    let sum: u64 = (0..middle.tokens)
        .map(|t| (first.operations_last + t * per_earlier) as u64)
        .sum();
    assert_eq!(middle.operations_all, sum);
}

#[test]
fn equal_budgets_are_reached_as_far_as_the_table_says() {
    let gla = |equal| row("gla", Some(equal));
    for equal in [Equal::State, Equal::Parameters, Equal::Operations] {
        let reference = gla(equal);
        assert_eq!(reference.reached, Some(1.0));
        for id in ["attention", "retnet", "s6", "ssd"] {
            let row = row(id, Some(equal));
            let amount = |row: &Row| match equal {
                Equal::State => row.lengths[1].state_bytes,
                Equal::Parameters => row.parameters,
                Equal::Operations => row.lengths[1].operations_last,
            } as f64;
            let share = amount(&row) / amount(&reference);
            assert!((share - row.reached.unwrap()).abs() < 1e-9, "{id}");
            assert!((0.92..1.09).contains(&share), "{id} {equal:?}: {share}");
        }
        // No other mixer has a budget without an end.
        for definition in ALL {
            let row = row(definition.id, Some(equal));
            assert!(row.parameters <= 8 * reference.parameters, "{}", row.id);
            assert!(row.width == WIDTH && row.reached.unwrap() > 0.0);
        }
    }
}

#[test]
fn the_lab_runs_the_size_that_the_table_names() {
    let mut lab = Lab::new(CpuHost::new(|| 0.0));
    let configured = lab.configure("model=random-s6&equal=state&input=noise");
    assert_eq!(configured.notices, [""; 0]);
    assert_eq!(configured.query, "equal=state&input=noise&model=random-s6");
    let facts = configured.facts.unwrap();
    let row = row("s6", Some(Equal::State));
    assert_eq!(facts.heads, row.heads);
    assert_eq!(facts.state_bytes, 2 * row.lengths[0].state_bytes);
    // Another budget is another model.
    let usual = lab.configure("model=random-s6&input=noise").facts.unwrap();
    assert!(usual.heads < facts.heads);
}

#[test]
fn what_is_measured_agrees_with_closed_forms() {
    let mut lab = Lab::new(CpuHost::new(|| 0.0));
    lab.configure("");
    let measure = |id: &str| -> Measured { block_on(lab.measure_mixer(id, false)).unwrap() };
    let attention = measure("attention").reach;
    assert_eq!((attention.tokens, attention.shortest), (1024, 1024));
    // RetNet's first head forgets at 1 - 1/32: 0.001 is reached after 218 tokens, times what the
    // products of random keys and queries differ by.
    let retnet = measure("retnet").reach;
    assert!((150..=300).contains(&retnet.shortest), "{retnet:?}");
    assert_eq!(retnet.longest, 1024, "{retnet:?}");
    assert!(retnet.heads == 3 && retnet.mean_distance < 512.0);
    assert!(measure("gla").time.backend.starts_with("cpu"));
    let no_gpu = block_on(lab.measure_mixer("gla", true)).unwrap_err();
    assert!(no_gpu.contains("GPU"), "{no_gpu}");
    let unknown = block_on(lab.measure_mixer("x", false)).unwrap_err();
    assert!(
        unknown.contains("“x”") && unknown.contains("retnet"),
        "{unknown}"
    );
}

/// The page of mixers shows the words of each.
#[test]
fn every_mixer_has_its_words_on_the_page() {
    for definition in ALL {
        let path = format!("../../web/content/mixers/{}.md", definition.id);
        let text = fs::read_to_string(&path).unwrap_or_else(|e| {
            panic!("{path}: {e}: write its idea, equation, what to try and references")
        });
        assert!(text.starts_with("# "), "{path} has no title");
        let sections: Vec<&str> = text
            .lines()
            .filter_map(|line| line.strip_prefix("## "))
            .collect();
        let wanted = ["Idea", "Equation", "What to try", "References"];
        assert_eq!(sections, wanted, "{path}");
        assert!(text.contains("$$") && text.contains("]("), "{path}");
    }
}
