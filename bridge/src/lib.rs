//! The Causeway sidecar.
pub mod app;
pub mod certs;
pub mod checkpoint;
pub mod clock;
pub mod control;
pub mod inbound;
pub mod link;
pub mod nats;
pub mod outbound;
pub mod publisher;
pub mod reporter;
pub mod session;
pub mod source;
