//! The numbers of `probe decay`, `receptive-field` and `loss` on a shipped model against a reading
//! of it in f64 that shares no code with them.

use std::fs;

use serde_json::Value;

use crate::mamba2_f64::{Change, Layer, Reading, read};
use crate::program::{heldout, model, numbers, probe, view};

const NAME: &str = "mamba2-passkey-t128";
const T: usize = 200;
const LAYER: usize = 1;
const HEAD: usize = 4;
const POSITION: usize = 159;

const CHANGES: [Change; 2] = [
    Change {
        decay_factor: 1.0,
        write_factor: 1.0,
        window: 0,
    },
    Change {
        decay_factor: 0.995,
        write_factor: 0.5,
        window: 50,
    },
];

fn panel(name: &str, change: Change) -> Value {
    probe(
        name,
        &[
            "--model",
            &model(NAME),
            "--text",
            &heldout(),
            "--context",
            &T.to_string(),
            "--layer",
            &LAYER.to_string(),
            "--head",
            &HEAD.to_string(),
            "--position",
            &POSITION.to_string(),
            "--decay-factor",
            &change.decay_factor.to_string(),
            "--write-factor",
            &change.write_factor.to_string(),
            "--window",
            &change.window.to_string(),
        ],
    )
}

fn reading(change: Change) -> Reading {
    let text = fs::read(heldout()).unwrap();
    read(NAME, &text[..T], change)
}

/// f32 through two layers against f64.
fn close(got: &[f64], want: &[f64], what: &str) {
    assert_eq!(got.len(), want.len(), "{what}");
    let square = |x: f64| x * x;
    let difference: f64 = got.iter().zip(want).map(|(g, w)| square(g - w)).sum();
    let size: f64 = want.iter().map(|w| square(*w)).sum();
    let ratio = (difference / size).sqrt();
    assert!(ratio <= 2e-5, "{what}: RMS ratio {ratio:.1e}");
}

/// Cumulative log-decay of a head at the end of each bucket of 16 tokens.
fn sums(layer: &Layer, head: usize) -> Vec<f64> {
    let mut sum = 0.0;
    let all: Vec<f64> = layer
        .log_decay
        .iter()
        .map(|g| {
            sum += g[head];
            sum
        })
        .collect();
    all.chunks(16).map(|c| c[c.len() - 1]).collect()
}

fn series<'a>(view: &'a Value, label: &str) -> &'a Value {
    let all = view["series"].as_array().unwrap();
    all.iter().find(|s| s["label"] == label).unwrap()
}

#[test]
fn decays_are_those_of_the_formula() {
    for change in CHANGES {
        let (panel, reading) = (panel("decay", change), reading(change));
        let layer = &reading.layers[LAYER];
        let heads = layer.log_decay[0].len();
        let rates: Vec<f64> = (0..heads)
            .flat_map(|h| {
                let of_head: Vec<f64> = layer.log_decay.iter().map(|g| -g[h]).collect();
                let mean = |c: &[f64]| c.iter().sum::<f64>() / c.len() as f64;
                of_head.chunks(16).map(mean).collect::<Vec<f64>>()
            })
            .collect();
        close(&numbers(&view(&panel, "rate-a")["values"]), &rates, "rates");
        for h in 0..heads {
            let sums = sums(layer, h);
            let drawn = series(view(&panel, "cumulative"), &format!("head {h}"));
            let left: Vec<f64> = sums.iter().map(|s| s.exp()).collect();
            close(
                &numbers(&drawn["y"]),
                &left,
                "what is left of the first token",
            );
            assert_eq!(drawn["emphasis"], h == HEAD);
            let drawn = series(view(&panel, "to-query"), &format!("head {h}"));
            // The position is the last of its bucket, so buckets give it exactly.
            let left: Vec<f64> = sums[..10].iter().map(|s| (sums[9] - s).exp()).collect();
            close(&numbers(&drawn["y"]), &left, "what is left at the position");
        }
        let mut counts = vec![0.0; 23];
        for layer in &reading.layers {
            for h in 0..heads {
                let mean = layer.log_decay.iter().map(|g| g[h]).sum::<f64>() / T as f64;
                let octave = (0.5f64.ln() / mean).log2().floor();
                counts[(octave + 2.0).clamp(0.0, 22.0) as usize] += 1.0;
            }
        }
        let drawn = &view(&panel, "half-life")["series"][0]["counts"];
        assert_eq!(numbers(drawn), counts);
    }
}

#[test]
fn receptive_fields_are_those_of_the_formula() {
    for change in CHANGES {
        let (panel, reading) = (panel("receptive-field", change), reading(change));
        let row = reading.layers[LAYER].row(POSITION, HEAD);
        let size: Vec<f64> = row.iter().map(|m| m.abs()).collect();
        let drawn = &view(&panel, "influence")["series"][0];
        close(&numbers(&drawn["y"]), &size, "influence");
        assert!(
            numbers(&drawn["x"])
                .into_iter()
                .eq((0..=POSITION).map(|x| x as f64))
        );
        let largest = size.iter().fold(0.0, |m: f64, &s| m.max(s));
        let shades: Vec<f64> = size.iter().map(|s| s / largest).collect();
        let strip = view(&panel, "text-a");
        close(&numbers(&strip["values"]), &shades, "shades");
        assert_eq!(
            (&strip["start"], &strip["query"]),
            (&0.into(), &POSITION.into())
        );
        let text: String = strip["tokens"]
            .as_array()
            .unwrap()
            .iter()
            .map(|t| t.as_str().unwrap())
            .collect();
        assert_eq!(text.as_bytes(), &fs::read(heldout()).unwrap()[..=POSITION]);
        let distance = |j: usize| (POSITION - j) as f64;
        let moment: f64 = size.iter().enumerate().map(|(j, s)| distance(j) * s).sum();
        let length = |threshold: f64| {
            let first = size.iter().position(|&s| s > threshold);
            first.map_or(0.0, |j| distance(j) + 1.0)
        };
        let decays = &reading.layers[LAYER].log_decay[..=POSITION];
        let mean = decays.iter().map(|g| g[HEAD]).sum::<f64>() / decays.len() as f64;
        let reach = view(&panel, "reach")["rows"][0].as_array().unwrap();
        let number = |i: usize| reach[i].as_f64().unwrap();
        assert_eq!(number(1), POSITION as f64);
        // Rounded to a tenth of a token.
        let total: f64 = size.iter().sum();
        assert!((number(2) - moment / total).abs() < 0.051, "{reach:?}");
        assert_eq!(number(3), length(1e-3 * largest));
        assert_eq!(number(4), length(1e-3));
        let horizon = 0.5f64.ln() / mean;
        assert!(
            (number(5) - horizon).abs() < 0.051 + 1e-5 * horizon,
            "{reach:?} {horizon}"
        );
    }
}

#[test]
fn losses_are_those_of_the_formula() {
    for change in CHANGES {
        let (panel, reading) = (panel("loss", change), reading(change));
        let rows = view(&panel, "loss-table")["rows"].as_array().unwrap();
        assert_eq!(rows.len(), 3);
        for row in rows {
            let number = |i: usize| row[i].as_f64().unwrap();
            let part = &reading.losses[number(1) as usize..number(2) as usize];
            let mean = part.iter().sum::<f64>() / part.len() as f64;
            assert!((number(3) - mean).abs() < 1e-5, "{row} {mean}");
        }
    }
}
