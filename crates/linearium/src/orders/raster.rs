//! Row by row, each from left to right (ViM, `hustvl/Vim vim/models_mamba.py`).

use super::Grid;

/// The token at each place.
pub fn tokens(grid: Grid) -> Vec<usize> {
    (0..grid.tokens()).collect()
}
