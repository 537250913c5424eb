//! The demo's applications: events published onto a source stream at a steady rate, each one recorded.
//!
//! What was published is the verification's first witness, so a publish that the server does not acknowledge ends
//! the demo. It must not be retried in silence: a retry could store the event twice, and the duplicate would be ours.

mod event;

use std::collections::VecDeque;
use std::future::IntoFuture as _;
use std::time::Duration;

use anyhow::{Context as _, Result};
use async_nats::HeaderMap;
use async_nats::jetstream::{self, context::PublishAckFuture};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval};

pub use event::{Event, EventSource, PERSONAL_PREFIX, Trade};

use super::verify::Digest;

/// Publishes that wait for their acknowledgement.
const UNACKNOWLEDGED_MAX: usize = 256;
/// Events are sent in small groups, so often.
const TICK: Duration = Duration::from_millis(5);

/// One published event, as its publisher remembers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Published {
    /// Hash of subject, headers and payload.
    pub digest: Digest,
    /// Whether it may leave its region, by the demo's own list.
    pub may_travel: bool,
    /// Whether it was published while the sidecars ran, so that its lag counts; not so the backlog.
    pub is_live: bool,
}

/// Everything published onto one stream; the index is the event's running number.
pub type Ledger = Vec<Published>;

/// Publishes one stream's events.
pub struct Publisher {
    jetstream: jetstream::Context,
    events: EventSource,
    ledger: Ledger,
    unacknowledged: VecDeque<PublishAckFuture>,
    progress: watch::Sender<LoadProgress>,
}

/// How far a [`Publisher`] is, backlog included.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LoadProgress {
    /// Events published.
    pub published: u64,
    /// Of these, the ones that may leave their region.
    pub may_travel: u64,
    /// Their payload bytes.
    pub may_travel_bytes: u64,
}

/// Where a [`Publisher`] gets its orders while it runs; dropping it ends the load.
#[derive(Debug)]
pub struct LoadControl {
    bursts: mpsc::Sender<u64>,
    progress: watch::Receiver<LoadProgress>,
}

impl LoadControl {
    /// Publishes so many events at once, on top of the steady rate.
    ///
    /// # Errors
    /// The publisher has ended.
    pub async fn burst(&self, count: u64) -> Result<()> {
        self.bursts.send(count).await.context("publish a burst")
    }

    /// Tells how far the load is, now and later.
    pub fn progress(&self) -> watch::Receiver<LoadProgress> {
        self.progress.clone()
    }
}

impl Publisher {
    /// Will publish the events of that trade and seed through that connection.
    pub fn new(jetstream: jetstream::Context, trade: Trade, seed: u64) -> Self {
        Self {
            jetstream,
            events: EventSource::new(trade, seed),
            ledger: Ledger::new(),
            unacknowledged: VecDeque::new(),
            progress: watch::Sender::default(),
        }
    }

    /// Publishes so many events as fast as the server takes them, and waits until it has them all.
    ///
    /// # Errors
    /// The server did not acknowledge one.
    pub async fn backlog(&mut self, count: u64) -> Result<()> {
        for _ in 0..count {
            self.publish_next(false).await?;
        }
        self.settle(0).await
    }

    /// Publishes at a steady rate, and bursts when told, until the control is dropped; gives the ledger back.
    pub fn run(
        mut self,
        rate_per_second: u64,
    ) -> (LoadControl, impl Future<Output = Result<Ledger>> + Send) {
        let (bursts, mut orders) = mpsc::channel(4);
        let control = LoadControl {
            bursts,
            progress: self.progress.subscribe(),
        };
        let running = async move {
            let began = Instant::now();
            let mut ticks = interval(TICK);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let mut steady = 0;
            loop {
                let burst = tokio::select! {
                    order = orders.recv() => match order {
                        Some(count) => count,
                        None => break,
                    },
                    _ = ticks.tick() => 0,
                };
                for _ in 0..burst {
                    self.publish_next(true).await?;
                }
                let due = began.elapsed().as_millis() as u64 * rate_per_second / 1_000;
                while steady < due {
                    self.publish_next(true).await?;
                    steady += 1;
                }
            }
            self.settle(0).await?;
            Ok(self.ledger)
        };
        (control, running)
    }

    async fn publish_next(&mut self, is_live: bool) -> Result<()> {
        let event = self.events.next_event();
        let mut headers = HeaderMap::new();
        for (name, value) in &event.headers {
            headers.append(*name, value.as_str());
        }
        let may_travel = !event.subject.starts_with(PERSONAL_PREFIX);
        let digest = Digest::of(&event.subject, Some(&headers), &event.payload);
        self.ledger.push(Published {
            digest,
            may_travel,
            is_live,
        });
        let payload_bytes = event.payload.len() as u64;
        let acknowledged = self
            .jetstream
            .publish_with_headers(event.subject, headers, event.payload.into())
            .await
            .context("publish an event")?;
        self.unacknowledged.push_back(acknowledged);
        self.progress.send_modify(|progress| {
            progress.published += 1;
            progress.may_travel += u64::from(may_travel);
            progress.may_travel_bytes += if may_travel { payload_bytes } else { 0 };
        });
        self.settle(UNACKNOWLEDGED_MAX).await
    }

    /// Waits for acknowledgements until so many are left.
    async fn settle(&mut self, left: usize) -> Result<()> {
        while self.unacknowledged.len() > left {
            let Some(oldest) = self.unacknowledged.pop_front() else {
                return Ok(());
            };
            let stored = oldest
                .into_future()
                .await
                .context("store an event in its source stream")?;
            anyhow::ensure!(
                !stored.duplicate,
                "the source stream took an event for a duplicate"
            );
        }
        Ok(())
    }
}
