//! A JetStream server as the protocol sees it: streams with sequences, retention, a dedupe window,
//! and runs of records that are stored as a prefix.
//!
//! One type serves as source and as target, since a stream of a region can be both. What a real server
//! may do and a careless replicator forgets is here: a PubAck is not an fsync, a duplicate is counted
//! as stored, a lost connection's last bytes are still stored later.

mod server;

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use causeway_proto::id::{Position, SourceSeq, StoredAt, TargetSeq};
use causeway_proto::reconcile::{Scanned, TargetFacts};
use causeway_proto::run::Evidence;

pub use self::server::{Job, SimServer};

/// The wall clock at virtual time zero, in nanoseconds since the Unix epoch.
const WALL_CLOCK_START: u64 = 1_700_000_000_000_000_000;

/// The wall clock at a virtual time.
pub fn wall_clock(now: Duration) -> u64 {
    WALL_CLOCK_START + u64::try_from(now.as_nanos()).expect("simulated time is short")
}

/// What a route wrote beside the record: provenance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamp {
    /// The route, by number.
    pub route: usize,
    /// Where it read the record.
    pub at: Position,
    /// Regions passed, by number, the origin first.
    pub hops: Vec<u8>,
    /// Part of the dedupe id where it is stored again.
    pub again: Option<u32>,
}

/// A message; what must survive the journey stands in its payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Subject.
    pub subject: String,
    /// Id (8 bytes), poison (1 byte), end of life in virtual nanoseconds or 0 (8 bytes), filler.
    pub payload: Bytes,
    /// Present where a route wrote it.
    pub stamp: Option<Stamp>,
}

impl Message {
    /// A message that an application publishes.
    pub fn new(
        subject: &str,
        id: u64,
        poison: bool,
        ends: Option<Duration>,
        filler: usize,
    ) -> Self {
        let mut payload = Vec::with_capacity(17 + filler);
        payload.extend(id.to_be_bytes());
        payload.push(u8::from(poison));
        let ends = ends.map_or(0, |at| u64::try_from(at.as_nanos()).unwrap_or(0));
        payload.extend(ends.to_be_bytes());
        payload.extend((0..filler).map(|at| (id as usize + at / 7) as u8));
        Self {
            subject: subject.to_owned(),
            payload: payload.into(),
            stamp: None,
        }
    }

    /// What identifies the content, wherever it is.
    pub fn id(&self) -> u64 {
        u64::from_be_bytes(
            self.payload[..8]
                .try_into()
                .expect("every payload begins with an id"),
        )
    }

    /// Whether every target refuses it for what it is.
    pub fn is_poison(&self) -> bool {
        self.payload[8] != 0
    }

    /// Whether its time to live is over.
    pub fn is_expired(&self, now: Duration) -> bool {
        let ends = self.payload[9..17]
            .try_into()
            .expect("every payload holds an end of life");
        let ends = u64::from_be_bytes(ends);
        ends != 0 && u128::from(ends) <= now.as_nanos()
    }
}

/// A message in a stream.
#[derive(Debug, Clone)]
pub struct Stored {
    /// When, by the wall clock; unique in the stream and rising.
    pub stored_at: u64,
    /// The message.
    pub message: Message,
}

/// How a stream is configured.
#[derive(Debug, Clone)]
pub struct StreamSettings {
    /// Consumers take messages away.
    pub work_queue: bool,
    /// Duplicate window.
    pub window: Duration,
    /// The server writes a marker where the last record of a subject ended.
    pub adds_markers: bool,
    /// Oldest messages leave beyond this count.
    pub messages_max: Option<usize>,
}

/// What became of a message that a server was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stores {
    /// It has this sequence now.
    At(u64),
    /// Its id was seen within the window.
    Duplicate,
    /// Refused.
    Refused(Refusal),
}

/// Why a server refuses a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// For what it is.
    Poison,
    /// The stream is at its limit.
    Full,
    /// The stream has no leader.
    NoQuorum,
}

/// A stream.
#[derive(Debug)]
pub struct SimStream {
    /// How it is configured.
    pub settings: StreamSettings,
    /// When it was created.
    pub created_ns: u64,
    /// Counts what breaks the meaning of sequences: roll-backs and creations. Nobody can ask for it.
    pub incarnation: u64,
    /// Last sequence given out.
    pub last_seq: u64,
    /// What it holds.
    pub messages: BTreeMap<u64, Stored>,
    /// Whether it is at its limit.
    pub is_full: bool,
    purged_through: u64,
    fsynced: u64,
    last_stored_at: u64,
    ids: BTreeMap<(u64, usize, Option<u32>), (Duration, u64)>,
}

impl SimStream {
    /// An empty stream.
    pub fn new(settings: StreamSettings, now: Duration) -> Self {
        Self {
            settings,
            created_ns: wall_clock(now),
            incarnation: 0,
            last_seq: 0,
            messages: BTreeMap::new(),
            is_full: false,
            purged_through: 0,
            fsynced: 0,
            last_stored_at: 0,
            ids: BTreeMap::new(),
        }
    }

    /// Stores a message. Only a route's messages carry a dedupe id.
    pub fn store(&mut self, message: Message, now: Duration) -> Stores {
        if message.is_poison() && message.stamp.is_some() {
            return Stores::Refused(Refusal::Poison);
        }
        let key = message
            .stamp
            .as_ref()
            .map(|stamp| (message.id(), stamp.route, stamp.again));
        self.ids
            .retain(|_, (at, _)| *at + self.settings.window > now);
        if key.is_some_and(|key| self.ids.contains_key(&key)) {
            return Stores::Duplicate;
        }
        if self.is_full && message.stamp.is_some() {
            return Stores::Refused(Refusal::Full);
        }
        self.last_seq += 1;
        self.last_stored_at = wall_clock(now).max(self.last_stored_at + 1);
        if let Some(key) = key {
            self.ids.insert(key, (now, self.last_seq));
        }
        let stored = Stored {
            stored_at: self.last_stored_at,
            message,
        };
        self.messages.insert(self.last_seq, stored);
        if self
            .settings
            .messages_max
            .is_some_and(|max| self.messages.len() > max)
        {
            self.messages.pop_first();
        }
        Stores::At(self.last_seq)
    }

    /// First sequence still there.
    pub fn first_seq(&self) -> u64 {
        let first = self
            .messages
            .first_key_value()
            .map_or(self.last_seq + 1, |(seq, _)| *seq);
        first.max(self.purged_through + 1)
    }

    /// Removes everything up to a sequence.
    pub fn purge(&mut self, through: u64) {
        self.messages.retain(|seq, _| *seq > through);
        self.purged_through = self.purged_through.max(through.min(self.last_seq));
    }

    /// What is stored survives a crash of the server.
    pub fn fsync(&mut self) {
        self.fsynced = self.last_seq;
    }

    /// The server's machine lost power: everything behind `through`, or at least what was never
    /// written to the disk, is gone. Returns the last sequence that is left.
    pub fn lose_tail(&mut self, through: u64) -> u64 {
        let through = through.clamp(self.fsynced.min(self.last_seq), self.last_seq);
        if through < self.last_seq {
            self.go_back(through);
        }
        through
    }

    /// An older state is put back.
    pub fn go_back(&mut self, through: u64) {
        self.incarnation += 1;
        self.last_seq = through;
        self.purged_through = self.purged_through.min(through);
        self.fsynced = self.fsynced.min(through);
        self.messages.retain(|seq, _| *seq <= through);
        self.ids.retain(|_, (_, seq)| *seq <= through);
    }

    /// The stream is deleted and made anew.
    pub fn recreate(&mut self, now: Duration) {
        let incarnation = self.incarnation + 1;
        let last_stored_at = self.last_stored_at;
        *self = Self {
            incarnation,
            last_stored_at,
            ..Self::new(self.settings.clone(), now)
        };
    }

    /// Records end, and the markers that the server writes for them end, too.
    pub fn end_with_markers(&mut self, count: u64) {
        for _ in 0..count {
            self.messages.pop_first();
            self.last_seq += 1;
        }
    }

    /// The stream as the target's bridge is told.
    pub fn target_facts(&self) -> TargetFacts {
        TargetFacts {
            created_ns: self.created_ns,
            first_seq: TargetSeq(self.first_seq()),
            last_seq: TargetSeq(self.last_seq),
            evidence_stays: !self.settings.work_queue,
            adds_markers: self.settings.adds_markers,
        }
    }

    /// Looks for a route's records, as the publisher does.
    pub fn scan(
        &self,
        route: usize,
        from: TargetSeq,
        to: TargetSeq,
        through: Option<SourceSeq>,
    ) -> Scanned {
        let mut scanned = Scanned::default();
        for seq in from.0..=to.0 {
            match self.messages.get(&seq).map(|stored| &stored.message.stamp) {
                None => scanned.unseen_behind += 1,
                Some(Some(stamp))
                    if stamp.route == route && through.is_some_and(|at| stamp.at.seq > at) =>
                {
                    scanned.passed_over = scanned.passed_over.max(Some(stamp.at.seq));
                }
                Some(Some(stamp)) if stamp.route == route => {
                    let (source, target_seq) = (stamp.at, TargetSeq(seq));
                    scanned.last = Some(Evidence { source, target_seq });
                    (scanned.unseen_behind, scanned.passed_over) = (0, None);
                }
                Some(_) => scanned.foreign += 1,
            }
        }
        scanned
    }

    /// First sequence whose record was stored after the record of a position.
    pub fn younger_from(&self, position: Position) -> SourceSeq {
        if position.stored_at == StoredAt(0) {
            return SourceSeq(position.seq.0 + 1);
        }
        let is_younger = |stored: &Stored| stored.stored_at > position.stored_at.0;
        let first = self.messages.iter().find(|(_, stored)| is_younger(stored));
        SourceSeq(first.map_or(self.last_seq + 1, |(seq, _)| *seq))
    }
}
