use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use causeway_proto::codec::Effort;
use causeway_proto::frame::{Ack, LaneClass, Open, Outcomes, Resume, Stall, StallReason};
use causeway_proto::id::{LaneId, Position, StoredAt, TargetSeq};
use causeway_proto::receiver::{Receiver, ReceiverConfig};
use causeway_proto::reconcile::TargetFacts;
use causeway_proto::record::RecordView;
use causeway_proto::resume::{Beginning, SourceFacts};
use causeway_proto::sender::{Sender, SenderConfig};
use tokio::time::Instant;

use super::*;
use crate::link::Refusals;
use crate::status::RouteReport;

const FLEET: &str = r#"
    [fleet]
    name = "shop"
    [region.us]
    nats = { url = "nats://10.0.0.1" }
    listen = "0.0.0.0:7443"
    admin = "127.0.0.1:9464"
    state = "state"
    tls = { cert = "us.pem", key = "us.key", ca = "ca.pem" }
    [region.eu]
    nats = { url = "nats://10.1.0.1" }
    admin = "127.0.0.1:9464"
    state = "state"
    tls = { cert = "eu.pem", key = "eu.key", ca = "ca.pem" }
    [[link]]
    regions = ["us", "eu"]
    dial = "us.example.com:7443"
    [[route]]
    name = "orders"
    from = "eu"
    to = ["us"]
    stream = "ORDERS"
    [[class]]
    name = "trade"
    subjects = ["orders.>"]
    regions = "any"
    [[class]]
    name = "gdpr"
    subjects = ["consent.>"]
    regions = ["eu"]
"#;
const LANE: LaneId = LaneId(2);

/// A route that leaves `eu`, with what is shown of it.
struct Leg {
    sender: Sender,
    reporter: RouteReporter,
    board: Board,
    has_session: bool,
    paused: bool,
    stall: Option<Stall>,
    heard: Option<Instant>,
}

fn leg() -> Leg {
    let plan = causeway_config::parse(FLEET, Path::new("")).unwrap().plan;
    let route = &plan.routes()[0];
    let board = Board::new(route.from.clone(), Refusals::default());
    let config = SenderConfig {
        route: route.name.clone(),
        stream: route.stream.clone(),
        to: route.to.clone(),
        class: LaneClass::Normal,
        policy: Arc::new(plan.residency().clone()),
        batch_len_max: 1 << 20,
        batch_records_max: 100,
    };
    Leg {
        sender: Sender::new(config, Epoch(1), Position::default()),
        reporter: RouteReporter::new(route, Direction::Out, plan.residency(), &board),
        board,
        has_session: false,
        paused: false,
        stall: None,
        heard: None,
    }
}

/// Seconds since the Unix epoch as a store time.
fn stored(seconds: f64) -> StoredAt {
    StoredAt((seconds * 1e9) as u64)
}

impl Leg {
    fn report(&mut self) -> RouteReport {
        self.reporter.outbound(&OutboundView {
            sender: &self.sender,
            source_heard: self.heard,
            has_session: self.has_session,
            paused: self.paused,
            stall: self.stall.as_ref(),
            effort: Effort::Light,
        });
        self.board.snapshot().routes.remove(0)
    }

    fn state(&mut self) -> RouteState {
        self.report().status.state
    }

    /// A session, a lane, and the target's word that it has nothing yet.
    fn read_from_the_start(&mut self, last_seq: u64) {
        self.has_session = true;
        self.sender.open(LANE);
        let resume = Resume {
            lane: LANE,
            epoch: Epoch(1),
            after: None,
            credit: 1 << 20,
        };
        let facts = SourceFacts {
            first_seq: SourceSeq(1),
            last_seq: SourceSeq(last_seq),
            younger_from: SourceSeq(1),
        };
        let from = self
            .sender
            .handle_resume(&resume, Beginning::default(), &facts)
            .unwrap();
        self.reporter.source_measured(SourceSeq(last_seq));
        self.reporter.resumed(from.follows, from.epoch);
    }

    fn read(&mut self, seq: u64, stored_at: StoredAt, subject: &[u8]) {
        let record = RecordView {
            seq: SourceSeq(seq),
            stored_at,
            relayed: false,
            subject,
            headers: b"",
            payload: b"payload",
        };
        let admission = self.sender.handle_record(&record, false);
        if let causeway_proto::sender::Admission::Denied(reason) = admission {
            self.reporter.denied(reason);
        }
    }

    fn settle(&mut self, through: u64, stored: u64) {
        self.sender.seal();
        let outcomes = Outcomes {
            stored,
            ..Outcomes::default()
        };
        let ack = Ack {
            lane: LANE,
            through: SourceSeq(through),
            outcomes,
        };
        self.sender.handle_ack(&ack).unwrap();
        self.reporter.progressed();
    }
}

#[tokio::test]
async fn the_state_names_the_first_thing_that_is_missing() {
    let mut leg = leg();
    assert_eq!(
        leg.board.snapshot().routes[0].status.state,
        RouteState::Starting
    );
    assert_eq!(leg.state(), RouteState::WaitingForLink);
    leg.reporter.source_unreachable("no stream ORDERS".into());
    let report = leg.report();
    assert_eq!(report.status.state, RouteState::WaitingForSource);
    assert_eq!(report.status.reason.as_deref(), Some("no stream ORDERS"));
    leg.reporter.source_found(SourceSeq(0));
    leg.has_session = true;
    assert_eq!(leg.state(), RouteState::WaitingForTarget);
    let detail = "maximum bytes exceeded".to_owned();
    leg.stall = Some(Stall {
        lane: LANE,
        reason: StallReason::TargetFull,
        detail,
    });
    let report = leg.report();
    assert_eq!(report.status.state, RouteState::Stalled);
    let reason = report.status.reason.unwrap();
    assert_eq!(reason, "target_full: maximum bytes exceeded");
    leg.paused = true;
    assert_eq!(leg.state(), RouteState::Paused);
}

#[tokio::test]
async fn the_target_side_names_the_first_thing_that_is_missing_too() {
    let plan = causeway_config::parse(FLEET, Path::new("")).unwrap().plan;
    let route = &plan.routes()[0];
    let mut receiver = Receiver::new(
        ReceiverConfig {
            here: route.to.clone(),
            policy: Arc::new(plan.residency().clone()),
            sole: true,
            window_suffices: false,
            credit_window: 1 << 20,
            decoded_max: 1 << 20,
            run_records_max: 100,
            run_len_max: 1 << 20,
            rest_max: Duration::from_secs(60),
        },
        None,
    );
    let state = |receiver: &Receiver, connected, has_session| {
        let view = InboundView {
            receiver,
            has_session,
            connected,
        };
        inbound::state_of(&view).0
    };
    receiver.handle_disconnected(Duration::ZERO);
    assert_eq!(state(&receiver, false, true), RouteState::WaitingForTarget);
    receiver.handle_timeout(Duration::from_secs(2));
    assert_eq!(state(&receiver, false, true), RouteState::Stalled);
    receiver.handle_connected();
    assert_eq!(state(&receiver, true, true), RouteState::Stalled);
    let facts = TargetFacts {
        created_ns: 1,
        first_seq: TargetSeq(1),
        last_seq: TargetSeq(0),
        evidence_stays: true,
        adds_markers: false,
    };
    receiver.handle_target_up(facts, Duration::from_secs(2));
    assert_eq!(state(&receiver, true, false), RouteState::WaitingForLink);
    assert_eq!(state(&receiver, true, true), RouteState::WaitingForSource);
    receiver.handle_open(Open {
        lane: LANE,
        route: route.name.clone(),
        stream: route.stream.clone(),
        epoch: Epoch(1),
        class: LaneClass::Normal,
    });
    assert_eq!(state(&receiver, true, true), RouteState::WaitingForTarget);
    while receiver.poll_action().is_some() {}
    assert_eq!(state(&receiver, true, true), RouteState::Live);
}

#[tokio::test]
async fn lag_is_unknown_then_true_and_the_books_balance_throughout() {
    let mut leg = leg();
    let report = leg.report();
    assert_eq!(
        (report.status.lag_records, report.lag_seconds),
        (None, None)
    );
    let now = now_unix_seconds();
    leg.read_from_the_start(3);
    leg.read(1, stored(now - 600.0), b"orders.new");
    leg.read(2, stored(now - 300.0), b"consent.given");
    leg.reporter.source_behind(1);
    let report = leg.report();
    assert!(report.balanced);
    assert_eq!(report.status.outcomes.pending, 2);
    assert_eq!(report.status.lag_records, Some(3));
    assert_eq!(
        report.lag_seconds, None,
        "nothing is settled, so nothing is known"
    );
    leg.settle(2, 1);
    let report = leg.report();
    assert!(report.balanced, "{:?}", report.status);
    assert_eq!(
        (report.status.outcomes.stored, report.status.outcomes.denied),
        (1, 1)
    );
    assert_eq!(report.status.denied_by_class["gdpr"], 1);
    assert_eq!(report.status.state, RouteState::CatchingUp);
    assert_eq!(report.status.lag_records, Some(1));
    let lag = report.lag_seconds.unwrap();
    assert!((299.0..400.0).contains(&lag), "{lag}");
    leg.read(3, stored(now), b"orders.new");
    leg.reporter.source_found(SourceSeq(3));
    leg.reporter.source_behind(0);
    leg.settle(3, 2);
    let report = leg.report();
    assert_eq!(
        (report.status.state, report.status.lag_records),
        (RouteState::Live, Some(0))
    );
    assert!(report.lag_seconds.unwrap() < 100.0 && report.balanced);
}

#[tokio::test]
async fn a_caught_up_route_grows_old_when_its_source_falls_silent() {
    let mut leg = leg();
    leg.read_from_the_start(1);
    leg.read(1, stored(now_unix_seconds()), b"orders.new");
    leg.reporter.source_behind(0);
    leg.settle(1, 1);
    let proven = leg.report().status.replicated_through.unwrap();
    assert_eq!(
        leg.report().status.replicated_through,
        Some(proven),
        "no news, no progress"
    );
    leg.heard = Some(Instant::now());
    assert!(leg.report().status.replicated_through.unwrap() > proven);
}

#[tokio::test]
async fn a_source_that_speaks_again_is_not_unreachable() {
    let mut leg = leg();
    leg.read_from_the_start(0);
    leg.reporter
        .source_unreachable("the consumer fell silent".into());
    assert_eq!(leg.state(), RouteState::WaitingForSource);
    leg.heard = Some(Instant::now());
    assert_eq!(leg.state(), RouteState::Live);
}

#[tokio::test]
async fn another_epoch_forgets_what_was_known_of_the_one_before() {
    let mut leg = leg();
    leg.read_from_the_start(900);
    leg.read(900, stored(now_unix_seconds()), b"orders.new");
    leg.settle(900, 1);
    assert!(leg.report().status.replicated_through.is_some());
    leg.reporter.source_measured(SourceSeq(5));
    leg.reporter.resumed(SourceSeq(0), Epoch(2));
    let status = &leg.reporter.status;
    assert_eq!(
        (status.source_last_seq, status.replicated_through),
        (Some(5), None)
    );
}

/// A target that is tried again stalls again; that is the same stall until a record got through.
#[tokio::test]
async fn a_stall_is_told_once_until_records_move_again() {
    let mut leg = leg();
    leg.has_session = true;
    leg.read_from_the_start(2);
    let stall = Stall {
        lane: LANE,
        reason: StallReason::TargetFull,
        detail: "maximum bytes exceeded".to_owned(),
    };
    for _ in 0..3 {
        leg.stall = Some(stall.clone());
        assert_eq!(leg.state(), RouteState::Stalled);
        assert_eq!(leg.reporter.stalled_at, Some(Some(0)));
        leg.stall = None;
        leg.report();
        assert_eq!(leg.reporter.stalled_at, Some(Some(0)));
    }
    leg.read(1, stored(now_unix_seconds()), b"orders.de");
    leg.settle(1, 1);
    leg.report();
    assert_eq!(leg.reporter.stalled_at, None);
}
