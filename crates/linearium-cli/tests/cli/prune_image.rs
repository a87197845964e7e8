//! `linearium prune --image`: scenes, files, and what is no image.

use std::fs;

use image::{GrayImage, Luma, RgbImage};
use serde_json::Value;

use crate::program::{Folder, fail, succeed};

fn classifier(name: &str) -> String {
    format!(
        "{}/../../web/public/models/{name}",
        env!("CARGO_MANIFEST_DIR")
    )
}

/// What the command writes for an image.
fn pruned(folder: &Folder, image: &str, more: &[&str]) -> Value {
    let json = folder.path("out.json");
    let model = classifier("digits-vim-gather");
    let plain = [
        "prune", "--model", &model, "--image", image, "--json", &json,
    ];
    succeed(&[&plain[..], more].concat());
    serde_json::from_slice(&fs::read(&json).unwrap()).unwrap()
}

#[test]
fn a_scene_has_its_class_its_patches_and_its_operations() {
    let folder = Folder::new();
    let out = pruned(&folder, "empty:1", &[]);
    assert_eq!(
        out["layers"],
        serde_json::json!([[1, 157], [3, 125], [4, 101]])
    );
    // The class token is no patch.
    assert_eq!(out["kept_patches"].as_array().unwrap().len(), 100);
    let operations = |answer: &str| out[answer]["operations"].as_f64().unwrap();
    assert!(operations("pruned") <= 0.75 * operations("dense"));
    assert_eq!(out["dense"]["class"], out["label"]);
    assert!(out["error"].as_f64().unwrap() > 0.0);
    let all = pruned(&folder, "empty:1", &["--layers", "1:1"]);
    assert_eq!(all["error"].as_f64(), Some(0.0));
    let half = pruned(
        &folder,
        "redundant:3",
        &[
            "--layers",
            "2:0.5",
            "--mode",
            "decay-default",
            "--score",
            "step_size",
        ],
    );
    assert_eq!(half["layers"], serde_json::json!([[2, 99]]));
}

/// One pixel is one level everywhere; the largest pictures are read too.
#[test]
fn pictures_of_every_size_are_read() {
    let folder = Folder::new();
    let one = folder.path("one.png");
    GrayImage::from_pixel(1, 1, Luma([99])).save(&one).unwrap();
    let large = folder.path("large.png");
    GrayImage::new(8_000, 8_000).save(&large).unwrap();
    let colours = folder.path("colours.jpg");
    RgbImage::new(30, 20).save(&colours).unwrap();
    for file in [&one, &large, &colours] {
        let out = pruned(&folder, file, &[]);
        assert_eq!(
            out["dense"]["logits"].as_array().unwrap().len(),
            10,
            "{file}"
        );
        assert_eq!(out["label"], Value::Null);
    }
}

#[test]
fn what_is_no_image_or_no_pruning_is_said() {
    let folder = Folder::new();
    let model = classifier("digits-vim");
    let plain = classifier("digits-plain");
    let text = folder.file("text.png", "this is no image");
    let whole = folder.path("whole.png");
    GrayImage::new(64, 64).save(&whole).unwrap();
    let mut bytes = fs::read(&whole).unwrap();
    bytes.truncate(bytes.len() / 2);
    let cut = folder.file("cut.png", &bytes);
    let out = folder.path("out.json");
    let prune = |status, model: &str, image: &str, more: &[&str], words: &[&str]| {
        let all = ["prune", "--model", model, "--image", image, "--json", &out];
        fail(status, &[&all[..], more].concat(), words);
    };
    prune(1, &model, &text, &[], &["text.png", "PNG or JPEG"]);
    prune(1, &model, &cut, &[], &["cut.png", "whole PNG or JPEG"]);
    prune(
        1,
        &model,
        "nowhere.png",
        &[],
        &["nowhere.png", "does not exist"],
    );
    prune(2, &model, "empty:x", &[], &["seed behind the colon"]);
    prune(1, &folder.path(""), "empty:1", &[], &["config.json"]);
    prune(2, &model, "empty:1", &["--text", "t"], &["--text", "texts"]);
    prune(
        2,
        &model,
        "empty:1",
        &["--as", "new"],
        &["described or released"],
    );
    prune(2, &model, "empty:1", &["--layers", "6"], &["layers 0 to 5"]);
    prune(
        1,
        &model,
        "empty:1",
        &["--score", "spec_pc"],
        &["spec_pc", "reads texts"],
    );
    prune(
        1,
        &model,
        "empty:1",
        &["--mode", "decay-true"],
        &["decay-true", "later blocks"],
    );
    prune(
        1,
        &model,
        "empty:1",
        &["--layers", "0"],
        &["block 1 or later"],
    );
    prune(2, &model, "empty:1", &["--keep", "1.5"], &["from 0 to 1"]);
    prune(
        1,
        &model,
        "empty:1",
        &["--mode", "carry"],
        &["carry", "choose mask"],
    );
    prune(
        1,
        &plain,
        "empty:1",
        &["--as", "released"],
        &["class token"],
    );
    prune(
        1,
        &plain,
        "empty:1",
        &["--keep", "0"],
        &["keep one or more"],
    );
    assert_eq!(folder.names(), ["cut.png", "text.png", "whole.png"]);
}
