//! What Causeway's proofs are made of.
//!
//! The simulation: two regions in virtual time, driven as the bridge drives them (`world`), over a link
//! that loses and delays (`net`), between servers and disks that forget (`jetstream`, `disk`), judged
//! from outside (`oracle`). A seed fixes everything that happens.
//!
//! The link bed: quinn's protocol with our controller and shaper over the emulated WAN, in virtual time
//! (`link_bed`).
//!
//! The real thing: two servers and two sidecars on this machine (`regions`), and a client that shows a
//! server's bytes as they are (`raw_nats`).

pub mod disk;
pub mod jetstream;
pub mod net;
pub mod oracle;
pub mod world;

#[cfg(feature = "servers")]
pub mod link_bed;
#[cfg(feature = "servers")]
pub mod raw_nats;
#[cfg(feature = "servers")]
pub mod regions;
