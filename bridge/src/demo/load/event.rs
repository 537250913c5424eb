//! Made-up events of a shop and of its field devices: JSON of some 400 to 600 bytes, several kinds, varied subjects.
//!
//! Deterministic: the same seed gives the same events, times included; two runs of the demo differ in nothing
//! but when things happen.

use serde_json::{Value, json};

use crate::wan::prng::Prng;

/// What a region's applications write about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trade {
    /// Orders, payments and page views.
    Shop,
    /// Sensors, deliveries, and personal data that may not leave the region.
    Field,
}

/// Subjects of this prefix hold personal data. The demo's own list of what may not travel has this one entry.
pub const PERSONAL_PREFIX: &str = "pii.";

impl Trade {
    /// The subjects of its stream.
    pub fn subjects(self) -> &'static [&'static str] {
        match self {
            Self::Shop => &["order.>", "payment.>", "page.>"],
            Self::Field => &["sensor.>", "delivery.>", "pii.>"],
        }
    }
}

/// One event, ready to be published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Its subject.
    pub subject: String,
    /// Its own headers; a name may stand twice.
    pub headers: Vec<(&'static str, String)>,
    /// Its JSON.
    pub payload: Vec<u8>,
}

/// Makes the events of one stream, numbered from 0.
#[derive(Debug)]
pub struct EventSource {
    trade: Trade,
    prng: Prng,
    number: u64,
}

const GIVEN: &[&str] = &[
    "Ada", "Bruno", "Chloé", "Dmitri", "Eleni", "Farah", "Goran", "Hana", "Íñigo", "Jūratė",
    "Kofi", "Lucía",
];
const FAMILY: &[&str] = &[
    "Andersen", "Bianchi", "Costa", "Dvořák", "Ericsson", "Fischer", "García", "Haddad", "Ivanova",
    "Jansen",
];
const CITIES: &[&str] = &[
    "Athens",
    "Bilbao",
    "Cork",
    "Dresden",
    "Espoo",
    "Florence",
    "Ghent",
    "Hamburg",
    "Innsbruck",
    "Kraków",
];
const GOODS: &[(&str, u64)] = &[
    ("kettle, steel, 1.7 l", 3_490),
    ("desk lamp, warm white", 2_950),
    ("notebook A5, dotted", 690),
    ("bicycle pump", 1_875),
    ("olive oil, 750 ml", 1_120),
    ("rain jacket, M", 8_900),
    ("USB-C cable, 2 m", 1_299),
];
const PAGES: &[&str] = &[
    "/",
    "/search",
    "/cart",
    "/checkout",
    "/help/returns",
    "/product",
    "/offers/summer",
];
const AGENTS: &[&str] = &[
    "Mozilla/5.0 (X11; Linux x86_64; rv:142.0) Gecko/20100101 Firefox/142.0",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 19_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/19.1",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Safari/537.36",
];

impl EventSource {
    /// The events of that trade and seed.
    pub fn new(trade: Trade, seed: u64) -> Self {
        Self {
            trade,
            prng: Prng::new(seed),
            number: 0,
        }
    }

    /// The next event.
    pub fn next_event(&mut self) -> Event {
        let number = self.number;
        self.number += 1;
        let kind = self.prng.below(100);
        let (subject, body) = match (self.trade, kind) {
            (Trade::Shop, 0..=34) => self.order(),
            (Trade::Shop, 35..=59) => self.payment(),
            (Trade::Shop, _) => self.page_view(),
            (Trade::Field, 0..=59) => self.sensor(),
            (Trade::Field, 60..=84) => self.delivery(),
            (Trade::Field, _) => self.person(),
        };
        let envelope = json!({
            "n": number, "id": self.identifier(), "at": event_time(number), "version": 3, "data": body,
        });
        let mut headers = vec![("Content-Type", "application/json".to_owned())];
        if self.prng.chance(250_000) {
            headers.push((
                "traceparent",
                format!("00-{}{}-{}-01", self.hex(), self.hex(), self.hex()),
            ));
        }
        if self.prng.chance(100_000) {
            headers.push(("X-Audience", "billing".to_owned()));
            headers.push(("X-Audience", "analytics".to_owned()));
        }
        Event {
            subject,
            headers,
            payload: envelope.to_string().into_bytes(),
        }
    }

    fn order(&mut self) -> (String, Value) {
        let mut total_cents = 0;
        let lines: Vec<Value> = (0..=self.prng.below(3))
            .map(|_| {
                let (title, cents) = *self.prng.pick(GOODS);
                let quantity = 1 + self.prng.below(3);
                total_cents += cents * quantity;
                json!({"sku": format!("SKU-{:05}", self.prng.below(40_000)), "title": title,
                       "quantity": quantity, "unit_cents": cents})
            })
            .collect();
        let status = *self.prng.pick(&["created", "paid", "packed", "cancelled"]);
        let shop = self.prng.below(24);
        let body = json!({
            "order": format!("O-{:09}", self.prng.below(1_000_000_000)), "shop": shop, "status": status,
            "customer": format!("C-{:07}", self.prng.below(2_000_000)), "currency": "USD", "lines": lines,
            "total_cents": total_cents, "shipping": {"method": "parcel", "days": 2 + self.prng.below(5)},
            "note": "leave at the door if nobody answers",
        });
        (format!("order.{shop}.{status}"), body)
    }

    fn payment(&mut self) -> (String, Value) {
        let provider = *self.prng.pick(&["card", "transfer", "wallet"]);
        let state = *self.prng.pick(&["authorized", "captured", "refused"]);
        let body = json!({
            "payment": self.identifier(), "order": format!("O-{:09}", self.prng.below(1_000_000_000)),
            "provider": provider, "state": state, "amount_cents": 500 + self.prng.below(90_000), "currency": "USD",
            "card": {"scheme": "debit", "last4": format!("{:04}", self.prng.below(10_000)), "three_d_secure": true},
            "risk": {"score": self.prng.below(1_000), "model": "rules-2026-08", "flags": ["new_device"]},
            "terminal": format!("T-{:06}", self.prng.below(900_000)), "batch": self.prng.below(4_000),
            "descriptor": "CAUSEWAY SHOP WWW 0800 555 010",
        });
        (format!("payment.{provider}.{state}"), body)
    }

    fn page_view(&mut self) -> (String, Value) {
        let page = *self.prng.pick(PAGES);
        let body = json!({
            "session": self.identifier(), "path": page, "referrer": "https://www.example.com/search?q=kettle",
            "agent": self.prng.pick(AGENTS), "viewport": [1_280 + self.prng.below(640), 800],
            "timing_ms": {"dns": self.prng.below(30), "connect": self.prng.below(90),
                          "first_byte": 40 + self.prng.below(400), "load": 300 + self.prng.below(2_500)},
            "experiment": {"name": "checkout-two-steps", "arm": self.prng.pick(&["a", "b"])},
        });
        (format!("page.view.{}", self.prng.below(50)), body)
    }

    fn sensor(&mut self) -> (String, Value) {
        let (site, unit) = (self.prng.below(40), self.prng.below(500));
        let kind = *self
            .prng
            .pick(&["temperature", "humidity", "power", "vibration"]);
        let samples: Vec<Value> = (0..8)
            .map(|n| json!({"t": n * 125, "v": 200 + self.prng.below(90)}))
            .collect();
        let body = json!({
            "site": site, "unit": format!("{kind}-{unit:04}"), "kind": kind, "samples": samples,
            "battery_mv": 2_900 + self.prng.below(700), "rssi_dbm": -40 - self.prng.below(60).cast_signed(),
            "firmware": "4.12.0-rc2+build.7731", "calibrated": "2026-03-17", "alarm": self.prng.chance(10_000),
            "location": {"lat": 47_000_000 + self.prng.below(5_000_000), "lon": 8_000_000 + self.prng.below(5_000_000)},
        });
        (format!("sensor.{site}.{kind}"), body)
    }

    fn delivery(&mut self) -> (String, Value) {
        let state = *self
            .prng
            .pick(&["loaded", "under_way", "delivered", "failed"]);
        let driver = format!("{} {}", self.prng.pick(GIVEN), self.prng.pick(FAMILY));
        let city = *self.prng.pick(CITIES);
        let body = json!({
            "parcel": format!("P{:012}", self.prng.below(1_000_000_000_000)), "state": state, "driver": driver,
            "depot": city, "vehicle": {"plate": format!("CW-{:04}", self.prng.below(10_000)), "electric": true},
            "stop": self.prng.below(140), "stops": 140, "weight_g": 120 + self.prng.below(28_000),
            "window": {"from": "14:00", "to": "16:30"}, "signature_required": self.prng.chance(300_000),
            "history": ["accepted", "sorted", "loaded"], "remark": "ring twice, the bell is hard to hear",
        });
        (format!("delivery.{}.{state}", city.to_lowercase()), body)
    }

    /// What must never cross the link.
    fn person(&mut self) -> (String, Value) {
        let name = format!("{} {}", self.prng.pick(GIVEN), self.prng.pick(FAMILY));
        let customer = self.prng.below(2_000_000);
        let body = json!({
            "customer": format!("C-{customer:07}"), "name": name, "city": self.prng.pick(CITIES),
            "born": format!("19{:02}-{:02}-{:02}", 40 + self.prng.below(60), 1 + self.prng.below(12), 1 + self.prng.below(28)),
            "phone": format!("+49 30 {:07}", self.prng.below(10_000_000)), "consent": ["service"],
            "address": {"street": "Hauptstraße", "number": 1 + self.prng.below(180), "post_code": 10_115},
            "document": {"type": "identity_card", "number": format!("L{:08X}", self.prng.below(u64::from(u32::MAX)))},
            "note": "personal data: this record must stay in its region",
        });
        (
            format!("{PERSONAL_PREFIX}customer.{}", customer % 100),
            body,
        )
    }

    fn hex(&mut self) -> String {
        format!("{:016x}", self.prng.bits())
    }

    fn identifier(&mut self) -> String {
        let (a, b) = (self.prng.bits(), self.prng.bits());
        format!(
            "{:08x}-{:04x}-4{:03x}-a{:03x}-{:012x}",
            a >> 32,
            a & 0xffff,
            b >> 52,
            b & 0xfff,
            (b >> 4) & 0xffff_ffff_ffff
        )
    }
}

/// The events' own time runs at 500 a second from a fixed moment, so that it does not depend on the clock.
fn event_time(number: u64) -> String {
    let began = jiff::Timestamp::constant(1_790_000_000, 0);
    let since = jiff::SignedDuration::from_millis((number * 2).cast_signed());
    format!("{:.3}", began + since)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn events(trade: Trade, seed: u64, count: usize) -> Vec<Event> {
        let mut source = EventSource::new(trade, seed);
        (0..count).map(|_| source.next_event()).collect()
    }

    #[test]
    fn the_same_seed_gives_the_same_events_and_another_seed_others() {
        assert_eq!(events(Trade::Shop, 1, 500), events(Trade::Shop, 1, 500));
        assert_ne!(events(Trade::Shop, 1, 500), events(Trade::Shop, 2, 500));
    }

    #[test]
    fn events_are_of_realistic_size_and_variety() {
        for trade in [Trade::Shop, Trade::Field] {
            let events = events(trade, 3, 5_000);
            let sizes: Vec<usize> = events.iter().map(|event| event.payload.len()).collect();
            let mean = sizes.iter().sum::<usize>() / sizes.len();
            assert!((400..=600).contains(&mean), "mean {mean}");
            assert!(
                sizes.iter().all(|size| (300..=900).contains(size)),
                "{:?}",
                sizes.iter().max()
            );
            let subjects: BTreeSet<&str> =
                events.iter().map(|event| event.subject.as_str()).collect();
            assert!(subjects.len() > 50, "{}", subjects.len());
        }
    }

    #[test]
    fn every_event_is_json_that_carries_its_number_under_a_subject_of_its_stream() {
        for trade in [Trade::Shop, Trade::Field] {
            for (number, event) in events(trade, 4, 1_000).iter().enumerate() {
                let json: Value = serde_json::from_slice(&event.payload).unwrap();
                assert_eq!(json["n"], number);
                let first = format!("{}.>", event.subject.split('.').next().unwrap());
                assert!(
                    trade.subjects().contains(&first.as_str()),
                    "{}",
                    event.subject
                );
            }
        }
    }

    #[test]
    fn only_the_field_has_personal_data() {
        let personal = |trade| {
            events(trade, 5, 2_000)
                .iter()
                .filter(|it| it.subject.starts_with(PERSONAL_PREFIX))
                .count()
        };
        assert_eq!(personal(Trade::Shop), 0);
        assert!((200..400).contains(&personal(Trade::Field)));
    }
}
