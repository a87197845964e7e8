//! Cross-scan: rows, columns and both from their ends (VMamba, `MzeroMiko/VMamba vmamba.py`).

/// The names of its four orders. Together they give every pair of neighbours in a row or a column
/// a distance of 1 in some order.
pub const FOUR: [&str; 4] = ["raster", "column", "raster-reversed", "column-reversed"];
