//! JSON events made from a seed: the same keys, values partly alike and partly random, as
//! applications send them.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use causeway_proto::id::{SourceSeq, StoredAt};
use causeway_proto::record::RecordView;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

const KINDS: [&str; 5] = ["placed", "paid", "packed", "shipped", "returned"];
const CITIES: [&str; 6] = ["Lisbon", "Hamburg", "Osaka", "Denver", "Lagos", "Lima"];
const WORDS: [&str; 12] = [
    "deliver",
    "before",
    "noon",
    "gift",
    "fragile",
    "ring",
    "twice",
    "leave",
    "with",
    "neighbour",
    "no",
    "signature",
];

/// 2026-01-01 UTC in nanoseconds.
const STORED_AT_FIRST: u64 = 1_767_225_600_000_000_000;

/// Events as they stand in a source stream. They own their bytes, so that a measurement holds none of
/// the cost of making them.
pub(crate) struct Events(Vec<Event>);

struct Event {
    stored_at: u64,
    subject: String,
    headers: String,
    payload: Vec<u8>,
}

impl Events {
    pub(crate) fn generate(seed: u64, count: usize, payload_len: usize) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut stored_at = STORED_AT_FIRST;
        let event = |at| {
            stored_at += rng.random_range(5_000..40_000);
            event(&mut rng, at, stored_at, payload_len)
        };
        Self((0..count).map(event).collect())
    }

    /// The first lines of a file, each a record's payload; without headers, on one subject.
    pub(crate) fn read(file: &Path, count: usize) -> Result<Self> {
        let text = fs::read(file).with_context(|| format!("read {}", file.display()))?;
        let lines = text.split(|byte| *byte == b'\n');
        let lines = lines.filter(|line| !line.is_empty()).take(count);
        let event = |(line, at): (&[u8], u64)| Event {
            stored_at: STORED_AT_FIRST + at * 20_000,
            subject: "lines".to_owned(),
            headers: String::new(),
            payload: line.to_vec(),
        };
        let events: Vec<_> = lines.zip(0..).map(event).collect();
        ensure!(!events.is_empty(), "{} has no lines", file.display());
        Ok(Self(events))
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The events as records of a stream that begins at 1.
    pub(crate) fn records(&self) -> impl Iterator<Item = RecordView<'_>> {
        self.0.iter().zip(1..).map(|(event, seq)| RecordView {
            seq: SourceSeq(seq),
            stored_at: StoredAt(event.stored_at),
            relayed: false,
            subject: event.subject.as_bytes(),
            headers: event.headers.as_bytes(),
            payload: &event.payload,
        })
    }

    /// Bytes of subjects, headers and payloads.
    pub(crate) fn size(&self) -> usize {
        self.records().map(|record| record.size()).sum()
    }
}

/// The subject and the payload of an order event.
pub(crate) fn order(rng: &mut StdRng, number: usize, payload_len: usize) -> (String, Vec<u8>) {
    let stored_at = STORED_AT_FIRST + number as u64 * 20_000;
    let event = event(rng, number, stored_at, payload_len);
    (event.subject, event.payload)
}

fn event(rng: &mut StdRng, number: usize, stored_at: u64, payload_len: usize) -> Event {
    let kind = KINDS[rng.random_range(0..KINDS.len())];
    let subject = format!("orders.{kind}.{}", rng.random_range(0..40));
    let headers = format!(
        "NATS/1.0\r\nContent-Type: application/json\r\nX-Trace: {:016x}\r\n\r\n",
        rng.random::<u64>()
    );
    let mut payload = format!(
        r#"{{"id":"{:032x}","number":{number},"kind":"order.{kind}","time":{},"#,
        rng.random::<u128>(),
        stored_at / 1_000_000,
    );
    payload += &format!(
        r#""customer":{{"id":{},"city":"{}","since":{}}},"#,
        rng.random_range(1..2_000_000),
        CITIES[rng.random_range(0..CITIES.len())],
        rng.random_range(2005..2026),
    );
    payload += &format!(
        r#""items":[{{"sku":"SKU-{:06}","count":{},"price":{}.{:02}}}],"paid":{},"note":""#,
        rng.random_range(0..50_000),
        rng.random_range(1..9),
        rng.random_range(1..500),
        rng.random_range(0..100),
        rng.random_bool(0.5),
    );
    while payload.len() + 2 < payload_len {
        payload += WORDS[rng.random_range(0..WORDS.len())];
        payload.push(' ');
    }
    payload.truncate(payload_len.saturating_sub(2));
    payload += r#""}"#;
    Event {
        stored_at,
        subject,
        headers,
        payload: payload.into_bytes(),
    }
}
