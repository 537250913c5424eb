//! `Goodbye`: the last frame of a session.

use bytes::{BufMut, BytesMut};

use crate::error::{CloseReason, DecodeError, EncodeError};
use crate::wire::Reader;

/// The session ends. The same code closes the QUIC connection, for a peer that reads no more frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Goodbye {
    /// Why.
    pub reason: CloseReason,
}

impl Goodbye {
    pub(super) fn encode(&self, out: &mut BytesMut) -> Result<(), EncodeError> {
        out.put_u32(self.reason.code());
        Ok(())
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let code = reader.u32("close reason")?;
        let unknown = DecodeError::OutOfRange {
            field: "close reason",
            value: u64::from(code),
        };
        Ok(Self {
            reason: CloseReason::from_code(code).ok_or(unknown)?,
        })
    }
}
