//! Pull requests under way, and deliveries as their reply subjects describe them.

use std::time::Duration;

use causeway_proto::id::{Position, SourceSeq, StoredAt};
use serde_json::{Value, json};

use crate::nats::Message;

/// Bytes that a pull is meant to bring. Two are under way; more gains little.
const BYTES: u64 = 512 * 1024;
/// Bytes that it may bring, if records are larger than those before: bounds memory.
const BYTES_MAX: u64 = 2 * BYTES;
/// Records that it may bring, however small they are.
const RECORDS_MAX: u64 = 5000;
/// Bytes of a record before one was seen.
const RECORD_LEN_FIRST: u64 = 1024;
/// The mean moves by such a part of the way to the next record.
const MEAN_PART: u64 = 64;
const EXPIRES: Duration = Duration::from_secs(30);

/// What the server owes us.
///
/// It serves its pulls in turn, a record each, and a delivery does not say whose it is. So what all of them together still
/// have to bring is counted, in records: that sum is known whoever is served. A pull ends by its records, which we count, or
/// by its time or its bytes, of which the server tells with what is left. It does not tell where the bytes are
/// used up to the last one, and the sum is then too high for ever; so pulls are made to end by their records, and
/// what is owed and does not come is asked for again ([`Pulls::forget`]).
#[derive(Debug)]
pub(super) struct Pulls {
    /// Records asked for, and neither delivered nor known not to come.
    owed: u64,
    /// Requests so far.
    number: u64,
    /// Moving average of a record's bytes as the server counts them, times [`MEAN_PART`].
    mean: u64,
    /// The next record is larger than any pull's bytes: it is asked for alone.
    oversize: bool,
    /// No pull may have been open, so that the record behind may have waited at the server.
    used_up: bool,
}

impl Default for Pulls {
    fn default() -> Self {
        Self {
            owed: 0,
            number: 0,
            mean: RECORD_LEN_FIRST * MEAN_PART,
            oversize: false,
            used_up: false,
        }
    }
}

impl Pulls {
    /// A record was delivered.
    pub(super) fn delivered(&mut self, message: &Message<'_>) {
        let parts = [
            message.subject,
            message.reply,
            message.headers,
            message.payload,
        ];
        let len: usize = parts.iter().map(|part| part.len()).sum();
        self.mean = self.mean - self.mean / MEAN_PART + len as u64;
        if self.owed > 0 {
            self.owed -= 1;
            self.used_up |= self.owed == 0;
        }
    }

    /// Whether there may have been no pull since this was last asked. One that ended by its time had nothing to
    /// deliver.
    pub(super) fn take_used_up(&mut self) -> bool {
        std::mem::take(&mut self.used_up)
    }

    /// The server has records and delivers none: whatever became of the pulls, others are needed.
    pub(super) fn forget(&mut self) {
        self.owed = 0;
        self.used_up = true;
    }

    /// The next request to send, if the server owes too little.
    pub(super) fn next_request(&mut self, heartbeat: Duration) -> Option<(u64, Value)> {
        let records = (BYTES * MEAN_PART / self.mean.max(1)).clamp(1, RECORDS_MAX);
        if self.owed > records {
            return None;
        }
        self.number += 1;
        let mut request = json!({
            "batch": records,
            "expires": EXPIRES.as_nanos() as u64,
            "idle_heartbeat": heartbeat.as_nanos() as u64,
        });
        if std::mem::take(&mut self.oversize) {
            request["batch"] = json!(1);
            self.owed += 1;
        } else {
            request["max_bytes"] = json!(BYTES_MAX);
            self.owed += records;
        }
        Some((self.number, request))
    }

    /// A word of the server about a pull. `false`: the consumer is of no more use.
    pub(super) fn handle_status(&mut self, message: &Message<'_>) -> bool {
        let Some((code, text)) = message.status() else {
            return true;
        };
        let left = |name: &str| message.header(name)?.parse::<u64>().ok();
        match code {
            100 => true,
            // The pull ended: by time, by its bytes, or because there are too many.
            404 | 408 | 409 if is_end_of_pull(code, text) => {
                // Asking for too much costs nothing, and for too little everything.
                let records = left("Nats-Pending-Messages").unwrap_or(self.owed);
                self.owed = self.owed.saturating_sub(records);
                self.used_up |= code == 409;
                let is_untouched = left("Nats-Pending-Bytes").is_some_and(|it| it >= BYTES_MAX);
                self.oversize |= text.contains("MaxBytes") && is_untouched;
                true
            }
            _ => false,
        }
    }
}

fn is_end_of_pull(code: u16, text: &str) -> bool {
    code != 409 || text.contains("MaxBytes") || text.contains("Batch Completed")
}

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
#[allow(clippy::unwrap_used, reason = "a test that cannot go on fails there")]
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

    /// The records of as many requests as may be sent now.
    fn ask(pulls: &mut Pulls) -> Vec<u64> {
        let requests = std::iter::from_fn(|| pulls.next_request(EXPIRES));
        requests
            .map(|(_, request)| request["batch"].as_u64().unwrap())
            .collect()
    }

    /// So many records of so many bytes are delivered.
    fn deliver(pulls: &mut Pulls, count: u64, len: usize) {
        let wire = format!("MSG a 1 r {}\r\n{}\r\n", len - 2, "x".repeat(len - 2));
        let block = crate::nats::Block::scanned(wire.as_bytes()).unwrap();
        (0..count).for_each(|_| pulls.delivered(&block.message(0)));
    }

    /// The server ends a pull that still had to bring this. `true`: the consumer is as good as before.
    fn end(pulls: &mut Pulls, status: &str, records: u64, bytes: u64) -> bool {
        let head = format!(
            "NATS/1.0 {status}\r\nNats-Pending-Messages: {records}\r\nNats-Pending-Bytes: {bytes}\r\n\r\n"
        );
        let len = head.len();
        let wire = format!("HMSG i.1 1 {len} {len}\r\n{head}\r\n");
        let block = crate::nats::Block::scanned(wire.as_bytes()).unwrap();
        pulls.handle_status(&block.message(0))
    }

    const TOO_LARGE: &str = "409 Message Size Exceeds MaxBytes";

    #[test]
    fn two_pulls_are_open_and_the_next_is_asked_for_when_one_of_them_is_through() {
        let mut pulls = Pulls::default();
        assert_eq!(ask(&mut pulls), [512, 512]);
        for _ in 0..100 {
            deliver(&mut pulls, 511, 1024);
            assert!(ask(&mut pulls).is_empty());
            deliver(&mut pulls, 1, 1024);
            assert!(!pulls.take_used_up(), "the other one is open");
            assert_eq!(ask(&mut pulls), [512]);
        }
        deliver(&mut pulls, 1024, 1024);
        assert!(pulls.take_used_up());
    }

    #[test]
    fn a_pull_asks_for_fewer_records_the_larger_they_are() {
        for (len, wanted) in [(100, 5000), (593, 884), (64 << 10, 8), (1 << 20, 1)] {
            let mut pulls = Pulls::default();
            for _ in 0..1000 {
                ask(&mut pulls);
                deliver(&mut pulls, 1, len);
            }
            deliver(&mut pulls, 10_000, len);
            let asked = ask(&mut pulls);
            assert!(
                asked.iter().all(|it| it.abs_diff(wanted) <= wanted / 50),
                "{len}: {asked:?}"
            );
            assert_eq!(asked.len(), 2);
        }
    }

    #[test]
    fn what_a_pull_that_ended_will_not_bring_is_asked_for_again_however_many_have_ended_so() {
        let mut pulls = Pulls::default();
        ask(&mut pulls);
        for _ in 0..10_000 {
            deliver(&mut pulls, 300, 1024);
            assert!(end(&mut pulls, TOO_LARGE, 212, 700));
            assert_eq!(ask(&mut pulls), [512]);
            assert!(end(&mut pulls, "408 Request Timeout", 512, 9));
            assert_eq!(ask(&mut pulls), [512]);
        }
    }

    #[test]
    fn a_record_larger_than_a_pull_is_asked_for_alone() {
        let mut pulls = Pulls::default();
        assert_eq!(ask(&mut pulls), [512, 512]);
        assert!(end(&mut pulls, TOO_LARGE, 512, BYTES_MAX));
        assert_eq!(ask(&mut pulls), [1]);
        assert!(
            end(&mut pulls, TOO_LARGE, 500, 1000),
            "one that was used is no sign"
        );
        assert!(!ask(&mut pulls).contains(&1));
    }

    #[test]
    fn what_is_owed_and_forgotten_is_asked_for_again() {
        let mut pulls = Pulls::default();
        ask(&mut pulls);
        pulls.forget();
        assert!(pulls.take_used_up());
        assert_eq!(ask(&mut pulls), [512, 512]);
    }

    #[test]
    fn a_consumer_that_is_gone_is_of_no_more_use() {
        for status in ["409 Consumer Deleted", "409 Leadership Change", "503"] {
            assert!(!end(&mut Pulls::default(), status, 0, 0), "{status}");
        }
        assert!(end(&mut Pulls::default(), "100 Idle Heartbeat", 0, 0));
    }
}
