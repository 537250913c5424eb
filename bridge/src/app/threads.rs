//! The two data threads: each has a runtime and a NATS connection of its own.

use std::io;
use std::thread::{self, JoinHandle};

use causeway_config::plan::RegionPlan;
use futures_util::future::join_all;
use tokio::sync::{oneshot, watch};
use tokio::task::{self, LocalSet};

use super::build::{InboundLeg, OutboundLeg};
use super::connections::nats_options;
use super::observe::follow;
use crate::checkpoint::CheckpointWriter;
use crate::inbound::Inbound;
use crate::nats::Client;
use crate::outbound::{Outbound, OutboundParts};
use crate::publisher::Publisher;
use crate::source::{PullSize, Source};
use crate::status::Board;

/// A data thread, and how to learn that it has ended.
pub(super) struct DataThread {
    thread: JoinHandle<()>,
    ended: oneshot::Receiver<()>,
}

/// Waits for a thread whose drivers drain.
pub(super) async fn join(thread: Option<DataThread>) {
    let Some(thread) = thread else { return };
    let _ = thread.ended.await; // dropped at the thread's end, however it ends
    if thread.thread.join().is_err() {
        tracing::error!("a data thread ended in a panic");
    }
}

/// Threads that encode and decode big batches, for each data thread.
const WORKERS: usize = 2;

/// A thread with a NATS connection of its own, which lives until all drivers that `start` has begun have ended.
fn spawn(
    name: &'static str,
    own: &RegionPlan,
    board: &Board,
    start: impl FnOnce(&Client) -> Vec<task::JoinHandle<()>> + Send + 'static,
) -> io::Result<DataThread> {
    let options = nats_options(own, name);
    let told = board.register_connection(name);
    let (done, ended) = oneshot::channel();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(WORKERS)
        .build()?;
    let life = move || async move {
        let client = Client::start(options);
        task::spawn_local(follow(client.clone(), told));
        join_all(start(&client)).await;
        client.shutdown().await;
    };
    let thread = thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || {
            let _done: oneshot::Sender<()> = done;
            LocalSet::new().block_on(&runtime, life());
        })?;
    Ok(DataThread { thread, ended })
}

/// Reads for all routes that leave; none leave, no thread.
pub(super) fn source_thread(
    own: &RegionPlan,
    legs: Vec<OutboundLeg>,
    store: CheckpointWriter,
    drain: watch::Receiver<bool>,
    board: &Board,
) -> io::Result<Option<DataThread>> {
    if legs.is_empty() {
        return Ok(None);
    }
    let pull_size = PullSize::shared_by(legs.len());
    let start = move |client: &Client| {
        let drivers = legs.into_iter().map(|leg| {
            let source = Source::new(
                client.clone(),
                leg.control,
                leg.stream,
                leg.filters,
                leg.judge,
                pull_size,
            );
            let driver = Outbound::new(OutboundParts {
                sender: leg.sender,
                source,
                checkpoint: leg.checkpoint,
                start: leg.start,
                class: leg.class,
                effort_max: leg.effort_max,
                key: leg.key,
                store: store.clone(),
                reporter: leg.reporter,
                events: leg.events,
                commands: leg.commands,
                drain: drain.clone(),
            });
            task::spawn_local(driver.run())
        });
        drivers.collect()
    };
    spawn("source", own, board, start).map(Some)
}

/// Publishes for all routes that arrive; none arrive, no thread.
pub(super) fn target_thread(
    own: &RegionPlan,
    legs: Vec<InboundLeg>,
    store: CheckpointWriter,
    drain: watch::Receiver<bool>,
    board: &Board,
) -> io::Result<Option<DataThread>> {
    if legs.is_empty() {
        return Ok(None);
    }
    let start = move |client: &Client| {
        let drivers = legs.into_iter().map(|leg| {
            let publisher = Publisher::new(leg.target, leg.control, client.clone(), leg.stamp);
            let driver = Inbound::new(
                leg.receiver,
                publisher,
                leg.key,
                store.clone(),
                leg.reporter,
                leg.events,
                drain.clone(),
            );
            task::spawn_local(driver.run())
        });
        drivers.collect()
    };
    spawn("target", own, board, start).map(Some)
}
