//! `wan`: Causeway and the native mirror on the same links, alternately.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};
use causeway::wan::{LINKS, Link};
use clap::Args;

use super::contender::{Contender, causeway_binary};
use super::data::Kind;
use super::report::Comparison;
use super::servers::{self, Loaded, Source};
use super::trial::{Place, Sample, Stage, catch_up};
use super::world::World;
use super::{link, live};
use crate::Options;

/// `wan`
#[derive(Args)]
pub(crate) struct WanOptions {
    /// Links; without any, all.
    #[arg(long = "profile", value_parser = link)]
    profiles: Vec<Link>,
    /// Contenders; without any, all.
    #[arg(long = "contender", value_enum)]
    contenders: Vec<Contender>,
    /// Kinds of data to catch up on; without any, orders and random, and all kinds where the link is `lossy`.
    #[arg(long, value_enum)]
    data: Vec<Kind>,
    /// A first look, in two minutes: the link `lossy`, one round, short trials.
    #[arg(long)]
    quick: bool,
    /// The longest that one catch-up trial is measured, in seconds; 0 leaves catch-up out.
    #[arg(long)]
    seconds: Option<u64>,
    /// How long records are published in one live trial, 500 a second; 0 leaves live out. A p99.9 is stated from 300,000
    /// records on, so from 600 s in all rounds.
    #[arg(long)]
    live_seconds: Option<u64>,
    /// Also without a link, both regions on one host: what this machine's cores allow.
    #[arg(long)]
    loopback: bool,
    /// An earlier comparison.json, to be added to: a long run in pieces.
    #[arg(long)]
    add: Option<PathBuf>,
    /// Where comparison.json, comparison.md and comparison.svg are written.
    #[arg(long, default_value = "target/wan")]
    out: PathBuf,
}

/// Options with all their defaults.
struct Plan {
    places: Vec<Place>,
    contenders: Vec<Contender>,
    data: Vec<Kind>,
    rounds: usize,
    limit: Duration,
    live: Duration,
    /// Payload of a backlog.
    backlog_bytes: u64,
}

impl Plan {
    fn new(options: &WanOptions, rounds: Option<usize>) -> Self {
        let chosen = |profiles: &[Link], all: &[Link]| {
            let links = if profiles.is_empty() { all } else { profiles };
            links.iter().map(|link| Some(*link)).collect::<Vec<_>>()
        };
        let quick = Link::named("lossy").map_or_else(Vec::new, |link| vec![link]);
        let mut places = chosen(
            &options.profiles,
            if options.quick { &quick } else { &LINKS },
        );
        if options.loopback {
            places.insert(0, None);
        }
        let or = |given: Option<u64>, quick, full| {
            given.unwrap_or(if options.quick { quick } else { full })
        };
        Self {
            places,
            contenders: if options.contenders.is_empty() {
                Contender::ALL.to_vec()
            } else {
                options.contenders.clone()
            },
            data: options.data.clone(),
            rounds: rounds.unwrap_or(if options.quick { 1 } else { 3 }),
            limit: Duration::from_secs(or(options.seconds, 5, 15)),
            live: Duration::from_secs(or(options.live_seconds, 5, 200)),
            backlog_bytes: if options.quick { 200 << 20 } else { 600 << 20 },
        }
    }

    /// Kinds to catch up on at a place.
    fn kinds(&self, place: Place, quick: bool) -> Vec<Kind> {
        if self.limit.is_zero() {
            Vec::new()
        } else if !self.data.is_empty() {
            self.data.clone()
        } else if !quick && place.is_some_and(|link| link.name == "lossy") {
            vec![
                Kind::Orders,
                Kind::Random,
                Kind::Readings,
                Kind::Mixed,
                Kind::Flights,
            ]
        } else {
            vec![Kind::Orders, Kind::Random]
        }
    }
}

/// Runs the comparison, prints and writes it.
pub(crate) fn compare(options: &WanOptions, shared: &Options) -> Result<ExitCode> {
    let plan = Plan::new(options, shared.rounds);
    let earlier = options.add.as_deref().map(Comparison::read).transpose()?;
    let run = run(&plan, options, shared.seed, earlier.unwrap_or_default());
    let comparison = super::until_interrupted(run)?;
    let text = if shared.json {
        comparison.to_json()?
    } else {
        comparison.to_markdown()
    };
    println!("{text}");
    eprintln!("written to {}", options.out.display());
    Ok(ExitCode::SUCCESS)
}

async fn run(
    plan: &Plan,
    options: &WanOptions,
    seed: u64,
    mut comparison: Comparison,
) -> Result<Comparison> {
    let (quick, out) = (options.quick, &options.out);
    causeway_binary()?;
    let server_binary = servers::binary().await?;
    let first = plan.places.iter().flatten().next().copied();
    let first = first.or_else(|| Link::named("lossy")).context("a link")?;
    let world = World::create(first.profile(), seed)?;
    let directory = tempfile::tempdir()?;
    let source = Source::start(&world.us, &server_binary, directory.path()).await?;
    let stage = Stage {
        world,
        source,
        server_binary,
        directory,
    };
    let loaded = load(&stage, plan, quick, seed).await?;
    for place in plan.places.iter().copied() {
        for round in 0..plan.rounds {
            for kind in plan.kinds(place, quick) {
                let loaded = loaded.iter().find(|it| it.kind == kind).context("loaded")?;
                for contender in plan.contenders.iter().copied() {
                    let trial = catch_up(&stage, place, contender, *loaded, plan.limit, round);
                    comparison.add(told(trial.await?), out)?;
                }
            }
            if !plan.live.is_zero() {
                for contender in plan.contenders.iter().copied() {
                    let trial = live::live(&stage, place, contender, plan.live, round);
                    comparison.add(told(trial.await?), out)?;
                }
            }
        }
    }
    Ok(comparison)
}

async fn load(stage: &Stage, plan: &Plan, quick: bool, seed: u64) -> Result<Vec<Loaded>> {
    let mut kinds: Vec<Kind> = Vec::new();
    for place in &plan.places {
        for kind in plan.kinds(*place, quick) {
            if !kinds.contains(&kind) {
                kinds.push(kind);
            }
        }
    }
    let mut loaded = Vec::new();
    for kind in kinds {
        eprintln!("loading {} ...", kind.name());
        let source = &stage.source;
        loaded.push(
            source
                .load(&stage.world.us, kind, plan.backlog_bytes, seed)
                .await?,
        );
    }
    Ok(loaded)
}

/// Says how a trial went, for who watches.
fn told(sample: Sample) -> Sample {
    let head = format!(
        "{:9} {:8} {:24}",
        sample.link,
        sample.data,
        sample.contender.name()
    );
    match (&sample.failed, &sample.latency) {
        (Some(why), _) => eprintln!("{head} failed: {why}"),
        (None, Some(it)) => eprintln!(
            "{head} p50 {:.1} p90 {:.1} p99 {:.1} max {:.1} ms, {} missing",
            it.p50_ms, it.p90_ms, it.p99_ms, it.max_ms, it.missing
        ),
        (None, None) => eprintln!(
            "{head} {:8.0} records/s {:6.1} MB/s link {:3.0} % bound by {}, idle {:.0} %",
            sample.records_per_second,
            sample.payload_mb_per_second,
            sample.wire.used_share * 100.0,
            sample.bound_by,
            sample.machine_idle_share * 100.0,
        ),
    }
    sample
}
