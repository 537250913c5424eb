//! Writing provenance: what a route puts on the records that it brings.

use bytes::{BufMut, BytesMut};

use super::text::{put_escaped, put_hex, put_number};
use super::{HOPS_MAX, Name, PUBLISHER_ID_LEN_MAX, Provenance, VERSION};
use crate::id::Position;

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
    /// source vouches for, `publisher_id` the `Nats-Msg-Id` that the record was read with; on a
    /// relayed record that one is a route's own, and the publisher's stands in `before`.
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
        self.write_dedupe_id(at, before, out);
        out.put_slice(&self.route);
        match before {
            None => out.put_slice(&self.region),
            // A full way stays as it is: the record goes nowhere further (`would_return`).
            Some(before) if before.hops().count() >= HOPS_MAX => out.put_slice(before.hops),
            Some(before) => {
                out.put_slice(before.hops);
                out.put_u8(b',');
                out.put_slice(&self.region);
            }
        }
        out.put_slice(b" x=");
        put_hex(hash, out);
        match before {
            Some(before) => {
                out.put_slice(b" l=");
                self.put_own_name(at, out);
                if let Some(escaped) = before.publisher_id {
                    out.put_slice(b" i=");
                    out.put_slice(escaped);
                }
            }
            None => put_publisher_id(publisher_id, out),
        }
    }

    /// Appends the dedupe id of a record: its name, as it stands in the header too.
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

fn put_publisher_id(id: Option<&[u8]>, out: &mut BytesMut) {
    let Some(id) = id.filter(|id| !id.is_empty()) else {
        return;
    };
    let before = out.len();
    out.put_slice(b" i=");
    // Escaping trebles a byte at most, so what cannot fit is not even begun.
    if id.len() > PUBLISHER_ID_LEN_MAX || put_escaped(id, out) > PUBLISHER_ID_LEN_MAX {
        out.truncate(before);
    }
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
