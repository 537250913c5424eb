//! Who is to blame when a target's server refuses a publish.
//!
//! Only an error that blames the record itself rejects it. A full target, a missing quorum or a
//! missing permission says nothing about the record: the route stalls and goes on by itself.
//! Codes are JetStream's `err_code` values (nats-server `server/errors.json`).

use crate::frame::StallReason;

/// What a refusal means for the route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blame {
    /// The record will never be accepted as it is.
    Record,
    /// The target cannot take it now.
    Target(StallReason),
    /// Our knowledge of the target is wrong or out of date: reconcile.
    Knowledge,
}

/// Sorts a server's refusal. `description` decides where one code stands for several faults.
pub fn blame(code: u32, description: &str) -> Blame {
    match code {
        // Sequence or id expectations, an unknown or ended batch, stream deleted under us.
        10070 | 10071 | 10164 | 10208 => Blame::Knowledge,
        // Message exceeds maximum, TTL invalid, rollups, counters, schedules, wrong stream named,
        // source header, TTL disabled.
        10054
        | 10060
        | 10097
        | 10111
        | 10165
        | 10166
        | 10168..=10175
        | 10188..=10192
        | 10212
        | 10227 => Blame::Record,
        // Stream store failed: full, or one message the store can never take.
        10077 if description.contains("too large") => Blame::Record,
        10077 | 10023 | 10028 | 10047 | 10002 | 10211 => Blame::Target(StallReason::TargetFull),
        10059 | 10110 => Blame::Target(StallReason::TargetMissing),
        10035 | 10205 | 10206 | 10207 | 10209 | 10109 => Blame::Target(StallReason::TargetUnfit),
        10008 | 10009 | 10014 | 10034 => Blame::Target(StallReason::NoQuorum),
        10076 | 10039 => Blame::Target(StallReason::NoPermission),
        _ => Blame::Target(StallReason::TargetUnreachable),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_is_not_the_records_fault() {
        assert_eq!(
            blame(10077, "maximum messages exceeded"),
            Blame::Target(StallReason::TargetFull)
        );
        assert_eq!(blame(10077, "message too large"), Blame::Record);
    }

    #[test]
    fn unknown_errors_stall_rather_than_reject() {
        assert!(matches!(blame(99_999, "novel"), Blame::Target(_)));
        assert!(matches!(blame(0, ""), Blame::Target(_)));
    }
}
