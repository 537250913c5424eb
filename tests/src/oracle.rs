//! The judge outside the world: it sees both regions, the wire and the disks, shares no state with
//! the protocol, and says which of the invariants I1 to I9 (ARCHITECTURE.md, "What holds") was broken.
//!
//! A record is told by its store time at the source, which no two records of a region share.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use causeway_proto::checkpoint::TargetCheckpoint;
use causeway_proto::id::{Epoch, Position, SourceSeq};
use causeway_proto::tally::Tally;

use crate::jetstream::{Message, SimStream, Stamp};
use crate::world::route::Path;

/// What the oracle knows of a route.
#[derive(Debug, Default)]
pub struct RouteBook {
    /// Stored at the target: store time at the source, sequence in the target.
    accepted: BTreeMap<u64, u64>,
    /// Stored in a target that was deleted since, or before an operator asked for it again.
    deleted: BTreeSet<u64>,
    /// Kept aside in the source's region.
    aside: BTreeSet<u64>,
    /// Dropped because their time to live was over.
    expired: BTreeSet<u64>,
    /// Since when the source (first) and the target (second) may hold other things than the bridges
    /// can know.
    surprised: [Option<Duration>; 2],
    /// Since when the target holds less, and its bridge has not looked. What it takes until then covers the hole: it
    /// stands ahead of what is missing, and is sent again behind it.
    hole: Option<Duration>,
    checkpoint: Option<TargetCheckpoint>,
    /// The incarnation of the target when its bridge last said that it went back; `None` where that is not known any more.
    reported: Option<u64>,
    /// The epoch of what the source holds now, since both bridges know it.
    epoch: Epoch,
}

/// See the module.
#[derive(Debug)]
pub struct Oracle {
    paths: Vec<Path>,
    books: Vec<RouteBook>,
    /// Everything that a source stream ever held: its content by region, stream and store time.
    history: BTreeMap<(usize, usize, u64), u64>,
    failure: Option<String>,
}

/// What must become of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// It must not be in the target.
    Stays,
    /// It must be in the target.
    Travels,
    /// It must be in the target, or have expired.
    TravelsOrExpires,
    /// It must be kept aside, or have expired.
    KeptAside,
}

impl Oracle {
    /// An oracle of a world with these routes.
    pub fn new(paths: Vec<Path>) -> Self {
        let fresh = || RouteBook {
            reported: Some(0),
            ..RouteBook::default()
        };
        let books = paths.iter().map(|_| fresh()).collect();
        Self {
            paths,
            books,
            history: BTreeMap::new(),
            failure: None,
        }
    }

    /// The first broken invariant.
    pub fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }

    /// Notes a broken invariant; the first one counts.
    pub fn fail(&mut self, what: String) {
        self.failure.get_or_insert(what);
    }

    // --- What happened in the streams ------------------------------------------------------------

    /// A stream stored a message.
    pub fn stored(&mut self, region: usize, stream: usize, seq: u64, kept: &SimStream) {
        let Some(stored) = kept.messages.get(&seq) else {
            return;
        };
        self.history
            .insert((region, stream, stored.stored_at), stored.message.id());
        if let Some(stamp) = &stored.message.stamp {
            self.accept(region, seq, stamp, &stored.message);
        }
    }

    fn accept(&mut self, region: usize, seq: u64, stamp: &Stamp, message: &Message) {
        let (route, at) = (stamp.route, stamp.at.stored_at.0);
        let path = self.paths[route];
        let source = (path.from, path.source, at);
        if self.history.get(&source) != Some(&message.id()) {
            self.fail(format!(
                "route {route}: target stored what no source held: {stamp:?}"
            ));
        }
        if stamp.hops.contains(&(region as u8)) {
            self.fail(format!(
                "I5: route {route} brought a record back: {stamp:?}"
            ));
        }
        if matches!(self.fate(route, message), Fate::Stays) {
            self.fail(format!(
                "I4: route {route} stored {} in region {region}",
                message.subject
            ));
        }
        let book = &mut self.books[route];
        if book.hole.is_some() {
            book.deleted.insert(at);
            return;
        }
        let last = book.accepted.last_key_value().map(|(at, seq)| (*at, *seq));
        if let Some(before) = book.accepted.insert(at, seq) {
            let position = stamp.at.seq;
            self.fail(format!(
                "I2: route {route} stored source {position} twice, at {before} and {seq}"
            ));
        } else if let Some((last_at, last_seq)) = last
            && at < last_at
        {
            let position = stamp.at.seq;
            self.fail(format!(
                "I3: route {route} stored source {position} at {seq}, behind a later record at {last_seq}"
            ));
        }
    }

    /// A stream is deleted and made anew. What was stored in it was accepted all the same.
    pub fn recreated(&mut self, region: usize, stream: usize, now: Duration) {
        for (path, book) in self.paths.iter().zip(&mut self.books) {
            if (path.to, path.target) == (region, stream) {
                book.deleted.extend(book.accepted.keys());
            }
        }
        self.went_back(region, stream, 0, now);
    }

    /// A stream holds nothing behind `through` any more.
    pub fn went_back(&mut self, region: usize, stream: usize, through: u64, now: Duration) {
        for (path, book) in self.paths.iter().zip(&mut self.books) {
            if (path.to, path.target) == (region, stream) {
                book.accepted.retain(|_, seq| *seq <= through);
                book.surprised[1] = Some(now);
                book.hole = Some(now);
                book.checkpoint = None;
            }
            if (path.from, path.source) == (region, stream) {
                book.surprised[0] = Some(now);
                book.checkpoint = None;
            }
        }
    }

    /// A target's bridge has looked, and asked at this time.
    pub fn target_described(&mut self, route: usize, at: Duration) {
        self.books[route].hole.take_if(|since| *since < at);
    }

    /// A bridge was killed: what it had not written to its disk it has forgotten.
    pub fn bridge_killed(&mut self, route: usize) {
        let book = &mut self.books[route];
        book.checkpoint = None;
        book.reported.take_if(|reported| *reported > 0);
    }

    /// A bridge says that its target, which it saw in this incarnation, went back.
    pub fn went_back_reported(&mut self, route: usize, incarnation: u64) {
        let before = self.books[route].reported.replace(incarnation);
        if before == Some(incarnation) {
            self.fail(format!(
                "route {route} reports that its target went back, which did not"
            ));
        }
    }

    /// An operator asks for records a second time.
    pub fn seek(&mut self, route: usize) {
        let book = &mut self.books[route];
        book.deleted.extend(book.accepted.keys());
        book.accepted.clear();
        book.checkpoint = None;
    }

    /// A record was kept aside in its own region.
    pub fn kept_aside(&mut self, route: usize, stored_at: u64) {
        self.books[route].aside.insert(stored_at);
    }

    /// A publisher found a record out of date.
    pub fn expired(&mut self, route: usize, at: Position) {
        self.books[route].expired.insert(at.stored_at.0);
    }

    /// A lane of an epoch begins: both bridges have looked at their streams, at these times.
    pub fn resumed(
        &mut self,
        route: usize,
        epoch: Epoch,
        source_seen: Duration,
        target_seen: Duration,
    ) {
        let book = &mut self.books[route];
        let settled = |since: Option<Duration>, seen| since.is_none_or(|since| since < seen);
        if settled(book.surprised[0], source_seen) && settled(book.surprised[1], target_seen) {
            book.surprised = [None, None];
            book.epoch = epoch;
        }
    }

    // --- What the bridges say --------------------------------------------------------------------

    /// I4: a record is on the wire.
    pub fn on_the_wire(&mut self, route: usize, subject: &[u8]) {
        if !subject.starts_with(b"open.") && !subject.starts_with(b"skew.") {
            let subject = String::from_utf8_lossy(subject).into_owned();
            self.fail(format!("I4: route {route} sent a record of {subject}"));
        }
    }

    /// I1, I6: a target's bridge keeps a checkpoint.
    pub fn target_checkpoint(
        &mut self,
        route: usize,
        saved: &TargetCheckpoint,
        target: &SimStream,
        source: &SimStream,
        seen: Duration,
    ) {
        let before = self.books[route].checkpoint;
        if self.books[route].surprised[1].is_some_and(|since| since >= seen) {
            return; // the bridge cannot know yet
        }
        if saved.target_seq.0 > target.last_seq && saved.target_created_ns == target.created_ns {
            let (said, last) = (saved.target_seq, target.last_seq);
            self.fail(format!(
                "I6: route {route} keeps target sequence {said} of {last}"
            ));
        }
        let passed = saved.target_seq.0 + 1..=saved.passed.0;
        let own = |seq: &&u64| passed.contains(seq);
        if !passed.is_empty()
            && let Some(seq) = self.books[route].accepted.values().find(own)
        {
            self.fail(format!(
                "I6: route {route} passes its own record, target sequence {seq}: {saved:?}"
            ));
        }
        if let Some(before) = before
            && (saved.source_epoch, saved.at.seq) < (before.source_epoch, before.at.seq)
            && saved.source_epoch.0 != 0
        {
            self.fail(format!(
                "I6: route {route} went back from {before:?} to {saved:?}"
            ));
        }
        self.books[route].checkpoint = Some(*saved);
        if saved.source_epoch == self.books[route].epoch {
            self.settled(route, saved.at.seq, source, "the target");
        }
    }

    /// I1, I6: all of a source up to here is said to be settled.
    pub fn settled(&mut self, route: usize, through: SourceSeq, source: &SimStream, who: &str) {
        if self.books[route].surprised != [None, None] {
            return;
        }
        for (seq, stored) in source.messages.range(..=through.0) {
            if let Some(fault) = self.fault(route, stored.stored_at, &stored.message) {
                self.fail(format!(
                    "I1: {who} of route {route} says {through}, source {seq} {fault}"
                ));
                return;
            }
        }
    }

    /// I8: the books of a route.
    pub fn totals(&mut self, route: usize, totals: Tally) {
        if !totals.balances() {
            self.fail(format!(
                "I8: books of route {route} do not balance: {totals:?}"
            ));
        }
    }

    /// At the end everything that is in the source must have its outcome.
    pub fn audit(&mut self, route: usize, source: &SimStream) {
        self.books[route].surprised = [None, None];
        self.settled(route, SourceSeq(source.last_seq), source, "the end");
    }

    // --- What ought to be ------------------------------------------------------------------------

    fn fault(&self, route: usize, stored_at: u64, message: &Message) -> Option<&'static str> {
        let book = &self.books[route];
        let accepted = book.accepted.contains_key(&stored_at) || book.deleted.contains(&stored_at);
        let expired = book.expired.contains(&stored_at);
        let aside = book.aside.contains(&stored_at);
        match self.fate(route, message) {
            Fate::Stays if accepted => Some("is in the target and must not be"),
            Fate::Travels if !accepted => Some("is not in the target"),
            Fate::TravelsOrExpires if !accepted && !expired => Some("is gone without an outcome"),
            Fate::KeptAside if !aside && !expired => Some("was rejected and not kept aside"),
            _ => None,
        }
    }

    fn fate(&self, route: usize, message: &Message) -> Fate {
        let to = self.paths[route].to as u8;
        let before = message.stamp.as_ref().filter(|stamp| stamp.route != route);
        let returns = before.is_some_and(|stamp| stamp.hops.contains(&to));
        if returns || !message.subject.starts_with("open.") {
            Fate::Stays
        } else if message.is_poison() || message.subject.contains(' ') {
            Fate::KeptAside
        } else if message.is_expired(Duration::MAX) {
            Fate::TravelsOrExpires
        } else {
            Fate::Travels
        }
    }
}
