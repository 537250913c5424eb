//! One contender on one link with one kind of data: what came of it.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use async_nats::jetstream::stream::State;
use causeway::demo::process::Process;
use causeway::wan::{Link, PathCounters};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;
use tokio::time::sleep;

use super::contender::{self, Contender, Route, Scene, Sidecars, copy_of};
use super::emulator::Snapshot;
use super::host::Host;
use super::live::Latency;
use super::servers::{self, Loaded, Source, Target};
use super::sidecar::Status;
use super::usage::{Machine, ProcessUse, Usage};
use super::world::{ADDRESSES, World};

const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Until the first record has arrived, on any link on which a contender works at all.
const FIRST_WITHIN: Duration = Duration::from_secs(45);
/// The bytes of an IP packet that carry a contender's: what IP, UDP and QUIC, or IP and TCP with timestamps, leave.
pub(crate) const PAYLOAD_SHARE: f64 = 1_448.0 / 1_500.0;

/// What stays for all trials of a run.
pub(crate) struct Stage {
    pub world: World,
    pub source: Source,
    pub server_binary: PathBuf,
    pub directory: TempDir,
}

impl Stage {
    /// Both hosts, the link between them and the source's server.
    pub(crate) async fn set(link: Link, seed: u64) -> Result<Self> {
        contender::causeway_binary()?;
        let server_binary = servers::binary().await?;
        let world = World::create(link.profile(), seed)?;
        let directory = tempfile::tempdir()?;
        let source = Source::start(&world.us, &server_binary, directory.path()).await?;
        Ok(Self {
            world,
            source,
            server_binary,
            directory,
        })
    }
}

/// Where a trial takes place: on a link, or without any, both regions on one host.
pub(crate) type Place = Option<Link>;

/// What a trial was, and what came of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Sample {
    /// The link's name, or `loopback`.
    pub link: String,
    pub contender: Contender,
    pub data: String,
    pub round: usize,
    /// Why there is nothing to tell, if so.
    pub failed: Option<String>,
    /// From the start of the contender to the first record in the target.
    pub first_after_seconds: f64,
    pub records: u64,
    pub seconds: f64,
    pub records_per_second: f64,
    pub payload_mb_per_second: f64,
    /// The longest time in which the target got nothing.
    #[serde(default)]
    pub pause_max_seconds: f64,
    pub wire: Wire,
    /// Mean payload of a record of these data.
    #[serde(default)]
    pub record_bytes: f64,
    /// Payload bytes a byte of batches, as the source's sidecar counts them: what QUIC, UDP and IP add left out.
    #[serde(default)]
    pub compression: Option<f64>,
    pub processes: Vec<ProcessUse>,
    pub emulator_cpu_seconds: f64,
    /// Of all cores, whoever used them.
    pub machine_idle_share: f64,
    /// `link`, `CPU` or `itself`, from the figures above.
    pub bound_by: String,
    pub latency: Option<Latency>,
}

/// What a trial did to the link. Bytes are those of IP packets.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(crate) struct Wire {
    pub forward_bytes: u64,
    pub back_bytes: u64,
    /// Payload bytes a byte sent forward.
    pub ratio: f64,
    /// Of the link's rate, forward, what passed the bottleneck.
    pub used_share: f64,
    /// Payload bytes of what the link could carry of them uncompressed, `rate x (1 - loss) x 1448 / 1500`.
    pub goodput_share: f64,
    /// Mean and longest wait in the bottleneck's queue.
    pub queue_mean_ms: f64,
    pub overflowed_packets: u64,
    /// The most bytes over `rate x t` that entered in any interval of the trial, forward and back; the rate is the declared
    /// one, or else the link's.
    #[serde(default)]
    pub burst_bytes: [f64; 2],
    /// Of the link: bits a second, and the share lost.
    #[serde(default)]
    pub rate_bps: u64,
    #[serde(default)]
    pub loss: f64,
}

/// Everything that runs during a trial; dropping it ends it.
pub(crate) struct Running {
    pub target: Target,
    pub sidecars: Vec<Process>,
    /// Where each sidecar serves `/status`.
    admins: Vec<u16>,
    pub began: Instant,
    pub place: Place,
    directory: TempDir,
}

impl Running {
    /// Starts a target server and a contender that replicates streams to it.
    pub(crate) async fn start(
        stage: &Stage,
        place: Place,
        contender: Contender,
        routes: &[Route],
    ) -> Result<Self> {
        let directory = tempfile::tempdir_in(stage.directory.path())?;
        let source_host = &stage.world.us;
        let (target_host, source_address) = match place {
            Some(link) => {
                stage.world.emulator.change(link.profile());
                let watched = contender.told_bps(link.rate_bps).unwrap_or(link.rate_bps);
                stage.world.emulator.watch(watched);
                (&stage.world.eu, ADDRESSES[0])
            }
            None => (source_host, "127.0.0.1"),
        };
        if place.is_some() {
            contender::prepare(contender, [source_host, target_host])?;
        }
        let leaf_of = contender.is_mirror().then_some(source_address);
        let target =
            Target::start(target_host, &stage.server_binary, directory.path(), leaf_of).await?;
        let scene = Scene {
            source_host,
            target_host,
            source_address,
            source_url: stage.source.server.url(),
            target: &target,
            routes,
            told_bps: place.and_then(|link| contender.told_bps(link.rate_bps)),
            directory: directory.path().to_owned(),
        };
        let Sidecars { processes, admins } = contender::start(contender, &scene).await?;
        Ok(Self {
            target,
            sidecars: processes,
            admins,
            began: Instant::now(),
            place,
            directory,
        })
    }

    /// The host that the target is on.
    pub(crate) fn target_host<'a>(&self, stage: &'a Stage) -> &'a Host {
        match self.place {
            Some(_) => &stage.world.eu,
            None => &stage.world.us,
        }
    }

    /// What the source's sidecar says of itself; nothing of a mirror.
    pub(crate) async fn status(&self, stage: &Stage) -> Result<Option<Status>> {
        match self.admins.first() {
            Some(port) => Ok(Some(Status::ask(&stage.world.us, *port).await?)),
            None => Ok(None),
        }
    }

    /// The state of a source stream's copy, once there is one.
    pub(crate) async fn state(&self, stream: &str) -> Option<State> {
        let stream = self
            .target
            .jetstream
            .get_stream(copy_of(stream))
            .await
            .ok()?;
        Some(stream.cached_info().state.clone())
    }

    /// Waits for the first record in the target.
    pub(crate) async fn first_record(&mut self, stream: &str) -> Result<()> {
        self.first_record_within(stream, FIRST_WITHIN).await
    }

    /// Waits so long at most, from the contender's start.
    pub(crate) async fn first_record_within(
        &mut self,
        stream: &str,
        limit: Duration,
    ) -> Result<()> {
        while self.began.elapsed() < limit {
            let state = self.state(stream).await;
            if state.is_some_and(|state| state.messages > 0) {
                return Ok(());
            }
            for sidecar in &mut self.sidecars {
                if let Some(status) = sidecar.exit_status()? {
                    bail!(
                        "{} ended ({status}): {}",
                        sidecar.name(),
                        sidecar.log_tail(3)
                    );
                }
            }
            sleep(LOOK_EVERY).await;
        }
        bail!("no record arrived within {} s", limit.as_secs())
    }

    /// Ends it, in order, so that the next trial finds a quiet link.
    pub(crate) async fn end(mut self) -> Result<()> {
        for sidecar in &mut self.sidecars {
            sidecar.kill().await?;
        }
        self.target.server.kill().await?;
        let pause = self
            .place
            .map_or(Duration::ZERO, |link| link.round_trip * 2);
        sleep(pause + Duration::from_millis(500)).await;
        Ok(self.directory.close()?)
    }
}

/// What is measured around a part of a trial.
pub(crate) struct Meter {
    began: Instant,
    usages: Vec<Usage>,
    snapshot: Snapshot,
    machine: Machine,
}

impl Meter {
    pub(crate) fn begin(stage: &Stage, running: &mut Running) -> Result<Self> {
        let mut ids = vec![
            ("us server".to_owned(), stage.source.id),
            ("eu server".to_owned(), running.target.server.process().id()),
        ];
        ids.extend(
            running
                .sidecars
                .iter()
                .map(|it| (it.name().to_owned(), it.id())),
        );
        let usages = ids
            .iter()
            .map(|(name, id)| Usage::begin(name, *id))
            .collect::<Result<_>>()?;
        Ok(Self {
            usages,
            snapshot: stage.world.emulator.snapshot(),
            machine: Machine::now()?,
            began: Instant::now(),
        })
    }

    /// Fills in what was used by so many records of so many bytes.
    pub(crate) fn end(
        self,
        stage: &Stage,
        place: Place,
        sample: &mut Sample,
        payload: f64,
    ) -> Result<()> {
        let elapsed = self.began.elapsed();
        let after = stage.world.emulator.snapshot();
        let uses = self.usages.iter().map(|usage| usage.end(elapsed));
        sample.processes = uses.collect::<Result<_>>()?;
        sample.machine_idle_share = Machine::now()?.idle_since(&self.machine);
        sample.emulator_cpu_seconds = (after.cpu - self.snapshot.cpu).as_secs_f64();
        sample.seconds = elapsed.as_secs_f64();
        sample.records_per_second = sample.records as f64 / sample.seconds;
        sample.payload_mb_per_second = payload / 1e6 / sample.seconds;
        if let Some(link) = place {
            let forward = after.forward.since(&self.snapshot.forward);
            let back = after.back.since(&self.snapshot.back);
            sample.wire = wire(&link, &forward, &back, payload, sample.seconds);
            sample.wire.burst_bytes = after.burst_bytes;
        }
        sample.bound_by = bound_by(sample).to_owned();
        Ok(())
    }
}

fn wire(
    link: &Link,
    forward: &PathCounters,
    back: &PathCounters,
    payload: f64,
    seconds: f64,
) -> Wire {
    let rate = link.rate_bps as f64 / 8.0;
    Wire {
        forward_bytes: forward.entered_bytes,
        back_bytes: back.entered_bytes,
        ratio: payload / (forward.entered_bytes as f64).max(1.0),
        used_share: forward.passed_bytes as f64 / seconds / rate,
        goodput_share: payload / seconds / (rate * (1.0 - link.loss) * PAYLOAD_SHARE),
        queue_mean_ms: forward.waited_mean().as_secs_f64() * 1e3,
        overflowed_packets: forward.overflowed_packets,
        burst_bytes: [0.0; 2],
        rate_bps: link.rate_bps,
        loss: link.loss,
    }
}

/// A machine with less idle time than this holds back a chain of processes that wait for each other.
const IDLE_MIN: f64 = 0.2;

/// What holds a trial back: a full link, a full machine or a full thread, or its own protocol.
pub(crate) fn bound_by(sample: &Sample) -> &'static str {
    let hottest = sample
        .processes
        .iter()
        .map(|it| it.hottest_share)
        .fold(0.0, f64::max);
    if sample.wire.used_share >= 0.9 {
        "link"
    } else if sample.machine_idle_share < IDLE_MIN || hottest > 0.9 {
        "CPU"
    } else {
        "itself"
    }
}

/// An empty sample.
pub(crate) fn sample(
    place: Place,
    contender: Contender,
    data: &'static str,
    round: usize,
) -> Sample {
    Sample {
        link: place.map_or("loopback", |link| link.name).to_owned(),
        contender,
        data: data.to_owned(),
        round,
        failed: None,
        first_after_seconds: 0.0,
        records: 0,
        seconds: 0.0,
        records_per_second: 0.0,
        payload_mb_per_second: 0.0,
        pause_max_seconds: 0.0,
        wire: Wire::default(),
        record_bytes: 0.0,
        compression: None,
        processes: Vec::new(),
        emulator_cpu_seconds: 0.0,
        machine_idle_share: 0.0,
        bound_by: String::new(),
        latency: None,
    }
}

/// A backlog, from the first record in the target until all are there or the time is over.
pub(crate) async fn catch_up(
    stage: &Stage,
    place: Place,
    contender: Contender,
    loaded: Loaded,
    limit: Duration,
    round: usize,
) -> Result<Sample> {
    let mut sample = sample(place, contender, loaded.kind.name(), round);
    let route = Route {
        stream: loaded.kind.stream(),
        priority: Some("normal"),
    };
    let done = match Running::start(stage, place, contender, &[route]).await {
        Ok(mut running) => {
            let done = fill(stage, &mut running, &mut sample, loaded, limit).await;
            running.end().await?;
            done
        }
        Err(error) => Err(error),
    };
    sample.failed = done.err().map(|error| format!("{error:#}"));
    Ok(sample)
}

async fn fill(
    stage: &Stage,
    running: &mut Running,
    sample: &mut Sample,
    loaded: Loaded,
    limit: Duration,
) -> Result<()> {
    let stream = loaded.kind.stream();
    running.first_record(&stream).await?;
    sample.first_after_seconds = running.began.elapsed().as_secs_f64();
    let meter = Meter::begin(stage, running)?;
    let began = Instant::now();
    let before = running
        .state(&stream)
        .await
        .context("the target stream has gone")?
        .messages;
    let (mut stored, mut moved_at) = (before, began);
    while stored < loaded.records && began.elapsed() < limit {
        sleep(LOOK_EVERY).await;
        let state = running
            .state(&stream)
            .await
            .context("the target stream has gone")?;
        if state.messages > stored {
            (stored, moved_at) = (state.messages, Instant::now());
        }
        sample.pause_max_seconds = sample
            .pause_max_seconds
            .max(moved_at.elapsed().as_secs_f64());
    }
    sample.records = stored - before;
    let record_bytes = loaded.payload_bytes as f64 / loaded.records as f64;
    meter.end(
        stage,
        running.place,
        sample,
        record_bytes * sample.records as f64,
    )?;
    sample.record_bytes = record_bytes;
    if let Some(status) = running.status(stage).await? {
        let (payload, wire) = status.bytes(None);
        sample.compression = (wire > 0).then(|| payload as f64 / wire as f64);
    }
    Ok(())
}
