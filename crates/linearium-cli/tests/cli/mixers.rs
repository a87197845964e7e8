//! `linearium mixers`.

use std::fs;

use linearium::mixers::ALL;
use serde_json::Value;

use crate::program::{Folder, fail, succeed};

#[test]
fn the_table_has_every_mixer_with_what_was_measured() {
    let folder = Folder::new();
    let path = folder.path("mixers.json");
    let out = succeed(&["mixers", "--equal", "parameters", "--json", &path]);
    let rows: Vec<Value> = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    assert_eq!(rows.len(), ALL.len());
    for (row, definition) in rows.iter().zip(ALL) {
        assert_eq!(row["id"], definition.id);
        assert!(out.stdout.contains(&format!("{}: ", definition.id)));
        assert!(row["reached"].as_f64().unwrap() > 0.0);
        let [measured] = row["measured"].as_array().unwrap().as_slice() else {
            panic!("{}: one back end", definition.id);
        };
        assert!(measured["time"]["usPerToken"].as_f64().unwrap() > 0.0);
        assert!(
            measured["time"]["backend"]
                .as_str()
                .unwrap()
                .starts_with("cpu")
        );
        assert!(measured["reach"]["longest"].as_u64().unwrap() >= 1, "{row}");
    }
}

#[test]
fn what_cannot_be_held_equal_is_said_in_one_sentence() {
    let words = ["luck", "state", "parameters", "operations"];
    fail(2, &["mixers", "--equal", "luck"], &words);
}
