//! Streams that routes create: subjects that the target's server will not give them.
//!
//! Whether a stream is missing, and so created, the file does not say: these are warnings, and
//! `check --live` makes errors of those that come true. Each rule was tried on nats-server 2.15.1 and
//! 2.10.26.

use causeway_proto::subject::SubjectFilter;

use super::routes::overlap;
use crate::read::{Placed, Report};
use crate::section::{Drafts, RouteDraft};

/// What the server keeps for itself, and the part of it that it gives away.
const RESERVED: [(&str, Option<&str>); 4] = [
    ("$JS.>", Some("$JS.EVENT.>")),
    ("$JSC.>", None),
    ("$NRG.>", None),
    ("$SYS.>", Some("$SYS.ACCOUNT.>")),
];

/// Why a server refuses a stream for its subject (10052).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SubjectRefusal {
    /// Every subject there is.
    All,
    /// Subjects of the server's own.
    Reserved(&'static str),
    /// Wildcards that take in such subjects; 2.15 refuses that, 2.10 does not.
    TakesIn(&'static str),
}

impl std::fmt::Display for SubjectRefusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::All => write!(f, "a server gives no stream every subject"),
            Self::Reserved(own) => write!(f, "a server keeps {own} for itself"),
            Self::TakesIn(own) => {
                write!(
                    f,
                    "it takes in {own}, which nats-server 2.15 keeps for itself"
                )
            }
        }
    }
}

/// Whether a server refuses a stream with that subject.
pub fn subject_refusal(subject: &SubjectFilter) -> Option<SubjectRefusal> {
    if subject.is_all() {
        return Some(SubjectRefusal::All);
    }
    let parse = |text| SubjectFilter::parse(text).expect("the constants are filters");
    RESERVED.iter().find_map(|(own, given)| {
        let reserved = parse(own);
        let is_given = given.is_some_and(|given| subject.is_subset_of(&parse(given)));
        if is_given || !subject.overlaps(&reserved) {
            None
        } else if subject.is_subset_of(&reserved) {
            Some(SubjectRefusal::Reserved(own))
        } else {
            Some(SubjectRefusal::TakesIn(own))
        }
    })
}

pub(super) fn warn(drafts: &Drafts, report: &Report) {
    for (index, route) in drafts.routes.iter().enumerate() {
        if route.create.is_none() {
            continue;
        }
        for subject in &route.subjects {
            warn_refused(route, subject, report);
        }
        for other in &drafts.routes[..index] {
            warn_crossing(route, other, report);
        }
        for other in drafts.routes.iter() {
            warn_source(route, other, report);
        }
    }
}

fn warn_refused(route: &RouteDraft, subject: &Placed<SubjectFilter>, report: &Report) {
    if let (Some(why), Some(target)) = (subject_refusal(&subject.value), route.target()) {
        let text = format!(
            "\"{}\" would be a subject of the new stream {}, but {why}: narrow subjects, or make the stream \
             yourself",
            subject.value, target.value
        );
        report.warn(&subject.place, text, None);
    }
}

/// Two routes into one new stream, which would get the subjects of both.
fn warn_crossing(route: &RouteDraft, other: &RouteDraft, report: &Report) {
    let (Some(target), Some(theirs)) = (route.target(), other.target()) else {
        return;
    };
    let meet = |to: &Placed<_>| other.to.iter().any(|theirs| theirs.value == to.value);
    if target.value != theirs.value || !route.to.iter().any(meet) {
        return;
    }
    for ours in &route.subjects {
        let crosses = |theirs: &&Placed<SubjectFilter>| {
            ours.overlaps(theirs) && !ours.is_subset_of(theirs) && !theirs.is_subset_of(ours)
        };
        if let Some(theirs) = other.subjects.iter().find(crosses) {
            let text = format!(
                "\"{}\" and \"{}\" would both be subjects of the new stream {}, but a server refuses \
                 subjects of one stream that overlap",
                ours.value, theirs.value, target.value
            );
            report.warn(&ours.place, text, Some(&theirs.place));
        }
    }
}

/// A stream of the target's region from which records of the same subjects are read has them already.
fn warn_source(route: &RouteDraft, reader: &RouteDraft, report: &Report) {
    let (Some(from), Some(stream), Some(target)) = (&reader.from, &reader.stream, route.target())
    else {
        return;
    };
    let arrives = route.to.iter().any(|to| to.value == from.value);
    // An unfiltered reader says nothing about the subjects of what it reads.
    if !arrives || stream.value == target.value || !reader.is_filtered() || !route.is_filtered() {
        return;
    }
    if let Some((ours, theirs)) = overlap(route, reader) {
        let text = format!(
            "\"{}\" would be a subject of the new stream {} in {}, where {} has \"{}\" already: the server \
             refuses streams that share subjects",
            ours.value, target.value, from.value, stream.value, theirs.value
        );
        report.warn(&ours.place, text, Some(&theirs.place));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_are_refused_as_servers_do() {
        use SubjectRefusal::{All, Reserved, TakesIn};
        for (subject, expected) in [
            (">", Some(All)),
            ("*.>", Some(TakesIn("$JS.>"))),
            ("*.*", Some(TakesIn("$JS.>"))),
            ("*.x", Some(TakesIn("$JS.>"))),
            ("*.*.STREAM.CREATE.*", Some(TakesIn("$JS.>"))),
            ("$JS.>", Some(Reserved("$JS.>"))),
            ("$JS.API", Some(Reserved("$JS.>"))),
            ("$JSC.CI.>", Some(Reserved("$JSC.>"))),
            ("$NRG.>", Some(Reserved("$NRG.>"))),
            ("$SYS.>", Some(Reserved("$SYS.>"))),
            ("$SYS.REQ.>", Some(Reserved("$SYS.>"))),
            ("$SYS.ACCOUNT.*.CONNECT", None),
            ("$JS.EVENT.ADVISORY.>", None),
            ("*", None),
            ("$KV.>", None),
            ("$MQTT.>", None),
            ("orders.>", None),
        ] {
            let filter = SubjectFilter::parse(subject).unwrap();
            assert_eq!(subject_refusal(&filter), expected, "{subject}");
        }
    }
}
