//! Provenance: the one header that tells where a record comes from and which way it came.
//!
//! ```text
//! Causeway: 1 us/ORDERS/1234/c1x9vtn1aa0w r=orders h=us x=0123456789abcdef l=eu/HUB/77/c1x9… i=abc
//!           | |  |      |    |            |        |    |                  |               publisher's Nats-Msg-Id
//!           | |  |      |    |            |        |    |                  last hop, where it is not the origin
//!           | |  |      |    |            |        |    hash of subject and payload
//!           | |  |      |    |            |        regions passed, in order
//!           | |  |      |    |            route that wrote the record
//!           | |  |      |    store time in ns, base 36
//!           | origin: region, stream, sequence
//!           version
//! ```
//!
//! The last hop's name rebuilds a lost checkpoint from the target stream itself; the hash exposes an
//! application that copied the header onto a message of its own. About 70 bytes after one hop: client
//! publishes count headers towards `max_payload`.
//!
//! A reader passes over fields that it does not know, so a release may add one. The version changes
//! only when a field's meaning does, and then the release before the first writer already reads it:
//! what cannot be read is taken for a forgery, and a forgery has no hops.

mod stamp;
#[cfg(test)]
mod tests;
mod text;

use std::sync::LazyLock;

use memchr::memmem::Finder;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

pub use self::stamp::Stamper;
pub(crate) use self::text::put_number;
use self::text::{parse_hash, parse_number};
use crate::headers::value_in;
use crate::id::{NAME_LEN_MAX, Position, STREAM_NAME_LEN_MAX, SourceSeq, StoredAt};

/// The header's name.
pub const HEADER: &[u8] = b"Causeway";
/// Regions that a record may pass; one that has passed so many goes nowhere further.
pub const HOPS_MAX: usize = 16;
/// Longest publisher's id that is carried, in bytes once escaped; a longer one is left behind.
pub const PUBLISHER_ID_LEN_MAX: usize = 512;
/// Longest value that is read, in bytes. Two kilobytes more than any sane one, because the names that
/// a fleet file may hold must all fit: what a writer may write, a reader must read.
pub const VALUE_LEN_MAX: usize = 2_560;

/// Region, stream, sequence and store time, with their slashes.
const ORIGIN_LEN_MAX: usize = NAME_LEN_MAX + STREAM_NAME_LEN_MAX + 20 + 13 + 3;
const _: () = assert!(
    2 + ORIGIN_LEN_MAX
        + (3 + NAME_LEN_MAX)
        + (3 + HOPS_MAX * (NAME_LEN_MAX + 1))
        + (3 + 16)
        + (3 + ORIGIN_LEN_MAX)
        + (3 + PUBLISHER_ID_LEN_MAX)
        <= VALUE_LEN_MAX,
    "the longest value that is written must be read"
);

const VERSION: &[u8] = b"1";

/// A place in a stream of a region, as text borrowed from a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Name<'a> {
    /// The region.
    pub region: &'a [u8],
    /// The stream.
    pub stream: &'a [u8],
    /// Sequence and store time there.
    pub at: Position,
}

/// A parsed header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Provenance<'a> {
    /// Where the record was first stored.
    pub origin: Name<'a>,
    /// Where the last bridge read it.
    pub last_hop: Name<'a>,
    /// The route that wrote it.
    pub route: &'a [u8],
    /// Regions passed, comma separated, the origin first.
    pub hops: &'a [u8],
    /// [`content_hash`] of what was written.
    pub hash: u64,
    /// The publisher's own `Nats-Msg-Id`, still escaped: what is no visible ASCII, and `%` itself,
    /// stand as `%` and two hexadecimal digits.
    pub publisher_id: Option<&'a [u8]>,
}

/// The header is not one of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a provenance header of a known version")]
pub struct InvalidProvenance;

/// What a record's provenance header is worth to the bridge that reads the record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin<'a> {
    /// It has none: the record was first stored here.
    Local,
    /// A route brought it.
    Relayed(Provenance<'a>),
    /// No route wrote that header on this record: an application copied it, or it is not ours. It is
    /// left out and counted, and the record is taken for a local one.
    Forged,
}

impl<'a> Provenance<'a> {
    /// Reads a header's value.
    pub fn parse(value: &'a [u8]) -> Result<Self, InvalidProvenance> {
        if value.len() > VALUE_LEN_MAX {
            return Err(InvalidProvenance);
        }
        let mut parts = value.split(|byte| *byte == b' ');
        if parts.next() != Some(VERSION) {
            return Err(InvalidProvenance);
        }
        let origin = parse_name(parts.next().ok_or(InvalidProvenance)?)?;
        let (mut route, mut hops, mut hash) = (None, None, None);
        let (mut last_hop, mut publisher_id) = (None, None);
        for part in parts {
            let again = match part.split_at_checked(2).ok_or(InvalidProvenance)? {
                (b"r=", text) => route.replace(checked(text, NAME_LEN_MAX)?).is_some(),
                (b"h=", text) => hops.replace(parse_hops(text)?).is_some(),
                (b"x=", text) => hash.replace(parse_hash(text)?).is_some(),
                (b"l=", text) => last_hop.replace(parse_name(text)?).is_some(),
                (b"i=", text) => publisher_id.replace(text).is_some(),
                ([b'a'..=b'z', b'='], _) => false, // of a later release
                _ => true,
            };
            if again {
                return Err(InvalidProvenance);
            }
        }
        if publisher_id.is_some_and(|id| id.len() > PUBLISHER_ID_LEN_MAX) {
            return Err(InvalidProvenance);
        }
        Ok(Self {
            origin,
            last_hop: last_hop.unwrap_or(origin),
            route: route.ok_or(InvalidProvenance)?,
            hops: hops.ok_or(InvalidProvenance)?,
            hash: hash.ok_or(InvalidProvenance)?,
            publisher_id,
        })
    }

    /// Whether the record has been in `region`.
    pub fn has_passed(&self, region: &[u8]) -> bool {
        self.hops().any(|hop| hop == region)
    }

    /// Whether the record must not go to `region`: it has been there, or has passed so many regions
    /// that its way can no longer be told.
    pub fn would_return(&self, region: &[u8]) -> bool {
        self.has_passed(region) || self.hops().count() >= HOPS_MAX
    }

    fn hops(&self) -> impl Iterator<Item = &'a [u8]> {
        self.hops.split(|byte| *byte == b',')
    }
}

/// Judges a record's header. `wrote` says whether a route into the stream where the record was read
/// is the one that the header names, from the region and stream that it names as the last hop; on a
/// stream that no route writes it is always false.
///
/// The hash cannot tell an application's exact copy of a record, subject, payload and header, from
/// the record itself: such a copy bears the same name, and a target takes it once.
pub fn classify<'a>(
    block: &'a [u8],
    subject: &[u8],
    payload: &[u8],
    wrote: impl FnOnce(&Provenance<'a>) -> bool,
) -> Origin<'a> {
    let Some(value) = find(block) else {
        return Origin::Local;
    };
    match Provenance::parse(value) {
        Ok(provenance)
            if wrote(&provenance) && provenance.hash == content_hash(subject, payload) =>
        {
            Origin::Relayed(provenance)
        }
        _ => Origin::Forged,
    }
}

/// Hash of what identifies a record's content, the same on all platforms and versions.
pub fn content_hash(subject: &[u8], payload: &[u8]) -> u64 {
    xxh3_64_with_seed(payload, xxh3_64(subject))
}

/// The value of the first `Causeway` header of a block.
pub fn find(block: &[u8]) -> Option<&[u8]> {
    static NEEDLE: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\r\nCauseway:"));
    let at = NEEDLE.find(block)?;
    value_in(&block[at + 2..], HEADER)
}

fn parse_name(text: &[u8]) -> Result<Name<'_>, InvalidProvenance> {
    let mut parts = text.split(|byte| *byte == b'/');
    let mut next = || parts.next().ok_or(InvalidProvenance);
    let name = Name {
        region: checked(next()?, NAME_LEN_MAX)?,
        stream: checked(next()?, STREAM_NAME_LEN_MAX)?,
        at: Position {
            seq: SourceSeq(parse_number(next()?, 10)?),
            stored_at: StoredAt(parse_number(next()?, 36)?),
        },
    };
    match parts.next() {
        None => Ok(name),
        Some(_) => Err(InvalidProvenance),
    }
}

fn parse_hops(text: &[u8]) -> Result<&[u8], InvalidProvenance> {
    let mut count = 0;
    for hop in text.split(|byte| *byte == b',') {
        checked(hop, NAME_LEN_MAX)?;
        count += 1;
    }
    if count > HOPS_MAX {
        return Err(InvalidProvenance);
    }
    Ok(text)
}

/// A name as the fleet file allows it (`id`), without taking memory for it.
fn checked(name: &[u8], len_max: usize) -> Result<&[u8], InvalidProvenance> {
    let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if name.is_empty() || name.len() > len_max || !name.iter().all(allowed) {
        return Err(InvalidProvenance);
    }
    Ok(name)
}
