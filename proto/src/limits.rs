//! Every limit of the protocol, in one place, each with its reason.
//!
//! A limit is checked before memory is taken for what it bounds. The relations between limits are
//! asserted at compile time, at the end of this file, so that a changed number cannot break another.

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// Longest body of a control frame. The longest frame of version 1 takes about 400 bytes
/// ([`FRAME_BODY_LEN_USED`]); the rest is room for later versions, and still little enough to buffer
/// one for every connection of a large fleet.
pub const FRAME_BODY_LEN_MAX: usize = 64 * KIB;

/// Type byte and body length that precede the body of every control frame.
pub const FRAME_HEAD_LEN: usize = 5;

/// Bound of the longest body that version 1 can write: an `Open` with the longest route and stream.
pub const FRAME_BODY_LEN_USED: usize = 512;

/// Longest free text in a frame (why a record was rejected, why a lane stalls). Enough for an error
/// of nats-server with its description; it ends in a log line and in `/status`.
pub const DETAIL_LEN_MAX: usize = 256;

/// Largest number that a varint carries: 62 bits (RFC 9000 section 16). Sequences, counters and
/// credit stay far below: at a million records a second, 2^62 is 146,000 years away.
pub const VARINT_MAX: u64 = (1 << 62) - 1;

/// Highest epoch that a peer is believed. An epoch counts the incarnations of a stream and an operator's seeks; who took
/// over the highest number of its 32 bits could count no further.
pub const EPOCH_MAX: u32 = 1 << 31;

/// Longest subject. nats-server keeps the length of a stored subject in 16 bits.
pub const SUBJECT_LEN_MAX: usize = u16::MAX as usize;

/// Largest plain body of a batch, checked before memory is taken for it.
///
/// A record travels whole, as a batch of one when it is large. Headers and payload together are
/// bounded by the server's `max_payload`, which cannot exceed its `max_pending`, 64 MiB by default;
/// one more MiB covers the subject and the lengths.
pub const PLAIN_LEN_MAX: usize = 65 * MIB;

/// Bytes by which a body on the wire may be longer than the plain one. zstd adds at most a frame head
/// (once a context) and three bytes a block; more than this is no batch of ours.
pub const BODY_SLACK: usize = 64;

/// Largest body of a batch as it travels.
pub const BODY_LEN_MAX: usize = PLAIN_LEN_MAX + BODY_SLACK;

/// Plain bytes at which a batch is sealed in catch-up. Compression gains under 3 % beyond it, and a
/// batch is also the unit of loss: on a 10 Mbit/s link it takes 35 ms at the usual ratio of six.
pub const BATCH_PLAIN_LEN_TARGET: usize = 256 * KIB;

/// Most records in a batch: what the target size holds if every record were of the smallest kind,
/// and a bound for whoever keeps something for every record of a batch.
pub const BATCH_RECORD_COUNT_MAX: u32 = 65_536;

/// Fewest bytes that a record takes in a batch: six bytes of lengths and numbers, no content.
pub const RECORD_LEN_MIN: usize = 5;

/// Most bytes that a record takes in a batch beside its subject, headers and payload: flags 1, seq
/// delta 8, time 8, three lengths of 8.
pub const RECORD_OVERHEAD_MAX: usize = 1 + 8 + 8 + 3 * 8;

/// Longest batch head, every number at its widest: magic and codec, lane, seq, follows, span,
/// record count, epoch, context, position, three lengths, CRC.
pub const BATCH_HEAD_LEN_MAX: usize = 2 + 11 * 8 + 4;

/// Datagrams that the copy of a batch takes at most. A larger batch is not live, or is repaired well
/// enough by its stream.
pub const COPY_PIECES_MAX: usize = 4;

/// Longest head of a datagram that carries a piece of a copy: magic, lane, batch number, index, count.
pub const COPY_HEAD_LEN_MAX: usize = 1 + 8 + 8 + 1 + 1;

/// Window of a zstd context: 2^18 = 256 KiB. It decides the memory of a lane: the encoder of a busy
/// lane takes 1.4 MiB at level 1, and some 0.6 MiB more while it shapes full batches; its decoder 0.75 MiB; one that is quiet
/// for some seconds, nothing. A larger window
/// gains little on events, and a peer that asks for one is refused before the memory is taken.
pub const WINDOW_LOG: u32 = 18;

/// Output memory that the decoder takes before any output appears; beyond it memory only doubles as
/// output fills it, so a peer that claims a large batch has to send one. A batch of the target size,
/// which its last record may overshoot, fits at once.
pub const DECODE_STEP: usize = 2 * BATCH_PLAIN_LEN_TARGET;

/// Plain bytes up to which a batch goes through the zstd context even when that does not shrink it.
/// The cost is a dozen bytes; the gain is that small live batches fill the context and then do shrink.
pub const RAW_LEN_MIN: usize = 4 * KIB;

/// Longest run of batches sent raw untried, after batches that did not shrink. Incompressible data
/// then costs a sixteenth of the compressor's time (an eighth where it has a shape, and both forms are tried), and data that turns compressible is noticed
/// after at most this many batches.
pub const RAW_RUN_MAX: u32 = 16;

const _: () = assert!(FRAME_BODY_LEN_USED <= FRAME_BODY_LEN_MAX);
const _: () = assert!(
    2 * (crate::id::NAME_LEN_MAX + 8) + crate::id::STREAM_NAME_LEN_MAX + 64 <= FRAME_BODY_LEN_USED,
    "the longest Open and Hello fit"
);
const _: () = assert!(
    DETAIL_LEN_MAX + 64 <= FRAME_BODY_LEN_USED,
    "the longest Rejected fits"
);
const _: () = assert!(
    SUBJECT_LEN_MAX + 64 * MIB + RECORD_OVERHEAD_MAX <= PLAIN_LEN_MAX,
    "the largest record that a server stores fits a batch of one"
);
const _: () = assert!(BODY_LEN_MAX <= u32::MAX as usize);
const _: () = assert!(BATCH_PLAIN_LEN_TARGET < PLAIN_LEN_MAX);
const _: () = assert!(
    BATCH_PLAIN_LEN_TARGET / RECORD_LEN_MIN <= BATCH_RECORD_COUNT_MAX as usize,
    "a batch reaches its target before its count, whatever the records"
);
const _: () = assert!(BATCH_PLAIN_LEN_TARGET < DECODE_STEP && DECODE_STEP <= PLAIN_LEN_MAX);
const _: () = assert!(
    BATCH_PLAIN_LEN_TARGET <= 1 << WINDOW_LOG,
    "a batch finds the whole batch before it in the window"
);
const _: () = assert!(RAW_LEN_MIN < BATCH_PLAIN_LEN_TARGET);
const _: () = assert!(
    RAW_LEN_MIN <= 128 * KIB && BODY_SLACK >= 32,
    "a small batch is one zstd block"
);

/// What a batch takes of its lane's credit, on both ends: its body, and its head at the largest.
pub const fn credit_len(body_len: usize) -> u64 {
    (body_len + BATCH_HEAD_LEN_MAX) as u64
}
