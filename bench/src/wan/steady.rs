//! `wan-steady`: a link that is full for minutes. Does it move all the time, and stay up?

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use causeway::wan::Link;
use clap::Args;
use serde::Serialize;
use tokio::time::sleep;

use super::contender::{Contender, Route};
use super::data::Kind;
use super::outcome::{Line, Outcome, percent};
use super::servers::Loaded;
use super::trial::{Running, Stage};
use super::{link, until_interrupted};
use crate::Options;

/// What progress is told by.
const SPAN: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Until the first record; a batch takes long on such a link.
const FIRST_WITHIN: Duration = Duration::from_secs(180);

/// `wan-steady`
#[derive(Args)]
pub(crate) struct SteadyOptions {
    /// The link.
    #[arg(long, default_value = "modem", value_parser = link)]
    profile: Link,
    /// Contenders; without any, Causeway with and without a declared rate, and a native mirror with BBR.
    #[arg(long = "contender", value_enum)]
    contenders: Vec<Contender>,
    /// What fills the link.
    #[arg(long, value_enum, default_value_t = Kind::Orders)]
    data: Kind,
    /// How long it is full.
    #[arg(long, default_value_t = 10)]
    minutes: u64,
    /// Where steady.json and steady.md are written.
    #[arg(long, default_value = "target/wan")]
    out: PathBuf,
}

/// A contender's round.
#[derive(Debug, Default, Serialize)]
struct Steady {
    contender: String,
    round: usize,
    failed: Option<String>,
    first_after_seconds: f64,
    /// Stored in the target in each 10 s, from the first record on.
    records: Vec<u64>,
    /// Delivered by the link in each 10 s, IP headers included.
    bytes: Vec<u64>,
    /// The longest time without a record.
    pause_max_seconds: f64,
    link_share: f64,
    dropped_in_queue: u64,
    /// Of Causeway's link, since its start.
    reconnects: Option<u64>,
    is_backlog_left: bool,
}

fn least_and_median(values: &[u64]) -> String {
    let mut values = values.to_vec();
    values.sort_unstable();
    match (values.first(), values.get(values.len() / 2)) {
        (Some(least), Some(median)) => format!("{least}, {median}"),
        _ => "-".to_owned(),
    }
}

impl Line for Steady {
    const HEADS: &'static [&'static str] = &[
        "",
        "first record after, s",
        "records in 10 s: least, median",
        "bytes delivered in 10 s: least, median",
        "records",
        "longest pause, s",
        "link used",
        "dropped in queue",
        "reconnects",
    ];

    fn cells(&self) -> Vec<String> {
        let mut cells = vec![self.contender.clone()];
        if let Some(why) = &self.failed {
            cells.push(why.clone());
            cells.resize(Self::HEADS.len(), String::new());
            return cells;
        }
        let reconnects = self
            .reconnects
            .map_or_else(|| "-".to_owned(), |it| it.to_string());
        cells.extend([
            format!("{:.1}", self.first_after_seconds),
            least_and_median(&self.records),
            least_and_median(&self.bytes),
            self.records.iter().sum::<u64>().to_string(),
            format!("{:.1}", self.pause_max_seconds),
            percent(self.link_share),
            self.dropped_in_queue.to_string(),
            reconnects,
        ]);
        cells
    }
}

/// Runs it, prints and writes what it found.
pub(crate) fn steady(options: &SteadyOptions, shared: &Options) -> Result<ExitCode> {
    let contenders = match options.contenders.as_slice() {
        [] => vec![
            Contender::CausewayDeclared,
            Contender::CausewayProbing,
            Contender::MirrorBbr,
        ],
        chosen => chosen.to_vec(),
    };
    let link = options.profile;
    let setting = format!(
        "Link {} full of {} for {} minutes",
        link.name,
        options.data.name(),
        options.minutes
    );
    let mut outcome = Outcome::new("steady", setting);
    let outcome = until_interrupted(async {
        let stage = Stage::set(link, shared.seed).await?;
        // More than the link carries, even if data compress to a sixteenth.
        let bytes = (link.rate_bps / 8 * 60 * options.minutes * 16).max(16 << 20);
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
    options: &SteadyOptions,
    contender: Contender,
    loaded: Loaded,
    round: usize,
) -> Result<Steady> {
    let mut row = Steady {
        contender: contender.name().to_owned(),
        round,
        ..Steady::default()
    };
    let route = Route {
        stream: loaded.kind.stream(),
        priority: None,
    };
    let place = Some(options.profile);
    let done = match Running::start(stage, place, contender, &[route]).await {
        Ok(mut running) => {
            let done = measure(stage, options, &mut running, loaded, &mut row).await;
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
    options: &SteadyOptions,
    running: &mut Running,
    loaded: Loaded,
    row: &mut Steady,
) -> Result<()> {
    let stream = loaded.kind.stream();
    running.first_record_within(&stream, FIRST_WITHIN).await?;
    row.first_after_seconds = running.began.elapsed().as_secs_f64();
    let stored = async || -> Result<u64> {
        let state = running.state(&stream).await;
        Ok(state.context("the target stream has gone")?.messages)
    };
    let forward = || stage.world.emulator.snapshot().forward;
    let (began, wire) = (Instant::now(), forward());
    let (mut seen, mut moved_at) = (stored().await?, began);
    let spans = options.minutes * 60 / SPAN.as_secs();
    for span in 1..=u32::try_from(spans)? {
        let (records, bytes) = (seen, forward().delivered_bytes);
        while began.elapsed() < SPAN * span {
            sleep(LOOK_EVERY).await;
            let now = stored().await?;
            if now > seen {
                (seen, moved_at) = (now, Instant::now());
            }
            let pause = moved_at.elapsed().as_secs_f64();
            row.pause_max_seconds = row.pause_max_seconds.max(pause);
        }
        row.records.push(seen - records);
        row.bytes.push(forward().delivered_bytes - bytes);
    }
    let carried = forward().since(&wire);
    let capacity = options.profile.rate_bps as f64 / 8.0 * began.elapsed().as_secs_f64();
    row.link_share = carried.passed_bytes as f64 / capacity;
    row.dropped_in_queue = carried.overflowed_packets;
    row.is_backlog_left = seen < loaded.records;
    anyhow::ensure!(row.is_backlog_left, "the backlog ended before the time did");
    row.reconnects = running.status(stage).await?.map(|it| it.reconnects());
    Ok(())
}
