//! The target's end of a lane's compression.

use bytes::Bytes;
use zstd::zstd_safe::{DCtx, DParameter, InBuffer, OutBuffer, ResetDirective};

use super::{BatchHead, Codec};
use crate::batch::PlainBatch;
use crate::error::DecodeError;
use crate::limits::{DECODE_STEP, WINDOW_LOG};
use crate::shape::unshape;

/// Decompresses the batches of a lane, in their order.
///
/// What a peer sends is bounded before memory is taken: window by [`WINDOW_LOG`], output by the head's
/// lengths, and those again by `PLAIN_LEN_MAX`; output memory grows only as output appears.
pub struct LaneDecoder {
    /// Made with the first batch that needs it.
    zstd: Option<DCtx<'static>>,
    context: u32,
    context_position: u64,
}

impl Default for LaneDecoder {
    fn default() -> Self {
        Self::new()
    }
}

impl LaneDecoder {
    /// A decoder without a context; it takes memory with its first compressed batch.
    pub fn new() -> Self {
        Self {
            zstd: None,
            context: 0,
            context_position: 0,
        }
    }

    /// Decodes the next batch of the lane and checks it whole: what comes out is what the source read.
    ///
    /// After an error only a batch of a new context can be decoded; the caller ends the session anyway.
    pub fn decode(&mut self, head: &BatchHead, body: &[u8]) -> Result<PlainBatch, DecodeError> {
        head.check()
            .map_err(|(field, value)| DecodeError::OutOfRange { field, value })?;
        check_body_len(head, body)?;
        self.follow_context(head)?;
        let decoded = self
            .plain_body(head, body)
            .and_then(|body| checked_batch(head, body));
        match &decoded {
            Ok(_) => self.context_position += u64::from(head.packed_len),
            Err(_) => self.begin_context(self.context.saturating_add(1)),
        }
        decoded
    }

    /// Goes on in the context that the head names, or begins it.
    fn follow_context(&mut self, head: &BatchHead) -> Result<(), DecodeError> {
        if head.context > self.context && head.context_position == 0 {
            self.begin_context(head.context);
        }
        if (head.context, head.context_position) == (self.context, self.context_position) {
            return Ok(());
        }
        Err(DecodeError::ContextMismatch {
            context: head.context,
            position: head.context_position,
            expected_context: self.context,
            expected_position: self.context_position,
        })
    }

    /// The old context's memory is given back: the encoder may have begun anew because it goes idle.
    fn begin_context(&mut self, context: u32) {
        self.zstd = None;
        self.context = context;
        self.context_position = 0;
    }

    fn plain_body(&mut self, head: &BatchHead, body: &[u8]) -> Result<Bytes, DecodeError> {
        match head.codec {
            Codec::Raw => Ok(Bytes::copy_from_slice(body)),
            Codec::Zstd | Codec::Shaped => {
                let zstd = match &mut self.zstd {
                    Some(zstd) => zstd,
                    none => none.insert(new_context()?),
                };
                let mut packed = Vec::new();
                decompress(zstd, body, head.packed_len, &mut packed)?;
                if head.codec == Codec::Shaped {
                    packed = unshape(&packed, head.plain_len, head.record_count)?;
                }
                Ok(packed.into())
            }
        }
    }

    /// Bytes of memory that the decoder holds now.
    pub fn memory(&self) -> usize {
        self.zstd.as_ref().map_or(0, DCtx::sizeof)
    }
}

impl std::fmt::Debug for LaneDecoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LaneDecoder")
            .field("context", &self.context)
            .field("context_position", &self.context_position)
            .finish_non_exhaustive()
    }
}

fn check_body_len(head: &BatchHead, body: &[u8]) -> Result<(), DecodeError> {
    match body.len().checked_sub(head.body_len as usize) {
        Some(0) => Ok(()),
        Some(count) => Err(DecodeError::TrailingBytes { count }),
        None => Err(DecodeError::Truncated {
            field: "body",
            offset: body.len(),
        }),
    }
}

fn checked_batch(head: &BatchHead, body: Bytes) -> Result<PlainBatch, DecodeError> {
    let found = crc32fast::hash(&body);
    if found != head.crc {
        return Err(DecodeError::BadChecksum {
            declared: head.crc,
            found,
        });
    }
    let (follows, through, record_count) = (head.follows, head.through, head.record_count);
    let batch = PlainBatch {
        follows,
        through,
        record_count,
        body,
    };
    batch.validate()?;
    Ok(batch)
}

/// Decompresses a body into `plain`, which is empty, to exactly `plain_len` bytes.
///
/// Room is made for one byte more than that, which shows a body that holds too much.
pub(super) fn decompress(
    zstd: &mut DCtx<'static>,
    body: &[u8],
    plain_len: u32,
    plain: &mut Vec<u8>,
) -> Result<(), DecodeError> {
    let wanted = plain_len as usize;
    let mismatch = DecodeError::PlainLenMismatch {
        declared: plain_len,
    };
    let mut input = InBuffer::around(body);
    loop {
        if plain.len() == plain.capacity() {
            plain.reserve_exact((wanted + 1 - plain.len()).min(plain.len().max(DECODE_STEP)));
        }
        let before = (input.pos(), plain.len());
        let pos = plain.len();
        let hint = zstd
            .decompress_stream(&mut OutBuffer::around_pos(plain, pos), &mut input)
            .map_err(|_| DecodeError::Undecodable)?;
        if plain.len() > wanted {
            return Err(mismatch);
        }
        // 0 says that the zstd frame has ended, which a context's never does.
        let stands_still = before == (input.pos(), plain.len());
        if hint == 0 || (stands_still && input.pos() < body.len()) {
            return Err(DecodeError::Undecodable);
        }
        // Output space is left, so everything that the input gives has been written.
        if input.pos() == body.len() && plain.len() < plain.capacity() {
            break;
        }
    }
    if plain.len() == wanted {
        Ok(())
    } else {
        Err(mismatch)
    }
}

pub(super) fn new_context() -> Result<DCtx<'static>, DecodeError> {
    let mut zstd = DCtx::try_create().ok_or(DecodeError::Undecodable)?;
    let bounded = zstd
        .reset(ResetDirective::SessionOnly)
        .and_then(|_| zstd.set_parameter(DParameter::WindowLogMax(WINDOW_LOG)));
    bounded.map_err(|_| DecodeError::Undecodable)?;
    Ok(zstd)
}
