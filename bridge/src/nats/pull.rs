//! Reads a stream through ephemeral pull consumers: gap-free, in order, for ever.
//!
//! The consumer is the server's; the position is ours. It is made in memory, without acks, and is
//! made anew behind the last position whenever anything about it is in doubt: the connection was
//! lost, its deliveries are not numbered one after the other, its heartbeats stay out, or the
//! server says that it is gone. So nothing is lost and nothing repeated whatever happens to it.
//!
//! # Progress without records
//! An idle consumer's heartbeat names the last sequence that it has looked at. What lies between
//! the last record and there matches no filter, so progress is declared past it
//! ([`ReadEvent::CaughtUp`]), at no cost.
//!
//! # Back-pressure
//! The caller says how many bytes it will take ([`PullReader::allow`]); no more than that is ever
//! asked for, except that a single record larger than all of it passes alone. See `credit`.
//!
//! # What the reader cannot see
//! A stream that was deleted and made again, or rolled back: its sequences start over. From 2.11 on
//! the server lets a consumer wait at a sequence that is not there yet, so such a stream is merely
//! silent. Whoever owns the route compares the stream's identity at each [`ReadEvent::Opened`].

mod ack;
mod api;
mod credit;
mod reader;
mod records;

use std::time::Duration;

use causeway_proto::id::{SourceSeq, StoredAt};

pub use reader::PullReader;
pub use records::RecordBlock;

/// Where reading begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// At the first record that the stream still has.
    All,
    /// Behind the last record that the stream has now.
    New,
    /// At this sequence, or the first after it.
    At(SourceSeq),
    /// At the first record stored at this time or later.
    Since(StoredAt),
}

/// What a reader needs to know.
#[derive(Debug, Clone)]
pub struct PullOptions {
    /// The stream.
    pub stream: String,
    /// Subjects to read; empty for all. They must not overlap.
    pub filter_subjects: Vec<String>,
    /// Where to begin.
    pub start: Start,
    /// `$JS.API`, or `$JS.<domain>.API`.
    pub api_prefix: String,
    /// First part of the consumer's name, which `nats consumer ls` shows. Default `causeway`.
    pub name: String,
    /// How often an idle server must show that the consumer is there. Default 2 s; after two
    /// missing ones the consumer is made anew.
    pub heartbeat: Duration,
    /// How long a pull stays open. Default 30 s.
    pub expires: Duration,
    /// After how long without pulls the server removes the consumer. Default 60 s.
    pub inactive_threshold: Duration,
    /// How long an answer of the JetStream API is waited for. Default 2 s.
    pub request_timeout: Duration,
}

impl PullOptions {
    /// Defaults for a whole stream.
    pub fn new(stream: impl Into<String>, start: Start) -> Self {
        Self {
            stream: stream.into(),
            filter_subjects: Vec::new(),
            start,
            api_prefix: "$JS.API".to_owned(),
            name: "causeway".to_owned(),
            heartbeat: Duration::from_secs(2),
            expires: Duration::from_secs(30),
            inactive_threshold: Duration::from_secs(60),
            request_timeout: Duration::from_secs(2),
        }
    }
}

/// What a reader yields.
#[derive(Debug)]
pub enum ReadEvent {
    /// A consumer stands; what follows was read by it. The moment to look at the stream's identity,
    /// before the next event is asked for.
    Opened {
        /// Everything up to here is behind us: read before, or gone from the stream.
        follows: SourceSeq,
        /// Records that match the filters and are still to come.
        pending: u64,
    },
    /// Records.
    Records(RecordBlock),
    /// There is no further record for these filters up to and including this sequence.
    CaughtUp {
        /// The last sequence that the server has looked at.
        through: SourceSeq,
    },
    /// Reading stopped, and goes on by itself when it can; told once for each reason in a row.
    Interrupted {
        /// Why.
        problem: ReadProblem,
    },
}

/// Why reading stopped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadProblem {
    /// The connection is lost; [`Client::watch`](super::Client::watch) says why.
    #[error("the connection to NATS is lost")]
    Disconnected,
    /// Nobody answers the JetStream API: it is off, or has no leader at the moment.
    #[error("JetStream does not answer")]
    NoResponders,
    /// JetStream did not answer in time.
    #[error("JetStream did not answer in time")]
    Timeout,
    /// JetStream refused to make the consumer.
    #[error("JetStream refuses the consumer: {description} ({err_code})")]
    Refused {
        /// HTTP-like code.
        code: u16,
        /// JetStream's own code; 10059 is "stream not found".
        err_code: u32,
        /// The server's words.
        description: String,
    },
    /// Our user may not use a subject that reading needs: a person must act.
    #[error("permission denied: {0}")]
    Denied(String),
    /// The server says that the consumer is gone or of no use.
    #[error("the consumer is gone: {0}")]
    ConsumerLost(String),
    /// Neither records nor heartbeats came.
    #[error("the consumer is silent")]
    Silent,
    /// Deliveries were lost on the way.
    #[error("delivery {expected} is missing")]
    Gap {
        /// The number that should have come.
        expected: u64,
    },
    /// The stream is shorter than what was read of it: it was restored, rolled back or made anew.
    #[error("the stream went back to {found}, and {position} was read already")]
    WentBack {
        /// The last sequence read.
        position: SourceSeq,
        /// What the server offers to read behind.
        found: SourceSeq,
    },
    /// The server's answer cannot be read.
    #[error("the answer of JetStream cannot be read")]
    Malformed,
}
