//! `wan-lanes`: live records on one route while another one catches up, on one link.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};
use causeway::wan::Link;
use clap::Args;
use serde::Serialize;

use super::contender::{Contender, Route};
use super::data::Kind;
use super::live::{self, STREAM};
use super::outcome::{Line, Outcome, percent, yes};
use super::sample::{Sample, sample};
use super::servers::Loaded;
use super::trial::{Running, Stage};
use super::{link, until_interrupted};
use crate::Options;

/// Live records are to arrive within one way and this, for 99 of 100.
const P99_OVER_ONE_WAY_MS: f64 = 50.0;
/// What the route that catches up is to get of the link.
const BULK_SHARE_MIN: f64 = 0.85;

/// `wan-lanes`
#[derive(Args)]
pub(crate) struct LanesOptions {
    /// The link.
    #[arg(long, default_value = "thin", value_parser = link)]
    profile: Link,
    /// Contenders; without any, Causeway with and without a declared rate, and native mirrors with BBR.
    #[arg(long = "contender", value_enum)]
    contenders: Vec<Contender>,
    /// What the other route catches up on.
    #[arg(long, value_enum, default_value_t = Kind::Orders)]
    data: Kind,
    /// Payload of the backlog, in MB.
    #[arg(long, default_value_t = 1_000)]
    backlog: u64,
    /// Live records a second.
    #[arg(long, default_value_t = live::PACE, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    live: u64,
    /// How long they are published.
    #[arg(long, default_value_t = 120)]
    seconds: u64,
    /// Where lanes.json and lanes.md are written.
    #[arg(long, default_value = "target/wan")]
    out: PathBuf,
}

/// A contender's round.
#[derive(Debug, Serialize)]
struct Lanes {
    contender: Contender,
    round: usize,
    one_way_ms: f64,
    /// Live latencies and what the link did, while live records were published.
    sample: Sample,
    bulk_records: u64,
    /// Of the link's rate, headers and repairs included, in proportion to the batches (of a mirror: the payload) of both routes.
    bulk_share: f64,
    /// Whether the backlog outlasted the live records.
    is_bulk_left: bool,
}

impl Line for Lanes {
    const HEADS: &'static [&'static str] = &[
        "",
        "live p50 ms",
        "p90",
        "p99",
        "p99.9",
        "max",
        "missing",
        "link used",
        "bulk's share",
        "bulk lasted",
        "p99 <= one way + 50 ms",
        "bulk >= 85 %",
    ];

    fn cells(&self) -> Vec<String> {
        let mut cells = vec![self.contender.name().to_owned()];
        let latency = match (&self.sample.failed, &self.sample.latency) {
            (None, Some(latency)) => latency,
            (why, _) => {
                cells.push(why.clone().unwrap_or_default());
                cells.resize(Self::HEADS.len(), String::new());
                return cells;
            }
        };
        let ms = |value: f64| format!("{value:.1}");
        cells.extend([
            ms(latency.p50_ms),
            ms(latency.p90_ms),
            ms(latency.p99_ms),
            latency.p999_ms.map_or_else(|| "-".to_owned(), ms),
            ms(latency.max_ms),
            latency.missing.to_string(),
            percent(self.sample.wire.used_share),
            percent(self.bulk_share),
            yes(self.is_bulk_left),
            yes(latency.missing == 0 && latency.p99_ms <= self.one_way_ms + P99_OVER_ONE_WAY_MS),
            yes(self.bulk_share >= BULK_SHARE_MIN),
        ]);
        cells
    }
}

/// Runs it, prints and writes what it found.
pub(crate) fn lanes(options: &LanesOptions, shared: &Options) -> Result<ExitCode> {
    let contenders = match options.contenders.as_slice() {
        [] => vec![
            Contender::CausewayDeclared,
            Contender::CausewayProbing,
            Contender::MirrorBbr,
        ],
        chosen => chosen.to_vec(),
    };
    let setting = format!(
        "Link {}: {} live records/s for {} s while {} MB of {} are caught up on",
        options.profile.name,
        options.live,
        options.seconds,
        options.backlog,
        options.data.name()
    );
    let mut outcome = Outcome::new("lanes", setting);
    let outcome = until_interrupted(async {
        let stage = Stage::set(options.profile, shared.seed).await?;
        let bytes = options.backlog * 1_000_000;
        let loaded = stage
            .source
            .load(&stage.world.us, options.data, bytes, shared.seed)
            .await?;
        for round in 0..shared.rounds.unwrap_or(1) {
            for contender in contenders.iter().copied() {
                let row = trial(&stage, options, contender, loaded, round).await?;
                outcome.add(row, &options.out)?;
            }
        }
        Ok(outcome)
    })?;
    outcome.print(shared.json)?;
    Ok(ExitCode::SUCCESS)
}

async fn trial(
    stage: &Stage,
    options: &LanesOptions,
    contender: Contender,
    loaded: Loaded,
    round: usize,
) -> Result<Lanes> {
    let place = Some(options.profile);
    let mut lanes = Lanes {
        contender,
        round,
        one_way_ms: options.profile.round_trip.as_secs_f64() * 5e2,
        sample: sample(place, contender, "live", round),
        bulk_records: 0,
        bulk_share: 0.0,
        is_bulk_left: false,
    };
    stage.source.create(STREAM).await?;
    // Without a priority, as most routes are: bulk as long as it is behind.
    let bulk = Route {
        stream: loaded.kind.stream(),
        priority: None,
    };
    let routes = [bulk, live::route()];
    let done = match Running::start(stage, place, contender, &routes).await {
        Ok(mut running) => {
            let done = measure(stage, options, &mut running, loaded, &mut lanes).await;
            running.end().await?;
            done
        }
        Err(error) => Err(error),
    };
    lanes.sample.failed = done.err().map(|error| format!("{error:#}"));
    Ok(lanes)
}

async fn measure(
    stage: &Stage,
    options: &LanesOptions,
    running: &mut Running,
    loaded: Loaded,
    lanes: &mut Lanes,
) -> Result<()> {
    let bulk = loaded.kind.stream();
    running.first_record(&bulk).await?;
    let before = running.state(&bulk).await.context("bulk's copy")?.messages;
    let status_before = running.status(stage).await?;
    let duration = Duration::from_secs(options.seconds);
    let sample = &mut lanes.sample;
    live::pace(stage, running, sample, options.live, duration).await?;
    let after = running.state(&bulk).await.context("bulk's copy")?.messages;
    lanes.bulk_records = after - before;
    lanes.is_bulk_left = after < loaded.records;
    let (bulk_bytes, all_bytes) = match (status_before, running.status(stage).await?) {
        (Some(before), Some(after)) => {
            let wire = |stream| (after.bytes(stream).1 - before.bytes(stream).1) as f64;
            (wire(Some(bulk.as_str())), wire(None))
        }
        _ => {
            let mean = loaded.payload_bytes as f64 / loaded.records as f64;
            let bulk = lanes.bulk_records as f64 * mean;
            (bulk, bulk + (sample.records * live::PAYLOAD_BYTES) as f64)
        }
    };
    lanes.bulk_share = sample.wire.used_share * bulk_bytes / all_bytes.max(1.0);
    Ok(())
}
