use causeway_proto::id::{FleetName, RouteName, StreamName};

use super::*;
use crate::link::TlsFiles;

fn board() -> Board {
    Board::new(RegionId::new("eu").unwrap(), Refusals::default())
}

fn route() -> RouteStatus {
    RouteStatus::new(
        RouteName::new("orders").unwrap(),
        RouteDirection::Out,
        RegionId::new("us").unwrap(),
        StreamName::new("ORDERS").unwrap(),
        StreamName::new("ORDERS_EU").unwrap(),
    )
}

#[tokio::test]
async fn ready_once_connected_and_every_route_resumed_and_a_lost_link_changes_nothing() {
    let board = board();
    let connection = board.register_connection("source");
    let route = board.register_route(route());
    assert_eq!(
        board.not_ready(),
        [
            "NATS connection source is down: not yet connected",
            "route orders to us has not been resumed yet: starting",
        ]
    );
    connection.send_modify(|status| status.up = true);
    route.send_modify(|status| status.state = RouteState::Live);
    board.sample(Instant::now());
    assert!(board.snapshot().ready);
    route.send_modify(|status| status.state = RouteState::WaitingForLink);
    assert!(board.snapshot().ready && board.snapshot().healthy);
    connection.send_modify(|status| status.up = false);
    assert!(!board.snapshot().ready && board.snapshot().healthy);
}

#[tokio::test]
async fn books_that_do_not_balance_are_ill_health() {
    let board = board();
    let route = board.register_route(route());
    route.send_modify(|status| {
        status.outcomes = OutcomeCounts {
            read: 3,
            stored: 2,
            ..OutcomeCounts::default()
        };
    });
    assert_eq!(
        board.unhealthy(),
        ["route orders to us: records read do not equal their outcomes"]
    );
    assert!(!board.snapshot().routes[0].balanced);
    route.send_modify(|status| status.outcomes.pending = 1);
    assert_eq!(board.unhealthy(), [""; 0]);
}

#[tokio::test]
async fn a_task_that_died_is_ill_health_unless_the_process_is_ending() {
    let board = board();
    drop(board.register_route(route()));
    drop(board.register_link(LinkStatus::new(RegionId::new("us").unwrap())));
    let listener = board.register_listener();
    assert_eq!(board.unhealthy().len(), 2);
    drop(listener);
    assert_eq!(
        board.unhealthy(),
        [
            "the task of the link to us has died",
            "the socket that listens for peers has failed: none can dial in",
            "the driver of route orders to us has died"
        ]
    );
    assert_eq!(board.snapshot().routes[0].status.state, RouteState::Stopped);
    board.begin_draining();
    assert_eq!(board.unhealthy(), [""; 0]);
    assert!(!board.snapshot().ready);
}

#[tokio::test]
async fn lag_is_absent_until_known_and_then_grows_by_itself() {
    let board = board();
    let route = board.register_route(route());
    assert_eq!(board.snapshot().routes[0].lag_seconds, None);
    route.send_modify(|status| status.replicated_through = Some(now_unix_seconds() - 60.0));
    let lag = board.snapshot().routes[0].lag_seconds.unwrap();
    assert!((60.0..70.0).contains(&lag), "{lag}");
    route.send_modify(|status| status.replicated_through = Some(now_unix_seconds() + 60.0));
    assert_eq!(board.snapshot().routes[0].lag_seconds, Some(0.0));
}

#[tokio::test]
async fn rates_come_from_counters() {
    let board = board();
    let route = board.register_route(route());
    let start = Instant::now();
    for second in 1..4_u32 {
        route.send_modify(|status| status.outcomes.stored = u64::from(second) * 200);
        board.sample(start + SAMPLE_INTERVAL * second);
    }
    let rate = board.snapshot().routes[0].records_per_second;
    assert!((199.0..201.0).contains(&rate), "{rate}");
}

fn identity(pki: &Path) -> Identity {
    let (fleet, eu) = (
        FleetName::new("acme").unwrap(),
        RegionId::new("eu").unwrap(),
    );
    crate::certs::generate(&fleet, std::slice::from_ref(&eu), pki).unwrap();
    let files = TlsFiles {
        cert: pki.join("eu.pem"),
        key: pki.join("eu.key"),
        ca: pki.join("ca.pem"),
    };
    Identity::load(&fleet, &eu, &files).unwrap()
}

/// People's scripts read these names.
#[tokio::test]
async fn the_shape_of_status() {
    let board = board();
    let _route = board.register_route(route());
    let _link = board.register_link(LinkStatus::new(RegionId::new("us").unwrap()));
    let pki = tempfile::tempdir().unwrap();
    board.register_identity(identity(pki.path()));
    let json = serde_json::to_value(board.snapshot()).unwrap();
    assert_eq!(json["region"], "eu");
    assert_eq!(json["links"][0]["peer"], "us");
    assert_eq!(json["links"][0]["state"], "connecting");
    assert_eq!(json["routes"][0]["name"], "orders");
    assert_eq!(json["routes"][0]["direction"], "out");
    assert_eq!(json["routes"][0]["state"], "starting");
    assert_eq!(json["routes"][0]["outcomes"]["denied"], 0);
    assert_eq!(json["routes"][0]["positions"]["span"], 0);
    for unknown in [
        "lag_seconds",
        "lag_records",
        "watermark",
        "epoch",
        "last_progress",
    ] {
        let value = json["routes"][0].get(unknown);
        assert!(
            value.is_some_and(serde_json::Value::is_null),
            "{unknown}: {value:?}"
        );
    }
    let own = pki.path().join("eu.pem").display().to_string();
    assert_eq!(json["certificates"][0]["path"], own);
    assert_eq!(json["certificates"][0]["which"], "own");
    // A whole year, less the moment since it was made.
    let days = json["certificates"][0]["days_left"].as_i64();
    assert!(days == Some(364) || days == Some(365), "{days:?}");
    assert_eq!(json["certificates"][1]["which"], "ca");
    assert!(json["certificates_problem"].is_null());
    for state in RouteState::ALL {
        assert_eq!(serde_json::to_value(state).unwrap(), state.as_str());
    }
}
