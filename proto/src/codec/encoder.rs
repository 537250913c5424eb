//! The source's end of a lane's compression.

use bytes::Bytes;
use zstd::zstd_safe::zstd_sys::ZSTD_EndDirective;
use zstd::zstd_safe::{CCtx, CParameter, InBuffer, OutBuffer, ResetDirective};

use super::form::{FormChoice, Plan};
use super::{BatchHead, Codec, Effort};
use crate::batch::PlainBatch;
use crate::error::EncodeError;
use crate::id::{BatchSeq, Epoch, LaneId};
use crate::limits::{
    BATCH_PLAIN_LEN_TARGET, BODY_SLACK, PLAIN_LEN_MAX, RAW_LEN_MIN, RAW_RUN_MAX, WINDOW_LOG,
};
use crate::shape::Shaper;

/// A batch ready for its QUIC stream: the head, then the body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodedBatch {
    /// The head.
    pub head: Bytes,
    /// The body.
    pub body: Bytes,
    /// Length of both: what the batch costs in credit.
    pub wire_len: usize,
}

/// Compresses the batches of a lane, in their order.
pub struct LaneEncoder {
    effort: Effort,
    /// Made with the first batch that needs it.
    zstd: Option<CCtx<'static>>,
    context: u32,
    context_position: u64,
    /// Where output grows before it is copied to its exact size, so that a batch in flight holds no
    /// more than its own bytes.
    scratch: Vec<u8>,
    form: FormChoice,
    /// Kept while full batches are shaped one after the other.
    shaper: Option<Box<Shaper>>,
    raw_run: RawRun,
}

/// What a batch became.
enum Packed {
    /// As it is, compressed.
    Plain(Bytes),
    /// Shaped to that length, compressed.
    Shaped(usize, Bytes),
    /// Nothing: it travels raw.
    Raw,
}

/// How long to send batches raw, untried, because those before did not shrink.
#[derive(Debug, Default)]
struct RawRun {
    len: u32,
    left: u32,
}

impl RawRun {
    fn did_shrink(&mut self) {
        *self = Self::default();
    }

    fn did_not_shrink(&mut self) {
        self.len = (self.len * 2).clamp(1, RAW_RUN_MAX);
        self.left = self.len;
    }

    /// Whether the next batch goes untried.
    fn take(&mut self) -> bool {
        let goes_untried = self.left > 0;
        self.left = self.left.saturating_sub(1);
        goes_untried
    }
}

impl LaneEncoder {
    /// An encoder without a context; it takes memory with its first batch.
    pub fn new(effort: Effort) -> Self {
        Self {
            effort,
            zstd: None,
            context: 0,
            context_position: 0,
            scratch: Vec::new(),
            form: FormChoice::new(),
            shaper: None,
            raw_run: RawRun::default(),
        }
    }

    /// Encodes the next batch of the lane. On an error the context is given up, since the decoder will
    /// not see what it swallowed; the encoder remains usable.
    pub fn encode(
        &mut self,
        lane: LaneId,
        seq: BatchSeq,
        epoch: Epoch,
        batch: &PlainBatch,
    ) -> Result<EncodedBatch, EncodeError> {
        let (len, max) = (batch.body.len(), PLAIN_LEN_MAX);
        let too_long = EncodeError::TooLong {
            field: "plain body",
            len,
            max,
        };
        let plain_len = u32::try_from(len)
            .ok()
            .filter(|_| len <= max)
            .ok_or(too_long)?;
        let mut shaper = self.shaper.take();
        let packed = self.pack(batch, &mut shaper).inspect_err(|_| self.idle())?;
        // A lane whose batches are small again, or leave as they are, needs little.
        let is_busy = len >= BATCH_PLAIN_LEN_TARGET / 2 && self.form.is_shaped();
        self.shaper = shaper.filter(|_| is_busy);
        let (codec, packed_len, body) = match packed {
            Packed::Plain(body) => (Codec::Zstd, plain_len, body),
            Packed::Shaped(len, body) => (Codec::Shaped, len as u32, body),
            Packed::Raw => (Codec::Raw, 0, batch.body.clone()),
        };
        let head = BatchHead {
            lane,
            seq,
            follows: batch.follows,
            through: batch.through,
            record_count: batch.record_count,
            epoch,
            codec,
            context: self.context,
            context_position: self.context_position,
            plain_len,
            packed_len,
            body_len: u32::try_from(body.len()).unwrap_or(u32::MAX),
            crc: crc32fast::hash(&batch.body),
        };
        let head = head.encode().inspect_err(|_| self.reset())?;
        self.context_position += u64::from(packed_len);
        let wire_len = head.len() + body.len();
        Ok(EncodedBatch {
            head,
            body,
            wire_len,
        })
    }

    /// Brings a batch into the form in use, and through the context.
    fn pack(
        &mut self,
        batch: &PlainBatch,
        shaper: &mut Option<Box<Shaper>>,
    ) -> Result<Packed, EncodeError> {
        let plain = &batch.body;
        let plan = match self.raw_run.left {
            0 => self.form.plan(self.effort, batch, self.context),
            _ => Plan::Plain,
        };
        let shaped = match plan {
            Plan::Plain => None,
            Plan::Shaped | Plan::Trial => shaper
                .get_or_insert_default()
                .shape(plain, batch.record_count),
        };
        if plan != Plan::Plain {
            self.form.handle_shape(shaped.is_some());
        }
        let chosen = shaped.filter(|_| self.form.is_shaped());
        let body = self.compress(chosen.unwrap_or(plain), plain.len())?;
        if plan == Plan::Trial
            && let Some(shaped) = shaped
        {
            let other: &[u8] = if chosen.is_some() { plain } else { shaped };
            self.try_form(other, body.as_ref().map_or(plain.len(), Bytes::len));
        }
        Ok(match (body, chosen) {
            (None, _) => Packed::Raw,
            (Some(body), Some(shaped)) => Packed::Shaped(shaped.len(), body),
            (Some(body), None) => Packed::Plain(body),
        })
    }

    /// Turns to the other form of a batch if that comes out shorter, in a context of its own, than the form in use did.
    fn try_form(&mut self, other: &[u8], len: usize) {
        let mut out = Vec::with_capacity(other.len() + BODY_SLACK);
        let ran =
            new_context(self.effort.level()).and_then(|mut zstd| run(&mut zstd, other, &mut out));
        // Without memory for it nothing was learned, and nothing is lost.
        if ran == Ok(true) && out.len() < len {
            self.form.turn();
        }
    }

    /// The passage through the context of a batch in either form, or `None` where it travels raw.
    fn compress(&mut self, packed: &[u8], plain_len: usize) -> Result<Option<Bytes>, EncodeError> {
        let is_small = plain_len <= RAW_LEN_MIN;
        if plain_len == 0 || (!is_small && self.raw_run.take()) {
            return Ok(None);
        }
        let fits = self.run_zstd(packed)?;
        let shrank = fits && self.scratch.len() < plain_len;
        if shrank && !is_small {
            self.raw_run.did_shrink();
        }
        let compressed =
            (shrank || (fits && is_small)).then(|| Bytes::copy_from_slice(&self.scratch));
        if compressed.is_none() {
            self.raw_run.did_not_shrink();
            self.reset();
        }
        if self.scratch.capacity() > 2 * BATCH_PLAIN_LEN_TARGET {
            self.scratch = Vec::new();
        }
        Ok(compressed)
    }

    /// Runs a batch in either form through the context into `scratch`; `false` where the output does not fit into
    /// what a body may have.
    fn run_zstd(&mut self, packed: &[u8]) -> Result<bool, EncodeError> {
        let zstd = match &mut self.zstd {
            Some(zstd) => zstd,
            none => none.insert(new_context(self.effort.level())?),
        };
        self.scratch.clear();
        self.scratch.reserve_exact(packed.len() + BODY_SLACK);
        run(zstd, packed, &mut self.scratch)
    }

    /// Begins a new context: after a batch that was encoded and will not be sent, or a new level.
    pub fn reset(&mut self) {
        if self
            .zstd
            .as_mut()
            .is_some_and(|z| z.reset(ResetDirective::SessionOnly).is_err())
        {
            self.zstd = None;
        }
        self.context = self.context.saturating_add(1);
        self.context_position = 0;
    }

    /// Gives the context's memory back. The next batch that needs one begins a new context.
    pub fn idle(&mut self) {
        if self.zstd.take().is_some() {
            self.reset();
        }
        (self.scratch, self.shaper) = (Vec::new(), None);
    }

    /// Sets the effort, with a new context if its level is another one.
    pub fn set_effort(&mut self, effort: Effort) {
        if effort.level() != self.effort.level() {
            self.idle();
        }
        self.effort = effort;
    }

    /// The effort now.
    pub fn effort(&self) -> Effort {
        self.effort
    }

    /// Bytes of memory that the encoder holds now.
    pub fn memory(&self) -> usize {
        let shaper = self.shaper.as_ref().map_or(0, |it| it.memory());
        self.scratch.capacity() + shaper + self.zstd.as_ref().map_or(0, CCtx::sizeof)
    }
}

impl std::fmt::Debug for LaneEncoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LaneEncoder")
            .field("effort", &self.effort)
            .field("context", &self.context)
            .field("context_position", &self.context_position)
            .finish_non_exhaustive()
    }
}

/// Runs `input` through a context into `out`; `false` where it does not fit in there.
fn run(zstd: &mut CCtx<'_>, input: &[u8], out: &mut Vec<u8>) -> Result<bool, EncodeError> {
    let len = input.len();
    let mut input = InBuffer::around(input);
    let mut output = OutBuffer::around(out);
    loop {
        let left = zstd
            .compress_stream2(&mut output, &mut input, ZSTD_EndDirective::ZSTD_e_flush)
            .map_err(|_| EncodeError::Compressor)?;
        if left == 0 && input.pos() == len {
            return Ok(output.pos() <= len + BODY_SLACK);
        }
        if output.pos() == output.capacity() {
            return Ok(false);
        }
    }
}

/// A zstd context for one endless frame: nothing in its header that a batch's head says already.
fn new_context(level: i32) -> Result<CCtx<'static>, EncodeError> {
    let mut zstd = CCtx::try_create().ok_or(EncodeError::Compressor)?;
    for parameter in [
        CParameter::CompressionLevel(level),
        CParameter::WindowLog(WINDOW_LOG),
        CParameter::ContentSizeFlag(false),
        CParameter::ChecksumFlag(false),
        CParameter::DictIdFlag(false),
    ] {
        zstd.set_parameter(parameter)
            .map_err(|_| EncodeError::Compressor)?;
    }
    Ok(zstd)
}
