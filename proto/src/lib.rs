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

// How it travels.
pub mod batch;
pub mod codec;
pub mod copies;
pub mod frame;
mod shape;
mod wire;

// Who may say what when.
pub mod blame;
pub mod checkpoint;
pub mod contest;
pub mod handshake;
pub mod headers;
pub mod lanes;
pub mod provenance;
pub mod receiver;
pub mod reconcile;
pub mod resume;
pub mod run;
pub mod sender;
pub mod tally;

// How fast.
pub mod rate;

// Blame, bounds, versions.
pub mod error;
pub mod limits;
pub mod version;
