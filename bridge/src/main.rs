//! The `causeway` command: log, then the command, then its exit status.

use std::io::IsTerminal;
use std::process::ExitCode;

use causeway::cli::{Cli, Command, LogFormat, run};
use clap::Parser;
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version come this way too, and are no errors.
            let status = if error.use_stderr() {
                causeway::cli::EXIT_USAGE
            } else {
                0
            };
            let _ = error.print();
            return status.into();
        }
    };
    start_log(&cli);
    match run(cli) {
        Ok(status) => status,
        Err(error) => {
            eprintln!("causeway: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Logs go to standard error. A demo's log is its sidecars' files.
fn start_log(cli: &Cli) {
    let quiet = !matches!(cli.command, Command::Run { .. });
    let default = if quiet {
        "warn"
    } else {
        "info,async_nats=warn"
    };
    let filter = EnvFilter::try_from_env("CAUSEWAY_LOG").unwrap_or_else(|_| default.into());
    let log = tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_env_filter(filter);
    match cli.log_format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().init(),
    }
}
