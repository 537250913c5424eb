//! The Causeway sidecar.
pub mod link;
