//! A block: the messages of one subscription that came in one read, sharing the read's bytes.
//!
//! Channel and wake-up costs are paid a block, not a message. A block keeps its whole read buffer
//! alive, which is up to four times what it holds; one that holds less of it has bytes of its own. Copy out what you need and drop
//! it soon.

use bytes::{Bytes, BytesMut};

use super::parser::Entry;

/// Consecutive messages of one subscription, all of one connection.
#[derive(Debug, Clone)]
pub struct Block {
    bytes: Bytes,
    entries: Vec<Entry>,
    generation: u64,
    wire_bytes: usize,
}

impl Block {
    pub(crate) fn new(
        bytes: Bytes,
        entries: Vec<Entry>,
        generation: u64,
        wire_bytes: usize,
    ) -> Self {
        Self {
            bytes,
            entries,
            generation,
            wire_bytes,
        }
    }

    /// The same in bytes of its own where it holds little of the read: a subscription whose owner takes nothing for a while
    /// would keep the reads of all others alive.
    pub(crate) fn compact(mut self) -> Self {
        if self.wire_bytes * 4 >= self.bytes.len() {
            return self;
        }
        let mut own = BytesMut::with_capacity(self.wire_bytes);
        for entry in &mut self.entries {
            let start = own.len();
            own.extend_from_slice(&self.bytes[entry.span()]);
            *entry = entry.moved_to(start);
        }
        self.bytes = own.freeze();
        self
    }

    /// The messages of the first subscription in bytes of the wire.
    #[cfg(test)]
    pub(crate) fn scanned(bytes: &[u8]) -> Option<Self> {
        let run = super::parser::scan(bytes).ok()?.runs.into_iter().next()?;
        let bytes = Bytes::copy_from_slice(bytes);
        Some(Self::new(bytes, run.entries, 1, run.wire_bytes))
    }

    /// The connection that these messages came on.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// How many messages there are; never 0.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Always false: an empty block is never made.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Bytes that these messages took on the connection.
    pub fn wire_bytes(&self) -> usize {
        self.wire_bytes
    }

    /// The message at `index`.
    ///
    /// # Panics
    /// If `index` is not below [`Block::len`].
    pub fn message(&self, index: usize) -> Message<'_> {
        let entry = &self.entries[index];
        Message {
            subject: &self.bytes[entry.subject()],
            reply: &self.bytes[entry.reply()],
            headers: &self.bytes[entry.headers()],
            payload: &self.bytes[entry.payload()],
        }
    }

    /// The messages in the order they came.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Message<'_>> {
        (0..self.len()).map(|index| self.message(index))
    }
}

/// One message, borrowed from its block. Nothing in it is checked beyond its framing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message<'a> {
    /// Subject it was published to. For a JetStream record: the record's subject.
    pub subject: &'a [u8],
    /// Reply subject, empty if none. For a JetStream record: its `$JS.ACK` subject.
    pub reply: &'a [u8],
    /// The raw header block, from `NATS/1.0` to the closing empty line, or empty.
    pub headers: &'a [u8],
    /// Payload.
    pub payload: &'a [u8],
}

impl<'a> Message<'a> {
    /// Status code and text of a control message (100, 404, 408, 409, 503 ...), as in
    /// `NATS/1.0 409 Consumer Deleted`. None for every ordinary message.
    pub fn status(&self) -> Option<(u16, &'a str)> {
        let line = self.headers.strip_prefix(b"NATS/1.0 ")?;
        let line = &line[..memchr::memchr(b'\r', line)?];
        let text = std::str::from_utf8(line).ok()?;
        let (code, rest) = text.split_at_checked(3)?;
        Some((code.parse().ok()?, rest.trim()))
    }

    /// The value of the first header called exactly `name`. For the server's own control messages;
    /// headers of records are carried, not read.
    pub fn header(&self, name: &str) -> Option<&'a str> {
        let text = std::str::from_utf8(self.headers).ok()?;
        text.split("\r\n").skip(1).find_map(|line| {
            let (key, value) = line.split_once(':')?;
            (key == name).then(|| value.trim())
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on fails there")]
mod tests {
    use super::*;

    fn with_headers(headers: &[u8]) -> Message<'_> {
        Message {
            subject: b"s",
            reply: b"",
            headers,
            payload: b"",
        }
    }

    #[test]
    fn status_is_read_from_control_messages_only() {
        let status = |headers| with_headers(headers).status();
        assert_eq!(status(b"NATS/1.0 503\r\n\r\n"), Some((503, "")));
        assert_eq!(
            status(b"NATS/1.0 409 Consumer Deleted\r\nA: b\r\n\r\n"),
            Some((409, "Consumer Deleted"))
        );
        for none in [
            &b""[..],
            b"NATS/1.0\r\nA: b\r\n\r\n",
            b"NATS/1.0 4",
            b"NATS/1.0 \xff\xff\r\n",
        ] {
            assert_eq!(status(none), None);
        }
    }

    #[test]
    fn a_block_that_holds_little_of_a_read_does_not_keep_it() {
        let large = format!("MSG big 2 2000\r\n{}\r\n", "x".repeat(2000));
        let small = |subject: &str| {
            format!("HMSG {subject} 1 ack.{subject} 12 17\r\nNATS/1.0\r\n\r\n{subject}..\r\n")
        };
        let wire = [small("one"), large, small("two")].concat();
        let scan = super::super::parser::scan(wire.as_bytes()).unwrap();
        let bytes = Bytes::copy_from_slice(wire.as_bytes());
        for run in scan.runs {
            let is_small = run.sid == 1;
            let shared = Block::new(bytes.clone(), run.entries, 1, run.wire_bytes);
            let compact = shared.clone().compact();
            assert!(shared.iter().eq(compact.iter()));
            assert_eq!(compact.bytes.len() < 200, is_small);
            assert_eq!(compact.wire_bytes(), shared.wire_bytes());
        }
    }

    #[test]
    fn a_header_is_found_by_its_name() {
        let message = with_headers(b"NATS/1.0 100 Idle Heartbeat\r\nNats-Last-Stream: 77\r\n\r\n");
        assert_eq!(message.header("Nats-Last-Stream"), Some("77"));
        assert_eq!(message.header("Nats-Last"), None);
    }
}
