//! The header contract (`proto/HEADERS.md`), asked of real servers: what a record's headers do when
//! it is republished as it is, and that it is stored, byte for byte as the contract says, once
//! rewritten. Each story runs on the reference release and on the oldest one.

#![cfg(feature = "servers")]

mod effects;
mod malformed;
mod markers;
mod origins;
mod pair;
mod rows;
mod sizes;
mod times;
mod world;
