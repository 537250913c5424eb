//! A small, very fast NATS client for the two data connections.
//!
//! # Why not the library
//! A replicator must carry header blocks byte for byte. A client library that parses them into a
//! map loses order, spaces and repetition, and one malformed stored header wedges it for ever.
//! Here nothing in a message is looked at beyond its framing, and no byte is copied or allocated
//! for a single message, which costs a fifth to a tenth of the CPU. Everything that is not the data
//! path uses async-nats on a connection of its own.
//!
//! # Shape
//! A [`Client`] lives on one thread, in a tokio `LocalSet`. One task owns socket, parser and
//! outbox; handles talk to it through channels. Messages arrive as [`Block`]s, the run of a
//! subscription's messages that came in one read, so that channels and wake-ups cost a block.
//!
//! # Generations
//! The connection is rebuilt for ever, over every known server. Each time it stands its
//! *generation* rises by one. A [`Subscription`] yields `Up`, blocks, `Down` for each generation in
//! order; what is written names its generation and goes out on that connection or not at all. So
//! a driver never mixes two connections, whatever the timing.
//!
//! # The fence
//! A new connection is announced only after the old one has been seen to its end, because records
//! that still sit in the old socket must not be stored after the publisher has looked at what the
//! target holds. When the peer closed (end of file, reset), its server reads nothing more of it:
//! [`Predecessor::Drained`]. When we leave by our own decision (no sign of life, lame duck,
//! malformed protocol) we close our writing half and read on until the peer has closed too, which
//! a server does after it has read all that was sent; if that does not happen within
//! [`Options::drain_max`], the kernel is told to forget what it has not sent, and the next
//! connection says [`Predecessor::Unproven`]: something sent on the old one may still arrive.
//!
//! What this proves, exactly: the server has *read* everything. It does not prove that it has
//! *stored* it: JetStream takes publishes through a queue of the stream, and in a cluster over a
//! route and through Raft. A publisher that reconciles must therefore put something behind that
//! queue first (`publisher/barrier.rs`), and cannot rely on this fence
//! alone where it comes back to another server of a cluster. A proxy between us and the server can
//! close one side without the other; do not put one there.
//!
//! # Bounds
//! Bytes received and not taken are counted over all subscriptions. Beyond
//! [`Options::unread_bytes_max`] the connection stops reading, and nothing is ever dropped. Writers
//! wait while [`Options::unsent_bytes_max`] are on their way.

mod block;
mod client;
mod connection;
mod ending;
mod error;
mod frame;
mod handshake;
mod options;
mod parser;
mod proof;
mod requests;
mod serve;
mod servers;
mod state;
mod subscription;
mod transport;
mod wire;

pub use block::{Block, Message};
pub use client::{Client, Reply, Slot, Stale, Writer};
pub use error::{ConnectError, ConnectErrorKind, RequestError};
pub use frame::{InvalidSubject, append_number, append_publish};
pub use options::{Auth, DEFAULT_PORT, InvalidServerAddr, Options, ServerAddr, TlsOptions};
pub use proof::prove_with_creds;
pub use state::{Predecessor, ServerInfo, State};
pub use subscription::{Event, Subscription};
