//! `wan-cut`: records keep coming while the link is cut; how they get over when it heals.

use std::collections::HashSet;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use async_nats::jetstream::consumer::{DeliverPolicy, push};
use causeway::wan::Link;
use clap::Args;
use futures_util::StreamExt as _;
use serde::Serialize;
use tokio::time::{sleep, timeout};

use super::contender::{Contender, copy_of};
use super::live::{self, STAMP_AT, STAMP_DIGITS, STREAM};
use super::outcome::{Line, Outcome, percent, yes};
use super::trial::{Running, Stage};
use super::{link, until_interrupted};
use crate::Options;

const LOOK_EVERY: Duration = Duration::from_millis(5);
/// After the heal, for a contender that comes back at all.
const BACK_WITHIN: Duration = Duration::from_secs(180);
/// On top of one way, for a record to count as current.
const CURRENT_WITHIN: Duration = Duration::from_millis(50);
/// On top of two round trips, from the heal to the first record.
const RESUMED_WITHIN_MS: f64 = 1_000.0;
/// Published before the cut, and after the heal.
const AROUND: Duration = Duration::from_secs(20);
const READ_WITHIN: Duration = Duration::from_secs(60);

/// `wan-cut`
#[derive(Args)]
pub(crate) struct CutOptions {
    /// The link.
    #[arg(long, default_value = "lossy", value_parser = link)]
    profile: Link,
    /// Contenders; without any, Causeway with and without a declared rate, and a native mirror with BBR.
    #[arg(long = "contender", value_enum)]
    contenders: Vec<Contender>,
    /// Records a second, before, during and after the cut.
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u64).range(1..=20_000))]
    pace: u64,
    /// How long the link is cut, in seconds.
    #[arg(long, default_value_t = 60)]
    cut: u64,
    /// Where cut.json and cut.md are written.
    #[arg(long, default_value = "target/wan")]
    out: PathBuf,
}

/// A contender's round. Times are from the heal.
#[derive(Debug, Default, Serialize)]
struct Cut {
    contender: String,
    round: usize,
    failed: Option<String>,
    round_trip_ms: f64,
    resumed_ms: f64,
    caught_up_seconds: f64,
    /// Waiting in the source when the link healed.
    backlog_records: u64,
    /// Of the link's rate, from the first record until it had caught up.
    link_share: f64,
    published: u64,
    lost: u64,
    doubled: u64,
}

impl Line for Cut {
    const HEADS: &'static [&'static str] = &[
        "",
        "first record, ms after the heal",
        "caught up, s after the heal",
        "backlog",
        "link used meanwhile",
        "published",
        "lost",
        "doubled",
        "first <= 2 round trips + 1 s",
    ];

    fn cells(&self) -> Vec<String> {
        let mut cells = vec![self.contender.clone()];
        if let Some(why) = &self.failed {
            cells.push(why.clone());
            cells.resize(Self::HEADS.len(), String::new());
            return cells;
        }
        cells.extend([
            format!("{:.0}", self.resumed_ms),
            format!("{:.2}", self.caught_up_seconds),
            self.backlog_records.to_string(),
            percent(self.link_share),
            self.published.to_string(),
            self.lost.to_string(),
            self.doubled.to_string(),
            yes(self.resumed_ms <= 2.0 * self.round_trip_ms + RESUMED_WITHIN_MS),
        ]);
        cells
    }
}

/// Runs it, prints and writes what it found; fails where Causeway lost or doubled a record.
pub(crate) fn cut(options: &CutOptions, shared: &Options) -> Result<ExitCode> {
    let contenders = match options.contenders.as_slice() {
        [] => vec![
            Contender::CausewayDeclared,
            Contender::CausewayProbing,
            Contender::MirrorBbr,
        ],
        chosen => chosen.to_vec(),
    };
    let setting = format!(
        "Link {} cut for {} s at {} records/s",
        options.profile.name, options.cut, options.pace
    );
    let mut outcome = Outcome::new("cut", setting);
    let mut is_exact = true;
    let outcome = until_interrupted(async {
        let stage = Stage::set(options.profile, shared.seed).await?;
        for round in 0..shared.rounds.unwrap_or(1) {
            for contender in contenders.iter().copied() {
                let row = trial(&stage, options, contender, round).await?;
                is_exact &= contender.is_mirror() || (row.lost, row.doubled) == (0, 0);
                outcome.add(row, &options.out)?;
            }
        }
        Ok(outcome)
    })?;
    outcome.print(shared.json)?;
    Ok(if is_exact {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

async fn trial(
    stage: &Stage,
    options: &CutOptions,
    contender: Contender,
    round: usize,
) -> Result<Cut> {
    let mut row = Cut {
        contender: contender.name().to_owned(),
        round,
        round_trip_ms: options.profile.round_trip.as_secs_f64() * 1e3,
        ..Cut::default()
    };
    stage.source.create(STREAM).await?;
    let place = Some(options.profile);
    let done = match Running::start(stage, place, contender, &[live::route()]).await {
        Ok(mut running) => {
            let done = measure(stage, options, &mut running, &mut row).await;
            // The next one finds a healthy link, however this one ended.
            stage.world.emulator.heal();
            running.end().await?;
            done
        }
        Err(error) => Err(error),
    };
    row.failed = done.err().map(|error| format!("{error:#}"));
    Ok(row)
}

async fn measure(
    stage: &Stage,
    options: &CutOptions,
    running: &mut Running,
    row: &mut Cut,
) -> Result<()> {
    let cut = Duration::from_secs(options.cut);
    row.published = options.pace * (AROUND * 2 + cut).as_secs();
    let (client, pace, records) = (stage.source.client.clone(), options.pace, row.published);
    let publish = stage
        .world
        .us
        .run(move || live::publish(client, Instant::now(), pace, records));
    let watch = async {
        running.first_record(STREAM).await?;
        sleep(AROUND).await;
        stage.world.emulator.cut();
        sleep(cut).await;
        heal(stage, options, running, row).await
    };
    let (published, watched) = tokio::join!(publish, watch);
    published?;
    watched?;
    let began = Instant::now();
    while stored(running).await? < row.published && began.elapsed() < READ_WITHIN {
        sleep(LOOK_EVERY).await;
    }
    let host = running.target_host(stage);
    let (jetstream, total) = (running.target.jetstream.clone(), stored(running).await?);
    let reading = host.run(move || distinct(jetstream, total));
    let distinct = timeout(READ_WITHIN, reading)
        .await
        .context("the target cannot be read")??;
    row.doubled = total - distinct;
    row.lost = row.published - distinct;
    Ok(())
}

async fn stored(running: &Running) -> Result<u64> {
    let state = running.state(STREAM).await;
    Ok(state.context("the target stream has gone")?.messages)
}

/// Heals the link, and watches the target until it is current.
async fn heal(stage: &Stage, options: &CutOptions, running: &Running, row: &mut Cut) -> Result<()> {
    let waiting = async || -> Result<u64> {
        let stream = stage.source.jetstream.get_stream(STREAM).await?;
        Ok(stream.cached_info().state.messages)
    };
    let before = stored(running).await?;
    row.backlog_records = waiting().await?.saturating_sub(before);
    stage.world.emulator.heal();
    let healed = Instant::now();
    while stored(running).await? <= before {
        if healed.elapsed() > BACK_WITHIN {
            bail!("no record within {} s of the heal", BACK_WITHIN.as_secs());
        }
        sleep(LOOK_EVERY).await;
    }
    row.resumed_ms = healed.elapsed().as_secs_f64() * 1e3;
    let (resumed, link) = (Instant::now(), options.profile);
    let wire = stage.world.emulator.snapshot();
    let on_the_way = (link.round_trip / 2 + CURRENT_WITHIN).as_secs_f64() * options.pace as f64;
    while waiting().await? > stored(running).await? + on_the_way as u64 {
        if healed.elapsed() > BACK_WITHIN {
            bail!("not caught up within {} s", BACK_WITHIN.as_secs());
        }
        sleep(LOOK_EVERY).await;
    }
    row.caught_up_seconds = healed.elapsed().as_secs_f64();
    let passed = stage.world.emulator.snapshot().forward.since(&wire.forward);
    let bytes = link.rate_bps as f64 / 8.0 * resumed.elapsed().as_secs_f64();
    row.link_share = passed.passed_bytes as f64 / bytes.max(1.0);
    Ok(())
}

/// Reads so many records of the target stream; returns how many different ones there are, told by their stamps.
async fn distinct(jetstream: async_nats::jetstream::Context, total: u64) -> Result<u64> {
    let config = push::OrderedConfig {
        deliver_subject: "_INBOX.bench.cut".to_owned(),
        deliver_policy: DeliverPolicy::All,
        ..push::OrderedConfig::default()
    };
    let stream = jetstream.get_stream(copy_of(STREAM)).await?;
    let mut messages = stream.create_consumer(config).await?.messages().await?;
    let mut stamps = HashSet::new();
    for _ in 0..total {
        let message = messages.next().await.context("the consumer has ended")??;
        let stamp = message.payload.get(STAMP_AT..STAMP_AT + STAMP_DIGITS);
        stamps.insert(stamp.context("a short record")?.to_vec());
    }
    Ok(stamps.len() as u64)
}
