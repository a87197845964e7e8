//! Pictures of any size and scenes from seeds.

use linearium::model::image::Grey;
use linearium::model::image::pixels::MAX_PIXELS;
use linearium::model::image::scenes::{self, Background};

/// Pixels of one level but for those that `ink` says.
fn grey(width: usize, height: usize, ink: impl Fn(usize, usize) -> u8) -> Grey {
    let pixels = (0..width * height).map(|i| ink(i % width, i / width));
    Grey::new(width, height, pixels.collect()).unwrap()
}

#[test]
fn a_picture_of_the_right_size_stays() {
    let image = grey(14, 14, |x, y| (x * 16 + y) as u8);
    assert_eq!(image.square(14), image);
}

#[test]
fn one_pixel_becomes_one_level() {
    let square = grey(1, 1, |_, _| 77).square(112);
    assert_eq!((square.width(), square.height()), (112, 112));
    assert!(square.pixels().iter().all(|&p| p == 77));
}

#[test]
fn the_middle_square_is_taken() {
    // Three columns of which the middle two thirds stay: 4 wide, 2 high.
    let image = grey(4, 2, |x, _| [10, 20, 30, 40][x]);
    assert_eq!(image.square(2).pixels(), [20, 30, 20, 30]);
    let image = grey(2, 4, |_, y| [10, 20, 30, 40][y]);
    assert_eq!(image.square(2).pixels(), [20, 20, 30, 30]);
}

/// Three pixels to two: each takes one and a half.
#[test]
fn pixels_are_means_of_areas() {
    let image = grey(3, 3, |x, _| [0, 90, 240][x]);
    // (0 + 45) / 1.5 and (45 + 240) / 1.5.
    assert_eq!(image.square(2).pixels(), [30, 190, 30, 190]);
    let up = grey(2, 2, |x, _| [0, 100][x]).square(3);
    assert_eq!(up.pixels()[..3], [0, 50, 100]);
}

#[test]
fn the_largest_picture_is_read() {
    let side = 8_000;
    let image = grey(side, side, |x, _| if x < side / 2 { 0 } else { 200 });
    let square = image.square(112);
    assert_eq!((square.pixels()[0], square.pixels()[111]), (0, 200));
}

#[test]
fn colours_become_luma() {
    let rgba = [
        255, 255, 255, 255, 255, 0, 0, 255, 0, 255, 0, 255, 0, 0, 255, 255, 255, 255, 255, 0,
    ];
    let image = Grey::from_rgba(5, 1, &rgba).unwrap();
    assert_eq!(image.pixels(), [255, 76, 150, 29, 0]);
}

#[test]
fn what_is_no_picture_is_refused_in_a_sentence() {
    let error = Grey::new(0, 5, Vec::new()).unwrap_err();
    assert!(error.contains("0 by 5 pixels"), "{error}");
    let error = Grey::new(2, 2, vec![0; 5]).unwrap_err();
    assert!(error.contains("not 5"), "{error}");
    let error = Grey::from_rgba(2, 2, &[0; 15]).unwrap_err();
    assert!(error.contains("not 15"), "{error}");
    for (width, height) in [(MAX_PIXELS, 2), (usize::MAX, usize::MAX)] {
        let error = Grey::new(width, height, Vec::new()).unwrap_err();
        assert!(error.contains("smaller"), "{error}");
    }
}

#[test]
fn seeds_make_scenes_of_their_background() {
    let scene = |seed, background| scenes::of_seed(seed, background, 0).image;
    assert_eq!(scene(1, Background::Empty), scene(1, Background::Empty));
    assert_ne!(scene(1, Background::Empty), scene(2, Background::Empty));
    for seed in 0..20 {
        // Without pieces and digit an empty background has one level and noise of at most 3.
        let empty = scene(seed, Background::Empty);
        let darkest = *empty.pixels().iter().min().unwrap();
        let quiet = empty.pixels().iter().filter(|&&p| p <= darkest + 3).count();
        assert!(2 * quiet > empty.pixels().len(), "{seed}: {quiet}");
        // A smooth one has few equal levels, and neighbours that are nearly the same.
        let smooth = scene(seed, Background::Redundant);
        let pairs = smooth.pixels().windows(2);
        let near = pairs.filter(|p| p[0].abs_diff(p[1]) <= 6).count();
        assert!(4 * near > 3 * smooth.pixels().len(), "{seed}: {near}");
        let mut levels = smooth.pixels().to_vec();
        levels.sort_unstable();
        levels.dedup();
        assert!(levels.len() > 60, "{seed}: {}", levels.len());
    }
    assert!(Background::by_id("busy").unwrap_err().contains("empty"));
}
