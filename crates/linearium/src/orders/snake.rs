//! Rows in turn from left to right and from right to left, so that every step goes to a neighbour;
//! and the same along columns. Both and their reversals are the four orders of PlainMamba
//! (`ChenhongyiYang/PlainMamba plain_mamba_layer.py`).

use super::Grid;

/// The token at each place.
pub fn tokens(grid: Grid) -> Vec<usize> {
    let row = |row: usize| {
        (0..grid.width).map(move |i| {
            let column = if row.is_multiple_of(2) {
                i
            } else {
                grid.width - 1 - i
            };
            grid.token(row, column)
        })
    };
    (0..grid.height).flat_map(row).collect()
}

/// The token at each place, along columns.
pub fn column_tokens(grid: Grid) -> Vec<usize> {
    super::column::exchanged(grid, tokens(grid.transposed()))
}

/// The names of PlainMamba's four orders.
pub const FOUR: [&str; 4] = [
    "snake",
    "column-snake",
    "snake-reversed",
    "column-snake-reversed",
];
