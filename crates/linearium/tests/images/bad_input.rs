//! What an image classifier says to files and prunings that it cannot take.

use std::rc::Rc;

use linearium::model::image::backbone::Meaning;
use linearium::model::image::session::{Which, top_vim_schedule};
use linearium::model::image::{ImageSession, Pruned, load, scenes};
use linearium::player::CpuPlayer;
use linearium::pruning::{DropMode, Keep, Schedule, schedule, scores};
use pollster::block_on;

use super::suite::{backbone, file};

fn refused(pruned: Pruned, model: &str) -> String {
    let open = |layout| async move { Ok(CpuPlayer::new(&layout)) };
    let mut session = block_on(ImageSession::new(backbone(model), open)).unwrap();
    let image = scenes::of_test_set(0).image;
    block_on(session.read(&image, Some(&pruned))).unwrap_err()
}

fn scored(layer: usize, keep: Keep, mode: DropMode) -> Pruned {
    let steps = vec![schedule::Step { layer, keep }];
    Pruned {
        which: Which::Scored {
            score: scores::by_id("stride").unwrap(),
            schedule: Schedule::new(steps, 100).unwrap(),
            seed: 0,
        },
        meaning: Meaning {
            mode,
            as_released: false,
        },
    }
}

#[test]
fn prunings_that_mean_nothing_are_refused() {
    let error = refused(scored(0, Keep::Share(0.5), DropMode::Gather), "digits-vim");
    assert!(error.contains("block 1 or later"), "{error}");
    let error = refused(scored(99, Keep::Share(0.5), DropMode::Gather), "digits-vim");
    assert!(error.contains("blocks 0 to 5"), "{error}");
    // Without a class token nothing is left to read.
    let error = refused(scored(1, Keep::Count(0), DropMode::Gather), "digits-plain");
    assert!(error.contains("keep one or more"), "{error}");
    let mut released = scored(1, Keep::Share(0.5), DropMode::DecayDefault);
    released.meaning.as_released = true;
    let error = refused(released.clone(), "digits-vim");
    assert!(error.contains("knows no gaps"), "{error}");
    released.meaning.mode = DropMode::Gather;
    let error = refused(released, "digits-plain");
    assert!(error.contains("class token"), "{error}");
    let known = |steps| Pruned {
        which: Which::Known(steps),
        meaning: Meaning::default(),
    };
    let error = refused(known(vec![(1, vec![98, 500])]), "digits-vim");
    assert!(error.contains("position 500"), "{error}");
    let error = refused(
        known(vec![(1, vec![3, 98]), (2, vec![4, 98])]),
        "digits-vim",
    );
    assert!(error.contains("position 4"), "{error}");
    let error = refused(known(vec![(1, vec![3, 4])]), "digits-vim");
    assert!(error.contains("class token"), "{error}");
    let error = refused(known(vec![(2, vec![98]), (1, vec![98])]), "digits-vim");
    assert!(error.contains("in order"), "{error}");
    assert!(top_vim_schedule(1).unwrap_err().contains("more than 1"));
    assert_eq!(top_vim_schedule(24).unwrap(), Schedule::top_vim());
}

/// The class token alone can be read.
#[test]
fn a_class_token_is_never_dropped() {
    let open = |layout| async move { Ok(CpuPlayer::new(&layout)) };
    let mut session = block_on(ImageSession::new(backbone("digits-vim"), open)).unwrap();
    let image = scenes::of_test_set(0).image;
    let pruned = scored(1, Keep::Share(0.0), DropMode::Gather);
    let reading = block_on(session.read(&image, Some(&pruned))).unwrap();
    assert_eq!(reading.steps.kept, [(1, vec![98])]);
    assert_eq!(reading.rows, [197, 1, 1, 1, 1, 1]);
    assert!(reading.logits.iter().all(|x| x.is_finite()));
    assert_eq!(reading.warnings.len(), 1, "{:?}", reading.warnings);
}

#[test]
fn damaged_files_are_refused_in_a_sentence() {
    let config = String::from_utf8(file("digits-vim", "config.json")).unwrap();
    let weights = || file("digits-vim", "model.safetensors");
    let with = |from: &str, to: &str| {
        assert!(config.contains(from), "{from}");
        let changed = config.replace(from, to);
        load::load(changed.as_bytes(), weights())
            .map(Rc::new)
            .err()
            .unwrap()
    };
    for (from, to, says) in [
        ("\"vim\"", "\"mamba\"", "model_type"),
        ("\"patch_size\": 8", "\"patch_size\": 9", "without a rest"),
        ("\"patch_size\": 8", "\"patch_size\": 16", "shape"),
        ("\"in_chans\": 1", "\"in_chans\": 3", "grey"),
        ("\"in_chans\": 1", "\"in_chans\": 300", "in_chans"),
        ("\"middle\"", "\"left\"", "class_token"),
        ("\"middle\"", "\"none\"", "shape"),
        ("\"raster\",", "\"spiral\",", "scan order"),
        ("\"raster\",", "7,", "scan_orders"),
        ("\"raster\",", "", "has no use for"),
        ("\"depth\": 6", "\"depth\": 7", "layers.6"),
        ("\"depth\": 6", "\"depth\": 5", "layers.5"),
        ("\"img_size\": 112", "\"img_size\": 100000", "img_size"),
        ("\"embed_dim\": 64", "\"embed_dim\": 0", "embed_dim"),
    ] {
        let error = with(from, to);
        assert!(error.contains(says), "{to}: {error}");
    }
    let mut short = weights();
    short.truncate(1_000);
    assert!(load::load(config.as_bytes(), short).is_err());
}
