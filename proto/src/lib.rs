//! Causeway's core: what travels between regions, and who may say what when.
//!
//! This crate performs no I/O. It knows no socket, clock, randomness, environment or file: `now` is an
//! argument, what happened comes in through `handle_*`, what to do next goes out through `poll_*`. The
//! whole protocol therefore runs in virtual time (see the `causeway-tests` crate).

// What travels.
pub mod id;
pub mod record;
pub mod residency;
pub mod subject;
