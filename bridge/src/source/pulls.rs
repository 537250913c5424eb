//! Pull requests under way, and deliveries as their reply subjects describe them.

use std::collections::VecDeque;
use std::time::Duration;

use causeway_proto::id::{Position, SourceSeq, StoredAt};
use serde_json::{Value, json};

use crate::nats::Message;

/// Records asked for at once. More gains little; byte limits bound memory.
const BATCH: u64 = 5000;
/// Pulls under way for a route: while one is answered, the next waits at the server.
const OPEN_MAX: usize = 2;
/// Bytes asked for at once.
const BYTES: u64 = 512 * 1024;
const EXPIRES: Duration = Duration::from_secs(30);

/// Pulls that the server has not answered to their ends.
///
/// Records are counted and bytes are not: what the server counts as a record's bytes is not quite what we see of it, and
/// a difference of a byte or two a record, summed up over many pulls, looks like a megabyte still to come, for ever.
/// The server says when a pull ends by its bytes or its time; one whose bytes are used up exactly ends without a word.
#[derive(Debug, Default)]
pub(super) struct Pulls {
    /// Number and records still to come of each, the oldest first.
    open: VecDeque<(u64, u64)>,
    number: u64,
    /// The next record is larger than any pull's bytes: it is asked for alone.
    oversize: bool,
    /// A pull was used up, so that the record behind may have waited at the server.
    used_up: bool,
}

impl Pulls {
    /// A record was delivered, to the oldest pull.
    pub(super) fn delivered(&mut self) {
        let Some((_, left)) = self.open.front_mut() else {
            return; // of a pull that was given up
        };
        *left -= 1;
        if *left == 0 {
            self.used_up = true;
            self.open.pop_front();
        }
    }

    /// Whether a pull was used up since this was last asked. One that ended by its time had nothing to
    /// deliver.
    pub(super) fn take_used_up(&mut self) -> bool {
        std::mem::take(&mut self.used_up)
    }

    /// The next request to send, if the server has too few.
    pub(super) fn next_request(&mut self, heartbeat: Duration) -> Option<(u64, Value)> {
        if self.open.len() >= OPEN_MAX {
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
            self.open.push_back((self.number, 1));
        } else {
            request["max_bytes"] = json!(BYTES);
            self.open.push_back((self.number, BATCH));
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
                let number = message.subject.rsplit(|byte| *byte == b'.').next();
                let number = number.and_then(|text| std::str::from_utf8(text).ok()?.parse().ok());
                if let Some(number) = number {
                    self.ended(number);
                }
                self.used_up |= code == 409;
                if text.contains("MaxBytes") && left("Nats-Pending-Bytes") >= BYTES {
                    self.oversize = true;
                }
                true
            }
            _ => false,
        }
    }

    /// A pull has ended, and with it those before it: the server answers them in turn.
    fn ended(&mut self, number: u64) {
        self.open.retain(|(open, _)| *open > number);
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

    /// As many requests as may be sent now.
    fn ask(pulls: &mut Pulls) -> Vec<u64> {
        let requests = std::iter::from_fn(|| pulls.next_request(EXPIRES));
        requests.map(|(number, _)| number).collect()
    }

    #[test]
    fn two_pulls_are_open_and_no_more() {
        let mut pulls = Pulls::default();
        assert_eq!(ask(&mut pulls), [1, 2]);
        for _ in 0..BATCH {
            assert!(ask(&mut pulls).is_empty());
            assert!(!pulls.take_used_up());
            pulls.delivered();
        }
        assert!(pulls.take_used_up());
        assert_eq!(ask(&mut pulls), [3]);
    }

    #[test]
    fn a_pull_that_ends_by_its_bytes_makes_room_however_many_have_ended_so() {
        let mut pulls = Pulls::default();
        ask(&mut pulls);
        for ended in 1..10_000 {
            (0..900).for_each(|_| pulls.delivered());
            pulls.ended(ended);
            assert_eq!(ask(&mut pulls), [ended + 2]);
        }
    }

    #[test]
    fn a_pull_that_ended_without_a_word_is_gone_when_a_later_one_ends() {
        let mut pulls = Pulls::default();
        assert_eq!(ask(&mut pulls), [1, 2]);
        pulls.ended(2);
        assert_eq!(ask(&mut pulls), [3, 4]);
    }
}
