//! Wrong bytes: what a peer sent ([`DecodeError`]) and what we refuse to send ([`EncodeError`]).

use super::CloseReason;
use crate::id::InvalidName;

/// The bytes are wrong, whatever came before them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The bytes end inside a field.
    #[error("truncated in {field} at offset {offset}")]
    Truncated {
        /// The field that is incomplete.
        field: &'static str,
        /// Where it begins.
        offset: usize,
    },
    /// Bytes are left over after the last field.
    #[error("{count} trailing bytes")]
    TrailingBytes {
        /// How many.
        count: usize,
    },
    /// The first bytes are not the magic ones.
    #[error("wrong magic")]
    BadMagic,
    /// A frame type of no version we speak.
    #[error("unknown frame type {0}")]
    UnknownFrame(u8),
    /// A varint is longer than its value needs. Each value has one encoding.
    #[error("varint {field} at offset {offset} is not minimal")]
    NotMinimal {
        /// The field.
        field: &'static str,
        /// Where it begins.
        offset: usize,
    },
    /// A number outside the range of its field, or a code without meaning.
    #[error("{field} cannot be {value}")]
    OutOfRange {
        /// The field.
        field: &'static str,
        /// The number found.
        value: u64,
    },
    /// A field longer than its limit; refused before memory is taken for it.
    #[error("{field} of {len} bytes is longer than {max}")]
    TooLong {
        /// The field.
        field: &'static str,
        /// The length claimed.
        len: u64,
        /// The limit.
        max: u64,
    },
    /// A text is not UTF-8.
    #[error("{field} is not UTF-8")]
    NotUtf8 {
        /// The field.
        field: &'static str,
    },
    /// A name breaks the rules of names.
    #[error("{field} {why}")]
    InvalidName {
        /// The field.
        field: &'static str,
        /// Which rule.
        why: InvalidName,
    },
    /// A field that must rise did not, or left the span that the batch declares.
    #[error("sequence {seq} of record {index} is out of order or outside the batch's span")]
    SeqOutOfOrder {
        /// Which record of the batch, from 0.
        index: u32,
        /// Its sequence.
        seq: u64,
    },
    /// A record's subject is empty or holds white space, which NATS cannot carry.
    #[error("subject of record {index} is empty or holds white space")]
    InvalidSubject {
        /// Which record of the batch, from 0.
        index: u32,
    },
    /// The batch's position in the compression context is not where the decoder stands.
    #[error("context {context} at {position}, expected {expected_context} at {expected_position}")]
    ContextMismatch {
        /// Context named by the batch.
        context: u32,
        /// Position named by the batch.
        position: u64,
        /// Context of the decoder.
        expected_context: u32,
        /// Position of the decoder.
        expected_position: u64,
    },
    /// zstd refuses the body: corrupt, a window too large, or a frame that ends.
    #[error("body does not decompress")]
    Undecodable,
    /// The body decompresses to less or more than the head declares.
    #[error("plain body is not of the declared {declared} bytes")]
    PlainLenMismatch {
        /// Plain length in the head.
        declared: u32,
    },
    /// The plain body is not what the source read.
    #[error("checksum {found:08x}, expected {declared:08x}")]
    BadChecksum {
        /// CRC32 in the head.
        declared: u32,
        /// CRC32 of what was decoded.
        found: u32,
    },
}

impl DecodeError {
    /// How to end the session when the error was found in a control frame.
    pub fn in_frame(self) -> CloseReason {
        match self {
            Self::TooLong {
                field: "frame body",
                ..
            } => CloseReason::FrameTooLong,
            _ => CloseReason::FrameMalformed,
        }
    }

    /// How to end the session when the error was found in a batch.
    pub fn in_batch(self) -> CloseReason {
        match self {
            Self::BadChecksum { .. } => CloseReason::BadChecksum,
            _ => CloseReason::BatchMalformed,
        }
    }
}

/// What we were asked to send would be refused by the peer, so it is refused here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// A number outside the range of its field.
    #[error("{field} cannot be {value}")]
    OutOfRange {
        /// The field.
        field: &'static str,
        /// The number.
        value: u64,
    },
    /// A field longer than its limit.
    #[error("{field} of {len} bytes is longer than {max}")]
    TooLong {
        /// The field.
        field: &'static str,
        /// Its length.
        len: usize,
        /// The limit.
        max: usize,
    },
    /// A record's sequence does not rise, or lies outside the span that the batch declares.
    #[error("sequence {seq} is out of order or outside the batch's span")]
    SeqOutOfOrder {
        /// The sequence.
        seq: u64,
    },
    /// A record's subject is empty or holds white space, which NATS cannot carry.
    #[error("subject is empty or holds white space")]
    InvalidSubject,
    /// The batch is full: seal it and begin another. Only [`BatchBuilder::push`] says this.
    ///
    /// [`BatchBuilder::push`]: crate::batch::BatchBuilder::push
    #[error("batch is full")]
    BatchFull,
    /// zstd failed, which is a lack of memory or a fault of ours.
    #[error("compressor failed")]
    Compressor,
}
