//! What happens, and when.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use causeway_proto::id::SourceSeq;
use causeway_proto::reconcile::{Scanned, TargetFacts};
use causeway_proto::resume::SourceFacts;
use causeway_proto::run::{RunResult, Stalled};

use crate::net::Packet;

/// Something that happens in a world.
#[derive(Debug)]
pub enum Event {
    /// A packet arrives.
    Deliver(Packet),
    /// A side gives up a session.
    SessionLost(usize, u64),
    /// The bridges try to connect.
    Connect,
    /// An application publishes into a region's stream.
    Publish(usize, usize),
    /// The next fault.
    Fault,
    /// A direction of the link is whole again.
    CutEnds(usize),
    /// A bridge starts.
    BridgeStarts(usize),
    /// A server starts; `true`: its machine had lost power.
    ServerStarts(usize, bool),
    /// A region's quorum is back, and its streams have room again.
    RoomAgain(usize),
    /// A server reads on in what a connection sent.
    ServerReads(usize, u64),
    /// A consumer takes records out of the work queue of a region.
    Consume(usize),
    /// A server's data reaches its disk.
    Fsync(usize),
    /// To a bridge of this region that was started so many times.
    Bridge(usize, u64, BridgeEvent),
}

/// What happens to one bridge, unless it was killed meanwhile.
#[derive(Debug)]
pub enum BridgeEvent {
    /// It may go on: a pause ended, or a timer of its own.
    Wake,
    /// Its store writes to the disk.
    Flush,
    /// It writes its checkpoints.
    Report,
    /// A source told what it is; `reader` is what proves that it is still the same when reading.
    Found {
        /// The route.
        route: usize,
        /// Which question this answers.
        question: u64,
        /// The answer, or that the server did not answer.
        facts: Option<SourceFacts>,
        /// Generation of the server and incarnation of the stream.
        reader: (u64, u64),
        /// Creation of the stream.
        created_ns: u64,
    },
    /// The reader has something.
    Read(usize),
    /// A batch was handed over to the link.
    Sent(usize),
    /// A rejected record is kept aside.
    KeptAside(usize, SourceSeq, u64),
    /// A publisher tries to connect.
    ConnectTarget(usize),
    /// The target described itself; the number is of the connection.
    Described(usize, u64, Result<TargetFacts, Stalled>, Duration),
    /// The target was looked at.
    Scanned(usize, u64, Result<Scanned, Stalled>),
    /// A run ended.
    RunEnded(usize, u64, RunResult),
    /// A checkpoint is durable.
    Saved(usize),
}

/// Events in the order of their time; those of one moment in the order in which they were put in.
#[derive(Debug, Default)]
pub(super) struct Queue {
    heap: BinaryHeap<Reverse<Entry>>,
    order: u64,
}

#[derive(Debug)]
struct Entry {
    at: Duration,
    order: u64,
    event: Event,
}

impl Queue {
    /// Something will happen.
    pub(super) fn push(&mut self, at: Duration, event: Event) {
        self.order += 1;
        self.heap.push(Reverse(Entry {
            at,
            order: self.order,
            event,
        }));
    }

    /// What happens next, if it happens before `end`.
    pub(super) fn pop(&mut self, end: Duration) -> Option<(Duration, Event)> {
        if self.heap.peek()?.0.at > end {
            return None;
        }
        self.heap
            .pop()
            .map(|Reverse(entry)| (entry.at, entry.event))
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.order == other.order
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}
