//! Servers that are provisioned, killed, paused and told nonsense.

use std::process::Command;
use std::time::Duration;

use causeway::demo::load::Trade;
use causeway::demo::provision::{self, OLDEST_VERSION};
use causeway::demo::server::{Server, ServerOptions};
use tokio::time::timeout;

use crate::{SOON, connect, start_server, trade_stream};

#[test]
fn the_oldest_supported_server_is_provisioned_whatever_is_installed() {
    let binary = provision::nats_server_version(OLDEST_VERSION).unwrap();
    let output = Command::new(binary).arg("--version").output().unwrap();
    assert_eq!(
        String::from_utf8_lossy(&output.stdout).trim(),
        format!("nats-server: v{OLDEST_VERSION}")
    );
}

#[tokio::test]
async fn a_killed_server_comes_back_on_its_port_with_what_it_had_acknowledged() {
    let directory = tempfile::tempdir().unwrap();
    let mut server = start_server("a", directory.path()).await;
    let jetstream = connect(&server).await;
    jetstream
        .create_stream(trade_stream("S", Trade::Shop))
        .await
        .unwrap();
    for _ in 0..3 {
        jetstream
            .publish("order.1.paid", "x".into())
            .await
            .unwrap()
            .await
            .unwrap();
    }
    let port = server.port();
    server.kill().await.unwrap();
    server.restart().await.unwrap();
    assert_eq!(server.port(), port);
    let stream = connect(&server).await.get_stream("S").await.unwrap();
    assert_eq!(stream.cached_info().state.messages, 3);
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_paused_server_is_silent_until_it_is_resumed() {
    let directory = tempfile::tempdir().unwrap();
    let mut server = start_server("a", directory.path()).await;
    let jetstream = connect(&server).await;
    server.pause().unwrap();
    let mut answer = Box::pin(jetstream.query_account());
    assert!(
        timeout(Duration::from_millis(300), &mut answer)
            .await
            .is_err()
    );
    server.resume().unwrap();
    timeout(SOON, answer).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_server_that_cannot_start_says_why() {
    let directory = tempfile::tempdir().unwrap();
    let options = ServerOptions {
        name: "a".to_owned(),
        binary: tokio::task::spawn_blocking(provision::nats_server)
            .await
            .unwrap()
            .unwrap(),
        directory: directory.path().to_owned(),
        config: vec!["no_such_option: {".to_owned()],
    };
    let error = Server::start(options).await.unwrap_err().to_string();
    assert!(error.contains("Parse error"), "{error}");
}
