//! The Causeway sidecar: everything that touches a socket, a disk or a clock, around the state
//! machines of `causeway-proto`.

// What a record passes through, in the data's order.
pub mod source;

pub mod outbound;

pub mod session;

pub mod link;

pub mod inbound;

pub mod publisher;

// What stands below both ends.
pub mod control;
pub mod nats;

// What survives a restart.
pub mod checkpoint;

// What an operator sees and touches.
pub mod admin;
pub mod certs;
pub mod command;
pub mod metrics;
pub mod reporter;
pub mod status;

// How the process lives and ends.
pub mod app;
pub mod backoff;
pub mod clock;
pub mod shutdown;
