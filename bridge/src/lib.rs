//! The Causeway sidecar.

pub mod nats;
