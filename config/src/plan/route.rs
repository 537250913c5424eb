//! A route's leg, and what it may say of its start, its priority and its target.

use std::time::Duration;

use causeway_proto::id::{RegionId, RouteName, SourceSeq, StoredAt, StreamName};
use causeway_proto::subject::SubjectSet;

use crate::unit::ByteSize;

/// One leg of a route: one source stream to one target region. A route of the file with several
/// regions in `to` makes as many legs, alike but for `to`; (name, to) is unique.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoutePlan {
    /// Name in the file.
    pub name: RouteName,
    /// Source region.
    pub from: RegionId,
    /// Target region; linked with `from`.
    pub to: RegionId,
    /// Source stream.
    pub stream: StreamName,
    /// Which of its subjects travel. No two of the filters overlap; at least one.
    pub subjects: SubjectSet,
    /// Target stream.
    pub target: StreamName,
    /// Where a route without a checkpoint begins.
    pub start: Start,
    /// Who goes first on the link; none: live while it is current, bulk while it catches up.
    pub priority: Option<Priority>,
    /// Whether records get a dedupe id. False only where `writers` is [`Writers::Route`].
    pub dedupe_ids: bool,
    /// How far the promise of no duplicate goes.
    pub exactly_once: ExactlyOnce,
    /// Who else writes the target stream.
    pub writers: Writers,
    /// What keeps a paused and resumed sidecar from doing harm.
    pub fence: Fence,
    /// How to create the target stream when it is missing; none: it must exist.
    pub create: Option<CreatePlan>,
}

/// Where a route without a checkpoint begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// With the first record that the source still has.
    First,
    /// With records stored from now on.
    New,
    /// With this sequence of the source stream; 1 or more.
    Sequence(SourceSeq),
    /// With the first record stored at this time or later.
    Time(StoredAt),
}

/// Order of precedence; the lesser goes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Priority {
    /// Before everything else: somebody waits for it.
    Live,
    /// Behind what is live, before what is bulk.
    Normal,
    /// With what the others leave.
    Bulk,
}

/// How far the promise of no duplicate goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExactlyOnce {
    /// Always; a target that cannot give the evidence for it is refused.
    Always,
    /// Only inside the target stream's duplicate window.
    Window,
}

/// Who writes a target stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writers {
    /// This route and nobody else.
    Route,
    /// Others too: other routes, or applications of the target region.
    Shared,
}

/// What keeps a paused and resumed sidecar from doing harm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fence {
    /// The batch that the target's server holds open, and the proven end of the old connection.
    Connection,
    /// An expected sequence on each publish. The server stores that header with the record.
    Sequence,
}

/// How to create a target stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreatePlan {
    /// Copies in the target's cluster, 1 to 5.
    pub replicas: u8,
    /// Where they are kept.
    pub storage: Storage,
    /// Records older than this are dropped; none: never.
    pub max_age: Option<Duration>,
    /// The oldest records are dropped above this size; none: never.
    pub max_bytes: Option<ByteSize>,
    /// The oldest records are dropped above this count; none: never.
    pub max_msgs: Option<u64>,
    /// How long the server remembers dedupe ids; 100 ms or more.
    pub duplicate_window: Duration,
    /// Whether the stream takes fast ingest (servers from 2.14).
    pub allow_batched: bool,
    /// Whether the server acknowledges what it has yet to write (servers from 2.12).
    pub persist_mode: PersistMode,
}

impl Default for CreatePlan {
    fn default() -> Self {
        Self {
            replicas: 1,
            storage: Storage::File,
            max_age: None,
            max_bytes: None,
            max_msgs: None,
            duplicate_window: Duration::from_secs(2),
            allow_batched: true,
            persist_mode: PersistMode::Default,
        }
    }
}

/// When a stream's server acknowledges a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PersistMode {
    /// When it is written.
    Default,
    /// Before: what it has not written is lost when it is killed.
    Async,
}

/// Where a stream is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Storage {
    /// On disk.
    File,
    /// In memory.
    Memory,
}
