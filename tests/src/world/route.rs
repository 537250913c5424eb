//! A route of the world: where it leads, and what its two drivers hold.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use causeway_proto::checkpoint::{SourceCheckpoint, TargetCheckpoint};
use causeway_proto::codec::{EncodedBatch, LaneDecoder, LaneEncoder};
use causeway_proto::frame::{LaneClass, Resume};
use causeway_proto::id::{ClassName, Epoch, LaneId, RegionId, RouteName, StreamName};
use causeway_proto::receiver::{Action, Receiver, ReceiverConfig};
use causeway_proto::residency::{Regions, ResidencyClass, ResidencyPolicy};
use causeway_proto::sender::{Sender, SenderConfig};
use causeway_proto::subject::SubjectFilter;

use super::options::{Options, Shape};

/// Where a route leads; regions and streams by number.
#[derive(Debug, Clone, Copy)]
pub struct Path {
    /// The source's region.
    pub from: usize,
    /// The source stream in it.
    pub source: usize,
    /// The target's region.
    pub to: usize,
    /// The target stream in it.
    pub target: usize,
    /// Whether the route alone writes the target.
    pub sole: bool,
}

impl Path {
    /// The paths of a shape.
    pub fn of(shape: Shape) -> Vec<Self> {
        let sole = shape == Shape::Alone || shape == Shape::BothWays;
        let first = Self {
            from: 0,
            source: 0,
            to: 1,
            target: 0,
            sole,
        };
        match shape {
            Shape::Alone => vec![first],
            Shape::SharedTarget => vec![first, Self { source: 1, ..first }],
            Shape::BothWays => vec![
                first,
                Self {
                    from: 1,
                    source: 1,
                    to: 0,
                    target: 1,
                    sole,
                },
            ],
            Shape::Mirrored => vec![
                first,
                Self {
                    from: 1,
                    to: 0,
                    ..first
                },
            ],
        }
    }
}

/// A route and its drivers; `None` while the bridge of that side does not run.
#[derive(Debug)]
pub struct Route {
    /// Its name.
    pub name: RouteName,
    /// Where it leads.
    pub path: Path,
    /// The driver of the sender.
    pub outbound: Option<Outbound>,
    /// The driver of the receiver.
    pub inbound: Option<Inbound>,
}

/// What the driver of a sender holds.
#[derive(Debug)]
pub struct Outbound {
    /// The state machine.
    pub sender: Sender,
    /// What is written to the store next.
    pub checkpoint: SourceCheckpoint,
    /// What was written last.
    pub saved: SourceCheckpoint,
    /// The question to the source that is under way.
    pub finding: Option<u64>,
    /// The target's answer, until the source's facts are known.
    pub resume: Option<Resume>,
    /// The lane's compression.
    pub encoder: Option<LaneEncoder>,
    /// A batch that waits for credit.
    pub ready: Option<EncodedBatch>,
    /// The link is busy with a batch.
    pub sending: bool,
    /// What proves that the reader still reads the same stream.
    pub reader: Option<(u64, u64)>,
    /// A look at the stream is due.
    pub read_due: bool,
    /// A rejected record is being kept aside.
    pub keeping: bool,
    /// Nothing is tried before.
    pub retry_at: Option<Duration>,
    /// When the facts were asked for.
    pub asked_at: Duration,
    /// Bytes in flight as the oracle counts them.
    pub books: CreditBooks,
}

/// An independent count of credit.
#[derive(Debug, Default)]
pub struct CreditBooks {
    /// Granted in all.
    pub granted: u64,
    /// Sent in all.
    pub sent: u64,
    /// The ends of batches not acknowledged.
    pub unacknowledged: VecDeque<u64>,
}

/// What the driver of a receiver holds.
#[derive(Debug)]
pub struct Inbound {
    /// The state machine.
    pub receiver: Receiver,
    /// The lane's decompression.
    pub decoder: Option<(LaneId, LaneDecoder)>,
    /// The connection to the target.
    pub connection: Option<u64>,
    /// A question or a run is under way at the target.
    pub busy: bool,
    /// What to ask the target next.
    pub next: Option<Action>,
    /// The number of the run under way.
    pub run: u64,
    /// When a timer was last set for.
    pub timer: Option<Duration>,
    /// When the target was last described.
    pub described_at: Duration,
    /// The incarnation of the target that it was asked to describe last.
    pub described_incarnation: u64,
    /// Which of these descriptions the last resume point rests on.
    pub resumes_seen_at: Duration,
}

impl Outbound {
    /// A driver as a new process makes it.
    pub fn new(config: SenderConfig, known: Option<SourceCheckpoint>) -> Self {
        let fresh = SourceCheckpoint {
            epoch: Epoch(1),
            ..SourceCheckpoint::default()
        };
        let checkpoint = known.unwrap_or(fresh);
        Self {
            sender: Sender::new(config, checkpoint.epoch, checkpoint.watermark),
            checkpoint,
            saved: checkpoint,
            finding: None,
            resume: None,
            encoder: None,
            ready: None,
            sending: false,
            reader: None,
            read_due: false,
            keeping: false,
            retry_at: None,
            asked_at: Duration::ZERO,
            books: CreditBooks::default(),
        }
    }
}

impl Inbound {
    /// A driver as a new process makes it.
    pub fn new(config: ReceiverConfig, known: Option<TargetCheckpoint>) -> Self {
        Self {
            receiver: Receiver::new(config, known),
            decoder: None,
            connection: None,
            busy: false,
            next: None,
            run: 0,
            timer: None,
            described_at: Duration::ZERO,
            described_incarnation: 0,
            resumes_seen_at: Duration::ZERO,
        }
    }
}

/// A region's name.
pub fn region(number: usize) -> RegionId {
    RegionId::new(["eu", "us"][number]).expect("a plain name")
}

/// A route's name.
pub fn route_name(number: usize) -> RouteName {
    RouteName::new(["orders", "events"][number]).expect("a plain name")
}

/// The sender's configuration.
pub fn sender_config(number: usize, path: Path, options: &Options) -> SenderConfig {
    SenderConfig {
        route: route_name(number),
        stream: StreamName::new(["ORDERS", "EVENTS"][path.source]).expect("a plain name"),
        to: region(path.to),
        class: LaneClass::Live,
        policy: Arc::new(policy(path.from, true)),
        batch_len_max: options.batch_len_max,
        batch_records_max: options.batch_records_max,
    }
}

/// The receiver's configuration.
pub fn receiver_config(path: Path, options: &Options) -> ReceiverConfig {
    ReceiverConfig {
        here: region(path.to),
        policy: Arc::new(policy(path.from, false)),
        sole: path.sole,
        window_suffices: false,
        credit_window: options.credit_window,
        decoded_max: options.decoded_max,
        run_records_max: options.run_records_max,
        run_len_max: options.run_len_max,
        rest_max: Duration::from_secs(60),
    }
}

/// `open.>` may go anywhere, `skew.>` only by the source's rules, `secret.>` stays at home.
fn policy(home: usize, lenient: bool) -> ResidencyPolicy {
    let class = |name: &str, subjects: &str, regions: Regions| ResidencyClass {
        name: ClassName::new(name).expect("a plain name"),
        subjects: vec![SubjectFilter::parse(subjects).expect("a plain filter")],
        regions,
    };
    let only_home = || Regions::Only([region(home)].into());
    let mut classes = vec![
        class("open", "open.>", Regions::Any),
        class("secret", "secret.>", only_home()),
    ];
    if lenient {
        classes.push(class("skew", "skew.>", Regions::Any));
    }
    ResidencyPolicy::new(classes).expect("a handful of classes")
}
