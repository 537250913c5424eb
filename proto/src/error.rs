//! Errors by who is to blame, and the codes by which a session ends.
//!
//! | Type | What happened | What the caller does |
//! |---|---|---|
//! | [`DecodeError`] | the bytes are wrong | end the session with [`DecodeError::in_frame`] or [`DecodeError::in_batch`] |
//! | [`PeerMisbehaved`] | legal bytes at the wrong time | end the session with its `close_reason` |
//! | [`PeerIncompatible`] | nobody misbehaved, yet the two cannot talk | end the session; retry slowly, a person must act |
//! | [`EncodeError`] | our own data does not fit the wire | never retry; blame the record or the caller |
//!
//! None of the first two holds text of the peer's, so that logging one is safe.

mod close;
mod decode;
mod peer;

pub use close::CloseReason;
pub use decode::{DecodeError, EncodeError};
pub use peer::{PeerIncompatible, PeerMisbehaved};
