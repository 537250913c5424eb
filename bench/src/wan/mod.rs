//! The emulated WAN: two hosts as network namespaces, a packet emulator between them.
//!
//! ```text
//!  us (namespace)                                     eu (namespace)
//!  nats-server, sidecar -- wan0 == emulator == wan0 -- sidecar, nats-server
//! ```

mod accuracy;
mod burst;
mod compare;
mod contender;
mod custom;
mod cut;
mod data;
mod device;
mod emulator;
mod flights;
mod goals;
mod host;
mod hub;
mod lanes;
mod live;
mod meter;
mod netns;
mod outcome;
mod plot;
mod prediction;
mod report;
mod sample;
mod servers;
mod sidecar;
mod steady;
mod tables;
mod trial;
mod usage;
mod world;

use std::future::Future;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use causeway::wan::{LINKS, Link};
use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

pub(crate) use self::compare::{WanOptions, compare};
pub(crate) use self::cut::{CutOptions, cut};
pub(crate) use self::hub::{HubOptions, hub};
pub(crate) use self::lanes::{LanesOptions, lanes};
pub(crate) use self::steady::{SteadyOptions, steady};
use self::world::World;

/// `wan-accuracy`
#[derive(Args)]
pub(crate) struct AccuracyOptions {
    /// Links to measure; without any, all.
    #[arg(long = "profile", value_parser = link)]
    profiles: Vec<Link>,
}

fn link(name: &str) -> Result<Link> {
    let names = LINKS.map(|link| link.name).join(", ");
    Link::named(name).with_context(|| format!("no such profile; there are {names}"))
}

/// Measures the emulator and prints what it found; fails where it is not within 1 %.
pub(crate) fn accuracy(options: &AccuracyOptions, json: bool) -> Result<ExitCode> {
    let links = if options.profiles.is_empty() {
        LINKS.to_vec()
    } else {
        options.profiles.clone()
    };
    let rows = until_interrupted(async {
        let world = World::create(links[0].profile(), 1)?;
        accuracy::measure_all(&world, &links).await
    })?;
    if json {
        println!("{}", serde_json::to_string_pretty(&rows)?);
    } else {
        print!("{}", accuracy::table(&rows));
    }
    let holds = rows.iter().all(accuracy::Accuracy::holds);
    Ok(if holds {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Runs to the end, or until Ctrl-C or SIGTERM; either way everything that it made is dropped, and so removed.
fn until_interrupted<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        tokio::select! {
            done = work => done,
            _ = interrupt.recv() => anyhow::bail!("interrupted"),
            _ = terminate.recv() => anyhow::bail!("asked to end"),
        }
    })
}
