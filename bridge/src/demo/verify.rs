//! The demo's proof: reads both ends with the ordinary NATS client and compares them record by record.
//!
//! It shares no code with `causeway-proto`, neither the policy nor the provenance nor a hash: a fault there
//! cannot hide itself here. Three witnesses are compared: what the publisher remembers, what its own region
//! stored, and what the far region stored.

mod read;

use async_nats::HeaderMap;
use sha2::{Digest as _, Sha256};

pub use read::{Stored, count_personal, read_stream};

use super::load::Published;

/// The only headers that replication may add: the provenance and the dedupe id.
const ADDED_HEADERS: [&str; 2] = ["Causeway", "Nats-Msg-Id"];

/// SHA-256 of a record's subject, own headers and payload, cut to 128 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest([u8; 16]);

impl Digest {
    /// The digest of a record. Values of one header keep their order; the names have none in the NATS client.
    pub fn of(subject: &str, headers: Option<&HeaderMap>, payload: &[u8]) -> Self {
        let mut hasher = Sha256::new();
        let mut add = |part: &[u8]| {
            hasher.update((part.len() as u64).to_be_bytes());
            hasher.update(part);
        };
        add(subject.as_bytes());
        let mut own: Vec<_> = headers
            .into_iter()
            .flat_map(HeaderMap::iter)
            .filter(|(name, _)| !ADDED_HEADERS.contains(&name.as_ref()))
            .collect();
        own.sort_by(|(a, _), (b, _)| AsRef::<str>::as_ref(a).cmp(b.as_ref()));
        for (name, values) in own {
            for value in values {
                add(AsRef::<str>::as_ref(name).as_bytes());
                add(value.as_str().as_bytes());
            }
        }
        add(b""); // the end of the headers
        add(payload);
        let mut digest = [0; 16];
        digest.copy_from_slice(&hasher.finalize()[..16]);
        Self(digest)
    }
}

/// What the comparison of one route found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Findings {
    /// Records published that may travel.
    pub published: u64,
    /// Of these, the ones that are on the far side, unchanged.
    pub replicated: u64,
    /// Of these, the ones that are not on the far side.
    pub lost: u64,
    /// Of these, the ones that are there with another subject, header or payload.
    pub altered: u64,
    /// Second and further copies on the far side.
    pub duplicated: u64,
    /// Records that stand behind one that was published after them.
    pub reordered: u64,
    /// Records published that may not travel.
    pub denied: u64,
    /// Of these, the ones that are on the far side.
    pub leaked: u64,
    /// Records on the far side that nobody published.
    pub foreign: u64,
    /// Places where the source stream differs from what its publisher remembers: the demo's own fault, or the server's.
    pub source_faults: u64,
    /// Payload bytes of what was replicated.
    pub payload_bytes: u64,
    /// The lag of each live record.
    pub lags: Vec<Lag>,
}

/// How long one record took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lag {
    /// When the source stored it, in nanoseconds since 1970.
    pub published_at_ns: i128,
    /// From then until the target stored it.
    pub lag_ns: u64,
}

impl Findings {
    /// Whether every record is where it must be, once, in order, unchanged, and nothing else is.
    pub fn hold(&self) -> bool {
        let faults = [
            self.lost,
            self.altered,
            self.duplicated,
            self.reordered,
            self.leaked,
            self.foreign,
            self.source_faults,
        ];
        faults == [0; 7] && self.replicated == self.published
    }
}

/// Compares one route's three witnesses.
pub fn compare(ledger: &[Published], source: &[Stored], target: &[Stored]) -> Findings {
    let travels = |it: &&Published| it.may_travel;
    let published = ledger.iter().filter(travels).count() as u64;
    let mut findings = Findings {
        published,
        denied: ledger.len() as u64 - published,
        ..Findings::default()
    };
    findings.source_faults = source_faults(ledger, source);
    let mut seen = vec![false; ledger.len()];
    let mut furthest = 0;
    for record in target {
        let number = record
            .number
            .and_then(|number| usize::try_from(number).ok());
        let known = number.and_then(|number| Some((number, ledger.get(number)?)));
        let Some((number, original)) = known else {
            *(if record.is_personal {
                &mut findings.leaked
            } else {
                &mut findings.foreign
            }) += 1;
            continue;
        };
        if record.is_personal || !original.may_travel {
            findings.leaked += 1;
            continue;
        }
        if std::mem::replace(&mut seen[number], true) {
            findings.duplicated += 1;
            continue;
        }
        findings.reordered += u64::from(number < furthest);
        furthest = furthest.max(number);
        if record.digest != original.digest {
            findings.altered += 1;
            continue;
        }
        findings.replicated += 1;
        findings.payload_bytes += record.payload_bytes;
        if original.is_live
            && let Some(stored) = source.get(number)
        {
            let published_at_ns = stored.stored_at_ns;
            let lag_ns = (record.stored_at_ns - published_at_ns).max(0);
            let lag_ns = u64::try_from(lag_ns).unwrap_or(u64::MAX);
            findings.lags.push(Lag {
                published_at_ns,
                lag_ns,
            });
        }
    }
    findings.lost = ledger
        .iter()
        .zip(&seen)
        .filter(|(it, seen)| it.may_travel && !**seen)
        .count() as u64;
    findings
}

/// The source must hold exactly what was published: else the comparison of the two ends would prove nothing.
fn source_faults(ledger: &[Published], source: &[Stored]) -> u64 {
    let differs = |(number, (published, stored)): (usize, (&Published, &Stored))| {
        stored.number != Some(number as u64) || stored.digest != published.digest
    };
    let differing = ledger
        .iter()
        .zip(source)
        .enumerate()
        .filter(|it| differs(*it))
        .count();
    (differing + ledger.len().abs_diff(source.len())) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ten records; every fifth may not travel.
    fn witnesses() -> (Vec<Published>, Vec<Stored>, Vec<Stored>) {
        let ledger: Vec<Published> = (0..10u64)
            .map(|n| Published {
                digest: digest(n),
                may_travel: n % 5 != 4,
                is_live: n >= 2,
            })
            .collect();
        let source: Vec<Stored> = (0..10).map(|n| stored(n, 0)).collect();
        let target = (0..10)
            .filter(|n| n % 5 != 4)
            .map(|n| stored(n, 7_000))
            .collect();
        (ledger, source, target)
    }

    fn digest(number: u64) -> Digest {
        Digest::of("order.1.paid", None, &number.to_be_bytes())
    }

    fn stored(number: u64, lag_ns: i128) -> Stored {
        Stored {
            number: Some(number),
            digest: digest(number),
            is_personal: number % 5 == 4,
            stored_at_ns: i128::from(number) * 1_000 + lag_ns,
            payload_bytes: 10,
        }
    }

    fn found(spoil: impl FnOnce(&mut Vec<Stored>)) -> Findings {
        let (ledger, source, mut target) = witnesses();
        spoil(&mut target);
        compare(&ledger, &source, &target)
    }

    #[test]
    fn a_perfect_copy_holds() {
        let findings = found(|_| ());
        assert!(findings.hold());
        assert_eq!(
            (findings.published, findings.replicated, findings.denied),
            (8, 8, 2)
        );
        assert_eq!((findings.payload_bytes, findings.lags.len()), (80, 6));
        assert_eq!(
            findings.lags[0],
            Lag {
                published_at_ns: 2_000,
                lag_ns: 7_000
            }
        );
    }

    #[test]
    fn every_single_fault_is_found_as_what_it_is() {
        let perfect = found(|_| ());
        type Spoil = fn(&mut Vec<Stored>);
        type Count = fn(&Findings) -> u64;
        let cases: [(&str, Spoil, Count); 7] = [
            (
                "missing",
                |it| it.retain(|record| record.number != Some(3)),
                |it| it.lost,
            ),
            ("last one missing", |it| it.truncate(7), |it| it.lost),
            ("doubled", |it| it.push(it[0].clone()), |it| it.duplicated),
            ("swapped", |it| it.swap(2, 3), |it| it.reordered),
            ("altered", |it| it[1].digest = digest(99), |it| it.altered),
            ("leaked", |it| it.insert(4, stored(4, 0)), |it| it.leaked),
            ("foreign", |it| it.push(stored(100, 0)), |it| it.foreign),
        ];
        for (name, spoil, count) in cases {
            let findings = found(spoil);
            assert!(!findings.hold(), "{name}");
            assert_eq!(
                (count(&perfect), count(&findings)),
                (0, 1),
                "{name}: {findings:?}"
            );
            let of = |it: &Findings| {
                it.lost + it.duplicated + it.reordered + it.altered + it.leaked + it.foreign
            };
            assert_eq!(of(&findings), 1, "{name}: {findings:?}");
        }
    }

    #[test]
    fn personal_data_under_an_unreadable_payload_is_still_a_leak() {
        let findings = found(|it| {
            it.push(Stored {
                number: None,
                ..stored(4, 0)
            });
        });
        assert_eq!((findings.leaked, findings.foreign), (1, 0));
    }

    #[test]
    fn a_source_that_differs_from_what_was_published_is_no_witness() {
        let (ledger, mut source, target) = witnesses();
        source.swap(0, 1);
        assert_eq!(compare(&ledger, &source, &target).source_faults, 2);
        source.swap(0, 1);
        source.pop();
        assert_eq!(compare(&ledger, &source, &target).source_faults, 1);
    }

    #[test]
    fn the_digest_sees_subject_headers_and_payload_but_not_what_replication_adds() {
        let mut headers = HeaderMap::new();
        headers.append("X-A", "1");
        headers.append("X-A", "2");
        let original = Digest::of("s", Some(&headers), b"p");
        let mut added = headers.clone();
        added.insert("Causeway", "x");
        added.insert("Nats-Msg-Id", "y");
        assert_eq!(Digest::of("s", Some(&added), b"p"), original);
        added.insert("Nats-Expected-Last-Sequence", "5");
        assert_ne!(Digest::of("s", Some(&added), b"p"), original);
        let mut swapped = HeaderMap::new();
        swapped.append("X-A", "2");
        swapped.append("X-A", "1");
        assert_ne!(Digest::of("s", Some(&swapped), b"p"), original);
        assert_ne!(Digest::of("t", Some(&headers), b"p"), original);
        assert_ne!(Digest::of("s", Some(&headers), b"q"), original);
        assert_ne!(Digest::of("s", None, b"p"), original);
    }
}
