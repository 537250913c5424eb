//! One contender on one link with one kind of data: what came of it.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use async_nats::jetstream::stream::State;
use causeway::demo::process::Process;
use causeway::wan::Link;
use tempfile::TempDir;
use tokio::time::sleep;

use super::contender::{self, Contender, Route, Scene, Sidecars, copy_of};
use super::host::Host;
use super::meter::Meter;
use super::sample::{Sample, sample};
use super::servers::{self, Loaded, Source, Target};
use super::sidecar::Status;
use super::world::{ADDRESSES, World};

const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Until the first record has arrived, on any link on which a contender works at all.
const FIRST_WITHIN: Duration = Duration::from_secs(45);
/// More than what any trial stores and its servers take.
const MEMORY_BYTES: usize = 640 << 20;

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

/// Has the machine hold memory for a trial, free and in reach.
///
/// A virtual machine may give memory that nobody uses back to its host, and gets it anew page by page when a store grows, at the
/// price of a microsecond a record: without this, a trial's figures depend on what ran before it. Written in pieces as
/// small as a store's, or the kernel keeps what it is given in blocks that it takes last.
async fn provide_memory(stage: &Stage) -> Result<()> {
    let mut scratch = tempfile::tempfile_in(stage.directory.path())?;
    tokio::task::spawn_blocking(move || {
        let zeros = vec![0; 4096];
        (0..MEMORY_BYTES / zeros.len()).try_for_each(|_| scratch.write_all(&zeros))
    })
    .await?
    .context("a scratch file")
}

/// Has the machine hold the records of a source stream in memory, where every contender finds them alike: a stream that was
/// not read for minutes is no longer there on a machine that reclaims what is cold, and who comes first would wait for the disk.
async fn provide_records(stage: &Stage, stream: &str) -> Result<()> {
    let streams = stage.source.store.join("jetstream/$G/streams");
    let blocks = streams.join(stream).join("msgs");
    let reading = tokio::task::spawn_blocking(move || read_all(&blocks));
    reading.await?.context("the blocks of a source stream")
}

fn read_all(directory: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(directory)? {
        match File::open(entry?.path()) {
            Ok(mut file) => io::copy(&mut file, &mut io::sink())?,
            // The server writes its index anew now and then.
            Err(why) if why.kind() == io::ErrorKind::NotFound => 0,
            Err(why) => return Err(why),
        };
    }
    Ok(())
}

/// Where a trial takes place: on a link, or without any, both regions on one host.
pub(crate) type Place = Option<Link>;

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
            has_dedupe_ids: contender.has_dedupe_ids(),
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

/// A backlog, from the first record in the target until all are there or the time is over.
pub(crate) async fn catch_up(
    stage: &Stage,
    place: Place,
    contender: Contender,
    loaded: Loaded,
    limit: Duration,
    round: usize,
) -> Result<Sample> {
    provide_memory(stage).await?;
    let mut sample = sample(place, contender, loaded.kind.name(), round);
    let route = Route {
        stream: loaded.kind.stream(),
        priority: Some("normal"),
    };
    provide_records(stage, &route.stream).await?;
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
