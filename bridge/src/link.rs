//! The QUIC connection under a link: two authenticated regions, one control stream, batches.
//!
//! This module decides nothing of the protocol. It moves frames as length-checked byte strings over
//! one bidirectional stream that data cannot delay, and batches over one unidirectional stream each,
//! drained in whatever order they arrive. Which of two connections between the same regions stands is decided elsewhere
//! (`causeway_proto::contest`).
//!
//! Every packet leaves through one shaping thread, which holds links and host to their rates; what a
//! connection may send its controller decides (`causeway_proto::rate`). Live batches go out once more as
//! datagrams where packets are lost (`causeway_proto::copies`).

mod addresses;
mod certificate;
mod connection;
mod copies;
mod dialer;
mod listener;
mod pulse;
mod rate;
mod receiving;
mod shaping;
mod socket;
mod tls;
mod transport;
mod verifier;

pub use certificate::{IdentityError, region_of};
pub(crate) use connection::close;
pub use connection::{ControlSender, IncomingBatch, LinkGone, Session};
pub use copies::CopySender;
pub use dialer::{DialError, Dialer};
pub use listener::{Listener, Refusals};
pub use rate::{DeclaredRate, Pace};
pub use shaping::{Counts, Shaping};
pub use tls::{ALPN, Identity, TlsError, TlsFiles};
pub(crate) use transport::SEND_WINDOW_MIN;
pub use transport::{PathHints, transport};
