//! The server of a region: its streams, and what connections have sent and it has not yet read.

use std::collections::{BTreeMap, VecDeque};

use causeway_proto::id::TargetSeq;
use causeway_proto::run::RunEnd;

use super::{Message, Refusal, SimStream};

/// A run on its way through a connection into a stream, and what was said of it so far.
#[derive(Debug)]
pub struct Job {
    /// The route that publishes.
    pub route: usize,
    /// Number of the run, which its answer names.
    pub run: u64,
    /// The stream, by its number in the region.
    pub stream: usize,
    /// What is still to be stored.
    pub messages: VecDeque<Message>,
    /// The target's last sequence before the run, where the route alone writes.
    pub expected_last: Option<TargetSeq>,
    /// Why the publisher itself ended the run early.
    pub cut: Option<RunEnd>,
    /// Records stored or counted as such.
    pub count: u32,
    /// Sequence of the last one.
    pub last_seq: u64,
    /// What ended the run at the server.
    pub refusal: Option<Refusal>,
}

/// The server of a region.
#[derive(Debug)]
pub struct SimServer {
    /// Whether it runs.
    pub up: bool,
    /// Counts its starts: connections of another one are gone.
    pub generation: u64,
    /// Whether its streams have a leader.
    pub quorum: bool,
    /// Its streams.
    pub streams: Vec<SimStream>,
    /// What connections have sent and the server has not yet read.
    pub inboxes: BTreeMap<u64, VecDeque<Job>>,
}

impl SimServer {
    /// A running server.
    pub fn new(streams: Vec<SimStream>) -> Self {
        Self {
            up: true,
            generation: 0,
            quorum: true,
            streams,
            inboxes: BTreeMap::new(),
        }
    }

    /// Ends without warning: what it has not read is gone.
    pub fn crash(&mut self) {
        self.up = false;
        self.inboxes.clear();
    }

    /// Runs again.
    pub fn start(&mut self) {
        self.up = true;
        self.generation += 1;
    }
}
