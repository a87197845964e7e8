//! Web skin.
