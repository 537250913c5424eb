//! The admin address over a real TCP port: what a probe, a scrape, an operator and a stranger get.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails there")]

use std::time::Duration;

use causeway::admin::{self, Admin};
use causeway::command::{RouteCommand, RouteControl, SeekTo};
use causeway::link::Refusals;
use causeway::shutdown::{Phase, ShutdownTrigger, shutdown};
use causeway::status::{
    Board, ConnectionStatus, OutcomeCounts, RouteDirection, RouteState, RouteStatus,
};
use causeway_proto::id::{RegionId, RouteName, StreamName};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinHandle;

const PATIENCE: Duration = Duration::from_secs(20);

/// A sidecar of region `eu` with a route that leaves for `us` and one that arrives from there.
struct Sidecar {
    address: String,
    trigger: ShutdownTrigger,
    serving: JoinHandle<std::io::Result<()>>,
    connection: watch::Sender<ConnectionStatus>,
    out: watch::Sender<RouteStatus>,
    _in: watch::Sender<RouteStatus>,
    board: Board,
}

fn region(name: &str) -> RegionId {
    RegionId::new(name).unwrap()
}

fn route(name: &str, direction: RouteDirection) -> RouteStatus {
    let stream = StreamName::new("ORDERS").unwrap();
    let name = RouteName::new(name).unwrap();
    RouteStatus::new(name, direction, region("us"), stream.clone(), stream)
}

/// Starts a sidecar whose only driver answers commands with `answer`.
async fn start(answer: fn(&RouteCommand) -> Result<String, String>) -> Sidecar {
    let board = Board::new(region("eu"), Refusals::default());
    let (control, mut commands) =
        RouteControl::new(RouteName::new("orders").unwrap(), region("us"));
    tokio::spawn(async move {
        while let Some((command, said)) = commands.recv().await {
            said.send(answer(&command)).unwrap();
        }
    });
    let (trigger, told) = shutdown();
    let listener = admin::bind(([127, 0, 0, 1], 0).into()).await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    Sidecar {
        connection: board.register_connection("source"),
        out: board.register_route(route("orders", RouteDirection::Out)),
        _in: board.register_route(route("returns", RouteDirection::In)),
        serving: tokio::spawn(Admin::new(board.clone(), vec![control]).serve(listener, told)),
        address,
        trigger,
        board,
    }
}

async fn started() -> Sidecar {
    start(|command| Ok(format!("{command:?}"))).await
}

impl Sidecar {
    /// Sends a request as it stands and reads the whole answer.
    async fn ask(&self, head: &str, body: &str) -> (u16, String) {
        let exchange = async {
            let mut stream = TcpStream::connect(&self.address).await.unwrap();
            let request = format!(
                "{head}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            );
            // A refused body may be cut off before all of it is sent.
            let _ = stream.write_all(request.as_bytes()).await;
            let mut answer = Vec::new();
            let _ = stream.read_to_end(&mut answer).await;
            String::from_utf8(answer).unwrap()
        };
        let answer = tokio::time::timeout(PATIENCE, exchange)
            .await
            .expect("an answer");
        let (head, body) = answer
            .split_once("\r\n\r\n")
            .unwrap_or_else(|| panic!("{answer:?}"));
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, body.to_owned())
    }

    async fn get(&self, path: &str) -> (u16, String) {
        self.ask(&format!("GET {path} HTTP/1.1\r\nHost: sidecar"), "")
            .await
    }

    async fn post(&self, path: &str, body: &str) -> (u16, String) {
        self.ask(&format!("POST {path} HTTP/1.1\r\nHost: sidecar"), body)
            .await
    }
}

#[tokio::test]
async fn readiness_says_what_is_missing_until_nothing_is() {
    let sidecar = started().await;
    let (status, body) = sidecar.get("/readyz").await;
    assert_eq!(status, 503);
    assert!(
        body.contains("NATS connection source is down: not yet connected"),
        "{body}"
    );
    assert!(
        body.contains("route orders to us has not been resumed yet: starting"),
        "{body}"
    );
    assert!(
        body.contains("route returns from us has not been resumed yet"),
        "{body}"
    );
    sidecar.connection.send_modify(|status| status.up = true);
    for route in [&sidecar.out, &sidecar._in] {
        route.send_modify(|status| status.state = RouteState::Live);
    }
    assert_eq!(sidecar.get("/readyz").await, (200, "ready\n".into()));
}

#[tokio::test]
async fn health_fails_for_books_that_do_not_balance_and_says_so() {
    let sidecar = started().await;
    assert_eq!(sidecar.get("/healthz").await, (200, "healthy\n".into()));
    sidecar.out.send_modify(|status| {
        status.outcomes = OutcomeCounts {
            read: 1,
            ..OutcomeCounts::default()
        };
    });
    let (status, body) = sidecar.get("/healthz").await;
    assert_eq!(status, 503);
    assert_eq!(
        body,
        "route orders to us: records read do not equal their outcomes\n"
    );
}

#[tokio::test]
async fn status_and_metrics_tell_the_same() {
    let sidecar = started().await;
    sidecar.out.send_modify(|status| {
        status.state = RouteState::CatchingUp;
        status.watermark = Some(41);
    });
    let (code, body) = sidecar.get("/status").await;
    let json: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(code, 200);
    assert_eq!(json["region"], "eu");
    assert_eq!(json["routes"][0]["state"], "catching_up");
    assert_eq!(json["routes"][0]["watermark"], 41);
    assert!(json["routes"][0]["lag_seconds"].is_null());
    let (code, text) = sidecar.get("/metrics").await;
    assert_eq!(code, 200);
    let line = r#"causeway_watermark_sequence{route="orders",peer="us",direction="out"} 41"#;
    assert!(text.lines().any(|got| got == line), "{text}");
    assert!(!text.contains("\ncauseway_lag_records{"), "{text}");
}

#[tokio::test]
async fn commands_reach_the_driver_and_its_answer_comes_back() {
    let sidecar = started().await;
    for (path, body, want) in [
        ("/routes/orders/pause", "", "Pause"),
        ("/routes/orders/resume", "", "Resume"),
        ("/routes/orders/seek", r#"{"to": "first"}"#, "Seek(First)"),
        (
            "/routes/orders/seek",
            r#"{"to": 17, "peer": "us"}"#,
            "Seek(Sequence(17))",
        ),
        (
            "/routes/orders/seek",
            r#"{"to": "17", "peer": null}"#,
            "Seek(Sequence(17))",
        ),
    ] {
        let (status, answer) = sidecar.post(path, body).await;
        let json: Value = serde_json::from_str(&answer).unwrap();
        assert_eq!(
            (status, &json[0]["said"]),
            (200, &Value::from(want)),
            "{path} {body}"
        );
        assert_eq!(json[0]["done"], true);
        assert_eq!(json[0]["peer"], "us");
    }
}

#[tokio::test]
async fn what_a_driver_refuses_is_a_conflict_with_its_words() {
    let refusing = start(|command| match command {
        RouteCommand::Seek(SeekTo::New) => Err("the source cannot be asked".into()),
        other => Ok(format!("{other:?}")),
    });
    let sidecar = refusing.await;
    let (status, body) = sidecar
        .post("/routes/orders/seek", r#"{"to": "new"}"#)
        .await;
    assert_eq!(status, 409);
    assert!(
        body.contains(r#""done":false"#) && body.contains("cannot be asked"),
        "{body}"
    );
}

#[tokio::test]
async fn commands_that_make_no_sense_are_explained() {
    let sidecar = started().await;
    for (path, body, status, word) in [
        ("/routes/nothing/pause", "", 404, "known: orders to us"),
        (
            "/routes/returns/pause",
            "",
            404,
            "ask the sidecar of region us",
        ),
        (
            "/routes/orders/seek",
            r#"{"to": "new", "peer": "ap"}"#,
            404,
            "no route orders to ap",
        ),
        (
            "/routes/orders/seek",
            r#"{"to": "yesterday"}"#,
            400,
            "a sequence from 1",
        ),
        (
            "/routes/orders/seek",
            r#"{"to": "new", "form": 1}"#,
            400,
            "unknown field",
        ),
        ("/routes/orders/seek", "", 400, "wanted {"),
        ("/routes/orders/stop", "", 404, ""),
    ] {
        let (got, answer) = sidecar.post(path, body).await;
        assert_eq!(got, status, "{path} {body}: {answer}");
        assert!(answer.contains(word), "{path} {body}: {answer}");
    }
    let (status, _) = sidecar.get("/routes/orders/pause").await;
    assert_eq!(status, 405, "a command is never a GET");
}

#[tokio::test]
async fn a_large_body_and_a_web_page_are_refused() {
    let sidecar = started().await;
    let (status, _) = sidecar
        .post("/routes/orders/seek", &"x".repeat(100_000))
        .await;
    assert_eq!(status, 413);
    let from_page =
        "POST /routes/orders/pause HTTP/1.1\r\nHost: localhost\r\nOrigin: http://evil.example";
    let (status, body) = sidecar.ask(from_page, "").await;
    assert_eq!(status, 403, "{body}");
}

#[tokio::test]
async fn it_serves_through_draining_and_ends_with_it() {
    let sidecar = started().await;
    sidecar.trigger.advance(Phase::Draining);
    sidecar.board.begin_draining();
    let (status, body) = sidecar.get("/readyz").await;
    assert_eq!(status, 503);
    assert!(body.contains("draining"), "{body}");
    assert_eq!(sidecar.get("/status").await.0, 200);
    sidecar.trigger.advance(Phase::Ending);
    let ended = tokio::time::timeout(PATIENCE, sidecar.serving)
        .await
        .expect("an end");
    ended.unwrap().unwrap();
}

#[tokio::test]
async fn an_address_in_use_is_an_error_that_names_it() {
    let sidecar = started().await;
    let error = admin::bind(sidecar.address.parse().unwrap())
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains(&format!("admin address {} (TCP)", sidecar.address)),
        "{error}"
    );
}
