//! Pull requests under way, and deliveries as their reply subjects describe them.

use std::time::Duration;

use causeway_proto::id::SourceSeq;
use serde_json::{Value, json};

use crate::nats::Message;

/// Records asked for at once. More gains little; byte limits bound memory.
const BATCH: u64 = 5000;
/// Bytes asked for at once. Two of these may be under way for a route.
const BYTES: u64 = 512 * 1024;
const EXPIRES: Duration = Duration::from_secs(30);

/// What the server still owes, over all pulls.
#[derive(Debug, Default)]
pub(super) struct Pulls {
    records: u64,
    bytes: u64,
    number: u64,
    /// The next record is larger than any pull's bytes: it is asked for alone.
    oversize: bool,
}

impl Pulls {
    /// A record of about this size was delivered.
    pub(super) fn delivered(&mut self, size: usize) {
        self.records = self.records.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(size as u64);
    }

    /// The next request to send, if the server owes too little.
    pub(super) fn next_request(&mut self, heartbeat: Duration) -> Option<(u64, Value)> {
        if self.records > BATCH / 2 && self.bytes > BYTES / 2 {
            return None;
        }
        if self.records >= BATCH * 2 || self.bytes >= BYTES * 2 {
            return None;
        }
        self.number += 1;
        let mut request = json!({
            "batch": BATCH,
            "expires": EXPIRES.as_nanos() as u64,
            "idle_heartbeat": heartbeat.as_nanos() as u64,
        });
        if std::mem::take(&mut self.oversize) {
            request["batch"] = json!(1);
            self.records += 1;
            self.bytes += BYTES;
        } else {
            request["max_bytes"] = json!(BYTES);
            self.records += BATCH;
            self.bytes += BYTES;
        }
        Some((self.number, request))
    }

    /// A word of the server about a pull. `false`: the consumer is of no more use.
    pub(super) fn handle_status(&mut self, message: &Message<'_>) -> bool {
        let Some((code, text)) = message.status() else {
            return true;
        };
        let left = |name: &str| {
            message
                .header(name)
                .and_then(|value| value.parse::<u64>().ok())
                .unwrap_or(0)
        };
        match code {
            100 => true,
            // The pull ended: by time, by its bytes, or because there are too many.
            404 | 408 | 409 if is_end_of_pull(code, text) => {
                self.records = self.records.saturating_sub(left("Nats-Pending-Messages"));
                self.bytes = self.bytes.saturating_sub(left("Nats-Pending-Bytes").max(1));
                if text.contains("MaxBytes") && left("Nats-Pending-Bytes") >= BYTES {
                    self.oversize = true;
                }
                if self.records == 0 {
                    self.bytes = 0;
                }
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

    #[test]
    fn two_pulls_overlap_and_no_more() {
        let mut pulls = Pulls::default();
        assert!(pulls.next_request(EXPIRES).is_some());
        assert!(pulls.next_request(EXPIRES).is_none());
        for _ in 0..600 {
            pulls.delivered(600);
        }
        assert!(pulls.next_request(EXPIRES).is_some());
        assert!(pulls.next_request(EXPIRES).is_none());
    }
}
