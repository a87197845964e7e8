//! Probes: from a run of a model to numbers and views.
//!
//! [`run::Run`] feeds a session and keeps what the probes need; each probe is a pure function of
//! that evidence and knows its formula and source.

pub mod cost;
pub mod decay;
pub mod filter;
pub mod passkey;
pub mod receptive_field;
pub mod run;
pub mod state;
