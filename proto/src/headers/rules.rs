//! The table of the contract, and its application to one line.

use bytes::{BufMut, BytesMut};

use super::block::value_in;
use super::ttl::{Ttl, parse_ttl};
use super::{Ages, TargetTraits};
use crate::provenance::put_number;

/// What a renamed header's name is prefixed with.
pub(super) const RENAMED_PREFIX: &[u8] = b"Causeway-";

/// How a row's name is compared: case counts, as it does for the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Match {
    /// The whole name.
    Exact,
    /// How the name begins: a family that the server extends from release to release.
    Prefix,
}

/// What becomes of a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Treatment {
    /// Left out, with its folded lines: an instruction that is spent, or one that is replaced by ours.
    Strip,
    /// Carried under a name that no server acts on, `Causeway-` before its own: it is of the record.
    Rename,
    /// Rewritten to the time that is left; left out where the target keeps no such time.
    Ttl,
    /// Kept where the target may act on it, else left out.
    Rollup,
    /// Kept where it says that tracing is off, else left out.
    TraceDest,
}

/// One row of [`TABLE`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// The header's name, or how it begins.
    pub name: &'static str,
    /// How it is compared.
    pub matches: Match,
    /// What becomes of it.
    pub treatment: Treatment,
}

const fn exact(name: &'static str, treatment: Treatment) -> Row {
    Row {
        name,
        matches: Match::Exact,
        treatment,
    }
}

const fn family(name: &'static str, treatment: Treatment) -> Row {
    Row {
        name,
        matches: Match::Prefix,
        treatment,
    }
}

/// Every header that does not travel as it is. The first row that matches counts. `HEADERS.md` says
/// why, row by row; a test holds the two together.
pub const TABLE: &[Row] = &[
    exact("Causeway", Treatment::Strip),
    exact("Nats-Msg-Id", Treatment::Strip),
    family("Nats-Expected-", Treatment::Strip),
    family("Nats-Batch-", Treatment::Strip),
    exact("Nats-TTL", Treatment::Ttl),
    exact("Nats-Rollup", Treatment::Rollup),
    exact("Nats-Stream-Source", Treatment::Rename),
    exact("Nats-Incr", Treatment::Strip),
    exact("Nats-Schedule", Treatment::Rename),
    family("Nats-Schedule-", Treatment::Rename),
    exact("Nats-Scheduler", Treatment::Rename),
    exact("Nats-Trace-Dest", Treatment::TraceDest),
    family("Nats-Trace-", Treatment::Strip),
    exact("Nats-Required-Api-Level", Treatment::Strip),
    exact("Nats-Request-Info", Treatment::Strip),
];

/// What servers write over a trace's destination when they store a traced message.
const TRACE_DISABLED: &[u8] = b"trace disabled";

/// Whether a line may match a row: all names begin in one of these ways.
pub(super) fn may_name_a_row(line: &[u8]) -> bool {
    line.starts_with(b"Nats-") || line.starts_with(b"Causeway:")
}

/// What is done to a line.
pub(super) enum Edit {
    Keep,
    Strip,
    Rename,
    /// Replaced by a time to live of so many seconds.
    Ttl(u64),
    /// The whole record is over.
    Expired,
}

/// Applies the table to the lines of one block, in their order.
pub(super) struct Rules<'a> {
    traits: &'a TargetTraits,
    ages: Ages,
    /// A line of that name stands in the block, so the server does not look at later ones.
    ttl_stands: bool,
    rollup_stands: bool,
}

impl<'a> Rules<'a> {
    pub(super) fn new(traits: &'a TargetTraits, ages: Ages) -> Self {
        Self {
            traits,
            ages,
            ttl_stands: false,
            rollup_stands: false,
        }
    }

    /// `line` ends with its CRLF, if it has one.
    pub(super) fn edit(&mut self, line: &[u8]) -> Edit {
        let Some(row) = TABLE.iter().find(|row| row.is_of(line)) else {
            return Edit::Keep;
        };
        let value = || value_in(line, row.name.as_bytes()).unwrap_or_default();
        match row.treatment {
            Treatment::Strip => Edit::Strip,
            Treatment::Rename => Edit::Rename,
            Treatment::Ttl => self.edit_ttl(value()),
            Treatment::Rollup => self.edit_rollup(value()),
            Treatment::TraceDest if value() == TRACE_DISABLED => Edit::Keep,
            Treatment::TraceDest => Edit::Strip,
        }
    }

    /// A life began when the source stored the record; the target counts anew from what is left.
    fn edit_ttl(&mut self, value: &[u8]) -> Edit {
        if self.ttl_stands {
            return Edit::Keep;
        }
        let ttl = parse_ttl(value);
        if !self.traits.ttl || ttl == Ttl::Invalid {
            return Edit::Strip;
        }
        self.ttl_stands = true;
        let Ttl::Seconds(seconds) = ttl else {
            return Edit::Keep;
        };
        let age_ns = self.ages.now_ns.saturating_sub(self.ages.stored_at_ns);
        let ttl_ns = u128::from(seconds) * 1_000_000_000;
        match ttl_ns
            .saturating_sub(u128::from(age_ns))
            .div_ceil(1_000_000_000)
        {
            0 => Edit::Expired,
            // Rounded up, so that a live record keeps its line, and lives as much longer than at the
            // source as it took to travel.
            left if left == u128::from(seconds) => Edit::Keep,
            left => Edit::Ttl(left as u64), // less than `seconds`
        }
    }

    fn edit_rollup(&mut self, value: &[u8]) -> Edit {
        if self.rollup_stands {
            return Edit::Keep;
        }
        let known = [&b""[..], b"sub", b"all"]
            .iter()
            .any(|it| value.eq_ignore_ascii_case(it));
        if !self.traits.rollup || !known {
            return Edit::Strip;
        }
        self.rollup_stands = true;
        Edit::Keep
    }
}

impl Row {
    /// Whether `line` is a header of this row.
    fn is_of(&self, line: &[u8]) -> bool {
        let Some(rest) = line.strip_prefix(self.name.as_bytes()) else {
            return false;
        };
        match self.matches {
            Match::Exact => rest.first() == Some(&b':'),
            Match::Prefix => {
                let in_name = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'-';
                rest.iter().find(|byte| !in_name(byte)) == Some(&b':')
            }
        }
    }
}

pub(super) fn put_ttl(seconds: u64, out: &mut BytesMut) {
    out.put_slice(b"Nats-TTL: ");
    put_number(seconds, 10, out);
    out.put_slice(b"\r\n");
}
