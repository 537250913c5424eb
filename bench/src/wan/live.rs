//! Records at a steady pace: how long each takes from its publishing to a consumer beside the target stream.
//!
//! The target's own store time would do for Causeway; a mirror keeps the source's. So both are seen with the same eyes: a
//! consumer on the target's host, which learns of a record after it was stored. Publisher and consumer are threads of
//! this process and read one clock.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use async_nats::jetstream::consumer::{DeliverPolicy, push};
use futures_util::StreamExt as _;
use serde::{Deserialize, Serialize};
use tokio::sync::{oneshot, watch};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use super::contender::{Contender, Route, copy_of};
use super::data::Kind;
use super::meter::Meter;
use super::sample::{Sample, sample};
use super::trial::{Place, Running, Stage};

/// The source stream of live trials.
pub(crate) const STREAM: &str = "LIVE";
/// A second.
pub(crate) const PACE: u64 = 500;
/// Records before the measured ones, so that nobody is measured while connecting or probing.
const WARM_UP: u64 = 1_500;
/// For what is late when the last record was published.
const PATIENCE: Duration = Duration::from_secs(60);
const READY_WITHIN: Duration = Duration::from_secs(45);
/// `{"sent_ns":` and so many digits begin each payload.
pub(crate) const STAMP_AT: usize = 11;
pub(crate) const STAMP_DIGITS: usize = 20;

/// How long records took.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Latency {
    pub records: u64,
    /// Published, and not there after all patience.
    pub missing: u64,
    pub p50_ms: f64,
    pub p90_ms: f64,
    pub p99_ms: f64,
    /// Stated from 300,000 records on.
    pub p999_ms: Option<f64>,
    pub max_ms: f64,
}

/// Records needed for a p99.9 that says something.
const P999_FROM: u64 = 300_000;

impl Latency {
    fn of(mut times: Vec<Duration>, published: u64) -> Self {
        times.sort_unstable();
        let records = times.len() as u64;
        let at = |share: f64| {
            let index = (times.len() as f64 * share) as usize;
            let time = times.get(index.min(times.len().saturating_sub(1)));
            time.map_or(0.0, |time| time.as_secs_f64() * 1e3)
        };
        Self {
            records,
            missing: published - records,
            p50_ms: at(0.5),
            p90_ms: at(0.9),
            p99_ms: at(0.99),
            p999_ms: (records >= P999_FROM).then(|| at(0.999)),
            max_ms: at(1.0),
        }
    }
}

/// Publishes for so long and measures each record.
pub(crate) async fn live(
    stage: &Stage,
    place: Place,
    contender: Contender,
    duration: Duration,
    round: usize,
) -> Result<Sample> {
    let mut sample = sample(place, contender, "live", round);
    stage.source.create(STREAM).await?;
    let done = match Running::start(stage, place, contender, &[route()]).await {
        Ok(mut running) => {
            let done = pace(stage, &mut running, &mut sample, PACE, duration).await;
            running.end().await?;
            done
        }
        Err(error) => Err(error),
    };
    sample.failed = done.err().map(|error| format!("{error:#}"));
    Ok(sample)
}

/// The route of live records.
pub(crate) fn route() -> Route {
    Route {
        stream: STREAM.to_owned(),
        priority: Some("live"),
    }
}

/// Publishes so many records a second for so long, after a warm-up, and fills in how long each took.
pub(crate) async fn pace(
    stage: &Stage,
    running: &mut Running,
    sample: &mut Sample,
    pace: u64,
    duration: Duration,
) -> Result<()> {
    while running.state(STREAM).await.is_none() {
        if running.began.elapsed() > READY_WITHIN {
            bail!("no target stream within {} s", READY_WITHIN.as_secs());
        }
        sleep(Duration::from_millis(50)).await;
    }
    let base = Instant::now();
    let (seen, observed) = watch::channel(0);
    let (stop, stopped) = oneshot::channel();
    let observer = running.target_host(stage).run({
        let jetstream = running.target.jetstream.clone();
        move || observe(jetstream, base, seen, stopped)
    });
    let measured = duration.as_secs() * pace;
    let play = async {
        let publish = |records| {
            let client = stage.source.client.clone();
            stage
                .world
                .us
                .run(move || publish(client, base, pace, records))
        };
        publish(WARM_UP).await?;
        let mut warm = observed.clone();
        let is_warm = timeout(READY_WITHIN, warm.wait_for(|seen| *seen >= WARM_UP));
        is_warm
            .await
            .context("the first records did not arrive")??;
        let before = Meter::begin(stage, running)?;
        publish(measured).await?;
        let mut all = observed.clone();
        // Whatever has not come by then counts as missing.
        let _ = timeout(PATIENCE, all.wait_for(|seen| *seen >= WARM_UP + measured)).await;
        let _ = stop.send(()); // the observer has ended by itself
        anyhow::Ok(before)
    };
    let (times, meter) = tokio::join!(observer, play);
    let (mut times, meter): (Vec<Duration>, Meter) = (times?, meter?);
    let times = times.split_off((WARM_UP as usize).min(times.len()));
    sample.records = times.len() as u64;
    sample.latency = Some(Latency::of(times, measured));
    meter.end(
        stage,
        running.place,
        sample,
        (sample.records * PAYLOAD_BYTES) as f64,
    )
}

pub(crate) const PAYLOAD_BYTES: u64 = 512;

/// Publishes at the pace, each record with the time at which it was.
pub(crate) async fn publish(
    client: async_nats::Client,
    base: Instant,
    pace: u64,
    records: u64,
) -> Result<()> {
    let mut ticks = interval(Duration::from_secs(1) / u32::try_from(pace)?);
    // What is late is published late, and late is when it is stamped.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    for record in Kind::Orders
        .records(records)
        .take(usize::try_from(records)?)
    {
        ticks.tick().await;
        let rest = &record.payload[1..record.payload.len() - STAMP_AT - STAMP_DIGITS - 3];
        let sent_ns = base.elapsed().as_nanos();
        let mut payload = format!("{{\"sent_ns\":{sent_ns:020},").into_bytes();
        payload.extend_from_slice(rest);
        payload.extend_from_slice(b"\"}");
        client
            .publish(format!("live.{}", record.subject), payload.into())
            .await?;
    }
    Ok(client.flush().await?)
}

/// Takes the time of each record until told to stop.
async fn observe(
    jetstream: async_nats::jetstream::Context,
    base: Instant,
    seen: watch::Sender<u64>,
    stopped: oneshot::Receiver<()>,
) -> Result<Vec<Duration>> {
    let config = push::OrderedConfig {
        deliver_subject: "_INBOX.bench.live".to_owned(),
        deliver_policy: DeliverPolicy::All,
        ..push::OrderedConfig::default()
    };
    let stream = jetstream.get_stream(copy_of(STREAM)).await?;
    let mut messages = stream.create_consumer(config).await?.messages().await?;
    let times = Rc::new(RefCell::new(Vec::new()));
    let take = async {
        while let Some(message) = messages.next().await {
            let now = base.elapsed();
            let stamp = message?
                .payload
                .get(STAMP_AT..STAMP_AT + STAMP_DIGITS)
                .map(<[u8]>::to_vec);
            let stamp: u64 = String::from_utf8(stamp.context("a short record")?)?.parse()?;
            times
                .borrow_mut()
                .push(now.saturating_sub(Duration::from_nanos(stamp)));
            seen.send_modify(|seen| *seen += 1);
        }
        bail!("the consumer has ended")
    };
    tokio::select! {
        ended = take => ended,
        _ = stopped => Ok(times.take()),
    }
}
