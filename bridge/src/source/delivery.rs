//! Deliveries, as their reply subjects describe them.

use causeway_proto::id::{Position, SourceSeq, StoredAt};

/// A delivery, out of its `$JS.ACK` reply subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Delivery {
    pub(super) seq: SourceSeq,
    /// Counts this consumer's deliveries from 1.
    pub(super) number: u64,
    pub(super) stored_at_ns: u64,
    /// Records of the consumer behind this one.
    pub(super) behind: u64,
}

impl Delivery {
    /// What names the record.
    pub(super) fn position(&self) -> Position {
        Position {
            seq: self.seq,
            stored_at: StoredAt(self.stored_at_ns),
        }
    }

    /// Reads `$JS.ACK.<stream>.<consumer>.<tries>.<seq>.<number>.<time>.<pending>`, and the newer
    /// form with domain and account before the stream and a token behind. `None` for any other
    /// subject, and for a consumer of before.
    pub(super) fn parse(reply: &[u8], consumer: &[u8]) -> Option<Self> {
        let rest = reply.strip_prefix(b"$JS.ACK.")?;
        let mut tokens = [&b""[..]; 11];
        let mut count = 0;
        for token in rest.split(|byte| *byte == b'.') {
            *tokens.get_mut(count)? = token;
            count += 1;
        }
        let stream = match count {
            7 => 0,
            9 | 10 => 2,
            _ => return None,
        };
        if tokens[stream + 1] != consumer {
            return None;
        }
        let number = |index: usize| {
            std::str::from_utf8(tokens[stream + index])
                .ok()?
                .parse::<u64>()
                .ok()
        };
        Some(Self {
            seq: SourceSeq(number(3)?),
            number: number(4)?,
            stored_at_ns: number(5)?,
            behind: number(6)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_the_reply_are_read() {
        let want = Delivery {
            seq: SourceSeq(7),
            number: 3,
            stored_at_ns: 99,
            behind: 5,
        };
        let v1 = b"$JS.ACK.S.c1.1.7.3.99.5";
        let v2 = b"$JS.ACK._.ACC.S.c1.1.7.3.99.5.tok";
        assert_eq!(Delivery::parse(v1, b"c1"), Some(want));
        assert_eq!(Delivery::parse(v2, b"c1"), Some(want));
        assert_eq!(Delivery::parse(v1, b"c0"), None);
        assert_eq!(Delivery::parse(b"orders.new", b"c1"), None);
    }
}
