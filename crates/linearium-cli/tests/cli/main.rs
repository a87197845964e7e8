//! The command line as a person or a script has it: the built program, its files, its sentences.

mod bad_input;
mod exhibits;
mod facts;
mod generate_and_bench;
#[path = "../../../linearium/tests/checkpoints/hostile/mod.rs"]
mod hostile;
mod independent;
mod logits;
mod mamba2_f64;
mod mixers;
mod probes;
mod program;
mod prune;
mod prune_image;
