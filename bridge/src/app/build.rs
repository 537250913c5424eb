//! From a plan's legs to the state machines and adapters that run them.

use std::sync::Arc;
use std::time::Duration;

use causeway_config::plan::{
    CreatePlan, ExactlyOnce, Fence, PersistMode, Plan, Priority, RoutePlan, Start, Storage, Writers,
};
use causeway_proto::checkpoint::{SourceCheckpoint, TargetCheckpoint};
use causeway_proto::codec::Effort;
use causeway_proto::frame::LaneClass;
use causeway_proto::id::{Epoch, Position, RegionId, SourceSeq, StoredAt};
use causeway_proto::lanes::BATCH_LEN_MAX;
use causeway_proto::receiver::{Receiver, ReceiverConfig};
use causeway_proto::residency::ResidencyPolicy;
use causeway_proto::sender::{Sender, SenderConfig};
use rand::Rng as _;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::checkpoint::{CheckpointKey, CheckpointStore, SledStore};
use crate::command::{Asked, RouteControl, SeekTo};
use crate::control::Control;
use crate::publisher::{Stamp, TargetConfig};
use crate::reporter::RouteReporter;
use crate::session::{Direction, RouteEvent, RouteHandle};
use crate::source::Judge;
use crate::status::Board;

/// Records after which a batch is full.
const BATCH_RECORDS: u32 = 16_384;
/// Wire bytes in flight of all lanes that arrive in this process; each gets its share.
const CREDIT_ALL: u64 = 16 << 20;
/// No lane gets more, none less: two batches must fit, or the link waits for the target.
const CREDIT_LANE_MAX: u64 = 8 << 20;
const CREDIT_LANE_MIN: u64 = 1 << 20;
/// Plain bytes that wait decoded for a target; the rest waits compressed.
const DECODED_MAX: usize = 4 << 20;
/// A run as long as this keeps a fast target busy between two answers.
const RUN_RECORDS: u32 = 8192;
const RUN_LEN: usize = 2 << 20;
/// How long a target is not looked at, drawn for each route: a thousand routes do not ask at once.
const REST_MAX: std::ops::Range<Duration> = Duration::from_secs(60)..Duration::from_secs(90);

/// A route that was never read: the first incarnation.
const FRESH: SourceCheckpoint = SourceCheckpoint {
    epoch: Epoch(1),
    stream_created_ns: 0,
    watermark: Position {
        seq: SourceSeq(0),
        stored_at: StoredAt(0),
    },
    first: None,
    sought: false,
    paused: false,
};

/// What a leg that leaves is made of.
pub(super) struct OutboundLeg {
    pub(super) sender: Sender,
    pub(super) control: Control,
    pub(super) stream: String,
    pub(super) filters: Vec<String>,
    pub(super) judge: Judge,
    pub(super) checkpoint: SourceCheckpoint,
    pub(super) start: SeekTo,
    pub(super) class: Option<LaneClass>,
    pub(super) effort_max: Effort,
    pub(super) key: CheckpointKey,
    pub(super) reporter: RouteReporter,
    pub(super) events: mpsc::Receiver<RouteEvent>,
    pub(super) commands: mpsc::Receiver<Asked>,
}

/// What a leg that arrives is made of.
pub(super) struct InboundLeg {
    pub(super) receiver: Receiver,
    pub(super) target: TargetConfig,
    pub(super) control: Control,
    pub(super) stamp: Stamp,
    pub(super) key: CheckpointKey,
    pub(super) reporter: RouteReporter,
    pub(super) events: mpsc::Receiver<RouteEvent>,
}

/// All legs of a region.
#[derive(Default)]
pub(super) struct Legs {
    pub(super) outbound: Vec<OutboundLeg>,
    pub(super) inbound: Vec<InboundLeg>,
    /// For the sessions: which driver belongs to which peer.
    pub(super) handles: Vec<(RegionId, RouteHandle)>,
    /// For the operator.
    pub(super) controls: Vec<RouteControl>,
}

/// Builds every leg that leaves or arrives here.
pub(super) fn legs(
    plan: &Plan,
    here: &RegionId,
    store: &SledStore,
    control: &Control,
    board: &Board,
) -> anyhow::Result<Legs> {
    let builder = Builder {
        plan,
        here,
        store,
        control,
        board,
        policy: Arc::new(plan.residency().clone()),
        arriving_count: plan.arriving(here).count() as u64,
    };
    let mut legs = Legs::default();
    for route in plan.leaving(here) {
        builder.leaving(route, &mut legs)?;
    }
    for route in plan.arriving(here) {
        builder.arriving(route, &mut legs)?;
    }
    Ok(legs)
}

/// What every leg is built from.
struct Builder<'a> {
    plan: &'a Plan,
    here: &'a RegionId,
    store: &'a SledStore,
    control: &'a Control,
    board: &'a Board,
    policy: Arc<ResidencyPolicy>,
    arriving_count: u64,
}

impl Builder<'_> {
    fn leaving(&self, route: &RoutePlan, legs: &mut Legs) -> anyhow::Result<()> {
        let (handle, events) = RouteHandle::new(route.name.clone(), Direction::Out);
        let key = CheckpointKey::new(Direction::Out, &route.name, &route.to, &route.stream);
        let (route_control, commands) = RouteControl::new(route.name.clone(), route.to.clone());
        let checkpoint = read(self.store, &key, SourceCheckpoint::decode)?.unwrap_or(FRESH);
        let config = SenderConfig {
            route: route.name.clone(),
            stream: route.stream.clone(),
            to: route.to.clone(),
            class: route.priority.map_or(LaneClass::Live, class),
            policy: Arc::clone(&self.policy),
            batch_len_max: BATCH_LEN_MAX,
            batch_records_max: BATCH_RECORDS,
        };
        legs.outbound.push(OutboundLeg {
            sender: Sender::new(config, checkpoint.epoch, checkpoint.watermark),
            control: self.control.clone(),
            stream: route.stream.to_string(),
            filters: route
                .subjects
                .filters()
                .iter()
                .map(ToString::to_string)
                .collect(),
            judge: judge(self.plan, route),
            checkpoint,
            start: start(route.start),
            class: route.priority.map(class),
            effort_max: Effort::Highest,
            key,
            reporter: RouteReporter::new(route, Direction::Out, &self.policy, self.board),
            events,
            commands,
        });
        legs.handles.push((route.to.clone(), handle));
        legs.controls.push(route_control);
        Ok(())
    }

    fn arriving(&self, route: &RoutePlan, legs: &mut Legs) -> anyhow::Result<()> {
        let (handle, events) = RouteHandle::new(route.name.clone(), Direction::In);
        let key = CheckpointKey::new(Direction::In, &route.name, &route.from, &route.stream);
        let checkpoint = read(self.store, &key, TargetCheckpoint::decode)?;
        let sole = route.writers == Writers::Route;
        let config = ReceiverConfig {
            here: self.here.clone(),
            policy: Arc::clone(&self.policy),
            sole,
            window_suffices: route.exactly_once == ExactlyOnce::Window,
            credit_window: (CREDIT_ALL / self.arriving_count)
                .clamp(CREDIT_LANE_MIN, CREDIT_LANE_MAX),
            decoded_max: DECODED_MAX,
            run_records_max: RUN_RECORDS,
            run_len_max: RUN_LEN,
            rest_max: rand::rng().random_range(REST_MAX),
        };
        let (region, stream) = (route.from.as_str(), route.stream.as_str());
        legs.inbound.push(InboundLeg {
            receiver: Receiver::new(config, checkpoint),
            target: TargetConfig {
                stream: route.target.to_string(),
                create: route
                    .create
                    .as_ref()
                    .map(|create| creation(self.plan, route, create)),
                sole,
                fence_sequence: route.fence == Fence::Sequence,
            },
            control: self.control.clone(),
            stamp: Stamp::new(region, stream, route.name.as_str(), route.dedupe_ids),
            key,
            reporter: RouteReporter::new(route, Direction::In, &self.policy, self.board),
            events,
        });
        legs.handles.push((route.from.clone(), handle));
        Ok(())
    }
}

/// A value that cannot be read is as good as none: the streams tell the rest.
fn read<T, E: std::fmt::Display>(
    store: &SledStore,
    key: &CheckpointKey,
    decode: impl Fn(&[u8]) -> Result<T, E>,
) -> anyhow::Result<Option<T>> {
    let Some(bytes) = store.get(key)? else {
        return Ok(None);
    };
    match decode(&bytes) {
        Ok(value) => Ok(Some(value)),
        Err(why) => {
            tracing::warn!(?key, %why, "checkpoint unreadable; it is rebuilt from the streams");
            Ok(None)
        }
    }
}

pub(super) fn class(priority: Priority) -> LaneClass {
    match priority {
        Priority::Live => LaneClass::Live,
        Priority::Normal => LaneClass::Normal,
        Priority::Bulk => LaneClass::Bulk,
    }
}

fn start(start: Start) -> SeekTo {
    match start {
        Start::First => SeekTo::First,
        Start::New => SeekTo::New,
        Start::Sequence(seq) => SeekTo::Sequence(seq.0),
        Start::Time(at) => SeekTo::Time(at.0),
    }
}

/// Who may have written the route's source stream: the routes whose target it is.
fn judge(plan: &Plan, route: &RoutePlan) -> Judge {
    let writers = plan
        .arriving(&route.from)
        .filter(|other| other.target == route.stream)
        .map(|other| (other.name.to_string(), other.from.to_string()));
    Judge::new(route.to.as_str(), writers)
}

/// The configuration that a missing target is created with.
fn creation(plan: &Plan, route: &RoutePlan, create: &CreatePlan) -> Value {
    let subjects = plan.subjects_created(&route.to, &route.target);
    let subjects: Vec<_> = subjects.filters().iter().map(ToString::to_string).collect();
    let nanoseconds = |duration: Duration| duration.as_nanos() as u64;
    let limit = |limit: Option<u64>| limit.map_or_else(|| json!(-1), |limit| json!(limit));
    let mut config = json!({
        "name": route.target.as_str(),
        "description": "Created by Causeway",
        "subjects": subjects,
        "retention": "limits",
        "discard": "old",
        "storage": match create.storage { Storage::File => "file", Storage::Memory => "memory" },
        "num_replicas": create.replicas,
        "max_age": create.max_age.map_or(0, nanoseconds),
        "max_bytes": limit(create.max_bytes.map(|bytes| bytes.0)),
        "max_msgs": limit(create.max_msgs),
        "duplicate_window": nanoseconds(create.duplicate_window),
        "allow_direct": true,
    });
    if create.allow_batched {
        config["allow_batched"] = json!(true);
    }
    if create.persist_mode == PersistMode::Async {
        config["persist_mode"] = json!("async");
    }
    config
}
