//! How fast a link sends: exact shaping, and the decision what rate to shape to.
//!
//! ```text
//!   acks, losses -> Control -> pace      declared rate    host's rate
//!                               v             v               v
//!   datagrams -> queue -> [flow's bucket] [link's bucket] [host's bucket] -> socket
//! ```
//!
//! [`Control`] decides, once in about one and a half round trips, how fast one connection may send.
//! [`Shaper`] holds each datagram back until every bucket above it has room, counting whole IP packets.
//! Neither knows a clock or a socket: the sidecar's socket and the tests in virtual time drive the same
//! code. Rates are bits a second on the wire, IP and UDP headers included; sizes are bytes.

mod bucket;
mod control;
mod meter;
mod rtt;
mod shaper;
mod trial;

pub use bucket::Bucket;
pub use control::{Control, Mode, Settings};
pub use meter::{Cap, CapState, Meter, Usage};
pub use shaper::{FlowKey, LinkKey, Shaper, Step};

/// Bytes that IPv4 and UDP add to a datagram.
pub const HEADERS_V4: u64 = 28;
/// Bytes that IPv6 and UDP add to a datagram.
pub const HEADERS_V6: u64 = 48;
