//! `linearium` command line.
fn main() {}
