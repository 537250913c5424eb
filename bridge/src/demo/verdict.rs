//! What the demo has proved, or not.

use std::fmt;

use serde_json::{Value, json};

use super::text::{bytes, grouped};
use super::verify::Findings;

/// The verdict over all routes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Verdict {
    /// What the comparison found, all routes added up.
    pub found: Findings,
    /// Every byte that the emulated WAN was given, both directions, packet headers included.
    pub wire_bytes: u64,
    /// From the sidecars' start until the far sides had everything.
    pub seconds: f64,
}

impl Verdict {
    pub(crate) fn new(routes: &[Findings], wire_bytes: u64, seconds: f64) -> Self {
        let mut found = Findings::default();
        for route in routes {
            found.published += route.published;
            found.replicated += route.replicated;
            found.lost += route.lost;
            found.altered += route.altered;
            found.duplicated += route.duplicated;
            found.reordered += route.reordered;
            found.denied += route.denied;
            found.leaked += route.leaked;
            found.foreign += route.foreign;
            found.source_faults += route.source_faults;
            found.payload_bytes += route.payload_bytes;
            found.lags_ns.extend_from_slice(&route.lags_ns);
        }
        found.lags_ns.sort_unstable();
        Self {
            found,
            wire_bytes,
            seconds,
        }
    }

    pub(crate) fn holds(&self) -> bool {
        self.found.hold()
    }

    /// The lag that this share of the live records did not exceed, in milliseconds.
    fn lag_ms(&self, per_cent: usize) -> f64 {
        let lags = &self.found.lags_ns;
        let rank = (lags.len() * per_cent).div_ceil(100).max(1) - 1;
        let nanos = lags.get(rank).copied().unwrap_or_default();
        (nanos as f64 / 1e5).round() / 10.0
    }

    /// The object of `--json`. A record that arrived altered is lost: what was published is not there.
    pub(crate) fn json(&self) -> Value {
        let found = &self.found;
        json!({
            "published": found.published,
            "replicated": found.replicated,
            "lost": found.lost + found.altered,
            "duplicated": found.duplicated,
            "reordered": found.reordered,
            "denied": found.denied,
            "lag_ms": {"p50": self.lag_ms(50), "p99": self.lag_ms(99)},
            "wire_bytes": self.wire_bytes,
            "payload_bytes": found.payload_bytes,
            "seconds": (self.seconds * 10.0).round() / 10.0,
        })
    }
}

/// The table for people.
impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let found = &self.found;
        let ratio = found.payload_bytes as f64 / self.wire_bytes.max(1) as f64;
        let carried = format!("carried: {ratio:.1} bytes for each byte on the wire");
        let count = |number: u64| grouped(number);
        let lag = |per_cent| format!("{:.1} ms", self.lag_ms(per_cent));
        let source = "places where the source differs from what was published";
        let rows = [
            (
                "published",
                count(found.published),
                "records that may travel, both directions",
            ),
            (
                "replicated",
                count(found.replicated),
                "found on the far side, unchanged",
            ),
            ("lost", count(found.lost), ""),
            ("altered", count(found.altered), ""),
            ("duplicated", count(found.duplicated), ""),
            ("reordered", count(found.reordered), ""),
            (
                "foreign",
                count(found.foreign),
                "on the far side, published by nobody",
            ),
            (
                "denied",
                count(found.denied),
                "records that may not leave their region",
            ),
            (
                "leaked",
                count(found.leaked),
                "of these, found on the far side",
            ),
            ("source", count(found.source_faults), source),
            (
                "lag p50",
                lag(50),
                "stored at the source to stored at the target,",
            ),
            ("lag p99", lag(99), "live records, cut and kill included"),
            (
                "wire",
                bytes(self.wire_bytes),
                "all packets of the link, headers and resends included",
            ),
            ("payload", bytes(found.payload_bytes), &carried),
            ("time", format!("{:.1} s", self.seconds), ""),
        ];
        for (name, value, note) in rows {
            writeln!(
                f,
                "{}",
                format!("  {name:<10}{value:>12}  {note}").trim_end()
            )?;
        }
        let verdict = if self.holds() {
            "HOLDS"
        } else {
            "DOES NOT HOLD"
        };
        write!(f, "  verdict: {verdict}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(lags_ns: Vec<u64>) -> Findings {
        Findings {
            published: 100,
            replicated: 100,
            denied: 7,
            payload_bytes: 5_000,
            lags_ns,
            ..Findings::default()
        }
    }

    #[test]
    fn json_has_exactly_the_fields_that_were_promised() {
        let verdict = Verdict::new(
            &[findings((1..=100).rev().map(|ms| ms * 1_000_000).collect())],
            2_000,
            31.04,
        );
        let promised = json!({"published": 100, "replicated": 100, "lost": 0, "duplicated": 0, "reordered": 0,
            "denied": 7, "lag_ms": {"p50": 50.0, "p99": 99.0}, "wire_bytes": 2_000, "payload_bytes": 5_000,
            "seconds": 31.0});
        assert_eq!(verdict.json(), promised);
        assert!(verdict.holds());
    }

    #[test]
    fn routes_add_up_and_one_fault_anywhere_decides() {
        let spoiled = Findings {
            altered: 1,
            replicated: 99,
            ..findings(Vec::new())
        };
        let verdict = Verdict::new(&[findings(Vec::new()), spoiled], 1, 0.0);
        assert!(!verdict.holds());
        assert_eq!(verdict.json()["lost"], 1);
        assert_eq!(verdict.json()["published"], 200);
        assert!(verdict.to_string().contains("DOES NOT HOLD"));
    }
}
