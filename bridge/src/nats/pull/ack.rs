//! The `$JS.ACK` reply subject of a delivered record, which carries its place and time.
//!
//! v1: `$JS.ACK.<stream>.<consumer>.<deliveries>.<seq>.<delivery>.<stored_at>.<pending>`
//! v2: `$JS.ACK.<domain>.<account>.<stream>.<consumer>.<the five numbers>[.<random>]`
//!
//! Servers up to 2.15.1 send v1 unless a flag asks for v2; we read both.

/// What stands in an ack subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ack {
    /// Sequence in the stream.
    pub(crate) seq: u64,
    /// Sequence of the delivery: rises by exactly one where nothing was lost.
    pub(crate) delivery: u64,
    /// Store time, nanoseconds since 1970.
    pub(crate) stored_at: u64,
    /// Records that match the filters and were not delivered yet.
    pub(crate) pending: u64,
}

const PREFIX: &[u8] = b"$JS.ACK.";

/// Whether a message's reply makes it a record.
pub(crate) fn is_ack(reply: &[u8]) -> bool {
    reply.starts_with(PREFIX)
}

/// Where the consumer's name and the numbers behind it stand in `reply`.
struct Layout<'a> {
    consumer: &'a [u8],
    numbers_at: usize,
}

fn layout(reply: &[u8]) -> Option<Layout<'_>> {
    let dots = memchr::memchr_iter(b'.', reply).collect::<Vec<_>>();
    // v1 has 9 tokens and so 8 dots; v2 has 11 or 12 tokens.
    let consumer_token = match dots.len() {
        8 => 3,
        10 | 11 => 5,
        _ => return None,
    };
    let (before, behind) = (dots[consumer_token - 1], dots[consumer_token]);
    Some(Layout {
        consumer: &reply[before + 1..behind],
        numbers_at: behind + 1,
    })
}

fn numbers(text: &[u8]) -> Option<Ack> {
    let mut parts = text.splitn(6, |byte| *byte == b'.');
    let mut next = || number(parts.next()?);
    let _deliveries = next()?;
    Some(Ack {
        seq: next()?,
        delivery: next()?,
        stored_at: next()?,
        pending: next()?,
    })
}

fn number(text: &[u8]) -> Option<u64> {
    if text.is_empty() || text.len() > 20 {
        return None;
    }
    text.iter().try_fold(0_u64, |value, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        value.checked_mul(10)?.checked_add(digit)
    })
}

/// Reads the acks of one consumer. The text in front of the numbers is learnt from the first ack,
/// so that every later one costs a comparison and five numbers.
#[derive(Debug)]
pub(crate) struct AckReader {
    consumer: String,
    learnt: Vec<u8>,
}

impl AckReader {
    pub(crate) fn new(consumer: String) -> Self {
        Self {
            consumer,
            learnt: Vec::new(),
        }
    }

    /// None for an ack of another consumer, or one that is malformed.
    pub(crate) fn read(&mut self, reply: &[u8]) -> Option<Ack> {
        if !self.learnt.is_empty()
            && let Some(rest) = reply.strip_prefix(self.learnt.as_slice())
        {
            return numbers(rest);
        }
        let layout = layout(reply).filter(|it| it.consumer == self.consumer.as_bytes())?;
        let ack = numbers(&reply[layout.numbers_at..])?;
        self.learnt = reply[..layout.numbers_at].to_vec();
        Some(ack)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_are_read() {
        let ack = Ack {
            seq: 40,
            delivery: 7,
            stored_at: 1_700_000_000_000_000_001,
            pending: 3,
        };
        let v1 = "$JS.ACK.EVENTS.c1.1.40.7.1700000000000000001.3";
        let v2 = "$JS.ACK._.hash.EVENTS.c1.1.40.7.1700000000000000001.3";
        for text in [v1, v2, &format!("{v2}.random")] {
            let mut reader = AckReader::new("c1".to_owned());
            assert_eq!(reader.read(text.as_bytes()), Some(ack), "{text}");
            assert_eq!(
                reader.read(text.as_bytes()),
                Some(ack),
                "again, by the learnt prefix"
            );
        }
    }

    #[test]
    fn another_consumer_and_nonsense_are_none() {
        let mut reader = AckReader::new("c1".to_owned());
        for text in [
            "$JS.ACK.EVENTS.c2.1.40.7.17.3",
            "$JS.ACK.EVENTS.c1.1.40.7.17",
            "$JS.ACK.EVENTS.c1.1.x.7.17.3",
            "$JS.ACK.EVENTS.c1.1.99999999999999999999.7.17.3",
            "$JS.ACK.EVENTS.c1.1..7.17.3",
            "",
        ] {
            assert_eq!(reader.read(text.as_bytes()), None, "{text}");
        }
        assert!(reader.read(b"$JS.ACK.EVENTS.c1.1.40.7.17.3").is_some());
        assert_eq!(reader.read(b"$JS.ACK.EVENTS.c1.1.40"), None);
        assert_eq!(reader.read(b"$JS.ACK.EVENTS.c11.1.40.7.17.3"), None);
    }
}
