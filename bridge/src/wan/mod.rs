//! The emulated WAN in virtual time: what one direction of a link does to packets.
//!
//! No clock, no socket, no thread: whoever drives a [`Path`] says what time it is, so the same model serves the relay of
//! `causeway demo` (UDP, no root), the packet emulator of `causeway-bench wan` (whole hosts, TCP and UDP) and tests in
//! virtual time, where an hour of a link passes in a second. Everything random comes from the seed.
//!
//! A packet passes, in this order:
//!
//! 1. the cut: a cut link takes nothing, and what was on its way is lost;
//! 2. the MTU: what is larger is dropped without a word, as behind a firewall that eats ICMP;
//! 3. the bottleneck: a bounded first-in first-out queue that drops at its tail, or a policer that drops instead of
//!    queueing, then the wire at its rate;
//! 4. the loss, single or in bursts: behind the bottleneck, so that a packet that will be lost has used it, as on a
//!    radio link;
//! 5. the delay and its jitter, which alone never reorders;
//! 6. reordering and duplication, where asked for.

mod counters;
mod jitter;
mod links;
mod loss;
mod path;
pub(crate) mod prng;
mod profile;

pub use counters::PathCounters;
pub use links::{LINKS, Link};
pub use path::{Fate, Path};
pub use profile::{Limit, Profile, ProfileError};
