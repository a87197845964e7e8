//! Pictures of a digit on a background, from a seed: what the shipped backbones were trained on.
//! Made with whole numbers alone, so that `tests/train/scenes.py`, which the training used, has the
//! same pixels.
//!
//! The digit, 8x8 in the data, is stretched to 48 to 72 pixels a side, sheared, and lies over pieces
//! of other digits. The digits are the last 397 of the 1,797 of "Optical Recognition of Handwritten
//! Digits" (E. Alpaydin and C. Kaynak, 1998, UCI Machine Learning Repository, CC BY 4.0) as
//! scikit-learn (BSD-3-Clause) carries them; no shipped model has been trained on these.

use super::pixels::Grey;

/// Pixels a side.
pub const SIDE: usize = 112;
/// Digits to choose from.
pub const DIGITS: usize = TABLE.len() / ENTRY;
/// Pieces of other digits in the scenes of the test set.
pub const PIECES: usize = 2;

const ENTRY: usize = 65;
const TABLE: &[u8; 397 * ENTRY] = include_bytes!("../../../../../tests/train/digits.bin");
/// Pixels between points of the lattice of a smooth background.
const CELL: usize = 28;
/// Pixels a side of a piece.
const PIECE: i32 = 21;

/// What lies behind the digit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Background {
    /// One level, with noise of at most 3: there is nothing to be lost in it.
    Empty,
    /// Levels that change slowly: neighbours say the same.
    Redundant,
}

impl Background {
    /// Both.
    pub const ALL: [Background; 2] = [Background::Empty, Background::Redundant];

    /// The same id everywhere.
    pub fn id(self) -> &'static str {
        match self {
            Background::Empty => "empty",
            Background::Redundant => "redundant",
        }
    }

    /// The background with this id.
    ///
    /// # Errors
    /// A sentence with the ids that there are.
    pub fn by_id(id: &str) -> Result<Background, String> {
        let found = Background::ALL.into_iter().find(|b| b.id() == id);
        found.ok_or_else(|| format!("a background is 'empty' or 'redundant', not '{id}'"))
    }
}

/// A picture and what it shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scene {
    /// 112x112.
    pub image: Grey,
    /// The digit.
    pub class: usize,
}

/// The n-th scene of the test set, which has [`DIGITS`]: digit n, on the two backgrounds in turn.
pub fn of_test_set(n: usize) -> Scene {
    let background = Background::ALL[n % 2];
    scene(n % DIGITS, background, n as u32, PIECES)
}

/// A scene with a digit that the seed chooses.
pub fn of_seed(seed: u32, background: Background, pieces: usize) -> Scene {
    let digit = Draws(seed).below(8, DIGITS as u32);
    scene(digit as usize, background, seed, pieces)
}

/// 32 bits to 32 bits, without a pattern (a multiply-xorshift hash).
fn mix(mut x: u32) -> u32 {
    x ^= x >> 16;
    x = x.wrapping_mul(0x7feb_352d);
    x ^= x >> 15;
    x = x.wrapping_mul(0x846c_a68b);
    x ^ x >> 16
}

/// The choices of one scene, each by its number.
#[derive(Clone, Copy)]
struct Draws(u32);

impl Draws {
    fn below(self, k: u32, n: u32) -> u32 {
        let draw = mix(mix(self.0).wrapping_add(k.wrapping_mul(0x9e37_79b9)));
        ((u64::from(draw) * u64::from(n)) >> 32) as u32
    }

    fn length(self, k: u32, n: i32) -> i32 {
        self.below(k, n as u32) as i32
    }
}

/// How far a digit covers a pixel, 0 to 256: bilinear between its 8x8 values, 0 outside; u and v are
/// column and row of the digit in steps of 1/256.
fn cover(digit: usize, u: i32, v: i32) -> i32 {
    let values = &TABLE[digit * ENTRY..][..64];
    let at = |row: i32, column: i32| {
        let inside = (0..8).contains(&row) && (0..8).contains(&column);
        if inside {
            i32::from(values[(row * 8 + column) as usize])
        } else {
            0
        }
    };
    let (column, row, fu, fv) = (u >> 8, v >> 8, u & 255, v & 255);
    let line = |row: i32| (256 - fu) * at(row, column) + fu * at(row, column + 1);
    ((256 - fv) * line(row) + fv * line(row + 1)) >> 12
}

/// Digit `digit`, below [`DIGITS`], with so many pieces about.
///
/// # Panics
/// If there is no such digit.
pub fn scene(digit: usize, background: Background, seed: u32, pieces: usize) -> Scene {
    let draws = Draws(seed);
    let side = SIDE as i32;
    let (width, height) = (48 + draws.length(0, 25), 48 + draws.length(1, 25));
    let left = draws.length(2, side + 1 - width);
    let top = draws.length(3, side + 1 - height);
    let shear = draws.length(4, 769) - 384;
    let ink = 200 + draws.length(5, 56);
    let level = 16 + draws.length(6, 17);
    let lattice = SIDE / CELL + 1;
    let point = |row: usize, column: usize| draws.length(64 + (row * lattice + column) as u32, 141);
    let ground = |y: usize, x: usize| match background {
        Background::Empty => level + draws.length(4096 + (y * SIDE + x) as u32, 4),
        Background::Redundant => {
            let (row, column) = (y / CELL, x / CELL);
            let [fy, fx] = [y % CELL, x % CELL].map(|f| f as i32);
            let cell = CELL as i32;
            let line = |row| (cell - fx) * point(row, column) + fx * point(row, column + 1);
            ((cell - fy) * line(row) + fy * line(row + 1)) / (cell * cell)
        }
    };
    let mut pixels = Vec::with_capacity(SIDE * SIDE);
    for y in 0..SIDE {
        for x in 0..SIDE {
            let [row, column] = [y, x].map(|i| i as i32);
            let down = 2 * (row - top) + 1;
            let slant = (shear * (down - height)).div_euclid(2 * height);
            let u = ((2 * (column - left) + 1) * 1024).div_euclid(width) - 128 + slant;
            let v = (down * 1024).div_euclid(height) - 128;
            let mut covered = cover(digit, u, v);
            for piece in 0..pieces {
                let k = 16 + 8 * piece as u32;
                let place = |k| draws.length(k, side + 1 - PIECE);
                let (px, py) = (place(k + 1), place(k + 2));
                let inside = |i: i32, first: i32| (first..first + PIECE).contains(&i);
                if inside(column, px) && inside(row, py) {
                    let source = |i: i32, first: i32, k: u32| {
                        (2 * (i - first) + 1) * 384 / PIECE - 128 + 256 * draws.length(k, 6)
                    };
                    let other = draws.below(k, DIGITS as u32) as usize;
                    let (u, v) = (source(column, px, k + 3), source(row, py, k + 4));
                    covered = covered.max(cover(other, u, v));
                }
            }
            let ground = ground(y, x);
            pixels.push((ground + (((ink - ground) * covered) >> 8)) as u8);
        }
    }
    let image = Grey::new(SIDE, SIDE, pixels).expect("a scene has the size of a scene");
    Scene {
        image,
        class: TABLE[digit * ENTRY + 64].into(),
    }
}
