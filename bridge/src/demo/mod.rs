//! `causeway demo`: two regions on this machine, a bad WAN between them, and the proof at the end.
//!
//! Nothing here is a shortcut into the sidecar: the two sidecars are child processes of the same binary, configured by
//! a fleet file and watched through their admin addresses, and the verification reads the servers with the
//! ordinary NATS client. The parts ([`server`], [`relay`], [`process`], [`provision`]) serve the tests as well.
//!
//! ```text
//!  us: nats-server -- sidecar ==== relay: 80 ms, 1 % loss, cut ==== sidecar -- nats-server :eu
//!         ^ load                                                      ^ kill -9      ^ load
//! ```

pub mod load;
pub mod process;
pub mod provision;
pub mod relay;
pub mod server;
pub mod verify;

mod fleet;
mod monitor;
mod recovery;
mod screen;
mod script;
mod sidecar;
mod status;
mod text;
mod verdict;
mod world;

use std::path::Path;

use anyhow::{Context as _, Result};
use tokio::signal::unix::{SignalKind, signal};

use self::screen::Screen;
use self::verdict::Verdict;

/// Less time than this leaves no room for a cut and a kill.
const SECONDS_MIN: u64 = 5;

/// What `causeway demo` was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DemoOptions {
    /// For how long events are published; at least 5. Draining and verifying come on top.
    pub seconds: u64,
    /// Print one JSON object on standard output, and the story on standard error.
    pub json: bool,
}

impl Default for DemoOptions {
    fn default() -> Self {
        Self {
            seconds: 30,
            json: false,
        }
    }
}

/// Plays the demo and tells whether its verdict holds. Everything it started has ended when it returns, or when it is
/// dropped; its directory is kept, and named, only when something went wrong.
///
/// # Errors
/// The demo could not be played to its end: no server, no certificates, a sidecar that ended by itself.
pub async fn run(options: DemoOptions) -> Result<bool> {
    let executable = std::env::current_exe().context("find the own executable")?;
    run_with(&executable, options).await
}

/// As [`run`], with the sidecars of that binary: for callers that are not `causeway` themselves.
///
/// # Errors
/// As [`run`].
pub async fn run_with(executable: &Path, options: DemoOptions) -> Result<bool> {
    let directory = tempfile::Builder::new().prefix("causeway-demo-").tempdir();
    let directory = directory.context("make a directory for the demo")?;
    let seconds = options.seconds.max(SECONDS_MIN);
    let screen = Screen::new(options.json);
    // Boxed: the story holds two regions, and is dropped as a whole when interrupted.
    let story = Box::pin(script::play(directory.path(), executable, seconds, screen));
    let outcome = tokio::select! {
        outcome = story => outcome,
        interrupted = interrupted() => {
            interrupted?;
            eprintln!("interrupted; everything that was started has been ended and removed");
            return Ok(false);
        }
    };
    let holds = match outcome {
        Ok((verdict, screen)) => {
            print_verdict(&verdict, screen, options.json).map(|()| verdict.holds())
        }
        Err(error) => Err(error),
    };
    if !matches!(holds, Ok(true)) {
        keep(directory);
    }
    holds
}

/// Ctrl-C, or a polite request to end.
async fn interrupted() -> Result<()> {
    let mut interrupt = signal(SignalKind::interrupt()).context("listen for Ctrl-C")?;
    let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}

fn print_verdict(verdict: &Verdict, mut screen: Screen, json: bool) -> Result<()> {
    screen.say(&format!("\n{verdict}"));
    drop(screen);
    if json {
        println!("{}", serde_json::to_string(&verdict.report())?);
    }
    Ok(())
}

fn keep(directory: tempfile::TempDir) {
    let kept = directory.keep();
    let log = |region: &str, name: &str| Path::new(region).join(name).display().to_string();
    eprintln!(
        "kept for inspection: {} ({}, {}, the same of eu, causeway.toml)",
        kept.display(),
        log("us", "sidecar.log"),
        log("us", "us.log"),
    );
}
