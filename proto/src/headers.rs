//! The header contract: what of a record's header block an ordinary target may be sent.
//!
//! Republishing a block verbatim is wrong. Some headers make the target refuse the record for ever,
//! some purge it, some begin a batch. `HEADERS.md` holds the table with its reasons; this module is
//! that table. All other lines travel byte for byte: order, case, repetition and spaces are the
//! publisher's.
//!
//! A server finds a header by its exact name after a CRLF and before a colon, so that is how lines
//! are recognised here; what a server would not act on is left alone.

use bytes::{BufMut, BytesMut};

use crate::provenance::{line_end, value_of};

/// Longest header block that nats-server stores.
pub const BLOCK_LEN_MAX: usize = 65_535;
const VERSION_LINE: &[u8] = b"NATS/1.0\r\n";

/// What the target stream and its server allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TargetTraits {
    /// `allow_msg_ttl`.
    pub ttl: bool,
    /// `allow_rollup_hdrs` without `deny_purge`, and nobody else's records to purge.
    pub rollup: bool,
    /// The server's limit on headers and payload together.
    pub payload_len_max: usize,
    /// The stream's own limit.
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

/// What happens to a line.
enum Rule {
    Keep,
    Strip,
    /// Kept under a name that no server acts on: `Causeway-` before its own.
    Rename,
    Ttl,
}

fn rule(line: &[u8], traits: &TargetTraits) -> Rule {
    let Some(colon) = line.iter().position(|byte| *byte == b':') else {
        return Rule::Keep;
    };
    let name = &line[..colon];
    if name == b"Causeway" {
        return Rule::Strip;
    }
    let Some(rest) = name.strip_prefix(b"Nats-") else {
        return Rule::Keep;
    };
    match rest {
        b"TTL" if traits.ttl => Rule::Ttl,
        b"TTL"
        | b"Msg-Id"
        | b"Incr"
        | b"Counter-Sources"
        | b"Required-Api-Level"
        | b"Pin-Id"
        | b"Request-Info" => Rule::Strip,
        b"Rollup" if traits.rollup => Rule::Keep,
        b"Rollup" => Rule::Strip,
        b"Stream-Source" => Rule::Rename,
        _ if rest.starts_with(b"Expected-") || rest.starts_with(b"Batch-") => Rule::Strip,
        _ if rest.starts_with(b"Trace-") => Rule::Strip,
        _ if rest.starts_with(b"Schedule") => Rule::Rename,
        _ => Rule::Keep,
    }
}

/// Times that a record's remaining life is computed from, in nanoseconds since the Unix epoch.
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
    out.put_slice(VERSION_LINE);
    out.put_slice(own);
    if block.is_empty() {
        out.put_slice(b"\r\n");
    } else if !put_lines(after_version_line(block), ages, traits, out) {
        out.truncate(start);
        return Ok(HeaderVerdict::Expired);
    }
    let len = out.len() - start;
    let refusal = if len > BLOCK_LEN_MAX {
        Some(Rejection::HeadersTooLong { len })
    } else {
        let max = traits
            .payload_len_max
            .min(traits.message_len_max.unwrap_or(usize::MAX));
        (len + payload_len > max).then_some(Rejection::TooLarge {
            len: len + payload_len,
            max,
        })
    };
    match refusal {
        Some(refusal) => {
            out.truncate(start);
            Err(refusal)
        }
        None => Ok(HeaderVerdict::Publish),
    }
}

/// The publisher's own message id, which goes into the provenance.
pub fn publisher_id(block: &[u8]) -> Option<&[u8]> {
    value_of(block, b"Nats-Msg-Id").filter(|id| !id.is_empty())
}

/// Skips `NATS/1.0` and a status behind it. A block that begins otherwise is all lines.
fn after_version_line(block: &[u8]) -> &[u8] {
    match line_end(block) {
        Some(end) if block.starts_with(b"NATS/1.") => &block[end..],
        None if block.starts_with(b"NATS/1.") => b"\r\n",
        _ => block,
    }
}

/// Copies the lines that stay. `false` when the record has outlived its time.
fn put_lines(mut rest: &[u8], ages: Ages, traits: &TargetTraits, out: &mut BytesMut) -> bool {
    let mut stripped = false;
    while !rest.is_empty() {
        let end = line_end(rest).unwrap_or(rest.len());
        let (line, after) = rest.split_at(end);
        rest = after;
        // A folded line belongs to the header before it.
        let folded = matches!(line.first(), Some(b' ' | b'\t'));
        if folded && stripped {
            continue;
        }
        let rule = if folded {
            Rule::Keep
        } else {
            rule(line, traits)
        };
        stripped = matches!(rule, Rule::Strip);
        match rule {
            Rule::Keep => out.put_slice(line),
            Rule::Strip => {}
            Rule::Rename => {
                out.put_slice(b"Causeway-");
                out.put_slice(line);
            }
            Rule::Ttl => match remaining_ttl(line, ages) {
                Ttl::Expired => return false,
                Ttl::Verbatim => out.put_slice(line),
                Ttl::Seconds(seconds) => {
                    out.put_slice(format!("Nats-TTL: {seconds}\r\n").as_bytes());
                }
            },
        }
    }
    true
}

enum Ttl {
    Verbatim,
    Seconds(u64),
    Expired,
}

/// A record's life began when the source stored it; the target counts anew from what is left.
fn remaining_ttl(line: &[u8], ages: Ages) -> Ttl {
    let value = line
        .strip_prefix(b"Nats-TTL:")
        .unwrap_or_default()
        .trim_ascii();
    let Some(ttl_ns) = std::str::from_utf8(value).ok().and_then(parse_ttl) else {
        return Ttl::Verbatim; // `never`, or what the target will judge itself
    };
    let age = u128::from(ages.now_ns.saturating_sub(ages.stored_at_ns));
    match ttl_ns.checked_sub(age) {
        None | Some(0) => Ttl::Expired,
        Some(left) => Ttl::Seconds((left / 1_000_000_000).max(1) as u64),
    }
}

/// Whole seconds, or a Go duration such as `1h30m`.
fn parse_ttl(text: &str) -> Option<u128> {
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(u128::from(seconds) * 1_000_000_000).filter(|ttl| *ttl > 0);
    }
    let mut total = 0u128;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !(c.is_ascii_digit() || c == '.'))?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let unit_len = rest
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(rest.len());
        let unit = match &rest[..unit_len] {
            "h" => 3_600e9,
            "m" => 60e9,
            "s" => 1e9,
            "ms" => 1e6,
            _ => return None,
        };
        total += (number * unit) as u128;
        rest = &rest[unit_len..];
    }
    Some(total).filter(|ttl| *ttl > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PLAIN: TargetTraits = TargetTraits {
        ttl: false,
        rollup: false,
        payload_len_max: 1 << 20,
        message_len_max: None,
    };
    const AGES: Ages = Ages {
        stored_at_ns: 0,
        now_ns: 0,
    };

    fn rewritten(block: &[u8], traits: &TargetTraits) -> Vec<u8> {
        let mut out = BytesMut::new();
        let own = b"Causeway: x\r\n";
        assert_eq!(
            rewrite(block, 0, AGES, traits, own, &mut out),
            Ok(HeaderVerdict::Publish)
        );
        out.to_vec()
    }

    #[test]
    fn ordinary_lines_travel_byte_for_byte() {
        let block = b"NATS/1.0\r\nZed: 1\r\nalpha:2\r\nZed:  3 \r\nnats-ttl: 5\r\n  folded\r\n\r\n";
        let want =
            b"NATS/1.0\r\nCauseway: x\r\nZed: 1\r\nalpha:2\r\nZed:  3 \r\nnats-ttl: 5\r\n  folded\r\n\r\n";
        assert_eq!(rewritten(block, &PLAIN), want);
    }

    #[test]
    fn what_a_target_would_act_on_is_taken_out() {
        for name in [
            "Nats-Expected-Stream",
            "Nats-Expected-Last-Subject-Sequence-Subject",
            "Nats-Batch-Id",
            "Nats-Msg-Id",
            "Nats-TTL",
            "Nats-Rollup",
            "Nats-Incr",
            "Nats-Trace-Only",
            "Nats-Required-Api-Level",
            "Causeway",
        ] {
            let block = format!("NATS/1.0\r\nA: 1\r\n{name}: v\r\n more\r\nB: 2\r\n\r\n");
            let want = b"NATS/1.0\r\nCauseway: x\r\nA: 1\r\nB: 2\r\n\r\n";
            assert_eq!(rewritten(block.as_bytes(), &PLAIN), want, "{name}");
        }
    }

    #[test]
    fn sources_and_schedules_are_renamed() {
        let block = b"NATS/1.0\r\nNats-Stream-Source: S 1\r\nNats-Schedule: @at x\r\n\r\n";
        let want = b"NATS/1.0\r\nCauseway: x\r\nCauseway-Nats-Stream-Source: S 1\r\nCauseway-Nats-Schedule: @at x\r\n\r\n";
        assert_eq!(rewritten(block, &PLAIN), want);
    }

    #[test]
    fn malformed_blocks_follow_our_lines_verbatim() {
        for block in [
            &b"NATS/1.0\r\nno colon\r\n\xff\xfe: x\r\nbad name: y\r\n\r\n"[..],
            b"NATS/1.0\r\nA: 1",
            b"NATS/1.0\r\nA: 1\nB: 2\r\n\r\n",
        ] {
            let out = rewritten(block, &PLAIN);
            assert!(out.ends_with(&block[10..]), "{out:?}");
        }
        assert_eq!(rewritten(b"", &PLAIN), b"NATS/1.0\r\nCauseway: x\r\n\r\n");
        let status = rewritten(b"NATS/1.0 100 Idle\r\nA: 1\r\n\r\n", &PLAIN);
        assert_eq!(status, b"NATS/1.0\r\nCauseway: x\r\nA: 1\r\n\r\n");
    }

    #[test]
    fn a_time_to_live_goes_on_counting() {
        let traits = TargetTraits { ttl: true, ..PLAIN };
        let second = 1_000_000_000;
        let ttl = |value: &str, age: u64| {
            let block = format!("NATS/1.0\r\nNats-TTL: {value}\r\n\r\n");
            let ages = Ages {
                stored_at_ns: 5,
                now_ns: 5 + age * second,
            };
            let mut out = BytesMut::new();
            let verdict = rewrite(block.as_bytes(), 0, ages, &traits, b"", &mut out).unwrap();
            (verdict, String::from_utf8(out.to_vec()).unwrap())
        };
        assert!(ttl("60", 20).1.contains("Nats-TTL: 40\r\n"));
        assert!(ttl("1h30m", 3600).1.contains("Nats-TTL: 1800\r\n"));
        assert!(ttl("never", 3600).1.contains("Nats-TTL: never\r\n"));
        assert_eq!(ttl("60", 60), (HeaderVerdict::Expired, String::new()));
    }

    #[test]
    fn sizes_are_refused_with_their_numbers() {
        let mut out = BytesMut::new();
        let traits = TargetTraits {
            payload_len_max: 30,
            ..PLAIN
        };
        let got = rewrite(b"", 19, AGES, &traits, b"", &mut out);
        assert_eq!(got, Err(Rejection::TooLarge { len: 31, max: 30 }));
        assert!(out.is_empty());
    }

    proptest! {
        #[test]
        fn never_panics_and_our_lines_stand_first(
            block in proptest::collection::vec(any::<u8>(), 0..300)
        ) {
            let out = rewritten(&block, &PLAIN);
            let prefix: &[u8] = b"NATS/1.0\r\nCauseway: x\r\n";
            prop_assert!(out.starts_with(prefix));
        }
    }
}
