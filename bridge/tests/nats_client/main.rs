//! The NATS client of the data connections against real servers, and against a scripted peer where
//! a real server cannot be made to misbehave at the right moment.
//!
//! The server comes from where the demo takes it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails there")]

mod connection;
mod fence;
mod login;
mod renewed;
mod server;

use std::future::Future;
use std::time::Duration;

use bytes::BytesMut;
use causeway::nats::{
    Client, ConnectError, Event, Options, ServerAddr, State, Subscription, append_publish,
};
use tokio::task::LocalSet;
use tokio::time::timeout;

/// No single step of a test takes longer, however slow the machine.
const STEP: Duration = Duration::from_secs(60);

/// Runs a test on one thread, as the client wants it.
fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    LocalSet::new().block_on(&runtime, test);
}

/// Waits for `step`, within bounds.
async fn within<T>(step: impl Future<Output = T>) -> T {
    timeout(STEP, step).await.expect("a step takes too long")
}

fn options(url: &str) -> Options {
    Options::new(vec![ServerAddr::parse(url).unwrap()])
}

fn start(url: &str) -> Client {
    Client::start(options(url))
}

/// Waits for the first state that `accept` likes.
async fn state(client: &Client, accept: impl Fn(&State) -> bool) -> State {
    let mut watch = client.watch();
    within(watch.wait_for(accept))
        .await
        .expect("the client lives")
        .clone()
}

/// Waits until connected; gives the generation.
async fn connected(client: &Client) -> u64 {
    match state(client, |it| matches!(it, State::Connected { .. })).await {
        State::Connected { generation, .. } => generation,
        _ => unreachable!("just waited for it"),
    }
}

/// Waits until the client says why it is not connected.
async fn reason(client: &Client) -> ConnectError {
    let told = |it: &State| {
        matches!(
            it,
            State::Connecting {
                reason: Some(_),
                ..
            }
        )
    };
    match state(client, told).await {
        State::Connecting {
            reason: Some(reason),
            ..
        } => reason,
        _ => unreachable!("just waited for it"),
    }
}

async fn event(subscription: &mut Subscription) -> Event {
    within(subscription.next()).await.expect("the client lives")
}

/// Calls the JetStream API; panics on an error.
async fn api(client: &Client, subject: &str, body: &str) -> serde_json::Value {
    let subject = format!("$JS.API.{subject}");
    let reply = client
        .request(&subject, body.as_bytes(), STEP)
        .await
        .unwrap();
    let json: serde_json::Value = serde_json::from_slice(&reply.payload).unwrap();
    assert!(json.get("error").is_none(), "{subject}: {json}");
    json
}

/// A stream called `S` over `s.>`, in files.
async fn create_stream(client: &Client) {
    connected(client).await;
    api(
        client,
        "STREAM.CREATE.S",
        r#"{"name":"S","subjects":["s.>"],"storage":"file"}"#,
    )
    .await;
}

/// Publishes records numbered `from..to` to subjects `s.<number % 4>`, payload of `size` bytes
/// that begins with the number. Waits until each thousand is stored: the server drops what comes
/// without waiting when 10,000 publishes wait for the stream.
async fn publish(client: &Client, from: usize, to: usize, size: usize) {
    let generation = connected(client).await;
    let writer = client.writer();
    let mut acks = client.subscribe(&client.new_inbox()).unwrap();
    let inbox = acks.subject().to_owned();
    let mut chunk = BytesMut::new();
    for number in from..to {
        let mut payload = number.to_string().into_bytes();
        payload.resize(size.max(payload.len()), b'.');
        let subject = format!("s.{}", number % 4);
        let is_asked = number % 1000 == 0 || number + 1 == to;
        let reply = if is_asked { inbox.as_bytes() } else { b"" };
        append_publish(&mut chunk, subject.as_bytes(), reply, &[], &payload).unwrap();
        if is_asked {
            within(writer.send(chunk.split(), generation))
                .await
                .unwrap();
            while !matches!(event(&mut acks).await, Event::Block(_)) {}
        }
    }
}
