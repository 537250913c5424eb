//! The Causeway sidecar: everything that touches a socket, a disk or a clock, around the state
//! machines of `causeway-proto`.

// What a record passes through.
pub mod link;
pub mod session;

// What survives a restart.
pub mod checkpoint;

// What an operator sees and touches.

// How the process lives and ends.
pub mod clock;
