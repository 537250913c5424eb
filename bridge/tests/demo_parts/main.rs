//! The parts around the demo's sidecars, with real servers and sockets: provisioning, servers, relay, load, verification.

#![expect(
    clippy::unwrap_used,
    reason = "in a test's helpers too, a panic is the report"
)]

mod relay;
mod servers;
mod verification;

use std::path::Path;
use std::time::Duration;

use async_nats::jetstream::{self, stream};
use causeway::demo::load::Trade;
use causeway::demo::provision;
use causeway::demo::server::{Server, ServerOptions};

const SOON: Duration = Duration::from_secs(30);

async fn start_server(name: &str, directory: &Path) -> Server {
    let binary = tokio::task::spawn_blocking(provision::nats_server)
        .await
        .unwrap()
        .unwrap();
    let (name, directory) = (name.to_owned(), directory.to_owned());
    Server::start(ServerOptions {
        name,
        binary,
        directory,
        config: Vec::new(),
    })
    .await
    .unwrap()
}

async fn connect(server: &Server) -> jetstream::Context {
    server.jetstream().await.unwrap()
}

fn trade_stream(name: &str, trade: Trade) -> stream::Config {
    stream::Config {
        name: name.to_owned(),
        subjects: trade.subjects().iter().map(ToString::to_string).collect(),
        ..stream::Config::default()
    }
}
