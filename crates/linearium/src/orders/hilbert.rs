//! The Hilbert curve. On a square whose side is a power of two every step goes to a neighbour, and
//! what is near on the curve is near in the picture. Another grid is cut out of the smallest such
//! square that holds it; where the curve leaves the grid it jumps.

use super::Grid;

/// The token at each place.
pub fn tokens(grid: Grid) -> Vec<usize> {
    let side = grid.height.max(grid.width).next_power_of_two();
    let inside = (0..side * side).filter_map(|place| {
        let (row, column) = cell(side, place);
        (row < grid.height && column < grid.width).then(|| grid.token(row, column))
    });
    inside.collect()
}

/// Row and column of a place on the curve of a square: quadrant by quadrant from the smallest, each
/// turned so that its ends meet those of its neighbours.
fn cell(side: usize, mut place: usize) -> (usize, usize) {
    let (mut x, mut y) = (0, 0);
    let mut half = 1;
    while half < side {
        let right = (place / 2) & 1;
        let below = (place ^ right) & 1;
        if below == 0 {
            if right == 1 {
                (x, y) = (half - 1 - x, half - 1 - y);
            }
            (x, y) = (y, x);
        }
        x += half * right;
        y += half * below;
        place /= 4;
        half *= 2;
    }
    (y, x)
}
