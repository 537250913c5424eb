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
//! application that copied the header onto a message of its own.

use bytes::{BufMut, BytesMut};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use crate::id::{Position, SourceSeq, StoredAt};

/// The header's name.
pub const HEADER: &[u8] = b"Causeway";
/// Longest value that is read, in bytes.
pub const VALUE_LEN_MAX: usize = 1024;
/// Regions that a record may pass. Longer ways are refused by the fleet's rules before.
pub const HOPS_MAX: usize = 16;
/// Longest publisher's id that is carried, escaped; a longer one is dropped.
const PUBLISHER_ID_LEN_MAX: usize = 512;
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
    /// The publisher's own `Nats-Msg-Id`, still escaped.
    pub publisher_id: Option<&'a [u8]>,
}

/// The header is not one of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a provenance header of a known version")]
pub struct InvalidProvenance;

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
        let (mut last_hop, mut route, mut hops, mut hash, mut publisher_id) =
            (origin, None, None, None, None);
        for part in parts {
            match part.split_at_checked(2).ok_or(InvalidProvenance)? {
                (b"r=", text) => route = Some(text),
                (b"h=", text) => hops = Some(text),
                (b"x=", text) => hash = Some(parse_hash(text)?),
                (b"l=", text) => last_hop = parse_name(text)?,
                (b"i=", text) => publisher_id = Some(text),
                _ => return Err(InvalidProvenance),
            }
        }
        let hops = hops.ok_or(InvalidProvenance)?;
        if hops.split(|byte| *byte == b',').count() > HOPS_MAX {
            return Err(InvalidProvenance);
        }
        let route = route.ok_or(InvalidProvenance)?;
        let hash = hash.ok_or(InvalidProvenance)?;
        Ok(Self {
            origin,
            last_hop,
            route,
            hops,
            hash,
            publisher_id,
        })
    }

    /// Whether the record has been in `region`.
    pub fn has_passed(&self, region: &[u8]) -> bool {
        self.hops
            .split(|byte| *byte == b',')
            .any(|hop| hop == region)
    }
}

/// What a route stamps on its records; the parts that do not change are made once.
#[derive(Debug, Clone)]
pub struct Stamper {
    region_stream: Vec<u8>,
    route: Vec<u8>,
    region: Vec<u8>,
}

impl Stamper {
    /// For a route that reads `stream` of `region`.
    pub fn new(region: &str, stream: &str, route: &str) -> Self {
        Self {
            region_stream: format!("{region}/{stream}/").into_bytes(),
            route: format!(" r={route} h=").into_bytes(),
            region: region.as_bytes().to_vec(),
        }
    }

    /// Appends the header's value for a record read at `at`. `before` is the provenance that the
    /// source vouches for, `publisher_id` the record's own `Nats-Msg-Id`.
    pub fn write(
        &self,
        at: Position,
        hash: u64,
        before: Option<&Provenance<'_>>,
        publisher_id: Option<&[u8]>,
        out: &mut BytesMut,
    ) {
        out.put_slice(VERSION);
        out.put_u8(b' ');
        match before {
            Some(before) => put_name(&before.origin, out),
            None => self.put_own_name(at, out),
        }
        out.put_slice(&self.route);
        if let Some(before) = before {
            out.put_slice(before.hops);
            out.put_u8(b',');
        }
        out.put_slice(&self.region);
        out.put_slice(b" x=");
        put_hex(hash, out);
        if before.is_some() {
            out.put_slice(b" l=");
            self.put_own_name(at, out);
        }
        match (before.and_then(|before| before.publisher_id), publisher_id) {
            (Some(escaped), _) => {
                out.put_slice(b" i=");
                out.put_slice(escaped);
            }
            (None, Some(id)) if id.len() <= PUBLISHER_ID_LEN_MAX / 3 => {
                out.put_slice(b" i=");
                put_escaped(id, out);
            }
            _ => {}
        }
    }

    /// Appends the dedupe id of a record: its name, readable by a person.
    pub fn write_dedupe_id(
        &self,
        at: Position,
        before: Option<&Provenance<'_>>,
        out: &mut BytesMut,
    ) {
        match before {
            Some(before) => put_name(&before.origin, out),
            None => self.put_own_name(at, out),
        }
    }

    fn put_own_name(&self, at: Position, out: &mut BytesMut) {
        out.put_slice(&self.region_stream);
        put_position(at, out);
    }
}

/// Hash of what identifies a record's content, the same on all platforms and versions.
pub fn content_hash(subject: &[u8], payload: &[u8]) -> u64 {
    xxh3_64_with_seed(payload, xxh3_64(subject))
}

/// The value of the first `Causeway` header of a block.
pub fn find(block: &[u8]) -> Option<&[u8]> {
    value_of(block, HEADER)
}

/// The value of the first header of that exact name, spaces around it removed: as a server reads it.
pub fn value_of<'a>(block: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let mut rest = block;
    while let Some(end) = line_end(rest) {
        rest = &rest[end..];
        if let Some(value) = rest.strip_prefix(name)
            && let Some(value) = value.strip_prefix(b":")
        {
            let end = line_end(value).map_or(value.len(), |end| end - 2);
            return Some(value[..end].trim_ascii());
        }
    }
    None
}

/// Length of the first line with its CRLF.
pub(crate) fn line_end(bytes: &[u8]) -> Option<usize> {
    let mut from = 0;
    loop {
        let at = from + bytes[from..].iter().position(|byte| *byte == b'\n')?;
        if at > 0 && bytes[at - 1] == b'\r' {
            return Some(at + 1);
        }
        from = at + 1;
    }
}

fn parse_name(text: &[u8]) -> Result<Name<'_>, InvalidProvenance> {
    let mut parts = text.split(|byte| *byte == b'/');
    let mut next = || {
        parts
            .next()
            .filter(|part| !part.is_empty())
            .ok_or(InvalidProvenance)
    };
    let (region, stream, seq, time) = (next()?, next()?, next()?, next()?);
    if parts.next().is_some() {
        return Err(InvalidProvenance);
    }
    let seq = SourceSeq(parse_number(seq, 10)?);
    let stored_at = StoredAt(parse_number(time, 36)?);
    Ok(Name {
        region,
        stream,
        at: Position { seq, stored_at },
    })
}

fn parse_number(text: &[u8], radix: u32) -> Result<u64, InvalidProvenance> {
    let text = std::str::from_utf8(text).map_err(|_| InvalidProvenance)?;
    if text.starts_with('+') {
        return Err(InvalidProvenance);
    }
    u64::from_str_radix(text, radix).map_err(|_| InvalidProvenance)
}

fn parse_hash(text: &[u8]) -> Result<u64, InvalidProvenance> {
    if text.len() != 16 {
        return Err(InvalidProvenance);
    }
    parse_number(text, 16)
}

fn put_name(name: &Name<'_>, out: &mut BytesMut) {
    out.put_slice(name.region);
    out.put_u8(b'/');
    out.put_slice(name.stream);
    out.put_u8(b'/');
    put_position(name.at, out);
}

fn put_position(at: Position, out: &mut BytesMut) {
    put_number(at.seq.0, 10, out);
    out.put_u8(b'/');
    put_number(at.stored_at.0, 36, out);
}

fn put_number(mut number: u64, radix: u64, out: &mut BytesMut) {
    let mut digits = [0; 20];
    let mut start = digits.len();
    loop {
        start -= 1;
        digits[start] = b"0123456789abcdefghijklmnopqrstuvwxyz"[(number % radix) as usize];
        number /= radix;
        if number == 0 {
            break;
        }
    }
    out.put_slice(&digits[start..]);
}

fn put_hex(number: u64, out: &mut BytesMut) {
    let mut digits = [0; 16];
    for (place, digit) in digits.iter_mut().enumerate() {
        *digit = b"0123456789abcdef"[(number >> (60 - 4 * place) & 15) as usize];
    }
    out.put_slice(&digits);
}

fn put_escaped(id: &[u8], out: &mut BytesMut) {
    for byte in id {
        if byte.is_ascii_graphic() && *byte != b'%' {
            out.put_u8(*byte);
        } else {
            out.put_u8(b'%');
            out.put_u8(b"0123456789abcdef"[usize::from(byte >> 4)]);
            out.put_u8(b"0123456789abcdef"[usize::from(byte & 15)]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(seq: u64, time: u64) -> Position {
        Position {
            seq: SourceSeq(seq),
            stored_at: StoredAt(time),
        }
    }

    fn write(before: Option<&Provenance<'_>>, id: Option<&[u8]>) -> BytesMut {
        let mut out = BytesMut::new();
        Stamper::new("us", "ORDERS", "orders").write(at(7, 36), 0xabc, before, id, &mut out);
        out
    }

    #[test]
    fn a_first_hop_is_short() {
        let value = write(None, None);
        assert_eq!(
            &value[..],
            b"1 us/ORDERS/7/10 r=orders h=us x=0000000000000abc"
        );
        let read = Provenance::parse(&value).unwrap();
        assert_eq!(read.origin, read.last_hop);
        assert!(read.has_passed(b"us") && !read.has_passed(b"u"));
    }

    #[test]
    fn a_relay_keeps_the_origin_and_adds_its_hop() {
        let first = write(None, Some(b"a b%"));
        let first = Provenance::parse(&first).unwrap();
        let mut out = BytesMut::new();
        let relay = Stamper::new("eu", "HUB", "onward");
        relay.write(at(9, 1), 1, Some(&first), Some(b"ours"), &mut out);
        let read = Provenance::parse(&out).unwrap();
        assert_eq!(read.origin, first.origin);
        assert_eq!(read.last_hop.region, b"eu");
        assert_eq!(
            (read.hops, read.publisher_id),
            (&b"us,eu"[..], Some(&b"a%20b%25"[..]))
        );
        let mut id = BytesMut::new();
        relay.write_dedupe_id(at(9, 1), Some(&first), &mut id);
        assert_eq!(&id[..], b"us/ORDERS/7/10");
    }

    #[test]
    fn headers_are_found_as_a_server_finds_them() {
        let block = b"NATS/1.0\r\ncauseway: no\r\nX-Causeway: no\r\nCauseway:  yes \r\n\r\n";
        assert_eq!(find(block), Some(&b"yes"[..]));
        assert_eq!(find(b"NATS/1.0\r\nCauseway : no\r\n\r\n"), None);
        assert_eq!(find(b""), None);
    }

    proptest! {
        #[test]
        fn parsing_never_panics(value in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Provenance::parse(&value);
            let _ = find(&value);
        }

        #[test]
        fn what_is_written_is_read(seq: u64, time: u64, hash: u64, id in ".{0,40}") {
            let mut out = BytesMut::new();
            Stamper::new("a", "S", "r").write(at(seq, time), hash, None, Some(id.as_bytes()), &mut out);
            let read = Provenance::parse(&out).unwrap();
            prop_assert_eq!((read.origin.at, read.hash), (at(seq, time), hash));
        }
    }
}
