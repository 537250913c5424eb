//! The Causeway sidecar.

/// `causeway demo`.
pub mod demo;
