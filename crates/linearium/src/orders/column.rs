//! Column by column, each from the top (the second route of VMamba, `MzeroMiko/VMamba vmamba.py`).

use super::Grid;

/// The token at each place.
pub fn tokens(grid: Grid) -> Vec<usize> {
    exchanged(grid, super::raster::tokens(grid.transposed()))
}

/// An order of the grid whose rows are this grid's columns, as an order of this grid.
pub(super) fn exchanged(grid: Grid, tokens: Vec<usize>) -> Vec<usize> {
    let there = grid.transposed();
    let here = tokens.into_iter().map(|token| {
        let (column, row) = there.place(token);
        grid.token(row, column)
    });
    here.collect()
}
