//! Frames: what the control stream of a session carries.
//!
//! On the wire a frame is its type (one byte), the length of its body (four bytes, big-endian) and the
//! body. Each frame's file holds its meaning, its `encode` and its `decode` side by side; WIRE.md shows
//! the bytes. The encoder refuses what the decoder would refuse, and a body has no trailing bytes.
//!
//! | Frame | Sent by | Says |
//! |---|---|---|
//! | [`Hello`] | both, first | who I am and what I speak |
//! | [`Open`] | source | a lane for this route begins |
//! | [`Resume`] | target | ready; go on after this position |
//! | [`Credit`] | target | so much may be sent on the lane |
//! | [`Ack`] | target | everything through here is settled, with these outcomes |
//! | [`Rejected`] | target | this record can never be stored, and why |
//! | [`Rejected`] | source, back | it is kept aside; go on |
//! | [`Stall`] | target | the lane waits for this (or no longer waits) |
//! | [`CloseLane`] | either | the lane ends; open another to go on |
//! | [`Ping`], [`Pong`] | either | liveness |
//! | [`Goodbye`] | either, last | the session ends, and why |

use bytes::{BufMut, Bytes, BytesMut};

use crate::error::{DecodeError, EncodeError};
use crate::limits::{FRAME_BODY_LEN_MAX, FRAME_BODY_LEN_USED, FRAME_HEAD_LEN};
use crate::wire::Reader;

mod ack;
mod close_lane;
mod credit;
mod goodbye;
mod hello;
mod open;
mod ping;
mod rejected;
mod resume;
mod stall;

pub use ack::{Ack, Outcomes};
pub use close_lane::{CloseLane, LaneCloseReason};
pub use credit::Credit;
pub use goodbye::Goodbye;
pub use hello::Hello;
pub use open::{LaneClass, Open};
pub use ping::{Ping, Pong};
pub use rejected::Rejected;
pub use resume::Resume;
pub use stall::{Stall, StallReason};

macro_rules! frames {
    ($($name:ident = $type_:literal,)*) => {
        /// One frame of the control stream.
        #[derive(Debug, Clone, PartialEq, Eq)]
        #[expect(missing_docs, reason = "each variant is the type of the same name")]
        pub enum Frame { $($name($name),)* }

        impl Frame {
            /// The type byte.
            pub fn type_(&self) -> u8 {
                match self { $(Self::$name(_) => $type_,)* }
            }

            /// The frame's name, for logs and metrics.
            pub fn name(&self) -> &'static str {
                match self { $(Self::$name(_) => stringify!($name),)* }
            }

            fn is_known(type_: u8) -> bool {
                [$($type_),*].contains(&type_)
            }

            fn encode_body(&self, out: &mut BytesMut) -> Result<(), EncodeError> {
                match self { $(Self::$name(frame) => frame.encode(out),)* }
            }

            /// Decodes the body of a frame of the given type, all of it.
            pub fn decode(type_: u8, body: &[u8]) -> Result<Self, DecodeError> {
                check_body_len(body.len())?;
                let mut reader = Reader::new(body);
                let frame = match type_ {
                    $($type_ => Self::$name($name::decode(&mut reader)?),)*
                    unknown => return Err(DecodeError::UnknownFrame(unknown)),
                };
                reader.finish()?;
                Ok(frame)
            }
        }

        $(
            impl From<$name> for Frame {
                fn from(frame: $name) -> Self {
                    Self::$name(frame)
                }
            }
        )*
    };
}

// The type bytes. A number is never given a second meaning; 0 is no frame.
frames! {
    Hello = 1,
    Open = 2,
    Resume = 3,
    Credit = 4,
    Ack = 5,
    Rejected = 6,
    Stall = 7,
    CloseLane = 8,
    Ping = 9,
    Pong = 10,
    Goodbye = 11,
}

impl Frame {
    /// Head and body, ready for the control stream.
    pub fn encode(&self) -> Result<Bytes, EncodeError> {
        let mut out = BytesMut::with_capacity(FRAME_BODY_LEN_USED / 4);
        out.put_u8(self.type_());
        out.put_u32(0);
        self.encode_body(&mut out)?;
        let body_len = out.len() - FRAME_HEAD_LEN;
        debug_assert!(
            body_len <= FRAME_BODY_LEN_USED,
            "limits.rs bounds every field"
        );
        let body_len = u32::try_from(body_len).expect("a few hundred bytes, see limits.rs");
        out[1..FRAME_HEAD_LEN].copy_from_slice(&body_len.to_be_bytes());
        Ok(out.freeze())
    }

    /// Type and body length out of a frame's first bytes. An unknown type or a length beyond the
    /// limit is refused here, before a byte of the body is read or memory is taken for it.
    pub fn decode_head(head: [u8; FRAME_HEAD_LEN]) -> Result<(u8, usize), DecodeError> {
        let mut reader = Reader::new(&head);
        let type_ = reader.u8("frame type")?;
        if !Self::is_known(type_) {
            return Err(DecodeError::UnknownFrame(type_));
        }
        let len = check_body_len(reader.u32("frame body")? as usize)?;
        Ok((type_, len))
    }

    /// Decodes head and body from a slice that holds exactly one frame.
    pub fn decode_message(whole: &[u8]) -> Result<Self, DecodeError> {
        let truncated = DecodeError::Truncated {
            field: "frame head",
            offset: 0,
        };
        let (head, body) = whole.split_first_chunk().ok_or(truncated)?;
        let (type_, len) = Self::decode_head(*head)?;
        let mut reader = Reader::new(body);
        let body = reader.take(len, "frame body")?;
        reader.finish()?;
        Self::decode(type_, body)
    }
}

fn check_body_len(len: usize) -> Result<usize, DecodeError> {
    if len > FRAME_BODY_LEN_MAX {
        let (len, max) = (len as u64, FRAME_BODY_LEN_MAX as u64);
        return Err(DecodeError::TooLong {
            field: "frame body",
            len,
            max,
        });
    }
    Ok(len)
}

/// An enum whose variants are one stable byte on the wire.
macro_rules! byte_enum {
    ($(#[$doc:meta])* $name:ident ($field:literal) {
        $($(#[$variant_doc:meta])* $variant:ident = $code:literal, $text:literal;)*
    }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$variant_doc])* $variant,)* }

        impl $name {
            /// Every value, in the order of the codes.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The code on the wire.
            pub const fn code(self) -> u8 {
                match self { $(Self::$variant => $code,)* }
            }

            /// The stable text, for logs, labels and `/status`.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }

            fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
                match reader.u8($field)? {
                    $($code => Ok(Self::$variant),)*
                    unknown => {
                        Err(DecodeError::OutOfRange { field: $field, value: u64::from(unknown) })
                    }
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}
use byte_enum;

/// Shortens a text to what a frame's `reason` or `detail` may hold, at a character's end.
pub fn clip_detail(text: &str) -> String {
    text[..text.floor_char_boundary(crate::limits::DETAIL_LEN_MAX)].to_owned()
}

#[cfg(test)]
mod tests;
