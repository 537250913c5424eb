//! The Causeway sidecar.

pub mod demo;
