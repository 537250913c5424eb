//! The Causeway sidecar: I/O around `causeway-proto`, which decides.
//!
//! In the data's order: [`source`] reads, [`outbound`] drives the sender, [`session`] and [`link`] carry,
//! [`inbound`] drives the receiver, [`publisher`] publishes, [`checkpoint`] remembers. [`app`] puts them
//! together; [`cli`] is what a person types, [`admin`] what a person or a machine asks while it runs.

// The data's path.
pub mod source;

pub mod outbound;

pub mod session;

pub mod link;

pub mod inbound;

pub mod publisher;

pub mod checkpoint;

// What it stands on.
pub mod backoff;
pub mod certs;
pub mod clock;
pub mod control;
pub mod nats;
mod pem;
pub mod shutdown;
pub mod wait;

// What it tells of itself, and is told.
pub mod admin;
pub mod command;
pub mod metrics;
pub mod reload;
pub mod reporter;
pub mod status;

// What a person sees.
pub mod app;
pub mod cli;
pub mod demo;

// What the demo and the measurements put between two regions.
pub mod wan;
