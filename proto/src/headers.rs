//! The header contract: what of a record's header block an ordinary target may be sent.
//!
//! Republishing a block verbatim is wrong. Some headers make the target refuse the record for ever,
//! some purge it, some begin a batch, some deliver it a second time. [`TABLE`] says what becomes of
//! each; `HEADERS.md` gives the reasons, and real servers are asked for every row of it
//! (`tests/tests/header_contract/`).
//!
//! Everything else travels byte for byte: order, case, repetition, spaces, folded lines, and lines
//! that are no headers at all. Ours stand right behind the version line, so that whatever follows
//! follows verbatim, and so that a server, which obeys the first line of a name, obeys ours.

mod block;
mod rules;
#[cfg(test)]
mod tests;
mod ttl;

use bytes::{BufMut, BytesMut};

pub(crate) use self::block::value_in;
pub use self::block::{lines_of, value_of};
use self::rules::{Edit, Rules};
pub use self::rules::{Match, Row, TABLE, Treatment};

/// Longest header block that nats-server stores, in bytes.
pub const BLOCK_LEN_MAX: usize = 65_535;

const VERSION_LINE: &[u8] = b"NATS/1.0\r\n";

/// What the target stream and its server allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TargetTraits {
    /// The stream has `allow_msg_ttl`.
    pub ttl: bool,
    /// A rollup may purge the target: the stream has `allow_rollup_hdrs` and not `deny_purge`, the
    /// route alone writes it, and what it would purge was purged at the source too.
    pub rollup: bool,
    /// The server's limit on headers and payload together (`max_payload`).
    pub payload_len_max: usize,
    /// The stream's own limit (`max_msg_size`).
    pub message_len_max: Option<usize>,
}

/// A record that this target can never take.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// The header block is too long once our lines are in it.
    #[error("header block of {len} bytes, the server stores {BLOCK_LEN_MAX}")]
    HeadersTooLong {
        /// Its length.
        len: usize,
    },
    /// Headers and payload are too long.
    #[error("{len} bytes with headers, the target takes {max}")]
    TooLarge {
        /// Their length.
        len: usize,
        /// The smaller of the server's and the stream's limit.
        max: usize,
    },
}

/// Whether a rewritten record is to be published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeaderVerdict {
    /// The block is in the buffer.
    Publish,
    /// The record's time to live ended on the way; nothing was written.
    Expired,
}

/// Times that a record's remaining life is computed from, in nanoseconds since the Unix epoch. They
/// are of two clocks, the source server's and this host's: their difference shortens or lengthens it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ages {
    /// When the source stored it.
    pub stored_at_ns: u64,
    /// Now.
    pub now_ns: u64,
}

/// Appends a whole header block to `out`: our lines (`own`, each with its CRLF), then the record's.
/// On a refusal or expiry `out` is as before.
pub fn rewrite(
    block: &[u8],
    payload_len: usize,
    ages: Ages,
    traits: &TargetTraits,
    own: &[u8],
    out: &mut BytesMut,
) -> Result<HeaderVerdict, Rejection> {
    let start = out.len();
    let lines = lines_of(block);
    out.reserve(VERSION_LINE.len() + own.len() + lines.len() + 2);
    out.put_slice(VERSION_LINE);
    out.put_slice(own);
    let own_end = out.len();
    if !put_lines(lines, Rules::new(traits, ages), out) {
        out.truncate(start);
        return Ok(HeaderVerdict::Expired);
    }
    if out.len() == own_end {
        out.put_slice(b"\r\n"); // the empty line that a block of ours ends with
    }
    let checked = check_size(out.len() - start, payload_len, traits);
    if checked.is_err() {
        out.truncate(start);
    }
    checked.map(|()| HeaderVerdict::Publish)
}

/// The publisher's own message id, which goes into the provenance; an empty one is none.
pub fn publisher_id(block: &[u8]) -> Option<&[u8]> {
    value_of(block, b"Nats-Msg-Id").filter(|id| !id.is_empty())
}

fn check_size(len: usize, payload_len: usize, traits: &TargetTraits) -> Result<(), Rejection> {
    if len > BLOCK_LEN_MAX {
        return Err(Rejection::HeadersTooLong { len });
    }
    let of_stream = traits.message_len_max.unwrap_or(usize::MAX);
    let max = traits.payload_len_max.min(of_stream);
    let len = len + payload_len;
    if len > max {
        return Err(Rejection::TooLarge { len, max });
    }
    Ok(())
}

/// Copies what stays, in as few pieces as the rules leave. `false` when the record has outlived its
/// time.
fn put_lines(lines: &[u8], mut rules: Rules<'_>, out: &mut BytesMut) -> bool {
    let mut copied = 0;
    for start in block::line_starts(lines) {
        if start < copied || !rules::may_name_a_row(&lines[start..]) {
            continue;
        }
        let end = start + block::line_len(&lines[start..]);
        let edit = rules.edit(&lines[start..end]);
        if matches!(edit, Edit::Keep) {
            continue;
        }
        out.put_slice(&lines[copied..start]);
        copied = start;
        match edit {
            Edit::Keep => {}
            Edit::Strip => copied = end + block::folded_len(&lines[end..]),
            Edit::Rename => out.put_slice(rules::RENAMED_PREFIX),
            Edit::Ttl(seconds) => {
                rules::put_ttl(seconds, out);
                copied = end;
            }
            Edit::Expired => return false,
        }
    }
    out.put_slice(&lines[copied..]);
    true
}
