//! Live batches once more, a moment later: a lost packet then costs milliseconds, not a round trip.
//!
//! QUIC repairs a lost packet when it has noticed the loss and the repair has crossed the path: one and a
//! half round trips after the first try, and everything behind it on the lane waits. A live batch is small,
//! so it is cheaper to send it again before anybody knows whether it was lost: as QUIC DATAGRAM frames
//! (RFC 9221), a few milliseconds after its stream. The stream remains what counts. Whichever is whole first is taken,
//! the other is dropped by its batch number; a copy that is lost costs nothing.
//!
//! [`plan`] decides whether that pays and how it is spread: by the loss seen, how long losses last, how many
//! records would wait for a lost one, and a budget within the link's rate. [`assemble`] cuts batches into datagrams and puts them together.

pub mod assemble;
pub mod plan;

pub use assemble::{Assembler, cut};
pub use plan::{CopyBudget, CopyPlan, LivePath, LossMeter, PathTotals};
