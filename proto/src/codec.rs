//! From a plain batch to what travels, and back.
//!
//! A batch travels as a head (varints, see [`BatchHead`]) and a body. The body is the plain one, or the
//! passage of it, or of its shaped form (`crate::shape`), through the lane's zstd context. A context is one zstd frame that never ends, flushed after
//! every batch: each batch finds the lane's last 256 KiB in the window, so even a batch of one event
//! shrinks to a third, where alone it would hardly shrink. Both ends of a lane therefore see the same batches in the same order.
//!
//! A context has a number and a position, the bytes that went through it. Every head says where
//! the encoder's context stood before the batch, so the decoder notices any difference at once:
//!
//! | Head's context | Position | Decoder |
//! |---|---|---|
//! | as before | as before | goes on |
//! | higher | 0 | gives the old context back and begins anew |
//! | anything else | | [`DecodeError::ContextMismatch`](crate::error::DecodeError) |
//!
//! A raw batch names the context but does not pass through it. When an encoder goes idle, its next
//! batch, even an empty one, lets the decoder give its memory back too.
//!
//! The CRC32 is of the plain body: it is checked after decompression and so covers what TLS cannot see,
//! memory and compressor at both ends.

mod decoder;
mod effort;
mod encoder;
mod form;
mod head;

pub use decoder::LaneDecoder;
pub use effort::{Effort, EffortControl, UnknownEffort, Waits};
pub use encoder::{EncodedBatch, LaneEncoder};
pub use head::{BatchHead, Codec};

#[cfg(test)]
mod tests;
