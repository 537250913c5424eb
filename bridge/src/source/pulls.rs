//! Pull requests under way.

use std::time::Duration;

use serde_json::{Value, json};

use crate::nats::Message;

/// Records that a pull may bring, however small they are.
const RECORDS_MAX: u64 = 5000;
/// The mean moves by such a part of the way to the next record.
const MEAN_PART: u64 = 64;
/// The next record does not fit into the bytes of a pull, which ends.
const TOO_LARGE: &str = "Message Size Exceeds MaxBytes";
const EXPIRES: Duration = Duration::from_secs(30);

/// What the server owes us.
///
/// It serves its pulls in turn, a record each, and a delivery does not say whose it is. So what all of them together still
/// have to bring is counted, in records: that sum is known whoever is served. A pull ends by its records, which we count, or
/// by its time or its bytes, of which the server tells with what is left. It does not tell where the bytes are
/// used up to the last one, and the sum is then too high for ever; so pulls are made to end by their records, and when the
/// server turns out to hold no pull all is asked for again ([`Pulls::forget`]).
#[derive(Debug)]
pub(super) struct Pulls {
    size: PullSize,
    /// Records asked for, and neither delivered nor known not to come.
    owed: u64,
    /// Requests so far.
    number: u64,
    /// Moving average of a record's bytes as the server counts them, times [`MEAN_PART`]; none before the first.
    mean: Option<u64>,
    /// The next record is larger than any pull's bytes: it is asked for alone.
    oversize: bool,
    /// No pull may have been open, so that the record behind may have waited at the server.
    used_up: bool,
}

/// How much is asked for at once.
#[derive(Debug, Clone, Copy)]
pub struct PullSize {
    bytes: u64,
    records_max: u64,
}

impl PullSize {
    /// Of each of so many routes that read over one connection. Whatever they leave unread together stays below the bytes at
    /// which the connection stops reading for all of them.
    pub fn shared_by(routes: usize) -> Self {
        const ALL: u64 = 24 << 20;
        let bytes = ALL / routes.max(1) as u64;
        Self {
            // More gains little.
            bytes: bytes.clamp(16 << 10, 512 << 10),
            records_max: RECORDS_MAX,
        }
    }

    /// No more records than the server allows a pull of that consumer.
    pub(super) fn allowed(self, records: Option<u64>) -> Self {
        let records_max = records.map_or(self.records_max, |it| it.min(self.records_max));
        Self {
            records_max: records_max.max(1),
            ..self
        }
    }

    /// Bytes that a pull may bring, if records are larger than those before: bounds memory.
    fn bytes_max(self) -> u64 {
        2 * self.bytes
    }
}

impl Pulls {
    pub(super) fn new(size: PullSize) -> Self {
        Self {
            size,
            owed: 0,
            number: 0,
            mean: None,
            oversize: false,
            used_up: false,
        }
    }

    /// A record of so many bytes ([`counted_len`]) was delivered.
    pub(super) fn delivered(&mut self, len: u64) {
        let mean = self.mean.unwrap_or(len * MEAN_PART);
        self.mean = Some(mean - mean / MEAN_PART + len);
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

    /// The server holds no pull, whatever became of them.
    pub(super) fn forget(&mut self) {
        self.owed = 0;
        self.used_up = true;
    }

    /// The next request to send, if the server owes too little.
    pub(super) fn next_request(&mut self, heartbeat: Duration) -> Option<(u64, Value)> {
        let records = self.records();
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
            request["max_bytes"] = json!(self.size.bytes_max());
            self.owed += records;
        }
        Some((self.number, request))
    }

    /// Records to ask for at once: one, until the size of one is known.
    fn records(&self) -> u64 {
        let fitting = |mean: u64| self.size.bytes * MEAN_PART / mean.max(1);
        let records = self.mean.map_or(1, fitting);
        records.clamp(1, self.size.records_max)
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
                let bytes = left("Nats-Pending-Bytes");
                let is_untouched = bytes.is_some_and(|it| it >= self.size.bytes_max());
                self.oversize |= text.contains(TOO_LARGE) && is_untouched;
                true
            }
            _ => false,
        }
    }
}

/// What the server takes a record's delivery for.
pub(super) fn counted_len(message: &Message<'_>) -> u64 {
    let named = message.subject.len() + message.reply.len();
    (named + message.headers.len() + message.payload.len()) as u64
}

fn is_end_of_pull(code: u16, text: &str) -> bool {
    code != 409 || text.contains(TOO_LARGE) || text.contains("Batch Completed")
}

#[cfg(test)]
mod tests;
