//! `wan`: Causeway and the native mirror on the same links, alternately.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};
use causeway::wan::{LINKS, Link};
use clap::Args;

use super::contender::Contender;
use super::custom::custom;
use super::data::Kind;
use super::report::Comparison;
use super::sample::Sample;
use super::servers::Loaded;
use super::trial::{Place, Stage, catch_up};
use super::{link, live};
use crate::Options;

/// `wan`
#[derive(Args)]
pub(crate) struct WanOptions {
    /// Links; without any, all.
    #[arg(long = "profile", value_parser = link)]
    profiles: Vec<Link>,
    /// A link of your own, such as `rtt=120,rate=30,loss=0.5,burst=2,jitter=5`: ms, Mbit/s, per cent, packets, ms.
    #[arg(long, value_parser = custom)]
    custom: Vec<Link>,
    /// Contenders; without any, Causeway with and without a declared rate and native with BBR, and on `lossy` with CUBIC too.
    #[arg(long = "contender", value_enum)]
    contenders: Vec<Contender>,
    /// Kinds of data to catch up on; without any, orders and random.
    #[arg(long, value_enum)]
    data: Vec<Kind>,
    /// A first look, in two minutes: the link `lossy`, one round, short trials.
    #[arg(long)]
    quick: bool,
    /// The longest that one catch-up trial is measured, in seconds, but 20 round trips at least, with CUBIC 200; 0 leaves catch-up out.
    #[arg(long)]
    seconds: Option<u64>,
    /// How long records are published in one live trial, 500 a second; 0 leaves live out. A p99.9 is stated where each
    /// trial has 300,000 records, so from 600 s on.
    #[arg(long)]
    live_seconds: Option<u64>,
    /// Also all contenders without a link, both regions on one host. Causeway's own ceiling on this machine is measured in turn
    /// with the trials in any case where the CPU binds one.
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
    /// Those that were asked for, if any were.
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
        let profiles = [options.profiles.as_slice(), &options.custom].concat();
        let all: &[Link] = if options.quick { &quick } else { &LINKS };
        let mut places = chosen(&profiles, all);
        if options.loopback {
            places.insert(0, None);
        }
        let or = |given: Option<u64>, quick, full| {
            given.unwrap_or(if options.quick { quick } else { full })
        };
        Self {
            places,
            contenders: options.contenders.clone(),
            data: options.data.clone(),
            rounds: rounds.unwrap_or(if options.quick { 1 } else { 3 }),
            limit: Duration::from_secs(or(options.seconds, 5, 6)),
            live: Duration::from_secs(or(options.live_seconds, 5, 10)),
            backlog_bytes: if options.quick { 200 << 20 } else { 600 << 20 },
        }
    }

    /// Kinds to catch up on.
    fn kinds(&self) -> Vec<Kind> {
        if self.limit.is_zero() {
            Vec::new()
        } else if self.data.is_empty() {
            vec![Kind::Orders, Kind::Random]
        } else {
            self.data.clone()
        }
    }

    /// Who takes part at a place. CUBIC, which any loss stops, is of interest on one link, and would cost a quarter of all time.
    fn contenders(&self, place: Place) -> Vec<Contender> {
        if !self.contenders.is_empty() {
            return self.contenders.clone();
        }
        let has_cubic = place.is_some_and(|link| link.name == "lossy");
        let takes_part = |it: &Contender| has_cubic || *it != Contender::MirrorCubic;
        Contender::ALL.into_iter().filter(takes_part).collect()
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
    let out = &options.out;
    let first = plan.places.iter().flatten().next().copied();
    let first = first.or_else(|| Link::named("lossy")).context("a link")?;
    let stage = Stage::set(first, seed).await?;
    let loaded = load(&stage, plan, seed).await?;
    for place in plan.places.iter().copied() {
        for round in 0..plan.rounds {
            for loaded in &loaded {
                let trials = take_turns(&stage, plan, place, *loaded, round).await?;
                for sample in trials {
                    comparison.add(sample, out)?;
                }
            }
            if !plan.live.is_zero() {
                for contender in plan.contenders(place) {
                    let trial = live::live(&stage, place, contender, plan.live, round);
                    comparison.add(told(trial.await?), out)?;
                }
            }
        }
    }
    Ok(comparison)
}

/// Each contender once, and where the CPU held Causeway back, its ceiling without a link right after.
async fn take_turns(
    stage: &Stage,
    plan: &Plan,
    place: Place,
    loaded: Loaded,
    round: usize,
) -> Result<Vec<Sample>> {
    let mut trials = Vec::new();
    for contender in plan.contenders(place) {
        let trips = contender.round_trips_min();
        let trips = place.map_or(Duration::ZERO, |link| link.round_trip * trips);
        let limit = plan.limit.max(trips);
        let trial = catch_up(stage, place, contender, loaded, limit, round);
        trials.push(told(trial.await?));
    }
    let bound = trials.iter().filter(|it| it.bound_by == "CPU");
    let ceilings: BTreeSet<_> = bound.filter_map(|it| it.contender.ceiling()).collect();
    for ceiling in ceilings.into_iter().filter(|_| place.is_some()) {
        let trial = catch_up(stage, None, ceiling, loaded, plan.limit, round);
        trials.push(told(trial.await?));
    }
    Ok(trials)
}

async fn load(stage: &Stage, plan: &Plan, seed: u64) -> Result<Vec<Loaded>> {
    let mut loaded = Vec::new();
    for kind in plan.kinds() {
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
pub(crate) fn told(sample: Sample) -> Sample {
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
