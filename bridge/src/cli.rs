//! The command line: what each command takes, and what it does with it.

mod check;
mod explain;
mod host;
mod reload;
mod route;
mod sidecar;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use causeway_config::{Loaded, load};
use causeway_proto::id::RegionId;
use clap::{Parser, Subcommand};

use crate::certs;

pub use self::route::RouteArgs;
pub use self::sidecar::SidecarArgs;

/// Exit status for a fleet file or a command line that cannot be used (`EX_USAGE`).
pub const EXIT_USAGE: u8 = 64;

/// WAN replication for NATS JetStream.
#[derive(Debug, Parser)]
#[command(name = "causeway", version, about, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// How log lines look. What is logged says CAUSEWAY_LOG (info, or causeway=debug).
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines: one JSON object a line.
    Json,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Two regions on this machine: real servers, a lossy WAN, load, and the proof
    Demo {
        /// Seconds of steady load
        #[arg(long, default_value_t = 30)]
        seconds: u64,
        /// Print one JSON object instead of a screen
        #[arg(long)]
        json: bool,
    },
    /// Run the sidecar of one region
    Run {
        /// The fleet file
        #[arg(long)]
        config: PathBuf,
        /// The region that this sidecar stands beside
        #[arg(long)]
        region: String,
    },
    /// Print every error of a fleet file at once, and then what flows where
    Check {
        /// The fleet file
        #[arg(long)]
        config: PathBuf,
        /// Ask the regions' servers too; of one region only, with `--region`
        #[arg(long)]
        live: bool,
        /// Look at this host, too, as that region's sidecar would: certificates, credentials, state, addresses
        #[arg(long)]
        region: Option<String>,
    },
    /// May a record travel, and by which rule? Exit status 0 yes, 1 no
    Explain(explain::ExplainArgs),
    /// Make a private authority and a certificate for each region that has none yet, for a first try
    Certs {
        /// The fleet file
        #[arg(long)]
        config: PathBuf,
        /// Where they are, or are to be
        #[arg(long)]
        out: PathBuf,
        /// Make that region's certificate and key anew, with the authority that is there
        #[arg(long, value_name = "REGION")]
        renew: Option<String>,
    },
    /// List, pause, resume or move the routes of a running sidecar
    Route(RouteArgs),
    /// Let a running sidecar read its fleet file again. Exit status 0: taken over; 64: it has errors
    Reload(SidecarArgs),
}

/// Runs a command to its exit status. Errors are for the caller to print.
pub fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    match cli.command {
        Command::Demo { seconds, json } => demo(seconds, json),
        Command::Run { config, region } => {
            let Some(loaded) = read(&config) else {
                return Ok(EXIT_USAGE.into());
            };
            let Some(region) = known_region(&loaded, "--region", &region) else {
                return Ok(EXIT_USAGE.into());
            };
            for warning in &loaded.warnings {
                tracing::warn!("{warning}");
            }
            crate::app::main(loaded.plan, region, config)
        }
        Command::Check {
            config,
            live,
            region,
        } => {
            let Some(loaded) = read(&config) else {
                return Ok(EXIT_USAGE.into());
            };
            let region = match region {
                Some(name) => match known_region(&loaded, "--region", &name) {
                    Some(region) => Some(region),
                    None => return Ok(EXIT_USAGE.into()),
                },
                None => None,
            };
            check::run(&loaded, region.as_ref(), live)
        }
        Command::Explain(args) => {
            let Some(loaded) = read(&args.config) else {
                return Ok(EXIT_USAGE.into());
            };
            explain::run(&loaded, &args)
        }
        Command::Certs { config, out, renew } => {
            let Some(loaded) = read(&config) else {
                return Ok(EXIT_USAGE.into());
            };
            let renew = match renew {
                Some(name) => match known_region(&loaded, "--renew", &name) {
                    Some(region) => Some(region),
                    None => return Ok(EXIT_USAGE.into()),
                },
                None => None,
            };
            certificates(&loaded, &out, renew.as_ref())
        }
        Command::Route(args) => route::run(&args),
        Command::Reload(args) => reload::run(&args),
    }
}

fn certificates(loaded: &Loaded, out: &Path, renew: Option<&RegionId>) -> anyhow::Result<ExitCode> {
    let fleet = loaded.plan.fleet();
    let made = match renew {
        Some(region) => certs::renew(fleet, region, out)?,
        None => {
            let regions: Vec<_> = loaded.plan.regions().iter().map(|r| r.id.clone()).collect();
            certs::generate(fleet, &regions, out)?
        }
    };
    for path in made.written {
        println!("{}", path.display());
    }
    for region in made.kept {
        eprintln!(
            "{region}: certificate and key are there and stay; --renew {region} makes new ones"
        );
    }
    Ok(ExitCode::SUCCESS)
}

fn demo(seconds: u64, json: bool) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let holds = runtime.block_on(crate::demo::run(crate::demo::DemoOptions { seconds, json }))?;
    Ok(if holds {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Reads a fleet file, or prints everything that is wrong with it.
fn read(path: &Path) -> Option<Loaded> {
    match load(path) {
        Ok(loaded) => Some(loaded),
        Err(errors) => {
            eprintln!("{errors}");
            None
        }
    }
}

fn known_region(loaded: &Loaded, flag: &str, name: &str) -> Option<RegionId> {
    let found = loaded
        .plan
        .regions()
        .iter()
        .find(|region| region.id.as_str() == name);
    if found.is_none() {
        let known: Vec<_> = loaded
            .plan
            .regions()
            .iter()
            .map(|r| r.id.as_str())
            .collect();
        eprintln!("{flag}: found {name:?}, wanted one of {}", known.join(", "));
    }
    found.map(|region| region.id.clone())
}
