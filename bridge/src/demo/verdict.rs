//! What the demo has proved, or not.

use std::fmt;

use serde::Serialize;

use super::recovery::Disturbed;
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
    /// Of all live records, sorted.
    lags_ns: Vec<u64>,
    /// Of the live records published outside of backlog, cut and kill, sorted.
    calm_lags_ns: Vec<u64>,
}

impl Verdict {
    pub(crate) fn new(
        routes: &[Findings],
        wire_bytes: u64,
        seconds: f64,
        disturbed: &Disturbed,
    ) -> Self {
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
            found.lags.extend_from_slice(&route.lags);
        }
        let is_calm = |at_ns: i128| !disturbed.iter().any(|time| time.contains(&at_ns));
        let calm = found.lags.iter().filter(|it| is_calm(it.published_at_ns));
        let mut calm_lags_ns: Vec<u64> = calm.map(|it| it.lag_ns).collect();
        let mut lags_ns: Vec<u64> = found.lags.iter().map(|it| it.lag_ns).collect();
        calm_lags_ns.sort_unstable();
        lags_ns.sort_unstable();
        Self {
            found,
            wire_bytes,
            seconds,
            lags_ns,
            calm_lags_ns,
        }
    }

    pub(crate) fn holds(&self) -> bool {
        self.found.hold()
    }

    /// The object of `--json`. A record that arrived altered is lost: what was published is not there.
    pub(crate) fn report(&self) -> Report {
        let found = &self.found;
        Report {
            published: found.published,
            replicated: found.replicated,
            lost: found.lost + found.altered,
            duplicated: found.duplicated,
            reordered: found.reordered,
            denied: found.denied,
            lag_ms: ReportedLag {
                p50: lag_ms(&self.lags_ns, 50),
                p99: lag_ms(&self.lags_ns, 99),
            },
            wire_bytes: self.wire_bytes,
            payload_bytes: found.payload_bytes,
            seconds: (self.seconds * 10.0).round() / 10.0,
        }
    }
}

/// What `--json` prints: these fields, in this order, and no others.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    published: u64,
    replicated: u64,
    lost: u64,
    duplicated: u64,
    reordered: u64,
    denied: u64,
    lag_ms: ReportedLag,
    wire_bytes: u64,
    payload_bytes: u64,
    seconds: f64,
}

#[derive(Debug, Serialize)]
struct ReportedLag {
    p50: Option<f64>,
    p99: Option<f64>,
}

/// The lag that this share of the records did not exceed, in milliseconds; none without records.
fn lag_ms(sorted_ns: &[u64], per_cent: usize) -> Option<f64> {
    let rank = (sorted_ns.len() * per_cent).div_ceil(100).max(1) - 1;
    sorted_ns
        .get(rank)
        .map(|nanos| (*nanos as f64 / 1e5).round() / 10.0)
}

fn lag_text(sorted_ns: &[u64], per_cent: usize) -> String {
    lag_ms(sorted_ns, per_cent).map_or_else(|| "-".to_owned(), |lag| format!("{lag:.1} ms"))
}

/// The table for people.
impl fmt::Display for Verdict {
    #[rustfmt::skip]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let found = &self.found;
        let ratio = found.payload_bytes as f64 / self.wire_bytes.max(1) as f64;
        let carried = format!("carried: {ratio:.1} bytes for each byte on the wire");
        let rows = [
            ("published", grouped(found.published), "records that may travel, both directions"),
            ("replicated", grouped(found.replicated), "found on the far side, unchanged"),
            ("lost", grouped(found.lost), ""),
            ("altered", grouped(found.altered), ""),
            ("duplicated", grouped(found.duplicated), ""),
            ("reordered", grouped(found.reordered), ""),
            ("foreign", grouped(found.foreign), "on the far side, published by nobody"),
            ("denied", grouped(found.denied), "records that may not leave their region"),
            ("leaked", grouped(found.leaked), "of these, found on the far side"),
            ("source", grouped(found.source_faults), "places where a source differs from what was published"),
            ("lag p50", lag_text(&self.lags_ns, 50), "live records, from stored at the source to stored at the target,"),
            ("lag p99", lag_text(&self.lags_ns, 99), "with backlog, cut and kill in their way"),
            ("calm p50", lag_text(&self.calm_lags_ns, 50), "the same, of live records that met none of these"),
            ("calm p99", lag_text(&self.calm_lags_ns, 99), ""),
            ("wire", bytes(self.wire_bytes), "all packets of the link, headers and resends included"),
            ("payload", bytes(found.payload_bytes), &carried),
            ("time", format!("{:.1} s", self.seconds), ""),
        ];
        for (name, value, note) in rows {
            writeln!(f, "{}", format!("  {name:<10}{value:>12}  {note}").trim_end())?;
        }
        let verdict = if self.holds() { "HOLDS" } else { "DOES NOT HOLD" };
        write!(f, "  verdict: {verdict}")
    }
}

#[cfg(test)]
mod tests {
    use std::ops::Range;

    use super::*;
    use crate::demo::verify::Lag;

    fn findings(lags_ms: Range<u64>) -> Findings {
        let lag = |ms: u64| Lag {
            published_at_ns: ms.into(),
            lag_ns: ms * 1_000_000,
        };
        Findings {
            published: 100,
            replicated: 100,
            denied: 7,
            payload_bytes: 5_000,
            lags: lags_ms.rev().map(lag).collect(),
            ..Findings::default()
        }
    }

    #[test]
    fn json_has_exactly_the_fields_that_were_promised() {
        let verdict = Verdict::new(&[findings(1..101)], 2_000, 31.04, &Disturbed::new());
        let promised = "{\"published\":100,\"replicated\":100,\"lost\":0,\"duplicated\":0,\"reordered\":0,\
            \"denied\":7,\"lag_ms\":{\"p50\":50.0,\"p99\":99.0},\"wire_bytes\":2000,\"payload_bytes\":5000,\
            \"seconds\":31.0}";
        assert_eq!(serde_json::to_string(&verdict.report()).unwrap(), promised);
        assert!(verdict.holds());
    }

    #[test]
    fn the_calm_lags_leave_disturbed_records_out() {
        let disturbed = std::iter::once(20..1_000).collect();
        let verdict = Verdict::new(&[findings(1..101)], 1, 0.0, &disturbed);
        assert_eq!(lag_ms(&verdict.calm_lags_ns, 99), Some(19.0));
        assert_eq!(lag_ms(&verdict.lags_ns, 99), Some(99.0));
        assert_eq!(lag_ms(&[], 50), None);
    }

    #[test]
    fn routes_add_up_and_one_fault_anywhere_decides() {
        let spoiled = Findings {
            altered: 1,
            replicated: 99,
            ..findings(0..0)
        };
        let verdict = Verdict::new(&[findings(0..0), spoiled], 1, 0.0, &Disturbed::new());
        assert!(!verdict.holds());
        assert_eq!(verdict.report().lost, 1);
        assert_eq!(verdict.report().published, 200);
        assert!(verdict.to_string().contains("DOES NOT HOLD"));
    }
}
